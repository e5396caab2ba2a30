from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from adl.artifacts import ArrayCache
from adl.errors import Stopped
from adl.records import Floats, PairProvenance, PairSpec, Side
from tests.planted import PlantedPair, device_full_above
from tests.workbench.replay.audits import AGENT, Audit, record_other_arguments
from tests.workbench.store.samples import reading, text_finished, text_started
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import ASK, STEER, AskArguments, SteerArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import Session, run
from workbench.replay.drift import drift
from workbench.replay.errors import ReplayError
from workbench.replay.recompute import RECOMPUTING, DriftReport, recompute
from workbench.store.arrays import ArrayRef
from workbench.store.events import (
    HUMAN,
    OperationFinished,
    OperationStarted,
    PairLoaded,
    ReadingFailed,
    StruckRead,
)
from workbench.store.log import SessionLog
from workbench.store.state import fold

if TYPE_CHECKING:
    from adl.pair.nnsight.pair import NnsightPair


class Nudged(PlantedPair):
    """A planted pair whose numbers are a little off, as those of another dtype are."""

    @property
    def provenance(self) -> PairProvenance:
        return replace(
            super().provenance, dtype="bfloat16", versions={"numpy": np.__version__, "torch": "9"}
        )

    def _logits(self, side: Side, residual: np.ndarray) -> np.ndarray:
        logits = super()._logits(side, residual)
        return logits.astype(np.float16).astype(logits.dtype)

    def _run(self, *arguments, **options) -> Floats:  # type: ignore[no-untyped-def]
        found = super()._run(*arguments, **options)
        return found.astype(np.float16).astype(np.float32)


@pytest.fixture(scope="module")
def again(
    recorded: Audit, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[SessionLog, DriftReport]]:
    """The recorded audit recomputed once, on the pair it was recorded on."""
    with SessionLog.open(tmp_path_factory.mktemp("again") / "sessions.db") as log:
        log.import_session(recorded.path, recorded.session_id)
        yield log, recompute(log, recorded.session_id, PlantedPair())


def test_identical_inputs_give_identical_outputs(again: tuple[SessionLog, DriftReport]) -> None:
    _, report = again
    assert not report.drifted, [one.drift.lines for one in report.operations]
    assert report.verdict == "no drift in 4 operations"
    assert [one.name for one in report.operations] == [
        "measure_difference",
        "read_tokens",
        "steer",
        "ask",
    ]
    measured, read, steered, asked = (one.drift for one in report.operations)
    assert measured.compared == 1
    assert read.lists == read.same_lists > 20
    assert (steered.texts, steered.same_texts) == (4, 4)
    assert (asked.texts, asked.same_texts, asked.compared) == (2, 2, 3)
    assert {one.largest for one in (measured, read, steered, asked)} == {0.0}
    assert report.changed == ()


def test_the_new_session_points_to_its_parent(
    again: tuple[SessionLog, DriftReport], recorded: Audit
) -> None:
    log, report = again
    last = log.find_session(recorded.session_id).events
    state = fold(log.events(report.session))
    assert state.parent == (recorded.session_id, last) == (report.parent, report.parent_seq)
    assert state.name == "cakes, recomputed"
    assert state.outcome == "completed"
    assert {one.actor for one in state.operations.values()} == {RECOMPUTING}
    assert not any(one.body.from_cache for one in state.differences.values())
    assert [note.body.text for note in state.notes] == [
        f"Recomputed session {recorded.session_id}: no drift in 4 operations."
    ]
    # What people made of it is theirs, and stays in the parent.
    assert not state.hypotheses
    for one in report.operations:
        assert one.seq_again is not None
        (event, *_) = log.events(report.session, after_seq=one.seq_again - 1)
        assert isinstance(event.body, OperationStarted)
        assert event.body.operation == one.name
    assert log.verify().ok


@pytest.mark.slow
def test_other_numbers_are_reported_for_each_operation(log: SessionLog, recorded: Audit) -> None:
    report = recompute(log, recorded.session_id, Nudged())
    assert report.drifted
    measured, read, *_ = (one.drift for one in report.operations)
    assert 0 < measured.largest < 1
    assert 0 < measured.relative < 0.1
    assert read.same_lists < read.lists
    assert read.overlap < 1
    assert any("other tokens" in line for line in read.lines)
    changes = {one.name: (one.then, one.now) for one in report.changed}
    assert changes["dtype"] == ("float32", "bfloat16")
    assert changes["versions.torch"] == ("not recorded", "9")
    assert "command" not in changes
    assert json.loads(json.dumps(report.as_dict()))["drifted"] is True
    (note,) = fold(log.events(report.session)).notes
    assert "operations drifted" in note.body.text


def test_a_number_that_is_missing_in_one_run_is_a_drift() -> None:
    whole = reading().model_copy(update={"statistics": {"kl": 0.5, "entropy": 1.0}})
    lost = whole.model_copy(update={"statistics": {"kl": math.nan, "entropy": 1.0}})
    for then, now in ((whole, lost), (lost, whole)):
        found = drift([then], [now], no_array)
        assert (found.largest, found.relative, found.is_none) == (math.inf, math.inf, False)
    assert drift([lost], [lost], no_array).is_none
    gone = whole.model_copy(update={"statistics": {"entropy": 1.0}})
    (line,) = drift([whole], [gone], no_array).lines
    assert line.endswith("statistics, kl is in one run alone")


def test_a_reading_is_compared_with_how_it_was_made() -> None:
    token = StruckRead(id=9, text="the", score=2.0, rank=1, why="style")
    other = {
        "chosen_by": "judge",
        "words_only": True,
        "completed": {1: "ipan"},
        "struck": (token,),
        "unfiltered": reading().tokens,
    }
    for name, value in other.items():
        found = drift([reading()], [reading().model_copy(update={name: value})], no_array)
        assert name.replace("_", " ") in " ".join(found.lines), name
    failed = ReadingFailed(reading="logit_lens", layer=3, error="DeviceOutOfMemory", message="5 GB")
    assert drift([failed], [failed.model_copy(update={"message": "6 GB"})], no_array).is_none
    assert drift([failed], [reading()], no_array).missing == 1


def test_a_text_is_compared_with_what_it_was_made_with() -> None:
    end = text_finished("t1", "I baked a cake.")
    for name, value in {
        "layer": 3,
        "position": "2",
        "temperature": 0.2,
        "prompt_notes": ("x",),
    }.items():
        start = text_started("t1")
        found = drift([start, end], [start.model_copy(update={name: value}), end], no_array)
        assert not found.is_none, name
        assert found.same_texts == 1


def no_array(_ref: ArrayRef) -> np.ndarray:
    raise AssertionError("nothing here has arrays")


def test_another_text_is_reported_from_the_token_on(log: SessionLog, session: Session) -> None:
    class Late(PlantedPair):
        def _next_logits(self, plan, request, said: Sequence[int]):  # type: ignore[no-untyped-def]
            logits = super()._next_logits(plan, request, said)
            return -logits if len(said) == 2 else logits

    run(session, MEASURE, MeasureArguments(n_texts=8, layers=("2",)), actor=HUMAN)
    steering = SteerArguments(layer="2", n_prompts=1, max_new_tokens=4, alphas=(0.0, 0.3))
    run(session, STEER, steering, actor=HUMAN)
    report = recompute(log, session.id, Late())
    measured, steered = report.operations
    assert not measured.drifted
    assert (steered.drift.texts, steered.drift.same_texts) == (2, 0)
    assert any("another text from token 2 on" in line for line in steered.drift.lines)


@pytest.fixture
def session(log: SessionLog, tmp_path: Path) -> Session:
    session_id = log.start_session("of its own")
    return Session(log, session_id, ArrayCache(tmp_path / "cache"), PlantedPair())


def test_an_operation_that_failed_fails_again(log: SessionLog, session: Session) -> None:
    arguments = MeasureArguments(n_texts=8, layers=("99",))
    with pytest.raises(Exception, match="99"):
        run(session, MEASURE, arguments, actor=HUMAN)
    report = recompute(log, session.id, PlantedPair())
    (one,) = report.operations
    assert (one.then, one.now, one.drifted) == ("failed", "failed", False)
    assert "99" in one.why


def test_a_new_failure_is_drift_and_the_rest_goes_on(log: SessionLog, session: Session) -> None:
    run(session, MEASURE, MeasureArguments(n_texts=8, layers=("2",)), actor=HUMAN)
    run(session, ASK, AskArguments(prompt="x", sides=("base",), max_new_tokens=2), actor=HUMAN)

    def refuse_measuring(method: str, rows: int) -> None:
        if method == "residual_sums":
            device_full_above(0)(method, rows)

    report = recompute(log, session.id, PlantedPair(before_run=refuse_measuring))
    measured, asked = report.operations
    assert (measured.then, measured.now, measured.drifted) == ("finished", "failed", True)
    assert measured.drift.missing == 1
    assert "no room" in measured.why
    assert not asked.drifted


def test_arguments_of_another_program_are_named_and_the_rest_goes_on(
    log: SessionLog, session: Session
) -> None:
    record_other_arguments(session)
    run(session, MEASURE, MeasureArguments(n_texts=8, layers=("2",)), actor=HUMAN)
    report = recompute(log, session.id, PlantedPair())
    asked, measured = report.operations
    assert (asked.now, asked.why) == (
        "not run",
        "its arguments are not ones that this program takes",
    )
    assert (measured.now, measured.drifted) == ("finished", False)


def test_a_bug_in_one_operation_is_its_failure_and_the_rest_goes_on(
    log: SessionLog, session: Session
) -> None:
    class Broken(PlantedPair):
        def generate(self, *_: object, **__: object) -> Any:
            raise RuntimeError("index out of range")

    run(session, ASK, AskArguments(prompt="x", max_new_tokens=2), actor=HUMAN)
    run(session, MEASURE, MeasureArguments(n_texts=8, layers=("2",)), actor=HUMAN)
    asked, measured = recompute(log, session.id, Broken()).operations
    assert (asked.now, asked.drifted) == ("failed", True)
    assert asked.why == "RuntimeError: index out of range"
    assert (measured.now, measured.drifted) == ("finished", False)


def test_what_was_stopped_is_not_run_again(log: SessionLog, session: Session) -> None:
    arguments = MeasureArguments(n_texts=8, layers=("2",))
    with pytest.raises(Stopped):
        run(session, MEASURE, arguments, actor=HUMAN, should_stop=lambda: True)
    log.append(
        session.id, OperationStarted(operation="divine", arguments={}), operation_id="unknown"
    )
    session.catch_up()
    run(session, MEASURE, arguments, actor=AGENT)
    report = recompute(log, session.id, PlantedPair())
    stopped, unknown, finished = report.operations
    assert (stopped.now, stopped.why, stopped.drifted) == ("not run", "it was stopped", False)
    assert (unknown.now, unknown.why) == ("not run", "this program has no such operation")
    assert finished.now == "finished"
    assert report.verdict == "no drift in 1 operations, 2 not run again"


def test_steering_takes_the_alphas_that_were_chosen_then(log: SessionLog, session: Session) -> None:
    """A reading that now chooses otherwise must not make the texts incomparable."""
    run(session, MEASURE, MeasureArguments(n_texts=8, layers=("2",)), actor=HUMAN)
    read = reading().model_copy(update={"reading": "shift_lens", "layer": 2, "scale": 0.2})
    session.record(read)  # not by an operation, so it is not taken again
    steering = SteerArguments(layer="2", n_prompts=1, max_new_tokens=2)
    chosen = run(session, STEER, steering, actor=HUMAN).summary["alphas"]
    report = recompute(log, session.id, PlantedPair())
    *_, steered = fold(log.events(report.session)).operations.values()
    assert steered.summary["alphas"] == chosen == [0.0, 0.2]
    assert not report.drifted


def test_stopping_is_recorded_and_said(log: SessionLog, recorded: Audit) -> None:
    uses = iter(range(1000))
    with pytest.raises(Stopped):
        recompute(log, recorded.session_id, PlantedPair(), should_stop=lambda: next(uses) > 5)
    new = log.find_session("last")
    assert new.outcome == "stopped"
    assert log.verify().ok


def test_a_session_with_nothing_to_run_is_refused(log: SessionLog) -> None:
    before = len(log.sessions())
    empty = log.start_session("empty")
    with pytest.raises(ReplayError, match="no operation that needs the models"):
        recompute(log, empty, PlantedPair())
    log.append(empty, PairLoaded(pair={}))
    log.append(empty, OperationStarted(operation="ask", arguments={}), operation_id="a")
    with pytest.raises(ReplayError, match="does not say how its pair was loaded"):
        recompute(log, empty)
    assert len(log.sessions()) == before + 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_real_pair_repeats_itself_and_another_dtype_does_not(
    log: SessionLog, tmp_path: Path, real_pair: NnsightPair, real_spec: PairSpec
) -> None:
    from adl.pair.nnsight.pair import NnsightPair

    def measured(name: str) -> Session:
        session = Session(log, log.start_session(name), ArrayCache(tmp_path / name), real_pair)
        session.record(PairLoaded(pair=real_pair.provenance.as_dict()))
        run(session, MEASURE, MeasureArguments(n_texts=8), actor=HUMAN)
        return session

    whole = measured("whole")
    run(whole, READ, ReadArguments(n_texts=64, top=20, readings=("logit_lens",)), actor=HUMAN)
    run(whole, STEER, SteerArguments(n_prompts=1, max_new_tokens=3), actor=HUMAN)
    run(whole, ASK, AskArguments(prompt="Say hello.", max_new_tokens=3), actor=HUMAN)
    same = recompute(log, whole.id, real_pair)
    assert not same.drifted, [one.drift.lines for one in same.operations]
    # Half of the precision is slow without hardware for it, so of this only the measurement.
    other = recompute(
        log, measured("other").id, NnsightPair.load(replace(real_spec, dtype="bfloat16"))
    )
    assert other.drifted
    (found,) = (one.drift for one in other.operations)
    assert found.relative > 0
    assert ("dtype", "float32", "bfloat16") in [
        (one.name, one.then, one.now) for one in other.changed
    ]


@pytest.mark.parametrize("loading", [{}, {"trust_remote_code": True}])
def test_trust_in_code_is_not_taken_over_from_a_session(
    log: SessionLog, monkeypatch: pytest.MonkeyPatch, loading: dict[str, bool]
) -> None:
    """It may be someone else's: a mailed session must not run the code of a checkpoint here."""
    from workbench.operations.pair import LOAD, PairArguments

    asked = PairArguments(base="their/base", adapter="their/adapter", trust_remote_code=True)
    session = log.start_session("theirs")
    log.append(
        session,
        OperationStarted(operation=LOAD.name, arguments=asked.model_dump(mode="json")),
        operation_id="op-1",
    )
    log.append(session, OperationFinished(seconds=1.0), operation_id="op-1")
    report = recompute(log, session, loading=loading)
    (again,) = [event.body for event in log.events(report.session, kinds=["operation_started"])]
    assert isinstance(again, OperationStarted)
    assert again.arguments["trust_remote_code"] is bool(loading)
    assert again.arguments["base"] == "their/base"
