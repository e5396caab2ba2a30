"""The recorded example that comes with the project."""

from __future__ import annotations

import gzip
import os
import subprocess
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workbench.tui.terminal import ROOT, Terminal
from workbench.replay.player import Player
from workbench.report.content import build_report
from workbench.report.example import example_file, opened_example
from workbench.report.html import report_html
from workbench.store.log import SessionLog
from workbench.store.state import Fold, SessionState

#: Of the state after its last event: it changes when the fold does, and when the example is remade.
DIGEST = "1a74becb038a58456d5038277283cf9febbe5f3dca32242027f7757469dae871"
LARGEST = 1_500_000
HEAVY = ("torch", "transformers", "nnsight", "peft", "accelerate", "gguf", "huggingface_hub")


@pytest.fixture(scope="module")
def example() -> Iterator[tuple[SessionLog, str]]:
    with opened_example() as opened:
        yield opened


@pytest.fixture(scope="module")
def state(example: tuple[SessionLog, str]) -> SessionState:
    log, session = example
    folding = Fold()
    for event in log.events(session):
        folding.apply(event)
    return folding.state()


def test_it_is_small_and_holds_no_path_of_who_made_it():
    file = example_file()
    assert file.stat().st_size < LARGEST
    plain = gzip.decompress(file.read_bytes())
    for private in (b"/root/", b"/work/", b"/Users/"):
        assert private not in plain


def test_its_fold_is_what_it_was(state: SessionState):
    assert state.digest() == DIGEST


def test_it_is_a_whole_audit_by_a_person_and_an_agent(state: SessionState):
    assert state.outcome == "completed"
    assert {one.name for one in state.operations.values()} >= {
        "load_pair", "measure_difference", "read_tokens", "steer", "ask",
        "add_hypothesis", "mark_evidence", "link_evidence", "rank_hypotheses",
    }  # fmt: skip
    assert {one.actor.kind for one in state.operations.values()} == {"human", "agent"}
    assert {one.actor.kind for one in state.hypotheses.values()} == {"human", "agent"}
    (agent,) = state.agents.values()
    assert agent.report is not None
    assert [one.body.score for one in state.grades] == [4.0]
    alphas = {one.start.body.alpha for one in state.texts.values()}
    assert len(alphas) >= 4
    assert {one.status for one in state.texts.values()} == {"finished"}


def test_it_says_that_the_agents_replies_were_written_by_hand(state: SessionState):
    assert "written by hand" in state.name
    assert "written by hand" in state.notes[0].body.text
    assert all("written by hand" in one.model for one in state.agents.values())


def test_replayed_state_equals_the_fold_after_every_event(example: tuple[SessionLog, str]):
    log, session = example
    player = Player.open(log, session)
    folding = Fold()
    for event in log.events(session):
        folding.apply(event)
        assert player.step()
        # Digests of the whole state at each of thousands of events would take minutes.
        assert (player.state.seq, player.current) == (event.seq, folding.state().timeline[-1])
        if event.seq % 97 == 0:
            assert player.state == folding.state()
    assert player.at_end
    assert player.state.digest() == DIGEST
    for seq in (player.length // 2, 7, player.length - 1):
        again = Fold()
        for event in log.events(session):
            if event.seq <= seq:
                again.apply(event)
        assert player.seek(seq).digest() == again.state().digest()


def test_its_report_can_be_written(example: tuple[SessionLog, str]):
    made = build_report(*example)
    assert made.verified
    assert "450F" in report_html(made)


# --- with nothing but the light part of the package --------------------------------------------


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in an environment of its own, installed from a wheel without the extra `models`."""
    folder = tmp_path_factory.mktemp("light")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run([*pip, str(ROOT)], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    found = subprocess.run(
        [
            python,
            "-c",
            f"import importlib.util as u; print([n for n in {HEAVY!r} if u.find_spec(n)])",
        ],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert found.stdout.strip() == "[]", "the light part brings a model library"
    return folder / "venv" / "bin" / "adl-workbench"


def plain_environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "ADL_WORKBENCH_HOME": str(home)}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_example_replays_without_torch(light: Path, tmp_path: Path):
    arguments = ["replay", "--example"]
    with Terminal(arguments, home=tmp_path, size=(80, 24), program=light) as terminal:
        terminal.shows(" replay ", within=600)
        terminal.press("space", ")")
        terminal.shows("at end", within=600)
        terminal.press("2")
        terminal.shows("bakery", within=600)
        terminal.press("7")
        terminal.shows("written by hand", within=600)
        terminal.press("f4")
        terminal.shows("Coverage of", within=600)
        terminal.press("escape")
        terminal.settle()
        terminal.press("ctrl+q")
        assert terminal.ends() == 0
        assert terminal.is_clean


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_example_is_data_without_torch(light: Path, tmp_path: Path):
    done = subprocess.run(
        [light, "replay", "--example", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=plain_environment(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert DIGEST in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_without_torch_a_pair_is_refused_with_what_to_install(light: Path, tmp_path: Path):
    done = subprocess.run(
        [light, "audit", "--demo"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=plain_environment(tmp_path),
    )
    assert done.returncode != 0
    assert "adl-workbench[models]" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_light_part_names_no_model_library():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = " ".join(project["dependencies"]).replace("-", "_")
    assert not [one for one in HEAVY if one in named]
    models = " ".join(project["optional-dependencies"]["models"]).replace("-", "_")
    assert all(one in models for one in HEAVY)
