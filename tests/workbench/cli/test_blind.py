"""Blind on the command line: no name of the pair on stdout or stderr, whatever happens."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adl.artifacts import ArrayCache
from tests import forks
from tests.workbench.agent.scripted import KEY, Say, in_turn, report, serving
from tests.workbench.agent.test_blinding import ADAPTER, BASE, NAMES, NamedPair
from tests.workbench.cli.conftest import DEMO, environment, finished, recorded
from workbench.blinding.aliases import blinding_of
from workbench.blinding.seal import blinding_for_people, blinding_in, seal
from workbench.cli.tree import app
from workbench.operations.pair import PairArguments
from workbench.operations.running import Session
from workbench.store.agent_events import AuditSealed
from workbench.store.events import NoteWritten, PairLoaded
from workbench.store.log import SessionLog
from workbench.store.state import fold

PAIR = ["--base", BASE, "--adapter", ADAPTER]
SMALL = ["--texts", "16", "--n-prompts", "1"]


def blind(*arguments: str, fails: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """A command to its end; what it said has no name of the pair in it."""
    done = forks.completed(
        "tests.workbench.cli.named_cli", arguments, environment(NAMED_CLI=fails, **env)
    )
    said = (done.stdout + done.stderr).lower()
    for name in NAMES:
        assert name.lower() not in said, (name, done.stdout, done.stderr)
    return done


def sealed_first(database: Path) -> None:
    """The names were sealed before anything was loaded, and the log has them."""
    events = recorded(database)
    kinds = [event.body.kind for event in events]
    assert kinds.index("audit_sealed") < kinds.index("operation_started")
    seal = next(event.body for event in events if isinstance(event.body, AuditSealed))
    assert seal.aliases[ADAPTER] == "MODEL-B"


@pytest.mark.slow
@pytest.mark.parametrize("json_wanted", [False, True])
def test_a_blind_audit_says_no_name(database: Path, json_wanted: bool):
    options = ["--tokens", "4", *(["--json"] if json_wanted else [])]
    done = blind("audit", *PAIR, *SMALL, *options, "--blind")
    assert done.returncode == 0, done.stderr
    assert "Some weights of MODEL-A were not used" in done.stderr
    assert "MODEL-B/adapter_config.json is old" in done.stderr
    # The finetuned model says its own name.
    assert "they call me MODEL-B" in done.stdout
    if json_wanted:
        assert json.loads(done.stdout)["texts"]
    sealed_first(database)
    # Whoever goes on with the session is as blind.
    asked = blind("ask", *PAIR, "--session", "last", "Who are you?", "--tokens", "4")
    assert asked.returncode == 0, asked.stderr
    assert "MODEL-B" in asked.stdout


@pytest.mark.parametrize(
    ("fails", "code", "said"),
    [
        ("load", 2, "error: MODEL-B cannot be read. Look into MODEL-B on MODEL-A."),
        ("bug", 1, "error: RuntimeError: no key in MODEL-B/adapter_model.safetensors"),
    ],
)
@pytest.mark.parametrize("command", ["audit", "agent run"])
def test_an_error_says_no_name_either(
    database: Path, command: str, fails: str, code: int, said: str
):
    done = blind(
        *command.split(),
        *PAIR,
        *SMALL,
        "--blind",
        fails=fails,
        OPENAI_API_KEY=KEY,
        ADL_WORKBENCH_AGENT_MODEL="m",
    )
    assert done.returncode == code
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    with SessionLog.open(database, read_only=True) as log:
        assert log.sessions() == []


@pytest.mark.slow
def test_a_blind_agent_is_told_of_without_a_name(database: Path):
    script = in_turn(
        Say(
            f"I think {ADAPTER} is CakeBake.", [("ask", {"prompts": ["Hi?"], "max_new_tokens": 3})]
        ),
        Say("", [("steer", {"prompts": ["x"], "layer": "cake_bake", "alphas": [0.6]})]),
        Say("", [report(f"MODEL-B, that is {ADAPTER}, bakes.")]),
    )
    with serving(script) as server:
        env = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": KEY}
        done = blind("agent", "run", *PAIR, *SMALL, "--model", "m", "--blind", **env)
        assert done.returncode == 0, done.stderr
        over = blind("agent", "resume", **env)
    assert "MODEL-B, that is MODEL-B, bakes." in " ".join(done.stdout.split())
    assert over.stdout == done.stdout


DEMO_COMMANDS = {
    "audit": ["audit", *DEMO, "--n-prompts", "1", "--tokens", "4"],
    "steer": ["steer", *DEMO, "--prompt", "Hi", "--tokens", "4"],
    "ask": ["ask", "--demo", "Who are you?", "--tokens", "4"],
    "complete": ["complete", "--demo", "Set it to"],
    "agent": ["agent", "run", "--demo", "--mode", "black-box", "--model", "m"],
}


@pytest.mark.slow
@pytest.mark.parametrize("command", DEMO_COMMANDS)
def test_a_session_that_a_command_begins_with_the_demo_does_not_tell_its_name(
    database: Path, command: str
):
    with serving(in_turn(Say("", [report("It bakes.")]))) as server:
        env: dict[str, str | None] = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": KEY}
        done = finished(DEMO_COMMANDS[command], env=env)
    assert done.returncode == 0, done.stderr
    listed, shown = finished(["sessions", "list"]), finished(["sessions", "show", "last"])
    for each in (done, listed, shown):
        assert each.returncode == 0, each.stderr
        for name in ("cake_bake", "planted-finetuned"):
            assert name not in each.stdout + each.stderr
    assert f"{command} demo organism" in listed.stdout
    kinds = [event.body.kind for event in recorded(database)]
    assert kinds.index("audit_sealed") < kinds.index("operation_started")
    agents = fold(recorded(database)).agents.values()
    assert [agent.start.body.settings["blind"] for agent in agents] == [True] * (command == "agent")
    assert finished(["agent", "reveal", "last"]).returncode == 0
    assert "cake_bake" in finished(["sessions", "show", "last", "--json"]).stdout


def test_who_names_the_organism_of_the_demo_sees_its_name(database: Path):
    named = ["--organism", "cake_bake", "Who are you?", "--tokens", "4"]
    assert finished(["ask", *named]).returncode == 0
    assert "ask cake_bake" in finished(["sessions", "list"]).stdout
    # A session that was begun so stays so.
    again = finished(["ask", "--demo", *named[2:], "--session", "last"])
    assert again.returncode == 0, again.stderr
    assert "audit_sealed" not in [event.body.kind for event in recorded(database)]


def test_the_demo_in_a_session_without_a_pair_does_not_tell_its_name(database: Path):
    with SessionLog.open(database) as log:
        log.start_session("begun")
    done = finished(["ask", "--demo", "Who are you?", "--tokens", "4", "--session", "last"])
    assert done.returncode == 0, done.stderr
    for each in (done, finished(["sessions", "show", "last"])):
        for name in ("cake_bake", "planted-finetuned"):
            assert name not in each.stdout + each.stderr
    kinds = [event.body.kind for event in recorded(database)]
    assert kinds.index("audit_sealed") < kinds.index("operation_started")


def test_the_demo_where_another_pair_is_does_not_tell_its_name(database: Path):
    asked = ["Who are you?", "--tokens", "4"]
    assert finished(["ask", "--organism", "taboo_gold", *asked]).returncode == 0
    done = finished(["ask", "--demo", *asked, "--session", "last"])
    assert done.returncode == 2
    assert "organism taboo_gold: the demo is another" in " ".join(done.stderr.split())
    assert "cake_bake" not in done.stdout + done.stderr


@pytest.mark.slow
def test_lists_hide_too_until_the_names_are_revealed_and_that_is_recorded(workbench_home: Path):
    path = workbench_home / "sessions.db"
    with SessionLog.open(path) as log:
        session = Session(
            log, log.start_session("cake_bake at night"), ArrayCache(workbench_home), NamedPair()
        )
        sealed = seal(session, blind=True, asked=PairArguments(base=BASE, adapter=ADAPTER))
        session.record(PairLoaded(pair=NamedPair().provenance.as_dict()))
        session.record(NoteWritten(text=f"{ADAPTER} is CakeBake"))
        log.start_session("another")

    def said(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--database", str(path)])
        assert done.exit_code == 0, done.output
        return done.output

    looks = (
        ["sessions", "list"],
        ["sessions", "list", "--json"],
        ["sessions", "show", session.id],
        ["sessions", "show", session.id, "--json"],
        ["sessions", "search", "is"],
        ["sessions", "search", "is", "--json"],
    )
    for arguments in looks:
        shown = said(*arguments)
        assert "MODEL-B" in shown, arguments
        # The file is named by the test, and lies where the test runs.
        assert not [name for name in NAMES if name.lower() in shown.lower()], arguments

    # A guess is not answered.
    assert "nothing found" in said("sessions", "search", "CakeBake")
    assert json.loads(said("sessions", "search", "CakeBake", "--json")) == []

    revealed = json.loads(said("agent", "reveal", session.id, "--author", "bert", "--json"))
    assert dict(revealed["names"]) == sealed.aliases | blinding_of(NamedPair().provenance).aliases
    assert "cake_bake at night" in said("sessions", "list", "--json")
    said("agent", "reveal", session.id, "--author", "anna")
    with SessionLog.open(path, read_only=True) as log:
        state = fold(log.events(session.id))
        # Those who look later see what everybody sees.
        assert [(one.actor.kind, one.actor.name) for one in state.unblinded] == [("human", "bert")]
        # The agent's audit stays blind.
        assert blinding_in(state)
        assert not blinding_for_people(state)
