"""Token pieces as text: the characters of a vocabulary entry, and how to show them.

Decoding a single id hides what matters in a token list: a leading space is dropped by some
tokenizers, and half a character becomes U+FFFD in all of them. Here a piece keeps its space, and
bytes that are no text on their own are written ``<0xE2><0x80>``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

_SPACE_MARK = "\u2581"  # SentencePiece's space
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
_VISIBLE = {" ": "\u00b7", "\n": "\u23ce", "\t": "\u21e5", "\r": "\u240d", "\u00a0": "\u237d"}
_ASCII_VISIBLE = {" ": "_", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\u00a0": "\\xa0"}


@cache
def _byte_of_character() -> Mapping[str, int]:
    """Return the byte of each character of a byte-level BPE vocabulary (GPT-2's table).

    Printable Latin-1 bytes are themselves; the other 68 are U+0100 onwards in order.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(0x100 + index): byte for index, byte in enumerate(others)}


def byte_level_text(piece: str) -> str:
    """The text of a byte-level BPE piece; bytes that are not UTF-8 on their own as ``<0xNN>``."""
    table = _byte_of_character()
    if any(character not in table for character in piece):
        return piece  # added tokens are plain text in the vocabulary
    return bytes_text(bytes(table[character] for character in piece))


def sentencepiece_text(piece: str) -> str:
    """The text of a SentencePiece piece: its space mark as a space, byte pieces as text or bytes."""
    match = _BYTE_PIECE.fullmatch(piece)
    if match:
        return bytes_text(bytes([int(match[1], 16)]))
    return piece.replace(_SPACE_MARK, " ")


def bytes_text(data: bytes) -> str:
    """UTF-8 text of ``data``, with every byte that is no part of a character as ``<0xNN>``."""
    escaped = data.decode("utf-8", errors="surrogateescape")
    return _ESCAPED_BYTE.sub(lambda match: f"<0x{ord(match[0]) - 0xDC00:02X}>", escaped)


def text_at(texts: Sequence[str], index: int) -> str:
    """Return the text of a token in a vocabulary, empty for an id that has none.

    A model may have more rows than tokens, and texts recorded before may hold such a row.
    """
    return texts[index] if index < len(texts) else ""


def visible(text: str, *, ascii_only: bool = False) -> str:
    r"""A token with its white space shown: `·cake`, `⏎`, `⇥` (`_cake`, `\n`, `\t` in ASCII)."""
    marks = _ASCII_VISIBLE if ascii_only else _VISIBLE
    return "".join(marks.get(character, character) for character in text)
