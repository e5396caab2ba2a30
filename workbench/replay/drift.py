"""The distance between two runs of the same operation: tokens, texts and numbers.

The findings of either run are matched by what they are findings of (a site, a source, a seed), and
then compared for equality: a tolerance would be a guess at what matters, so sizes are reported.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from workbench.store.arrays import ReadArray
from workbench.store.events import (
    AnswersCompared,
    DifferenceMeasured,
    EventBody,
    ReadingFailed,
    ReadingTaken,
    ReadToken,
    TextFinished,
    TextStarted,
)
from workbench.store.findings import Measure

TOP = 20
#: Fields of a text that are its prompt.
_PROMPT = ("messages", "prefill", "raw_prompt", "thinking")


@dataclass(frozen=True)
class Drift:
    """The differences between the findings of two runs.

    ``compared`` findings were in both, ``missing`` only in the first run and ``extra`` only in the
    second. ``lists`` and ``texts`` say how many token lists and texts were compared, ``same_lists``
    and ``same_texts`` how many of them have the very same tokens. ``overlap`` is the smallest share
    of the top 20 that two lists have in common. ``largest`` is the largest difference between two
    numbers, and ``relative`` the largest of them relative to the size of what it is a part of.
    ``lines`` name what differs, in words.
    """

    compared: int = 0
    missing: int = 0
    extra: int = 0
    lists: int = 0
    same_lists: int = 0
    overlap: float = 1.0
    texts: int = 0
    same_texts: int = 0
    largest: float = 0.0
    relative: float = 0.0
    lines: tuple[str, ...] = ()

    @property
    def is_none(self) -> bool:
        """True if both runs found the same, to the last bit."""
        return not (
            self.missing
            or self.extra
            or self.lists - self.same_lists
            or self.texts - self.same_texts
            or self.largest
            or self.lines
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"drifted": not self.is_none}


def drift(then: Iterable[EventBody], now: Iterable[EventBody], array: ReadArray) -> Drift:
    """Compare the findings of two runs; ``array`` reads what their measurements name."""
    first, second = _found(then), _found(now)
    measure = _Measure(array)
    for place, finding in first.items():
        other = second.get(place)
        if other is not None:
            measure.compare(place, finding, other)
    missing = [place for place in first if place not in second]
    extra = [place for place in second if place not in first]
    measure.lines += [f"{_said(place)}: not found again" for place in missing]
    measure.lines += [f"{_said(place)}: not found before" for place in extra]
    return Drift(
        compared=len(first) - len(missing),
        missing=len(missing),
        extra=len(extra),
        lists=measure.lists,
        same_lists=measure.same_lists,
        overlap=measure.overlap,
        texts=measure.texts,
        same_texts=measure.same_texts,
        largest=measure.largest,
        relative=measure.relative,
        lines=tuple(measure.lines),
    )


@dataclass(frozen=True)
class _Text:
    """A generated text with what it was made with; ``finished`` is None if it was cut off."""

    start: TextStarted
    finished: TextFinished | None


_Finding = DifferenceMeasured | ReadingTaken | ReadingFailed | AnswersCompared | Measure | _Text
_Place = tuple[Hashable, ...]


def _found(bodies: Iterable[EventBody]) -> dict[_Place, _Finding]:
    """The findings by what they are findings of; of equals, by which of them it is."""
    bodies = list(bodies)
    finished = {text.text_id: text for text in bodies if isinstance(text, TextFinished)}
    found: dict[_Place, _Finding] = {}
    seen: Counter[_Place] = Counter()

    def keep(place: _Place, finding: _Finding) -> None:
        found[*place, seen[place]] = finding
        seen[place] += 1

    for body in bodies:
        match body:
            case DifferenceMeasured():
                keep(("difference", body.layers, body.positions), body)
            case ReadingTaken():
                site = (body.side, body.layer, body.position)
                # The automatic choice of a scale is a finding, the one list that has none its own.
                keep(("reading", body.reading, body.source, *site, body.scale), body)
            case ReadingFailed():
                keep(("failed reading", body.reading, body.layer), body)
            case TextStarted():
                changed = (body.alpha, body.source, body.carrier, body.amplified, body.shuffled)
                made = (body.purpose, body.side, *changed, body.seed)
                keep(("text", *made, body.prompt_index), _Text(body, finished.get(body.text_id)))
            case AnswersCompared():
                keep(("comparison",), body)
            case Measure():
                keep((body.kind.replace("_", " "),), body)
            case _:
                pass
    return found


def _said(place: _Place) -> str:
    """A place in words."""
    return " ".join(str(part) for part in place[:-1] if part is not None)


class _Measure:
    """Adds up how far findings are apart."""

    def __init__(self, array: ReadArray) -> None:
        self._array = array
        self.lists = self.same_lists = self.texts = self.same_texts = 0
        self.overlap, self.largest, self.relative = 1.0, 0.0, 0.0
        self.lines: list[str] = []

    def compare(self, place: _Place, then: _Finding, now: _Finding) -> None:
        where = _said(place)
        match then, now:
            case DifferenceMeasured(), DifferenceMeasured():
                self._differences(where, then, now)
            case ReadingTaken(), ReadingTaken():
                self._readings(where, then, now)
            case ReadingFailed(), ReadingFailed():
                self._rest(where, then, now)
            case _Text(), _Text():
                self._texts(where, then, now)
            case AnswersCompared(), AnswersCompared():
                self._rest(where, then, now, but={"first_divergence"})
                if then.first_divergence != now.first_divergence:
                    self.lines.append(
                        f"{where}: answers part at token {now.first_divergence}, "
                        f"then at {then.first_divergence}"
                    )
            case Measure(), Measure():
                self._figures(where, then, now)

    def _differences(self, where: str, then: DifferenceMeasured, now: DifferenceMeasured) -> None:
        if then.corpus.get("sha256") != now.corpus.get("sha256"):
            self.lines.append(f"{where}: measured on other texts")
        if (then.n_texts, then.n_skipped) != (now.n_texts, now.n_skipped):
            self.lines.append(f"{where}: {now.n_texts} texts used, then {then.n_texts}")
        for name in sorted(then.arrays.keys() | now.arrays.keys()):
            one, other = then.arrays.get(name), now.arrays.get(name)
            if one is None or other is None:
                self.lines.append(f"{where}: {name} is in one run alone")
            elif one != other:
                self._numbers(f"{where}, {name}", self._array(one), self._array(other))
        self._rest(where, then, now, but={"n_texts", "n_skipped", "arrays"})

    def _readings(self, where: str, then: ReadingTaken, now: ReadingTaken) -> None:
        self.lists += 1
        ids = [[token.id for token in run.tokens] for run in (then, now)]
        if ids[0] == ids[1]:
            self.same_lists += 1
        else:
            top = [set(text_id[:TOP]) for text_id in ids]
            shared = len(top[0] & top[1]) / max(len(top[0]), len(top[1]), 1)
            self.overlap = min(self.overlap, shared)
            self.lines.append(f"{where}: other tokens, {shared:.0%} of the top {TOP} in common")
        if then.chosen != now.chosen:
            self.lines.append(f"{where}: {'' if now.chosen else 'not '}chosen, then the reverse")
        first, second = ({token.id: token for token in run.tokens} for run in (then, now))
        common = [token_id for token_id in first if token_id in second]
        for name in ReadToken.model_fields:
            self._values(
                f"{where}, {name} of tokens",
                [getattr(first[token_id], name) for token_id in common],
                [getattr(second[token_id], name) for token_id in common],
            )
        self._rest(where, then, now, but={"chosen", "tokens"})

    def _texts(self, where: str, then: _Text, now: _Text) -> None:
        self.texts += 1
        asked = [[getattr(run.start, name) for name in _PROMPT] for run in (then, now)]
        if asked[0] != asked[1]:
            self.lines.append(f"{where}: another prompt")
        self._rest(where, then.start, now.start, but=_PROMPT)
        ends = [run.finished and run.finished.compared() for run in (then, now)]
        if ends[0] == ends[1]:
            self.same_texts += 1
            return
        ids = [run.finished.token_ids if run.finished else () for run in (then, now)]
        self.lines.append(f"{where}: another text from token {_parting(*ids)} on")

    def _rest(
        self, where: str, then: EventBody, now: EventBody, *, but: Collection[str] = ()
    ) -> None:
        """Compare every field that two runs should share, but for those that are compared apart."""
        before, after = then.compared(), now.compared()
        for name in (name for name in before if name not in but):
            one, other = before[name], after[name]
            if isinstance(one, Mapping) and isinstance(other, Mapping):
                alone = one.keys() ^ other.keys()
                self.lines += [
                    f"{where}: {name}, {key} is in one run alone" for key in sorted(alone)
                ]
                shared = sorted(one.keys() & other.keys())
                one, other = ([found[key] for key in shared] for found in (one, other))
            self._values(f"{where}, {name.replace('_', ' ')}", one, other)

    def _figures(self, where: str, then: Measure, now: Measure) -> None:
        """Compare a measure's numbers and its verdicts; its place in the log is neither."""
        self._values(where, then.compared(), now.compared())

    def _values(self, where: str, then: Any, now: Any) -> None:
        """Compare plain data: its words as they are, its numbers by how far they are apart."""
        (before, verdicts), (after, again) = _parts(then), _parts(now)
        if verdicts != again:
            pairs = zip(verdicts, again, strict=False)
            recorded, found = next(
                ((repr(a), repr(b)) for a, b in pairs if a != b),
                (f"{len(verdicts)} words", f"{len(again)} words"),
            )
            self.lines.append(f"{where}: recorded {recorded}, now {found}")
        self._numbers(where, before, after)

    def _numbers(
        self, where: str, then: np.ndarray | Sequence[float], now: np.ndarray | Sequence[float]
    ) -> None:
        before, after = np.asarray(then, dtype=np.float64), np.asarray(now, dtype=np.float64)
        if before.shape != after.shape:
            self.lines.append(f"{where}: shape {list(after.shape)}, then {list(before.shape)}")
            return
        # Equal infinities and missing values are no difference; a number that is missing in one run
        # alone is as far from what it was as can be.
        same = (before == after) | (np.isnan(before) & np.isnan(after))
        apart = np.full(before.shape, math.inf)
        known = np.isfinite(before) & np.isfinite(after)
        np.subtract(after, before, out=apart, where=known)
        apart = np.where(same, 0.0, np.abs(apart))
        if not apart.any():
            return
        largest = float(apart.max())
        size = float(
            np.sqrt(
                np.mean(np.square(before, where=np.isfinite(before), out=np.zeros_like(before)))
            )
        )
        self.largest = max(self.largest, largest)
        self.relative = max(self.relative, largest / size if size else math.inf)


def _parts(value: Any) -> tuple[list[float], list[str]]:
    """The numbers of plain data, and its words, each in their order."""
    numbers: list[float] = []
    words: list[str] = []
    if isinstance(value, Mapping):
        value = [part for pair in value.items() for part in pair]
    if isinstance(value, list):
        for item in value:
            more, said = _parts(item)
            numbers += more
            words += said
    elif isinstance(value, int | float) and not isinstance(value, bool):
        numbers.append(float(value))
    else:
        words.append(str(value))
    return numbers, words


def _parting(then: Sequence[int], now: Sequence[int]) -> int:
    pairs = zip(then, now, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(then), len(now)))


# --- what else differs ----------------------------------------------------------------------


@dataclass(frozen=True)
class Changed:
    """Something of the pair, the program or the machine that is not as it was."""

    name: str
    then: str
    now: str


#: What says nothing of how numbers come out. Self-checks carry figures of rounding; what fails of them
#: stands among the mismatches, which are compared.
_OF_THE_RUN = frozenset({"command", "checks"})


def changed(
    then: Mapping[str, Any], now: Mapping[str, Any], leave_out: Iterable[str] = _OF_THE_RUN
) -> list[Changed]:
    """The differences between two records of a pair or an environment, by dotted name."""
    first, second = _flat(then), _flat(now)
    skip = frozenset(leave_out)
    return [
        Changed(name, first.get(name, "not recorded"), second.get(name, "not recorded"))
        for name in dict.fromkeys((*first, *second))
        if first.get(name) != second.get(name) and name.partition(".")[0] not in skip
    ]


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            flat |= _flat(item, f"{prefix}{name}.")
        elif isinstance(item, (list, tuple)):
            flat[f"{prefix}{name}"] = " ".join(str(part) for part in item)
        else:
            flat[f"{prefix}{name}"] = str(item)
    return flat
