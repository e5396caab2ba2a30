"""The arguments of a test of a hypothesis."""

from __future__ import annotations

from pydantic import Field, FiniteFloat, model_validator

from workbench.fields import FieldsConflict
from workbench.operations.answer_rules import check_regex, has_words
from workbench.operations.hypotheses import HypothesisError, Wording
from workbench.operations.running import Arguments
from workbench.operations.shared_arguments import (
    AnswerBatch,
    AnswerSeed,
    AnswerTokens,
    PromptText,
    Reason,
    Temperature,
    Words,
)
from workbench.store.measures.tested import PromptKind

N_SHOWS, N_NEAR, N_NEUTRAL = 24, 8, 8
"""Prompts of each kind where nobody gives them."""

KINDS: tuple[PromptKind, ...] = ("shows", "near_miss", "neutral")


class ExperimentError(HypothesisError):
    """A hypothesis cannot be tested so, or there is no such experiment."""


class ExperimentArguments(Arguments):
    """The hypothesis, the prompts that would show it, and the judge."""

    hypothesis: Wording = Field(description="Id, such as H1, or the words of a new one.")
    prompts: tuple[PromptText, ...] = Field(
        (), description="Prompts that would show the hypothesis; none: templates with its words."
    )
    near_misses: tuple[PromptText, ...] = Field(
        (), description="Similar prompts that should not show it."
    )
    neutral: tuple[PromptText, ...] = Field((), description="Unrelated prompts.")
    prompt_file: str | None = Field(
        None, description="File of prompts: lines, or JSONL with prompt and kind."
    )
    phrases: tuple[Words, ...] = Field(
        (), description="An answer with one of these phrases shows the hypothesis."
    )
    regex: Words | None = Field(
        None, description="An answer that this expression matches shows the hypothesis."
    )
    statement: Words | None = Field(
        None,
        description="A sentence that is likelier if the hypothesis holds: compared by "
        "log-probability, without generation; with prompts, as their answer.",
    )
    against: tuple[Words, ...] = Field(
        (), description="Its negation, or alternatives in the same words."
    )
    judge: str | None = Field(None, description="LLM that judges the answers.")
    write_prompts: bool = Field(False, description="Let the judging LLM write the prompts, too.")
    person: bool = Field(False, description="A person judges, one answer at a time.")
    n_samples: int = Field(2, ge=1, description="Answers per prompt and side.")
    held_out: FiniteFloat = Field(
        1 / 3, ge=0, le=0.9, description="Share of the prompts held out until the end."
    )
    seed: AnswerSeed = 0
    temperature: Temperature = 0.7
    max_new_tokens: AnswerTokens = 48
    batch_size: AnswerBatch = 40
    resume: str | None = Field(None, description="Id of an interrupted test to go on with: X1.")

    @model_validator(mode="after")
    def _one_judge(self) -> ExperimentArguments:
        judges = {
            "judge": self.judge is not None,
            "person": self.person,
            "phrases": bool(self.phrases),
            "regex": self.regex is not None,
            "statement": self.statement is not None,
        }
        given = [name for name, is_given in judges.items() if is_given]
        if len(given) > 1:
            raise FieldsConflict("one thing judges the answers", *given)
        if (self.statement is None) != (not self.against):
            raise FieldsConflict(
                "a statement and what it is compared with go together", "statement", "against"
            )
        if self.write_prompts and self.judge is None:
            raise FieldsConflict(
                "prompts are written by the judge: name one", "write_prompts", "judge"
            )
        if self.write_prompts and self.prompts:
            raise FieldsConflict("prompts are given or written", "prompts", "write_prompts")
        if self.write_prompts and self.prompt_file is not None:
            raise FieldsConflict("prompts are given or written", "prompt_file", "write_prompts")
        if self.statement is not None and (self.near_misses or self.neutral):
            raise FieldsConflict(
                "a statement is compared with control statements, not at other prompts",
                "statement",
                *(name for name in ("near_misses", "neutral") if getattr(self, name)),
            )
        if self.regex is not None and (why := check_regex(self.regex)):
            raise FieldsConflict(f"it cannot be used: {why}", "regex")
        for name in ("phrases", "against"):
            if not all(map(has_words, getattr(self, name))):
                raise FieldsConflict("one of them is empty: give it words", name)
        if self.statement is not None and not has_words(self.statement):
            raise FieldsConflict("it is empty: give it words", "statement")
        return self


class JudgeAnswerArguments(Arguments):
    """A person's verdict on one answer of an experiment."""

    experiment: str = Field(description="Id of the experiment, such as X1.")
    text_id: str = Field(description="Id of the answer's text.")
    shows: bool | None = Field(
        description="True if the answer shows the hypothesis; none leaves it unscored."
    )
    reason: Reason = ""
