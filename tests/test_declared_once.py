"""No second declarations: a type or a text that modules share has one home and is imported."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from adl.records import DEFAULT_LAYER

ROOT = Path(__file__).parents[1]
SHORTEST = 8


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of ours by its path."""
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
        for folder in ("adl", "workbench")
        for path in sorted((ROOT / folder).rglob("*.py"))
    }


def assigned() -> Iterator[tuple[str, str, str]]:
    """(name, value, module) of every name that a module gives a value."""
    for module, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                yield node.targets[0].id, ast.unparse(node.value), module


ALIASES = ("Callable[", "dict[", "Mapping[", "Sequence[", "tuple[", "list[", "Literal[")
COINCIDENCES = {
    "Callable[[str], str]",
    "Mapping[str, str]",
    "dict[str, Any]",
    "tuple[str, ...]",
    "'adl-workbench'",
}
"""Values that have several names, each for something else."""


def shared(value: str) -> bool:
    """True for a type alias of callables, dicts or words, and for a text of some length."""
    is_alias = value.startswith(ALIASES)
    # A colour of the theme has its name as its value.
    is_colour = value[1:2] == "$"
    is_text = value.startswith(("'", '"')) and len(value) >= SHORTEST + 2 and not is_colour
    return is_alias or is_text


def test_a_type_or_a_text_is_declared_once() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for name, value, module in assigned():
        if shared(value) and name.strip("_"):
            homes[value].append(f"{module} {name}")
    several = {value: found for value, found in homes.items() if len(found) > 1}
    assert {value: found for value, found in several.items() if value not in COINCIDENCES} == {}
    assert several.keys() >= COINCIDENCES, "one that has a single name by now"


def written_choices() -> Iterator[tuple[frozenset[str], str]]:
    """(words, place) of every ``Literal`` of several words, in whatever order they are written."""
    for module, tree in modules().items():
        for node in ast.walk(tree):
            is_literal = isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal"
            if is_literal and isinstance(node.slice, ast.Tuple):
                yield frozenset(map(ast.unparse, node.slice.elts)), f"{module}:{node.lineno}"


def test_the_words_of_a_choice_are_written_out_once() -> None:
    homes: dict[frozenset[str], list[str]] = defaultdict(list)
    for words, place in written_choices():
        homes[words].append(place)
    assert {words: found for words, found in homes.items() if len(found) > 1} == {}


def test_the_test_sees_declarations() -> None:
    values = {name: value for name, value, _ in assigned()}
    assert values["NOT_COMPUTED"] == "'not computed'"
    assert shared(values["ShouldStop"])
    assert shared(values["EndReason"])
    assert frozenset({"'base'", "'finetuned'"}) in {words for words, _ in written_choices()}
    assert not shared("16")


class WrittenField(NamedTuple):
    """A field with a description that stands in a class, not in a type that classes share."""

    home: str
    name: str
    kind: str
    default: str
    description: str
    limits: tuple[str, ...]


def words_and_limits(node: ast.AST | None) -> tuple[str, tuple[str, ...]] | None:
    """The description that a call of ``Field`` writes out, and its limits; None of anything else."""
    if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "Field"):
        return None
    given = {str(keyword.arg): keyword.value for keyword in node.keywords}
    description = given.pop("description", None)
    if not isinstance(description, ast.Constant | ast.JoinedStr):
        return None
    limits = (f"{name}={ast.unparse(value)}" for name, value in given.items())
    return ast.unparse(description), tuple(sorted(limits))


def annotated(node: ast.AST) -> tuple[str, ast.AST | None]:
    """The type and the first remark of ``Annotated[type, remark]``; None as that of a plain type."""
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Annotated":
        assert isinstance(node.slice, ast.Tuple)
        return ast.unparse(node.slice.elts[0]), node.slice.elts[1]
    return ast.unparse(node), None


@cache
def written_fields() -> tuple[WrittenField, ...]:
    """Every field of every class that writes its description out."""
    return tuple(_written_fields())


def _written_fields() -> Iterator[WrittenField]:
    for module, tree in modules().items():
        for owner in ast.walk(tree):
            if not isinstance(owner, ast.ClassDef):
                continue
            for node in owner.body:
                if not isinstance(node, ast.AnnAssign):
                    continue
                kind, remark = annotated(node.annotation)
                if (found := words_and_limits(node.value)) is not None:
                    assert isinstance(node.value, ast.Call)
                    default = "".join(map(ast.unparse, node.value.args))
                elif (found := words_and_limits(remark)) is not None:
                    default = "" if node.value is None else ast.unparse(node.value)
                else:
                    continue
                home, name = f"{module} {owner.name}", ast.unparse(node.target)
                yield WrittenField(home, name, kind, default, *found)


def shared_fields() -> dict[tuple[str, str, tuple[str, ...]], str]:
    """The type of a field that modules share, by its kind, description and limits."""
    found = {}
    for tree in modules().values():
        for node in tree.body:
            if isinstance(node, ast.Assign):
                kind, remark = annotated(node.value)
                if (words := words_and_limits(remark)) is not None:
                    found[kind, *words] = ast.unparse(node.targets[0])
    return found


def test_a_field_is_written_out_in_one_class() -> None:
    homes: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for field in written_fields():
        homes[field.name, field.description, field.default].append(field.home)
    assert {key: found for key, found in homes.items() if len(found) > 1} == {}


def test_a_field_that_has_a_shared_type_is_not_written_out() -> None:
    shared_types = shared_fields()
    assert {
        f"{field.home}.{field.name}": shared_types[key]
        for field in written_fields()
        if (key := (field.kind, field.description, field.limits)) in shared_types
    } == {}


def test_the_tests_see_fields_and_shared_types() -> None:
    seen = {(field.name, field.default, field.description) for field in written_fields()}
    assert ("position", "POOLED", "'Position of the difference.'") in seen
    assert ("seq", "", '"Number of the event in the session\'s log."') in seen
    assert shared_fields()["str", "'Layer of the difference.'", ()] == "Layer"


def test_the_layer_where_nobody_names_one_is_written_down_once() -> None:
    homes = [
        module
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value == DEFAULT_LAYER
    ]
    assert homes == ["adl/records.py"]
