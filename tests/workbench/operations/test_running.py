"""Started before, ended after, whichever way it ends: in the log, and in the same state everywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from adl.artifacts import ArrayCache
from adl.errors import PairError, Stopped
from tests.planted import PlantedPair
from tests.workbench.operations.conftest import assert_as_recorded, committed, do, kinds
from workbench.operations import OPERATIONS
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import ASK, STEER, AskArguments, SteerArguments
from workbench.operations.notes import NOTE, NoteArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import (
    Arguments,
    Context,
    NoPairError,
    Operation,
    Session,
    Summary,
    run,
)
from workbench.store.errors import StoreError
from workbench.store.events import Actor, NoteWritten
from workbench.store.log import SessionLog

AGENT = Actor(kind="agent", name="a model")


class Nothing(Arguments):
    """No arguments."""


def operation(work) -> Operation[Nothing]:
    return Operation("try", "Try", Nothing, work)


def test_the_start_is_on_the_disk_before_the_work_begins(session: Session, path: Path):
    found: list[list[str]] = []

    def work(context: Context, _arguments: Nothing) -> Summary:
        with SessionLog.open(path, read_only=True) as other:
            found.append([event.body.kind for event in other.events(session.id)])
        context.record(NoteWritten(text="found"))
        return {"answer": 42}

    outcome = run(session, operation(work), Nothing(), actor=AGENT)
    assert found == [["session_started", "operation_started"]]
    assert outcome.summary == {"answer": 42}
    _, started, note, finished = committed(session)
    assert started.body.operation == "try"
    assert finished.body.kind == "operation_finished"
    assert finished.body.summary == {"answer": 42}
    assert {event.operation_id for event in (started, note, finished)} == {outcome.operation_id}
    assert {event.actor for event in (started, note, finished)} == {AGENT}
    assert session.state.operations[outcome.operation_id].status == "finished"
    assert_as_recorded(session)


@pytest.mark.parametrize(
    ("error", "kind", "status", "said"),
    [
        (PairError("no such pair", "Name another."), "operation_failed", "failed", "no such pair"),
        (ZeroDivisionError("by nought"), "operation_failed", "failed", "by nought"),
        (Stopped("after 3 of 4"), "operation_stopped", "stopped", "after 3 of 4"),
        (KeyboardInterrupt(), "operation_stopped", "stopped", "KeyboardInterrupt"),
        (SystemExit(3), "operation_stopped", "stopped", "SystemExit"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_every_way_to_end_is_recorded_and_raised_again(session, error, kind, status, said):
    def work(context: Context, _arguments: Nothing) -> Summary:
        context.record(NoteWritten(text="as far as it came"))
        raise error

    with pytest.raises(type(error)) as raised:
        do(session, operation(work), Nothing())
    assert raised.value is error
    assert kinds(session)[-3:] == ["operation_started", "note_written", kind]
    (recorded,) = session.state.operations.values()
    assert recorded.status == status
    assert said in (recorded.message, recorded.reason)
    if isinstance(error, PairError):
        assert (recorded.error, recorded.way_out) == ("PairError", "Name another.")
    assert_as_recorded(session)


def test_what_another_process_recorded_in_between_is_taken_in(session: Session, path: Path):
    def work(context: Context, _arguments: Nothing) -> Summary:
        with SessionLog.open(path) as other:
            other.append(session.id, NoteWritten(text="theirs"))
        context.record(NoteWritten(text="ours"))
        return {}

    do(session, operation(work), Nothing())
    assert [note.body.text for note in session.state.notes] == ["theirs", "ours"]
    assert_as_recorded(session)


def test_an_operation_that_cannot_be_announced_is_not_begun(session: Session):
    session.log.close()
    begun = []
    with pytest.raises(StoreError, match="closed"):
        do(session, operation(lambda *_: begun.append(1) or {}), Nothing())
    assert begun == []


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        (MEASURE, MeasureArguments()),
        (READ, ReadArguments()),
        (STEER, SteerArguments()),
        (ASK, AskArguments(prompt="Hello")),
    ],
    ids=lambda value: value.name if isinstance(value, Operation) else "",
)
def test_without_a_pair_the_way_out_is_to_load_one(log, cache, verb, arguments):
    session = Session(log, log.start_session("no pair"), cache)
    with pytest.raises(NoPairError, match="no model pair loaded") as raised:
        do(session, verb, arguments)
    assert "--demo" in raised.value.hint
    assert kinds(session)[-1] == "operation_failed"


def test_a_note_is_kept_with_its_author(session: Session):
    outcome = run(session, NOTE, NoteArguments(text="\x1b[31mcakes\x00"), actor=AGENT)
    assert outcome.summary == {}
    (note,) = session.state.notes
    assert note.actor == AGENT
    assert note.body.text == "\x1b[31mcakes\x00"  # raw: cleaned only where it is shown
    assert_as_recorded(session)


def test_every_operation_says_what_it_does_and_what_it_takes():
    for name, verb in OPERATIONS.items():
        assert verb.name == name
        assert len(verb.description) > 15
        for field, info in verb.arguments.model_fields.items():
            assert info.description, f"{name}.{field} is not described"


DIGEST = """
import sys
from pathlib import Path
from adl.artifacts import ArrayCache
from workbench.operations.running import Session
from workbench.store.log import SessionLog
with SessionLog.open(sys.argv[1], read_only=True) as log:
    session = Session(log, sys.argv[2], ArrayCache(Path(sys.argv[3])))
    print(session.state.digest(), session.state.seq, len(session.difference()[1].layers))
"""


@pytest.mark.slow
def test_a_new_process_sees_the_same_state_and_goes_on_with_it(
    measured: Session, path: Path, tmp_path: Path
):
    do(measured, READ, ReadArguments(layer="3", readings=("logit_lens",)))
    do(measured, STEER, SteerArguments(layer="3", n_prompts=1, max_new_tokens=4))
    do(measured, ASK, AskArguments(prompt="Hello", max_new_tokens=4))
    do(measured, NOTE, NoteArguments(text="cakes"))
    with pytest.raises(Stopped):
        do(measured, operation(_stop), Nothing())
    state = measured.state
    seen = subprocess.run(
        [sys.executable, "-c", DIGEST, str(path), measured.id, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert seen.stdout.split() == [state.digest(), str(state.seq), "1"]

    with SessionLog.open(path) as log:
        again = Session(log, measured.id, ArrayCache(tmp_path / "elsewhere"), PlantedPair())
        # Neither the cache nor the measuring process is needed: the numbers are in the log.
        do(again, STEER, SteerArguments(layer="3", n_prompts=1, max_new_tokens=4, alphas=(0.3,)))
        assert len(again.state.texts) == len(state.texts) + 1
    measured.catch_up()
    assert measured.state.digest() == again.state.digest()


def _stop(context: Context, _arguments: Nothing) -> Summary:
    raise Stopped("on request")
