"""The commands `serve`, which keeps a pair loaded for others, and `engine`, about those that run."""

from __future__ import annotations

import asyncio
import json as jsonlib
import math
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from adl.artifacts import ArrayCache
from adl.errors import AdlError, Stopped
from workbench.cli.options import (
    Json,
    SessionOptions,
    options_from,
    pair_arguments,
    session_options,
)
from workbench.cli.output import EXIT_FAILURE, print_json, reported_errors, say
from workbench.cli.progress import displayed
from workbench.cli.running import StopFlag, database_path, default_name, pair_of
from workbench.cli.show import paragraph
from workbench.locations import find_locations
from workbench.operations.pair import LOAD, DemoPair, PairArguments, check_pair
from workbench.operations.running import Session
from workbench.operations.time_left import PlanProgress, in_words
from workbench.private_files import make_folder, new_text
from workbench.store.errors import StoreError
from workbench.store.log import SessionLog

if TYPE_CHECKING:
    from workbench.engine.protocol import StatusData

engines = typer.Typer(help="List and stop running engines.", no_args_is_help=True)

Detach = Annotated[
    bool, typer.Option("--detach", help="Run in the background; return once the pair is loaded.")
]
Idle = Annotated[
    float | None,
    typer.Option(
        "--idle",
        metavar="SECONDS",
        min=0,
        help="Free the pair's memory after so long without a job; the next one loads it again.",
    ),
]
Blind = Annotated[
    bool, typer.Option("--blind", help="Hide every name of the pair, from clients too.")
]
Socket = Annotated[
    Path | None, typer.Argument(metavar="[SOCKET]", help="Socket of the engine, if several run.")
]


@options_from(pair=pair_arguments, where=session_options)
def serve(
    pair: PairArguments,
    where: SessionOptions,
    blind: Blind = False,
    detach: Detach = False,
    idle: Idle = None,
    json: Json = False,
) -> None:
    """Keep a pair loaded, with its sessions and their jobs, for your commands and screens."""
    if idle is not None and not math.isfinite(idle):
        raise typer.BadParameter(f"--idle: {idle} is no number of seconds")
    if where.session is None:
        check_pair(pair)
    elif not database_path(where.database).exists():
        raise StoreError(f"there is no session {where.session!r}: there is no database")
    tell = _fork_away(json=json) if detach else partial(_tell, json=json)
    _serve(pair, where, tell, blind=blind, idle=idle)


@engines.command()
def status(json: Json = False) -> None:
    """List your engines on this machine, with their sessions."""
    with reported_errors():
        found = [(path, _status_of(path)) for path in _sockets()]
        if json:
            print_json([{"socket": str(path), **_as_data(status)} for path, status in found])
            return
        if not found:
            say("no engine runs; `adl-workbench serve` starts one")
        for path, status in found:
            if isinstance(status, AdlError):
                paragraph(f"engine at {path}: {status.message}")
            else:
                _show(path, status)


@engines.command()
def stop(
    socket: Socket = None,
    everyone: Annotated[bool, typer.Option("--all", help="Stop all of them.")] = False,
) -> None:
    """Stop an engine: its jobs are stopped, its sessions closed, and its memory is free."""
    with reported_errors():
        found = [socket] if socket is not None else _sockets()
        if not found:
            say("no engine runs")
        if len(found) > 1 and not everyone:
            raise AdlError(
                f"{len(found)} engines run: {', '.join(map(str, found))}",
                "Name the socket of one, or give --all.",
            )
        for path in found:
            _stop(path)


# --- serving --------------------------------------------------------------------------------------


def _serve(
    pair: PairArguments,
    where: SessionOptions,
    tell: Callable[[dict[str, Any]], object],
    *,
    blind: bool,
    idle: float | None,
) -> None:
    """Load the pair and serve it."""
    # Imported now: what agents need takes its time, and --help does not wait for it.
    from workbench.blinding.seal import blinding_for_people, first_seal
    from workbench.cli.redaction import redacted_stderr
    from workbench.engine.engine import Engine
    from workbench.engine.server import Server
    from workbench.engine.sockets import new_path

    flag, locations, demo = StopFlag(), find_locations(), isinstance(pair, DemoPair)
    with (
        redacted_stderr() as redactor,
        reported_errors(),
        flag.catching_signals(),
        SessionLog.open(database_path(where.database)) as log,
    ):
        redactor.own_path = str(log.path)
        socket = new_path(locations)
        wanted = None
        if where.session is not None:
            wanted = log.find_session(where.session).id
            session = Session(log, wanted, ArrayCache(locations.arrays))
            redactor.blinding = blinding_for_people(session.state)
            pair = pair_of(session, pair, hidden=bool(redactor))
            if blind or isinstance(pair, DemoPair):
                from workbench.blinding.seal import seal

                seal(session, blind=True, asked=pair)
                redactor.blinding = blinding_for_people(session.state)
        elif blind or demo:
            from workbench.blinding.aliases import blinding_from

            redactor.blinding = blinding_from(first_seal(pair).aliases)
        # Names stand by themselves in whatever an engine has to tell.
        redactor.loading = True
        engine = Engine(log, locations, pair, idle_limit=idle, is_demo=demo and not blind)
        with displayed(PlanProgress([(LOAD, pair)]), "", redactor.hide) as display:
            progress = partial(display.report, LOAD.name)
            if wanted is None:
                name = where.name or default_name("serve", pair, blind=blind)
                hidden = blind or demo
                live = engine.begin(name, blind=hidden, progress=progress, should_stop=flag)
            else:
                engine.pair.load(engine.pair.arguments, progress, flag)
                live = engine.resume(wanted)
            display.finish(LOAD.name)
        redactor.blinding = blinding_for_people(live.state)
        ready = {
            "pid": os.getpid(),
            "socket": str(socket),
            "session": live.session.id,
            "database": str(log.path),
        }
        server = Server(engine, socket)

        def is_ready() -> None:
            _heed_signals(server.end)
            if flag():
                # One came after the load had looked for it the last time.
                server.end("stopped on request")
            else:
                tell(ready)

        try:
            reason = asyncio.run(server.run(is_ready))
            if flag():
                raise Stopped(reason)
            say(f"engine ended: {reason}")
        finally:
            engine.close("the engine failed")


def _heed_signals(end: Callable[[str], object]) -> None:
    """End in good order at a signal, unless whoever started us has it ignored."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, end, signal.Signals(number).name)


def _tell(ready: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(ready)
    else:
        sys.stdout.write(
            f"engine {ready['pid']} at {ready['socket']}\nsession {ready['session']}\n"
        )
        sys.stdout.flush()


def _fork_away(*, json: bool) -> Callable[[dict[str, Any]], object]:
    """Go on in another process, and end this one once that is ready or has failed.

    Until then it writes to this terminal, so that progress and errors are seen; from then on into
    a file.
    """
    from_engine, to_terminal = os.pipe()
    engine = os.fork()
    if engine:
        os.close(to_terminal)
        _wait_for(engine, from_engine, json=json)
    os.close(from_engine)
    os.setsid()

    def tell(ready: dict[str, Any]) -> None:
        ready = {**ready, "log": str(_write_into_file())}
        with suppress(OSError), os.fdopen(to_terminal, "w") as pipe:
            pipe.write(jsonlib.dumps(ready))

    return tell


def _wait_for(engine: int, from_engine: int, *, json: bool) -> NoReturn:
    def hand_on(_number: int, _frame: object) -> None:
        # Nobody would know of an engine that came up after that.
        with suppress(ProcessLookupError):
            os.kill(engine, signal.SIGTERM)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, hand_on)
    with os.fdopen(from_engine) as pipe:
        ready = pipe.read()
    if not ready:
        code = os.waitstatus_to_exitcode(os.waitpid(engine, 0)[1])
        raise typer.Exit(code if code > 0 else EXIT_FAILURE)
    _tell(jsonlib.loads(ready), json=json)
    raise typer.Exit


def _write_into_file() -> Path:
    """Let this process write into a file of its own, and read nothing."""
    folder = find_locations().engine_logs
    make_folder(folder)
    path = folder / f"engine-{os.getpid()}.log"
    with new_text(path, replace=True) as file, Path(os.devnull).open() as nothing:
        sys.stdout.flush()
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    return path


# --- engines that run -----------------------------------------------------------------------------


def _sockets() -> list[Path]:
    from workbench.engine.sockets import find_engines

    return find_engines(find_locations())


def _status_of(path: Path) -> StatusData | AdlError:
    """Return an engine's status, or the error if it gives none, so that others are still listed."""
    from workbench.engine.client import EngineClient
    from workbench.engine.protocol import Status

    try:
        with EngineClient.connect(path, role="command", name="engine status") as client:
            return client.call(Status())
    except AdlError as exc:
        return exc


def _as_data(status: StatusData | AdlError) -> dict[str, Any]:
    if isinstance(status, AdlError):
        return {"error": status.message}
    return status.model_dump(mode="json")


def _show(path: Path, data: StatusData) -> None:
    gib = sum(data.memory.values()) / 2**30
    loaded = f"loaded, {gib:.2f} GiB" if data.is_loaded else "freed"
    idle = "at work" if data.idle_seconds is None else f"idle {in_words(data.idle_seconds)}"
    lines = [
        f"engine {data.pid}  {data.pair}  {loaded}  up {in_words(data.up_seconds)}  {idle}",
        f"  socket {path}",
    ]
    for session in data.sessions:
        jobs = f"{session.busy} job{'s' * (session.busy != 1)}"
        screens = f"{session.screens} screen{'s' * (session.screens != 1)}"
        blind = "  blind" if session.blind else ""
        lines.append(f"  session {session.id}  {session.name}  {jobs}, {screens}{blind}")
    for line in lines:
        paragraph(line)


def _stop(path: Path) -> None:
    from workbench.engine.client import EngineClient, EngineGone
    from workbench.engine.protocol import ClosingNotice, Notice, OtherProtocol, ShutDown

    over = threading.Event()

    def heed(notice: Notice) -> None:
        if isinstance(notice, ClosingNotice) and notice.session is None:
            over.set()

    try:
        client = EngineClient.connect(path, role="command", name="engine stop")
    except OtherProtocol:
        # It understands no order of this version, but every version heeds the signal.
        say(f"engine {_end_process(path)} ended")
        return
    with client:
        client.listen(heed)
        try:
            client.call(ShutDown())
        except EngineGone:
            # Its end may have come before anyone listened.
            over.set()
        # Its connections end once the sessions are closed.
        over.wait()
    say(f"engine {client.welcome.pid} ended")


def _end_process(path: Path) -> int:
    """Ask the process that listens at a socket to end, and wait until it did; return its id."""
    import psutil

    from workbench.engine.sockets import process_of

    number = process_of(path)
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(number)
        process.terminate()
        # One that ended may stand there until whoever started it takes note.
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            with suppress(psutil.TimeoutExpired):
                process.wait(timeout=0.2)
    return number
