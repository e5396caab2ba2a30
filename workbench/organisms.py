"""The organisms that there are for this user: the bundled ones, and the user's own."""

from __future__ import annotations

from adl.errors import OrganismError
from adl.organisms.registry import Organism, get_organism, list_organisms, load_organism
from workbench.locations import find_locations


def known_organisms() -> tuple[Organism, ...]:
    """Every organism that can be used, the bundled ones first; broken ones are passed over."""
    return (*list_organisms(), *_own()[0])


def broken_organisms() -> tuple[OrganismError, ...]:
    """Return the problem of each folder of the user's organisms that is not a valid one."""
    return _own()[1]


def named_organism(organism_id: str) -> Organism:
    """The organism with this id. Raises ``OrganismError``; for an unknown one it names close ones."""
    own = find_locations().organisms
    return get_organism(organism_id, own if own.is_dir() else None)


def _own() -> tuple[tuple[Organism, ...], tuple[OrganismError, ...]]:
    found, broken = [], []
    for path in sorted(find_locations().organisms.glob("*/organism.yaml")):
        try:
            found.append(load_organism(path.parent))
        except OrganismError as exc:
            broken.append(exc)
    return tuple(found), tuple(broken)
