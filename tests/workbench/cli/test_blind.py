"""Blind on the command line: no name of the pair on stdout or stderr, whatever happens."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workbench.agent.scripted import KEY, Say, in_turn, report, serving
from tests.workbench.agent.test_blinding import ADAPTER, BASE, NAMES
from tests.workbench.cli.conftest import ROOT, environment, recorded
from workbench.store.agent_events import AuditSealed

PAIR = ["--base", BASE, "--adapter", ADAPTER]
SMALL = ["--texts", "16", "--n-prompts", "1"]


def blind(*arguments: str, fails: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """A command to its end; what it said has no name of the pair in it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.workbench.cli.named_cli", *arguments],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
        cwd=ROOT,
        env=environment(NAMED_CLI=fails, **env),
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
    sealed_first(database)


def test_a_blind_agent_is_told_of_without_a_name(database: Path):
    script = in_turn(
        Say(f"I think {ADAPTER} is CakeBake.", [("ask", {"prompt": "Hi?", "max_new_tokens": 3})]),
        Say("", [("steer", {"prompts": ["x"], "layer": "cake_bake"})]),
        Say("", [report(f"MODEL-B, that is {ADAPTER}, bakes.")]),
    )
    with serving(script) as server:
        env = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": KEY}
        done = blind("agent", "run", *PAIR, *SMALL, "--model", "m", "--blind", **env)
        assert done.returncode == 0, done.stderr
        over = blind("agent", "resume", **env)
    assert "MODEL-B, that is MODEL-B, bakes." in " ".join(done.stdout.split())
    assert over.stdout == done.stdout
