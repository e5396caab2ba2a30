"""Orderly shutdown: by key, by signal, and when the terminal is gone.

begin(code, reason, outcome)
    a thread stops the jobs, and commits the state of the screen and the end of the session
    the app exits and restores the terminal
    if that takes too long (writing to a terminal that is gone blocks) the process ends
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from workbench.store.events import Ending

View = dict[str, object]

#: How long the terminal may take to be restored once everything is committed, in seconds.
RESTORING = 3.0

#: Leaves the alternate screen, shows the cursor, ends mouse, focus and paste reports.
RESTORE_TERMINAL = (
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1004l\x1b[?2004l\x1b[<u"
    "\x1b[?1049l\x1b[?25h\x1b[0m"
)


class Shutdown:
    """Ends the app exactly once, whichever request comes first."""

    def __init__(
        self,
        *,
        view: Callable[[], View],
        commit: Callable[[View, Ending, str], None],
        leave: Callable[[int], None],
    ) -> None:
        """Take the app's parts of an ending.

        ``view`` returns the state of the screen and is called on the app's thread. ``commit``
        stops the jobs and writes to the log, and ``leave`` makes the app exit with a code; both
        are called on a thread of their own.
        """
        self._view = view
        self._commit = commit
        self._leave = leave
        self._begun = threading.Event()
        self._watched = False
        self._watchdog: threading.Timer | None = None
        self._terminal = _terminal_settings()

    @property
    def is_under_way(self) -> bool:
        """True once the shutdown has begun."""
        return self._begun.is_set()

    @contextmanager
    def ending_the_process(self) -> Iterator[None]:
        """Context in which an exit that hangs kills the process; for an app that owns its process."""
        self._watched = True
        try:
            yield
        finally:
            self._watched = False
            if self._watchdog is not None:
                self._watchdog.cancel()

    def listen(self) -> None:
        """Turn signals into an orderly shutdown, on the app's event loop."""
        loop = asyncio.get_running_loop()
        for name in ("SIGTERM", "SIGHUP", "SIGINT"):
            number = getattr(signal, name, None)
            if number is not None and threading.current_thread() is threading.main_thread():
                loop.add_signal_handler(number, self.begin, 128 + number, name, "stopped")

    def begin(self, code: int, reason: str, outcome: Ending) -> None:
        """Commit and exit with ``code``; later calls do nothing. On the app's thread."""
        if self._begun.is_set():
            return
        self._begun.set()
        view = self._view()
        threading.Thread(
            target=self._go_down, args=(code, reason, outcome, view), daemon=True
        ).start()

    def _go_down(self, code: int, reason: str, outcome: Ending, view: View) -> None:
        try:
            self._commit(view, outcome, reason)
        finally:
            if self._watched:
                self._watchdog = threading.Timer(RESTORING, self._end_at_once, (code,))
                self._watchdog.daemon = True
                self._watchdog.start()
            self._leave(code)

    def _end_at_once(self, code: int) -> None:
        try:
            _restore(self._terminal)
        finally:
            os._exit(code)


def _terminal_settings() -> list[object] | None:
    try:
        import termios

        return termios.tcgetattr(sys.__stdin__.fileno()) if sys.__stdin__ else None
    except (ImportError, OSError, ValueError, termios.error):
        return None


def _restore(settings: list[object] | None) -> None:
    try:
        import termios

        if sys.__stdin__ is not None and settings is not None:
            termios.tcsetattr(sys.__stdin__.fileno(), termios.TCSANOW, settings)  # type: ignore[arg-type]
        if sys.__stderr__ is not None:
            os.write(sys.__stderr__.fileno(), RESTORE_TERMINAL.encode())
    except (ImportError, OSError, ValueError):
        # The terminal is gone; there is nothing to restore.
        pass
