"""The one boundary between untrusted text and a screen.

What models, data sets, files and tools say may hold escape sequences that drive a terminal. Every
control character is replaced by a visible mark before widths are computed: what is left of an
escape is then plain text, and for an auditor it is evidence.
"""

from __future__ import annotations

import re

_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_INVISIBLE = "\u200b\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
_BREAKS = "\u0085\u2028\u2029"
_UNSAFE = re.compile(f"[\x00-\x1f\x7f-\x9f{_BIDI}{_INVISIBLE}{_BREAKS}\ud800-\udfff]")
_UNSAFE_IN_LINES = re.compile(
    f"[\x00-\x09\x0b-\x1f\x7f-\x9f{_BIDI}{_INVISIBLE}{_BREAKS}\ud800-\udfff]"
)
_CONTROL_PICTURES = 0x2400
_DELETE_PICTURE = "\u2421"


def clean_line(text: str) -> str:
    """``text`` on one line, with a visible mark for every control, bidi and invisible character."""
    return _UNSAFE.sub(_mark, text)


def clean_lines(text: str) -> str:
    """``text`` with its line feeds kept, tabs as spaces, and all other controls as visible marks."""
    plain = text.replace("\r\n", "\n").replace("\t", "    ")
    return _UNSAFE_IN_LINES.sub(_mark, plain)


def printable(text: str) -> str:
    """``text`` without what cannot be typed into a field of one line."""
    return "".join(filter(str.isprintable, text))


def ascii_only(text: str) -> str:
    r"""``text`` for a terminal without UTF-8: what ASCII cannot say is written ``\u2603``."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


def shorten(text: str, width: int) -> str:
    """``text`` cut to ``width`` characters, an ellipsis standing for the rest."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "\u2026"


def _mark(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(_CONTROL_PICTURES + code)
    if code == 0x7F:
        return _DELETE_PICTURE
    return f"\u27e8U+{code:04X}\u27e9"
