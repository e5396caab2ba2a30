"""What each way into the program loads: a session must open, and help must show, at once.

Each case runs in a process of its own, because only a fresh one tells what is loaded.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

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
