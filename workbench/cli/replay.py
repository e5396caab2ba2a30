"""The command replay: a recorded session by eye, by its tape, or computed again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace as replaced
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import show
from workbench.cli.options import Database, DeviceMap, Json
from workbench.cli.output import EXIT_FAILURE, EXIT_USAGE, fail, print_json, reported_errors, say
from workbench.cli.redaction import looking_at
from workbench.cli.running import StopFlag, database_path
from workbench.replay.errors import ReplayError
from workbench.replay.player import Player
from workbench.report.example import opened_example
from workbench.store.log import SessionLog

if TYPE_CHECKING:
    from workbench.blinding.redact import StateRedactor
    from workbench.replay.recompute import DriftReport, OperationDrift
    from workbench.replay.recorder import CassetteReport

LINES_SHOWN = 20

Wanted = Annotated[
    str | None, typer.Argument(help="Session id, the start of one, a name; the last by default.")
]
Dtypes = Annotated[
    str | None,
    typer.Option("--dtype", help="With --recompute: load the pair in this dtype instead."),
]


def replay(
    session: Wanted = None,
    tape: Annotated[
        bool,
        typer.Option("--tape", help="Feed the recorded answers to the operations again."),
    ] = False,
    again: Annotated[
        bool, typer.Option("--recompute", help="Run every model operation again, and compare.")
    ] = False,
    example: Annotated[
        bool, typer.Option("--example", help="Replay the recorded example of the project.")
    ] = False,
    seq: Annotated[
        int | None, typer.Option("--from", min=0, help="Begin after this event.")
    ] = None,
    dtype: Dtypes = None,
    device_map: DeviceMap = None,
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code", help="With --recompute: run code that comes with a checkpoint."
        ),
    ] = False,
    database: Database = None,
    json: Json = False,
) -> None:
    """Go through a recorded session again; by eye no model, network or key is needed."""
    with reported_errors():
        _check(session, tape, again, example, seq, bool(dtype or device_map or trust_remote_code))
        with _log(database, session, example, writable=tape or again) as (log, found):
            if not (tape or again or json):
                open_player(log, found, seq, lasting=not example)
                return
            with looking_at(log, found) as redactor:
                if tape:
                    _show_tape(redactor.record(_taped(log, found)), json)
                elif again:
                    # Trust is not taken over from the record: it may be someone else's.
                    trust = trust_remote_code or None
                    given = {"dtype": dtype, "device_map": device_map, "trust_remote_code": trust}
                    loading = {name: value for name, value in given.items() if value is not None}
                    report = _recomputed(log, found, loading)
                    # Of the pair, names stand there by themselves.
                    changed = redactor.record(report.changed, words=True)
                    _show_drift(redactor.record(replaced(report, changed=changed)), json)
                else:
                    print_json(_moment(log, found, seq, redactor))


def open_player(log: SessionLog, session_id: str, seq: int | None, *, lasting: bool = True) -> None:
    """Replay a session in this terminal, from event ``seq`` or from its start, until it is left.

    What is begun from it is recorded in the log's file, which is not ``lasting`` for the example.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        fail(
            "a replay by eye needs a terminal. Run it in one, or have a moment as data: "
            "--json, with --from",
            EXIT_USAGE,
        )
    length = log.find_session(session_id).events
    if seq is not None and seq > length:
        raise ReplayError(f"session {session_id} has no event {seq}", f"Give 0 to {length}.")
    # Imported here: no other command needs the screen.
    from workbench.tui.app import run_workbench
    from workbench.tui.live_session import Startup
    from workbench.tui.messages import ReplaySession

    startup = Startup(
        database=log.path, replay=ReplaySession(session_id, seq), prepare=False, lasting=lasting
    )
    raise typer.Exit(run_workbench(startup))


def _check(
    session: str | None,
    tape: bool,
    again: bool,
    example: bool,
    seq: int | None,
    loading: bool,
) -> None:
    if tape and again:
        raise typer.BadParameter("give one of --tape and --recompute")
    if example and session is not None:
        raise typer.BadParameter("--example is a session: name no other beside it")
    if seq is not None and (tape or again):
        raise typer.BadParameter(
            "--from is for a replay by eye: branch there and replay the branch"
        )
    if loading and not again:
        raise typer.BadParameter(
            "--dtype, --device-map and --trust-remote-code are for --recompute"
        )


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
        "operations": {one.id: [one.name, one.status] for one in state.operations.values()},
        "readings": len(state.readings),
        "texts": len(state.texts),
        "evidence": list(state.evidence),
        "hypotheses": [
            {
                "id": one.id,
                "text": one.text,
                "confidence": one.confidence,
                "verdict": one.verdict,
                "evidence": dict(one.evidence),
            }
            for one in state.ranked()
        ],
    }


# --- by tape --------------------------------------------------------------------------------


def _taped(log: SessionLog, session_id: str) -> CassetteReport:
    # Here and below: a replay by eye, and every other command, starts without them.
    from workbench.replay.recorder import replay_cassette

    flag = StopFlag()
    with flag.catching_signals():
        return replay_cassette(log, session_id, should_stop=flag)


def _show_tape(report: CassetteReport, json: bool) -> None:
    if json:
        print_json(report.as_dict())
    else:
        rows = [("answered from the tape", f"{report.answered} operations")]
        if report.left is not None:
            rows.append(("left the tape", str(report.left)))
        rows += [
            ("told otherwise", f"agent {run_id}, from message {place} on")
            for run_id, place in report.told_otherwise
        ]
        rows += [("came out otherwise", name) for name in report.differs]
        rows.append(("all as it was", "yes" if report.is_same else "no"))
        show.table(("", f"session {report.parent} from its tape"), rows)
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
        show.table(columns, [_drift_row(one) for one in report.operations], whole=("operation",))
        lines = [line for one in report.operations for line in one.drift.lines]
        if lines:
            left = len(lines) - LINES_SHOWN
            more = [f"and {left} more (--json has all)"] if left > 0 else []
            show.table(("what differs",), [(line,) for line in [*lines[:LINES_SHOWN], *more]])
        if report.changed:
            rows = [(one.name, one.then, one.now) for one in report.changed]
            show.table(("pair, program, machine", "then", "now"), rows)
        say(f"{report.verdict}; recorded as session {report.session}")
    if report.drifted:
        raise typer.Exit(EXIT_FAILURE)


def _drift_row(one: OperationDrift) -> tuple[Any, ...]:
    if one.now == "not run":
        return one.seq, one.name, "not run again", "", "", "", "", one.why
    found = one.drift
    return (
        one.seq,
        one.name,
        "yes" if one.drifted else "none",
        f"{found.same_lists} of {found.lists} the same" if found.lists else "",
        f"{found.same_texts} of {found.texts} the same" if found.texts else "",
        f"{found.largest:.3g}",
        f"{found.relative:.3g}",
        one.why,
    )
