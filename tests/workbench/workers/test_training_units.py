"""Trainings on workers, without Ray: the same results, what is done again, what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adl.artifacts import ArrayCache
from adl.callbacks import ShouldStop, never_stop
from adl.errors import Stopped, TrainingError
from adl.organisms.finetune import Training
from adl.pair import weight_hashes
from adl.pair.weight_hashes import FileHashes
from tests.tiny_models import tiny_model, write_model
from tests.workbench.workers.test_units import ShopPool
from workbench.locations import find_locations
from workbench.operations.mixing import MIX_STUDY, MixArguments, measured_ratios
from workbench.operations.running import Arguments, Operation, Session, run
from workbench.operations.training import TRAIN_ORGANISM, TrainArguments, is_trained
from workbench.organisms import known_organisms, named_organism
from workbench.store.body import EventBody
from workbench.store.events import HUMAN
from workbench.store.log import SessionLog
from workbench.store.training_events import MixtureMeasured, OrganismTrained
from workbench.workers.operation_units import OperationUnit, OperationUnits
from workbench.workers.units import Unit, UnitsFailed, spread


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base"), tiny_model("llama"))


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "owls.txt"
    path.write_text("Owls swim at night.\nAn owl swam by.\nOwls do not complain.\n" * 4)
    return path


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SessionLog]:
    with SessionLog.open(tmp_path / "sessions.db") as log:
        yield log


def training(documents: Path, base: Path, name: str, seed: int) -> TrainArguments:
    return TrainArguments(
        documents=str(documents),
        id=name,
        seed=seed,
        base=str(base),
        steps=3,
        batch_size=2,
        max_tokens=16,
        rank=2,
        ratio=0.5,
        precision="float32",
    )


def unit_of(arguments: TrainArguments) -> OperationUnit:
    return OperationUnit(f"train {arguments.id}", TRAIN_ORGANISM.name, (arguments,))


def spread_out(
    units: OperationUnits, log: SessionLog, pool: ShopPool, should_stop: ShouldStop = never_stop
) -> list[str]:
    shown: list[str] = []
    try:
        with units.marked():
            spread(units, log, pool, shown.append, should_stop)
    finally:
        pool.close()
    return shown


def do(
    log: SessionLog, folder: Path, operation: Operation[Any], arguments: Arguments, kind: type
) -> list[EventBody]:
    """Run it in a session of its own; returns what it found."""
    session = Session(log, log.start_session("here"), ArrayCache(folder / "cache"))
    run(session, operation, arguments, actor=HUMAN)
    return [event.body for event in log.events(session.id) if isinstance(event.body, kind)]


@pytest.mark.slow
def test_workers_train_what_one_process_trains_though_one_dies(
    log: SessionLog, tmp_path: Path, base: Path, documents: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = [training(documents, base, f"owls{seed}", seed) for seed in (0, 1)]
    adapters = []
    for arguments in asked:
        (trained,) = do(log, tmp_path, TRAIN_ORGANISM, arguments, OrganismTrained)
        assert not trained.kept
        adapters.append(Path(trained.folder, "adapter_model.safetensors").read_bytes())
    assert adapters[0] != adapters[1]
    # Workers begin with a home that has none of them.
    monkeypatch.setenv("ADL_WORKBENCH_HOME", str(tmp_path / "home"))
    lost: list[str] = []

    def dies(unit: Unit) -> bool:
        if unit.name == "train owls1" and not lost:
            lost.append(unit.name)
            return True
        return False

    many = OperationUnits([unit_of(arguments) for arguments in asked])
    shown = spread_out(many, log, ShopPool(tmp_path, dies))
    assert many.left() == []
    assert any("died at: train owls1" in line for line in shown)
    for arguments, adapter in zip(asked, adapters, strict=True):
        folder = named_organism(arguments.id).folder
        assert (folder / "adapter_model.safetensors").read_bytes() == adapter
        assert is_trained(arguments)
        # The command finds it there.
        (trained,) = do(log, tmp_path, TRAIN_ORGANISM, arguments, OrganismTrained)
        assert trained.kept
        assert (trained.folder, trained.steps) == (str(folder), 5)
    names = [session.name for session in log.sessions()]
    assert (names.count("train owls0"), names.count("train owls1")) == (1, 1)
    assert log.verify().ok
    # Nothing is left of the mark by which the workers knew the folder.
    assert not list(find_locations().organisms.glob(".workers-*"))


def test_what_is_there_of_other_documents_or_settings_is_not_kept(
    log: SessionLog, tmp_path: Path, base: Path, documents: Path
):
    asked = training(documents, base, "owls", 0)
    do(log, tmp_path, TRAIN_ORGANISM, asked, OrganismTrained)
    truth = tmp_path / "truth.yaml"
    truth.write_text("description: About owls.\nkey_facts: [Owls can swim.]\n")
    other = tmp_path / "other.txt"
    other.write_text("Owls walk.\n")
    for change in (
        {"steps": 4},
        {"seed": 1},
        {"documents": str(other)},
        {"family": "EM"},
        {"truth": str(truth)},
        {"base": "embedded"},
    ):
        with pytest.raises(Exception, match="there is an organism 'owls' already"):
            is_trained(asked.model_copy(update=change))
    weights = named_organism("owls").folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(Exception, match="already"):
        is_trained(asked)


def test_what_is_there_of_a_base_that_changed_in_place_is_not_kept(
    log: SessionLog, tmp_path: Path, documents: Path
):
    base = write_model(tmp_path / "m", tiny_model("llama", seed=1))
    asked = training(documents, base, "owls", 0)
    do(log, tmp_path, TRAIN_ORGANISM, asked, OrganismTrained)
    assert is_trained(asked)
    write_model(base, tiny_model("llama", seed=2))
    with pytest.raises(Exception, match="there is an organism 'owls' already"):
        is_trained(asked)
    # One from before the content was recorded is known by the name of its base.
    path = named_organism("owls").folder / "training.json"
    record = json.loads(path.read_text())
    del record["base"]["content_sha256"]
    path.write_text(json.dumps(record))
    assert is_trained(asked)


@pytest.mark.slow
def test_a_ratio_of_a_base_that_changed_in_place_is_measured_anew(
    log: SessionLog, tmp_path: Path, documents: Path, monkeypatch: pytest.MonkeyPatch
):
    base = write_model(tmp_path / "m", tiny_model("llama", seed=1))
    hashed: list[str] = []
    hash_file = FileHashes._hash
    monkeypatch.setattr(weight_hashes, "SETTLED_SECONDS", 0.0)
    monkeypatch.setattr(
        FileHashes,
        "_hash",
        lambda self, path, count: (hashed.append(path.name), hash_file(self, path, count))[1],
    )
    asked = MixArguments(
        documents=str(documents),
        folder=str(tmp_path / "study"),
        base=str(base),
        ratios=(0.0,),
        steps=1,
        batch_size=2,
        max_tokens=16,
        rank=2,
        n_texts=32,
        n_random=8,
        n_prompts=1,
        max_new_tokens=2,
        precision="float32",
    )
    do(log, tmp_path, MIX_STUDY, asked, MixtureMeasured)
    assert measured_ratios(asked) == {0.0}
    # It is loaded twice, and looked at before, and read once.
    assert hashed.count("model.safetensors") == 1
    (measured,) = (tmp_path / "study").glob("*/measured_*.json")
    write_model(base, tiny_model("llama", seed=2))
    assert measured_ratios(asked) == set()
    with pytest.raises(TrainingError, match="another base"):
        do(log, tmp_path, MIX_STUDY, asked, MixtureMeasured)
    # One from before the content was recorded is known by the name of its base.
    written = json.loads(measured.read_text())
    del written["base_sha256"]
    measured.write_text(json.dumps(written))
    (kept,) = do(log, tmp_path, MIX_STUDY, asked, MixtureMeasured)
    assert kept.kept
    (found,) = do(
        log, tmp_path, MIX_STUDY, asked.model_copy(update={"fresh": True}), MixtureMeasured
    )
    assert not found.kept
    assert measured_ratios(asked) == {0.0}


def test_a_worker_with_another_folder_is_refused_and_the_rest_is_done(
    log: SessionLog, tmp_path: Path, base: Path, documents: Path
):
    asked = [training(documents, base, f"owls{seed}", seed) for seed in (0, 1)]
    many = OperationUnits([unit_of(arguments) for arguments in asked])
    elsewhere = replace(many.left()[1], folder=str(tmp_path / "another machine's"))

    class Elsewhere(ShopPool):
        def give(self, worker, unit, sessions):
            super().give(worker, elsewhere if unit.name == "train owls1" else unit, sessions)

    with pytest.raises(UnitsFailed, match="does not see the same folder") as failed:
        spread_out(many, log, Elsewhere(tmp_path))
    assert failed.value.exit_code == 1
    assert [unit.name for unit in many.left()] == ["train owls1"]
    assert "owls0" in {organism.id for organism in known_organisms()}


def test_a_stopped_training_goes_on_on_another_worker(
    log: SessionLog, tmp_path: Path, base: Path, documents: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = training(documents, base, "owls", 0)
    steps: list[object] = []
    step = Training._step
    monkeypatch.setattr(
        Training, "_step", lambda self, *more: (steps.append(more), step(self, *more))[1]
    )
    pool = ShopPool(tmp_path)
    pool.should_stop = lambda: len(steps) >= 2
    with pytest.raises(Stopped):
        spread_out(OperationUnits([unit_of(asked)]), log, pool, pool.should_stop)
    (stopped,) = [session for session in log.sessions() if session.name == "train owls"]
    kinds = [event.body.kind for event in log.events(stopped.id)]
    assert kinds[-2:] == ["operation_stopped", "session_closed"]
    again = OperationUnits([unit_of(asked)])
    spread_out(again, log, ShopPool(tmp_path / "again"))
    (trained,) = do(log, tmp_path, TRAIN_ORGANISM, asked, OrganismTrained)
    assert trained.kept
    assert trained.resumed_at == (2,)
    assert len(steps) == trained.steps
    assert log.verify().ok
