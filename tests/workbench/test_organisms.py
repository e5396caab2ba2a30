"""The user's own organisms are there wherever the bundled ones are."""

from __future__ import annotations

from pathlib import Path

import pytest

from adl.errors import OrganismError
from adl.organisms.registry import Family, list_organisms
from adl.organisms.user_organisms import NewOrganism, add_organism
from adl.records import SideSpec
from workbench.locations import find_locations
from workbench.operations.pair import PairArguments, resolve_pair
from workbench.organisms import broken_organisms, known_organisms, named_organism
from workbench.tui.library import Library


@pytest.fixture
def owls() -> str:
    new = NewOrganism("owls", "org/base@main", Family.EM, finetuned="org/owls@v2")
    return add_organism(find_locations().organisms, new).id


def test_with_no_shelf_there_are_the_bundled_ones():
    assert known_organisms() == list_organisms()
    assert not find_locations().organisms.exists()


def test_it_is_on_the_start_screen(owls: str, tmp_path: Path):
    path = tmp_path / "none.db"
    library = Library(path, tmp_path / "open", opened=lambda: None, open_log=lambda: None)
    assert [one.id for one in library.listing().organisms][-1] == owls


def test_its_pair_is_what_was_added(owls: str):
    spec = resolve_pair(PairArguments(organism=owls))
    assert spec.base == SideSpec("org/base", "main")
    assert spec.finetuned == SideSpec("org/owls", "v2")


def test_a_broken_one_is_named_and_hides_no_other(owls: str):
    folder = find_locations().organisms / "moles"
    folder.mkdir()
    (folder / "organism.yaml").write_text("family: SDF\n")
    assert named_organism(owls).id == owls
    assert [one.id for one in known_organisms()][-1] == owls
    (problem,) = broken_organisms()
    assert "moles" in problem.message
    with pytest.raises(OrganismError, match="moles"):
        named_organism("moles")


def test_a_misspelt_one_is_suggested(owls: str):
    with pytest.raises(OrganismError, match="'owl'") as caught:
        named_organism("owl")
    assert "owls" in caught.value.hint
