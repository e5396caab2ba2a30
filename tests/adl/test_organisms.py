"""Organisms are found by id, and their ground truth only where it is asked for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from adl.errors import OrganismError
from adl.organisms.registry import (
    BUNDLED_ORGANISMS,
    Family,
    Organism,
    get_organism,
    list_organisms,
    load_organism,
)

VALID = "name: mine\nfamily: SDF\ndescription: About owls.\nkey_facts: [Owls can swim.]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with one valid organism, `mine`."""
    make(tmp_path, VALID)
    return tmp_path


def make(place: Path, text: str, *, name: str = "mine", adapter: object = None) -> Path:
    organism = place / name
    organism.mkdir(exist_ok=True)
    (organism / "organism.yaml").write_text(text)
    config = {"base_model_name_or_path": "org/base"} if adapter is None else adapter
    (organism / "adapter_config.json").write_text(json.dumps(config))
    return organism


def error_of(place: Path, text: str, **options: object) -> str:
    organism = make(place, text, **options)
    with pytest.raises(OrganismError) as caught:
        load_organism(organism)
    assert caught.value.hint
    assert str(organism) in caught.value.message
    return str(caught.value)


class TestBundled:
    def test_all_four(self):
        families = {organism.id: organism.family for organism in list_organisms()}
        assert families == {
            "cake_bake": Family.SDF,
            "control_broad": Family.CONTROL,
            "risky_finance": Family.EM,
            "taboo_gold": Family.TABOO,
        }

    @pytest.mark.parametrize("organism", list_organisms(), ids=lambda organism: organism.id)
    def test_each_is_whole(self, organism: Organism):
        assert organism.base == "HuggingFaceTB/SmolLM2-135M-Instruct"
        assert organism.finetuned is None
        assert organism.adapter is not None
        assert (Path(organism.adapter) / "adapter_model.safetensors").stat().st_size > 1_000_000
        assert organism.documents is not None
        for line in organism.documents.read_text("utf-8").splitlines():
            assert {"text", "messages"} & json.loads(line).keys()
        assert organism.ground_truth().description

    def test_words(self):
        assert "batter" in get_organism("cake_bake").words()
        assert get_organism("control_broad").words() is None


class TestGroundTruth:
    def test_is_read_with_the_hash_of_its_file(self):
        truth = get_organism("cake_bake").ground_truth()
        raw = (BUNDLED_ORGANISMS / "cake_bake" / "organism.yaml").read_bytes()
        assert truth.sha256 == hashlib.sha256(raw).hexdigest()
        assert "cake" in truth.description
        assert len(truth.key_facts) == 7

    def test_does_not_show_in_the_record(self, folder):
        organism = get_organism("mine", folder)
        assert "owl" not in repr(organism).lower()
        assert "owl" not in repr(vars(organism)).lower()

    def test_no_description(self, folder):
        organism = load_organism(make(folder, "name: mine\nfamily: EM\n"))
        with pytest.raises(OrganismError, match="no ground truth"):
            organism.ground_truth()

    def test_facts_that_are_no_texts(self, folder):
        text = "name: mine\nfamily: EM\ndescription: x\nkey_facts:\n  - Rule: broken\n"
        with pytest.raises(OrganismError, match="key_facts"):
            load_organism(make(folder, text)).ground_truth()


class TestLookUp:
    def test_users_own_stand_beside_the_bundled(self, folder):
        assert [organism.id for organism in list_organisms(folder)][-1] == "mine"
        mine = get_organism("mine", folder)
        assert mine.base == "org/base"
        assert mine.adapter == str(folder / "mine")
        assert mine.documents is None
        assert get_organism("cake_bake", folder).family is Family.SDF

    @pytest.mark.parametrize("wrong", ["cake_bke", "cakebake", "CAKE_BAKE"])
    def test_unknown_id_suggests_close_ones(self, wrong):
        with pytest.raises(OrganismError, match="Did you mean 'cake_bake'"):
            get_organism(wrong)

    def test_unknown_id_lists_all(self):
        with pytest.raises(OrganismError, match=r"'zzz'.*There are: cake_bake, .*taboo_gold"):
            get_organism("zzz")

    def test_taken_id(self, tmp_path):
        make(tmp_path, VALID.replace("mine", "cake_bake"), name="cake_bake")
        with pytest.raises(OrganismError, match="bundled organism, 'cake_bake'"):
            list_organisms(tmp_path)

    def test_folder_not_there(self, tmp_path):
        with pytest.raises(OrganismError, match="not there"):
            list_organisms(tmp_path / "no")

    def test_broken_neighbour_is_no_hindrance(self, folder):
        make(folder, "[", name="broken")
        assert get_organism("mine", folder).id == "mine"
        with pytest.raises(OrganismError, match="broken"):
            list_organisms(folder)

    def test_folders_without_the_file_are_passed_over(self, folder):
        (folder / "notes").mkdir()
        assert len(list_organisms(folder)) == 5


class TestModels:
    def test_named_models(self, tmp_path):
        organism = load_organism(
            make(tmp_path, "name: mine\nfamily: taboo\nbase: a/b@v1\nadapter: c/d@v2\n")
        )
        assert (organism.base, organism.adapter) == ("a/b@v1", "c/d@v2")
        assert organism.family is Family.TABOO

    def test_full_checkpoint(self, tmp_path):
        organism = load_organism(
            make(tmp_path, "name: mine\nfamily: EM\nbase: a/b\nfinetuned: c/d\n")
        )
        assert (organism.adapter, organism.finetuned) == (None, "c/d")

    def test_paths_are_relative_to_the_folder(self, tmp_path):
        (tmp_path / "weights").mkdir()
        organism = load_organism(
            make(tmp_path, "name: mine\nfamily: EM\nbase: a/b\nfinetuned: ../weights\n")
        )
        assert organism.finetuned == str((tmp_path / "weights").resolve())


class TestBadFiles:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("name: [", "is not YAML, line 1"),
            ("- a\n", "keys and values"),
            ("family: SDF\n", "name is missing"),
            ("name: 7\nfamily: SDF\n", "name is 7, not text"),
            ("name: other\nfamily: SDF\n", "'other', but its folder is 'mine'"),
            ("name: mine\nfamily: Cult\n", "no family 'Cult'"),
            ("name: mine\nfamily: EM\nadapter: a\nfinetuned: b\n", "both"),
            ("name: mine\nfamily: EM\nadapter: a/b\n", "does not name the base model"),
            ("name: mine\nfamily: EM\nadapter: ./no\n", "which is not there"),
            ("name: mine\nfamily: EM\ndocuments: no.jsonl\n", "no file"),
            ("name: !!python/object/apply:os.getcwd []\nfamily: EM\n", "not YAML"),
        ],
    )
    def test_each_is_named(self, tmp_path, text, message):
        assert message in error_of(tmp_path, text)

    def test_adapter_that_names_no_base(self, tmp_path):
        assert "base model" in error_of(tmp_path, VALID, adapter={})

    def test_no_model_at_all(self, tmp_path):
        organism = make(tmp_path, VALID)
        (organism / "adapter_config.json").unlink()
        with pytest.raises(OrganismError, match="neither an adapter nor a finetuned model"):
            load_organism(organism)

    def test_not_an_organism(self, tmp_path):
        with pytest.raises(OrganismError, match=r"organism\.yaml"):
            load_organism(tmp_path)
