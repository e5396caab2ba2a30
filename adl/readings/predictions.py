"""The readings of next-token predictions over unrelated contexts.

    output_difference       base -> finetuned
    shift_lens              a side -> the same side with alpha * difference added
    amplified_difference    base -> finetuned with alpha * difference added
    consensus               the ranks of these three, fused

The lists of the ``negative`` are of what finetuned predicts less: finetuned -> base, base with the
difference taken away, and both at once.

They share the passes over the contexts: each pass is a step, and each step names the readings that
rest on it. The sources are named in ``adl.readings.shift_lens``, which computes the shifts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from adl.nulls import SPLIT_HALF
from adl.readings.ranking import Mask, Scores, candidates, fused
from adl.readings.reading import BY_JUDGE, SHOWN_TOKENS, Reader, Reading, Step
from adl.readings.shift_lens import (
    ALPHAS,
    KL_BUDGET,
    Contexts,
    Halves,
    Shift,
    amplified,
    chosen_alpha,
    contexts_of,
    output_score,
    output_shift,
    ratio_score,
    shift_score,
    steering_shifts,
)
from adl.readings.spelling import spellings
from adl.records import POOLED, SIDES, Floats, Side, TokenReadout


def _steps(reader: Reader) -> Iterator[Step]:
    passes = _Passes(reader)
    outputs = (OUTPUT_DIFFERENCE.name, AMPLIFIED_DIFFERENCE.name, CONSENSUS.name)
    steered = (SHIFT_LENS.name, AMPLIFIED_DIFFERENCE.name, CONSENSUS.name)
    everything = (OUTPUT_DIFFERENCE.name, *steered)
    yield everything, passes.find_contexts()
    yield outputs, passes.output()
    yield steered, passes.steer_base()
    yield everything, passes.nulls_on_base()
    yield steered, passes.said_less()
    yield steered, passes.steer_finetuned()
    yield (CONSENSUS.name,), passes.fuse()
    yield (SHIFT_LENS.name,), passes.rest_of_shift_lens()


class _Passes:
    """The passes over the contexts, and the few arrays that later passes need.

    Of each shift [V] only token lists are kept, and by source the scores that the consensus fuses:
    a vocabulary may be large.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._contexts = Contexts((), ())
        self._output: Shift | None = None
        self._chosen: dict[Side, tuple[float, str]] = {}
        self._scores: dict[str, dict[str, Scores]] = {}
        self._null_shifts: dict[tuple[str, float], Shift] = {}
        # Of the first pass over base: the null of random direction comes before that of halves.
        self._halves: Halves | None = None

    def find_contexts(self) -> Iterator[TokenReadout]:
        """Cut the contexts from the texts; yields no list."""
        self._contexts = contexts_of(self._reader.pair, self._reader.texts)
        yield from ()

    def output(self) -> Iterator[TokenReadout]:
        """Base against finetuned, nothing added."""
        reader = self._reader
        self._output = output_shift(reader.pair, self._contexts, should_stop=reader.should_stop)
        if reader.request.style.spelling:
            words = reader.vocabulary.words
            reader.spellings = spellings(
                reader.vocabulary,
                self._output.log_shift,
                self._output.before,
                candidates(self._output.after, words),
            )
        yield from self._fusible(OUTPUT_DIFFERENCE, "difference", "finetuned", self._output)
        less = self._output.reversed()
        yield from self._fusible(OUTPUT_DIFFERENCE, "negative", "finetuned", less)

    def said_less(self) -> Iterator[TokenReadout]:
        """The negative: base without the difference, against base and against finetuned."""
        unit, (alpha, rule) = self._reader.unit(), self._chosen["base"]
        assert unit is not None
        (shift,) = self._shifts("base", (-alpha * unit)[None], "said less")
        yield from self._fusible(SHIFT_LENS, "negative", "base", shift, alpha, rule)
        if self._output is not None:
            less = amplified(self._output.reversed(), shift)
            yield from self._fusible(AMPLIFIED_DIFFERENCE, "negative", "finetuned", less, alpha)

    def steer_base(self) -> Iterator[TokenReadout]:
        """The difference added to base at every alpha."""
        shifts = self._sweep("base")
        self._chosen["base"] = alpha, rule = self._choose_alpha("base", shifts)
        self._keep(SHIFT_LENS, "difference", shifts[alpha])
        if SHIFT_LENS.name in self._reader.open:
            yield from self._swept("base", shifts, alpha, rule)

    def nulls_on_base(self) -> Iterator[TokenReadout]:
        """Each null added to base: at the difference's own norm, and at the chosen alpha."""
        reader = self._reader
        norm = float(np.linalg.norm(reader.difference.vector(reader.site())))
        own_alpha = norm / reader.residual_norm
        chosen = self._chosen.get("base")
        for name, unit in reader.nulls().items():
            halves = self._halves.shift() if name == SPLIT_HALF and self._halves else None
            vectors = [] if halves is not None else [unit * own_alpha]
            if chosen is not None:
                vectors.append(unit * chosen[0])
            shifts = self._shifts("base", np.stack(vectors), _null_stage(name)) if vectors else []
            if halves is None:
                output, *steered = shifts
            else:
                output, steered = self._on_shared("base", halves), shifts
            yield from self._fusible(OUTPUT_DIFFERENCE, name, "finetuned", output)
            if chosen is None:
                continue
            (shift,) = steered
            alpha, rule = chosen
            self._null_shifts[name, alpha] = shift
            yield from self._fusible(SHIFT_LENS, name, "base", shift, alpha, rule)
            yield from self._fusible(AMPLIFIED_DIFFERENCE, name, "finetuned", shift, alpha)

    def steer_finetuned(self) -> Iterator[TokenReadout]:
        """The difference added to finetuned at every alpha."""
        shifts = self._sweep("finetuned")
        self._chosen["finetuned"] = chosen, rule = self._choose_alpha("finetuned", shifts)
        if self._output is not None:
            alpha, _ = self._chosen["base"]
            shift = amplified(self._output, shifts[alpha])
            yield from self._fusible(AMPLIFIED_DIFFERENCE, "difference", "finetuned", shift, alpha)
        if SHIFT_LENS.name in self._reader.open:
            yield from self._swept("finetuned", shifts, chosen, rule)

    def fuse(self) -> Iterator[TokenReadout]:
        """The consensus of what the passes kept, for the difference and for each null."""
        alpha, _ = self._chosen["base"]
        for source, scores in self._scores.items():
            fusion = fused([scores[reading.name] for reading in _FUSED])
            yield self._reader.ranked(CONSENSUS.name, source, "base", fusion, scale=alpha)

    def rest_of_shift_lens(self) -> Iterator[TokenReadout]:
        """The nulls of the shift lens on finetuned, and the difference at each position.

        The nulls are of base at finetuned's alpha: added to finetuned, any vector shows its domain.
        """
        reader = self._reader
        alpha, rule = self._chosen["finetuned"]
        for name, unit in reader.nulls().items():
            shift = self._null_shifts.get((name, alpha))
            if shift is None:
                (shift,) = self._shifts("base", (unit * alpha)[None], _null_stage(name))
            yield self._list(SHIFT_LENS, name, "finetuned", shift, scale=alpha, rule=rule)
        units = {label: reader.unit(label) for label in reader.difference.positions}
        there = {label: unit for label, unit in units.items() if unit is not None}
        for side in SIDES:
            alpha, rule = self._chosen[side]
            vectors = np.stack([unit * alpha for unit in there.values()])
            shifts = self._shifts(side, vectors, f"shift lens by position, {side}")
            for position, shift in zip(there, shifts, strict=True):
                yield self._list(
                    SHIFT_LENS, "difference", side, shift, position, scale=alpha, rule=rule
                )

    # --- shifts -------------------------------------------------------------------------------

    def _sweep(self, side: Side) -> dict[float, Shift]:
        unit = self._reader.unit()
        assert unit is not None
        vectors = np.stack([unit * alpha for alpha in ALPHAS])
        return dict(zip(ALPHAS, self._shifts(side, vectors, f"shift lens, {side}"), strict=True))

    def _shifts(self, side: Side, vectors: Floats, stage: str) -> list[Shift]:
        reader = self._reader
        halves = Halves() if side == "base" and self._halves is None else None
        shifts = steering_shifts(
            reader.pair,
            side,
            self._contexts,
            reader.request.layer,
            vectors,
            halves=halves,
            progress=reader.stage(stage),
            should_stop=reader.should_stop,
        )
        self._halves = halves or self._halves
        return [self._on_shared(side, shift) for shift in shifts]

    def _on_shared(self, side: Side, shift: Shift) -> Shift:
        """Cut a shift over a side's own vocabulary to the tokens that both sides have."""
        if not self._reader.columns:
            return shift
        keep = self._reader.columns[side]
        return Shift(shift.log_shift[keep], shift.before[keep], shift.after[keep], shift.kl)

    def _choose_alpha(self, side: Side, shifts: Mapping[float, Shift]) -> tuple[float, str]:
        """Return the alpha to show first and the rule that chose it."""
        reader = self._reader
        if reader.request.judge is not None:
            words = reader.vocabulary.words
            tokens = {
                alpha: reader.without_style(shift_score(shift, words), SHOWN_TOKENS)[0]
                for alpha, shift in shifts.items()
            }
            alpha = reader.judged(SHIFT_LENS.name, tokens)
            if alpha is not None:
                return alpha, BY_JUDGE
        kl = {alpha: shift.kl for alpha, shift in shifts.items()}
        alpha = chosen_alpha(side, kl)
        if kl[alpha] <= KL_BUDGET[side]:
            return alpha, reader.by_rule("strongest within the KL budget")
        return alpha, reader.by_rule("no alpha is within the KL budget: the weakest")

    # --- lists --------------------------------------------------------------------------------

    def _keep(self, reading: Reading, source: str, shift: Shift) -> None:
        """Keep the scores [V] that the consensus fuses."""
        score = _SCORES[reading.name](shift, self._reader.vocabulary.words)
        self._scores.setdefault(source, {})[reading.name] = score

    def _fusible(
        self,
        reading: Reading,
        source: str,
        side: Side,
        shift: Shift,
        scale: float | None = None,
        rule: str = "",
    ) -> Iterator[TokenReadout]:
        """Keep the scores of a shift, and yield its list if the reading is open."""
        self._keep(reading, source, shift)
        if reading.name in self._reader.open:
            yield self._list(reading, source, side, shift, scale=scale, rule=rule)

    def _swept(
        self, side: Side, shifts: Mapping[float, Shift], chosen: float, rule: str
    ) -> Iterator[TokenReadout]:
        for alpha, shift in shifts.items():
            yield self._list(
                SHIFT_LENS,
                "difference",
                side,
                shift,
                scale=alpha,
                chosen=alpha == chosen,
                rule=rule,
            )

    def _list(
        self,
        reading: Reading,
        source: str,
        side: Side,
        shift: Shift,
        position: str = POOLED,
        *,
        scale: float | None = None,
        chosen: bool = True,
        rule: str = "",
    ) -> TokenReadout:
        score = _SCORES[reading.name]
        words = self._reader.vocabulary.words
        return self._reader.ranked(
            reading.name,
            source,
            side,
            score(shift, words),
            position=position,
            scale=scale,
            chosen=chosen,
            rule=rule,
            unfiltered=score(shift, np.ones_like(words)),
            probability=shift.after,
            statistics={} if math.isnan(shift.kl) else {"kl": shift.kl},
        )


def _null_stage(name: str) -> str:
    return f"null ({name.replace('_', ' ')})"


OUTPUT_DIFFERENCE = Reading(
    name="output_difference",
    family="prediction",
    title="Output difference",
    label="output",
    short="output",
    description="what finetuned predicts more than base",
    help="what finetuned predicts more than base on unrelated text.",
    steps=_steps,
    needs_vector=False,
)
SHIFT_LENS = Reading(
    name="shift_lens",
    family="prediction",
    title="Shift lens",
    label="shift",
    short="shift",
    description="what is predicted more with the vector added",
    help="what a model predicts more with the difference added to it.",
    steps=_steps,
)
AMPLIFIED_DIFFERENCE = Reading(
    name="amplified_difference",
    family="prediction",
    title="Amplified difference",
    label="amplified",
    short="ampl.",
    description="output and shift at once",
    help="what finetuned with the difference added predicts more than base.",
    steps=_steps,
)
CONSENSUS = Reading(
    name="consensus",
    family="prediction",
    title="Consensus",
    label="consensus",
    short="consensus",
    description="ranks of output, shift and amplified, fused",
    help="the ranks of output difference, shift lens and amplified difference, fused.",
    steps=_steps,
)
_FUSED = (OUTPUT_DIFFERENCE, SHIFT_LENS, AMPLIFIED_DIFFERENCE)
_SCORES: Mapping[str, Callable[[Shift, Mask], Scores]] = {
    OUTPUT_DIFFERENCE.name: output_score,
    SHIFT_LENS.name: shift_score,
    AMPLIFIED_DIFFERENCE.name: ratio_score,
}
