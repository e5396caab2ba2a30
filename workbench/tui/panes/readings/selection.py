"""The choice among the lists of a session, the table that it shows, and the choices beside it."""

from __future__ import annotations

from dataclasses import replace

from workbench.tui.panes.readings import render as reading_words
from workbench.tui.panes.readings.columns import Table, scale_after, step, table_of
from workbench.tui.panes.readings.index import CHOSEN, Choice, Group, Index, Taken


class Selection:
    """A person's choice, and what it meets in the session: its table, if the lists were read.

    Every method that names another choice returns it, and leaves this one as it is; where nothing
    else is there to be chosen, it is the same.
    """

    def __init__(self) -> None:
        self.index = Index()
        self.choice = Choice()
        self.group: Group | None = None
        self.table: Table | None = None

    def settle(self) -> None:
        """Find the group and the table of the choice anew."""
        group = self.group = self.index.group(self.choice)
        if group is not None and self.choice.layer is None and self.index.readings(group.layer):
            # From here on another layer is shown only on request.
            self.choice = replace(self.choice, layer=group.layer, reading=group.reading)
        self.table = table_of(self.index, group, self.choice) if group and group.side else None

    def other_reading(self, by: int) -> Choice:
        """Return the next reading, whether it was taken or not; those folded away are left out."""
        if self.group is None:
            return self.choice
        layer, reading, *_ = self.group
        hidden = () if self.choice.beside else self.index.folded(layer)
        names = [
            name
            for name in reading_words.offered(self.index.readings(layer))
            if name not in hidden or name == reading
        ]
        return replace(self.choice, reading=step(names, reading, by))

    def other_side(self) -> Choice:
        """Return the other side, where the reading was taken on both."""
        if self.group is None:
            return self.choice
        layer, reading, side, _ = self.group
        return replace(self.choice, side=step(self.index.sides(layer, reading), side, 1))

    def other_source(self, by: int) -> Choice:
        """Return the reading of another vector."""
        if self.group is None or not self.group.side:
            return self.choice
        layer, reading, side, source = self.group
        sources = self.index.sources(layer, reading, side)
        return replace(self.choice, source=step(sources, source, by))

    def other_layer(self, by: int) -> Choice:
        """Return another layer."""
        if self.group is None:
            return self.choice
        return replace(self.choice, layer=step(self.index.layers(), self.group.layer, by))

    def other_scale(self, by: int) -> Choice:
        """Return the next larger or smaller scale."""
        if self.table is None:
            return self.choice
        scale = scale_after(self.index, self.table, by)
        return self.choice.at_scale(self.table.group.reading, scale)

    def chosen_scale(self) -> Choice:
        """Return every column at its chosen scale."""
        if self.table is None:
            return self.choice
        return self.choice.at_scale(self.table.group.reading, CHOSEN)

    def with_or_without_nulls(self) -> Choice:
        """Return the nulls beside the list, or the list without them."""
        return replace(self.choice, beside=not self.choice.beside)

    def other_filter(self) -> Choice:
        """Return whole words, those with the words of style that were struck, then all tokens."""
        choice, table = self.choice, self.table
        has_struck = table is not None and any(
            column.taken is not None and column.taken.body.struck for column in table.columns
        )
        struck = has_struck and not choice.struck and not choice.unfiltered
        unfiltered = not struck and not choice.unfiltered
        return replace(choice, struck=struck, unfiltered=unfiltered)

    def of_list(self, taken: Taken) -> Choice:
        """Return the choice whose table has a list."""
        body = taken.body
        group = Group(body.layer, body.reading, body.side, body.source)
        choice = replace(
            self.choice,
            reading=body.reading,
            side=body.side,
            source=body.source,
            layer=body.layer,
        )
        chosen = self.index.is_chosen(group, taken)
        return choice.at_scale(body.reading, CHOSEN if chosen else body.scale)

    def start_over(self) -> None:
        """Choose as at first; the filter and the nulls beside the list stay as they are."""
        kept = self.choice
        self.choice = Choice(unfiltered=kept.unfiltered, beside=kept.beside, struck=kept.struck)
