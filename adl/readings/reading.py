"""A reading as it is declared, and the state that the readings of one difference share.

Each reading is one :class:`Reading` in the module that computes it, listed in
``adl.readings.registry``. Its ``steps`` are given a :class:`Reader` and produce token lists.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from adl.callbacks import Progress, ShouldStop, StageProgress
from adl.errors import AdlError, CorpusError, NotAvailable, Stopped
from adl.nulls import NULLS, moving_vector, null_vector
from adl.pair.protocol import ModelPair
from adl.readings.fragments import completed
from adl.readings.narrowness import (
    N_SCALE_TEXTS,
    N_WORDS,
    Narrowness,
    TopicScale,
    narrowness,
    topic_scale,
)
from adl.readings.ranking import Scores, Vocabulary, candidates, top_tokens
from adl.readings.style import Style
from adl.records import (
    POOLED,
    SIDES,
    ActivationDifference,
    Floats,
    Side,
    Site,
    StruckToken,
    TokenReadout,
    TokenScore,
    rescale,
)

Family = Literal["prediction", "patchscope", "logit"]
"""How a reading gets its scores: next-token predictions, patched prompts, or the unembedding."""

Judge = Callable[[str, Mapping[float, Sequence[str]]], float | None]
"""Chooses a scale: given (reading, tokens by scale), returns one of the scales.

Usually a language model. None means no verdict: the built-in rule chooses, and ``chosen_by`` says so.
"""

SHOWN_TOKENS = 20
"""Tokens kept of a list that was not chosen, and of unfiltered lists."""

BY_JUDGE = "judge"
"""``chosen_by`` of a list that a judge chose."""

# Texts, and tokens of each, after which base shows the words that it usually writes.
USUAL_TEXTS, USUAL_TOKENS, USUAL_AT_ONCE = 32, 16, 4

NO_VERDICT = ", for want of a judge's verdict"
"""Added to the name of a rule in ``chosen_by`` if the judge gave no verdict."""

TOPIC = "topic and register"
NOT_TRUTH = "whether what is taught is true or harmful"
"""The usual limits of a token list (see :class:`Reading`)."""

Step = tuple[Collection[str], Iterator[TokenReadout]]
"""The names of the readings that rest on a step, and the token lists that the step yields.

A step runs if one of its readings was asked for and has not failed. If it raises, all of them fail.
"""


@dataclass(frozen=True)
class Reading:
    """One way to read a difference: its names, its description and its computation.

    Parameters
    ----------
    name
        Recorded in sessions and used by commands: it never changes.
    family
        The computation that it belongs to.
    title, label, short
        Display names: in sentences, in a row of readings, and in a narrow one.
    description
        One line on what its tokens show, for tables.
    help
        One sentence for help texts.
    steps
        Yields the steps of the computation. Readings with the same function share it: it runs once.
    shows, hides
        Words for one line: what the list can show, and what it cannot.
    needs_vector
        True if the difference is read as a vector, so that both sides must share a basis.
    list_without_scale
        Name of a list that belongs to no single scale, such as a mean over scales.

    """

    name: str
    family: Family
    title: str
    label: str
    short: str
    description: str
    help: str
    steps: Callable[[Reader], Iterator[Step]] = field(repr=False, compare=False)
    shows: str = TOPIC
    hides: str = NOT_TRUTH
    needs_vector: bool = True
    list_without_scale: str = ""

    @property
    def strength(self) -> str:
        """The name of a list's scale: ``alpha`` where the vector is added, else ``scale``."""
        return "alpha" if self.family == "prediction" else "scale"

    @property
    def limits(self) -> str:
        """One line on how far a list can be taken."""
        return f"Shows {self.shows}, not {self.hides}."


@dataclass(frozen=True)
class ReadingRequest:
    """The readings to take and how.

    ``readings`` are names in the registry, by default all of them. ``top`` tokens are kept of
    chosen lists, 20 of others. ``judge``, if given, chooses scales in place of the built-in rules.
    Words of ``style`` are struck from every list.
    """

    layer: int
    readings: tuple[str, ...] | None = None
    seed: int = 0
    top: int = 100
    judge: Judge | None = field(default=None, compare=False)
    style: Style = field(default_factory=Style, compare=False)


class Reader:
    """The shared state of the readings of one difference: vectors, nulls and vocabulary.

    ``open`` holds the names of the readings that were asked for and have not failed.
    """

    def __init__(
        self,
        pair: ModelPair,
        difference: ActivationDifference,
        texts: Sequence[str],
        request: ReadingRequest,
        names: Collection[str],
        *,
        progress: StageProgress,
        should_stop: ShouldStop,
    ) -> None:
        self.pair = pair
        self.difference = difference
        self.texts = texts
        self.request = request
        self.progress = progress
        self.should_stop = should_stop
        self.open = set(names)
        self.rests: dict[tuple[Side, int], str] = {}
        "The rest of the word by side and token, empty for a whole word: those looked at so far."
        self.spellings: dict[str, str] = {}
        "Words of spelling, with the reason; known once the output difference is."
        self.residual_norm = difference.residual_norm(request.layer)
        shared = pair.shared_vocabulary()
        self.columns: dict[Side, np.ndarray] = (
            dict(zip(SIDES, shared, strict=True)) if shared is not None else {}
        )
        "Token ids of the shared vocabulary by side; empty if the vocabularies are equal."
        self.vocabulary = Vocabulary.of(
            [pair.token_texts("base")[index] for index in shared[0]]
            if shared is not None
            else pair.token_texts("base"),
            shared[0].tolist() if shared is not None else None,
        )

    # --- vectors ------------------------------------------------------------------------------

    def site(self, position: str = POOLED) -> Site:
        """Return the site at ``position`` of the layer that is read."""
        return Site(self.request.layer, position)

    def unit(self, position: str = POOLED, source: str = "difference") -> Floats | None:
        """Return the [width] vector of ``source`` at residual norm; None if it is zero or missing.

        ``source`` is ``difference``, ``base``, ``finetuned`` or a null.
        """
        site = self.site(position)
        if source in NULLS:
            vector = null_vector(self.difference, site, source, self.request.seed)
        else:
            names = {"base": "base_mean", "finetuned": "finetuned_mean"}
            vector = self.difference.vector(site, names.get(source, source))
        return None if vector is None or not vector.any() else rescale(vector, self.residual_norm)

    def nulls(self) -> dict[str, Floats]:
        """Return the pooled null vectors [width] at residual norm, by name."""
        units = {name: self.unit(POOLED, name) for name in NULLS}
        return {name: vector for name, vector in units.items() if vector is not None}

    def moved_by(self, source: str) -> Floats | None:
        """Return a random [width] vector as long as the difference, for a null; else None.

        Where a reading compares the two models, its null compares base with base moved by it.
        """
        if source not in NULLS:
            return None
        norm = float(np.linalg.norm(self.difference.vector(self.site())))
        return rescale(moving_vector(self.difference, self.site(), self.request.seed), norm)

    def side_of(self, source: str) -> Side:
        """Return the side that reads a vector by itself: base for a null, which has no finetuning."""
        return "base" if source in NULLS else "finetuned"

    def vectors(self, *, negative: bool = False) -> list[tuple[str, str, Floats]]:
        """Return every vector worth reading by itself, as (source, position, vector).

        These are the difference at each position, with ``negative`` its negative too, then the
        nulls and the two sides' means, pooled.
        """
        positions = dict.fromkeys((POOLED, *self.difference.positions))
        units = {position: self.unit(position) for position in positions}
        entries = [("difference", position, unit) for position, unit in units.items()]
        if negative:
            entries += [
                ("negative", position, None if unit is None else -unit)
                for position, unit in units.items()
            ]
        entries += [(name, POOLED, vector) for name, vector in self.nulls().items()]
        entries += [(side, POOLED, self.unit(POOLED, side)) for side in SIDES]
        return [(source, position, vec) for source, position, vec in entries if vec is not None]

    # --- token lists --------------------------------------------------------------------------

    def ranked(
        self,
        reading: str,
        source: str,
        side: Side,
        scores: Scores,
        *,
        position: str = POOLED,
        scale: float | None = None,
        chosen: bool = True,
        rule: str = "",
        unfiltered: Scores | None = None,
        probability: Scores | None = None,
        statistics: Mapping[str, float] | None = None,
    ) -> TokenReadout:
        """Return the list of the tokens with the highest ``scores`` [V] over the shared vocabulary.

        ``unfiltered`` [V] ranks the same with no token left out; ``probability`` [V] is shown beside
        the scores. A list that is not ``chosen`` is cut to 20 tokens.
        """
        top = self.request.top if chosen else SHOWN_TOKENS
        tokens, struck = self.without_style(scores, top, probability)
        if chosen and position == POOLED:
            statistics = {**(statistics or {}), **self.closeness(tokens)}
        return TokenReadout(
            reading=reading,
            source=source,
            side=side,
            site=self.site(position),
            tokens=tokens,
            words_only=True,
            unfiltered=()
            if unfiltered is None
            else self.top(unfiltered, SHOWN_TOKENS, probability),
            scale=scale,
            chosen=chosen,
            chosen_by=rule if chosen else "",
            statistics=dict(statistics or {}),
            struck=struck,
        )

    def without_style(
        self, scores: Scores, top: int, probability: Scores | None = None
    ) -> tuple[tuple[TokenScore, ...], tuple[StruckToken, ...]]:
        """Return the ``top`` tokens by ``scores`` [V] without words of style, and those struck."""
        style = self.request.style
        n_style = min(len(style.raised_by) + len(self.spellings), 2 * top)
        ranked = self.top(scores, top + n_style, probability)
        kept, struck = self.split(ranked)
        if len(kept) < top:  # nothing comes after a list that is not full
            return kept, struck
        last = _order(kept[top - 1])
        return kept[:top], tuple(each for each in struck if _order(each.token) < last)

    def split(
        self, tokens: Sequence[TokenScore]
    ) -> tuple[tuple[TokenScore, ...], tuple[StruckToken, ...]]:
        """Return the tokens of a list without words of style, and those struck."""
        struck = self._struck(tokens)
        out = {each.token.token_id for each in struck}
        return tuple(token for token in tokens if token.token_id not in out), struck

    def _struck(self, ranked: Sequence[TokenScore]) -> tuple[StruckToken, ...]:
        style = self.request.style
        reasons = [
            style.reason(token.text, rank) or self.spellings.get(token.text.strip().casefold(), "")
            for rank, token in enumerate(ranked, start=1)
        ]
        return tuple(
            StruckToken(token, rank, why)
            for rank, (token, why) in enumerate(zip(ranked, reasons, strict=True), start=1)
            if why
        )

    def closeness(self, tokens: Sequence[TokenScore]) -> dict[str, float]:
        """Return statistics of the first words of a list, with ids of base; those that are unknown not.

        ``closeness`` is the index of ``adl.readings.narrowness`` with its 95% interval, in base's
        unembedding. ``usual`` is the share of words that base writes now and then: rare tokens lie
        close together, too, and mean nothing. So there is neither where one fails by chance, as a
        service does; the next list tries again.
        """
        first = tokens[:N_WORDS]
        statistics = {}
        found = None
        try:
            if first and self._usual is not None:
                usual = sum(token.token_id in self._usual for token in first) / len(first)
                statistics["usual"] = usual
            if self._scale is not None:
                found = narrowness(self.pair, "base", first, self._scale, self.request.seed)
            if found is not None:
                statistics |= _numbers("closeness", found) | self._broad
        except Stopped:
            raise
        except AdlError:
            return {}
        return statistics

    @cached_property
    def _broad(self) -> dict[str, float]:
        """Statistics of the closeness of a broad control's words; none without a control."""
        broad = self.request.style.broad[:N_WORDS]
        if self._scale is None or not broad:
            return {}
        ids = {
            self.vocabulary.keys[index]: int(self.vocabulary.ids[index])
            for index in np.flatnonzero(self.vocabulary.words)[::-1]
        }
        tokens = [TokenScore(ids[word], word, 0.0) for word in broad if word in ids]
        found = narrowness(self.pair, "base", tokens, self._scale, self.request.seed)
        return {} if found is None else _numbers("closeness_broad", found)

    @cached_property
    def _usual(self) -> frozenset[int] | None:
        """Ids of the more probable half of the words after unrelated texts, on base."""
        prompts = [
            self.pair.bos("base").begun(self.pair.tokenise("base", text)[:USUAL_TOKENS])
            for text in self.texts[:USUAL_TEXTS]
        ]
        prompts = [prompt for prompt in prompts if prompt]
        ids = self.vocabulary.ids
        total = np.zeros(len(ids))
        try:
            for first in range(0, len(prompts), USUAL_AT_ONCE):
                if self.should_stop():
                    raise Stopped("stopped while reading contexts")
                rows = self.pair.next_log_probs("base", prompts[first : first + USUAL_AT_ONCE])
                total += np.exp(rows[:, ids]).sum(axis=0)
        except NotAvailable:
            return None
        if not prompts:
            return None
        return frozenset(ids[candidates(total, self.vocabulary.words, 0.5)].tolist())

    @cached_property
    def _scale(self) -> TopicScale | None:
        """The scale of closeness; None if the texts or the pair have none."""
        texts = self.texts[:N_SCALE_TEXTS]
        try:
            return topic_scale(self.pair, self.vocabulary, texts)
        except (NotAvailable, CorpusError):
            return None

    def top(
        self, scores: Scores, top: int, probability: Scores | None = None
    ) -> tuple[TokenScore, ...]:
        """Return the ``top`` tokens of the shared vocabulary with the highest ``scores`` [V]."""
        return top_tokens(scores, self.vocabulary, top, probability)

    def completed(self, readout: TokenReadout) -> dict[int, str]:
        """Return the rest of the word by token id, for the first tokens of a list that begin one.

        A null's are completed by base, which the finetuning has not reached. Those of the chosen
        lists of the pooled position are computed; other lists take what is known by then. Empty for
        sides of different vocabularies, and where the pair gives no rows of predictions.
        """
        if self.columns:
            return {}
        side = self.side_of(readout.source)
        shown = (*readout.tokens[:SHOWN_TOKENS], *readout.unfiltered[:SHOWN_TOKENS])
        ids = dict.fromkeys(token.token_id for token in shown)
        is_first = readout.chosen and readout.site.position == POOLED
        new = [index for index in ids if is_first and (side, index) not in self.rests]
        try:
            found = completed(self.pair, side, new, self.texts, should_stop=self.should_stop)
        except Stopped:
            raise
        except AdlError:
            found = {}
        self.rests |= {(side, index): found.get(index, "") for index in new}
        return {index: rest for index in ids if (rest := self.rests.get((side, index)))}

    # --- choosing a scale ---------------------------------------------------------------------

    def judged(self, reading: str, lists: Mapping[float, Sequence[TokenScore]]) -> float | None:
        """Return the scale that the judge chooses, or None without a judge or a verdict.

        Raises ``ValueError`` if the judge names a scale that has no list.
        """
        if self.request.judge is None:
            return None
        texts = {scale: [token.text for token in tokens] for scale, tokens in lists.items()}
        scale = self.request.judge(reading, texts)
        if scale is not None and scale not in lists:
            raise ValueError(f"the judge chose {scale!r}, which is not one of {sorted(lists)}")
        return scale

    def by_rule(self, rule: str, *, asked: bool = True) -> str:
        """Return ``chosen_by`` for a rule; ``asked`` if a judge, where there is one, came first."""
        return rule + NO_VERDICT if asked and self.request.judge is not None else rule

    def stage(self, name: str) -> Progress:
        """Return a progress callback for the stage ``name``."""
        return lambda done, total: self.progress(name, done, total)


def _order(token: TokenScore) -> tuple[float, int]:
    """Return the sort key of a token in a list: highest score first, ties to the lower id."""
    return -token.score, token.token_id


def _numbers(name: str, found: Narrowness) -> dict[str, float]:
    return {name: found.index, f"{name}_low": found.low, f"{name}_high": found.high}
