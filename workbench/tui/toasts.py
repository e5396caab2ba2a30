"""Errors share one toast, so that the first stays readable however many follow.

Textual shows each message in a toast of its own, the last at the bottom, and cuts off at the top. Here
the first error is shown whole, with those that followed in a line or two each below it; the toast stays
until the last of them has had its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual.app import App
from textual.notifications import Notification, Notify, SeverityLevel

from workbench.display import clean_line, shorten
from workbench.tui.on_screen import on_screen

#: Seconds that an error is shown at least.
READING = 15.0
#: Cells of a toast beside its text, and rows of the screen that no toast has for its text.
_BESIDE, _AROUND = 4, 6
#: How many errors after the first are named at most, and lines for each.
_MOST, _LINES = 4, 2
#: Cells that are lost where lines break between words.
_BROKEN = 14


@dataclass
class _Problem:
    title: str
    message: str
    times: int = 1

    @property
    def heading(self) -> str:
        """The title with how often it came."""
        repeated = f"{self.times} times" if self.times > 1 else ""
        return ", ".join(filter(None, (self.title, repeated)))

    def as_line(self, cells: int) -> str:
        """Return title and message on one line of so many cells."""
        return shorten(": ".join(filter(None, (self.heading, clean_line(self.message)))), cells)


class Toasts(App[Any]):
    """An app that shows errors in one toast, below all others, with the first of them whole."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._problems: list[_Problem] = []
        self._joined: Notification | None = None

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show a message in a toast; no message of the screen names an option of the command line."""
        if severity == "error":
            timeout = max(timeout or 0.0, READING)
        super().notify(
            on_screen(message), title=title, severity=severity, timeout=timeout, markup=markup
        )

    def on_notify(self, event: Notify) -> None:
        """Show a toast; an error joins those that are shown, and stays below other toasts."""
        # Textual has no public way to take back or to order what it shows: these are the only places
        # that name its set of notifications.
        event.prevent_default()
        added, shown = event.notification, self._notifications
        joined = self._joined if self._joined is not None and self._joined in shown else None
        if joined is None or joined.has_expired:
            self._problems.clear()
        left = joined.time_left if joined is not None else 0.0
        if added.severity == "error":
            self._join(added)
            left = max(left, added.timeout)
        else:
            shown.add(added)
        if joined is not None:
            self._unnotify(joined, refresh=False)
        # The last of the toasts is the one that is always in view.
        self._joined = self._in_one(left) if self._problems else None
        if self._joined is not None:
            shown.add(self._joined)
        self._refresh_notifications()

    def _join(self, added: Notification) -> None:
        for problem in self._problems:
            if (problem.title, problem.message) == (added.title, added.message):
                problem.times += 1
                return
        self._problems.append(_Problem(added.title, added.message))

    def _in_one(self, timeout: float) -> Notification:
        first, *later = self._problems
        # Rows that no toast has are cut off at the top, where the first error is.
        width, height = min(60, self.size.width * 9 // 10) - _BESIDE, self.size.height - _AROUND
        named = later[: max(0, min(_MOST, height // (2 * _LINES)))]
        rows = height - _LINES * len(named) - bool(later[len(named) :])
        lines = [shorten(first.message, max(1, rows - 1) * width)]
        lines += [f"\u2022 {each.as_line(_LINES * width - _BROKEN)}" for each in named]
        if len(later) > len(named):
            lines.append(f"and {len(later) - len(named)} more")
        return Notification("\n".join(lines), first.heading, "error", timeout)
