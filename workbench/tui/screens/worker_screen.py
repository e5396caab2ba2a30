"""A screen that has things done on threads, and hears of them by messages alone."""

from __future__ import annotations

from collections.abc import Callable

from textual import work
from textual.message import Message
from textual.screen import Screen

from adl.errors import AdlError
from workbench.tui.messages import Failed


class WorkerScreen(Screen[None]):
    """Sends work to threads; what it returns, or `Failed`, is posted to the screen."""

    @work(thread=True, exit_on_error=False)
    def send(self, errand: Callable[[], Message]) -> None:
        """Do the errand on a thread, and post what it returns."""
        try:
            done = errand()
        except AdlError as exc:
            self.post_message(Failed(exc))
        except Exception as exc:
            self.post_message(Failed(exc))
            raise
        else:
            self.post_message(done)
