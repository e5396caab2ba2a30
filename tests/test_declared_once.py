"""No second declarations: a type or a text that modules share has one home and is imported."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHORTEST = 8


def assigned() -> Iterator[tuple[str, str, str]]:
    """(name, value, module) of every name that a module gives a value."""
    for folder in ("adl", "workbench"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    yield node.targets[0].id, ast.unparse(node.value), str(path.relative_to(ROOT))


def shared(value: str) -> bool:
    """True for a type alias of callables or dicts, and for a text of some length."""
    is_alias = value.startswith(("Callable[", "dict[", "Mapping[", "Sequence[", "tuple[", "list["))
    # A colour of the theme has its name as its value.
    is_colour = value[1:2] == "$"
    is_text = value.startswith(("'", '"')) and len(value) >= SHORTEST + 2 and not is_colour
    return is_alias or is_text


def test_a_type_or_a_text_is_declared_once() -> None:
    homes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, value, module in assigned():
        if shared(value) and name.strip("_"):
            homes[name, value].append(module)
    assert {name: found for (name, _), found in homes.items() if len(found) > 1} == {}


def test_the_test_sees_declarations() -> None:
    values = {name: value for name, value, _ in assigned()}
    assert values["NOT_COMPUTED"] == "'not computed'"
    assert shared(values["ShouldStop"])
    assert not shared("16")
