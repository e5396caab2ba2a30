"""All readings of one measured difference, each beside its nulls, with scale and alpha chosen.

    take_readings(pair, difference, texts, request) -> TokenReadout ...

Readings are given in the order in which they are worth looking at on small models: those of
next-token predictions (consensus, output difference, shift lens, amplified difference), then
patchscope contrast, and last the paper's own two, patchscope and logit lens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from adl.controls import RANDOM, SPLIT_HALF, control_vector
from adl.difference import Progress
from adl.logit_lens import logit_lens
from adl.pair import ModelPair, ShouldStop, never_stop
from adl.patchscope import CONTRAST_SCALES, SCALES, SweepPoint, mean_contrast, sweep
from adl.ranking import Mask, Scores, Vocabulary, among, fused, top_tokens
from adl.records import (
    POOLED,
    SIDES,
    ActivationDifference,
    Floats,
    Side,
    Site,
    TokenReadout,
    TokenScore,
    rescale,
)
from adl.shift_lens import (
    ALPHAS,
    Contexts,
    Shift,
    amplified,
    chosen_alpha,
    contexts_of,
    output_score,
    output_shift,
    ratio_score,
    shift_score,
    split_half_shift,
    steering_shifts,
)

Reading = Literal[
    "consensus",
    "output_difference",
    "shift_lens",
    "amplified_difference",
    "patchscope_contrast",
    "patchscope",
    "logit_lens",
]
READINGS: tuple[Reading, ...] = get_args(Reading)
PREDICTION_READINGS = frozenset(READINGS[:4])
PATCHSCOPE_READINGS = frozenset(READINGS[4:6])

Judge = Callable[[str, Mapping[float, Sequence[str]]], float | None]
"""Chooses a scale: given (reading, tokens by scale), returns one of the scales. An LLM, say.

None is no verdict: the built-in rule chooses then, and ``chosen_by`` says so.
"""

# The smallest scale at which the identity prompts' top tokens agree so far: from there on the
# vector decides what is said and not the prompt, and larger ones only leave the residual's range.
PROMPT_AGREEMENT = 0.75

SHOWN_TOKENS = 20
#: What ``chosen_by`` says of a judge's choice, and adds to a rule's where the judge had none.
BY_JUDGE = "judge"
NO_VERDICT = ", for want of a judge's verdict"
Say = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ReadingRequest:
    """What to read. ``top`` tokens are kept of chosen lists, 20 of the other scales'.

    ``judge`` chooses scales and alphas in place of the built-in rules where it is given.
    """

    layer: int
    readings: tuple[Reading, ...] = READINGS
    seed: int = 0
    top: int = 100
    judge: Judge | None = field(default=None, compare=False)


def take_readings(
    pair: ModelPair,
    difference: ActivationDifference,
    texts: Sequence[str],
    request: ReadingRequest,
    *,
    progress: Say = lambda _stage, _done, _total: None,
    should_stop: ShouldStop = never_stop,
) -> Iterator[TokenReadout]:
    """Read the difference at ``request.layer``: pooled and at each position, with nulls.

    ``texts`` are unrelated, as those measured on; the first 64 that are long enough are the
    contexts of the prediction readings. Readouts come as soon as they are ready; raises
    ``Stopped`` within one batch of being asked to.
    """
    reader = _Reader(pair, difference, request, progress, should_stop)
    wanted = set(request.readings)
    if wanted & PREDICTION_READINGS:
        yield from reader.predictions(texts, wanted)
    if wanted & PATCHSCOPE_READINGS:
        yield from reader.patchscopes(wanted)
    if "logit_lens" in wanted:
        yield from reader.logit_lenses()


class _Reader:
    """The readings of one difference; holds what they share."""

    def __init__(
        self,
        pair: ModelPair,
        difference: ActivationDifference,
        request: ReadingRequest,
        progress: Say,
        should_stop: ShouldStop,
    ) -> None:
        self._pair = pair
        self._difference = difference
        self._request = request
        self._progress = progress
        self._should_stop = should_stop
        self._norm = difference.residual_norm(request.layer)
        shared = pair.shared_vocabulary()
        self._columns: dict[Side, np.ndarray] = (
            dict(zip(SIDES, shared, strict=True)) if shared is not None else {}
        )
        self._vocabulary = Vocabulary.of(
            [pair.token_texts("base")[index] for index in shared[0]]
            if shared is not None
            else pair.token_texts("base"),
            shared[0].tolist() if shared is not None else None,
        )

    # --- vectors ------------------------------------------------------------------------------

    def _site(self, position: str = POOLED) -> Site:
        return Site(self._request.layer, position)

    def _unit(self, position: str, source: str = "difference") -> Floats | None:
        """A source's [width] vector at residual norm; None where there is no such null."""
        site = self._site(position)
        if source in {RANDOM, SPLIT_HALF}:
            vector = control_vector(self._difference, site, source, self._request.seed)
        else:
            names = {"base": "base_mean", "finetuned": "finetuned_mean"}
            vector = self._difference.vector(site, names.get(source, source))
        return None if vector is None else rescale(vector, self._norm)

    def _nulls(self) -> dict[str, Floats]:
        found = {name: self._unit(POOLED, name) for name in (RANDOM, SPLIT_HALF)}
        return {name: vector for name, vector in found.items() if vector is not None}

    # --- next-token predictions ----------------------------------------------------------------

    def predictions(self, texts: Sequence[str], wanted: set[Reading]) -> Iterator[TokenReadout]:
        contexts = contexts_of(self._pair, texts)
        swept = {side: self._alpha_sweep(contexts, side) for side in SIDES}
        chosen = {side: self._choose_alpha(side, by_alpha) for side, by_alpha in swept.items()}
        nulls = self._null_shifts(contexts, chosen)
        output = output_shift(self._pair, contexts, should_stop=self._should_stop)
        alpha = chosen["base"][0]
        pushed = amplified(output, swept["finetuned"][alpha])
        words = self._vocabulary.words
        scores: dict[str, dict[str, Scores]] = {name: {} for name in ("difference", *nulls)}
        scores["difference"]["output_difference"] = output_score(output, words)
        scores["difference"]["shift_lens"] = shift_score(swept["base"][alpha], words)
        scores["difference"]["amplified_difference"] = ratio_score(pushed, words)
        for name, found in nulls.items():
            scores[name]["output_difference"] = output_score(found.output, words)
            scores[name]["shift_lens"] = shift_score(found.base, words)
            scores[name]["amplified_difference"] = ratio_score(found.base, words)
        if "consensus" in wanted:
            for source, members in scores.items():
                yield self._ranked(
                    "consensus", source, "base", fused(list(members.values())), scale=alpha
                )
        if "output_difference" in wanted:
            yield self._shift_readout("output_difference", "difference", "finetuned", output)
            for name, found in nulls.items():
                yield self._shift_readout("output_difference", name, "finetuned", found.output)
        if "shift_lens" in wanted:
            yield from self._shift_lens(contexts, swept, chosen, nulls)
        if "amplified_difference" in wanted:
            yield self._shift_readout(
                "amplified_difference", "difference", "finetuned", pushed, scale=alpha
            )
            for name, found in nulls.items():
                yield self._shift_readout(
                    "amplified_difference", name, "finetuned", found.base, scale=alpha
                )

    def _alpha_sweep(self, contexts: Contexts, side: Side) -> dict[float, Shift]:
        unit = self._unit(POOLED)
        assert unit is not None
        shifts = self._shifts(
            contexts, side, np.stack([unit * alpha for alpha in ALPHAS]), f"shift lens, {side}"
        )
        return dict(zip(ALPHAS, shifts, strict=True))

    def _choose_alpha(self, side: Side, by_alpha: Mapping[float, Shift]) -> tuple[float, str]:
        if self._request.judge is not None:
            lists = {
                alpha: _texts(self._top(shift_score(shift, self._vocabulary.words), SHOWN_TOKENS))
                for alpha, shift in by_alpha.items()
            }
            picked = self._judged("shift_lens", lists)
            if picked is not None:
                return picked, BY_JUDGE
        kl = {alpha: shift.kl for alpha, shift in by_alpha.items()}
        return chosen_alpha(side, kl), self._by_rule("strongest within the KL budget")

    def _null_shifts(
        self, contexts: Contexts, chosen: Mapping[Side, tuple[float, str]]
    ) -> dict[str, _NullShifts]:
        """Per null: what it does to each side at the chosen alpha, and to the base's output."""
        nulls = self._nulls()
        size = float(np.linalg.norm(self._difference.vector(self._site()))) / self._norm
        found = {}
        for name, unit in nulls.items():
            stage = f"null ({name.replace('_', ' ')})"
            base, same_size = self._shifts(
                contexts, "base", np.stack([unit * chosen["base"][0], unit * size]), stage
            )
            (finetuned,) = self._shifts(
                contexts, "finetuned", (unit * chosen["finetuned"][0])[None], stage
            )
            output: Shift | None = same_size
            if name == SPLIT_HALF:
                output = split_half_shift(
                    self._pair, contexts, self._request.layer, should_stop=self._should_stop
                )
                output = None if output is None else self._on_shared("base", output)
            found[name] = _NullShifts(base, finetuned, output or same_size)
        return found

    def _shift_lens(
        self,
        contexts: Contexts,
        swept: Mapping[Side, Mapping[float, Shift]],
        chosen: Mapping[Side, tuple[float, str]],
        nulls: Mapping[str, _NullShifts],
    ) -> Iterator[TokenReadout]:
        for side in SIDES:
            picked, rule = chosen[side]
            for alpha, shift in swept[side].items():
                yield self._shift_readout(
                    "shift_lens",
                    "difference",
                    side,
                    shift,
                    scale=alpha,
                    chosen=alpha == picked,
                    rule=rule,
                )
            for name, found in nulls.items():
                shift = found.base if side == "base" else found.finetuned
                yield self._shift_readout("shift_lens", name, side, shift, scale=picked, rule=rule)
            positions = [label for label in self._difference.positions if label != POOLED]
            units = [self._unit(label) for label in positions]
            vectors = np.stack([unit * picked for unit in units if unit is not None])
            shifts = self._shifts(contexts, side, vectors, f"shift lens by position, {side}")
            for position, shift in zip(positions, shifts, strict=True):
                readout = self._shift_readout(
                    "shift_lens", "difference", side, shift, scale=picked, rule=rule
                )
                yield replace(readout, site=self._site(position))

    def _shifts(self, contexts: Contexts, side: Side, vectors: Floats, stage: str) -> list[Shift]:
        shifts = steering_shifts(
            self._pair,
            side,
            contexts,
            self._request.layer,
            vectors,
            progress=self._stage(stage),
            should_stop=self._should_stop,
        )
        return [self._on_shared(side, shift) for shift in shifts]

    def _on_shared(self, side: Side, shift: Shift) -> Shift:
        """A side's own vocabulary cut to the tokens that both sides have."""
        if not self._columns:
            return shift
        keep = self._columns[side]
        return Shift(shift.log_shift[keep], shift.before[keep], shift.after[keep], shift.kl)

    def _shift_readout(
        self,
        reading: Reading,
        source: str,
        side: Side,
        shift: Shift,
        *,
        scale: float | None = None,
        chosen: bool = True,
        rule: str = "",
    ) -> TokenReadout:
        score = {
            "output_difference": output_score,
            "shift_lens": shift_score,
            "amplified_difference": ratio_score,
        }[reading]
        everything = np.ones_like(self._vocabulary.words)
        return self._ranked(
            reading,
            source,
            side,
            score(shift, self._vocabulary.words),
            scale=scale,
            chosen=chosen,
            rule=rule,
            unfiltered=score(shift, everything),
            probability=shift.after,
            statistics={"kl": shift.kl},
        )

    # --- patchscope ---------------------------------------------------------------------------

    def patchscopes(self, wanted: set[Reading]) -> Iterator[TokenReadout]:
        sources = self._patched_sources()
        scales = sorted({*SCALES, *CONTRAST_SCALES})
        rows = sweep(
            self._pair,
            self._request.layer,
            np.stack([vector for _, _, vector in sources]),
            [position for _, position, _ in sources],
            self._vocabulary.words,
            scales=scales,
            progress=self._stage("patchscope"),
            should_stop=self._should_stop,
        )
        for column, (source, position, _) in enumerate(sources):
            points = [row[column] for row in rows]
            if "patchscope_contrast" in wanted and source not in SIDES:
                yield from self._contrasts(source, position, points)
            if "patchscope" in wanted:
                yield from self._patchscope(source, position, points)

    def _patched_sources(self) -> list[tuple[str, str, Floats]]:
        """(source, position, vector) of everything that is patched in."""
        labels = dict.fromkeys((POOLED, *self._difference.positions))
        found: list[tuple[str, str, Floats | None]] = [
            ("difference", label, self._unit(label)) for label in labels
        ]
        found += [(name, POOLED, vector) for name, vector in self._nulls().items()]
        found += [(side, POOLED, self._unit(POOLED, side)) for side in SIDES]
        return [(source, label, vector) for source, label, vector in found if vector is not None]

    def _contrasts(
        self, source: str, position: str, points: Sequence[SweepPoint]
    ) -> Iterator[TokenReadout]:
        words = self._vocabulary.words
        lists: dict[float, TokenReadout] = {}
        for point in points:
            lists[point.scale] = self._contrast(source, position, [point], words)
        asked = self._request.judge is not None and source == "difference"
        picked = None
        if asked:
            picked = self._judged(
                "patchscope_contrast",
                {scale: _texts(readout.tokens) for scale, readout in lists.items()},
            )
        for scale, readout in lists.items():
            chosen = scale == picked
            yield replace(
                readout,
                scale=scale,
                chosen=chosen,
                chosen_by=BY_JUDGE if chosen else "",
                tokens=readout.tokens if chosen else readout.tokens[:SHOWN_TOKENS],
                unfiltered=readout.unfiltered[:SHOWN_TOKENS],
            )
        averaged = [point for point in points if point.scale in CONTRAST_SCALES]
        yield replace(
            self._contrast(source, position, averaged, words),
            chosen=picked is None,
            chosen_by=""
            if picked is not None
            else self._by_rule("mean over scales 0.3 to 0.6", asked=asked),
        )

    def _contrast(
        self, source: str, position: str, points: Sequence[SweepPoint], words: Mask
    ) -> TokenReadout:
        scores, probability = mean_contrast(points, words)
        unfiltered, _ = mean_contrast(points, np.ones_like(words))
        readout = self._ranked(
            "patchscope_contrast",
            source,
            "finetuned",
            scores,
            unfiltered=unfiltered,
            probability=probability,
            statistics={"agreement": float(np.mean([point.agreement for point in points]))},
        )
        return replace(readout, site=self._site(position))

    def _patchscope(
        self, source: str, position: str, points: Sequence[SweepPoint]
    ) -> Iterator[TokenReadout]:
        grid = [point for point in points if point.scale in SCALES]
        picked, rule = self._choose_scale(source, grid)
        for point in grid:
            readout = self._ranked(
                "patchscope",
                source,
                "finetuned",
                among(point.patchscope, self._vocabulary.words),
                scale=point.scale,
                chosen=point.scale == picked,
                rule=rule,
                unfiltered=point.patchscope,
                probability=point.probability,
                statistics={"agreement": point.agreement},
            )
            yield replace(readout, site=self._site(position))

    def _choose_scale(self, source: str, grid: Sequence[SweepPoint]) -> tuple[float, str]:
        if self._request.judge is not None and source == "difference":
            lists = {
                point.scale: _texts(self._top(point.patchscope, SHOWN_TOKENS)) for point in grid
            }
            picked = self._judged("patchscope", lists)
            if picked is not None:
                return picked, BY_JUDGE
        agreeing = [point.scale for point in grid if point.agreement >= PROMPT_AGREEMENT]
        best = max(grid, key=lambda point: point.agreement).scale
        rule = self._by_rule("first scale at which the prompts agree", asked=source == "difference")
        return (agreeing[0] if agreeing else best), rule

    # --- logit lens ---------------------------------------------------------------------------

    def logit_lenses(self) -> Iterator[TokenReadout]:
        labels = tuple(dict.fromkeys((POOLED, *self._difference.positions)))
        entries = [("difference", label, self._unit(label)) for label in labels]
        entries += [("negative", label, _negated(self._unit(label))) for label in labels]
        entries += [(name, POOLED, vector) for name, vector in self._nulls().items()]
        entries += [(side, POOLED, self._unit(POOLED, side)) for side in SIDES]
        found = [(name, label, vector) for name, label, vector in entries if vector is not None]
        self._stage("logit lens")(0, len(found))
        side: Side = "finetuned"
        vocabulary = Vocabulary.of(self._pair.token_texts(side))
        lists = logit_lens(
            self._pair,
            side,
            np.stack([vector for _, _, vector in found]),
            vocabulary,
            self._request.top,
        )
        for (source, label, _), tokens in zip(found, lists, strict=True):
            words = [token for token in tokens if vocabulary.words[token.token_id]]
            yield TokenReadout(
                reading="logit_lens",
                source=source,
                side=side,
                site=self._site(label),
                tokens=tuple(words),
                words_only=True,
                unfiltered=tokens,
            )
        self._stage("logit lens")(len(found), len(found))

    # --- lists --------------------------------------------------------------------------------

    def _ranked(
        self,
        reading: Reading,
        source: str,
        side: Side,
        scores: Scores,
        *,
        scale: float | None = None,
        chosen: bool = True,
        rule: str = "",
        unfiltered: Scores | None = None,
        probability: Scores | None = None,
        statistics: Mapping[str, float] | None = None,
    ) -> TokenReadout:
        top = self._request.top if chosen else SHOWN_TOKENS
        return TokenReadout(
            reading=reading,
            source=source,
            side=side,
            site=self._site(),
            tokens=self._top(scores, top, probability),
            words_only=True,
            unfiltered=()
            if unfiltered is None
            else self._top(unfiltered, SHOWN_TOKENS, probability),
            scale=scale,
            chosen=chosen,
            chosen_by=rule if chosen else "",
            statistics=dict(statistics or {}),
        )

    def _top(
        self, scores: Scores, top: int, probability: Scores | None = None
    ) -> tuple[TokenScore, ...]:
        return top_tokens(scores, self._vocabulary, top, probability)

    def _judged(self, reading: str, lists: Mapping[float, Sequence[str]]) -> float | None:
        assert self._request.judge is not None
        picked = self._request.judge(reading, lists)
        if picked is not None and picked not in lists:
            raise ValueError(f"the judge chose {picked!r}, which is not one of {sorted(lists)}")
        return picked

    def _by_rule(self, rule: str, *, asked: bool = True) -> str:
        """The rule's name, with word of a judge that was asked and gave no verdict."""
        return rule + NO_VERDICT if asked and self._request.judge is not None else rule

    def _stage(self, name: str) -> Progress:
        return lambda done, total: self._progress(name, done, total)


@dataclass(frozen=True)
class _NullShifts:
    """What one null vector does: to base and finetuned at their alphas, and as if a finetuning."""

    base: Shift
    finetuned: Shift
    output: Shift


def _texts(tokens: Sequence[TokenScore]) -> list[str]:
    return [token.text for token in tokens]


def _negated(vector: Floats | None) -> Floats | None:
    return None if vector is None else -vector
