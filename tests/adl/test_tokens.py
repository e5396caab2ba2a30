"""Vocabulary pieces as text: nothing lost, nothing invented."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from adl.text.tokens import byte_level_text, bytes_text, sentencepiece_text, visible

written = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def byte_level(text: str) -> str:
    """As the tokenizers library writes a text in a byte-level vocabulary."""
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return "".join(piece for piece, _ in split.pre_tokenize_str(text))


@given(written)
def test_byte_level_pieces_are_read_as_they_were_written(text):
    assert byte_level_text(byte_level(text)) == text


def test_every_byte_has_its_character():
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    assert len({byte_level_text(character) for character in alphabet}) == 256


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        ("Ġcake", " cake"),
        ("ĠĠ", "  "),
        ("Ċ", "\n"),
        ("ĉ", "\t"),
        ("Ã©", "é"),
        ("Ã", "<0xC3>"),
        ("âĢ", "<0xE2><0x80>"),
        ("©x", "<0xA9>x"),
        ("<|im_end|>", "<|im_end|>"),
        ("日本", "日本"),
        ("", ""),
    ],
)
def test_byte_level(piece, expected):
    assert byte_level_text(piece) == expected


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        ("▁the", " the"),
        ("▁▁", "  "),
        ("ing", "ing"),
        ("<0x0A>", "\n"),
        ("<0x41>", "A"),
        ("<0xe2>", "<0xE2>"),
        ("<0xE2>x", "<0xE2>x"),
        ("<s>", "<s>"),
        ("é", "é"),
    ],
)
def test_sentencepiece(piece, expected):
    assert sentencepiece_text(piece) == expected


@given(written)
def test_whole_characters_stay(text):
    assert bytes_text(text.encode()) == text


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xf0\x9f", "<0xF0><0x9F>"),
        (b"a\x80b", "a<0x80>b"),
        ("é".encode() + b"\xc3", "é<0xC3>"),
        (b"\xed\xa0\x80", "<0xED><0xA0><0x80>"),
    ],
)
def test_bytes_that_are_no_text(data, expected):
    assert bytes_text(data) == expected


@pytest.mark.parametrize(
    ("text", "shown", "ascii_shown"),
    [
        (" cake", "·cake", "_cake"),
        ("\n\n", "⏎⏎", "\\n\\n"),
        ("\t", "⇥", "\\t"),
        ("\r\n", "␍⏎", "\\r\\n"),
        ("\u00a0", "⍽", "\\xa0"),
        ("cake", "cake", "cake"),
    ],
)
def test_visible(text, shown, ascii_shown):
    assert visible(text) == shown
    assert visible(text, ascii_only=True) == ascii_shown
