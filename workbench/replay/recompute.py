"""Replay by recomputation: every operation of a session that finds something again, and its drift.

The operations run in a new session of the same file that points to its parent, in the order and
with the arguments of the record, and nothing comes from the cache of arrays. Those that only count
what was found, such as phrases, count what is found now. Notes and hypotheses are what people made
of the findings, so they are not made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adl.artifacts import ArrayCache
from adl.callbacks import ShouldStop, StageProgress, ignore_stages, never_stop
from adl.errors import AdlError, Stopped
from adl.pair.protocol import ModelPair
from workbench.operations import OPERATIONS
from workbench.operations.coherent_alpha import recorded_text_judge
from workbench.operations.pair import LOAD
from workbench.operations.readings import recorded_judge
from workbench.operations.running import Arguments, Operation, Session, run
from workbench.operations.testing import TEST, recorded_answer_judge, recorded_prompts
from workbench.replay.cassette import OTHER_ARGUMENTS, arguments_of
from workbench.replay.drift import Changed, Drift, changed, drift
from workbench.replay.errors import ReplayError
from workbench.replay.new_session import recorded_end, start_replay
from workbench.store.errors import StoreError
from workbench.store.events import (
    Actor,
    Event,
    EventBody,
    HypothesisRevised,
    HypothesisStated,
    NoteWritten,
    PairLoaded,
)
from workbench.store.log import SessionLog
from workbench.store.state import HypothesisState, OperationState, SessionState, fold

EndedAgain = Literal["finished", "failed", "not run"]

RECOMPUTING = Actor(kind="system", name="recompute")


@dataclass(frozen=True)
class OperationDrift:
    """One operation of the parent, run again.

    ``seq`` is where it begins in the parent and ``seq_again`` in the new session, None if it was not
    run again; ``now`` is then ``not run``, and ``why`` says why. ``why`` also says how an operation
    ended that did not finish.
    """

    name: str
    seq: int
    seq_again: int | None
    then: str
    now: EndedAgain
    why: str
    seconds_then: float | None
    seconds_now: float | None
    drift: Drift

    @property
    def drifted(self) -> bool:
        """True if it was run again with another result."""
        return self.now != "not run" and (self.then != self.now or not self.drift.is_none)

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**vars(self), "drift": self.drift.as_dict(), "drifted": self.drifted}


@dataclass(frozen=True)
class DriftReport:
    """The result of recomputing a session; ``session`` is the new one.

    ``changed`` is what differs in the pair, the program and the machine, whether or not it matters.
    """

    parent: str
    parent_seq: int
    session: str
    changed: tuple[Changed, ...]
    operations: tuple[OperationDrift, ...]

    @property
    def drifted(self) -> bool:
        """True if any operation had another result."""
        return any(operation.drifted for operation in self.operations)

    @property
    def verdict(self) -> str:
        """The report in one sentence, without text of a model."""
        ran = [operation for operation in self.operations if operation.now != "not run"]
        left = len(self.operations) - len(ran)
        left_out = f", {left} not run again" if left else ""
        otherwise = sum(operation.drifted for operation in ran)
        if not otherwise:
            return f"no drift in {len(ran)} operations{left_out}"
        return f"{otherwise} of {len(ran)} operations drifted{left_out}"

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "parent": self.parent,
            "parent_seq": self.parent_seq,
            "session": self.session,
            "drifted": self.drifted,
            "verdict": self.verdict,
            "changed": [vars(change) for change in self.changed],
            "operations": [operation.as_dict() for operation in self.operations],
        }


def recompute(
    log: SessionLog,
    session_id: str,
    pair: ModelPair | None = None,
    *,
    loading: Mapping[str, Any] | None = None,
    progress: StageProgress = ignore_stages,
    should_stop: ShouldStop = never_stop,
) -> DriftReport:
    """Run every operation of a session that finds something again, and compare.

    On ``pair`` if one is given; otherwise pairs are loaded as they were recorded to be, with the
    arguments of ``loading`` (such as ``dtype``) in place of the recorded ones, and without running
    code that comes with them unless ``loading`` trusts it. Raises `ReplayError`
    for a session with nothing to run or no way to load its pair, and `Stopped` when stopped. What a
    blind session hides the new one hides, too.
    """
    parent = fold(log.events(log.find_session(session_id).id))
    wanted = _finding_operations(parent)
    if not any(_may_use_models(operation) for operation in wanted):
        raise ReplayError(
            f"session {parent.session_id} has no operation that needs the models",
            "Name a session in which something was measured, read or generated.",
        )
    if pair is None and not any(operation.name == LOAD.name for operation in wanted):
        raise ReplayError(
            f"session {parent.session_id} does not say how its pair was loaded",
            "Name the pair: --demo, --organism, or --base with --adapter or --finetuned.",
        )
    new = start_replay(log, parent, "recomputed", RECOMPUTING)
    session = Session(log, new, _NothingKept(), pair)
    session.scale_judge = recorded_judge(log, parent.session_id)
    session.coherence_judge = recorded_text_judge(log, parent.session_id)
    session.answer_judge = recorded_answer_judge(parent)
    session.prompt_writer = recorded_prompts(parent)
    if pair is not None:
        session.record(PairLoaded(pair=pair.provenance.as_dict()), actor=RECOMPUTING)
    again = _Again(log, parent, session, loading or {}, progress, should_stop)
    with recorded_end(session, RECOMPUTING):
        operations = tuple(again.run(operation) for operation in wanted)
        report = DriftReport(
            parent=parent.session_id,
            parent_seq=parent.seq,
            session=new,
            changed=tuple(_changed(parent, session.state)),
            operations=operations,
        )
        session.record(
            NoteWritten(text=f"Recomputed session {parent.session_id}: {report.verdict}."),
            actor=RECOMPUTING,
        )
    return report


class _NothingKept(ArrayCache):
    """A cache that has nothing: what is to be computed again must not be looked up."""

    def __init__(self) -> None:
        super().__init__(Path())

    def get(self, key: str) -> None:
        """Nothing, whatever the key."""

    def put(self, key: str, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> bool:
        """Keep nothing."""
        return False


@dataclass
class _Again:
    """Runs the operations of one session again in another."""

    log: SessionLog
    parent: SessionState
    session: Session
    loading: Mapping[str, Any]
    progress: StageProgress
    should_stop: ShouldStop
    findings: dict[str, list[EventBody]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for event in self.log.events(self.parent.session_id):
            if event.operation_id is not None:
                self.findings.setdefault(event.operation_id, []).append(event.body)

    def run(self, then: OperationState) -> OperationDrift:
        operation = OPERATIONS.get(then.name)
        arguments = None if operation is None else self._arguments(then, operation)
        why = self._why_not(then, operation, arguments)
        if operation is None or arguments is None or why:
            return _drift_of(then, None, "not run", why, Drift())
        if operation is TEST:
            self._state_hypotheses(then)
        before = self.session.state.seq
        ended: Literal["finished", "failed"] = "finished"
        try:
            run(
                self.session,
                operation,
                arguments,
                actor=RECOMPUTING,
                progress=self.progress,
                should_stop=self.should_stop,
            )
        except Stopped:
            raise
        except StoreError:
            raise  # what the log did not take is not in it
        except AdlError as error:
            ended, why = "failed", str(error)
        except Exception as error:  # noqa: BLE001 -- a bug, which is in the log by now
            ended, why = "failed", f"{type(error).__name__}: {error}"
        (now,) = [ran for ran in self.session.state.operations.values() if ran.started_seq > before]
        new = [event.body for event in self._events_after(before)]
        found = drift(self.findings.get(then.id, []), new, self.log.array)
        return _drift_of(then, now, ended, why, found)

    def _why_not(
        self, then: OperationState, operation: Operation[Any] | None, arguments: Arguments | None
    ) -> str:
        if operation is None:
            return "this program has no such operation"
        if not operation.examines:
            return "what it made is not in the session, but where it was put"
        if operation is LOAD and self.session.pair is not None and not self._loads_pairs:
            return "another pair was given"
        if then.status in {"stopped", "abandoned", "running"}:
            # To its end it would find what was never found, and where it stopped is not repeatable.
            return f"it was {then.status}"
        if arguments is None:
            return OTHER_ARGUMENTS
        return ""

    def _state_hypotheses(self, then: OperationState) -> None:
        """Record the words that a test was of: hypotheses are not made again for themselves."""
        for hypothesis in self.parent.hypotheses.values():
            known = self.session.state.hypotheses.get(hypothesis.id)
            text = _text_at(hypothesis, then.started_seq)
            if text is None or (known is not None and known.text == text):
                continue
            body = (
                HypothesisStated(hypothesis_id=hypothesis.id, text=text)
                if known is None
                else HypothesisRevised(hypothesis_id=hypothesis.id, text=text)
            )
            self.session.record(body, actor=RECOMPUTING)

    @property
    def _loads_pairs(self) -> bool:
        """True if pairs are loaded by operations run again, and none was given."""
        return any(
            operation.name == LOAD.name for operation in self.session.state.operations.values()
        )

    def _arguments(self, then: OperationState, operation: Operation[Any]) -> Arguments | None:
        """The arguments to run it with again; None where this program takes others."""
        arguments = dict(then.arguments)
        if operation is LOAD:
            # A session may be someone else's, and whose code runs here is not for it to say.
            arguments |= {"trust_remote_code": False} | dict(self.loading)
        # Alphas that were chosen by what the session had read: the same again, so that a drift of
        # the reading is not counted once more as one of the texts.
        if not arguments.get("alphas", True):
            arguments["alphas"] = then.summary.get("alphas", ())
        return arguments_of(operation, arguments)

    def _events_after(self, seq: int) -> list[Event]:
        return list(self.log.events(self.session.id, after_seq=seq))


def _text_at(hypothesis: HypothesisState, seq: int) -> str | None:
    """The words of a hypothesis before an event; None if it was not stated then."""
    text = None
    for change in hypothesis.history:
        if change.seq < seq and isinstance(change.body, (HypothesisStated, HypothesisRevised)):
            text = change.body.text
    return text


def _drift_of(
    then: OperationState,
    now: OperationState | None,
    ended: EndedAgain,
    why: str,
    found: Drift,
) -> OperationDrift:
    return OperationDrift(
        name=then.name,
        seq=then.started_seq,
        seq_again=None if now is None else now.started_seq,
        then=then.status,
        now=ended,
        why=why,
        seconds_then=then.seconds,
        seconds_now=None if now is None else now.seconds,
        drift=found,
    )


def _finding_operations(state: SessionState) -> list[OperationState]:
    """Those that need the models or look at what these gave, and those not known here: they may."""
    return [
        operation
        for operation in state.operations.values()
        if _may_use_models(operation) or OPERATIONS[operation.name].finds is not None
    ]


def _may_use_models(operation: OperationState) -> bool:
    known = OPERATIONS.get(operation.name)
    return known is None or known.uses_models


def _changed(then: SessionState, now: SessionState) -> list[Changed]:
    return [
        *changed(then.pair or {}, now.pair or {}),
        *changed(then.environment, now.environment),
    ]
