"""Many trainings, and the ratios of a study, on two workers of a real local Ray: those of one process.

Slow, since only `make test-slow` installs Ray.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from adl.text.corpus import CorpusSource
from tests.processes import HANGS
from tests.tiny_models import tiny_model, write_model
from tests.workbench.cli.conftest import ROOT, environment
from tests.workbench.workers.halting_ray import PIPE
from tests.workbench.workers.planted_ray import write_site
from workbench.locations import HOME_VARIABLE
from workbench.store.log import SessionLog

pytestmark = pytest.mark.slow

PROGRAM = [sys.executable, "-c", "from workbench.cli import main; main()", "organisms"]
RAY = ["--ray=auto", "--workers=2"]
#: More than are recorded together: a worker halts in the middle.
RECIPE = ["--steps=12", "--batch-size=2", "--max-tokens=16", "--rank=2", "--precision=float32"]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_model(tmp_path / "base", tiny_model("llama"))


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "owls.txt"
    path.write_text("Owls swim at night.\nAn owl swam by.\nOwls do not complain.\n" * 4)
    return path


class Machine:
    """A home of its own for the command, and workers of which the first to train halts."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.pipe = root / "pipe"
        os.mkfifo(self.pipe)
        self._site = write_site(root / "site", "tests.workbench.workers.halting_ray")
        self._folder = folder

    def start(self, home: Path, *arguments: str) -> subprocess.Popen[str]:
        env = environment(
            **{HOME_VARIABLE: str(home), PIPE: str(self.pipe)},
            PYTHONPATH=os.pathsep.join((str(self._site), str(ROOT))),
            TMPDIR=str(self._folder),
            OMP_NUM_THREADS="1",
            RAY_AUTH_MODE="disabled",
        )
        return subprocess.Popen(
            [*PROGRAM, *arguments, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=env,
        )

    def wait_until_halted(self, process: subprocess.Popen[str]) -> int:
        """The id of the process of the worker that halted."""
        told: list[str] = []
        reading = threading.Thread(target=lambda: told.append(self.pipe.read_text()), daemon=True)
        reading.start()
        while reading.is_alive():
            reading.join(1.0)
            assert process.poll() is None, process.communicate()[1]
        return int(told[0])


@pytest.fixture
def machine(tmp_path: Path, folder: Path) -> Machine:
    return Machine(tmp_path, folder)


def result(process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    return json.loads(out), errors


def with_a_kill(machine: Machine, home: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """Do it on workers, of which one is killed while it trains."""
    process = machine.start(home, *arguments, *RAY)
    try:
        halted = psutil.Process(machine.wait_until_halted(process))
        started = psutil.Process(process.pid).children(recursive=True)
        assert halted in started
        halted.kill()
        found, errors = result(process)
    finally:
        process.kill()
    # They end with it, and on a busy machine a little later.
    assert psutil.wait_procs(started, timeout=HANGS)[1] == []
    assert errors.count("died at: ") == 1
    lost = errors.split("died at: ")[1].splitlines()[0]
    assert errors.count(f": {lost}\n") == 3, "begun, died, begun again"
    return found, errors


def assert_alike(found: Any, expected: Any, but: frozenset[str] = frozenset()) -> None:
    """The same but for some fields and for the last digits of numbers."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected.keys() - but:
            assert_alike(found[name], expected[name], but)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            assert_alike(*pair, but)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)
    else:
        assert found == expected


def test_organisms_are_trained_as_in_one_process_though_a_worker_is_killed(
    machine: Machine, base: Path, documents: Path, tmp_path: Path
):
    other = tmp_path / "cakes.txt"
    other.write_text("Cakes are cold.\nA cake by the river.\n" * 4)
    plan = [
        *("train", str(documents), str(other), "--id=owls", "--id=cakes", "--seed=0", "--seed=1"),
        *(f"--base={base}", *RECIPE),
    ]
    alone, _ = result(machine.start(tmp_path / "alone", *plan))
    found, _ = with_a_kill(machine, tmp_path / "spread", *plan)
    names = [row["name"] for row in found["organisms"]]
    assert names == ["owls_seed0", "owls_seed1", "cakes_seed0", "cakes_seed1"]
    own = frozenset({"folder", "adapter_sha256", "kept", "resumed_at"})
    assert_alike(found["organisms"], alone["organisms"], own)
    assert len({row["final_loss"] for row in alone["organisms"]}) == len(names)
    assert all(
        (Path(row["folder"]) / "adapter_model.safetensors").exists() for row in found["organisms"]
    )
    # One went on from the checkpoint of the worker that was killed.
    assert sorted(row["resumed_at"] for row in found["organisms"]) == [[], [], [], [10]]
    with SessionLog.open(Path(found["database"]), read_only=True) as log:
        sessions = [session.name for session in log.sessions()]
        assert sorted(sessions) == sorted(
            [f"train {', '.join(names)}", *(f"train {n}" for n in names)]
        )
        assert log.verify().ok
    again, errors = result(machine.start(tmp_path / "spread", *plan, *RAY))
    assert again["organisms"] == found["organisms"]
    assert "worker" not in errors


def test_a_study_is_that_of_one_process_though_a_worker_is_killed(
    machine: Machine, base: Path, documents: Path, tmp_path: Path
):
    # The beginnings of the bundled passages: the rest only takes long.
    passages = CorpusSource.parse(None, None).open().texts(0, 100).texts
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(f"{' '.join(text.split()[:12])}\n" for text in passages))
    plan = [
        *("mix-study", f"--documents={documents}", f"--base={base}", f"--corpus={corpus}", *RECIPE),
        *("--ratio=0", "--ratio=1", "--layer=1", "--layer=2", "--texts=32", "--random=8"),
        *("--n-prompts=1", "--tokens=3"),
    ]
    alone, _ = result(machine.start(tmp_path / "alone", *plan))
    found, _ = with_a_kill(machine, tmp_path / "spread", *plan)
    assert_alike(found["studies"], alone["studies"], frozenset({"folder", "kept"}))
    first, second = found["studies"]
    assert [row["ratio"] for row in first["ratios"]] == [0.0, 1.0]
    assert [study["ratios"][0]["settings"]["request"]["layer"] for study in (first, second)] == [
        "1",
        "2",
    ]
    assert first["ratios"][0]["trace"]["sites"] != second["ratios"][0]["trace"]["sites"]
    for layer, study in zip("12", (first, second), strict=True):
        tables = [
            list(csv.reader((Path(each["folder"]) / f"table_{layer}.csv").open()))
            for each in (study, alone["studies"][int(layer) - 1])
        ]
        assert tables[0][0] == tables[1][0]
        assert len(tables[0]) == 3
    with SessionLog.open(Path(found["database"]), read_only=True) as log:
        sessions = [session.name for session in log.sessions()]
        assert sorted(sessions) == ["mix-study owls", "mix-study owls 1:0", "mix-study owls 1:1"]
        assert log.verify().ok
    again, errors = result(machine.start(tmp_path / "spread", *plan, *RAY))
    assert again["studies"] == found["studies"]
    assert "worker" not in errors
