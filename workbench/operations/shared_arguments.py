"""Fields of arguments that several operations have: type, limits and description of each.

A default stands beside the field that has such a type, as operations differ in it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from adl.pair.protocol import Thinking
from adl.records import Side
from adl.text.corpus import BosPolicy
from workbench.store.events import well_formed

# A command line may hold bytes that are no text, which no tokenizer takes.
Words = Annotated[str, AfterValidator(well_formed)]


def _no_blank(what: str) -> AfterValidator:
    """Return the check that no text is blank; its error names it as ``what``."""

    def check(text: str) -> str:
        if not text.strip():
            raise ValueError(f"a {what} needs at least one character")
        return text

    return AfterValidator(check)


NoBlankWords = tuple[Annotated[Words, _no_blank("word")], ...]
#: Not of raw text, which may be continued from a space or a line feed.
PromptText = Annotated[Words, _no_blank("prompt")]

# --- the difference --------------------------------------------------------------------------

Layer = Annotated[str, Field(description="Layer of the difference.")]
Layers = Annotated[
    tuple[str, ...],
    Field(
        description="Layers: a share of the depth (0.5), a number (15), several by commas, or all."
    ),
]
Position = Annotated[str, Field(description="Position of the difference, or 1-4 for their mean.")]
#: The fewest that tell something stand beside the field.
RandomDirections = Annotated[
    int, Field(le=10_000, description="Random directions beside the difference.")
]

# --- text that is read -----------------------------------------------------------------------

CorpusName = Annotated[
    str | None, Field(description="Unrelated text; none is the bundled passages.")
]
TextColumn = Annotated[str | None, Field(description="Column of the text in JSONL or a data set.")]
ContextTexts = Annotated[int, Field(ge=1, description="Texts that contexts are taken from.")]
TextSeed = Annotated[int, Field(ge=0, description="Random seed for texts.")]
Bos = Annotated[BosPolicy, Field(description="Begin-of-text token before plain text.")]
Embedding = Annotated[
    Literal["lexical", "local"],
    Field(
        description="lexical compares words; local takes the small embedding model, if installed."
    ),
]

# --- text that is generated ------------------------------------------------------------------

Prompts = Annotated[
    tuple[PromptText, ...], Field(description="User prompts; none: the bundled everyday ones.")
]
SteeredPrompts = Annotated[
    tuple[PromptText, ...], Field(description="User prompts; none takes the everyday ones.")
]
PromptFile = Annotated[str | None, Field(description="File of prompts: text lines or JSONL.")]
FirstPrompts = Annotated[
    int | None, Field(ge=1, description="Use only the first prompts, this many.")
]
GeneratingSide = Annotated[Side, Field(description="Which model generates.")]
ThinkingMode = Annotated[
    Thinking,
    Field(
        description="Thoughts before the answer: on, off, or as the chat template has it (auto)."
    ),
]
PromptSamples = Annotated[int, Field(ge=1, description="Samples per prompt.")]
AlphaSamples = Annotated[int, Field(ge=1, description="Samples per prompt and alpha.")]
Temperature = Annotated[
    float, Field(ge=0, allow_inf_nan=False, description="0 takes the most probable token.")
]
SampleSeed = Annotated[int, Field(ge=0, description="First seed; samples take the ones after it.")]
AnswerSeed = Annotated[
    int, Field(ge=0, description="First seed; further answers take the ones after it.")
]
TextTokens = Annotated[int, Field(ge=1, description="Longest text, in tokens.")]
SteeredTokens = Annotated[int, Field(ge=1, description="Longest steered text, in tokens.")]
AnswerTokens = Annotated[int, Field(ge=1, description="Longest answer, in tokens.")]
TextBatch = Annotated[int, Field(ge=1, description="Texts per batch.")]
AnswerBatch = Annotated[int, Field(ge=1, description="Answers per batch.")]

# --- finetuning ------------------------------------------------------------------------------

#: Of a path on the command line, and of a text in the arguments that a session records.
TRUTH = "YAML with description and key_facts, sealed for grading."

# --- hypotheses ------------------------------------------------------------------------------

HypothesisId = Annotated[str, Field(description="Id of the hypothesis, such as H1.")]
EvidenceId = Annotated[str, Field(description="Id of the evidence, such as E1.")]
Confidence = Annotated[float | None, Field(ge=0, le=1, description="Probability that it is so.")]
Reason = Annotated[str, Field(description="Why.")]
ReasonToRevise = Annotated[str, Field(description="What changed your mind.")]
EvidenceNote = Annotated[str, Field(description="Why it counts.")]
