"""What each way into the program loads: a session must open, and help must show, at once.

Each case runs in a process of its own, because only a fresh one tells what is loaded.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import LACKING
from tests.conftest import QUICK, services

ROOT = Path(__file__).resolve().parents[1]

MODEL_LIBRARIES = {"torch", "transformers", "nnsight", "peft", "accelerate", "datasets"}
SCREEN_LIBRARIES = {"textual", "textual_plotext"}
CLIENT_LIBRARIES = {"openai"}

SHOW_HELP = """
import sys
sys.argv = ["adl-workbench", "--help"]
from workbench.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
REPORT = "\nimport sys\nprint('\\nloaded:', *{name.partition('.')[0] for name in sys.modules})\n"


def loaded_by(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", code + REPORT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.splitlines()
    assert last.startswith("loaded: ")
    return set(last.split()[1:])


def test_help_loads_neither_models_nor_screens():
    loaded = loaded_by(SHOW_HELP)
    assert "typer" in loaded
    assert not loaded & (MODEL_LIBRARIES | SCREEN_LIBRARIES | CLIENT_LIBRARIES)


ATTACH = """
import sys
from contextlib import suppress
sys.argv = ["adl-workbench", "attach"]
from workbench.cli import main
with suppress(SystemExit):
    main()
import workbench.engine.attached, workbench.tui.running, workbench.tui.screens.audit
assert "workbench.cli.tree" not in sys.modules
assert "workbench.cli.options" not in sys.modules
"""


def test_attaching_does_not_wait_for_other_commands():
    loaded = loaded_by(ATTACH)
    assert not loaded & (MODEL_LIBRARIES | CLIENT_LIBRARIES | {"nnsight"})


def test_attaching_by_itself_is_the_command_of_the_tree():
    from workbench import cli

    known, alone = (tree.commands["attach"] for tree in (cli.command_tree(), cli._attach_alone()))
    assert alone.help == known.help
    assert [(one.name, one.opts) for one in alone.params] == [
        (one.name, one.opts) for one in known.params
    ]


@pytest.mark.parametrize("module", ["workbench.store", "workbench.operations"])
def test_a_session_opens_without_models(module):
    assert not loaded_by(f"import {module}") & (MODEL_LIBRARIES | SCREEN_LIBRARIES)


@pytest.mark.parametrize(
    "module",
    [
        "adl.records",
        "adl.pair",
        "adl.readings",
        "adl.measures",
        "adl.generation",
        "adl.organisms",
        "adl.text",
        "adl.pair.protocol",
        "adl.text.corpus",
        "adl.organisms.registry",
        "adl.text.prompts",
    ],
)
def test_the_science_above_the_pair_loads_no_models(module):
    assert not loaded_by(f"import {module}") & (MODEL_LIBRARIES | SCREEN_LIBRARIES)


def test_the_first_screen_stands_without_models():
    loaded = loaded_by("import workbench.tui.app")
    assert "textual" in loaded
    assert not loaded & (MODEL_LIBRARIES | CLIENT_LIBRARIES | {"textual_plotext", "markdown_it"})


def test_the_check_would_notice():
    assert "torch" in loaded_by("import torch")


def test_the_quick_tests_do_without_the_extras(pytestconfig: pytest.Config):
    """`make test` runs them with the packages of the services hidden, as if not installed."""
    extras = services()
    assert extras >= {"mcp", "ray"}
    (line,) = re.findall(r"^PYTEST_ARGS .*", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f'-m "{QUICK}"' in line
    is_quick = pytestconfig.option.markexpr == QUICK
    assert set(os.environ.get(LACKING, "").split()) == (extras if is_quick else set())
    for name in extras if is_quick else ():
        assert find_spec(name) is None
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)


@pytest.mark.parametrize("extra", sorted(services()))
def test_nor_have_the_processes_that_they_start(extra):
    """Whatever is loaded of the tests hides the packages there, too."""
    code = f"import tests.planted_cli\ntry: import {extra}\nexcept ModuleNotFoundError: pass\nelse: exit(1)"
    env = os.environ | {LACKING: " ".join(services())}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
