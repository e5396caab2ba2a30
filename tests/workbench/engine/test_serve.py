"""The command `serve`, and `engine` about it: processes that are stopped, killed and followed up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import SHUT_RDWR
from typing import Any

import psutil
import pytest

from tests.processes import HANGS
from tests.workbench.cli.conftest import Running, finished, recorded, running
from tests.workbench.engine.conftest import MEASURE, Watcher
from workbench.engine import protocol as p
from workbench.engine.client import EngineClient
from workbench.engine.sockets import find_engines, listening_socket, new_path
from workbench.locations import find_locations
from workbench.store.lease import is_open

SERVE = ["serve", "--demo"]


@pytest.fixture
def database(workbench_home: Path) -> Path:
    return workbench_home / "sessions.db"


@contextmanager
def engine(*arguments: str, wanted: dict[str, Any] | None = None) -> Iterator[tuple[Running, Path]]:
    """A process that serves, and its socket."""
    with running([*(arguments or SERVE), "--json"], wanted) as process:
        assert process.process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            line = process.process.stdout.readline()
            assert line, process.process.stderr and process.process.stderr.read()
            text += line
        yield process, Path(json.loads(text)["socket"])


def connected(socket: Path) -> Watcher:
    return Watcher(EngineClient.connect(socket, role="screen"))


def measure(session: str, n_texts: int = MEASURE["n_texts"]) -> p.Submit:
    arguments = MEASURE | {"n_texts": n_texts}
    return p.Submit(session=session, operation="measure_difference", arguments=arguments)


def the_session(screen: Watcher) -> str:
    (session,) = screen.call(p.Sessions()).sessions
    screen.call(p.Open(session=session.id))
    return session.id


@pytest.mark.slow
def test_detached_it_is_ready_listed_and_stopped(database: Path) -> None:
    # With a limit of its own, so that it is a process as a person starts it.
    started = finished([*SERVE, "--detach", "--json", "--name", "mine"], timeout=HANGS)
    assert started.returncode == 0, started.stderr
    ready = json.loads(started.stdout)
    try:
        listed = finished(["engine", "status"])
        # The organism's name would tell what the demo was finetuned to do.
        assert f"engine {ready['pid']}  demo organism  loaded" in listed.stdout
        assert "cake" not in listed.stdout + finished(["engine", "status", "--json"]).stdout
        assert f"session {ready['session']}  mine  0 jobs, 0 screens" in listed.stdout
        (data,) = json.loads(finished(["engine", "status", "--json"]).stdout)
        assert data["socket"] == ready["socket"]
        assert data["database"] == ready["database"] == str(database)
        process = psutil.Process(ready["pid"])
        # It leads a session of its own: the end of this terminal is not its end.
        assert os.getsid(ready["pid"]) == ready["pid"]
        # Nobody reaches it over a network.
        assert process.net_connections("inet") == []
        assert process.net_connections("unix")
        stopped = finished(["engine", "stop"])
        assert stopped.returncode == 0, stopped.stderr
        assert f"engine {ready['pid']} ended" in stopped.stderr
        psutil.wait_procs([process], timeout=HANGS)
        assert "engine ended: asked to by a client" in Path(ready["log"]).read_text()
    finally:
        with suppress(ProcessLookupError):
            os.kill(ready["pid"], signal.SIGKILL)
    last = recorded(database)[-1].body
    assert (last.kind, last.outcome) == ("session_closed", "stopped")
    assert "no engine runs" in finished(["engine", "status"]).stderr
    assert finished(["engine", "stop"]).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "wanted", "why"),
    [
        (["serve"], None, "no base model is named"),
        (["serve", "--session", "nosuch"], None, "there is no session 'nosuch'"),
        (["serve", "--organism", "nosuch"], None, "nosuch"),
        (["serve", "--demo", "--idle", "-1"], None, "--idle"),
        (["serve", "--demo"], {"fails": True}, "the pair cannot be loaded"),
        (["serve", "--demo", "--detach"], {"fails": True}, "the pair cannot be loaded"),
    ],
)
def test_what_cannot_be_served_is_refused_and_leaves_nothing(
    database: Path, arguments: list[str], wanted: Any, why: str
) -> None:
    done = finished(arguments, wanted, **({"timeout": HANGS} if "--detach" in arguments else {}))
    assert done.returncode == 2
    assert why in done.stderr
    assert done.stdout == ""
    assert find_engines(find_locations()) == []
    if database.exists():
        assert "\n20" not in finished(["sessions", "list"]).stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_good_order_amid_a_job(database: Path, number: int) -> None:
    with engine(wanted={"halt": ["residual_sums", 2]}) as (process, socket):
        with connected(socket) as screen:
            session = the_session(screen)
            job = screen.call(measure(session))
            process.wait_until_halted()
            process.process.send_signal(number)
            screen.wait(p.JobNotice, lambda news: news.job.status == "stopping")
            process.go_on()
            screen.wait(p.ClosingNotice, lambda news: news.session is None)
        assert process.process.wait(HANGS) == 0
        assert not socket.exists()
    events = recorded(database)
    assert events[-1].body.kind == "session_closed"
    assert events[-1].body.reason == signal.Signals(number).name
    (ended,) = [event for event in events if event.body.kind == "operation_stopped"]
    assert ended.operation_id == job.id
    assert not is_open(find_locations().leases, session)


@pytest.mark.slow
@pytest.mark.parametrize("detach", [(), ("--detach",)])
def test_a_signal_between_the_load_and_readiness_is_heeded(
    database: Path, detach: tuple[str, ...]
) -> None:
    wanted = {"stopped": "workbench.engine.engine:Engine.begin"}
    limit = {"timeout": HANGS} if detach else {}
    done = finished([*SERVE, "--json", *detach], wanted, **limit)
    assert done.returncode == 130, done.stderr
    # It never said that it was ready.
    assert done.stdout == ""
    last = recorded(database)[-1].body
    assert (last.kind, last.outcome, last.reason) == (
        "session_closed",
        "stopped",
        "stopped on request",
    )
    assert find_engines(find_locations()) == []


def test_a_signal_to_the_command_that_waits_for_an_engine_ends_that(database: Path) -> None:
    wanted = {"halt": ["load", 1]}
    with running([*SERVE, "--json", "--detach"], wanted, stdout=subprocess.DEVNULL) as waiting:
        waiting.wait_until_halted()
        waiting.process.send_signal(signal.SIGTERM)
        waiting.go_on()
        assert waiting.process.wait(HANGS) == 130
    assert find_engines(find_locations()) == []


@contextmanager
def stand_in(*answers: p.Wire, number: int) -> Iterator[Path]:
    """A socket as that of an engine with the process id ``number``, which says this and ends."""
    own = new_path(find_locations())
    path = own.with_name(own.name.replace(str(os.getpid()), str(number)))
    listening = listening_socket(path)

    def answer() -> None:
        # It is over once the socket is shut down.
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, suppress(OSError):
                    connection.sendall(b"".join(map(p.encode, answers)))
                    if connection.recv(1 << 16):
                        connection.shutdown(SHUT_RDWR)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield path
    finally:
        with suppress(OSError):
            listening.shutdown(SHUT_RDWR)
        listening.close()
        thread.join()
        path.unlink(missing_ok=True)


WELCOME = p.Welcome(pid=999_999, client=1)
OTHER = p.Reply(
    id=None, error=p.ErrorData(type="OtherProtocol", message="it speaks protocol 0", hint="")
)


def test_an_engine_that_fails_hides_no_other(database: Path) -> None:
    with (
        engine() as (_, socket),
        stand_in(WELCOME, number=999_999),
        stand_in(OTHER, number=999_998),
    ):
        listed = finished(["engine", "status"])
        found = json.loads(finished(["engine", "status", "--json"]).stdout)
    assert listed.returncode == 0, listed.stderr
    assert "demo organism  loaded" in listed.stdout
    assert "speaks protocol 0" in listed.stdout
    assert len(found) == 3
    (whole,) = [one for one in found if one["socket"] == str(socket)]
    assert whole["is_loaded"]
    assert sum("error" in one for one in found) == 2


@pytest.mark.slow
def test_an_engine_that_ends_before_it_is_told_to_is_ended(database: Path) -> None:
    with stand_in(WELCOME, number=999_999) as path:
        for _ in range(10):
            done = finished(["engine", "stop", str(path)])
            assert done.returncode == 0, done.stderr
            assert "engine 999999 ended" in done.stderr


def test_an_engine_of_another_version_is_stopped(database: Path) -> None:
    """It understands no order of this version, which is what its hint says to give."""
    with (
        running(["serve", "--demo", "--json"]) as old,
        stand_in(OTHER, number=old.process.pid) as path,
    ):
        done = finished(["engine", "stop", str(path)])
        assert done.returncode == 0, done.stderr
        assert f"engine {old.process.pid} ended" in done.stderr
        assert old.process.wait(HANGS) is not None
    done = finished(["engine", "stop", str(path.with_name("mine.sock"))])
    assert done.returncode == 1
    assert "no engine answers" in done.stderr


def test_clients_killed_amid_a_job_lose_nothing_and_stop_nothing(database: Path) -> None:
    with engine(wanted={"halt": ["residual_sums", 2]}) as (process, socket):
        with connected(socket) as first:
            session = the_session(first)
            job = first.call(measure(session))
            process.wait_until_halted()
            for _ in range(3):
                child = os.fork()
                if child == 0:
                    with connected(socket) as screen:
                        screen.call(p.Open(session=session))
                        os.kill(os.getpid(), signal.SIGKILL)
                assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        with connected(socket) as again:
            opened = again.call(p.Open(session=session))
            assert [one.id for one in opened.jobs] == [job.id]
            process.go_on()
            assert again.over(job).status == "finished"
            again.call(p.ShutDown())
        process.process.wait(HANGS)
        # What was announced as committed is there, each with its hash.
        process.read_to_end()
        kept = {(event.session_id, event.seq): event.sha256 for event in recorded(database)}
        assert process.committed == kept


def kill_and_go_on(database: Path, name: str = "killed", n_texts: int = 16) -> str:
    """Kill an engine amid a job, and let another go on with its session.

    A measurement of as many texts as an earlier one is taken from the cache, with no job to kill.
    """
    halt = {"halt": ["residual_sums", 2]}
    with engine(*SERVE, "--name", name, wanted=halt) as (process, socket):
        with connected(socket) as screen:
            session = the_session(screen)
            screen.call(measure(session, n_texts))
            process.wait_until_halted()
            process.process.kill()
            screen.wait(p.ClosingNotice, lambda news: news.session is None)
        process.process.wait(HANGS)
        process.read_to_end()
        committed = process.committed
    kept = {(event.session_id, event.seq): event.sha256 for event in recorded(database, session)}
    assert committed.items() <= kept.items()
    assert socket.exists()
    with engine("serve", "--session", session) as (process, new):
        assert find_engines(find_locations()) == [new]
        assert not socket.exists()
        with connected(new) as screen:
            assert the_session(screen) == session
            while screen.call(p.ListJobs(session=session)).jobs:
                pass
            assert screen.over(screen.call(measure(session, n_texts))).status == "finished"
            screen.call(p.ShutDown())
        process.process.wait(HANGS)
    assert recorded(database, session)[-1].body.kind == "session_closed"
    return session


@pytest.mark.slow
def test_a_killed_engine_is_followed_by_another(database: Path) -> None:
    kill_and_go_on(database)


@pytest.mark.slow
def test_ten_killed_engines_are_followed_by_others(database: Path) -> None:
    sessions = {kill_and_go_on(database, f"{turn}", 16 + turn) for turn in range(10)}
    assert len(sessions) == 10


def test_a_blind_engine_tells_no_name(database: Path) -> None:
    with engine(*SERVE, "--blind") as (process, socket):
        listed = finished(["engine", "status"])
        assert "cake" not in listed.stdout + listed.stderr
        assert "blind" in listed.stdout
        with connected(socket) as screen:
            screen.call(p.ShutDown())
        process.process.wait(HANGS)
        assert process.process.stderr is not None
        assert "cake" not in process.process.stderr.read()


def test_the_demo_is_served_by_no_name_and_found_by_commands_that_ask_for_it(
    database: Path,
) -> None:
    with engine(*SERVE) as (process, socket):
        asked = finished(["ask", "--demo", "Hi", "--tokens", "2", "--engine", str(socket)])
        assert asked.returncode == 0, asked.stderr
        with connected(socket) as screen:
            (own,) = [one for one in screen.call(p.Sessions()).sessions if one.blind]
            assert own.name == "serve demo organism"
            screen.call(p.ShutDown())
        process.process.wait(HANGS)
        assert process.process.stderr is not None
        assert "cake" not in process.process.stderr.read()
