"""`doctor`: every finding with its way out, and never a secret."""

from __future__ import annotations

import json
import os
import pty
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests import forks
from tests.workbench.cli.conftest import Done, RunCli, environment
from workbench.cli.doctor import Finding
from workbench.locations import find_locations
from workbench.store.log import SessionLog

FAKE_TORCH = """
class cuda:
    device_count = staticmethod(lambda: 0)
class backends:
    class mps:
        is_available = staticmethod(lambda: False)
get_num_threads = lambda: 2
"""


@pytest.fixture
def torch_as(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Stand a module in for torch, which takes long to import, or is broken."""

    def put(source: str) -> None:
        folder = tmp_path / "torch"
        folder.mkdir(exist_ok=True)
        (folder / "torch.py").write_text(source)
        known = os.environ.get("PYTHONPATH")
        monkeypatch.setenv(
            "PYTHONPATH", os.pathsep.join([str(folder), *([known] if known else [])])
        )

    put(FAKE_TORCH)
    return put


def doctor(*arguments: str, **env: str) -> Done:
    """Run it in a fork though PYTHONPATH is another: only what it asks for devices reads that."""
    return forks.completed("tests.planted_cli", ["doctor", *arguments], environment(**env))


@pytest.fixture
def findings(torch_as):
    def look(*arguments: str, code: int = 0, **env: str) -> dict[str, Finding]:
        done = doctor("--json", *arguments, **env)
        assert done.returncode == code, done.stdout + done.stderr
        assert done.stderr == ""
        return {one["what"]: Finding(**one) for one in json.loads(done.stdout)}

    return look


WHATS = [
    "Python",
    "packages",
    "devices",
    "model cache",
    "default model",
    "database",
    "endpoint",
    "terminal",
]


def test_everything_is_looked_at_and_a_healthy_machine_ends_with_0(findings, database: Path):
    found = findings()
    assert list(found) == WHATS
    assert {one.state for one in found.values()} <= {"ok", "note"}
    assert found["database"].found == f"{database} (made by the first session)"
    assert found["devices"].found == "cpu (2 threads)"
    assert not database.exists()


def test_people_get_a_table_on_stdout(torch_as):
    done = doctor()
    assert done.returncode == 0
    assert done.stderr == ""
    for what in WHATS:
        assert f"{what}\t" in done.stdout


def test_a_problem_ends_with_1_and_has_a_way_out(findings, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file" / "below" / "sessions.db", Path("/proc/sessions.db")):
        found = findings("--database", str(path), code=1)["database"]
        assert found.state == "problem"
        assert str(path) in found.found
        assert "ADL_WORKBENCH_HOME" in found.hint


@pytest.mark.parametrize("kind", ["text", "other program", "newer"])
def test_a_file_that_is_no_session_file_is_a_problem(findings, database: Path, kind):
    make_foreign(database, kind)
    found = findings(code=1)["database"]
    assert found.state == "problem"
    assert str(database) in found.found
    assert found.hint


def make_foreign(path: Path, kind: str) -> None:
    if kind == "text":
        path.write_text("not a database at all, and longer than the header of one would be\n" * 9)
        return
    if kind == "newer":
        with SessionLog.open(path) as log:
            log.start_session("of the future")
    connection = sqlite3.connect(path)
    if kind == "newer":
        connection.execute("PRAGMA user_version = 999")
    else:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.commit()
    connection.close()


def test_the_sessions_of_a_good_file_are_counted(findings, two_sessions, database: Path):
    assert findings()["database"] == Finding("database", "ok", f"{database} (2 sessions)")


@pytest.mark.parametrize(
    ("torch", "said"),
    [
        ("raise ImportError('libcudart.so.12: cannot open')", "libcudart.so.12"),
        ("import os; os.abort()", ""),
    ],
    ids=["does not import", "ends its process"],
)
def test_a_broken_torch_is_a_problem_and_not_the_end(findings, torch_as, torch, said):
    torch_as(torch)
    found = findings(code=1)
    assert list(found) == WHATS
    assert found["devices"].state == "problem"
    assert said in found["devices"].found
    assert found["devices"].hint


@pytest.mark.parametrize("home", ["/proc/hub", "below a file"])
def test_a_model_cache_that_cannot_be_written_is_noted(findings, tmp_path: Path, home):
    if home == "below a file":
        (tmp_path / "file").write_text("in the way")
        home = str(tmp_path / "file" / "hub")
    found = findings(HF_HOME=home)["model cache"]
    assert (found.state, found.hint) == ("note", "Set HF_HOME to download.")
    assert home in found.found


def test_offline_is_said(findings):
    assert "offline" in findings(HF_HUB_OFFLINE="1")["model cache"].found
    assert "offline" not in findings(HF_HUB_OFFLINE="0")["model cache"].found


@contextmanager
def endpoint(status: int) -> Iterator[tuple[str, list[str]]]:
    """A server that answers everything alike; its address, and the keys it was shown."""
    keys: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append(self.headers.get("Authorization", ""))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", keys
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("status", "state"), [(200, "ok"), (401, "note"), (404, "ok")])
def test_the_endpoint_is_asked_with_the_key(findings, status, state):
    with endpoint(status) as (url, keys):
        found = findings(OPENAI_BASE_URL=url + "/", OPENAI_API_KEY="sk-secret")["endpoint"]
    assert found.state == state
    assert found.found.startswith(f"{url}/models")
    assert keys == ["Bearer sk-secret"]
    assert ("OPENAI_API_KEY" in found.hint) == (status == 401)


def test_an_endpoint_that_is_not_there_is_noted(findings):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        found = findings(OPENAI_BASE_URL=url)["endpoint"]
    assert (found.state, found.hint) == ("note", "Check OPENAI_BASE_URL.")
    assert url in found.found


@pytest.mark.parametrize("url", ["nonsense", "http://[::1", "ftp://example.org", "http://a b/"])
def test_an_address_that_is_none_is_noted(findings, url):
    found = findings(OPENAI_BASE_URL=url)["endpoint"]
    assert found.state == "note"
    assert "must be a URL" in found.found
    assert "Correct it in the environment" in found.hint


def test_what_the_settings_have_is_asked(findings, tmp_path: Path):
    """The same endpoint as an agent's: of config.toml, too, and with a key in its address."""
    config = find_locations().config_file
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text('base_url = "http://127.0.0.1:9/v1?api-key=sk-secret"')
    found = findings()["endpoint"]
    assert (found.state, found.hint) == ("note", "Check OPENAI_BASE_URL.")
    assert found.found.startswith("http://127.0.0.1:9/v1/models: ")
    config.write_text('base_url = "nonsense"')
    assert "must be a URL" in findings()["endpoint"].found
    config.write_text("base_url = ")
    assert str(config) in " ".join(vars(findings()["endpoint"]).values())


@pytest.mark.parametrize(
    ("key", "url"),
    [
        ("sk-secret\n", "http://127.0.0.1:9"),
        ("sk-secret\r", "http://127.0.0.1:9"),
        (" sk-secret", "http://127.0.0.1:9"),
        ("sk-secret\N{EN DASH}x", "http://127.0.0.1:9"),
        ("sk-secret", "http://127.0.0.1:9"),
        ("sk-secret", "http://me:sk-secret@127.0.0.1:9/v1"),
        ("sk-secret", "http://me:sk-secret@[::1/v1"),
        ("", "http://sk-secret@127.0.0.1:99999/v1"),
        ("", "me:sk-secret@127.0.0.1:9/v1"),
        ("", "http://me:a/sk-secret@127.0.0.1:9/v1"),
        ("", "http://me:a sk-secret@127.0.0.1:9/v1"),
        ("", "http://127.0.0.1:9/v1?api-key=sk-secret"),
        ("", "http://127.0.0.1:9/v1?sk-secret"),
        ("", "http://127.0.0.1:9/v1#sk-secret"),
    ],
)
def test_neither_key_nor_password_is_ever_said(torch_as, key, url):
    done = doctor("--json", OPENAI_API_KEY=key, OPENAI_BASE_URL=url)
    assert done.returncode == 0, done.stderr
    assert "sk-sec" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_no_token_of_the_environment_is_said(findings, tmp_path: Path):
    token = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"
    broken = tmp_path / token
    broken.write_text("no database")
    found = findings("--database", str(broken), code=1, HF_TOKEN=token)
    assert f"{tmp_path}/[key]" in found["database"].found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "state"), [((80, 24), "ok"), ((79, 24), "note"), ((80, 23), "note")]
)
def test_the_terminal_is_measured(cli: RunCli, torch_as, size, state):
    columns, lines = size
    main, terminal = pty.openpty()
    env = {"COLUMNS": str(columns), "LINES": str(lines), "TERM": "xterm-256color"}
    done = cli("doctor", "--json", env=env, stdout=terminal)
    os.close(terminal)
    said = b""
    while chunk := _read(main):
        said += chunk
    os.close(main)
    assert done.returncode == 0
    (found,) = (one for one in json.loads(said) if one["what"] == "terminal")
    assert found["state"] == state
    assert f"xterm-256color, {columns}x{lines}" in found["found"]


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so where others say that there is no more
        return b""


@pytest.mark.slow
def test_a_pair_is_checked_where_one_is_named(tmp_path: Path):
    from tests.tiny_models import perturb, tiny_model, write_model

    def look(*arguments: str) -> tuple[int, list[Finding]]:
        given = ["doctor", "--json", *arguments]
        done = forks.completed("workbench.cli", given, dict(os.environ), torch=True)
        assert "Traceback" not in done.stderr
        return done.returncode, [Finding(**one) for one in json.loads(done.stdout)]

    model = tiny_model("llama")
    base = write_model(tmp_path / "base", model)
    perturb(model, 9, 0.05)
    finetuned = write_model(tmp_path / "finetuned", model)
    code, found = look("--base", str(base), "--finetuned", str(finetuned))
    assert code == 0
    checks = {one.what: one for one in found if one.what.startswith("pair: ")}
    assert len(checks) >= 10
    assert {one.state for one in checks.values()} == {"ok"}
    assert "at most 0.001" in checks["pair: logit lens"].found
    # One that cannot be loaded is a finding, with its way out.
    code, found = look("--pair", "--base", str(base), "--adapter", "./nowhere")
    assert code == 1
    (problem,) = (one for one in found if one.what == "pair")
    assert problem.state == "problem"
    assert "nowhere" in problem.found
    assert problem.hint
