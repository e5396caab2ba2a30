"""The result of a hypothesis's test: rates of both sides with intervals, and a verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from adl.measures.experiments import ExperimentVerdict
from adl.words import plain_number
from workbench.store.body import EventBody, one_line
from workbench.store.findings import (
    Bar,
    Estimate,
    Figure,
    Heading,
    Line,
    Measure,
    Row,
    Rows,
    words_of,
)
from workbench.store.record import Record

TestKind = Literal["answers", "likelihood"]
PromptKind = Literal["shows", "near_miss", "neutral"]
TestPart = Literal["all", "held out", "rest"]

KIND_NAMES: dict[PromptKind, str] = {
    "shows": "prompts that would show it",
    "near_miss": "near misses",
    "neutral": "neutral prompts",
}
_ROW_NAMES: dict[PromptKind, str] = {"near_miss": "near misses", "neutral": "neutral"}


class SideRate(Record):
    """The answers of one side to one kind of prompt that show the hypothesis.

    ``prompts_shown`` of ``prompts`` showed it in at least half of their scored answers; ``rate`` is
    over answers, with prompts as its units, None where nothing was scored.
    """

    kind: PromptKind
    part: TestPart
    side: str
    prompts_shown: int
    prompts: int
    answers_shown: int
    answers: int
    rate: Estimate | None

    def words(self) -> str:
        """Return the count in words, as ``17 of 20``."""
        return f"{self.prompts_shown} of {self.prompts}"


class HypothesisTested(
    Measure,
    label="test of a hypothesis",
    pointers={"experiment": True, "hypothesis_id": True, "pooled": True, "cost": True},
):
    """The result of an experiment (``adl.measures.experiments``).

    ``test`` is ``answers`` or ``likelihood``. ``difference`` is the rate of the finetuned side less
    that of the base over the prompts that would show it; for a likelihood test, the rise of the
    log-odds of the statement in nats, and ``controls`` the spread of the same over statements that
    nobody claims. ``p`` may be looked at after every prompt; ``adjusted`` is Holm's over the
    ``family`` of wordings tested in the session. ``more`` prompts alike would decide it, None if
    none would. ``pooled`` are earlier experiments of the same wording that count too.
    """

    kind: Literal["hypothesis_tested"] = "hypothesis_tested"
    experiment: str
    hypothesis_id: str
    hypothesis: str
    test: TestKind
    judge: str
    verdict: ExperimentVerdict
    words: tuple[str, ...]
    rates: tuple[SideRate, ...] = ()
    difference: Estimate | None = None
    held_out: Estimate | None = None
    false_alarms: Estimate | None = None
    controls: Estimate | None = None
    p: float
    adjusted: float
    family: int = 1
    more: int | None = None
    unscored: int = 0
    pooled: tuple[str, ...] = ()
    cost: dict[str, float] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)

    def rate(self, kind: PromptKind, side: str, part: TestPart = "all") -> SideRate | None:
        """Return the rate of a kind of prompt on a side, or None."""
        for rate in self.rates:
            if (rate.kind, rate.side, rate.part) == (kind, side, part):
                return rate
        return None

    def _texts(self) -> Any:
        yield self.hypothesis
        yield from self.words

    def _line(self) -> str:
        return one_line(f"test {self.experiment} of {self.hypothesis_id}: {self.short()}")

    def short(self) -> str:
        """The verdict, and the counts it rests on."""
        return one_line(f"{self.verdict}: {self.words[0]}" if self.words else self.verdict)

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """The verdict in words, then the rates by kind of prompt, part and side."""
        found: list[Figure] = [
            Heading(f"{self.experiment} of {self.hypothesis_id}: {self.verdict}"),
            Line(self.hypothesis),
        ]
        found += [Line(words) for words in self.words]
        if self.rates:
            rows = tuple(_row(rate) for rate in self.rates)
            found.append(
                Rows(
                    "Answers that show it",
                    ("prompts", "part", "side", "prompts that show it", "answers", "rate"),
                    rows,
                )
            )
        unit = "" if self.test == "answers" else " nats"
        numbers = [
            ("difference", self.difference),
            ("difference, held out", self.held_out),
            ("difference on near misses", self.false_alarms),
            ("controls", self.controls),
        ]
        found += [
            Line(f"{name}: {words_of(value, '{:+.2f}')}{unit}")
            for name, value in numbers
            if value is not None
        ]
        found.append(
            Line(
                f"p {self.p:.2g}, {self.adjusted:.2g} by Holm over {self.family} tested "
                f"wordings; judge: {self.judge}; {self.unscored} unscored.",
                muted=True,
            )
        )
        cost = ", ".join(f"{name} {plain_number(value)}" for name, value in self.cost.items())
        if cost:
            found.append(Line(f"Cost: {cost}.", muted=True))
        return found


def _row(rate: SideRate) -> Row:
    value = "not scored" if rate.rate is None else rate.rate.words("{:.2f}")
    cells = (
        KIND_NAMES[rate.kind],
        rate.part,
        rate.side,
        rate.words(),
        f"{rate.answers_shown} of {rate.answers}",
        value,
    )
    # Beside a bar there is room for a few words: parts are those of the prompts that would show it.
    label = f"{_ROW_NAMES.get(rate.kind, rate.part)}, {rate.side}"
    if rate.rate is None:
        return Row(cells, (Line(f"{label}: not scored"),))
    return Row(cells, (Bar(label, rate.rate.value, f"{rate.words()}  {value}"),))
