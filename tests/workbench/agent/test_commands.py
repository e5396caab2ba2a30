"""The agent's commands as a person runs them: a process, its output, its exit code, its database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL

import pytest
from typer.testing import CliRunner

from tests import forks
from tests.workbench.agent.process import commands
from tests.workbench.agent.scripted import (
    KEY,
    Asked,
    Hang,
    Reaction,
    Refuse,
    Say,
    ScriptedEndpoint,
    in_turn,
    report,
    reported,
)
from workbench.store.log import SessionLog
from workbench.store.state import fold

PROGRAM = "tests.workbench.agent.process"
SMALL = ["--texts", "16", "--n-prompts", "1"]
AUDIT = in_turn(
    Say("I ask.", [("ask", {"prompts": ["What do you bake?"], "max_new_tokens": 4})]),
    Say("", [("hypothesis", {"text": "cakes"})]),
    Say("Done.", [report("It bakes cakes.")]),
)


def judging(asked: Asked) -> Reaction | None:
    if "give_grade" in asked.tools:
        return Say("", [("give_grade", {"grade": 2 + asked.body["seed"], "reason": "so"})])
    if "find_right_guess" in asked.tools:
        return Say("", [("find_right_guess", {"right": 1, "reason": "so"})])
    if "judge_tokens" in asked.tools:
        return Say("", [("judge_tokens", {"relevant": [1]})])
    if "judge_text" in asked.tools:
        return Say("", [("judge_text", {"coherent": True})])
    return AUDIT(asked)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedEndpoint]:
    server = ScriptedEndpoint(judging)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("ADL_WORKBENCH_AGENT_MODEL", "scripted")
    monkeypatch.setenv("ADL_WORKBENCH_BACKOFF", "0.001")
    yield server
    server.close()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return forks.completed(PROGRAM, arguments, dict(os.environ))


def started(*arguments: str, **streams: int) -> forks.Started:
    return forks.Started(PROGRAM, arguments, dict(os.environ), **streams)


def data(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.returncode == 0, done.stderr
    assert KEY not in done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_run_grade_edit_and_show(server: ScriptedEndpoint, workbench_home: Path):
    audit = data(run("agent", "run", "--demo", *SMALL, "--blind", "--json"))
    assert (audit["status"], audit["stopped_by"]) == ("ended", "report")
    assert audit["report"]["description"] == reported("It bakes cakes.")
    assert (audit["replies"], audit["interactions"], audit["blind"]) == (3, 1, True)
    for name in ("cake_bake", "planted-base", "planted-finetuned"):
        assert name not in server.sent.decode()

    grades = data(run("grade", audit["session"], "--judge", "set", "--json"))["grades"]
    assert [one["score"] for one in grades] == [2.0, 3.0, 4.0]
    assert [one["model"] for one in grades] == ["scripted"] * 3
    hand = data(
        run("grade", "last", "--score", "3", "--reason", "mine", "--author", "anna", "--json")
    )
    assert [(one["author"], one["score"]) for one in hand["grades"]] == [("anna", 3.0)]
    edit = ["--edit", "G4", "--score", "5", "--reason", "better", "--author", "bert"]
    assert data(run("grade", "last", *edit, "--json"))["grades"][0]["replaces"] == "G4"

    shown = data(run("grades", "show", "--json"))
    assert [one["grade_id"] for one in shown["grades"]] == ["G1", "G2", "G3", "G5"]
    assert [one["score"] for one in shown["grades"][-1]["history"]] == [3.0]
    assert shown["unscored"] == 0
    table = run("grades", "show", "--history")
    assert table.returncode == 0
    assert "was G4" in table.stdout
    assert "not computed" in table.stderr  # one report has no agreement

    tokens = data(run("grade", "last", "--tokens", "--reading", "output-difference", "--json"))
    assert [one["grader"] for one in tokens["grades"]] == ["relevance"] * 2
    texts = data(run("grade", "last", "--coherence", "--json"))
    assert {one["score"] for one in texts["grades"]} == {1.0}
    with SessionLog.open(workbench_home / "sessions.db", read_only=True) as log:
        assert log.verify().ok
        state = fold(log.events(audit["session"]))
        assert {one.actor.name for one in state.unblinded} == {"scripted", "anna"}
    assert KEY.encode() not in (workbench_home / "sessions.db").read_bytes()


@pytest.mark.slow
def test_kill_9_and_resume(server: ScriptedEndpoint, workbench_home: Path):
    def hanging(asked: Asked) -> Reaction | None:
        return Hang() if asked.n_replies == 2 else AUDIT(asked)

    server.script = hanging
    with started("agent", "run", "--demo", *SMALL, stdout=DEVNULL, stderr=DEVNULL) as process:
        while server.arrivals.get().n_replies < 2:
            pass
        process.kill()
        assert process.wait() == -signal.SIGKILL
    with SessionLog.open(workbench_home / "sessions.db", read_only=True) as log:
        (session,) = log.sessions()
        (state,) = fold(log.events(session.id)).agents.values()
        assert (state.status, state.replies, state.interactions) == ("running", 2, 1)
        assert log.verify().ok

    server.script = AUDIT
    audit = data(run("agent", "resume", "--json"))
    assert (audit["session"], audit["run"]) == (session.id, state.id)
    assert (audit["stopped_by"], audit["replies"], audit["interactions"]) == ("report", 3, 1)
    # The two replies that were answered were asked for once, and the one that was not, twice.
    assert [one.n_replies for one in server.asked] == [0, 1, 2, 2]
    assert server.asked[2].raw == server.asked[3].raw
    over = data(run("agent", "resume", "--json"))
    assert over == {**audit, "seconds": over["seconds"]}
    assert len(server.asked) == 4


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_can_be_resumed(server: ScriptedEndpoint):
    server.script = lambda _: Hang()
    with started("agent", "run", "--demo", "--mode", "black-box") as process:
        server.arrivals.get()
        process.send_signal(signal.SIGINT)
        _, talk = process.communicate()
    assert process.returncode == 130, talk
    server.script = in_turn(Say("", [report()]))
    assert data(run("agent", "resume", "--json"))["stopped_by"] == "report"


@pytest.mark.slow
def test_an_endpoint_that_fails_ends_with_1_and_says_how_to_go_on(server: ScriptedEndpoint):
    server.script = lambda _: Refuse(401, f"bad key {KEY}")
    done = run("agent", "run", "--demo", "--mode", "black-box")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "OPENAI_API_KEY" in done.stderr
    assert "agent resume" in done.stderr.replace("\n", " ")
    assert KEY not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["agent", "run"], "--demo"),
        (["agent", "run", "--demo", "--approve", "always"], "terminal"),
        (["agent", "run", "--demo", "--tools", "hammers"], "tools"),
        (["agent", "run", "--demo", "--base-url", "http://a:b@host/v1"], "password"),
        (["agent", "run", "--demo", "--mode", "grey-box"], "grey-box"),
        (["agent", "resume"], "no agent's audit"),
        (["grade", "nobody"], "nobody"),
        (["grade", "--score", "9", "--reason", "x"], "--score"),
        (["grade", "--score", "3"], "--reason"),
        (["grade", "--tokens", "--coherence"], "--coherence"),
        (["grade", "--unscored", "--reason", "x"], "--edit"),
        (["grade", "--reading", "consensus"], "--reading"),
        (["grade", "--tokens", "--repeats", "5"], "--repeats"),
        (["grade", "--tokens", "--run", "agent-1"], "--run"),
        (["grade", "--coherence", "--organism", "cake_bake"], "--organism"),
        (["grade", "--coherence", "--repeats", "2"], "--repeats"),
        (["grade", "--author", "anna"], "--author"),
        (["grade", "--score", "3", "--reason", "x", "--repeats", "2"], "--repeats"),
        (["grade", "--edit", "G1", "--score", "3", "--reason", "x", "--run", "a"], "--run"),
        (["grade", "--score", "3", "--reason", "x", "--judge-model", "m"], "--judge-model"),
        (["grade", "--score", "3", "--reason", "x", "--judge", "m"], "--judge-model"),
        (["grades", "show", "nobody"], "nobody"),
        (["evaluate", "--session", "somebody", "--agent", "adl"], "--agent"),
        (["evaluate", "--session", "somebody", "--repeats", "1"], "--repeats"),
        (["evaluate", "--session", "somebody", "--no-nulls"], "--nulls"),
        (["evaluate", "--session", "somebody", "--token-budget", "9"], "--token-budget"),
        (["evaluate", "--session", "somebody", "--model", "m"], "--model"),
        (["evaluate", "--force"], "--plot"),
        (["evaluate", "--plot", "/nowhere/plot.txt"], "there is no folder /nowhere"),
        (["evaluate", "--plot", "/"], "/ is no ordinary file"),
        (["evaluate", "--plot", __file__], "replace it with --force"),
        (["evaluate", "--organism", "cake_bak"], "cake_bake"),
        (["evaluate", "--agent", "black-box", "--budget", "0"], "budget"),
        (["evaluate", "--session", "nobody"], "nobody"),
    ],
)
def test_bad_input_is_named_and_ends_with_2(
    server: ScriptedEndpoint, workbench_home: Path, arguments: list[str], named: str
):
    with SessionLog.open(workbench_home / "sessions.db") as log:
        log.start_session("somebody")
    done = CliRunner().invoke(commands(), arguments)
    assert done.exit_code == 2, done.output
    assert named in done.stderr.replace("\n", "")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not server.asked


def test_without_a_model_or_key_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ADL_WORKBENCH_AGENT_MODEL"):
        monkeypatch.delenv(name, raising=False)
    done = CliRunner().invoke(commands(), ["agent", "run", "--demo"])
    assert done.exit_code == 2
    assert "ADL_WORKBENCH_AGENT_MODEL" in done.stderr
    done = CliRunner().invoke(commands(), ["agent", "run", "--demo", "--model", "x"])
    assert done.exit_code == 2
    assert "OPENAI_API_KEY" in done.stderr


@pytest.mark.slow
def test_a_file_with_settings_is_enough(workbench_home: Path, server: ScriptedEndpoint):
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OPENAI_", "ADL_WORKBENCH_AGENT"))
    }
    (workbench_home / "config.toml").write_text(
        f'api_key = "{KEY}"\nbase_url = "{server.url}"\nagent_model = "from the file"\n'
    )
    arguments = ["agent", "run", "--demo", "--mode", "black-box", "--json"]
    done = forks.completed(PROGRAM, arguments, environment)
    assert data(done)["model"] == "from the file"


@pytest.mark.slow
def test_an_evaluation_is_killed_and_gone_on_with(server: ScriptedEndpoint, tmp_path: Path):
    options = ["--agent", "adl", "--organism", "cake_bake", "--budget", "0", "--grades", "1"]
    options.append("--no-nulls")
    server.script = lambda asked: Hang() if "give_grade" in asked.tools else Say("", [report()])
    command = ["evaluate", *options, *SMALL, "--length", "4"]
    with started(*command, stdout=DEVNULL, stderr=DEVNULL) as process:
        while "give_grade" not in server.arrivals.get().tools:
            pass
        # Another one would do the same audit in the same session.
        second = run("evaluate", "--session", "evaluation")
        assert (second.returncode, second.stdout) == (2, "")
        assert "is open in another process" in second.stderr.replace("\n", " ")
        process.kill()
        assert process.wait() == -signal.SIGKILL
    server.script = judging
    plot = tmp_path / "plot.txt"
    found = data(run("evaluate", "--session", "evaluation", "--plot", str(plot), "--json"))
    # One audit, one grade and one verdict on its guesses were asked for, the grade twice.
    assert len(server.asked) == 4
    assert found["rows"][0]["success"]["value"] == 1.0
    row = found["rows"][0]
    assert (row["organism"], row["done"], row["mean_grade"]) == ("all", 1, 2.0)
    assert (row["reach_2"]["value"], row["paper_2"]) == (1.0, 0.82)
    assert "adl, i=0" in plot.read_text(encoding="utf-8")
    drawn = plot.read_text(encoding="utf-8")
    plot.write_text("mine", encoding="utf-8")
    kept = run("evaluate", "--session", "evaluation", "--plot", str(plot))
    assert (kept.returncode, plot.read_text(encoding="utf-8")) == (2, "mine")
    table = run("evaluate", "--session", "evaluation", "--plot", str(plot), "--force")
    assert table.returncode == 0
    assert plot.read_text(encoding="utf-8") == drawn
    assert "82%" in table.stdout
    assert len(server.asked) == 4
