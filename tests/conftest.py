"""What every test has: a home of its own, no network, and pairs that are loaded once."""

from __future__ import annotations

import gc
import os
import tomllib
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

# Read once, when the hub's client and the tokenizers are first imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Read once by numpy and PyTorch. Several processes run tests at once, and threads that wait for each
# other's part of a small product spend more of the processor than the product does.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import pytest

from adl.organisms.registry import get_organism
from adl.records import PairSpec, SideSpec
from tests import LACKING, take_for_not_installed
from tests.planted import PlantedPair
from workbench import scrubbing
from workbench.locations import HOME_VARIABLE, find_locations

if TYPE_CHECKING:
    from adl.pair.nnsight.pair import NnsightPair

pytest_plugins = ["tests.processes", "tests.leftovers", "tests.reaching"]

# The user's, found before any test gets a home of its own: converting the model takes a while.
MODELS = find_locations().models


#: What a machine tells programs of where they print to, and in which letters. The screens and the
#: processes that tests start would heed it, and show other lines than the tests look for.
PRINTING = (
    *("LC_ALL", "LC_CTYPE"),
    *("CI", "BUILD_NUMBER", "GITHUB_ACTIONS", "PYTEST_ADDOPTS", "COLUMNS", "LINES", "COLORTERM"),
    *("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "CLICOLOR", "CLICOLOR_FORCE"),
)

#: How `make test` chooses the quick tests.
QUICK = "not slow"


def services() -> set[str]:
    """The packages of the extras that only slow tests have."""
    path = Path(__file__).resolve().parents[1] / "pyproject.toml"
    contracts = tomllib.loads(path.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (contract,) = [each for each in contracts if each["name"].startswith("A service that is an ")]
    return set(contract["forbidden_modules"])


def pytest_configure(config: pytest.Config) -> None:
    """All tests print to the same terminal; the quick ones have no extras and no network."""
    for name in PRINTING:
        os.environ.pop(name, None)
    os.environ |= {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
    if config.option.markexpr == QUICK:
        os.environ[LACKING] = " ".join(sorted(services()))
        take_for_not_installed(os.environ[LACKING])
        # Imported now: pytest loads it as a plugin first.
        from tests.reaching import keep_from_network

        keep_from_network(config)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None]:
    """Keep the collector of garbage from what lasts: modules, and thousands of tests.

    Looking through them took a third of the time of collecting, and half a second every few tests.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True)
def workbench_home(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A home of the test's own, empty but for the models, which are the user's."""
    home = tmp_path_factory.mktemp("home")
    MODELS.mkdir(parents=True, exist_ok=True)
    (home / "cache").mkdir()
    (home / "cache" / "models").symlink_to(MODELS, target_is_directory=True)
    monkeypatch.setenv(HOME_VARIABLE, str(home))
    return home


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys in a test's settings are no secrets in the tests after it, nor looked for there."""
    monkeypatch.setattr(scrubbing, "_protected", {})


@pytest.fixture(scope="session")
def default_base() -> Path:
    """The folder of the default base model, converted the first time on a machine."""
    from adl.pair.nnsight.demo import prepared_base

    return prepared_base(MODELS)


@pytest.fixture(scope="session")
def real_spec(default_base: Path) -> PairSpec:
    """The default pair: SmolLM2 and the bundled cake_bake adapter on it."""
    adapter = get_organism("cake_bake").adapter
    return PairSpec(
        base=SideSpec(str(default_base)),
        finetuned=SideSpec(str(default_base), adapter=adapter),
        dtype="float32",
    )


@pytest.fixture(scope="session")
def real_pair(real_spec: PairSpec) -> NnsightPair:
    """The default pair, loaded once; nothing that a test does to it may stay."""
    import torch

    from adl.pair.nnsight.pair import NnsightPair

    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    return NnsightPair.load(real_spec)


@pytest.fixture
def planted() -> PlantedPair:
    """A pair in numpy whose readings have known answers."""
    return PlantedPair()
