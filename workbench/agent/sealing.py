"""What an audit keeps hidden until it is graded, and who has seen it."""

from __future__ import annotations

from pathlib import Path

from adl.errors import OrganismError
from adl.organisms import GroundTruth, Organism, get_organism, list_organisms
from adl.records import PairProvenance
from workbench.agent.blinding import Blinding, blinding_from, blinding_of
from workbench.agent.errors import GradeError
from workbench.operations.pairs import LOAD, PairArguments
from workbench.operations.running import Session
from workbench.store.agent_events import AuditSealed, AuditUnblinded
from workbench.store.events import SYSTEM, Actor
from workbench.store.state import SessionState


def asked_pair(state: SessionState) -> PairArguments | None:
    """The pair as it was asked for when it was loaded last; None if it never was."""
    loads = [one for one in state.operations.values() if one.name == LOAD.name]
    return PairArguments.model_validate(loads[-1].arguments) if loads else None


def find_organism(state: SessionState, named: str | None = None) -> Organism | None:
    """The organism a session audits: the one named, asked for, or whose adapter was loaded."""
    if named is not None:
        return get_organism(named)
    asked = asked_pair(state)
    if asked is not None and asked.organism is not None:
        return get_organism(asked.organism)
    finetuned = (state.pair or {}).get("finetuned", {})
    loaded = finetuned.get("adapter") or finetuned.get("checkpoint")
    if not loaded:
        return None
    known = {one.adapter or one.finetuned: one for one in list_organisms()}
    return known.get(loaded) or known.get(str(Path(loaded).resolve()))


def seal(session: Session, *, blind: bool, organism: str | None = None) -> Blinding:
    """Record the hash of the ground truth, and the aliases of a blind audit, once.

    A session that is sealed keeps the names it has. Raises ``OrganismError``.
    """
    state = session.state
    if state.seal is not None and (state.seal.body.aliases or not blind):
        return blinding_from(state.seal.body.aliases)
    found = find_organism(state, organism)
    try:
        truth = None if found is None else found.ground_truth()
    except OrganismError:
        # There is none to seal; whoever wants to grade is told so then.
        truth = None
    aliases = (
        blinding_of(_provenance(session), asked_pair(state), found.id if found else None).aliases
        if blind
        else {}
    )
    session.record(
        AuditSealed(
            organism=found.id if found else None,
            ground_truth_sha256=truth.sha256 if truth else None,
            aliases=aliases,
        ),
        actor=SYSTEM,
    )
    return Blinding(aliases)


def unseal(
    session: Session, actor: Actor, reason: str, organism: str | None = None
) -> tuple[Organism, GroundTruth]:
    """The ground truth, recorded as seen by ``actor``.

    Raises ``GradeError`` where no organism is known, or where its truth is not the one sealed.
    """
    state = session.state
    sealed = state.seal.body if state.seal else None
    found = find_organism(state, organism or (sealed.organism if sealed else None))
    if found is None:
        raise GradeError(
            f"session {state.session_id} audits no known organism, so there is no ground truth",
            "Name one: --organism.",
        )
    truth = found.ground_truth()
    if sealed and sealed.ground_truth_sha256 not in {None, truth.sha256}:
        raise GradeError(
            f"the ground truth of {found.id} is not the one that was sealed "
            f"({truth.sha256[:12]} instead of {str(sealed.ground_truth_sha256)[:12]})",
            "Restore the organism's file: what is graded against must not change after the audit.",
        )
    if not any(one.actor == actor and one.body.reason == reason for one in state.unblinded):
        session.record(AuditUnblinded(reason=reason), actor=actor)
    return found, truth


def _provenance(session: Session) -> PairProvenance:
    return session.require_pair().provenance
