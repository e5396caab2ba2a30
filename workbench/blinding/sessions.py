"""Recorded sessions as they may be seen: a blind session's names are hidden in them, too.

    HiddenNames     lists of sessions, and what each of them hides
    shown_state     a session at its end, for reports and tables
    missing_seal    what makes a session that is made of a blind one blind, too

Once a person had the names of a session revealed, it hides them from nobody who looks, but from agents:

    redactor_for_agents   hides them still
    without_truth         a session without what rests on ground truth
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from workbench.blinding.aliases import OPEN, Blinding, blinding_of
from workbench.blinding.redact import StateRedactor
from workbench.blinding.seal import is_revealing
from workbench.operations import OPERATIONS
from workbench.store.agent_events import AuditSealed, AuditUnblinded
from workbench.store.events import Event, EvidenceMarked, PairLoaded
from workbench.store.log import SessionLog
from workbench.store.overview import SessionOverview
from workbench.store.search import SearchHit, found_in, searchable_text
from workbench.store.state import SessionState, fold

_SEALING = ("audit_sealed", "audit_unblinded")
_NO_WORDS: dict[str, Any] = dict.fromkeys(("error", "message", "way_out", "reason"), "")
_LEFT_OUT = "left out, since it rests on ground truth"


class HiddenNames:
    """The names that each blind session of a file hides from a reader."""

    def __init__(self, blindings: Mapping[str, Blinding]) -> None:
        self._blindings = blindings

    @classmethod
    def read(cls, log: SessionLog) -> HiddenNames:
        """The blind sessions of a file, but for those whose names a person had revealed."""
        sealed = _sealed(log.everywhere(_SEALING))
        return cls(
            {session_id: _with_loaded(log, session_id, sealed[session_id]) for session_id in sealed}
        )

    def is_blind(self, session_id: str) -> bool:
        """True if the session hides names."""
        return session_id in self._blindings

    def of(self, session_id: str) -> Blinding:
        """The blinding of a session."""
        return self._blindings.get(session_id, OPEN)

    def search(
        self, log: SessionLog, words: str, limit: int, *, session_id: str | None = None
    ) -> list[SearchHit]:
        """Find events as `SessionLog.search` does; of a blind session, in its texts as they are shown.

        So a guess of a name is found no more than any other word that is not there.
        """
        if not self._blindings:
            return log.search(words, limit, session_id=session_id)
        found: list[SearchHit] = []
        # Without a limit: hits that are none would take the places of others.
        for hit in log.search(words, -1, session_id=session_id):
            shown = self._shown_hit(log, hit, words) if self.is_blind(hit.session_id) else hit
            if shown is not None:
                found.append(shown)
            if len(found) == limit:
                break
        return found

    def _shown_hit(self, log: SessionLog, hit: SearchHit, words: str) -> SearchHit | None:
        recorded = log.event(hit.session_id, hit.seq)
        event = self.redactor(hit.session_id).event(recorded)
        if event.body is recorded.body:
            return hit
        shown = found_in(searchable_text(event.body), words)
        return None if shown is None else replace(hit, snippet=shown[0], marks=shown[1])

    def redactor(self, session_id: str) -> StateRedactor:
        """The redactor of a session, from its first event on."""
        return StateRedactor(self.of(session_id).aliases)

    def overview(self, session: SessionOverview) -> SessionOverview:
        """A line of the list; name and sides are names by themselves."""
        hide = self.of(session.id).hide_words
        return replace(
            session,
            name=hide(session.name),
            base=None if session.base is None else hide(session.base),
            finetuned=None if session.finetuned is None else hide(session.finetuned),
        )


def matching_events(
    log: SessionLog, session_id: str, redactor: StateRedactor, words: str, after: int = 0
) -> list[int]:
    """Return the numbers of the events after ``after`` whose texts, as they are shown, have the words."""
    found = log.matching(words, session_id, after=after)
    if not redactor:
        return found

    def is_shown(seq: int) -> bool:
        event = log.event(session_id, seq)
        shown = redactor.event(event).body
        # What hides nothing was searched as it is; searching a text anew takes much longer.
        return shown is event.body or found_in(searchable_text(shown), words) is not None

    return [seq for seq in found if is_shown(seq)]


def redactor_for(log: SessionLog, session_id: str) -> StateRedactor:
    """The redactor of a session, from its first event on; it changes nothing if not blind."""
    return HiddenNames.read(log).redactor(session_id)


def shown_state(log: SessionLog, session_id: str) -> SessionState:
    """The state of a session as a reader may see it. Raises ``StoreError`` for an unknown one."""
    return redactor_for(log, session_id).state(fold(log.events(session_id)))


def redactor_for_agents(log: SessionLog, session_id: str) -> StateRedactor:
    """The same for agents: what a person had revealed stays hidden from them."""
    sealed: Mapping[str, str] = {}
    for event in log.events(session_id, kinds=["audit_sealed"]):
        if isinstance(event.body, AuditSealed) and event.body.aliases:
            sealed = event.body.aliases
    return StateRedactor(_with_loaded(log, session_id, sealed).aliases if sealed else None)


def without_truth(state: SessionState) -> SessionState:
    """The session without trainings, what was found with finetuning documents, and who saw which.

    Marks of such findings and operations with documents stay, without their words; the command line,
    which may name the documents, does not.
    """
    hidden, shown_mark = _seqs_of_truth(state), mark_without_truth(state)
    return replace(
        state,
        measures=tuple(found for found in state.measures if not found.body.of_truth),
        trainings=(),
        evaluation=None,
        cells={},
        unblinded=(),
        operations={
            name: replace(operation, arguments={}, summary={}, **_NO_WORDS)
            if operation.started_seq in hidden
            else operation
            for name, operation in state.operations.items()
        },
        evidence={
            name: replace(marked, body=shown_mark(marked.body))
            for name, marked in state.evidence.items()
        },
        environment={name: value for name, value in state.environment.items() if name != "command"},
    )


def mark_without_truth(state: SessionState) -> Callable[[EvidenceMarked], EvidenceMarked]:
    """Return what takes its words from a mark of the session, if they are of ground truth."""
    hidden = _seqs_of_truth(state)
    return lambda mark: _without_words(mark) if mark.of_seq in hidden else mark


def _seqs_of_truth(state: SessionState) -> set[int]:
    """The numbers of the events that show ground truth, or where it lies."""
    found = {measure.seq for measure in state.measures if measure.body.of_truth}
    read = {
        operation.started_seq
        for operation in state.operations.values()
        if (known := OPERATIONS.get(operation.name)) is not None
        and "documents" in known.arguments.model_fields
    }
    return found | read | {seen.seq for seen in state.unblinded}


def _without_words(mark: EvidenceMarked) -> EvidenceMarked:
    return mark.model_copy(update={"excerpt": _LEFT_OUT, "label": "", "note": ""})


def missing_seal(log: SessionLog, parent: str, seq: int) -> AuditSealed | None:
    """The seal that a session lacks which has the events of ``parent`` up to ``seq``.

    Its name is its parent's, and what it runs again loads the same pair. None if the parent is not
    blind, or the events up to there make it so.
    """
    hidden = HiddenNames.read(log)
    if not hidden.is_blind(parent):
        return None
    until = (event for event in log.events(parent, kinds=_SEALING) if event.seq <= seq)
    return None if _sealed(until) else _seal(log, hidden, parent)


def _seal(log: SessionLog, hidden: HiddenNames, session_id: str) -> AuditSealed:
    *_, sealed = (event.body for event in log.events(session_id, kinds=["audit_sealed"]))
    assert isinstance(sealed, AuditSealed)
    return sealed.model_copy(update={"aliases": hidden.of(session_id).aliases})


def _sealed(events: Iterable[Event]) -> dict[str, dict[str, str]]:
    """The blinding of each session after these events, by its id."""
    sealed: dict[str, dict[str, str]] = {}
    revealed: set[str] = set()
    for event in events:
        match event.body:
            case AuditSealed(aliases=aliases) if aliases:
                sealed[event.session_id] = aliases
            case AuditUnblinded() as body if is_revealing(event.actor, body):
                revealed.add(event.session_id)
    return {session: sealed[session] for session in sealed.keys() - revealed}


def _with_loaded(log: SessionLog, session_id: str, sealed: Mapping[str, str]) -> Blinding:
    aliases: dict[str, str] = {}
    for event in log.events(session_id, kinds=["pair_loaded"]):
        if isinstance(event.body, PairLoaded):
            aliases |= blinding_of(event.body.pair).aliases
    return Blinding(aliases | dict(sealed))
