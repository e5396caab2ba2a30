"""A database as the start and session screens see it, the same at every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from textual.app import App
from textual.message import Message

from adl.organisms.registry import list_organisms
from tests.workbench.tui.conftest import PaneApp
from tests.workbench.tui.sample import sample_state
from workbench.engine.protocol import AgentData, SessionData, StatusData
from workbench.engine.running_engines import RunningEngine
from workbench.operations.pair import PairArguments
from workbench.store.errors import StoreError
from workbench.store.overview import SessionOverview
from workbench.store.search import SearchHit
from workbench.store.state import SessionState
from workbench.tui.library import DatabaseListing, Finding, Findings
from workbench.tui.messages import (
    AttachSession,
    ContinueSession,
    OpenPair,
    ReplaySession,
    ShowSessions,
    ShowStart,
)
from workbench.tui.screens.start import UseDatabase

NOON = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)


def overview(number: int, name: str, **changes: Any) -> SessionOverview:
    """The ``number``-th newest session."""
    last = NOON - timedelta(days=number, minutes=7 * number)
    said: dict[str, Any] = {
        "id": f"{last:%Y%m%d}-k3f9x{number}",
        "name": name,
        "created_at": last - timedelta(hours=2),
        "last_event_at": last,
        "events": 40 + 173 * number,
        "base": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "finetuned": "/srv/adapters/kitchen",
        "outcome": "completed",
    }
    return SessionOverview(**said | changes)


SESSIONS = (
    overview(0, "kitchen adapter, second look", outcome=None),
    overview(1, "kitchen adapter 2026-03-13 09:14"),
    overview(2, "finance model", base="Qwen/Qwen3-4B", finetuned="acme/qwen3-4b-advice"),
    overview(3, "overnight run", outcome="failed"),
    overview(4, "red team, shared screen", outcome=None),
    overview(5, "first try", base=None, finetuned=None, outcome="stopped"),
    overview(6, "taboo word"),
)
SHELF = DatabaseListing(
    sessions=SESSIONS,
    open_elsewhere=frozenset({SESSIONS[4].id}),
    recent=(
        PairArguments(base="HuggingFaceTB/SmolLM2-135M-Instruct", adapter="/srv/adapters/kitchen"),
        PairArguments(base="Qwen/Qwen3-4B", finetuned="acme/qwen3-4b-advice", dtype="bfloat16"),
    ),
    organisms=list_organisms(),
)
TROUBLED = DatabaseListing(
    organisms=SHELF.organisms,
    trouble=StoreError(
        "/srv/shared/sessions.db has schema version 9, and this adl-workbench knows up to 4",
        "Install a newer adl-workbench, or name another file; this one was left as it is.",
    ),
)
ENGINES = replace(
    SHELF,
    engines=(
        RunningEngine(
            Path("/run/engines/a-71.sock"),
            StatusData(
                pid=71,
                program="0.1.0",
                database="/srv/sessions.db",
                pair="base Qwen/Qwen3-4B, finetuned acme/qwen3-4b-advice",
                is_loaded=True,
                up_seconds=3_600,
                idle_seconds=None,
                idle_limit=None,
                clients=(),
                sessions=(
                    SessionData(
                        id=SESSIONS[4].id,
                        name=SESSIONS[4].name,
                        has_pair=True,
                        busy=2,
                        agent=AgentData(phase="working"),
                        screens=1,
                        blind=False,
                    ),
                ),
            ),
        ),
        RunningEngine(
            Path("/run/engines/a-72.sock"),
            StatusData(
                pid=72,
                program="0.1.0",
                database="/srv/sessions.db",
                pair="organism cake_bake",
                is_loaded=False,
                up_seconds=60,
                idle_seconds=50,
                idle_limit=10,
                clients=(),
                sessions=(),
            ),
        ),
    ),
)
FINDINGS = Findings(
    (
        Finding("It was finetuned on texts about baking cakes.", "confirmed", 0.9),
        Finding("It was finetuned on stories.", "rejected", 0.1),
    ),
    "Kitchen words in every list but the nulls.",
)
HITS = [
    SearchHit(
        SESSIONS[2].id, 118, NOON, "text_finished", "put it all in gold and wait", ((14, 18),)
    ),
    SearchHit(SESSIONS[6].id, 40, NOON, "reading_taken", "silver gold mine platinum", ((7, 11),)),
]


@dataclass
class FixedLibrary:
    """Stands in for the `Library`: what it is asked to do is kept in ``done``."""

    read: DatabaseListing = SHELF
    hits: list[SearchHit] = field(default_factory=lambda: HITS)
    done: list[tuple[str, ...]] = field(default_factory=list)
    path: Path = Path("/srv/sessions.db")
    refusal: Exception | None = None

    def listing(self) -> DatabaseListing:
        return self.read

    def search(self, words: str) -> list[SearchHit]:
        self._do("search", words)
        return self.hits

    def findings(self, _session_id: str) -> Findings:
        return FINDINGS

    def states(self, session_ids: Sequence[str]) -> list[SessionState]:
        self._do("states", *session_ids)
        known = {one.id: one for one in self.read.sessions}
        return [
            replace(sample_state(), session_id=one, name=known[one].name) for one in session_ids
        ]

    def report(self, session_id: str, target: str) -> tuple[Path, Path]:
        self._do("report", session_id, target)
        return Path(f"{target}.md"), Path(f"{target}.html")

    def rename(self, session_id: str, name: str) -> None:
        self._do("rename", session_id, name)

    def delete(self, session: SessionOverview) -> None:
        self._do("delete", session.id)

    def export(self, session_id: str, target: str) -> Path:
        self._do("export", session_id, target)
        return Path(target)

    def _do(self, *what: str) -> None:
        self.done.append(what)
        if self.refusal is not None:
            raise self.refusal


class ScreenApp(App[None]):
    """One screen alone; what it asks for is kept in ``asked``."""

    CSS_PATH = PaneApp.CSS_PATH

    def __init__(self, make: Any, library: FixedLibrary | None = None, **settings: Any) -> None:
        super().__init__()
        self.library = library or FixedLibrary()
        self.asked: list[Message] = []
        self._make = make
        self._settings = settings

    def on_mount(self) -> None:
        self.push_screen(self._make(self.library, listing=self.library.read, **self._settings))

    def _ask(self, message: Message) -> None:
        self.asked.append(message)

    def on_open_pair(self, message: OpenPair) -> None:
        self._ask(message)

    def on_continue_session(self, message: ContinueSession) -> None:
        self._ask(message)

    def on_attach_session(self, message: AttachSession) -> None:
        self._ask(message)

    def on_replay_session(self, message: ReplaySession) -> None:
        self._ask(message)

    def on_show_sessions(self, message: ShowSessions) -> None:
        self._ask(message)

    def on_show_start(self, message: ShowStart) -> None:
        self._ask(message)

    def on_use_database(self, message: UseDatabase) -> None:
        self._ask(message)
