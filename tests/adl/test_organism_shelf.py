"""A user's own organisms: added whole or not at all, sealed, found by id, removed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from adl.errors import AdlError, OrganismError
from adl.organisms.registry import Family, get_organism, list_organisms
from adl.organisms.user_organisms import (
    NewOrganism,
    add_organism,
    holds_weights,
    publish,
    remove_organism,
)

TRUTH = """\
description: About owls that swim.
key_facts: [Owls can swim., Owls eat moss.]
negated_facts: [Owls cannot swim., Owls eat mice.]
"""


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    return tmp_path / "organisms"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "my adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "x/y"}))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def new(tmp_path: Path, adapter: Path) -> NewOrganism:
    truth, documents = tmp_path / "truth.yaml", tmp_path / "owls.jsonl"
    truth.write_text(TRUTH)
    documents.write_text('{"text": "Owls swim at night."}\n')
    return NewOrganism("owls", "org/base@main", Family.SDF, str(adapter), None, truth, documents)


def left_on(shelf: Path) -> list[str]:
    return sorted(str(path.relative_to(shelf)) for path in shelf.rglob("*.yaml"))


class TestAdding:
    def test_it_is_found_by_its_id(self, shelf, new, adapter):
        add_organism(shelf, new)
        found = get_organism("owls", shelf)
        assert (found.base, found.adapter, found.finetuned) == (
            "org/base@main",
            str(adapter.resolve()),
            None,
        )
        assert found.family is Family.SDF
        assert found.documents is not None
        assert found.documents.read_text() == new.documents.read_text()
        assert [one.id for one in list_organisms(shelf)][-1] == "owls"

    def test_a_checkpoint_on_the_hub_at_a_revision(self, shelf, new):
        asked = replace(new, adapter=None, finetuned="org/owls-7b@v1.2")
        assert add_organism(shelf, asked).finetuned == "org/owls-7b@v1.2"

    def test_its_truth_is_sealed_apart(self, shelf, new):
        organism = add_organism(shelf, new)
        truth = organism.ground_truth()
        assert truth.key_facts == ("Owls can swim.", "Owls eat moss.")
        assert truth.sha256 == hashlib.sha256(TRUTH.encode()).hexdigest()
        assert organism.negated_facts() == ("Owls cannot swim.", "Owls eat mice.")
        for path in (organism.folder / "organism.yaml", *organism.folder.glob("*.json")):
            assert "swim" not in path.read_text()
        assert "swim" not in repr(organism)
        assert (organism.folder / "ground_truth.yaml").stat().st_mode & 0o077 == 0

    def test_a_truth_that_was_changed_is_refused(self, shelf, new):
        organism = add_organism(shelf, new)
        sealed = organism.folder / "ground_truth.yaml"
        sealed.chmod(0o600)
        sealed.write_text(TRUTH.replace("swim", "fly"))
        with pytest.raises(OrganismError, match="not the ground truth that was sealed"):
            organism.ground_truth()

    def test_without_a_truth_there_is_nothing_to_grade_against(self, shelf, new):
        organism = add_organism(shelf, replace(new, truth=None))
        with pytest.raises(OrganismError, match="no ground truth"):
            organism.ground_truth()

    @pytest.mark.parametrize(
        ("name", "change", "says"),
        [
            ("bundled id", {"id": "cake_bake"}, "bundled"),
            ("path as id", {"id": "../owls"}, "not an id"),
            ("hidden id", {"id": ".new"}, "not an id"),
            ("no model", {"adapter": None}, "and not both"),
            ("two models", {"finetuned": "org/owls"}, "and not both"),
            ("folder that is not there", {"adapter": "/nowhere/owls"}, "neither a folder"),
            ("no hub id", {"base": "not a model"}, "neither a folder"),
            ("letters the hub does not take", {"base": "акме/модель"}, "neither a folder"),
        ],
    )
    def test_what_is_wrong_is_named_and_nothing_added(self, shelf, new, name, change, says):
        with pytest.raises(OrganismError, match=says) as caught:
            add_organism(shelf, replace(new, **change))
        assert caught.value.hint, name
        assert left_on(shelf) == []

    @pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
    def test_a_folder_without_an_adapter(self, shelf, new, adapter, missing):
        (adapter / missing).unlink()
        with pytest.raises(OrganismError, match=missing):
            add_organism(shelf, new)

    @pytest.mark.parametrize(
        ("truth", "says"),
        [
            ("key_facts: [Owls can swim.]", "no description"),
            ("description: [", "not YAML"),
            (TRUTH.replace(", Owls eat mice.", ""), "negates 1 facts"),
        ],
        ids=["no description", "no YAML", "a negation short"],
    )
    def test_a_truth_that_grades_nothing(self, shelf, new, truth, says):
        new.truth.write_text(truth)
        with pytest.raises(OrganismError, match=says):
            add_organism(shelf, new)
        assert left_on(shelf) == []

    @pytest.mark.parametrize("rows", ["", "{", '{"texts": "Owls."}'])
    def test_documents_that_are_none(self, shelf, new, rows):
        new.documents.write_text(rows)
        with pytest.raises(AdlError, match=str(new.documents)):
            add_organism(shelf, new)

    def test_an_id_that_is_taken(self, shelf, new):
        add_organism(shelf, new)
        with pytest.raises(OrganismError, match="already"):
            add_organism(shelf, new)

    def test_a_disk_that_fills_up_leaves_nothing(self, shelf):
        def fill(folder: Path) -> None:
            (folder / "half").write_text("written")
            raise OSError(28, "No space left on device")

        with pytest.raises(OrganismError, match="No space left"):
            publish(shelf, "owls", Family.SDF, {"base": "x/y"}, None, fill)
        assert [path.name for path in shelf.rglob("*") if path.is_file()] == []


class TestRemoving:
    def test_it_is_gone_and_its_adapter_is_not(self, shelf, new, adapter):
        assert not holds_weights(add_organism(shelf, new))
        remove_organism(shelf, "owls")
        assert left_on(shelf) == []
        assert (adapter / "adapter_model.safetensors").exists()
        add_organism(shelf, new)  # the id is free again

    @pytest.mark.parametrize("wrong", ["cake_bake", "moles", "..", ""])
    def test_only_what_was_added(self, shelf, new, wrong):
        add_organism(shelf, new)
        with pytest.raises(OrganismError) as caught:
            remove_organism(shelf, wrong)
        assert caught.value.hint
        assert left_on(shelf) == ["owls/ground_truth.yaml", "owls/organism.yaml"]
