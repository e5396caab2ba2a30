"""All readings of one measured difference, each beside its nulls, with scale and alpha chosen.

    take_readings(pair, difference, texts, request) -> TokenReadout | FailedReading ...

Lists are given as soon as they are ready: first those of next-token predictions (output difference,
shift lens, amplified difference, and their consensus), then patchscope and its contrast, and last the
logit lens. A reading that fails is given as a ``FailedReading``, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from adl.callbacks import Progress, ShouldStop, StageProgress, ignore_stages, never_stop
from adl.controls import RANDOM, SPLIT_HALF, control_vector
from adl.errors import AdlError, Stopped, first_line
from adl.pair.protocol import ModelPair
from adl.pair.self_checks import DIFFERENCE, require
from adl.readings.logit_lens import logit_lens
from adl.readings.patchscope import CONTRAST_SCALES, SCALES, MeanContrast, SweepPoint, sweep
from adl.readings.ranking import Scores, Vocabulary, among, fused, top_tokens
from adl.readings.shift_lens import (
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
#: Those that read the difference as a vector: all but the one that compares what the sides say.
VECTOR_READINGS = frozenset(READINGS) - {"output_difference"}
CONSENSUS_OF: tuple[Reading, ...] = ("output_difference", "shift_lens", "amplified_difference")

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


@dataclass(frozen=True)
class FailedReading:
    """A reading that was not computed, or not all of it, with what went wrong."""

    reading: Reading
    error: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, reading: Reading, error: Exception) -> FailedReading:
        """A reading that ended by ``error``."""
        if isinstance(error, AdlError):
            return cls(reading, type(error).__name__, error.message, error.hint)
        return cls(reading, type(error).__name__, f"{type(error).__name__}: {first_line(error)}")


def take_readings(
    pair: ModelPair,
    difference: ActivationDifference,
    texts: Sequence[str],
    request: ReadingRequest,
    *,
    progress: StageProgress = ignore_stages,
    should_stop: ShouldStop = never_stop,
) -> Iterator[TokenReadout | FailedReading]:
    """Read the difference at ``request.layer``: pooled and at each position, with nulls.

    ``texts`` are unrelated, as those measured on; the first 64 that are long enough are the
    contexts of the prediction readings. Lists come as soon as they are ready, and a reading that
    fails once, after its last list; raises ``Stopped`` within one batch of being asked to.
    """
    return _Reader(pair, difference, request, progress, should_stop).everything(texts)


class _Reader:
    """The readings of one difference; holds what they share."""

    def __init__(
        self,
        pair: ModelPair,
        difference: ActivationDifference,
        request: ReadingRequest,
        progress: StageProgress,
        should_stop: ShouldStop,
    ) -> None:
        self._pair = pair
        self._difference = difference
        self._request = request
        self._progress = progress
        self._should_stop = should_stop
        self._open = set(request.readings)
        "Those asked for that have not failed."
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

    # --- one after the other -------------------------------------------------------------------

    def everything(self, texts: Sequence[str]) -> Iterator[TokenReadout | FailedReading]:
        """Every reading that is asked for."""
        predictions = _Predictions()
        steered = ("shift_lens", "amplified_difference", "consensus")
        steps: Sequence[tuple[_Step, Collection[str]]] = (
            (self._find_contexts, PREDICTION_READINGS),
            (self._output, ("output_difference", "amplified_difference", "consensus")),
            (self._steer_base, steered),
            (self._nulls_on_base, PREDICTION_READINGS),
            (self._steer_finetuned, steered),
            (self._agree, ("consensus",)),
            (self._rest_of_shift_lens, ("shift_lens",)),
        )
        yield from self._tried(VECTOR_READINGS, self._means_something())
        for step, serves in steps:
            yield from self._tried(serves, step(texts, predictions))
        del predictions
        for source in self._patched_sources() if self._open & PATCHSCOPE_READINGS else ():
            yield from self._tried(PATCHSCOPE_READINGS, self._patched(*source))
        yield from self._tried({"logit_lens"}, self._logit_lenses())

    def _tried(
        self, serves: Collection[str], lists: Iterator[TokenReadout]
    ) -> Iterator[TokenReadout | FailedReading]:
        """The lists of a step; where it fails, the readings that rest on it are over."""
        serving = [
            reading for reading in self._request.readings if reading in self._open & {*serves}
        ]
        if not serving:
            return
        try:
            yield from lists
        except Stopped:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever it is, the other readings are no worse
            self._open -= {*serving}
            for reading in serving:
                yield FailedReading.of(reading, exc)

    def _means_something(self) -> Iterator[TokenReadout]:
        """No list: raises ``NotAvailable`` where the sides' residuals cannot be subtracted."""
        require(self._pair.provenance, DIFFERENCE)
        yield from ()

    # --- next-token predictions ----------------------------------------------------------------

    def _find_contexts(self, texts: Sequence[str], found: _Predictions) -> Iterator[TokenReadout]:
        found.contexts = contexts_of(self._pair, texts)
        yield from ()

    def _output(self, _texts: Sequence[str], found: _Predictions) -> Iterator[TokenReadout]:
        output = output_shift(self._pair, found.contexts, should_stop=self._should_stop)
        found.output = output
        found.keep("difference", "output_difference", output_score(output, self._vocabulary.words))
        if "output_difference" in self._open:
            yield self._shift_readout("output_difference", "difference", "finetuned", output)

    def _steer_base(self, _texts: Sequence[str], found: _Predictions) -> Iterator[TokenReadout]:
        swept = self._alpha_sweep(found.contexts, "base")
        found.chosen["base"] = alpha, rule = self._choose_alpha("base", swept)
        found.keep("difference", "shift_lens", shift_score(swept[alpha], self._vocabulary.words))
        if "shift_lens" in self._open:
            yield from self._shift_lists("base", swept, alpha, rule)

    def _nulls_on_base(self, _texts: Sequence[str], found: _Predictions) -> Iterator[TokenReadout]:
        """Per null: what it does to the base at the chosen alpha, and to the base's output."""
        words = self._vocabulary.words
        size = float(np.linalg.norm(self._difference.vector(self._site()))) / self._norm
        chosen = found.chosen.get("base")
        for name, unit in self._nulls().items():
            vectors = [unit * size] if chosen is None else [unit * size, unit * chosen[0]]
            stage = f"null ({name.replace('_', ' ')})"
            output, *steered = self._shifts(found.contexts, "base", np.stack(vectors), stage)
            if name == SPLIT_HALF:
                halves = split_half_shift(
                    self._pair, found.contexts, self._request.layer, should_stop=self._should_stop
                )
                output = output if halves is None else self._on_shared("base", halves)
            found.keep(name, "output_difference", output_score(output, words))
            if "output_difference" in self._open:
                yield self._shift_readout("output_difference", name, "finetuned", output)
            if chosen is None:
                continue
            (base,) = steered
            alpha, rule = chosen
            found.keep(name, "shift_lens", shift_score(base, words))
            found.keep(name, "amplified_difference", ratio_score(base, words))
            if "shift_lens" in self._open:
                yield self._shift_readout("shift_lens", name, "base", base, scale=alpha, rule=rule)
            if "amplified_difference" in self._open:
                yield self._shift_readout(
                    "amplified_difference", name, "finetuned", base, scale=alpha
                )

    def _steer_finetuned(
        self, _texts: Sequence[str], found: _Predictions
    ) -> Iterator[TokenReadout]:
        swept = self._alpha_sweep(found.contexts, "finetuned")
        found.chosen["finetuned"] = picked, rule = self._choose_alpha("finetuned", swept)
        if found.output is not None:
            alpha, _ = found.chosen["base"]
            pushed = amplified(found.output, swept[alpha])
            found.keep(
                "difference", "amplified_difference", ratio_score(pushed, self._vocabulary.words)
            )
            if "amplified_difference" in self._open:
                yield self._shift_readout(
                    "amplified_difference", "difference", "finetuned", pushed, scale=alpha
                )
        if "shift_lens" in self._open:
            yield from self._shift_lists("finetuned", swept, picked, rule)

    def _agree(self, _texts: Sequence[str], found: _Predictions) -> Iterator[TokenReadout]:
        alpha, _ = found.chosen["base"]
        for source, members in found.scores.items():
            scores = fused([members[name] for name in CONSENSUS_OF])
            yield self._ranked("consensus", source, "base", scores, scale=alpha)

    def _rest_of_shift_lens(
        self, _texts: Sequence[str], found: _Predictions
    ) -> Iterator[TokenReadout]:
        """Its nulls on the finetuned side, and its lists by position."""
        alpha, rule = found.chosen["finetuned"]
        for name, unit in self._nulls().items():
            stage = f"null ({name.replace('_', ' ')})"
            (shift,) = self._shifts(found.contexts, "finetuned", (unit * alpha)[None], stage)
            yield self._shift_readout(
                "shift_lens", name, "finetuned", shift, scale=alpha, rule=rule
            )
        positions = [label for label in self._difference.positions if label != POOLED]
        for side in SIDES:
            alpha, rule = found.chosen[side]
            units = [self._unit(label) for label in positions]
            vectors = np.stack([unit * alpha for unit in units if unit is not None])
            stage = f"shift lens by position, {side}"
            shifts = self._shifts(found.contexts, side, vectors, stage)
            for position, shift in zip(positions, shifts, strict=True):
                readout = self._shift_readout(
                    "shift_lens", "difference", side, shift, scale=alpha, rule=rule
                )
                yield replace(readout, site=self._site(position))

    def _shift_lists(
        self, side: Side, swept: Mapping[float, Shift], picked: float, rule: str
    ) -> Iterator[TokenReadout]:
        for alpha, shift in swept.items():
            yield self._shift_readout(
                "shift_lens",
                "difference",
                side,
                shift,
                scale=alpha,
                chosen=alpha == picked,
                rule=rule,
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

    def _patched_sources(self) -> list[tuple[int, int, str, str, Floats]]:
        """(number, how many, source, position, vector) of everything that is patched in."""
        labels = dict.fromkeys((POOLED, *self._difference.positions))
        found: list[tuple[str, str, Floats | None]] = [
            ("difference", label, self._unit(label)) for label in labels
        ]
        found += [(name, POOLED, vector) for name, vector in self._nulls().items()]
        found += [(side, POOLED, self._unit(POOLED, side)) for side in SIDES]
        there = [(source, label, vector) for source, label, vector in found if vector is not None]
        return [(number, len(there), *each) for number, each in enumerate(there)]

    def _patched(
        self, number: int, total: int, source: str, position: str, vector: Floats
    ) -> Iterator[TokenReadout]:
        """Patchscope and contrast of one vector; of each point no more is kept than its lists."""
        scales = sorted({*SCALES, *CONTRAST_SCALES})
        contrasting = "patchscope_contrast" in self._open and source not in SIDES
        mean = MeanContrast()
        contrasts: dict[float, TokenReadout] = {}
        patched: dict[float, TokenReadout] = {}
        for point in sweep(
            self._pair,
            self._request.layer,
            vector,
            scales=scales,
            progress=lambda done, of: self._progress("patchscope", number * of + done, total * of),
            should_stop=self._should_stop,
        ):
            if contrasting:
                contrasts[point.scale] = self._contrast(source, position, MeanContrast.of(point))
                if point.scale in CONTRAST_SCALES:
                    mean.add(point)
            if "patchscope" in self._open and point.scale in SCALES:
                patched[point.scale] = self._patchscope(source, position, point)
        if contrasting:
            yield from self._contrasts(source, contrasts, self._contrast(source, position, mean))
        if patched:
            picked, rule = self._choose_scale(source, patched)
            for scale, readout in patched.items():
                yield _cut(readout, chosen=scale == picked, rule=rule)

    def _contrasts(
        self, source: str, lists: Mapping[float, TokenReadout], mean: TokenReadout
    ) -> Iterator[TokenReadout]:
        asked = self._request.judge is not None and source == "difference"
        picked = None
        if asked:
            picked = self._judged(
                "patchscope_contrast",
                {scale: _texts(readout.tokens) for scale, readout in lists.items()},
            )
        for scale, readout in lists.items():
            yield _cut(replace(readout, scale=scale), chosen=scale == picked, rule=BY_JUDGE)
        yield replace(
            mean,
            chosen=picked is None,
            chosen_by=""
            if picked is not None
            else self._by_rule("mean over scales 0.3 to 0.6", asked=asked),
        )

    def _contrast(self, source: str, position: str, mean: MeanContrast) -> TokenReadout:
        readout = self._ranked(
            "patchscope_contrast",
            source,
            "finetuned",
            mean.scores(self._vocabulary.words),
            unfiltered=mean.scores(np.ones_like(self._vocabulary.words)),
            probability=mean.probability,
            statistics={"agreement": mean.agreement},
        )
        return replace(readout, site=self._site(position))

    def _patchscope(self, source: str, position: str, point: SweepPoint) -> TokenReadout:
        readout = self._ranked(
            "patchscope",
            source,
            "finetuned",
            among(point.patchscope, self._vocabulary.words),
            scale=point.scale,
            unfiltered=point.patchscope,
            probability=point.probability,
            statistics={"agreement": point.agreement},
        )
        return replace(readout, site=self._site(position))

    def _choose_scale(self, source: str, lists: Mapping[float, TokenReadout]) -> tuple[float, str]:
        if self._request.judge is not None and source == "difference":
            unfiltered = {scale: _texts(readout.unfiltered) for scale, readout in lists.items()}
            picked = self._judged("patchscope", unfiltered)
            if picked is not None:
                return picked, BY_JUDGE
        agreement = {scale: readout.statistics["agreement"] for scale, readout in lists.items()}
        agreeing = [scale for scale, agreed in agreement.items() if agreed >= PROMPT_AGREEMENT]
        best = max(agreement, key=lambda scale: agreement[scale])
        rule = self._by_rule("first scale at which the prompts agree", asked=source == "difference")
        return (agreeing[0] if agreeing else best), rule

    # --- logit lens ---------------------------------------------------------------------------

    def _logit_lenses(self) -> Iterator[TokenReadout]:
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


_Step = Callable[[Sequence[str], "_Predictions"], Iterator[TokenReadout]]


class _Predictions:
    """What the steps of the prediction readings hand on: few arrays, as a vocabulary may be large."""

    contexts: Contexts

    def __init__(self) -> None:
        self.output: Shift | None = None
        self.chosen: dict[Side, tuple[float, str]] = {}
        self.scores: dict[str, dict[Reading, Scores]] = {}

    def keep(self, source: str, reading: Reading, scores: Scores) -> None:
        """Remember the scores [V] that the consensus is made of."""
        self.scores.setdefault(source, {})[reading] = scores


def _cut(readout: TokenReadout, *, chosen: bool, rule: str) -> TokenReadout:
    """A list of one scale: whole if it is the chosen one, and short if not."""
    return replace(
        readout,
        chosen=chosen,
        chosen_by=rule if chosen else "",
        tokens=readout.tokens if chosen else readout.tokens[:SHOWN_TOKENS],
        unfiltered=readout.unfiltered[:SHOWN_TOKENS],
    )


def _texts(tokens: Sequence[TokenScore]) -> list[str]:
    return [token.text for token in tokens]


def _negated(vector: Floats | None) -> Floats | None:
    return None if vector is None else -vector
