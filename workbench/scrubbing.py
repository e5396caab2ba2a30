"""Keys out of texts, in every spelling: where events are stored, and where streams are shown.

    protect(key)         from settings, as soon as they are read
    scrub(text)          the text with "[key]" for every key in it
    Held.feed(piece)     the same for a stream, which keeps back what may be a key's beginning

Texts and keys are compared by their letters and digits alone, in lower case, with escapes of JSON, URLs,
HTML and quoted-printable undone, however often they were put on each other. So a key is found as well
with its characters apart, over several lines, or in capitals. Base64 (at each of its three offsets),
base32, hexadecimal and the key from its end are looked for in the same way. A part of a key of 16
letters and digits is hidden like the whole of it.
"""

from __future__ import annotations

import base64
import html
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

KEY = "[key]"
#: A shorter one is no secret: `none`, `ollama` and the like would be words of models' texts, too.
SHORTEST = 8
# Of a key, in letters and digits: so much of it is hidden wherever it stands.
_FRAGMENT = 16
_SEED = 8
# Rounds of undoing escapes that were put on each other.
_ROUNDS = 4
_ESCAPE = re.compile(
    r"\\+u(?:\{([0-9a-f]{1,6})\}|([0-9a-f]{4}))"  # \u0073, \\u0073, \u{73}
    r"|\\+x([0-9a-f]{2})"
    r"|%([0-9a-f]{2})"
    r"|&\#0*([0-9]{1,7});?|&\#x0*([0-9a-f]{1,6});?|(&[a-z]{2,8};)"
    r"|=([0-9a-f]{2})"
    r"|\\+([nrtbfv])",
    re.IGNORECASE,
)
_NO_LETTERS = re.compile(r"[\W_]+")
# What may become an escape once more of it comes.
_BEGUN = re.compile(r"[\\%&=][\w\\%&#;{=]{0,15}\Z")
_ENVIRONMENT = re.compile(r"(?:API_KEY|TOKEN|SECRET|PASSWORD|ACCESS_KEY)\Z", re.IGNORECASE)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
# Of the environment, where a name may mean something else: longer than a switch or a number.
_SHORTEST_NAMED = 16


class Scrubber:
    """Finds the keys it is made for."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._forms: dict[str, int] = {}
        for key in keys:
            self._add(key)
        self._seeds = tuple(
            dict.fromkeys(
                form[start : start + _SEED] if whole == _FRAGMENT else form
                for form, whole in self._forms.items()
                for start in (
                    range(0, len(form) - _SEED + 1, _SEED) if whole == _FRAGMENT else (0,)
                )
            )
        )
        self._places = _places(self._forms)
        self._all = "\n".join(self._forms)

    def __bool__(self) -> bool:
        """True if there is anything to find."""
        return bool(self._forms)

    def _add(self, key: str) -> None:
        plain = _letters(key)
        if len(plain) < SHORTEST:
            return
        data = key.encode()
        spelled = [key, key[::-1], data.hex(), *_base64(data), *_base32(data)]
        spelled += _base64(base64.b64encode(data))
        for one in spelled:
            form = _letters(one)
            if len(form) >= SHORTEST:
                self._forms[form] = (
                    min(_FRAGMENT, len(form)) if len(plain) >= _FRAGMENT else len(form)
                )

    def finds(self, text: str) -> bool:
        """True if a key is in the text, however it is spelled."""
        return bool(self._spans(text))

    def _may_find(self, text: str) -> bool:
        """True if a seed is in it; almost no text has one, and to see that takes little time."""
        for _ in range(_ROUNDS):
            letters = _NO_LETTERS.sub("", text).lower()
            if any(seed in letters for seed in self._seeds):
                return True
            text, changed = _ESCAPE.subn(_undone, text)
            if not changed:
                return False
        return False

    def scrub(self, text: str) -> str:
        """The text without keys."""
        spans = self._spans(text)
        for start, end in reversed(spans):
            text = text[:start] + KEY + text[end:]
        return text

    def scrub_all(self, value: Any) -> Any:
        """Plain data with every text in it scrubbed, keys of mappings too."""
        if isinstance(value, str):
            return self.scrub(value)
        if isinstance(value, Mapping):
            return {self.scrub_all(key): self.scrub_all(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.scrub_all(item) for item in value]
        return value

    def held_from(self, text: str) -> int:
        """Return the index at which the start of a possible key begins at the end of the text."""
        begun = _BEGUN.search(text)
        held = begun.start() if begun else len(text)
        for letters, starts, _ends in _readings(text[:held]):
            length = 0
            while length < len(letters) and letters[-length - 1 :] in self._all:
                length += 1
            if length:
                held = min(held, starts[-length])
        # Not within a key that is there already: its last letters may begin something else.
        return next((end for start, end in self._spans(text) if start < held < end), held)

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """Return the spans of keys in the text, in order and without overlap."""
        if not self._forms or len(text) < SHORTEST or not self._may_find(text):
            return []
        found: list[tuple[int, int]] = []
        for letters, starts, ends in _readings(text):
            found += [(starts[first], ends[last - 1]) for first, last in self._in(letters)]
        spans: list[tuple[int, int]] = []
        for start, end in sorted(found):
            if spans and start <= spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((start, end))
        return spans

    def _in(self, letters: str) -> Iterator[tuple[int, int]]:
        for seed in self._seeds:
            at = letters.find(seed)
            while at >= 0:
                for form, place in self._places[seed]:
                    first, last = _grown(letters, at, form, place, len(seed))
                    if last - first >= self._forms[form]:
                        yield first, last
                at = letters.find(seed, at + 1)


class Held:
    """A stream of text without keys; what may be the beginning of one is kept back."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._rest = ""

    def feed(self, piece: str) -> str:
        """Take a piece; returns what can be shown by now."""
        self._rest += piece
        at = self._scrubber.held_from(self._rest) if self._scrubber else len(self._rest)
        shown, self._rest = self._rest[:at], self._rest[at:]
        return self._scrubber.scrub(shown)


# --- the keys of this process -------------------------------------------------------------------

_protected: dict[str, None] = {}
_lock = threading.Lock()


def protect(*keys: str | None) -> None:
    """Keep these out of everything that is stored or shown from here on."""
    with _lock:
        _protected.update(dict.fromkeys(key for key in keys if key))


def scrubber() -> Scrubber:
    """Return a scrubber of the keys of this process: those protected, and those of its environment."""
    with _lock:
        return _scrubber_of((*_protected, *_environment()))


def scrub(text: str) -> str:
    """The text without any key of this process."""
    return scrubber().scrub(text)


@lru_cache(maxsize=8)
def _scrubber_of(keys: tuple[str, ...]) -> Scrubber:
    return Scrubber(keys)


def _environment() -> Iterator[str]:
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_NAMED and _ENVIRONMENT.search(name):
            yield value
        elif name.upper() in _PROXIES and "@" in value:
            yield urlsplit(value).password or ""
    token = _token_file()
    if token:
        yield token


def _token_file() -> str:
    """The token that `hf auth login` stored."""
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    path = Path(os.environ.get("HF_TOKEN_PATH") or Path(home) / "token").expanduser()
    try:
        changed = path.stat().st_mtime_ns
    except (OSError, ValueError):
        return ""
    return _token_in(path, changed)


@lru_cache(maxsize=4)
def _token_in(path: Path, _changed: int) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:4_096].strip()
    except OSError:
        return ""


# --- letters and where they stand ---------------------------------------------------------------


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).lower()


def _readings(text: str) -> Iterator[tuple[str, list[int], list[int]]]:
    """The letters of a text, and of what is left when escapes are undone, round by round.

    Each with the start and the end of every letter in ``text``.
    """
    starts, ends = list(range(len(text))), list(range(1, len(text) + 1))
    for _ in range(_ROUNDS):
        kept = [at for at, character in enumerate(text) if character.isalnum()]
        # Lowering may change how many characters there are.
        letters = "".join(text[at].lower()[:1] for at in kept)
        yield letters, [starts[at] for at in kept], [ends[at] for at in kept]
        pieces: list[str] = []
        new_starts: list[int] = []
        new_ends: list[int] = []
        done = 0
        for found in _ESCAPE.finditer(text):
            pieces.append(text[done : found.start()])
            new_starts += starts[done : found.start()]
            new_ends += ends[done : found.start()]
            character = _undone(found)
            pieces.append(character)
            new_starts += [starts[found.start()]] * len(character)
            new_ends += [ends[found.end() - 1]] * len(character)
            done = found.end()
        if not done:
            return
        pieces.append(text[done:])
        text = "".join(pieces)
        starts, ends = new_starts + starts[done:], new_ends + ends[done:]


def _undone(escape: re.Match[str]) -> str:
    braced, unicode, byte, percent, decimal, hexadecimal, named, quoted, control = escape.groups()
    if named:
        return html.unescape(named)
    if control:
        return "\n"
    digits = braced or unicode or byte or percent or hexadecimal or quoted
    code = int(decimal) if decimal else int(digits, 16)
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"


def _grown(letters: str, at: int, form: str, place: int, length: int) -> tuple[int, int]:
    """The longest part of ``form`` around a seed of it, as (first, last) in ``letters``."""
    first, last = at, at + length
    before, after = place, place + length
    while first > 0 and before > 0 and letters[first - 1] == form[before - 1]:
        first, before = first - 1, before - 1
    while last < len(letters) and after < len(form) and letters[last] == form[after]:
        last, after = last + 1, after + 1
    return first, last


def _places(forms: Mapping[str, int]) -> dict[str, list[tuple[str, int]]]:
    """Return the places of each seed in the forms."""
    places: dict[str, list[tuple[str, int]]] = {}
    for form, whole in forms.items():
        if whole < _FRAGMENT:
            places.setdefault(form, []).append((form, 0))
            continue
        for start in range(0, len(form) - _SEED + 1, _SEED):
            places.setdefault(form[start : start + _SEED], []).append((form, start))
    return places


def _base64(data: bytes) -> Iterator[str]:
    """Return the invariant part of the data in base64, at each offset within other data."""
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + data).decode().rstrip("=")
        first = -(-offset * 8 // 6)
        last = (offset + len(data)) * 8 // 6
        yield coded[first:last]


def _base32(data: bytes) -> Iterator[str]:
    for offset in range(5):
        coded = base64.b32encode(b"\0" * offset + data).decode().rstrip("=")
        yield coded[-(-offset * 8 // 5) : (offset + len(data)) * 8 // 5]
