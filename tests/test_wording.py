"""Plain words: no docstring opens with a question word, and wordings that were replaced stay away."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Wordings that have plainer ones: "A ShouldStop that never stops", "must be a whole number".
REPLACED = (
    "Whether nothing more will come of it",
    "if it is one of ours; whether it was",
    "The stop flag of work that nobody can stop",
    "Given, then environment, then file",
    "of whatever folder one happens to be in",
    "which is where one can steer, by setting",
    "brought up and nobody followed",
    "nobody followed up",
    "is no whole number",
    "this has to be given",
    "does not do: give",
    "Say the version",
    "Who you are.",
    "Of texts, directions and samples",
    "once more to stop at once",
    " ? asks you ",
    "Escape leave, kept",
    "This is a fault of the program",
)
_JOIN = re.compile(r"\"\s+f?\"")
_RIDDLE = re.compile(r"(What|How|Where|Who|Why|Whether)\b")
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def modules() -> list[Path]:
    return [path for room in ("adl", "workbench") for path in sorted((ROOT / room).rglob("*.py"))]


def replaced_in(text: str) -> list[str]:
    """The replaced wordings in a text, also where a literal or a line breaks them."""
    plain = " ".join(_JOIN.sub("", text).split()).lower()
    return [phrase for phrase in REPLACED if phrase.lower() in plain]


def riddles_of(source: str) -> Iterator[str]:
    """The docstrings of a module that open with a question word."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _DOCUMENTED) and _RIDDLE.match(said := ast.get_docstring(node) or ""):
            yield said


def test_replaced_wordings_are_nowhere() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    found = {
        str(path.relative_to(ROOT)): phrases
        for path in (*modules(), *pages)
        if (phrases := replaced_in(path.read_text("utf-8")))
    }
    assert found == {}


def test_docstrings_open_with_a_noun_or_a_verb() -> None:
    found = {
        str(path.relative_to(ROOT)): riddles
        for path in modules()
        if (riddles := list(riddles_of(path.read_text("utf-8"))))
    }
    assert found == {}


@pytest.mark.parametrize(
    "text", ["say(\n    'x is no whole\n  number')", 'f"This is a fault "\n    f"of the program."']
)
def test_a_broken_wording_is_found(text: str) -> None:
    assert replaced_in(text)


def test_a_riddle_is_found() -> None:
    assert list(riddles_of('def f():\n    """What a thing is."""')) == ["What a thing is."]
