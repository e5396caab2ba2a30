"""A recorded audit of the planted pair, the same at every run: what panes are drawn from in tests."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from adl.artifacts import ArrayCache
from tests.planted import PlantedPair
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import ASK, STEER, AskArguments, SteerArguments
from workbench.operations.hypotheses import (
    ADD_HYPOTHESIS,
    MARK,
    AddHypothesisArguments,
    MarkArguments,
)
from workbench.operations.notes import NOTE, NoteArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import Session, run
from workbench.store.arrays import ArrayRef
from workbench.store.errors import StoreError
from workbench.store.events import HUMAN, Event, PairLoaded
from workbench.store.log import SessionLog
from workbench.store.state import SessionState, fold

RECORDED = Path(__file__).with_name("recorded")
BEGAN = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)


@cache
def sample() -> tuple[tuple[Event, ...], dict[str, np.ndarray]]:
    """The events, and the arrays they name by hash.

    Times, ids and durations are fixed, so that pictures of them are. They are read from a file:
    numbers computed anew would differ by processor in their last digits, and what is ranked by them
    in its order.
    """
    return read_recorded("sample")


def record_sample() -> tuple[tuple[Event, ...], dict[str, np.ndarray]]:
    """The sample made anew, on this processor."""
    with TemporaryDirectory() as folder, SessionLog.open(Path(folder) / "sessions.db") as log:
        session_id = log.start_session("a planted audit", {"program": "adl-workbench"}, HUMAN)
        session = Session(log, session_id, ArrayCache(Path(folder) / "arrays"), PlantedPair())
        session.record(PairLoaded(pair=session.require_pair().provenance.as_dict()))
        _audit(session)
        events = without_growth(log.events(session_id))
        arrays = {
            ref.sha256: log.array(ref)
            for one in session.state.differences.values()
            for ref in one.body.arrays.values()
        }
    return tuple(fixed(event) for event in events), arrays


def sample_state() -> SessionState:
    """The sample after its last event."""
    return fold(sample()[0])


def read_sample_array(ref: ArrayRef) -> np.ndarray:
    """The array of the sample that ``ref`` names."""
    return sample()[1][ref.sha256]


def read_sample_event(seq: int) -> Event:
    """The event of the sample with that number; an error as from the log if there is none."""
    events = sample()[0]
    if not 0 < seq <= len(events):
        raise StoreError(f"the sample has no event {seq}", "Ask for one that it has.")
    return events[seq - 1]


def _audit(session: Session) -> None:
    def do(operation: Any, arguments: Any) -> Any:
        return run(session, operation, arguments, actor=HUMAN)

    do(MEASURE, MeasureArguments(layers=("2", "3"), n_texts=64))
    do(READ, ReadArguments(layer="3", n_texts=64))
    prompts = ("How was your day?", "Tell me a story.")
    do(
        STEER,
        SteerArguments(prompts=prompts, layer="3", alphas=(0.0, 0.2, 0.4), max_new_tokens=12),
    )
    do(ASK, AskArguments(prompt="What do you like best?", max_new_tokens=12, seed=1))
    list_seq, reading = next(
        (recorded.seq, recorded.body)
        for key, recorded in session.state.readings.items()
        if key.source == "difference"
    )
    do(
        ADD_HYPOTHESIS,
        AddHypothesisArguments(
            text="It was finetuned on texts about baking cakes.", confidence=0.7
        ),
    )
    do(ADD_HYPOTHESIS, AddHypothesisArguments(text="It was finetuned on stories.", confidence=0.1))
    do(
        MARK,
        MarkArguments(
            seq=list_seq,
            excerpt=reading.tokens[0].text,
            label=f"{reading.reading}, layer {reading.layer}, position {reading.position}",
            token_id=reading.tokens[0].id,
            hypothesis="H1",
        ),
    )
    do(NOTE, NoteArguments(text="Kitchen words in every list but the nulls."))


def without_growth(events: Iterable[Event]) -> list[Event]:
    """The events without `text_grew`: in how many pieces a text came is a matter of time."""
    kept = [event for event in events if event.body.kind != "text_grew"]
    return [event.model_copy(update={"seq": seq}) for seq, event in enumerate(kept, start=1)]


def fixed(event: Event) -> Event:
    """The event at a time and in a session that are the same in every recording."""
    body = event.body
    if hasattr(body, "seconds"):
        body = body.model_copy(update={"seconds": 1.5})
    at = BEGAN + timedelta(seconds=event.seq)
    return event.model_copy(update={"at": at, "session_id": "20260314-planted", "body": body})


def read_recorded(name: str) -> tuple[tuple[Event, ...], dict[str, np.ndarray]]:
    """A recording that `write_recorded` wrote."""
    with gzip.open(RECORDED / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        events = tuple(Event.model_validate_json(line) for line in lines)
    with np.load(RECORDED / f"{name}.npz") as arrays:
        return events, dict(arrays)


def write_recorded(
    name: str, events: Sequence[Event], arrays: Mapping[str, np.ndarray] | None = None
) -> None:
    """Keep a recording in the repository, the same bytes for the same events."""
    text = "".join(event.model_dump_json() + "\n" for event in events)
    RECORDED.mkdir(exist_ok=True)
    (RECORDED / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    np.savez_compressed(RECORDED / f"{name}.npz", **(arrays or {}))
