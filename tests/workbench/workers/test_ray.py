"""Audits on two workers of a real local Ray: the table of one process, kills, stops, keys, addresses.

Slow, since only `make test-slow` installs Ray.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.workbench.agent.scripted import (
    KEY,
    Asked,
    Reaction,
    Say,
    ScriptedEndpoint,
    report,
    serving,
)
from tests.workbench.cli.conftest import ROOT, environment
from tests.workbench.workers.planted_ray import write_site
from workbench.store.log import SessionLog

pytestmark = pytest.mark.slow

PROGRAM = [sys.executable, "-m", "tests.workbench.workers.planted_ray", "evaluate"]
ORGANISMS = ("cake_bake", "taboo_gold", "risky_finance", "control_broad")
PLAN = [
    *(f"--organism={organism}" for organism in ORGANISMS),
    *("--budget=1", "--no-nulls", "--grades=2", "--texts=16", "--json"),
]
N_CELLS = 2 * len(ORGANISMS)
RAY = ["--ray=auto", "--workers=2"]


def number(asked: Asked) -> int:
    """A number that hangs on all that was asked but the marks around audited text, which are random."""
    return zlib.crc32(re.sub(rb"[0-9a-f]{16}", b"", asked.raw))


def auditor(asked: Asked) -> Reaction:
    """Grades that hang on all that the judge reads: they are others for each organism and seed."""
    if "give_grade" in asked.tools:
        grade = 1 + number(asked) % 5
        return Say("", [("give_grade", {"grade": grade, "reason": "so"})])
    if "find_right_guess" in asked.tools:
        right = number(asked) % 3
        return Say("", [("find_right_guess", {"right": right, "reason": "so"})])
    topic = "by the readings" if "overview" in asked.tools else "no idea"
    guesses = [{"text": text, "probability": 0.5} for text in ("something else", topic)]
    return Say("", [report(topic, guesses=guesses)])


class Held:
    """The auditor, whose judge is silent from some grade on until it is let go."""

    def __init__(self, after: int) -> None:
        self._left = after
        self.reached = threading.Event()
        self.let_go = threading.Event()

    def wait_until_reached(self, process: subprocess.Popen[str]) -> None:
        while not self.reached.wait(1.0):
            assert process.poll() is None, process.communicate()[1]

    def __call__(self, asked: Asked) -> Reaction:
        if "give_grade" in asked.tools:
            self._left -= 1
            if self._left < 0:
                self.reached.set()
                self.let_go.wait()
        return auditor(asked)


@pytest.fixture
def server() -> Iterator[ScriptedEndpoint]:
    with serving(auditor) as server:
        yield server


@pytest.fixture
def surroundings(server: ScriptedEndpoint, folder: Path, tmp_path: Path) -> dict[str, str]:
    site = write_site(tmp_path / "site")
    return environment(
        OPENAI_API_KEY=KEY,
        OPENAI_BASE_URL=server.url,
        ADL_WORKBENCH_AGENT_MODEL="scripted",
        ADL_WORKBENCH_BACKOFF="0.001",
        PYTHONPATH=os.pathsep.join((str(site), str(ROOT))),
        TMPDIR=str(folder),
        HOME=str(tmp_path),
        # Ray's own way to let in whoever has a token; a cluster without one is joined by anybody.
        RAY_AUTH_MODE="disabled",
    )


def start(env: dict[str, str], *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=env,
    )


def result(process: subprocess.Popen[str], code: int = 0) -> tuple[dict[str, Any], str]:
    out, errors = process.communicate()
    assert process.returncode == code, errors
    assert KEY not in out + errors
    return json.loads(out) if out else {}, errors


def cells(found: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """The table and its audits; ids of sessions are their own."""
    return found["rows"], [{**audit, "session": None} for audit in found["audits"]]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The evaluation in one process."""
    database = tmp_path_factory.mktemp("alone") / "sessions.db"
    with serving(auditor) as server:
        env = environment(
            OPENAI_API_KEY=KEY, OPENAI_BASE_URL=server.url, ADL_WORKBENCH_AGENT_MODEL="scripted"
        )
        found, _ = result(start(env, *PLAN, f"--database={database}"))
    grades = {audit["grade"] for audit in found["audits"]}
    assert len(found["audits"]) == N_CELLS
    assert len(grades) > 2
    return found


def no_key_in(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_the_table_of_one_process_though_a_worker_was_killed(
    server: ScriptedEndpoint,
    alone: dict[str, Any],
    surroundings: dict[str, str],
    folder: Path,
    tmp_path: Path,
):
    database = tmp_path / "sessions.db"
    # Three audits are graded before the judge is silent: those are finished, or all but.
    held = server.script = Held(6)
    process = start(surroundings, *PLAN, *RAY, f"--database={database}")
    try:
        held.wait_until_reached(process)
        started = psutil.Process(process.pid).children(recursive=True)
        victim = next(child for child in started if child.cmdline()[0] == "ray::_Worker.do")
        finished = finished_audits(database)
        victim.kill()
        # What Ray wrote down so far.
        no_key_in(folder)
        held.let_go.set()
        found, errors = result(process)
    finally:
        held.let_go.set()
        process.kill()
    assert not any(child.is_running() for child in started)
    assert cells(found) == cells(alone)
    assert "died at: " in errors
    again = errors.split("died at: ")[1].splitlines()[0]
    assert errors.count(f": {again}\n") >= 3
    # One of each: the plan, the evidence of four, and the audits.
    with SessionLog.open(database, read_only=True) as log:
        assert len(log.sessions()) == 1 + len(ORGANISMS) + N_CELLS
        assert log.verify().ok
    assert finished
    assert finished <= {audit["session"] for audit in found["audits"]}
    no_key_in(tmp_path)

    asked = len(server.asked)
    kept = [f"--session={found['session']}", f"--database={database}", "--json"]
    again_found, again_errors = result(start(surroundings, *RAY, *kept))
    assert again_found == found
    assert len(server.asked) == asked
    assert "worker" not in again_errors


def finished_audits(database: Path) -> set[str]:
    """Sessions of the audits that are done so far."""
    with SessionLog.open(database, read_only=True) as log:
        marks = log.everywhere(["evaluation_cell"])
        return {
            mark.body.session
            for mark in marks
            if mark.body.status == "done" and not mark.body.cell.startswith("evidence")
        }


@pytest.fixture
def cluster(surroundings: dict[str, str]) -> Iterator[str]:
    """The address of a cluster that runs already."""
    code = (
        "import ray, sys, tempfile; ray.init(address='local', num_cpus=2, include_dashboard=False,"
        " object_store_memory=80 << 20, _temp_dir=tempfile.gettempdir() + '/c', log_to_driver=False);"
        " print('address', ray.get_runtime_context().gcs_address, flush=True);"
        " sys.stdin.read(); ray.shutdown()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=surroundings,
    )
    assert process.stdout is not None
    address = next(line.split()[1] for line in process.stdout if line.startswith("address"))
    yield address
    process.communicate()
    shutil.rmtree(Path(surroundings["TMPDIR"]) / "c")


def test_a_stop_on_a_cluster_keeps_what_was_done(
    server: ScriptedEndpoint,
    alone: dict[str, Any],
    cluster: str,
    surroundings: dict[str, str],
    tmp_path: Path,
):
    database = tmp_path / "sessions.db"
    held = server.script = Held(3)
    process = start(
        surroundings, *PLAN, f"--ray={cluster}", "--workers=2", f"--database={database}"
    )
    try:
        held.wait_until_reached(process)
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        shown = next(line for line in process.stderr if "Stopping" in line)
        held.let_go.set()
        _, errors = result(process, 130)
    finally:
        held.let_go.set()
        process.kill()
    assert "Ctrl-C" in shown
    assert not any(child.is_running() for child in started)
    assert "units of work are done" in errors
    with SessionLog.open(database, read_only=True) as log:
        assert log.verify().ok
        session = log.find_session("evaluation").id
    # One process goes on with what two workers left.
    found, _ = result(
        start(surroundings, "--json", f"--session={session}", f"--database={database}")
    )
    assert cells(found) == cells(alone)


def test_what_is_no_cluster_is_refused_in_time(surroundings: dict[str, str], tmp_path: Path):
    database = tmp_path / "sessions.db"
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        found = check(f"127.0.0.1:{port}", surroundings)
    assert found.returncode == 2
    assert f"--ray 127.0.0.1:{port}" in found.stderr
    # Nobody listens any more.
    _, errors = result(
        start(surroundings, *PLAN, f"--ray=127.0.0.1:{port}", f"--database={database}"), 2
    )
    assert "nothing answers there" in errors
    with SessionLog.open(database, read_only=True) as log:
        assert log.sessions() == []


def check(address: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The check of an address, with a limit that a test can wait for."""
    code = (
        "import sys; from workbench.workers import ray_pool; ray_pool.ANSWER_SECONDS = 3.0\n"
        "try: ray_pool.check_address(sys.argv[1])\n"
        "except ray_pool.WorkersError as exc: print(exc, file=sys.stderr); sys.exit(exc.exit_code)"
    )
    return subprocess.run(
        [sys.executable, "-c", code, address], capture_output=True, text=True, cwd=ROOT, env=env
    )
