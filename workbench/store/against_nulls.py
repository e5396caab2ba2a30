"""Token lists against their nulls: how narrow they are, and which readings show nothing on a pair.

The words of a list that shows a topic lie closer together than those of its nulls, the same
computation with the finetuning taken out (``adl.readings.narrowness``), and than those of a broad
control, and base writes most of them now and then. A reading whose words do not is folded away for
people and for agents, with a line that names it; its lists stay in the session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from adl.nulls import NULLS
from adl.readings.registry import READINGS
from adl.records import POOLED
from workbench.sparkline import spark
from workbench.store.events import ReadingTaken
from workbench.store.findings import NOT_COMPUTED, Estimate
from workbench.store.recorded import Recorded
from workbench.store.state import Lists, SessionState, chosen_lists

# Of the first words of real lists 8 in 10 and more are among the more probable half of base's words, of
# the paper's patchscope half, of the logit lens of small models none.
LEAST_USUAL = 0.5

TOP = 20


@dataclass(frozen=True)
class AgainstNulls:
    """A reading at one layer and side: closeness of its first words, and the highest of its nulls.

    ``usual`` is the share of its first words that base writes now and then, ``broad`` the closeness of
    the words of a broad control. Each is None if it was not computed, as in sessions of older versions.
    """

    reading: str
    side: str
    layer: int
    closeness: Estimate | None
    null: float | None
    usual: float | None = None
    broad: Estimate | None = None

    @property
    def no_better(self) -> bool | None:
        """True if the list's words are rare tokens, or no closer than a null's; None if unknown.

        The broad control, a benign finetuning of the same base, is a null, too, where there is one.
        """
        if self.usual is not None and self.usual < LEAST_USUAL:
            return True
        if self.closeness is None or self.null is None:
            return None
        broad = self.null if self.broad is None else self.broad.value
        return self.closeness.value <= max(self.null, broad)

    @property
    def words(self) -> str:
        """Closeness with its interval beside that of the nulls, in one line."""
        if self.closeness is None:
            return f"closeness {NOT_COMPUTED}"
        null = NOT_COMPUTED if self.null is None else f"{self.null:.1f} at most"
        rare = self.usual is not None and self.usual < LEAST_USUAL
        rest = ", most of its words are rare tokens" if rare else ""
        broad = f", a broad control {self.broad.words('{:.1f}')}" if self.broad else ""
        return f"closeness {self.closeness.words('{:.1f}')}, nulls {null}{broad}{rest}"


def against_nulls(state: SessionState, layer: int) -> dict[tuple[str, str], AgainstNulls]:
    """Return every reading taken at a layer, by reading and side, in the order of display."""
    return compared(state.readings, layer)


def compared(readings: Lists, layer: int) -> dict[tuple[str, str], AgainstNulls]:
    """Return the same from the lists of a session."""
    newest: dict[tuple[str, str], dict[str, Recorded[ReadingTaken]]] = {}
    for key, taken in chosen_lists(readings).items():
        if key.layer == layer and key.position == POOLED:
            newest.setdefault((key.reading, key.side), {})[key.source] = taken
    order = {name: place for place, name in enumerate(READINGS)}
    return {
        place: _compared(*place, layer, lists)
        for place, lists in sorted(
            newest.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0])
        )
        if "difference" in lists
    }


@dataclass(frozen=True)
class LayerDistance:
    """The reading of a layer whose words are farthest above its nulls in closeness, and how far."""

    layer: int
    reading: str
    side: str
    distance: float


def by_layer(readings: Lists) -> tuple[LayerDistance, ...]:
    """Return the best reading of each layer, in the order of the layers.

    Layers without a reading that was compared with its nulls are left out; rare tokens count for
    nothing.
    """
    found = []
    for layer in sorted({key.layer for key in readings}):
        here = [
            LayerDistance(layer, each.reading, each.side, each.closeness.value - each.null)
            for each in compared(readings, layer).values()
            if each.closeness is not None
            and each.null is not None
            and not (each.usual is not None and each.usual < LEAST_USUAL)
        ]
        if here:
            found.append(max(here, key=lambda each: each.distance))
    return tuple(found)


def best_layer(readings: Lists) -> LayerDistance | None:
    """Return the layer that reads best by its distance from the nulls; None if none is known."""
    return max(by_layer(readings), key=lambda each: each.distance, default=None)


def leading_layer(readings: Lists, layers: Sequence[int]) -> int:
    """Return which of the measured layers, at least one, to steer at and to show first.

    The one that reads best by its distance from the nulls. Where none is known, the middle one of those
    with a reading, as a difference of zero has none and cannot steer; else the middle one of all.
    """
    best = best_layer({key: taken for key, taken in readings.items() if key.layer in layers})
    if best is not None:
        return best.layer
    read = {key.layer for key in readings if key.source == "difference"}
    candidates = [layer for layer in sorted(layers) if layer in read] or sorted(layers)
    return candidates[len(candidates) // 2]


def layers_line(found: Sequence[LayerDistance], width: int) -> str:
    """Return a line on the layers: their distances from the nulls as heights, and the best of them.

    The heights take ``width`` cells at most.
    """
    best = max(found, key=lambda each: each.distance)
    heights = spark([each.distance for each in found], width)
    title = READINGS[best.reading].title if best.reading in READINGS else best.reading
    above = (
        f"{best.distance:.1f} above its nulls" if best.distance > 0 else "no better than its nulls"
    )
    return (
        f"layers {found[0].layer} {heights} {found[-1].layer}, best {best.layer}: {title}, {above}"
    )


def folded(found: Iterable[AgainstNulls]) -> tuple[str, ...]:
    """Return the readings that are no better than their nulls on any side, in order."""
    by_reading: dict[str, list[bool]] = {}
    for each in found:
        by_reading.setdefault(each.reading, []).append(each.no_better is True)
    return tuple(reading for reading, verdicts in by_reading.items() if all(verdicts))


def folded_line(readings: Sequence[str]) -> str:
    """Return the line that names folded readings; empty without any."""
    if not readings:
        return ""
    names = ", ".join(READINGS[name].title if name in READINGS else name for name in readings)
    return f"No better than their nulls on this pair, and folded away: {names}."


def struck_line(state: SessionState, layer: int) -> str:
    """Return the line on words of style struck from the first ``TOP`` of a layer's lists."""
    reasons: dict[str, str] = {}
    for key, taken in chosen_lists(state.readings).items():
        if (key.layer, key.position, key.source) == (layer, POOLED, "difference"):
            for struck in taken.body.struck:
                if struck.rank <= TOP:
                    reasons.setdefault(struck.text.strip(), struck.why)
    if not reasons:
        return ""
    by_reason: dict[str, list[str]] = {}
    for word, why in reasons.items():
        by_reason.setdefault(why, []).append(word)
    return "Struck as style: " + "; ".join(
        f"{' '.join(words)} ({why})" for why, words in by_reason.items()
    )


def _compared(
    reading: str, side: str, layer: int, lists: Mapping[str, Recorded[ReadingTaken]]
) -> AgainstNulls:
    nulls = [
        lists[name].body.statistics["closeness"]
        for name in NULLS
        if name in lists and "closeness" in lists[name].body.statistics
    ]
    body = lists["difference"].body
    return AgainstNulls(
        reading,
        side,
        layer,
        closeness_of(body),
        max(nulls, default=None),
        body.statistics.get("usual"),
        closeness_of(body, "closeness_broad"),
    )


def closeness_of(body: ReadingTaken, name: str = "closeness") -> Estimate | None:
    """Return the closeness of a list's first words; None if it was not computed."""
    found = body.statistics
    if name not in found:
        return None
    return Estimate(
        value=found[name],
        low=found[f"{name}_low"],
        high=found[f"{name}_high"],
        n=min(TOP, len(body.tokens)),
    )
