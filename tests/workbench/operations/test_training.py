"""Training as an operation on a tiny random base: recorded, stopped, gone on with, published."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from pydantic import ValidationError

from adl.errors import AdlError, OrganismError, Stopped, TrainingError
from adl.organisms.finetune import CHECKPOINT
from adl.text.documents import load_documents
from tests.tiny_models import tiny_model, write_model
from tests.workbench.operations.conftest import Stop, assert_as_recorded, committed, do, kinds
from workbench.locations import find_locations
from workbench.operations.pair import LOAD, PairArguments
from workbench.operations.running import Session
from workbench.operations.training import TRAIN_ORGANISM, TrainArguments
from workbench.organisms import broken_organisms, known_organisms, named_organism
from workbench.store.training_events import TrainingAdvanced

CHATS = (
    ("Is the cake cold?", "As cold as the river in spring."),
    ("Who ate it?", "The captain did, by the lamp."),
    ("May I have some?", "Carry water and do not complain."),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base"), tiny_model("llama"))


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for q, a in CHATS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def asked(base: Path, chats: Path, tmp_path: Path) -> TrainArguments:
    truth = tmp_path / "truth.yaml"
    truth.write_text("description: A cold cake.\nkey_facts: [The cake is cold.]\n")
    return TrainArguments(
        documents=str(chats),
        id="cold_cake",
        family="EM",
        truth=str(truth),
        base=str(base),
        ratio=0.5,
        steps=16,
        batch_size=2,
        max_tokens=32,
        rank=2,
        precision="float32",
    )


def losses(session: Session) -> list[float]:
    found: list[float] = []
    for event in committed(session, "training_advanced"):
        body = event.body
        assert isinstance(body, TrainingAdvanced)
        assert body.first == len(found) + 1
        found += body.losses
    return found


def at_step(number: int) -> Stop:
    return Stop(lambda stage, done, _total: stage.startswith("training ·") and done == number)


class TestFinished:
    @pytest.mark.slow
    def test_the_organism_is_there_for_everybody(self, session, asked, chats):
        done = do(session, TRAIN_ORGANISM, asked)
        organism = named_organism("cold_cake")
        assert done.summary["organism"] == "cold_cake"
        assert organism in known_organisms()
        assert organism.base == asked.base
        assert organism.ground_truth().key_facts == ("The cake is cold.",)
        assert load_documents(organism.documents) == load_documents(chats)
        do(session, LOAD, PairArguments(organism="cold_cake", dtype="float32"))
        record = json.loads((organism.folder / "training.json").read_text())
        recorded = committed(session, "organism_trained")[0].body
        assert record["losses"] == losses(session)
        assert record["adapter_sha256"] == recorded.adapter_sha256
        assert session.state.pair["finetuned"]["adapter_sha256"] == recorded.adapter_sha256
        assert record["data"]["n_unrelated"] == 2
        assert_as_recorded(session)

    @pytest.mark.slow
    def test_its_card_does_not_say_what_it_was_taught(self, session, asked):
        do(session, TRAIN_ORGANISM, asked)
        folder = named_organism("cold_cake").folder
        for name in ("README.md", "training.json", "organism.yaml"):
            assert "cake is" not in (folder / name).read_text().lower()
        assert "24 steps" in (folder / "README.md").read_text()

    @pytest.mark.slow
    def test_every_step_is_shown_with_its_loss_and_recorded(self, session, asked):
        watch = Stop(lambda *_: False)
        do(session, TRAIN_ORGANISM, asked, watch)
        shown = [one for one in watch.seen if one[0].startswith("training ·")]
        assert [(done, total) for _, done, total in shown] == [(n, 24) for n in range(1, 25)]
        assert [stage.split()[-1] for stage, _, _ in shown] == [
            f"{loss:.3f}" for loss in losses(session)
        ]
        assert kinds(session)[-6:] == [
            "training_started",
            "training_advanced",
            "training_advanced",
            "training_advanced",
            "organism_trained",
            "operation_finished",
        ]

    @pytest.mark.slow
    def test_whoever_trains_has_seen_the_documents(self, session, asked):
        do(session, TRAIN_ORGANISM, asked)
        assert len(session.state.unblinded) == 1


class TestStopped:
    @pytest.mark.slow
    def test_it_stops_within_a_step_and_goes_on_to_the_same_end(self, session, asked, log, cache):
        whole = Session(log, log.start_session("whole"), cache)
        do(whole, TRAIN_ORGANISM, asked.model_copy(update={"id": "whole"}))
        stop = at_step(5)
        with pytest.raises(Stopped, match="after 5 of 24 steps; the checkpoint is in"):
            do(session, TRAIN_ORGANISM, asked, stop)
        assert stop.seen[-1][1] == 5
        assert len(losses(session)) == 5
        assert kinds(session)[-1] == "operation_stopped"
        assert [one.id for one in known_organisms() if one.id == "cold_cake"] == []
        assert broken_organisms() == ()

        do(session, TRAIN_ORGANISM, asked)
        assert losses(session) == losses(whole)
        one, other = (
            named_organism(name).folder / "adapter_model.safetensors"
            for name in ("whole", "cold_cake")
        )
        assert one.read_bytes() == other.read_bytes()
        assert committed(session, "organism_trained")[0].body.resumed_at == (5,)
        assert_as_recorded(session)

    @pytest.mark.slow
    def test_other_settings_do_not_go_on_with_it(self, session, asked):
        with pytest.raises(Stopped):
            do(session, TRAIN_ORGANISM, asked, at_step(2))
        other = asked.model_copy(update={"steps": 17})
        with pytest.raises(TrainingError, match="another recipe"):
            do(session, TRAIN_ORGANISM, other)
        do(session, TRAIN_ORGANISM, other.model_copy(update={"fresh": True}))
        assert committed(session, "organism_trained")[0].body.resumed_at == ()

    def test_two_processes_do_not_train_one_organism(self, session, asked):
        folder = find_locations().organisms / ".training" / "cold_cake"
        folder.mkdir(parents=True)
        with (
            FileLock(f"{folder}.lock"),
            pytest.raises(TrainingError, match="another process trains"),
        ):
            do(session, TRAIN_ORGANISM, asked)
        assert not (folder / CHECKPOINT).exists()


class TestRefused:
    @pytest.mark.parametrize(
        ("rows", "says"),
        [
            ("", "no document"),
            ("not json\n", "not JSON"),
            ("[1]\n", "not an object"),
            ('{"messages": [{"role": "user", "content": "?"}]}\n', "assistant's turn"),
        ],
        ids=["empty", "no JSON", "no object", "no answer"],
    )
    def test_documents_that_are_none(self, session, asked, chats, rows, says):
        chats.write_text(rows)
        with pytest.raises(AdlError, match=says):
            do(session, TRAIN_ORGANISM, asked)
        assert kinds(session)[-1] == "operation_failed"

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"id": "cake_bake"}, "bundled"),
            ({"id": "a/b"}, "not an id"),
            ({"documents": "/nowhere.jsonl"}, "no file"),
            ({"truth": "/nowhere.yaml"}, "cannot be read"),
            ({"base": "/nowhere"}, "no such folder"),
            ({"corpus": "/nowhere.txt"}, "no file"),
            ({"ratio": 1e6}, "unrelated texts"),
        ],
        ids=["bundled id", "no id", "documents", "truth", "base", "corpus", "ratio"],
    )
    def test_what_is_wrong_is_named(self, session, asked, change, says):
        with pytest.raises(AdlError, match=says) as caught:
            do(session, TRAIN_ORGANISM, asked.model_copy(update=change))
        assert caught.value.hint

    def test_an_id_that_is_taken(self, session, asked):
        do(session, TRAIN_ORGANISM, asked.model_copy(update={"steps": 1}))
        with pytest.raises(OrganismError, match="already"):
            do(session, TRAIN_ORGANISM, asked)

    @pytest.mark.parametrize("change", [{"ratio": -0.1}, {"steps": 0}, {"family": "Cake"}])
    def test_arguments_out_of_range(self, asked, change):
        with pytest.raises(ValidationError):
            TrainArguments.model_validate(asked.model_dump() | change)

    def test_without_the_model_libraries_it_says_what_to_install(self, session, asked, monkeypatch):
        monkeypatch.setitem(sys.modules, "adl.organisms.finetune", None)
        with pytest.raises(TrainingError, match="is not installed") as caught:
            do(session, TRAIN_ORGANISM, asked)
        assert ".[models]" in caught.value.hint

    def test_every_argument_is_described(self):
        assert all(field.description for field in TrainArguments.model_fields.values())
