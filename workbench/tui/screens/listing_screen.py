"""The screens of what a database holds: a list, and details of the entry under its cursor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual import events
from textual.message import Message

from workbench.tui.library import DatabaseListing, Library
from workbench.tui.screens.worker_screen import WorkerScreen
from workbench.tui.widgets.menu import Menu
from workbench.tui.widgets.pane import SHORT_OF_ROWS

#: From this width on, details are beside the list, not below it.
ROOM = 120


@dataclass
class ListingRead(Message):
    """The database was read."""

    listing: DatabaseListing


class ListingScreen(WorkerScreen):
    """A screen with a ``Menu`` of entries from a database, and details of one of them."""

    def __init__(self, library: Library, listing: DatabaseListing) -> None:
        """``listing`` is what is known before the database is read."""
        super().__init__()
        self._library = library
        self._listing = listing

    def look(self) -> None:
        """Read the database, and post ``ListingRead``."""
        self.send(lambda: ListingRead(self._library.listing()))

    def current_value(self) -> Any:
        """Return the value of the entry under the cursor, None if there is none."""
        # A closing screen is asked for its bindings after its list was removed.
        menu = next(iter(self.query(Menu)), None)
        entry = menu.current if menu is not None else None
        return entry.value if entry is not None else None

    def on_resize(self, event: events.Resize) -> None:
        """Show details below the list where there is no room beside it."""
        width, height = event.size
        self.update_classes({"-narrow": width < ROOM, "-short": height < SHORT_OF_ROWS})
        # Not before the layout has given the details their new width.
        self.call_after_refresh(self.show_details)

    def show_details(self) -> None:
        """Show details of the entry under the cursor."""
        raise NotImplementedError
