"""A whole audit of the planted pair, run as the workbench runs it: operation by operation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adl.artifacts import ArrayCache
from adl.pair.protocol import ModelPair
from tests.planted import PlantedPair
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import ASK, STEER, AskArguments, SteerArguments
from workbench.operations.hypotheses import (
    ADD_HYPOTHESIS,
    LINK,
    MARK,
    RANK,
    REVISE,
    SET_VERDICT,
    AddHypothesisArguments,
    LinkArguments,
    MarkArguments,
    RankArguments,
    ReviseArguments,
    SetVerdictArguments,
)
from workbench.operations.notes import NOTE, NoteArguments
from workbench.operations.pair import environment
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import Outcome, Session, run
from workbench.store.events import HUMAN, Actor, PairLoaded, SessionClosed
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


def measure_and_read(session: Session) -> None:
    run(session, MEASURE, MeasureArguments(n_texts=24, layers=("2",)), actor=HUMAN)
    readings = ReadArguments(
        layer="2",
        n_texts=64,
        top=20,
        readings=("output_difference", "shift_lens", "logit_lens"),
    )
    run(session, READ, readings, actor=HUMAN)


def steer_and_ask(session: Session) -> tuple[Outcome, Outcome]:
    steered = run(
        session,
        STEER,
        SteerArguments(layer="2", n_prompts=2, max_new_tokens=6),
        actor=AGENT,
    )
    asked = run(
        session, ASK, AskArguments(prompt="What do you bake?", max_new_tokens=6), actor=AGENT
    )
    return steered, asked


def conclude(session: Session) -> None:
    """Hypotheses of both, with evidence for one, against another and none for the third."""
    state = session.state
    (key, reading) = next(
        (key, one)
        for key, one in state.readings.items()
        if key.reading == "output_difference" and key.source == "difference"
    )
    token = reading.body.tokens[0]
    run(
        session,
        ADD_HYPOTHESIS,
        AddHypothesisArguments(text="It was finetuned on baking cake."),
        actor=HUMAN,
    )
    run(
        session,
        ADD_HYPOTHESIS,
        AddHypothesisArguments(text="It plays a game.", confidence=0.2),
        actor=AGENT,
    )
    run(session, ADD_HYPOTHESIS, AddHypothesisArguments(text="It speaks of trains."), actor=AGENT)
    run(
        session,
        MARK,
        MarkArguments(
            seq=reading.seq,
            excerpt=token.text,
            label=f"{key.reading}, layer {key.layer}",
            token_id=token.id,
            note="heads the list",
            hypothesis="H1",
        ),
        actor=HUMAN,
    )
    text = next(iter(state.texts.values()))
    run(
        session,
        MARK,
        MarkArguments(seq=text.start.seq, excerpt=text.text[:6], text_id=text.start.body.text_id),
        actor=AGENT,
    )
    run(
        session, LINK, LinkArguments(hypothesis="H2", evidence="E2", bearing="against"), actor=AGENT
    )
    run(
        session,
        REVISE,
        ReviseArguments(hypothesis="H1", confidence=0.9, reason="the token list"),
        actor=HUMAN,
    )
    run(session, RANK, RankArguments(order=("H1", "H2")), actor=HUMAN)
    run(session, SET_VERDICT, SetVerdictArguments(hypothesis="H2", verdict="rejected"), actor=AGENT)
    run(session, NOTE, NoteArguments(text="Sponge, or flour?"), actor=HUMAN)


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

        def append_and_look(entries):  # type: ignore[no-untyped-def]
            events = append(entries)
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
