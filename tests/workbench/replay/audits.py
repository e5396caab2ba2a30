"""A whole audit of the planted pair, run as the workbench runs it: operation by operation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adl.artifacts import ArrayCache
from adl.pair.protocol import ModelPair
from tests.planted import PlantedPair
from workbench.operations import OPERATIONS
from workbench.operations.pair import environment
from workbench.operations.running import Outcome, Session, run
from workbench.store.events import (
    HUMAN,
    Actor,
    OperationFinished,
    OperationStarted,
    PairLoaded,
    SessionClosed,
)
from workbench.store.log import SessionLog
from workbench.store.state import SessionState

AGENT = Actor(kind="agent", name="a model")


@dataclass(frozen=True)
class Audit:
    """Where an audit was recorded, and its live state after every event (by seq)."""

    path: Path
    session_id: str
    digests: dict[int, str]
    states: dict[int, SessionState]


def do(session: Session, name: str, actor: Actor = HUMAN, **arguments: Any) -> Outcome:
    """Run an operation by its name."""
    operation = OPERATIONS[name]
    return run(session, operation, operation.arguments(**arguments), actor=actor)


def record_other_arguments(session: Session) -> None:
    """Record a question with an option that this program does not have."""
    arguments = {
        **OPERATIONS["ask"].arguments(prompt="x").model_dump(mode="json"),
        "renamed_option": 1,
    }
    started = OperationStarted(operation="ask", arguments=arguments)
    session.record(started, actor=HUMAN, operation_id="other")
    session.record(OperationFinished(seconds=1.0), actor=HUMAN, operation_id="other")


def measure_and_read(session: Session) -> None:
    do(session, "measure_difference", n_texts=24, layers=("2",))
    readings = ("output_difference", "shift_lens", "logit_lens")
    do(session, "read_tokens", layer="2", n_texts=64, top=20, readings=readings)


def steer_and_ask(session: Session) -> tuple[Outcome, Outcome]:
    steered = do(session, "steer", AGENT, layer="2", n_prompts=2, max_new_tokens=6)
    asked = do(session, "ask", AGENT, prompt="What do you bake?", max_new_tokens=6)
    return steered, asked


def conclude(session: Session) -> None:
    """Hypotheses of both, with evidence for one, against another and none for the third."""
    state = session.state
    (key, reading) = next(
        (key, found)
        for key, found in state.readings.items()
        if key.reading == "output_difference" and key.source == "difference"
    )
    token = reading.body.tokens[0]
    do(session, "add_hypothesis", text="It was finetuned on baking cake.")
    do(session, "add_hypothesis", AGENT, text="It plays a game.", confidence=0.2)
    do(session, "add_hypothesis", AGENT, text="It speaks of trains.")
    do(
        session,
        "mark_evidence",
        seq=reading.seq,
        excerpt=token.text,
        label=f"{key.reading}, layer {key.layer}",
        token_id=token.id,
        note="heads the list",
        hypothesis="H1",
    )
    text = next(iter(state.texts.values()))
    do(
        session,
        "mark_evidence",
        AGENT,
        seq=text.start.seq,
        excerpt=text.text[:6],
        text_id=text.start.body.text_id,
    )
    do(session, "link_evidence", AGENT, hypothesis="H2", evidence="E2", bearing="against")
    do(session, "revise_hypothesis", hypothesis="H1", confidence=0.9, reason="the token list")
    do(session, "rank_hypotheses", order=("H1", "H2"))
    do(session, "judge_hypothesis", AGENT, hypothesis="H2", verdict="rejected")
    do(session, "note", text="Sponge, or flour?")


def record_audit(path: Path, pair: ModelPair | None = None) -> Audit:
    """Measure, read, steer, ask and conclude; the live state is looked at after every event."""
    digests: dict[int, str] = {}
    states: dict[int, SessionState] = {}
    with SessionLog.open(path) as log:
        session_id = log.start_session("cakes", environment(), HUMAN)
        session = Session(log, session_id, ArrayCache(path.parent / "cache"), pair or PlantedPair())

        def look() -> None:
            state = session.state
            digests[state.seq] = state.digest()
            states[state.seq] = state

        look()
        append = session._append

        def append_and_look(entries, after=None):  # type: ignore[no-untyped-def]
            events = append(entries, after)
            look()
            return events

        session._append = append_and_look  # type: ignore[method-assign]
        assert session.pair is not None
        session.record(PairLoaded(pair=session.pair.provenance.as_dict()))
        measure_and_read(session)
        steer_and_ask(session)
        conclude(session)
        session.record(SessionClosed(outcome="completed"), actor=HUMAN)
    return Audit(path, session_id, digests, states)
