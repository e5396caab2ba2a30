"""A filter on every cell sent to the terminal, whichever widget drew it.

The display boundary is `workbench.display`, where text still has its meaning. This is the net below
it: if a widget skips the boundary, a mark is shown and no escape sequence leaves the program.
"""

from __future__ import annotations

import locale
import os
import re
import unicodedata

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_MARK = "\u00bf"

_ASCII = {
    **dict.fromkeys("─━═╌╍┄┅┈┉╴╶╸╺▔▁", "-"),
    **dict.fromkeys("│┃║╎╏┆┇┊┋╵╷╹╻▏▎▍▌▐▕", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╔╗╚╝╠╣╦╩╬┏┓┗┛┣┫┳┻╋╒╓╕╖╘╙╛╜", "+"),
    **dict.fromkeys("█▉▊▋▇▆▅", "#"),
    **dict.fromkeys("▄▃▀▓", "="),
    **dict.fromkeys("▂░▒", ":"),
    **dict.fromkeys("●◉⬤■◼▪•", "*"),
    **dict.fromkeys("○◯□◻▫", "o"),
    **dict.fromkeys("▶▸►→⇢", ">"),
    **dict.fromkeys("◀◂◄←", "<"),
    **dict.fromkeys("▲▴△↑", "^"),
    **dict.fromkeys("▼▾▽↓", "v"),
    "·": ".",
    "…": "~",
    "–": "-",
    "—": "-",
    "−": "-",
    "×": "x",
    "✓": "y",
    "✗": "x",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "α": "a",
    "Δ": "D",
    "δ": "d",
}
_TABLE = str.maketrans(_ASCII)


class ControlFilter(LineFilter):
    """Replaces every remaining control and bidi character of a cell with a mark."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Filter one line."""
        return [
            segment
            if segment.control or not _CONTROL.search(segment.text)
            else Segment(_CONTROL.sub(_MARK, segment.text), segment.style)
            for segment in segments
        ]


class AsciiFilter(LineFilter):
    """Replaces non-ASCII characters, keeping widths, for terminals without UTF-8."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Filter one line."""
        return [
            segment
            if segment.control or segment.text.isascii()
            else Segment(in_ascii(segment.text), segment.style)
            for segment in segments
        ]


def in_ascii(text: str) -> str:
    """Return ``text`` in ASCII of equal width: look-alikes for frames and marks, else ``?``."""
    shown = "".join(map(_ascii_cell, text.translate(_TABLE)))
    # Characters that are joined into one are narrower, or wider, than they are by themselves.
    width = cell_len(text)
    return shown[:width].ljust(width, "?")


def _ascii_cell(character: str) -> str:
    if character.isascii():
        return character
    cells = cell_len(character)
    base = unicodedata.normalize("NFKD", character)[0]
    return (base if base.isascii() and base.isprintable() else "?").ljust(cells, "?")[:cells]


def speaks_utf8() -> bool:
    """True if the terminal's locale has UTF-8; ``PYTHONUTF8`` and C.UTF-8 count."""
    chosen = next(
        (value for name in ("LC_ALL", "LC_CTYPE", "LANG") if (value := os.environ.get(name))), ""
    )
    if chosen:
        return "utf-8" in chosen.lower() or "utf8" in chosen.lower()
    return locale.getpreferredencoding(False).lower().replace("-", "") == "utf8"
