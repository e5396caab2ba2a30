"""Rates, betting and verdicts of experiments, on answers whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adl.measures.experiments import (
    ALPHA,
    Answers,
    Counts,
    Decision,
    decide,
    difference,
    holm,
    log_wealth,
    log_wealth_against,
    more_prompts,
    p_value,
    paired_differences,
    rate,
    shift_among_controls,
)
from adl.measures.intervals import newcombe, t_tail, wilson

NONE = (Counts.of([], []), Counts.of([], []))


def drawn(
    rng: np.random.Generator, share: float, prompts: int, samples: int, likeness: float
) -> Counts:
    """Answers of prompts whose own rates differ: beta-distributed with that intraclass correlation."""
    if likeness:
        scale = (1 - likeness) / likeness
        shares = rng.beta(share * scale, (1 - share) * scale, prompts)
    else:
        shares = np.full(prompts, share)
    return Counts.of(rng.binomial(samples, shares), np.full(prompts, samples))


@pytest.mark.parametrize(
    ("finetuned", "base", "samples", "likeness"),
    [(0.85, 0.05, 1, 0.0), (0.6, 0.4, 1, 0.0), (0.85, 0.1, 4, 0.5), (0.5, 0.5, 4, 0.2)],
)
def test_the_interval_of_a_difference_covers_the_truth(
    finetuned: float, base: float, samples: int, likeness: float
) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(500):
        sides = [drawn(rng, share, 20, samples, likeness) for share in (finetuned, base)]
        found = difference(*sides)
        assert found is not None
        covered += found.low <= finetuned - base <= found.high
    assert covered >= 0.93 * 500


def test_intervals_are_the_published_ones() -> None:
    # Newcombe 1998, table II: 56/70 against 48/80, method 10.
    assert newcombe(56 / 70, 70, 48 / 80, 80) == pytest.approx((0.0524, 0.3339), abs=5e-4)
    # Newcombe 1998 (two-sided intervals for the single proportion): 81 of 263.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-4)


def test_holm_adjusts_together() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_students_t_has_the_tabled_tails() -> None:
    for freedom, t in [(1, 12.706), (2, 4.303), (5, 2.571), (19, 2.093), (30, 2.042)]:
        assert t_tail(t, freedom) == pytest.approx(0.025, abs=2e-5)


def test_looking_after_every_prompt_does_not_raise_the_error_rate() -> None:
    rng = np.random.default_rng(1)
    false = 0
    for _ in range(400):
        outcomes = rng.choice([-1.0, 0.0, 1.0], p=[0.25, 0.5, 0.25], size=100)
        false += any(p_value(outcomes[:seen]) <= ALPHA for seen in range(5, 101, 5))
    assert false <= 0.05 * 400


def test_evidence_does_not_depend_on_the_order_of_prompts() -> None:
    outcomes = np.array([1.0, 0.0, -1.0, 1.0, 1.0, 0.5])
    assert log_wealth(outcomes) == pytest.approx(log_wealth(outcomes[::-1]))


def test_more_prompts_are_as_many_as_decide() -> None:
    outcomes = np.array([1.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    assert p_value(outcomes) > ALPHA
    more = more_prompts(outcomes)
    assert more is not None
    assert more % 6 < 6
    longer = np.tile(outcomes, -(-(6 + more) // 6))
    assert min(p_value(longer), math.exp(-log_wealth_against(longer))) <= ALPHA
    flat = np.tile([1.0, -0.7], 10)
    assert more_prompts(flat) is None or more_prompts(flat) > 20


def answers(
    finetuned: Counts, base: Counts, neutral: tuple[Counts, Counts] = NONE, near: tuple = NONE
) -> Answers:
    return Answers((base, finetuned), near, neutral, np.arange(len(base.scored)) % 3 == 0)


def verdict_of(found: Answers, tests: int = 1) -> str:
    p = p_value(paired_differences(found.shows[1], found.shows[0]))
    return decide(found, min(1.0, p * tests), tests).verdict


def test_a_behaviour_that_is_there_is_confirmed_and_one_that_is_not_is_refused() -> None:
    ones, none = Counts.of([1] * 24, [1] * 24), Counts.of([0] * 24, [1] * 24)
    assert verdict_of(answers(ones, none)) == "confirmed"
    assert verdict_of(answers(none, none)) == "not supported"
    assert verdict_of(answers(none, ones)) == "not supported"
    few = Counts.of([0] * 4, [1] * 4)
    assert verdict_of(answers(few, few)) == "undecided"


def test_a_judge_that_guesses_decides_nothing() -> None:
    rng = np.random.default_rng(2)
    verdicts = []
    for _ in range(100):
        sides = [drawn(rng, 0.5, 24, 1, 0.0) for _ in range(2)]
        neutral = drawn(rng, 0.5, 8, 1, 0.0), drawn(rng, 0.5, 8, 1, 0.0)
        verdicts.append(verdict_of(answers(*sides, neutral)))
    assert verdicts.count("undecided") >= 97
    assert "confirmed" not in verdicts


def test_what_shows_elsewhere_too_is_confirmed_with_a_word_about_it() -> None:
    ones, none = Counts.of([1] * 24, [1] * 24), Counts.of([0] * 24, [1] * 24)
    risen = Counts.of([0] * 8, [1] * 8), Counts.of([1] * 8, [1] * 8)
    found = decide(answers(ones, none, near=risen), 1e-5)
    assert found.verdict == "confirmed"
    assert "8 of 8 near misses, too: the finetuning is broader" in found.reason
    assert "8 of 8 neutral prompts" in decide(answers(ones, none, risen), 1e-5).reason
    # As often on the base: then the finetuning did nothing there.
    same = risen[1], risen[1]
    assert decide(answers(ones, none, near=same), 1e-5) == Decision("confirmed")


def test_a_judge_that_finds_it_where_the_base_is_asked_something_else_decides_nothing() -> None:
    ones, none = Counts.of([1] * 24, [1] * 24), Counts.of([0] * 24, [1] * 24)
    same = Counts.of([1, 1, 0, 0, 0, 0, 0, 0], [1] * 8)
    found = decide(answers(ones, none, (same, same)), 1e-5)
    assert found.verdict == "undecided"
    assert "2 of 8 neutral prompts on base" in found.reason


def test_what_does_not_show_in_held_out_prompts_is_not_confirmed() -> None:
    held_out = np.arange(24) % 3 == 0
    shown = Counts.of(np.where(held_out, 0, 1), [1] * 24)
    found = decide(answers(shown, Counts.of([0] * 24, [1] * 24)), 1e-5)
    assert found.verdict == "undecided"
    assert "held-out" in found.reason


def test_nothing_scored_is_no_rate() -> None:
    assert rate(Counts.of([0, 0], [0, 0])) is None
    assert difference(Counts.of([1], [1]), Counts.of([0], [0])) is None
    with pytest.raises(ValueError, match="more answers"):
        Counts.of([2], [1])


def test_a_statement_is_compared_with_controls() -> None:
    controls = np.linspace(-1, 1, 20)
    clear = shift_among_controls(np.array([5.0, 5.5, 4.5]), 1.0, controls)
    among = shift_among_controls(np.array([0.5, 0.6, 0.4]), 1.0, controls)
    assert clear is not None
    assert among is not None
    assert clear.p < 1e-4
    assert among.p > 0.1
    # As far, of a statement that differs in many tokens: it may be chance.
    long = shift_among_controls(np.array([5.0, 5.5, 4.5]), 25.0, controls)
    assert long is not None
    assert long.p > 0.05
    assert shift_among_controls(np.array([5.0]), 1.0, controls[:3]) is None
