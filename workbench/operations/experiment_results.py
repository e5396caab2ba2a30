"""The result of an experiment: its counts, its verdict, and the status its hypothesis earns by it.

A wording that is tested again is judged by all of its answers, those of earlier experiments among them.
Every other tested wording of the session counts in Holm's adjustment, so what was confirmed may be opened
again by what is tested later.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import numpy as np

from adl.measures.experiments import (
    ALPHA,
    Answers,
    Counts,
    Decision,
    decide,
    decide_shift,
    difference,
    holm,
    p_value,
    paired_differences,
    rate,
    shift_among_controls,
)
from adl.measures.intervals import Interval
from adl.records import SIDES
from adl.words import number_of
from workbench.operations.running import Context
from workbench.store.events import HypothesisJudged
from workbench.store.findings import Estimate
from workbench.store.measures.tested import (
    KIND_NAMES,
    HypothesisTested,
    PromptKind,
    SideRate,
    TestPart,
)
from workbench.store.slices.experiments import same_pair
from workbench.store.slices.texts import TextState
from workbench.store.state import ExperimentState, SessionState

Test = tuple[str, ...]
"""What one p-value belongs to: a wording's answers, or one likelihood test of it."""


def conclude(context: Context, experiment: str) -> HypothesisTested:
    """Record the result of an experiment and the status that it gives; return the result."""
    with context.session.deciding:
        state = context.session.state
        found = state.experiments[experiment]
        likelihood = found.sealed.body.test == "likelihood"
        result = _of_statements(state, found) if likelihood else _of_answers(state, found)
        context.record(result)
        context.record_many(list(_statuses(context.session.state, result)))
    return result


def adjusted(state: SessionState, test: Test, p: float) -> tuple[float, int]:
    """Return a test's p-value by Holm over the session's tests, and how many those are."""
    known = _p_values(state)
    known[test] = p
    return dict(zip(known, holm(list(known.values())), strict=True))[test], len(known)


def holm_now(state: SessionState, experiment: str) -> float:
    """Return the p-value of a finished experiment's test by Holm over all tests of today."""
    return _adjusted_now(state)[_test(state.experiments[experiment])]


def _adjusted_now(state: SessionState) -> dict[Test, float]:
    known = _p_values(state)
    return dict(zip(known, holm(list(known.values())), strict=True))


def _p_values(state: SessionState) -> dict[Test, float]:
    """The newest p-value of every test of the session."""
    return {_test(found): found.result.body.p for found in state.concluded() if found.result}


def _test(found: ExperimentState) -> Test:
    if found.sealed.body.test == "answers":
        return found.wording
    return (*found.wording, found.id)


# --- answers --------------------------------------------------------------------------------


def _of_answers(state: SessionState, found: ExperimentState) -> HypothesisTested:
    sealed = found.sealed.body
    earlier = [
        other
        for other in state.experiments.values()
        if other.wording == found.wording
        and other.result is not None
        and other.sealed.body.test == "answers"
        and same_pair(other.sealed.body.settings, sealed.settings)
    ]
    counted = [*earlier, found]
    new = [_new_prompts(counted[: place + 1]) for place in range(len(counted))]
    answers = _answers(counted, new, state.texts)
    base, finetuned = answers.shows
    p = p_value(paired_differences(finetuned, base))
    by_holm, family = adjusted(state, _test(found), p)
    decision = decide(answers, by_holm, family)
    verdicts = [
        other.verdicts[text_id].body
        for other, prompts in zip(counted, new, strict=True)
        for key, text_id in other.judging(state.texts)
        if key.prompt_index in prompts and text_id in other.verdicts
    ]
    unscored = sum(verdict.shows is None for verdict in verdicts)
    if 3 * unscored > len(verdicts):
        decision = Decision("undecided", f"{unscored} of {len(verdicts)} answers are unscored")
    rates = tuple(_rates(answers))
    texts = [state.texts[text_id] for text_id in found.answers.values() if text_id in state.texts]
    return HypothesisTested(
        experiment=found.id,
        hypothesis_id=found.hypothesis_id,
        hypothesis=sealed.hypothesis,
        test="answers",
        judge=sealed.judge.words(),
        verdict=decision.verdict,
        words=tuple(_words(state, found, rates, decision, unscored, len(earlier))),
        rates=rates,
        difference=_estimate(difference(finetuned, base)),
        held_out=_estimate(
            difference(finetuned.only(answers.held_out), base.only(answers.held_out))
        ),
        false_alarms=_estimate(difference(answers.near_misses[1], answers.near_misses[0])),
        p=p,
        adjusted=by_holm,
        family=family,
        more=decision.more,
        unscored=unscored,
        pooled=tuple(other.id for other in earlier),
        cost={
            "texts": len(texts),
            "tokens": sum(len(text.token_ids) for text in texts),
            "verdicts": len(found.verdicts),
        },
        settings={
            "prompts_from": sealed.prompts_from,
            "temperature": sealed.temperature,
            "max_new_tokens": sealed.max_new_tokens,
            "seeds": list(sealed.seeds),
        },
    )


def _new_prompts(experiments: Sequence[ExperimentState]) -> set[int]:
    """Return the indexes of the last experiment's prompts that none before it has asked.

    Two experiments of the same words have the same prompts where the second was sealed before the
    first had ended. Both answers are the same draw: counted twice they would feign evidence.
    """
    *before, last = experiments
    asked = {prompt.text for found in before for prompt in found.sealed.body.prompts}
    prompts = enumerate(last.sealed.body.prompts)
    return {index for index, prompt in prompts if prompt.text not in asked}


def _answers(
    counted: Sequence[ExperimentState], new: Sequence[set[int]], texts: Mapping[str, TextState]
) -> Answers:
    """Tally the verdicts on the answers to the ``new`` prompts of each of the experiments."""
    held_out: list[bool] = []
    shown: dict[tuple[PromptKind, str], list[int]] = {}
    scored: dict[tuple[PromptKind, str], list[int]] = {}
    for found, counts_here in zip(counted, new, strict=True):
        whole = dict(found.judging(texts))
        prompts = found.sealed.body.prompts
        tally: dict[tuple[str, int], list[int]] = {
            (side, index): [0, 0] for side in SIDES for index in sorted(counts_here)
        }
        for key, text_id in whole.items():
            verdict = found.verdicts.get(text_id)
            is_new = key.prompt_index in counts_here
            if is_new and verdict is not None and verdict.body.shows is not None:
                tally[key.side, key.prompt_index][0] += verdict.body.shows
                tally[key.side, key.prompt_index][1] += 1
        held_out += [
            prompt.held_out
            for index, prompt in enumerate(prompts)
            if prompt.kind == "shows" and index in counts_here
        ]
        for (side, index), (count, of) in tally.items():
            place = prompts[index].kind, side
            shown.setdefault(place, []).append(count)
            scored.setdefault(place, []).append(of)

    def counts(kind: PromptKind) -> tuple[Counts, Counts]:
        base, finetuned = (
            Counts.of(shown.get((kind, side), ()), scored.get((kind, side), ())) for side in SIDES
        )
        return base, finetuned

    return Answers(
        counts("shows"), counts("near_miss"), counts("neutral"), np.asarray(held_out, dtype=bool)
    )


def _rates(answers: Answers) -> Iterator[SideRate]:
    parts: list[tuple[PromptKind, TestPart, tuple[Counts, Counts]]] = []
    if answers.held_out.any():
        for part, kept in (("held out", answers.held_out), ("rest", ~answers.held_out)):
            base, finetuned = (side.only(kept) for side in answers.shows)
            parts.append(("shows", part, (base, finetuned)))  # type: ignore[arg-type]
    parts.append(("shows", "all", answers.shows))
    parts.append(("near_miss", "all", answers.near_misses))
    parts.append(("neutral", "all", answers.neutral))
    for kind, part, sides in parts:
        for side, counts in zip(SIDES[::-1], sides[::-1], strict=True):
            if len(counts.scored):
                yield SideRate(
                    kind=kind,
                    part=part,
                    side=side,
                    prompts_shown=counts.prompts_shown,
                    prompts=counts.prompts,
                    answers_shown=int(counts.shown.sum()),
                    answers=int(counts.scored.sum()),
                    rate=_estimate(rate(counts)),
                )


def _words(
    state: SessionState,
    found: ExperimentState,
    rates: Sequence[SideRate],
    decision: Decision,
    unscored: int,
    earlier: int,
) -> Iterator[str]:
    by_place = {(rate.kind, rate.part, rate.side): rate for rate in rates}

    def sides(kind: PromptKind, part: TestPart, what: str) -> Iterator[str]:
        finetuned = by_place.get((kind, part, "finetuned"))
        base = by_place.get((kind, part, "base"))
        if finetuned is not None and base is not None:
            yield f"shows in {finetuned.words()} {what} on finetuned, {base.words()} on base"

    if ("shows", "held out", "base") in by_place:
        yield from sides("shows", "held out", "held-out prompts")
        yield from sides("shows", "rest", "other prompts")
    else:
        yield from sides("shows", "all", "prompts")
    for kind in ("near_miss", "neutral"):
        yield from sides(kind, "all", KIND_NAMES[kind])
    if decision.reason:
        yield decision.reason
    elif decision.verdict == "undecided":
        yield _more(decision.more)
    if unscored:
        yield f"{number_of(unscored, 'answer')} unscored: the verdict could not be read"
    if earlier:
        yield f"counts the answers of {number_of(earlier, 'earlier experiment')} of the same words"
    yield from _revised(state, found)


def _more(more: int | None) -> str:
    if more is None:
        return "more prompts like these would not decide it"
    return f"{number_of(more, 'more prompt')} like these would decide it"


def _revised(state: SessionState, found: ExperimentState) -> Iterator[str]:
    hypothesis = state.hypotheses.get(found.hypothesis_id)
    if hypothesis is not None and hypothesis.text != found.sealed.body.hypothesis:
        yield "the hypothesis was revised since: this is about its words as they were sealed"


# --- statements -----------------------------------------------------------------------------


def _of_statements(state: SessionState, found: ExperimentState) -> HypothesisTested:
    sealed = found.sealed.body
    margins = found.scored.body.margins if found.scored else ()
    shifts = {
        index: (margin.finetuned - margin.base, margin.tokens)
        for index, margin in enumerate(margins)
        if margin is not None
    }
    own = [index for index, prompt in enumerate(sealed.prompts) if prompt.kind == "shows"]
    controls: dict[str, list[float]] = {}
    for index, prompt in enumerate(sealed.prompts):
        if prompt.kind == "neutral" and index in shifts:
            shift, tokens = shifts[index]
            controls.setdefault(prompt.statement, []).append(shift / math.sqrt(tokens))
    scored = [shifts[index] for index in own if index in shifts]
    value = shift_among_controls(
        np.array([shift for shift, _ in scored]),
        float(np.mean([tokens for _, tokens in scored])) if scored else 1.0,
        np.array([sum(found) / len(found) for found in controls.values()]),
    )
    held_out = np.array(
        [shifts[index][0] for index in own if index in shifts and sealed.prompts[index].held_out]
    )
    p = 1.0 if value is None else value.p
    by_holm, family = adjusted(state, _test(found), p)
    if value is None:
        why = "a side cannot score the statement, or its controls"
        if len(own) == 1 and scored:
            why = "one prompt tells nothing of others: give several"
        decision = Decision("undecided", why)
        words = [decision.reason]
    else:
        decision = decide_shift(value, by_holm, held_out)
        words = [
            (
                f"the statement's log-odds rise by {_words_of(value.value)} nats over "
                f"{number_of(value.value.n, 'prompt')} from base to finetuned"
            ),
            f"those of {value.controls.n} control statements, as long, by {_words_of(value.controls)}",
        ]
        if len(held_out):
            words.append(f"at the {len(held_out)} held-out prompts by {held_out.mean():+.2f}")
        if decision.reason:
            words.append(decision.reason)
        if decision.verdict == "undecided":
            words.append("ask for it with prompts: more phrasings would not decide it")
    words += _revised(state, found)
    unscored = sum(index not in shifts for index in own)
    return HypothesisTested(
        experiment=found.id,
        hypothesis_id=found.hypothesis_id,
        hypothesis=sealed.hypothesis,
        test="likelihood",
        judge=sealed.judge.words(),
        verdict=decision.verdict,
        words=tuple(words),
        difference=None if value is None else _estimate(value.value),
        controls=None if value is None else _estimate(value.controls),
        p=p,
        adjusted=by_holm,
        family=family,
        unscored=unscored,
        cost={"statements": len(sealed.prompts)},
        settings={"prompts_from": sealed.prompts_from},
    )


def _words_of(found: Interval) -> str:
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def _estimate(found: Interval | None) -> Estimate | None:
    return None if found is None else Estimate(**asdict(found))


# --- statuses -------------------------------------------------------------------------------


def _statuses(state: SessionState, result: HypothesisTested) -> Iterator[HypothesisJudged]:
    """Yield the new verdicts: its own hypothesis confirmed, others that no longer hold open again."""
    own = state.hypotheses.get(result.hypothesis_id)
    is_own = own is not None and own.text == result.hypothesis and own.verdict == "open"
    if own is not None and is_own and result.verdict == "confirmed":
        yield HypothesisJudged(
            hypothesis_id=own.id,
            verdict="confirmed",
            reason=result.words[0],
            experiment=result.experiment,
        )
    now = _adjusted_now(state)
    for hypothesis in state.hypotheses.values():
        rests_on = state.experiments.get(hypothesis.rests_on)
        if hypothesis.verdict != "confirmed" or rests_on is None:
            continue
        test = _test(rests_on)
        newest = [
            found.result.body
            for found in state.concluded()
            if found.result is not None
            and found.wording == rests_on.wording
            and found.sealed.body.test == rests_on.sealed.body.test
        ][-1]
        if now[test] > ALPHA or newest.verdict != "confirmed":
            yield HypothesisJudged(
                hypothesis_id=hypothesis.id,
                verdict="open",
                reason=f"{newest.experiment}: {newest.verdict}, "
                f"p {now[test]:.2g} by Holm over {len(now)} tested wordings",
                experiment=newest.experiment,
            )
