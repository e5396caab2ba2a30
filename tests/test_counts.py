"""Counts agree with their nouns: no text of ours has "1 layers"."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from adl.words import number_of

ROOT = Path(__file__).parents[1]
#: Where texts are made that a person reads again and again.
ROOMS = ("workbench/tui", "workbench/store", "workbench/report", "workbench/cli")

_COUNT = re.compile(r"len\(|sum\(|\b(n_\w+|count|events|total|steps|tokens|replies|calls|left)$")
_NOUNS = re.compile(
    r" ((?:more|other|top|unrelated|unprompted|model|new|different) )*"
    r"(answers|arrays|branches|calls|characters|documents|events|facts|grades|hypotheses|layers|lines"
    r"|lists|modules|names|operations|prompts|ratios|readings|replies|samples|sessions|sites|steps"
    r"|texts|tokens|turns|words)\b"
)


def counted_by_hand(tree: ast.AST) -> Iterator[str]:
    """The f-strings in which a number is followed by a noun that is always a plural."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            for number, after in zip(node.values, node.values[1:], strict=False):
                if (
                    isinstance(number, ast.FormattedValue)
                    and isinstance(after, ast.Constant)
                    and _COUNT.search(ast.unparse(number.value))
                    and (noun := _NOUNS.match(str(after.value)))
                ):
                    yield f"line {node.lineno}: {{{ast.unparse(number.value)}}}{noun[0]}"


@pytest.mark.parametrize("room", ROOMS)
def test_counts_are_worded_by_number_of(room):
    found = {
        str(path.relative_to(ROOT)): by_hand
        for path in sorted((ROOT / room).rglob("*.py"))
        if (by_hand := list(counted_by_hand(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert found == {}


def test_counts_of_templates_are_worded_by_number_of():
    by_hand = {
        path.name: found
        for path in sorted((ROOT / "workbench").rglob("*.j2"))
        if (found := re.findall(rf"}}}}{_NOUNS.pattern}", path.read_text(encoding="utf-8")))
    }
    assert by_hand == {}


def test_the_check_finds_a_plural_that_is_always_one():
    assert list(counted_by_hand(ast.parse('f"at {len(found)} layers"')))
    assert not list(counted_by_hand(ast.parse("f\"at {number_of(len(found), 'layer')}\"")))


@pytest.mark.parametrize(
    ("noun", "one", "two"),
    [
        ("layer", "1 layer", "2 layers"),
        ("more reply", "1 more reply", "2 more replies"),
        ("hypothesis", "1 hypothesis", "2 hypotheses"),
        ("branch", "1 branch", "2 branches"),
    ],
)
def test_one_and_more(noun, one, two):
    assert number_of(1, noun) == one
    assert number_of(2, noun) == two
    assert number_of(1_200, "event") == "1,200 events"
