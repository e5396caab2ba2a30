"""The lines below a replay: its settings, its position, and the current event."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content
from textual.widget import Widget

from workbench.display import clean_line
from workbench.store.state import TimelineEntry
from workbench.tui import text
from workbench.tui.on_screen import described
from workbench.tui.widgets.bars import bar

_TURNS = {"all": "all turns", "human": "human turns", "agent": "agent turns"}
_WHO = {"human": "human", "agent": "agent", "system": "program"}
_MUTED = "$foreground-muted"


@dataclass(frozen=True)
class Standing:
    """Position and settings of a replay; times in seconds since the session's first event."""

    position: int = 0
    length: int = 0
    playing: bool = False
    at_end: bool = False
    speed: float = 1.0
    turns: str = "all"
    follows: bool = True
    elapsed: float = 0.0
    total: float = 0.0
    read: float = 1.0
    waits: bool = False
    current: TimelineEntry | None = None


class Transport(Widget):
    """Two lines: a bar with the position, and the event there."""

    DEFAULT_CSS = "Transport { height: 2; background: $panel; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._standing = Standing()

    @property
    def standing(self) -> Standing:
        """The shown position and settings."""
        return self._standing

    def show(self, standing: Standing) -> None:
        """Show the position and settings of the replay."""
        if standing != self._standing:
            self._standing = standing
            self.refresh()

    def render(self) -> Content:
        """Both lines."""
        return Content("\n").join([self._bar(self.size.width), self._event(self.size.width)])

    def _bar(self, width: int) -> Content:
        standing = self._standing
        if standing.waits:
            how = Content.styled(f"reading {standing.read:.0%}", "bold $text-warning")
        elif standing.playing:
            how = Content.styled("\u25b6 playing", "bold $text-success")
        else:
            how = Content.styled("\u25a0 at end" if standing.at_end else "\u2016 paused", "bold")
        settings = f"  {standing.speed:g}\u00d7  {_TURNS[standing.turns]}"
        if not standing.follows:
            settings += "  not following"
        left = Content.assemble(how, (settings, _MUTED), "  ")
        times = f"{clock(standing.elapsed)} of {clock(standing.total)}"
        count = f"  {standing.position:,}/{standing.length:,}  {times}"
        room = width - left.cell_length - len(count)
        share = standing.position / standing.length if standing.length else 1.0
        track = Content()
        if room >= 4:
            track = Content.styled(bar(share, room), "$accent on $surface")
        return Content.assemble(left, track, count).truncate(max(1, width), ellipsis=True)

    def _event(self, width: int) -> Content:
        entry = self._standing.current
        if entry is None:
            return Content.styled("before the first event", _MUTED)
        who = _WHO[entry.actor.kind]
        if entry.actor.name:
            who = f"{who} {clean_line(entry.actor.name)}"
        head = Content.assemble(
            (f"#{entry.seq} {entry.at:%H:%M:%S} ", _MUTED), (f"{who}  ", "bold $accent")
        )
        return Content.assemble(head, text.line(described(entry))).truncate(
            max(1, width), ellipsis=True
        )


def clock(seconds: float) -> str:
    """A time as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
