import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.store.search import Query, found_in, indexable, unmark


@pytest.fixture(scope="module")
def index() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE VIRTUAL TABLE texts USING fts5(text)")
        connection.execute("INSERT INTO texts VALUES ('cake and NEAR the oven')")
        yield connection


@given(st.text(st.characters(exclude_categories=())) | st.text("\"*^:()-+{}\x00' aANDORNOTEAR"))
def test_no_words_are_a_syntax_error(index: sqlite3.Connection, words: str) -> None:
    query = Query.read(words)
    if query:
        condition, sought = query.condition("texts")
        index.execute(f"SELECT * FROM texts WHERE {condition}", sought).fetchall()


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
    condition, sought = Query.read(words).condition("texts")
    rows = index.execute(f"SELECT * FROM texts WHERE {condition}", sought).fetchall()
    assert bool(rows) is found


@pytest.mark.parametrize(
    ("text", "words", "found"),
    [
        ("你好,世界。", "好", ["好"]),
        ("你好,世界。你好", "世界 你", ["你", "世界", "你"]),
        ("你好,世界。", "好?", ["好"]),
        ("你好,世界。", '"好,世"', ["好,世"]),
        ("ケーキを焼く", "焼", ["焼"]),
        ("สวัสดีครับ", "ครับ", ["ครับ"]),
        ("用 GPT 写的AI研究", "ai研 gp", ["AI研"]),
        ("50%的_人", "0%的_人", ["0%的_人"]),
        ("50%的_人", "%人", ["人"]),
        ("你好,世界。", "坏", None),
        ("你好,世界。", "好 cake", None),
        ("50%的人", "的_", ["的"]),
        ("50%的人", "5_的", None),
    ],
)
def test_words_of_scripts_without_spaces_are_found_within_a_text(
    text: str, words: str, found: list[str] | None
) -> None:
    hit = found_in(text, words)
    assert (None if hit is None else [hit[0][start:end] for start, end in hit[1]]) == found


def test_the_excerpt_of_a_long_text_is_around_its_match() -> None:
    excerpt, marks = found_in("天" * 1000 + "好" + "地" * 1000, "好")
    assert [excerpt[start:end] for start, end in marks] == ["好"]
    assert (excerpt[0], excerpt[-1]) == ("…", "…")
    assert len(excerpt) < 200


@pytest.mark.parametrize("words", ["", "  ", "***", '""', '"', "\x00\x1b"])
def test_nothing_to_look_for_is_an_empty_query(words: str) -> None:
    assert not Query.read(words)


@given(st.text(st.characters(exclude_categories=())))
def test_indexed_text_has_no_control_characters(text: str) -> None:
    clean = indexable(text)
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in clean)
    clean.encode()


def test_marks_become_places() -> None:
    assert unmark("a \x02b\x03 c\x02d\x03") == ("a b cd", ((2, 3), (5, 6)))
    assert unmark("plain") == ("plain", ())
