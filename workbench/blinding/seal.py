"""Seal an audit: the ground truth and names that it hides until graded, and who has seen them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from adl.errors import OrganismError
from adl.organisms.registry import GroundTruth, Organism
from workbench.blinding.aliases import OPEN, Blinding, blinding_from, blinding_of
from workbench.operations.pair import PairArguments, asked_pairs, loaded_pair
from workbench.operations.running import Session
from workbench.organisms import known_organisms, named_organism
from workbench.store.agent_events import AuditSealed, AuditUnblinded
from workbench.store.events import SYSTEM, Actor
from workbench.store.state import SessionState

#: Why someone was unblinded who saw the names and not, or not yet, the truth.
NAMES = "names revealed"


def find_organism(state: SessionState, named: str | None = None) -> Organism | None:
    """The organism a session audits: the one named, asked for, or whose adapter was loaded."""
    if named is not None:
        return named_organism(named)
    asked = loaded_pair(state.operations)
    if asked is not None and asked.organism is not None:
        return named_organism(asked.organism)
    finetuned = (state.pair or {}).get("finetuned", {})
    loaded = finetuned.get("adapter") or finetuned.get("checkpoint")
    if not loaded:
        return None
    known = {organism.adapter or organism.finetuned: organism for organism in known_organisms()}
    return known.get(loaded) or known.get(str(Path(loaded).resolve()))


def blinding_in(state: SessionState) -> Blinding:
    """The blinding of a blind session: the names sealed, and those of the pair it loaded."""
    sealed = state.seal.body.aliases if state.seal else {}
    if not sealed:
        return OPEN
    return Blinding(blinding_of(state.pair).aliases | sealed)


def blinding_for_people(state: SessionState) -> Blinding:
    """The same, for whoever looks at the session: nothing, once a person had the names revealed."""
    if any(is_revealing(unblinding.actor, unblinding.body) for unblinding in state.unblinded):
        return OPEN
    return blinding_in(state)


def hiding_from(state: SessionState, actor: Actor) -> Callable[[str], str]:
    """Return what hides a session's names from ``actor``: from people until they are revealed."""
    blinding = blinding_for_people(state) if actor.kind == "human" else blinding_in(state)
    return blinding.hide


Session.hiding = staticmethod(hiding_from)


def is_revealing(actor: Actor, unblinded: AuditUnblinded) -> bool:
    """True if the event records that a person had the names revealed."""
    return actor.kind == "human" and unblinded.reason == NAMES


def has_seen_truth(state: SessionState) -> bool:
    """True if a person has seen the ground truth; who has seen the names alone has not."""
    return any(
        recorded.actor.kind == "human" and not is_revealing(recorded.actor, recorded.body)
        for recorded in state.unblinded
    )


def reveal_names(session: Session, person: Actor) -> Mapping[str, str]:
    """The aliases of a blind session, recorded as seen by ``person``; empty if it is not blind.

    From here on people see the names. An agent does not: its audit stays blind.
    """
    aliases = blinding_in(session.state).aliases
    if aliases and blinding_for_people(session.state):
        session.record(AuditUnblinded(reason=NAMES), actor=person)
    return aliases


def first_seal(asked: PairArguments) -> AuditSealed:
    """Return the seal of a blind session yet to begin, whose pair is asked for and not loaded.

    Raises ``OrganismError``.
    """
    found = named_organism(asked.organism) if asked.organism else None
    return AuditSealed(
        organism=found.id if found else None,
        ground_truth_sha256=_truth_sha256(found),
        aliases=blinding_of(None, asked, found).aliases,
    )


def hiding_while_loading(asked: PairArguments) -> Callable[[str], str]:
    """Return what hides the names of a blind pair while it is loaded, ordinary words among them.

    Raises ``OrganismError``.
    """
    return blinding_from(first_seal(asked).aliases).hide_words


def _truth_sha256(organism: Organism | None) -> str | None:
    try:
        return None if organism is None else organism.ground_truth().sha256
    except OrganismError:
        # There is none to seal; whoever wants to grade is told so then.
        return None


def seal(
    session: Session,
    *,
    blind: bool,
    organism: str | None = None,
    asked: PairArguments | None = None,
) -> Blinding:
    """Record the hash of the ground truth, and the aliases of a blind audit.

    Sealed before the pair is loaded, as ``asked`` for, a session hides what loading says of it; it
    is sealed again where more names have come to be known. A session that is blind stays so. Raises
    ``OrganismError``.
    """
    state = session.state
    sealed = state.seal.body if state.seal else None
    blind = blind or bool(sealed and sealed.aliases)
    if sealed is not None and not blind:
        return OPEN
    # A pair that could not be loaded is named by what failed.
    wanted = [*asked_pairs(state.operations), *([asked] if asked else [])]
    named = organism or (wanted[-1].organism if wanted else None)
    found = find_organism(state, named or (sealed.organism if sealed else None))
    truth_sha256 = _truth_sha256(found)
    aliases: dict[str, str] = {}
    if blind:
        loaded = session.pair.provenance if session.pair is not None else state.pair
        aliases = dict(blinding_of(loaded, None, found).aliases)
        for pair in wanted:
            aliases = dict(blinding_of(loaded, pair, found).aliases) | aliases
        aliases |= sealed.aliases if sealed else {}
    if sealed is None or aliases != sealed.aliases:
        known = sealed.ground_truth_sha256 if sealed else None
        session.record(
            AuditSealed(
                organism=found.id if found else None,
                # What was sealed first counts: the file may have changed since.
                ground_truth_sha256=known or truth_sha256,
                aliases=aliases,
            ),
            actor=SYSTEM,
        )
    return blinding_from(aliases)


def unseal(
    session: Session, actor: Actor, reason: str, organism: str | None = None
) -> tuple[Organism, GroundTruth]:
    """The ground truth, recorded as seen by ``actor``.

    Raises ``OrganismError`` where no organism is known, or where its truth is not the one sealed.
    """
    state = session.state
    sealed = state.seal.body if state.seal else None
    found = find_organism(state, organism or (sealed.organism if sealed else None))
    if found is None:
        raise OrganismError(
            f"session {state.session_id} audits no known organism, so there is no ground truth",
            "Name one: --organism.",
        )
    truth = found.ground_truth()
    if sealed and sealed.ground_truth_sha256 not in {None, truth.sha256}:
        raise OrganismError(
            f"the ground truth of {found.id} is not the one that was sealed "
            f"({truth.sha256[:12]} instead of {str(sealed.ground_truth_sha256)[:12]})",
            "Restore the organism's file: what is graded against must not change after the audit.",
        )
    if not any(
        unblinding.actor == actor and unblinding.body.reason == reason
        for unblinding in state.unblinded
    ):
        session.record(AuditUnblinded(reason=reason), actor=actor)
    return found, truth
