"""The command line as a person runs it, on the real pair: output, exit code, database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forks
from workbench.store.log import SessionLog

SMALL = ["--texts", "16"]
PROGRAM = [sys.executable, "-c", "from workbench.cli import main; main()"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return forks.completed("workbench.cli", arguments, dict(os.environ), torch=True)


@pytest.mark.slow
def test_diff_records_a_session_that_can_be_listed_shown_and_verified(default_base: Path):
    """The default pair is loaded without a network: every connection would be refused."""
    offline = "tests.workbench.cli.offline_cli"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    diff = ["diff", "--demo", *SMALL, "--json"]
    done = forks.completed(offline, diff, environment, torch=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    sites = {site["position"]: site for site in found["difference"]["sites"]}
    assert set(sites) == {"0", "1", "2", "3", "4"}
    assert sites["0"]["base_norm"] > 10 * sites["2"]["base_norm"]  # the attention sink

    listed = json.loads(run("sessions", "list", "--json").stdout)
    assert [session["session"] for session in listed] == [found["session"]]
    assert listed[0]["outcome"] == "completed"
    shown = json.loads(run("sessions", "show", found["session"], "--json").stdout)
    kinds = [event["body"]["kind"] for event in shown["event_list"]]
    assert kinds[0] == "session_started"
    assert kinds[-1] == "session_closed"
    assert {"pair_loaded", "difference_measured"} <= set(kinds)
    verified = run("sessions", "verify", "--json")
    assert verified.returncode == 0
    assert json.loads(verified.stdout)["ok"] is True


@pytest.mark.slow
def test_ask_compares_both_models(default_base: Path):
    done = run("ask", "--demo", "Say hello.", "--tokens", "8", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [text["side"] for text in found["texts"]] == ["base", "finetuned"]
    (comparison,) = found["comparisons"]
    assert len(comparison["kl"]) <= 8
    assert all(value >= 0 for value in comparison["kl"])


@pytest.mark.slow
def test_a_checkpoint_that_is_not_there_is_named_and_ends_with_2(workbench_home: Path):
    """Everything else that can be wrong is tried on the planted pair, in a tenth of the time."""
    done = run("diff", "--base", "/nowhere/at-all", "--adapter", "x/y")
    assert done.returncode == 2, done.stderr
    assert "/nowhere/at-all" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    with SessionLog.open(workbench_home / "sessions.db", read_only=True) as log:
        assert log.sessions() == []


@pytest.mark.slow
def test_ctrl_c_stops_within_a_batch_and_is_recorded(workbench_home: Path, default_base: Path):
    command = [*PROGRAM, "read", "shift_lens", "--demo", *SMALL]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("shift lens"):
                process.send_signal(signal.SIGINT)
                break
        process.stderr.read()
        assert process.wait() == 130
    with SessionLog.open(workbench_home / "sessions.db", read_only=True) as log:
        (session,) = log.sessions()
        assert session.outcome == "stopped"
        assert [e.body.kind for e in log.events(session.id)][-2] == "operation_stopped"
        assert log.verify().ok
