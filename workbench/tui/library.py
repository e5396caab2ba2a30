"""Reading and changing a database for the start screen and the session screen.

Everything here waits for the disk, so screens call it on threads, which only post what came of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from adl.errors import AdlError
from adl.organisms.registry import Organism
from adl.paths import expanded
from workbench.blinding.sessions import HiddenNames, shown_state
from workbench.operations.pair import PairArguments, loaded_pair
from workbench.organisms import known_organisms
from workbench.store.errors import OlderSchema, StoreError
from workbench.store.events import (
    HUMAN,
    HypothesisJudged,
    HypothesisRevised,
    HypothesisStated,
    NoteWritten,
    SessionRenamed,
)
from workbench.store.lease import OpenElsewhere, is_open
from workbench.store.log import SessionLog
from workbench.store.overview import SessionOverview
from workbench.store.search import SearchHit
from workbench.store.slices.operations import Operations
from workbench.store.state import SessionState
from workbench.tui.keys import shown

if TYPE_CHECKING:
    from workbench.engine.running_engines import RunningEngine
    from workbench.report.records import Report

#: Sessions that are looked through for recent pairs, and how many pairs are shown.
LOOKED_THROUGH, RECENT = 12, 4
#: Events of a search that are shown.
HITS = 200
#: How long a reader waits for another process, in seconds.
READER_PATIENCE = 2.0


@dataclass(frozen=True)
class DatabaseListing:
    """The sessions of a database, those open elsewhere, pairs loaded in them, and engines that run.

    ``trouble`` is why the database cannot be read, or why nothing can be recorded in it.
    """

    sessions: tuple[SessionOverview, ...] = ()
    open_elsewhere: frozenset[str] = frozenset()
    recent: tuple[PairArguments, ...] = ()
    organisms: tuple[Organism, ...] = ()
    trouble: AdlError | None = None
    engines: tuple[RunningEngine, ...] = ()


@dataclass(frozen=True)
class Finding:
    """A hypothesis of a session with its current verdict and confidence."""

    text: str
    verdict: str = "open"
    confidence: float | None = None


@dataclass(frozen=True)
class Findings:
    """The results of a session: its hypotheses, and the last note written in it."""

    hypotheses: tuple[Finding, ...] = ()
    last_note: str = ""


@dataclass(frozen=True)
class Library:
    """A session database as the screens use it; safe to use from any thread.

    ``opened`` gives the log that the program has open already, or None; ``open_log`` opens it.
    ``engines`` finds those that run.
    """

    path: Path
    leases: Path
    opened: Callable[[], SessionLog | None]
    open_log: Callable[[], SessionLog]
    engines: Callable[[], tuple[RunningEngine, ...]] = tuple

    def listing(self) -> DatabaseListing:
        """Return what the database holds. A missing one is empty and not created; see ``trouble``."""
        sessions: tuple[SessionOverview, ...] = ()
        recent: tuple[PairArguments, ...] = ()
        trouble: AdlError | None = None
        try:
            if self.opened() is None and not self.path.exists():
                trouble = cannot_be_made(self.path)
            else:
                with self._reading() as log:
                    hidden = HiddenNames.read(log)
                    found = tuple(log.sessions())
                    # A pair whose names are hidden is nothing to begin with again.
                    known = tuple(session for session in found if not hidden.is_blind(session.id))
                    recent = tuple(recent_pairs(log, known))
                    sessions = tuple(map(hidden.overview, found))
                trouble = None if self.opened() else cannot_be_written(self.path)
        except AdlError as exc:
            trouble = exc
        organisms: tuple[Organism, ...] = ()
        try:
            organisms = known_organisms()
        except AdlError as exc:
            trouble = trouble or exc
        # Also closed ones: another that had it open may have closed it for itself.
        elsewhere = frozenset(
            session.id for session in sessions if is_open(self.leases, session.id)
        )
        engines = self.engines()
        return DatabaseListing(sessions, elsewhere, recent, organisms, trouble, engines)

    def search(self, words: str) -> list[SearchHit]:
        """Return the events whose texts have all the words: `HITS`, and one more if there are more."""
        if self.opened() is None and not self.path.exists():
            return []
        with self._reading() as log:
            return HiddenNames.read(log).search(log, words, HITS + 1)

    def findings(self, session_id: str) -> Findings:
        """Return the hypotheses and the last note of a session."""
        hypotheses: dict[str, Finding] = {}
        note = ""
        kinds = ("hypothesis_stated", "hypothesis_revised", "hypothesis_judged", "note_written")
        with self._reading() as log:
            for event in log.events(session_id, kinds=kinds):
                match event.body:
                    case HypothesisStated() | HypothesisRevised() as body:
                        before = hypotheses.get(body.hypothesis_id)
                        verdict = before.verdict if before else "open"
                        hypotheses[body.hypothesis_id] = Finding(
                            body.text, verdict, body.confidence
                        )
                    case HypothesisJudged() as body if body.hypothesis_id in hypotheses:
                        finding = hypotheses[body.hypothesis_id]
                        hypotheses[body.hypothesis_id] = replace(finding, verdict=body.verdict)
                    case NoteWritten() as body:
                        note = body.text
            hide = HiddenNames.read(log).of(session_id).hide
        hidden = (replace(finding, text=hide(finding.text)) for finding in hypotheses.values())
        return Findings(tuple(hidden), hide(note))

    def states(self, session_ids: Sequence[str]) -> list[SessionState]:
        """Return the final states of sessions, with the names of blind ones hidden."""
        with self._reading() as log:
            return [shown_state(log, session_id) for session_id in session_ids]

    def report(self, session_id: str, target: str) -> tuple[Path, Path]:
        """Write a session's report as Markdown and HTML; ``target`` names both but for the ending.

        Names that the session hides are left out.

        Raises `ExportError` if either file is there already or cannot be written.
        """
        from workbench.report.files import write_report

        return write_report(self.build_report(session_id), expanded(target).absolute())

    def build_report(self, session_id: str) -> Report:
        """Check a session and gather its report, without the names that it hides."""
        from workbench.report.content import build_report

        with self._reading() as log:
            return build_report(log, session_id)

    def rename(self, session_id: str, name: str) -> None:
        """Give a session another name."""
        self.open_log().append(session_id, SessionRenamed(name=name), actor=HUMAN)

    def delete(self, session: SessionOverview) -> None:
        """Delete a session for good. Raises `StoreError` if it is open or was renamed meanwhile."""
        if is_open(self.leases, session.id):
            raise OpenElsewhere(session.id)
        log = self.open_log()
        hidden = HiddenNames.read(log)
        now = next((found for found in log.sessions() if found.id == session.id), session)
        # Confirmed is the name as it was seen, which of a blind session is not its own.
        same = hidden.overview(now).name == session.name
        log.delete_session(session.id, confirm=now.name if same else session.name)

    def export(self, session_id: str, target: str) -> Path:
        """Copy a session into a new file, and return its path."""
        with self._reading() as log:
            return log.export_session(session_id, expanded(target).absolute())

    @contextmanager
    def _reading(self) -> Iterator[SessionLog]:
        log = self.opened()
        if log is None:
            try:
                reader = SessionLog.open(self.path, read_only=True, busy_timeout=READER_PATIENCE)
            except OlderSchema:
                # Brought up to date by being opened to write.
                log = self.open_log()
            else:
                with reader:
                    yield reader
                return
        yield log


def recent_pairs(log: SessionLog, sessions: tuple[SessionOverview, ...]) -> list[PairArguments]:
    """Return the distinct pairs of the newest sessions, the newest first."""
    found: list[PairArguments] = []
    with_pair = [session for session in sessions if session.base is not None]
    for session in with_pair[:LOOKED_THROUGH]:
        pair = _loaded_pair(log, session.id)
        if pair is not None and pair not in found:
            found.append(pair)
        if len(found) == RECENT:
            break
    return found


def _loaded_pair(log: SessionLog, session_id: str) -> PairArguments | None:
    """Return the last pair loaded in a session, without folding all of it."""
    operations = Operations()
    for event in log.events(session_id, kinds=operations.kinds()):
        operations.take(event)
    return loaded_pair(operations.value())


def pair_title(pair: PairArguments) -> str:
    """Return a short title of a pair: its organism, or base and finetuned side without folders."""
    if pair.organism is not None:
        return pair.organism
    parts = [short_name(part) for part in (pair.base, pair.adapter or pair.finetuned) if part]
    return " / ".join(parts)


def session_pair(session: SessionOverview) -> str:
    """Return a short title of a session's pair, empty if none was loaded."""
    return " / ".join(short_name(part) for part in (session.base, session.finetuned) if part)


def short_name(name: str) -> str:
    """The last part of a path or id; of a snapshot of the hub, which is named by its commit, the id."""
    hub = re.search(r"models--([^/]+)/snapshots/", name)
    return hub[1].rpartition("--")[2] if hub else name.rstrip("/").rpartition("/")[2]


def matches(session: SessionOverview, words: str) -> bool:
    """True if every word is in the session's name, id or pair."""
    hay = f"{session.name} {session.id} {session_pair(session)}".casefold()
    return all(word in hay for word in words.casefold().split())


def cannot_be_made(path: Path) -> StoreError | None:
    """Return why a database cannot be created at ``path``, as far as can be checked without trying."""
    above = next((parent for parent in path.absolute().parents if parent.exists()), None)
    if above is None or (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        return None
    why = "is not writable" if above.is_dir() else "is a file, not a folder"
    return StoreError(
        f"no session can be recorded in {path}: {above} {why}",
        f"Choose another database ({shown('database')}), or set ADL_WORKBENCH_HOME to a folder that is "
        "writable.",
    )


def cannot_be_written(path: Path) -> StoreError | None:
    """Return why a readable database cannot be written, None if it can."""
    if os.access(path, os.W_OK) and os.access(path.absolute().parent, os.W_OK):
        return None
    return StoreError(
        f"{path} or its folder is read-only: its sessions can be looked at and exported, "
        "but not gone on with",
        f"Choose another database ({shown('database')}), or make it writable.",
    )
