"""A screen that runs work on threads and gets the results as messages."""

from __future__ import annotations

from collections.abc import Callable

from textual import work
from textual.message import Message
from textual.screen import Screen

from workbench.faults import as_error
from workbench.tui.messages import Failed


class WorkerScreen(Screen[None]):
    """Runs work on threads, and posts its result or `Failed` to the screen."""

    @work(thread=True)
    def send(self, errand: Callable[[], Message]) -> None:
        """Run ``errand`` on a thread, and post its result."""
        try:
            done = errand()
        except Exception as exc:
            known = as_error(exc)
            self.post_message(Failed(known or exc))
            if known is None:
                raise
        else:
            self.post_message(done)
