"""The token lists of a session by what a person chooses between: layer, reading, side, source, scale.

    layer -> reading -> side -> source -> position -> scale -> the list

A reading is taken once for each of several scales, of which one is the chosen one. Read again, the
newest choice counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from adl.nulls import DIFFERENCE, SOURCES
from adl.readings.registry import READINGS
from adl.records import POOLED, SIDES
from workbench.store.against_nulls import AgainstNulls, LayerDistance, by_layer, compared, folded
from workbench.store.events import DifferenceMeasured, ReadingTaken
from workbench.store.recorded import Recorded
from workbench.store.state import ReadingKey

CHOSEN: Literal["chosen"] = "chosen"
Scale = float | None | Literal["chosen"]
"""A scale (None where the reading has none, or takes the mean over several), or the chosen one."""

Taken = Recorded[ReadingTaken]
Measured = Recorded[DifferenceMeasured]


#: How much of a list counts as its top.
TOP = 20


class Group(NamedTuple):
    """The lists of one table: one reading, at every position and scale."""

    layer: int
    reading: str
    side: str
    source: str


@dataclass(frozen=True)
class Choice:
    """The person's selection. None where nothing was chosen yet.

    ``scales`` are by reading, and only where it is not the chosen one.
    """

    reading: str | None = None
    side: str | None = None
    source: str = DIFFERENCE
    layer: int | None = None
    scales: Mapping[str, float | None] = field(default_factory=dict)
    unfiltered: bool = False
    beside: bool = False
    struck: bool = False

    def at_scale(self, reading: str, scale: Scale) -> Choice:
        """The same with another scale for a reading."""
        scales = {name: scale for name, scale in self.scales.items() if name != reading}
        if scale != CHOSEN:
            scales[reading] = scale
        return replace(self, scales=scales)

    def as_data(self) -> dict[str, Any]:
        """Plain data, for `from_data`."""
        return {
            "reading": self.reading,
            "side": self.side,
            "source": self.source,
            "layer": self.layer,
            "scales": [[name, scale] for name, scale in self.scales.items()],
            "unfiltered": self.unfiltered,
            "beside": self.beside,
            "struck": self.struck,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Choice:
        """Return a choice from saved data; invalid parts are ignored."""

        def text(name: str) -> str | None:
            value = data.get(name)
            return value if isinstance(value, str) else None

        layer, pairs = data.get("layer"), data.get("scales")
        scales = {
            str(pair[0]): pair[1]
            for pair in (pairs if isinstance(pairs, list) else ())
            if isinstance(pair, (list, tuple))
            and len(pair) == 2
            and (pair[1] is None or type(pair[1]) in {int, float})
        }
        return cls(
            reading=text("reading"),
            side=text("side"),
            source=text("source") or DIFFERENCE,
            layer=layer if type(layer) is int else None,
            scales=scales,
            unfiltered=data.get("unfiltered") is True,
            beside=data.get("beside") is True,
            struck=data.get("struck") is True,
        )


class Index:
    """The readings of a session, in the order in which they are offered."""

    def __init__(
        self,
        readings: Mapping[ReadingKey, Taken] | None = None,
        differences: Mapping[str, Measured] | None = None,
    ) -> None:
        self._groups: dict[Group, dict[str, dict[float | None, Taken]]] = {}
        self._chosen: dict[tuple[Group, str], Taken] = {}
        self._ranks: dict[tuple[int, bool], dict[str, int]] = {}
        self._lists = readings or {}
        self._by_layer: tuple[LayerDistance, ...] | None = None
        self._against: dict[int, dict[tuple[str, str], AgainstNulls]] = {}
        self._measured: dict[int, Measured] = {}
        newest = -1
        self._newest_layer: int | None = None
        for key, taken in (readings or {}).items():
            group = Group(key.layer, key.reading, key.side, key.source)
            self._groups.setdefault(group, {}).setdefault(key.position, {})[key.scale] = taken
            known = self._chosen.get((group, key.position))
            if taken.body.chosen and (known is None or known.seq < taken.seq):
                self._chosen[group, key.position] = taken
            if taken.seq > newest:
                newest, self._newest_layer = taken.seq, key.layer
        for measured in (differences or {}).values():
            for layer in measured.body.layers:
                self._measured[layer] = measured
                if self._newest_layer is None:
                    self._newest_layer = layer

    # --- what there is to choose from -------------------------------------------------------

    def layers(self) -> list[int]:
        """Layers that were read or at least measured."""
        return sorted({group.layer for group in self._groups} | set(self._measured))

    def by_layer(self) -> tuple[LayerDistance, ...]:
        """The best reading of each layer by its distance from the nulls."""
        if self._by_layer is None:
            self._by_layer = by_layer(self._lists)
        return self._by_layer

    def measured(self, layer: int) -> Measured | None:
        """The newest difference that holds a layer."""
        return self._measured.get(layer)

    def readings(self, layer: int | None) -> list[str]:
        """The readings taken at a layer."""
        found = {group.reading for group in self._groups if group.layer == layer}
        return _ordered(found, tuple(READINGS))

    def sides(self, layer: int, reading: str) -> list[str]:
        """The sides a reading was taken on."""
        found = {group.side for group in self._groups if group[:2] == (layer, reading)}
        return _ordered(found, SIDES)

    def sources(self, layer: int, reading: str, side: str) -> list[str]:
        """The vectors that were read so: the difference, its nulls and comparisons."""
        found = {group.source for group in self._groups if group[:3] == (layer, reading, side)}
        return _ordered(found, SOURCES)

    def scales(self, group: Group) -> list[float | None]:
        """The scales of a table, the mean over several first."""
        found = {scale for lists in self._groups.get(group, {}).values() for scale in lists}
        return sorted(found, key=lambda scale: (scale is not None, scale or 0.0))

    def positions(self, group: Group) -> list[str]:
        """The positions of a table: the pooled one, then the others as they were measured."""
        measured = self._measured.get(group.layer)
        order = (POOLED, *(measured.body.positions if measured is not None else ()))
        return _ordered(self._groups.get(group, {}), order)

    # --- lists ------------------------------------------------------------------------------

    def find(self, group: Group, position: str, scale: Scale = CHOSEN) -> Taken | None:
        """One list; the chosen one is the first where none is chosen yet."""
        lists = self._groups.get(group, {}).get(position, {})
        if scale != CHOSEN:
            return lists.get(scale)
        chosen = self._chosen.get((group, position))
        return chosen if chosen is not None else next(iter(lists.values()), None)

    def is_chosen(self, group: Group, taken: Taken) -> bool:
        """True if the list is at the chosen scale."""
        return self._chosen.get((group, taken.body.position)) is taken

    def control(self, group: Group, null: str, scale: float | None) -> Taken | None:
        """A null's pooled list to set beside a list of the group: at its scale if there is one."""
        beside = group._replace(source=null)
        for position in (POOLED, *self.positions(beside)):
            found = self.find(beside, position, scale) or self.find(beside, position)
            if found is not None:
                return found
        return None

    def ranks(self, taken: Taken, *, unfiltered: bool = False) -> Mapping[str, int]:
        """Rank by token text, from 1. By text: sides may number their tokens differently."""
        known = self._ranks.get((taken.seq, unfiltered))
        if known is None:
            known = {}
            tokens = (unfiltered and taken.body.unfiltered) or taken.body.tokens
            for rank, token in enumerate(tokens, start=1):
                known.setdefault(token.text, rank)
            self._ranks[taken.seq, unfiltered] = known
        return known

    def agreement(
        self, layer: int, position: str, text: str, *, unfiltered: bool = False
    ) -> dict[str, int | None]:
        """By reading of the difference at a site: the token's best rank on any side, if it has one."""
        found: dict[str, int | None] = {}
        for reading in self.readings(layer):
            for side in self.sides(layer, reading):
                taken = self.find(Group(layer, reading, side, DIFFERENCE), position)
                if taken is not None:
                    ranks = (found.get(reading), self.ranks(taken, unfiltered=unfiltered).get(text))
                    found[reading] = min((rank for rank in ranks if rank), default=None)
        return found

    def against(self, layer: int) -> Mapping[tuple[str, str], AgainstNulls]:
        """Return the readings of a layer against their nulls, by reading and side."""
        if layer not in self._against:
            self._against[layer] = compared(self._lists, layer)
        return self._against[layer]

    def folded(self, layer: int | None) -> tuple[str, ...]:
        """Return the readings of a layer that are no better than their nulls."""
        return () if layer is None else folded(self.against(layer).values())

    def by_seq(self, seq: int) -> Taken | None:
        """The list that an event recorded, if no later one took its place."""
        for positions in self._groups.values():
            for lists in positions.values():
                for taken in lists.values():
                    if taken.seq == seq:
                        return taken
        return None

    # --- meeting a choice -------------------------------------------------------------------

    def group(self, choice: Choice) -> Group | None:
        """Return the table closest to the choice; None if nothing was measured or read.

        Its side is empty where the reading was not taken at the layer.
        """
        layers = self.layers()
        if self._newest_layer is None:
            return None
        layer = choice.layer if choice.layer in layers else self._newest_layer
        assert layer is not None
        taken = self.readings(layer)
        better = [name for name in taken if name not in self.folded(layer)]
        reading = choice.reading or next(iter(better or taken or READINGS))
        sides = self.sides(layer, reading)
        if not sides:
            return Group(layer, reading, "", DIFFERENCE)
        side = choice.side if choice.side in sides else sides[0]
        sources = self.sources(layer, reading, side)
        source = choice.source if choice.source in sources else sources[0]
        return Group(layer, reading, side, source)

    def scale(self, group: Group, choice: Choice) -> Scale:
        """Return the scale of the choice if it was read, else the chosen one."""
        if group.reading in choice.scales:
            wanted = choice.scales[group.reading]
            if wanted in self.scales(group):
                return wanted
        return CHOSEN


def _ordered(found: Collection[str], order: Iterable[str]) -> list[str]:
    """Sort names by the given order; names that are not in it come last, alphabetically."""
    places = {name: place for place, name in enumerate(order)}
    return sorted(found, key=lambda name: (places.get(name, len(places)), name))
