"""The engine's socket: who may connect, what is refused, and that nothing of it harms the engine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from tests.workbench.engine.conftest import MEASURE, Models, Serving, served
from workbench.engine import protocol as p
from workbench.engine import server as server_module
from workbench.engine.client import EngineClient, EngineError, EngineGone
from workbench.engine.sockets import find_engines, listening_socket
from workbench.locations import find_locations


def answer_of(connection: socket.socket) -> dict:
    with connection.makefile("rb") as stream:
        line = stream.readline()
        assert line, "the connection was ended without a word"
        answer = json.loads(line)
        with suppress(ConnectionError):
            assert stream.read() == b"", "the connection goes on"
    return answer


def send(connection: socket.socket, data: bytes) -> None:
    # The engine may have heard enough before the end.
    with suppress(ConnectionError):
        connection.sendall(data)


HELLO = p.encode(p.Hello(pid=1, role="command"))


@pytest.mark.parametrize(
    ("first", "sent", "why"),
    [
        (b"", b"GET / HTTP/1.1\r\n\r\n", "is no JSON"),
        (b"", b"x" * (100 << 20), "longer than 1048576 bytes"),
        (b"", b"[" * 1_000_000 + b"\n", "no JSON: recursion limit"),
        (b"", b'{"type":"hello","protocol":2,"pid":1}\n', "speaks protocol 2"),
        (b"", b'{"type":"hello","protocol":1,"pid":1,"role":"king"}\n', "role must be 'screen'"),
        (b"", p.encode(p.Request(id=1, method="status")), "has to be a hello"),
        (b"", b'{"type":{}}\n', "is no message"),
        (HELLO, b'{"type":[]}\n', "is no message"),
        (HELLO, b'{"type":null}\n', "is no message"),
        (HELLO, HELLO, "sends requests alone"),
        (HELLO, b"\x00\xff\x00\n", "is no JSON"),
        (HELLO, b"x" * (100 << 20), "longer than 1048576 bytes"),
        (HELLO, b"[" * 1_000_000 + b"\n", "no JSON: recursion limit"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)}-{value[:6]!r}",
)
def test_what_is_no_message_gets_an_error_and_the_end(
    serving: Serving, first: bytes, sent: bytes, why: str
) -> None:
    with serving.connect() as other, serving.raw() as connection:
        if first:
            connection.sendall(first)
            with connection.makefile("rb", buffering=0) as raw:
                while raw.read(1) != b"\n":
                    pass
        send(connection, sent)
        answer = answer_of(connection)
        assert why in answer["error"]["message"]
        assert answer["id"] is None
        # The engine lives, and so do its other clients.
        assert other.call(p.Status()).pid == os.getpid()


@pytest.mark.parametrize(
    ("method", "params", "why"),
    [
        ("conquer", {}, "no method 'conquer'"),
        ("open", {}, "session"),
        ("open", {"session": "x", "more": 1}, "more"),
        ("open", {"session": "nosuch"}, "nosuch"),
        ("jobs", {"session": "nosuch"}, "not open in this engine"),
        ("submit", {"session": "nosuch", "operation": "ask"}, "not open in this engine"),
    ],
)
def test_a_request_that_cannot_be_followed_ends_nothing(
    serving: Serving, method: str, params: dict, why: str
) -> None:
    with serving.raw() as connection, connection.makefile("rwb") as stream:
        for message in (
            p.Hello(pid=1, role="command"),
            p.Request(id=7, method=method, params=params),
        ):
            stream.write(p.encode(message))
        stream.flush()
        stream.readline()
        reply = p.decode(stream.readline())
        assert reply.id == 7
        assert why in reply.error.message
        stream.write(p.encode(p.Request(id=8, method="status")))
        stream.flush()
        assert p.decode(stream.readline()).result["pid"] == os.getpid()


@pytest.mark.parametrize(
    ("operation", "arguments", "why"),
    [
        ("levitate", {}, "no operation 'levitate'"),
        ("measure_difference", {"n_texts": -3}, "n texts"),
        ("measure_difference", {"n_textz": 3}, "n textz"),
    ],
)
def test_a_wrong_operation_is_refused_and_nothing_is_recorded(
    serving: Serving, operation: str, arguments: dict, why: str
) -> None:
    before = serving.events()
    with serving.connect() as screen:
        screen.call(p.Open(session=serving.session))
        with pytest.raises(EngineError, match=why):
            screen.call(p.Submit(session=serving.session, operation=operation, arguments=arguments))
    assert serving.events() == before


def test_only_the_owner_can_reach_the_socket(serving: Serving) -> None:
    assert stat.S_IMODE(serving.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(serving.path.parent.stat().st_mode) == 0o700


def test_another_user_is_refused_by_the_server_where_the_files_let_him_in(
    database: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A short folder that all may enter, with a socket for all: what is left is the server's check.
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)

    def open_to_all(path: Path) -> socket.socket:
        found = listening_socket(folder / "engine.sock")
        (folder / "engine.sock").chmod(0o666)
        return found

    monkeypatch.setattr(server_module, "listening_socket", open_to_all)
    me, another = os.geteuid(), 65534
    try:
        with served(database) as serving:
            read, write = os.pipe()
            if me != 0:
                # Only root can be another user; for the others the server is.
                monkeypatch.setattr(os, "geteuid", lambda: another)
            child = os.fork()
            if child == 0:
                if me == 0:
                    os.setuid(another)
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(str(folder / "engine.sock"))
                    send(connection, HELLO)
                    os.write(write, json.dumps(answer_of(connection)).encode())
                os._exit(0)
            os.close(write)
            os.waitpid(child, 0)
            with os.fdopen(read) as answer:
                error = json.loads(answer.read())["error"]
            assert error["type"] == "NotYours"
            assert str(another) in error["message"]
            assert serving.events()
    finally:
        shutil.rmtree(folder)


def test_a_socket_without_an_engine_is_taken_away_and_one_with_is_found(serving: Serving) -> None:
    left = serving.path.with_name(serving.path.name.replace(str(os.getpid()), "99999999"))
    listening_socket(left).close()
    elsewhere = left.with_name(f"another.machine-{os.getpid()}.sock")
    listening_socket(elsewhere).close()
    assert left.exists()
    assert find_engines(find_locations()) == [serving.path]
    assert not left.exists()
    # Whether something listens there, only that machine knows.
    assert elsewhere.exists()


def test_nobody_at_the_socket_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(EngineGone, match=r"no engine answers at .*nowhere.sock"):
        EngineClient.connect(tmp_path / "nowhere.sock", role="command")


def test_a_path_too_long_for_a_socket_serves(tmp_path: Path, models: Models, monkeypatch) -> None:
    home = tmp_path / ("long" * 40)
    monkeypatch.setenv("ADL_WORKBENCH_HOME", str(home))
    with served(tmp_path / "sessions.db") as serving, serving.connect() as client:
        assert len(str(serving.path)) > 108
        assert client.call(p.Status()).is_loaded
        assert find_engines(find_locations()) == [serving.path]


def test_who_does_not_read_is_cut_off_or_waits_and_others_are_served(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MOST_NEWS", 5)
    with serving.raw() as slow, serving.connect() as other:
        slow.sendall(HELLO)
        slow.sendall(p.encode(p.Request(id=1, method="open", params={"session": serving.session})))
        # It asks much and reads nothing: the engine stops reading it.
        slow.settimeout(1.0)
        ask = p.encode(p.Request(id=2, method="status"))
        with suppress(TimeoutError, ConnectionError):
            while True:
                slow.sendall(ask * 100)
        other.call(p.Open(session=serving.session))
        for _ in range(10):
            job = other.call(
                p.Submit(session=serving.session, operation="note", arguments={"text": "a note"})
            )
            assert other.over(job).status == "finished"
        assert sum(event.body.kind == "note_written" for event in serving.events()) == 10


def test_more_clients_than_it_takes_are_refused(serving: Serving, monkeypatch) -> None:
    monkeypatch.setattr(server_module, "MOST_CLIENTS", 1)
    with serving.connect() as first:
        with pytest.raises(EngineError, match="1 clients already"):
            serving.connect()
        assert first.call(p.Status()).is_loaded


def test_who_does_not_introduce_himself_is_sent_away(serving: Serving, monkeypatch) -> None:
    monkeypatch.setattr(server_module, "HELLO_SECONDS", 0.01)
    with serving.raw() as connection:
        assert "no hello came" in answer_of(connection)["error"]["message"]


def test_a_client_of_another_version_is_told_so(serving: Serving, monkeypatch) -> None:
    monkeypatch.setattr(p.Hello.model_fields["protocol"], "default", 2)
    p.Hello.model_rebuild(force=True)
    try:
        with pytest.raises(p.OtherProtocol, match="speaks protocol 2"):
            serving.connect()
    finally:
        monkeypatch.undo()
        p.Hello.model_rebuild(force=True)


def test_a_job_halted_while_its_client_is_gone_goes_on(serving: Serving, models: Models) -> None:
    models.halt()
    with serving.connect() as screen:
        screen.call(p.Open(session=serving.session))
        job = screen.call(
            p.Submit(session=serving.session, operation="measure_difference", arguments=MEASURE)
        )
        assert models.came.wait()
    with serving.connect() as again:
        opened = again.call(p.Open(session=serving.session))
        assert [one.id for one in opened.jobs] == [job.id]
        assert opened.jobs[0].status == "running"
        models.go_on()
        assert again.over(job).status == "finished"
