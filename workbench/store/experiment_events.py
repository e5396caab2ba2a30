"""Events of experiments: a hypothesis sealed with its prompts, and what judges made of the answers.

ExperimentSealed     before anything is generated: wording, prompts, split, seeds, judge
TextStarted ...      the answers, with the experiment's id
AnswerJudged         one answer's verdict
StatementsScored     the log-odds of statements, where no judge is needed
HypothesisTested     the result, a finding (``measures.tested``)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from adl.words import number_of
from workbench.store.body import EventBody, because, one_line
from workbench.store.measures.tested import PromptKind, TestKind
from workbench.store.record import Record

JudgeKind = Literal["rule", "llm", "person", "likelihood"]


class ExperimentPrompt(Record):
    """One prompt of an experiment: a user's turn, or a text that a statement follows.

    ``statement`` and ``against`` are the continuations whose log-probabilities are compared, where
    the test is one of likelihood; ``raw`` marks a text that is put to the model without a chat.
    """

    text: str
    kind: PromptKind
    held_out: bool = False
    statement: str = ""
    against: tuple[str, ...] = ()
    raw: bool = False


class JudgeSpec(Record):
    """The judge of an experiment: its kind, the model or the rules by which it judges."""

    kind: JudgeKind
    model: str = ""
    phrases: tuple[str, ...] = ()
    regex: str = ""

    def words(self) -> str:
        """Return the judge in words."""
        if self.kind == "llm":
            return f"LLM {self.model}"
        if self.kind == "rule" and self.regex:
            return f"regular expression {self.regex!r}"
        if self.kind == "rule":
            return "phrase " + " or ".join(map(repr, self.phrases))
        return {"person": "a person", "likelihood": "none (log-probabilities)"}[self.kind]


class ExperimentSealed(EventBody, group="hypotheses"):
    """An experiment begins: what will be asked, and how it is judged, before anything is generated.

    ``hypothesis`` is the wording as it was tested, whatever becomes of it later. Answer ``i`` of a
    prompt has seed ``seeds[i]`` on both sides. ``judging_seed`` shuffles the answers for the judge.
    ``prompts_from`` is ``given``, ``templates`` or the model that wrote them.
    """

    kind: Literal["experiment_sealed"] = "experiment_sealed"
    experiment: str
    hypothesis_id: str
    hypothesis: str
    test: TestKind
    prompts: tuple[ExperimentPrompt, ...]
    prompts_from: str
    judge: JudgeSpec
    seeds: tuple[int, ...] = ()
    judging_seed: int = 0
    temperature: float = 0.0
    max_new_tokens: int = 0
    settings: dict[str, Any] = Field(default_factory=dict)

    def _line(self) -> str:
        held = sum(prompt.held_out for prompt in self.prompts)
        return (
            f"experiment {self.experiment} of {self.hypothesis_id} sealed: "
            f"{number_of(len(self.prompts), 'prompt')}, {held} held out: {one_line(self.hypothesis)}"
        )

    def _texts(self) -> Iterator[str]:
        yield self.hypothesis
        for prompt in self.prompts:
            yield from (prompt.text, prompt.statement, *prompt.against)


class AnswerJudged(EventBody, group="hypotheses", searched=("reason",)):
    """A verdict on one answer of an experiment; ``shows`` is None where it is unscored."""

    kind: Literal["answer_judged"] = "answer_judged"
    experiment: str
    text_id: str
    shows: bool | None
    by: JudgeKind
    reason: str = ""

    def _line(self) -> str:
        word = {True: "shows it", False: "does not show it", None: "unscored"}[self.shows]
        return f"answer of {self.experiment} judged by {self.by}: {word}{because(self.reason)}"


class StatementMargins(Record):
    """Log-probability of a statement less that of an alternative, in nats (``adl.measures.statements``).

    ``tokens`` differ between the two.
    """

    base: float
    finetuned: float
    tokens: int


class StatementsScored(EventBody, group="hypotheses", searched=()):
    """The statements of an experiment scored on both sides, in the order of its prompts.

    None for one that a side's tokenizer cannot write.
    """

    kind: Literal["statements_scored"] = "statements_scored"
    experiment: str
    margins: tuple[StatementMargins | None, ...]

    def _line(self) -> str:
        return f"{number_of(len(self.margins), 'statement')} of {self.experiment} scored"
