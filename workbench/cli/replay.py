"""The command replay: a recorded session by eye, by its cassette, or computed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace as replaced
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from pydantic import Field, model_validator

from workbench.cli import show
from workbench.cli.derived import arguments_from
from workbench.cli.options import Database, Json, options_from
from workbench.cli.output import (
    EXIT_FAILURE,
    print_json,
    require_screen,
    say,
)
from workbench.cli.redaction import looking_at
from workbench.cli.running import StopFlag, database_path
from workbench.fields import FieldsConflict
from workbench.operations.running import Arguments
from workbench.replay.errors import ReplayError
from workbench.replay.player import Player
from workbench.report.example import opened_example
from workbench.store.log import SessionLog

if TYPE_CHECKING:
    from workbench.blinding.redact import StateRedactor
    from workbench.replay.recompute import DriftReport, OperationDrift
    from workbench.replay.recorder import CassetteReport

LINES_SHOWN = 20


class ReplayArguments(Arguments):
    """The session to replay, and the form of the replay."""

    session: str | None = Field(
        None, description="Session: its id or the start of it, or its name; none takes the last."
    )
    tape: bool = Field(False, description="Run the operations again on the recorded model outputs.")
    again: bool = Field(False, description="Run every model operation again, and compare.")
    example: bool = Field(False, description="Replay the recorded example of the project.")
    seq: int | None = Field(None, ge=0, description="Number of the event to begin after.")
    dtype: str | None = Field(
        None, description="With --recompute: load the pair in this dtype instead."
    )
    device_map: str | None = Field(
        None, description="With --recompute: where weights go, such as auto, cpu or cuda:0."
    )
    offload_folder: str | None = Field(
        None, description="With --recompute: the folder for weights that are put on the disk."
    )
    trust_remote_code: bool = Field(
        False, description="With --recompute: run code that comes with a checkpoint."
    )

    @property
    def loading(self) -> dict[str, Any]:
        """The options that load the pair differently from the recorded ones."""
        # Trust is not taken over from the record: it may be someone else's.
        given = {
            "dtype": self.dtype,
            "device_map": self.device_map,
            "offload_folder": self.offload_folder,
            "trust_remote_code": self.trust_remote_code or None,
        }
        return {name: value for name, value in given.items() if value is not None}

    @model_validator(mode="after")
    def _one_way(self) -> ReplayArguments:
        if self.tape and self.again:
            raise FieldsConflict("give one of them", "tape", "again")
        if self.example and self.session is not None:
            raise FieldsConflict("it is a session: leave out the other one", "example")
        if self.seq is not None and (self.tape or self.again):
            raise FieldsConflict(
                "it is for watching a replay: to recompute from there, branch and replay the branch",
                "seq",
            )
        if self.loading and not self.again:
            raise FieldsConflict(
                "only what is recomputed is loaded: add the last", *self.loading, "again"
            )
        return self


@options_from(
    wanted=arguments_from(
        ReplayArguments, positional="session", names={"again": "recompute", "seq": "from"}
    )
)
def replay(wanted: ReplayArguments, database: Database = None, json: Json = False) -> None:
    """Replay a recorded session. Watching it needs no model, network or key."""
    tape, again, seq = wanted.tape, wanted.again, wanted.seq
    with _log(database, wanted.session, wanted.example, writable=tape or again) as (log, found):
        if not (tape or again or json):
            open_player(log, found, seq, lasting=not wanted.example)
            return
        with looking_at(log, found) as redactor:
            if tape:
                _show_cassette(redactor.record(_from_cassette(log, found)), json)
            elif again:
                report = _recomputed(log, found, wanted.loading)
                # Of the pair, names stand there by themselves.
                changed = redactor.record(report.changed, words=True)
                _show_drift(redactor.record(replaced(report, changed=changed)), json)
            else:
                print_json(_moment(log, found, seq, redactor))


def open_player(log: SessionLog, session_id: str, seq: int | None, *, lasting: bool = True) -> None:
    """Replay a session in this terminal, from event ``seq`` or from its start, until it is left.

    What is begun from it is recorded in the log's file, which is not ``lasting`` for the example.
    """
    require_screen("print the state at an event with --json --from EVENT")
    length = log.find_session(session_id).events
    if seq is not None and seq > length:
        raise ReplayError(f"session {session_id} has no event {seq}", f"Give 0 to {length}.")
    # Imported here: no other command needs the screen.
    from workbench.tui.messages import ReplaySession
    from workbench.tui.running import run_workbench
    from workbench.tui.startup import Startup

    startup = Startup(
        database=log.path, replay=ReplaySession(session_id, seq), prepare=False, lasting=lasting
    )
    raise typer.Exit(run_workbench(startup))


@contextmanager
def _log(
    database: Path | None, session: str | None, example: bool, *, writable: bool
) -> Iterator[tuple[SessionLog, str]]:
    """The log with the session, opened only to read where nothing is recorded, and its id."""
    if example:
        with opened_example() as found:
            yield found
        return
    path = database_path(database)
    # Before it is opened to write, which would make a file that was misspelt.
    with SessionLog.open(path, read_only=True) as reader:
        found_id = reader.find_session(session or "last").id
        if not writable:
            yield reader, found_id
            return
    with SessionLog.open(path) as log:
        yield log, found_id


# --- by eye ---------------------------------------------------------------------------------


def _moment(
    log: SessionLog, session_id: str, seq: int | None, redactor: StateRedactor
) -> dict[str, Any]:
    """The session as it stood after an event, the last by default; the digest is the record's."""
    player = Player.open(log, session_id)
    recorded = player.seek(player.length if seq is None else seq)
    state = redactor.state(recorded)
    current = state.timeline[-1] if state.timeline else None
    return {
        "session": session_id,
        "events": player.length,
        "seq": player.position,
        "at": current.at.isoformat() if current else None,
        "kind": current.kind if current else None,
        "what": current.description if current else None,
        "digest": recorded.digest(),
        "outcome": state.outcome,
        "operations": {
            operation.id: [operation.name, operation.status]
            for operation in state.operations.values()
        },
        "readings": len(state.readings),
        "texts": len(state.texts),
        "evidence": list(state.evidence),
        "hypotheses": [
            {
                "id": hypothesis.id,
                "text": hypothesis.text,
                "confidence": hypothesis.confidence,
                "verdict": hypothesis.verdict,
                "grounds": hypothesis.grounds,
                "evidence": dict(hypothesis.evidence),
            }
            for hypothesis in state.ranked()
        ],
    }


# --- by cassette ----------------------------------------------------------------------------


def _from_cassette(log: SessionLog, session_id: str) -> CassetteReport:
    # Here and below: a replay by eye, and every other command, starts without them.
    from workbench.replay.recorder import replay_cassette

    flag = StopFlag()
    with flag.catching_signals():
        return replay_cassette(log, session_id, should_stop=flag)


def _show_cassette(report: CassetteReport, json: bool) -> None:
    if json:
        print_json(report.as_dict())
    else:
        rows = [("answered from the cassette", f"{report.answered} operations")]
        if report.left is not None:
            rows.append(("left the cassette", str(report.left)))
        rows += [
            ("told otherwise", f"agent {run_id}, from message {place} on")
            for run_id, place in report.told_otherwise
        ]
        rows += [("came out otherwise", name) for name in report.differs]
        rows.append(("all as it was", "yes" if report.is_same else "no"))
        show.table(("", f"session {report.parent} from its cassette"), rows)
        say(f"recorded as session {report.session}")
    if not report.is_same:
        raise typer.Exit(EXIT_FAILURE)


# --- by recomputation -----------------------------------------------------------------------


def _recomputed(log: SessionLog, session_id: str, loading: dict[str, Any]) -> DriftReport:
    from workbench.replay.recompute import recompute

    flag = StopFlag()
    seen: set[str] = set()

    def progress(stage: str, _done: int, _total: int) -> None:
        if stage not in seen:
            seen.add(stage)
            say(f"{stage} ...")

    with flag.catching_signals():
        return recompute(log, session_id, loading=loading, progress=progress, should_stop=flag)


def _show_drift(report: DriftReport, json: bool) -> None:
    if json:
        print_json(report.as_dict())
    else:
        columns = ("event", "operation", "drift", "lists", "texts", "largest", "relative", "why")
        show.table(
            columns,
            [_drift_row(operation) for operation in report.operations],
            whole=("operation",),
        )
        lines = [line for operation in report.operations for line in operation.drift.lines]
        if lines:
            left = len(lines) - LINES_SHOWN
            more = [f"and {left} more (--json has all)"] if left > 0 else []
            show.table(("what differs",), [(line,) for line in [*lines[:LINES_SHOWN], *more]])
        if report.changed:
            rows = [(change.name, change.then, change.now) for change in report.changed]
            show.table(("pair, program, machine", "then", "now"), rows)
        say(f"{report.verdict}; recorded as session {report.session}")
    if report.drifted:
        raise typer.Exit(EXIT_FAILURE)


def _drift_row(operation: OperationDrift) -> tuple[Any, ...]:
    if operation.now == "not run":
        return operation.seq, operation.name, "not run again", "", "", "", "", operation.why
    found = operation.drift
    return (
        operation.seq,
        operation.name,
        "yes" if operation.drifted else "none",
        f"{found.same_lists} of {found.lists} the same" if found.lists else "",
        f"{found.same_texts} of {found.texts} the same" if found.texts else "",
        f"{found.largest:.3g}",
        f"{found.relative:.3g}",
        operation.why,
    )
