"""The sample audit as a recording: a log that is only read, the same at every run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from textual.app import App
from textual.message import Message

from tests.workbench.tui.conftest import PaneApp
from tests.workbench.tui.sample import read_sample_array, sample
from workbench.blinding.redact import StateRedactor
from workbench.store.errors import StoreError
from workbench.store.events import Event
from workbench.store.overview import SessionOverview
from workbench.tui.messages import BranchSession, ShowSessions
from workbench.tui.replay_session import ReplayedSession
from workbench.tui.screens.replay import ReplayScreen
from workbench.tui.widgets.transport import Standing, Transport


class RecordedLog:
    """What a replay reads of a log, over events at hand."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.recorded = events
        self.closed = False

    def events(self, _session: str, after_seq: int = 0, kinds: Any = None) -> Iterator[Event]:
        return (one for one in self.recorded[after_seq:] if kinds is None or one.body.kind in kinds)

    def event(self, _session: str, seq: int) -> Event:
        if not 0 < seq <= len(self.recorded):
            raise StoreError(f"no event {seq}", "Ask for one that there is.")
        return self.recorded[seq - 1]

    def array(self, ref: Any) -> Any:
        return read_sample_array(ref)

    def close(self) -> None:
        self.closed = True


def recording(events: Sequence[Event] | None = None, **sealed: str) -> ReplayedSession:
    """A opened over the sample, or over other events."""
    events = sample()[0] if events is None else events
    overview = SessionOverview(
        id=events[0].session_id,
        name="a planted audit",
        created_at=events[0].at,
        last_event_at=events[-1].at,
        events=len(events),
        base="planted",
        finetuned="planted",
        outcome=None,
    )
    return ReplayedSession(RecordedLog(events), overview, StateRedactor(sealed))  # type: ignore[arg-type]


class ReplayApp(App[None]):
    """A replay alone; what it asks for and says is kept in ``asked`` and ``said``."""

    CSS_PATH = PaneApp.CSS_PATH

    def __init__(self, opened: ReplayedSession | None = None, seq: int | None = 0) -> None:
        super().__init__()
        self.opened = opened or recording()
        self.replay = ReplayScreen(self.opened, seq=seq)
        self.asked: list[Message] = []
        self.said: list[str] = []

    def notify(self, message: str, **settings: Any) -> None:
        self.said.append(message)
        super().notify(message, **settings)

    def on_mount(self) -> None:
        self.push_screen(self.replay)

    @property
    def standing(self) -> Standing:
        """What the transport bar shows."""
        return self.replay.query_one(Transport).standing

    def on_branch_session(self, message: BranchSession) -> None:
        self.asked.append(message)

    def on_show_sessions(self, message: ShowSessions) -> None:
        self.asked.append(message)


def seq_of(kind: str, which: int = 0) -> int:
    """The number of the sample's event of a kind."""
    found = [one.seq for one in sample()[0] if one.body.kind == kind]
    return found[which]
