"""Text such as a hostile model would write: all that drives a terminal, a markup parser or a layout."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

_WORDS = ["cake", "oven", "the", "a", "and", "of", "batter", "plain", "words", "to", "read", "here"]
_ESC, _BEL, _ST = "\x1b", "\x07", "\x1b\\"


def _words(rng: random.Random) -> str:
    return " ".join(rng.choices(_WORDS, k=rng.randint(1, 6)))


def _csi(rng: random.Random) -> str:
    start = rng.choice([_ESC + "[", "\x9b"])
    middle = rng.choice(["", "2", "?25", "31;1", "999;999", "?1049", ">0", "6", "1;1;1;1;1"])
    return start + middle + rng.choice("ABCDHJKLMPSTXcfhlmnqrsux")


def _string(introducers: list[str]) -> Callable[[random.Random], str]:
    def make(rng: random.Random) -> str:
        said = rng.choice(["0;owned", "52;c;aGFja2Vk", "8;;http://evil", "10;?", "q", "$q m", ""])
        end = rng.choice([_BEL, _ST, "\x9c", "", ""])
        return rng.choice(introducers) + said + end

    return make


def _short_escape(rng: random.Random) -> str:
    return _ESC + rng.choice(
        ["c", "7", "8", "D", "E", "M", "Z", "=", ">", "(0", "#8", "%G", "", "N"]
    )


def _control(rng: random.Random) -> str:
    return chr(rng.choice([*range(0x20), *range(0x7F, 0xA0)]))


def _bidi(rng: random.Random) -> str:
    return rng.choice("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


def _invisible(rng: random.Random) -> str:
    return rng.choice("\u200b\u2060\ufeff\u00ad\ufff9\U000e0041\U000e007f\u2028\u2029\u0085")


def _markup(rng: random.Random) -> str:
    return rng.choice(
        [
            "[@click=app.quit]click me[/]",
            "[@click=app.bell()]x[/@click]",
            "[/",
            "[/]",
            "[bold red]",
            "[link=file:///etc/passwd]x[/link]",
            "\\[",
            "[",
            "]]]",
            "[$accent on $error]x",
            "{{ 7 * 7 }}",
            "%s %n {0.__class__}",
            "<script>alert(1)</script>",
            "![x](http://evil/x.png)",
        ]
    )


def _wide(rng: random.Random) -> str:
    return rng.choice(
        ["蛋糕", "🎂", "👩‍🍳", "e\u0301" * 3, "a" + "\u0300" * 40, "\ufe0f", "🇦🇽", "\u0e33"]
    )


def _broken(rng: random.Random) -> str:
    raw = bytes(rng.choices(range(256), k=12))
    return rng.choice(
        [raw.decode("utf-8", "surrogateescape"), raw.decode("latin-1"), "\ud83d", "\udc80"]
    )


def _huge(rng: random.Random) -> str:
    return rng.choice(
        ["x" * 20_000, "蛋" * 5_000, "word " * 4_000, "\t" * 2_000, "\n" * 500, "\r" * 500]
    )


_KINDS: tuple[Callable[[random.Random], str], ...] = (
    _csi,
    _string([_ESC + "]", "\x9d"]),
    _string([_ESC + "P", "\x90"]),
    _string([_ESC + "X", _ESC + "^", _ESC + "_", "\x98", "\x9e", "\x9f"]),
    _short_escape,
    _control,
    _bidi,
    _invisible,
    _markup,
    _wide,
    _broken,
)


def hostile_texts(count: int) -> Iterator[str]:
    """``count`` texts, each of plain words and some of every kind; the same each time."""
    rng = random.Random(0)
    for index in range(count):
        parts = []
        for kind in rng.choices(_KINDS, k=rng.randint(2, 8)):
            parts += [_words(rng), kind(rng)]
        if index % 25 == 0:
            parts.append(_huge(rng))
        yield rng.choice(["", " "]).join(parts)
