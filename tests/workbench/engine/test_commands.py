"""Commands at a running engine: the same output and events as without, and no loading."""

from __future__ import annotations

import json
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workbench.cli.conftest import finished, recorded, running
from tests.workbench.engine.test_serve import connected, engine, measure, the_session
from workbench.cli import command_tree
from workbench.engine import protocol as p
from workbench.operations.difference import MeasureArguments
from workbench.operations.generation import SteerArguments
from workbench.operations.inputs import with_absolute_files
from workbench.operations.pair import PairArguments
from workbench.store.log import SessionLog

ASK = ["ask", "--demo", "What do you bake?", "--tokens", "4", "--samples", "1"]
DIFF = ["diff", "--demo", "--texts", "16"]
#: A command that needs the pair loaded again fails, so that one that works has used the engine.
NO_PAIR = {"fails": True}
#: Names and values that differ from run to run.
PASSING = re.compile(r'"(at|seconds|session|database)": [^,}]+|[0-9a-f]{32}(?![0-9a-f])')


@pytest.fixture
def database(workbench_home: Path) -> Path:
    return workbench_home / "sessions.db"


def plain(value: Any) -> str:
    """What was recorded or printed, without times, and with ids in the order of their coming."""
    known: dict[str, str] = {}

    def replaced(found: re.Match[str]) -> str:
        return "" if found[1] else known.setdefault(found[0], f"id {len(known)}")

    return PASSING.sub(replaced, json.dumps(value, indent=1, sort_keys=True))


def told(database: Path, session: str) -> str:
    found = [event.body.model_dump(mode="json") for event in recorded(database, session)]
    found[0]["environment"] = None
    return plain(found)


@pytest.mark.slow
@pytest.mark.parametrize("command", [ASK, DIFF, ["read", "--demo", "logit-lens", "--texts", "16"]])
def test_a_command_at_an_engine_gives_what_it_gives_without(
    database: Path, command: list[str]
) -> None:
    without = finished([*command, "--json", "--engine", "never"])
    assert without.returncode == 0, without.stderr
    # What is kept from one to the other would be told as such.
    shutil.rmtree(database.parent / "cache" / "arrays", ignore_errors=True)
    with engine(wanted=None) as (process, _):
        at_engine = finished([*command, "--json"], NO_PAIR)
        assert at_engine.returncode == 0, at_engine.stderr
        process.process.send_signal(signal.SIGTERM)
        process.process.wait()
    answers = [json.loads(done.stdout) for done in (without, at_engine)]
    sessions = [answer["session"] for answer in answers]
    assert plain(answers[0]) == plain(answers[1])
    assert told(database, sessions[0]) == told(database, sessions[1])
    began = recorded(database, sessions[1])[0].body
    assert began.environment["command"][1:] == [*command, "--json"]


#: Commands that have options of a pair and load it for themselves, each with its reason.
WITHOUT_ENGINE = {
    "": "it opens a screen: that of an engine is `attach`",
    "doctor": "it tries out loading and running the pair in this process",
    "evaluate": "it loads one organism after the other, in its own order or on its workers",
    "grade": "its organism is the truth to grade by: no model is loaded",
    "organisms add": "it registers a pair, and loads none",
    "organisms mix-study": "it makes new models and loads those",
    "organisms train": "it makes a new model",
    "replay": "it computes a recorded session again, with the models as they are loaded now",
    "serve": "it is the engine",
}


def commands(command: Any, path: str = "") -> Iterator[tuple[str, set[str]]]:
    """Every command of the tree with its options."""
    if command.params:
        yield path, {option for parameter in command.params for option in parameter.opts}
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{path} {name}".strip())


def test_every_command_with_a_pair_uses_an_engine_or_says_why_not() -> None:
    takes_pair = {f"--{name.replace('_', '-')}" for name in PairArguments.model_fields} - {
        "--quantisation"
    } | {"--demo"}
    found = {path: options for path, options in commands(command_tree()) if options & takes_pair}
    assert len(found) > len(WITHOUT_ENGINE) + 20
    without = {path for path, options in found.items() if "--engine" not in options}
    assert without == set(WITHOUT_ENGINE)


@pytest.mark.slow
def test_never_and_another_pair_load_for_themselves(database: Path) -> None:
    with engine() as (_, socket):
        never = finished([*DIFF, "--engine", "never"], NO_PAIR)
        assert "the pair cannot be loaded" in never.stderr
        other = finished([*DIFF, "--dtype", "bfloat16"], NO_PAIR)
        assert "the pair cannot be loaded" in other.stderr
        named = finished([*DIFF, "--dtype", "bfloat16", "--engine", str(socket)], NO_PAIR)
        assert named.returncode == 2
        assert "does not have this pair" in named.stderr
        elsewhere = finished([*DIFF, "--database", str(database.with_name("x.db"))], NO_PAIR)
        assert "the pair cannot be loaded" in elsewhere.stderr
    nowhere = finished([*DIFF, "--engine", "/nowhere.sock"])
    assert nowhere.returncode == 1
    assert "no engine answers at /nowhere.sock" in nowhere.stderr


def test_layers_that_the_pair_lacks_leave_no_session(database: Path) -> None:
    with engine():
        done = finished([*DIFF, "--layer", "99"], NO_PAIR)
    assert done.returncode == 2
    assert "99" in done.stderr
    with SessionLog.open(database, read_only=True) as log:
        assert len(log.sessions()) == 1


def test_a_session_that_an_engine_has_open_is_gone_on_with_there(database: Path) -> None:
    with engine() as (process, socket):
        done = finished([*DIFF[:1], "--session", "last", "--texts", "16"], NO_PAIR)
        assert done.returncode == 0, done.stderr
        assert "open in another process" not in done.stderr
        with connected(socket) as screen:
            session = the_session(screen)
            kinds = [event.body.kind for event in recorded(database, session)]
            # It goes on: the engine and its screens have it.
            assert kinds[-1] == "operation_finished"
            assert kinds.count("operation_started") == 2
            screen.call(p.ShutDown())
        process.process.wait()


@pytest.mark.slow
def test_a_recorded_session_of_the_pair_is_taken_up_by_the_engine_and_closed_after(
    database: Path,
) -> None:
    first = json.loads(finished([*DIFF, "--json", "--engine", "never"]).stdout)["session"]
    with engine() as (process, socket):
        done = finished(["ask", "--session", first, "Hello?", "--tokens", "2"], NO_PAIR)
        assert done.returncode == 0, done.stderr
        with connected(socket) as screen:
            assert first not in {one.id for one in screen.call(p.Sessions()).sessions}
            screen.call(p.ShutDown())
        process.process.wait()
    kinds = [event.body.kind for event in recorded(database, first)]
    assert kinds.count("session_continued") == 1
    assert kinds.count("session_closed") == 2
    assert kinds[-1] == "session_closed"


@pytest.mark.slow
def test_ctrl_c_stops_the_job_of_that_command_alone(database: Path) -> None:
    with engine(wanted={"halt": ["residual_sums", 2]}) as (process, socket):
        with connected(socket) as screen:
            session = the_session(screen)
            with running([*DIFF, "--batch-size", "4"]) as command:
                process.wait_until_halted()
                other = screen.call(measure(session))
                command.process.send_signal(signal.SIGINT)
                (mine,) = (
                    one.id for one in screen.call(p.Sessions()).sessions if one.id != session
                )
                screen.call(p.Open(session=mine, keys=False))
                while screen.call(p.ListJobs(session=mine)).jobs[0].status != "stopping":
                    pass
                screen.call(p.Leave(session=mine))
                process.go_on()
                assert command.process.wait() == 130
            assert screen.over(other).status == "finished"
            screen.call(p.ShutDown())
        process.process.wait()
    ended = recorded(database, mine)
    assert [event.body.kind for event in ended if event.body.kind.startswith("operation_s")][
        -1
    ] == ("operation_stopped")


def test_files_are_those_of_the_folder_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "texts.txt").write_text("Some text.")
    monkeypatch.chdir(tmp_path)
    found = with_absolute_files(MeasureArguments(corpus="texts.txt"))
    assert found.corpus == str(tmp_path / "texts.txt")
    steered = with_absolute_files(SteerArguments(prompt_file="texts.txt", prompts=()))
    assert steered.prompt_file == found.corpus
    for kept in (None, "hf:texts.txt", "nosuch.txt"):
        assert with_absolute_files(MeasureArguments(corpus=kept)).corpus == kept


@pytest.mark.slow
def test_a_blind_audit_at_an_engine_shows_no_name(database: Path) -> None:
    audit = ["audit", "--demo", "--blind", "--texts", "16", "--n-prompts", "1", "--tokens", "2"]
    with engine() as (process, _):
        # It announces more events than a pipe holds.
        reading = threading.Thread(target=process.read_to_end)
        reading.start()
        done = finished([*audit, "--json"], NO_PAIR)
        assert finished(["engine", "stop"]).returncode == 0
        reading.join()
    assert done.returncode == 0, done.stderr
    assert "planted-base" not in done.stdout + done.stderr
    assert "cake_bake" not in done.stdout + done.stderr
    session = json.loads(done.stdout)["session"]
    assert recorded(database, session)[1].body.kind == "audit_sealed"
