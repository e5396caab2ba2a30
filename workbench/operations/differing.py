"""Passages, prompts and answers on which the models differ most, ranked by KL, token by token."""

from __future__ import annotations

from pydantic import Field

from adl.errors import CorpusError
from adl.measures.differing import (
    Answer,
    ReadText,
    TextDifference,
    read_answers,
    read_passages,
    read_prompts,
    text_differences,
)
from adl.text.corpus import CorpusSource
from adl.text.prompts import N_EVERYDAY
from workbench.operations.recorded_texts import chosen_prompts
from workbench.operations.running import (
    AgentUse,
    Arguments,
    Command,
    Context,
    Operation,
    Stage,
    Summary,
)
from workbench.operations.shared_arguments import CorpusName, PromptFile, Prompts, TextColumn
from workbench.store.measures.differing import DifferingText, TextsDiffer, TextSource
from workbench.store.state import SessionState


class DifferArguments(Arguments):
    """The passages, prompts and answers to compare the two models on."""

    prompts: Prompts = ()
    prompt_file: PromptFile = None
    n_prompts: int | None = Field(None, ge=1, description="Use the first so many prompts.")
    corpus: CorpusName = None
    text_column: TextColumn = None
    n_answers: int = Field(
        12, ge=0, description="Answers of the session to compare, the newest; 0 takes none."
    )
    n_texts: int = Field(32, ge=1, description="Passages of unrelated text: the reference.")
    max_tokens: int = Field(48, ge=2, description="Longest passage, in tokens.")
    seed: int = Field(0, ge=0, description="Random seed for the choice of passages.")


def differ(context: Context, arguments: DifferArguments) -> Summary:
    """Rank prompts, answers and unrelated passages by how far the models' next-token predictions part."""
    pair = context.pair
    prompts = chosen_prompts(arguments.prompts, arguments.prompt_file, arguments.n_prompts)
    source = CorpusSource.parse(arguments.corpus, arguments.text_column)
    texts = source.open().texts(arguments.seed, arguments.n_texts, should_stop=context.should_stop)
    answers = _answers(context.session.state, arguments.n_answers)
    read: dict[TextSource, list[ReadText]] = {
        "passages": read_passages(pair, list(texts), arguments.max_tokens),
        "prompts": read_prompts(pair, prompts, should_stop=context.should_stop),
        "answers": read_answers(pair, answers, arguments.max_tokens),
    }
    if not any(read.values()):
        raise CorpusError(
            "no text is written in the same tokens by both models",
            "Use other text; models with different vocabularies share few passages.",
        )
    found: list[DifferingText] = []
    means: dict[str, float] = {}
    kind: TextSource
    for kind, some in read.items():

        def progress(done: int, total: int, stage: str = f"compare {kind}") -> None:
            context.progress(stage, done, total)

        compared = text_differences(pair, some, progress=progress, should_stop=context.should_stop)
        found += [_recorded(kind, each) for each in compared]
        if compared:
            means[kind] = sum(each.mean for each in compared) / len(compared)
    left_out = len(texts) + len(prompts) + len(answers) - len(found)
    context.record(
        TextsDiffer(
            texts=tuple(found),
            reference=means.get("passages"),
            n_left_out=left_out,
            settings={"unrelated": texts.sha256, "seed": arguments.seed},
        )
    )
    return {"mean_kl": {kind: round(mean, 4) for kind, mean in means.items()}}


DIFFER = Operation(
    "differ",
    "Find where they differ",
    DifferArguments,
    differ,
    needs=("pair",),
    finds=TextsDiffer,
    command=Command("differ"),
    agent=AgentUse(
        hidden=(
            "prompt_file",
            "n_prompts",
            "n_answers",
            "corpus",
            "text_column",
            "n_texts",
            "max_tokens",
            "seed",
        ),
        most={"prompts": 20},
    ),
    reads_words=True,
    stages=lambda arguments: (
        Stage("compare passages", 0.2 * arguments.n_texts),
        Stage(
            "compare prompts", 0.2 * (len(arguments.prompts) or arguments.n_prompts or N_EVERYDAY)
        ),
        Stage("compare answers", 0.2 * arguments.n_answers),
    ),
)


def _answers(state: SessionState, most: int) -> list[Answer]:
    """The newest unsteered answers of either side that are whole."""
    texts = [
        text
        for text in state.texts.values()
        if text.status == "finished"
        and text.start.body.purpose in {"ask", "scan"}
        and not text.start.body.alpha
    ]
    return [
        Answer(
            side="base" if text.start.body.side == "base" else "finetuned",
            messages=tuple(
                {"role": turn["role"], "content": turn["content"]}
                for turn in text.start.body.messages
            ),
            raw=text.start.body.raw_prompt,
            prefill=text.start.body.prefill,
            thinking=text.start.body.thinking,
            token_ids=text.token_ids,
            text=text.text,
        )
        for text in texts[len(texts) - min(most, len(texts)) :]
    ]


def _recorded(kind: TextSource, found: TextDifference) -> DifferingText:
    return DifferingText(
        source=kind,
        text=found.text,
        pieces=found.pieces,
        kl=tuple(round(value, 4) for value in found.kl),
        highest=found.highest,
        raised=found.raised,
        probability=round(found.probability, 5),
        log_ratio=round(found.log_ratio, 4),
        mean=round(found.mean, 5),
    )
