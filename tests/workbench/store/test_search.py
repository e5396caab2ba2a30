import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.store.search import fts_query, indexable, unmark


@pytest.fixture(scope="module")
def index() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE VIRTUAL TABLE texts USING fts5(text)")
        connection.execute("INSERT INTO texts VALUES ('cake and NEAR the oven')")
        yield connection


@given(st.text(st.characters(exclude_categories=())) | st.text("\"*^:()-+{}\x00' aANDORNOTEAR"))
def test_no_words_are_a_syntax_error(index: sqlite3.Connection, words: str) -> None:
    query = fts_query(words)
    if query:
        index.execute("SELECT * FROM texts WHERE texts MATCH ?", (query,)).fetchall()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("cake", True),
        ("oven cake", True),
        ("ov", True),
        ('"the oven"', True),
        ('"oven the"', False),
        ('"cak"', False),
        ("NEAR", True),
        ("cake NOT oven", False),
        ("cake*", True),
        ("text:cake", False),
        ("-cake", True),
    ],
)
def test_words_mean_themselves(index: sqlite3.Connection, words: str, found: bool) -> None:
    rows = index.execute("SELECT * FROM texts WHERE texts MATCH ?", (fts_query(words),)).fetchall()
    assert bool(rows) is found


@pytest.mark.parametrize("words", ["", "  ", "***", '""', '"', "\x00\x1b"])
def test_nothing_to_look_for_is_an_empty_query(words: str) -> None:
    assert fts_query(words) == ""


@given(st.text(st.characters(exclude_categories=())))
def test_indexed_text_has_no_control_characters(text: str) -> None:
    clean = indexable(text)
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in clean)
    clean.encode()


def test_marks_become_places() -> None:
    assert unmark("a \x02b\x03 c\x02d\x03") == ("a b cd", ((2, 3), (5, 6)))
    assert unmark("plain") == ("plain", ())
