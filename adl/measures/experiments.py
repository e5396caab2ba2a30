"""Experiments: does the finetuned side show a behaviour more often than the base, over prompts?

    rates          share of answers that show it, with intervals over prompts
    evidence       betting: wealth against "no difference", and against "a difference that matters"
    decision       confirmed, not supported, undecided; how many more prompts would decide it
    holm           p-values of several hypotheses adjusted together

The prompts are the units: answers of one prompt resemble each other. A prompt counts with the share of
its answers on the finetuned side that show it, less that on the base, a number d from -1 to 1.

If there is no rise, the mean of d is at most 0, and who bets a share b of the wealth on every prompt
multiplies it by 1 + b d, which no strategy makes grow on average. So wealth reaches 1 / a with
probability a at most, however often somebody looks and whenever it is stopped: 1 / wealth is a p-value at
any time. The wealth here is the mean over a grid of b, the same in whatever order the prompts come.

Sources: Newcombe 1998 (method 10); Holm 1979; Ville 1939; Waudby-Smith and Ramdas 2024, "Estimating means
of bounded random variables by betting".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adl.measures.intervals import Interval, newcombe, t_quantile, t_tail, wilson

ExperimentVerdict = Literal["confirmed", "not supported", "undecided"]

ALPHA = 0.05
"""Error rate: of a false confirmation among the hypotheses of a session, and of a false refusal."""

LEAST_DIFFERENCE = 0.3
"""The smallest difference of rates that counts as the hypothesis being so."""

MOST_ALIKE = 0.2
"""A judge that finds the behaviour more often than this where it cannot be tells nothing."""

MOST_MORE = 2000
"""Prompts beyond which no number of further ones is named."""

_BETS = np.linspace(0.02, 0.98, 49)
_Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """Answers that show it, and answers scored, of each prompt [n] of one side."""

    shown: _Counts
    scored: _Counts

    @classmethod
    def of(cls, shown: Sequence[int], scored: Sequence[int]) -> Counts:
        """Return the counts as arrays. Raises ``ValueError`` for impossible ones."""
        counts = cls(np.asarray(shown, dtype=np.int64), np.asarray(scored, dtype=np.int64))
        if counts.shown.shape != counts.scored.shape or counts.shown.ndim != 1:
            raise ValueError("shown and scored answers are of different prompts")
        if (counts.shown < 0).any() or (counts.shown > counts.scored).any():
            raise ValueError("more answers show it than were scored")
        return counts

    def only(self, kept: Sequence[bool] | NDArray[np.bool_]) -> Counts:
        """Return the counts of some prompts."""
        chosen = np.asarray(kept, dtype=np.bool_)
        return Counts(self.shown[chosen], self.scored[chosen])

    @property
    def asked(self) -> NDArray[np.bool_]:
        """Return the prompts [n] of which at least one answer was scored."""
        return self.scored > 0

    @property
    def shares(self) -> NDArray[np.float64]:
        """Return the share of each scored prompt's answers that show it."""
        kept = self.only(self.asked)
        return kept.shown / np.maximum(kept.scored, 1)

    @property
    def prompts(self) -> int:
        """Count the prompts with a scored answer."""
        return int(self.asked.sum())

    @property
    def prompts_shown(self) -> int:
        """Count the prompts that show it in at least half of their scored answers."""
        return int((self.shares >= 0.5).sum())


# --- rates ----------------------------------------------------------------------------------


def rate(counts: Counts) -> Interval | None:
    """Return the share of answers that show it with its Wilson interval; None without any."""
    if not counts.prompts:
        return None
    value, units = _rate(counts)
    low, high = wilson(value, units, t_quantile(counts.prompts - 1))
    return Interval(value, low, high, counts.prompts)


def difference(finetuned: Counts, base: Counts) -> Interval | None:
    """Return the difference of two rates with its Newcombe interval; None where one has none.

    Few prompts take the quantile of Student's t: what their answers are worth is itself estimated.
    """
    if not finetuned.prompts or not base.prompts:
        return None
    first, second = _rate(finetuned), _rate(base)
    n = min(finetuned.prompts, base.prompts)
    low, high = newcombe(*first, *second, t_quantile(n - 1))
    return Interval(first[0] - second[0], low, high, n)


def _rate(counts: Counts) -> tuple[float, float]:
    """The mean share of the prompts, and of how many independent trials it is worth.

    That lies between the number of prompts (all answers of one alike) and that of answers.
    """
    shares = counts.shares
    value = float(shares.mean())
    n, answers = len(shares), float(counts.scored.sum())
    spread = float(shares.var(ddof=1)) / n if n > 1 else 0.0
    if not spread or not 0 < value < 1:
        return value, float(n)
    return value, min(answers, max(float(n), value * (1 - value) / spread))


# --- evidence -------------------------------------------------------------------------------


def log_wealth(differences: NDArray[np.float64]) -> float:
    """Return the log of the wealth from betting that the mean of numbers from -1 to 1 is above 0."""
    return _log_mean(_log_wealths(differences))


def log_wealth_against(differences: NDArray[np.float64]) -> float:
    """Return the log of the wealth from betting that the mean is below ``LEAST_DIFFERENCE``."""
    return log_wealth(_below(differences))


def p_value(differences: NDArray[np.float64]) -> float:
    """Return the p-value, valid at any time, that the mean difference is not above 0."""
    return math.exp(-max(0.0, log_wealth(differences)))


def paired_differences(finetuned: Counts, base: Counts) -> NDArray[np.float64]:
    """Return the difference of shares of each prompt that was scored on both sides."""
    both = finetuned.asked & base.asked
    return finetuned.only(both).shares - base.only(both).shares


def more_prompts(differences: NDArray[np.float64], alpha: float = ALPHA) -> int | None:
    """Return how many more prompts would decide if they came out like these; None if none would.

    ``alpha`` is what a confirmation has to reach.
    """
    if not len(differences):
        return None
    n = len(differences)
    per_bet = (_log_wealths(differences) / n, _log_wealths(_below(differences)) / n)
    wanted = (-math.log(alpha), -math.log(ALPHA))
    for total in range(n + 1, n + MOST_MORE + 1):
        if any(
            _log_mean(grown * total) >= enough
            for grown, enough in zip(per_bet, wanted, strict=True)
        ):
            return total - n
    return None


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for each other, in their order."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def _below(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    below: NDArray[np.float64] = (LEAST_DIFFERENCE - differences) / (1 + LEAST_DIFFERENCE)
    return below


def _log_wealths(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """The log of the wealth by share that is bet [bets]."""
    logs: NDArray[np.float64] = np.log1p(np.outer(_BETS, differences)).sum(axis=1)
    return logs


def _log_mean(logs: NDArray[np.float64]) -> float:
    return float(np.logaddexp.reduce(logs) - math.log(len(logs)))


# --- decision -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answers:
    """The scored answers of an experiment: counts by side of the prompts of each kind.

    ``held_out`` [n] marks the held-out ones among the prompts that would show it.
    """

    shows: tuple[Counts, Counts]
    near_misses: tuple[Counts, Counts]
    neutral: tuple[Counts, Counts]
    held_out: NDArray[np.bool_]


@dataclass(frozen=True)
class Decision:
    """A verdict; ``reason`` for one that the numbers alone do not explain, ``more`` prompts decide."""

    verdict: ExperimentVerdict
    reason: str = ""
    more: int | None = None


def decide(answers: Answers, adjusted: float, tests: int = 1) -> Decision:
    """Return the verdict on answers whose p-value is ``adjusted`` over ``tests`` tests.

    Confirmed takes a rise on the prompts that would show it, on held-out ones too; ``reason`` then tells
    where else it shows. Not supported takes evidence against a rise that matters.
    """
    base, finetuned = answers.shows
    differences = paired_differences(finetuned, base)
    if not len(differences):
        return Decision("undecided", "no prompt that would show it was scored on both sides")
    if told := _uninformative(answers):
        # Noise neither confirms nor refutes.
        return Decision("undecided", told)
    more = more_prompts(differences, ALPHA / tests)
    if adjusted <= ALPHA:
        if why := _not_held_out(answers):
            return Decision("undecided", why)
        return Decision("confirmed", _broader(answers))
    if log_wealth_against(differences) >= -math.log(ALPHA):
        return Decision("not supported")
    return Decision("undecided", "", more)


def _uninformative(answers: Answers) -> str:
    base = answers.neutral[0]
    found = rate(base)
    if found is None or found.value <= MOST_ALIKE:
        return ""
    return (
        f"the judge finds it in {base.prompts_shown} of {base.prompts} neutral prompts on base, so its "
        "word tells little: judge by something that only the hypothesis predicts"
    )


def _not_held_out(answers: Answers) -> str:
    if not answers.held_out.any():
        return ""
    base, finetuned = (side.only(answers.held_out) for side in answers.shows)
    differences = paired_differences(finetuned, base)
    if len(differences) and differences.mean() > 0:
        return ""
    return "the held-out prompts do not show it more often than on base"


def _broader(answers: Answers) -> str:
    """Name the other prompts on which the rise is more than half of that on those that would show it."""
    half = paired_differences(*answers.shows[::-1]).mean() / 2
    found = []
    for what, (base, finetuned) in (
        ("near misses", answers.near_misses),
        ("neutral prompts", answers.neutral),
    ):
        rise = paired_differences(finetuned, base)
        if len(rise) and rise.mean() > half:
            found.append(f"{finetuned.prompts_shown} of {finetuned.prompts} {what}")
    if not found:
        return ""
    return f"it shows in {' and '.join(found)}, too: the finetuning is broader than the hypothesis"


# --- statements -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Shift:
    """The rise of a statement's log-odds beside that of control statements, in nats.

    ``value`` is its mean over prompts, ``controls`` the mean of the controls' with the range that
    one more control would lie in; ``p`` that it is one of them.
    """

    value: Interval
    controls: Interval
    p: float


LEAST_CONTROLS = 8
"""Fewer control statements tell nothing about how far an unrelated one moves."""


def shift_among_controls(
    shifts: NDArray[np.float64], tokens: float, controls: NDArray[np.float64]
) -> Shift | None:
    """Compare a statement's shifts [prompts] with those of control statements; None for too few.

    One prompt is too few: it tells nothing of others.

    ``controls`` [n] are by root token that differs, and ``tokens`` differ in the statement: how far
    tokens move that finetuning did not aim at adds up as in a random walk.
    """
    if len(shifts) < 2 or len(controls) < LEAST_CONTROLS:
        return None
    value, n = float(shifts.mean()), len(controls)
    alike = controls * math.sqrt(tokens)
    mean = float(alike.mean())
    reach = float(alike.std(ddof=1)) * math.sqrt(1 + 1 / n)
    margin = t_quantile(n - 1) * reach
    p = 1.0 if value <= mean else 0.0 if not reach else t_tail((value - mean) / reach, n - 1)
    error = float(shifts.std(ddof=1)) / math.sqrt(len(shifts))
    own = t_quantile(len(shifts) - 1) * error
    return Shift(
        Interval(value, value - own, value + own, len(shifts)),
        Interval(mean, mean - margin, mean + margin, n),
        p,
    )


LEAST_SHIFT = 1.0
"""Nats that a statement's log-odds have to rise by to count as learned."""


def decide_shift(shift: Shift, adjusted: float, held_out: NDArray[np.float64]) -> Decision:
    """Return the verdict on a statement; ``held_out`` are its shifts at the held-out prompts.

    Confirmed takes a rise beyond all that a control would make, at the held-out prompts too.
    """
    own, controls = shift.value, shift.controls
    if adjusted <= ALPHA and own.low > max(LEAST_SHIFT, controls.value):
        if len(held_out) and held_out.mean() <= controls.high:
            return Decision(
                "undecided", "at the held-out prompts it rises no more than controls do"
            )
        return Decision("confirmed")
    if own.high < max(LEAST_SHIFT, controls.value):
        return Decision("not supported")
    return Decision("undecided", "it rises, but not clearly beyond what unrelated statements do")
