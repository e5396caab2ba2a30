"""Exceptions in handlers are shown and recorded; the program goes on.

Textual ends the app at the first uncaught exception, and prints its traceback.

handler, timer, worker raises -> kept in a file, shown, recorded; the widget takes its next message
faults in a row without a key -> a loop, as of drawing: the app ends in good order
"""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from textual import events
from textual.app import App
from textual.css.query import NoMatches
from textual.message import Message
from textual.message_pump import CallbackError, MessagePump
from textual.worker import WorkerFailed

from adl.errors import first_line
from workbench.faults import REPORT_BUG, as_error, keep_crash, without_secrets

#: Faults within so many seconds and without input between them after which the app gives up.
_TOO_MANY, _WITHIN = 10, 5.0


class Survivor(App[Any]):
    """An app that survives faults of its handlers; ``handle_messages_safely`` has to be in force."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.crash = ""
        "Why the app gave up, as a line for a person; empty unless it did."
        self._faults: deque[float] = deque(maxlen=_TOO_MANY)
        self._shown: set[str] = set()

    async def on_event(self, event: events.Event) -> None:
        """Handle an event; after a key the same fault is shown again."""
        if isinstance(event, events.Key | events.Paste | events.MouseDown):
            self._faults.clear()
            self._shown.clear()
        await super().on_event(event)

    def hidden(self, text: str) -> str:
        """Return the text redacted."""
        return text

    def record_fault(self, text: str) -> None:
        """Record a fault in the open session."""

    def give_up(self) -> None:
        """End the app in good order after repeated faults."""
        self.exit(return_code=1)

    def _handle_exception(self, error: Exception) -> None:
        fault = _cause(error)
        if self._exit and isinstance(fault, NoMatches):
            # Textual composes nothing for a screen that comes up while the app ends.
            return
        if self._exception is None:
            # For the pilot of a test, which raises it again.
            self._exception = fault
            self._exception_event.set()
        if self.crash or self._exit:
            return
        now = time.monotonic()
        self._faults.append(now)
        if not self.is_running or (
            len(self._faults) == _TOO_MANY and now - self._faults[0] < _WITHIN
        ):
            self.crash = bug_in_words(fault, self.hidden)
            self.give_up()
        elif (place := _place(fault)) not in self._shown:
            self._shown.add(place)
            self._tell(fault)

    def _tell(self, fault: BaseException) -> None:
        known = as_error(fault)
        words = (
            self.hidden(without_secrets(str(known))) if known else bug_in_words(fault, self.hidden)
        )
        title = "Not done" if known else "A bug in adl-workbench"
        self.notify(words, title=title, severity="error", timeout=30, markup=False)
        self.record_fault(words)


def bug_in_words(fault: BaseException, hide: Callable[[str], str]) -> str:
    """Keep the trace of a bug in a file, and return what and where it is for a person.

    Both go through ``hide``.
    """
    kept = keep_crash(fault, hide)
    where = f" The trace is in {kept}." if kept else ""
    message = hide(without_secrets(first_line(fault)))
    return f"{type(fault).__name__} in {_place(fault)}: {message}. {REPORT_BUG}{where}"


def _cause(error: BaseException) -> Any:
    """Return the original exception inside Textual's wrappers."""
    if isinstance(error, WorkerFailed):
        return _cause(error.error)
    if isinstance(error, CallbackError) and error.__context__ is not None:
        return _cause(error.__context__)
    return error


def _place(fault: BaseException) -> str:
    """Return the name of the innermost of our functions in the traceback."""
    frames = traceback.extract_tb(fault.__traceback__)
    own = [frame for frame in frames if "workbench" in Path(frame.filename).parts]
    if not frames:
        return "adl-workbench"
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).stem}.{frame.name}"


def handle_messages_safely() -> None:
    """Make every widget take its next message after a handler raised.

    Textual ends a widget's loop with the first; the widget would stay on the screen, deaf.
    """
    original = MessagePump._dispatch_message
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    async def dispatch(self: MessagePump, message: Message) -> None:
        try:
            await original(self, message)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is shown and recorded
            self.app._handle_exception(error)

    MessagePump._dispatch_message = dispatch  # type: ignore[method-assign]
