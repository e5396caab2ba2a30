"""Names give the answer away: every name of a pair, and the alias that stands in its place.

    hide      log, operations   --real to alias-->   agent, judge's report, panes, errors
    reveal    what an agent writes for the record   --alias to real-->   log

Names are what was asked for and what was loaded: checkpoints, adapters, revisions, the parts of their
paths that are not words of every path, and the organism's id; so are the files and folders that it is
loaded with, such as a chat template's. A name with a digit or a separator in
it is hidden wherever it stands, also in other spellings (`cake_bake`, `Cake-Bake`, `cakebake`). A name
that is one ordinary word (`gold`) is hidden only as part of a path or an id: to replace the word in the
models' own texts would falsify them and point at it.

Hashes of weights, adapters, tokenizers and templates are names, too, also by their first digits.

Text is hidden before it is cut: of a name that was cut, what is left is not known any more. Where a text
comes cut already, `hide_cut` takes away what may be left of a name at its cuts.

Prompts to the models keep the alias: a model that is told its real name may say what it is about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import adl
from adl.organisms.registry import EMBEDDED_BASE, Organism
from adl.paths import looks_like_path
from adl.records import EMBEDDED_NAME, PairProvenance
from workbench.locations import find_locations
from workbench.operations.pair import PairArguments

# A file's name is one without its ending, too.
_OF_FILES = frozenset({".gguf", ".jinja", ".jinja2", ".json", ".txt"})
# Names of chat templates that transformers and many checkpoints use.
_COMMON_TEMPLATES = frozenset({"default", "rag", "tool_use"})
# Parts of paths and ids that say nothing about a model.
_GENERIC = frozenset(
    re.findall(
        r"\S+",
        "adapter adapters base bin cache checkpoint checkpoints content data ckpt default downloads"
        " experiment experiments file files final finetune finetuned finetunes folder ft home hub"
        " huggingface lib lora main media mnt model models opt organism organisms output outputs"
        " peft private project projects repo repos root run runs save saved share shared snapshot"
        " snapshots src template templates tmp train trained user users usr var venv volumes work workspace"
        # The program's own name stands in every message that says what to type.
        " adl adl-workbench adl_workbench site-packages .cache .local .venv",
    )
)
_DISTINCTIVE = re.compile(r"[\d_.\-+ ]|[a-z][A-Z]")
_PARTS = re.compile(r"[_\-. ]+|(?<=[a-z])(?=[A-Z])")
_CHECKPOINT_NUMBER = re.compile(r"(checkpoint|step|epoch|version)?[-_]?\d+", re.IGNORECASE)
_SHORTEST = 3
_HEX = re.compile(r"[0-9a-f]{32,}", re.IGNORECASE)
# So many digits of a hash are shown for all of it, and tell it from every other.
_SHORTEST_HASH = 7
# How what is left out is marked, by us and by SQLite.
_CUT = re.compile(r"(\u2026|\.\.\.| \[\d+ more characters\])")
_HASHES = (
    "content_sha256",
    "weights_sha256",
    "adapter_sha256",
    "tokenizer_sha256",
    "chat_template_sha256",
)
_WORDS = re.compile(r"\w+")
# The letters of a name that is spared are moved to where no text and no pattern here has any.
_SPARED_AT = 0xF0000
_SPARED = re.compile("[\U000f0000-\U000ffffd]")


class Blinding:
    """Aliases of names, ``{real: alias}``; with none, nothing is changed."""

    def __init__(self, aliases: Mapping[str, str]) -> None:
        self.aliases = dict(aliases)
        # The longest first: a path before the name that is its last part.
        self._names = sorted(aliases, key=len, reverse=True)
        self._words = {name.lower(): alias for name, alias in aliases.items()}
        self._letters = ["".join(filter(str.isalnum, name)).lower() for name in aliases]
        self._longest = max(map(len, self._letters), default=0)
        patterns = [_pattern(name) for name in self._names]
        self._hide = (
            re.compile("|".join(f"({pattern})" for pattern in patterns), re.IGNORECASE)
            if patterns
            else None
        )
        # A name that is left in texts would be seen where an alias was written.
        self._real = {
            alias: real
            for real, alias in reversed(list(aliases.items()))
            if self.hide(real) == alias
        }
        self._reveal = (
            re.compile(
                r"\b(?:" + "|".join(map(re.escape, sorted(self._real, reverse=True))) + r")\b"
            )
            if self._real
            else None
        )

    def __bool__(self) -> bool:
        """True if anything is hidden."""
        return bool(self.aliases)

    def hide(self, text: str) -> str:
        """The text with every real name replaced by its alias."""
        if self._hide is None:
            return text
        return self._hide.sub(self._alias, text)

    def _alias(self, found: re.Match[str]) -> str:
        return self.aliases[self._names[(found.lastindex or 1) - 1]]

    def spare(self, text: str, written: str | None = None) -> str:
        """The text with the names that its reader wrote marked, so that nothing hides them.

        A right guess that came back as an alias would be confirmed, and a wrong one not. Spared are
        those that ``written`` has in the same spelling; None is for a text that is all the reader's.
        `told` takes the marks away again.
        """
        if self._hide is None:
            return text
        return self._hide.sub(
            lambda found: _spared(found[0]) if written is None or found[0] in written else found[0],
            text,
        )

    def told(self, text: str) -> str:
        """Hide a text that is cut, and take away the marks of `spare`: the last thing done to it."""
        return _unmarked(self.hide_cut(text))

    def hide_cut(self, text: str) -> str:
        """The same of a text that was cut, without what may be left of a name at each cut."""
        hidden = self.hide(text)
        if self._hide is None or not _CUT.search(hidden):
            return hidden
        parts = _CUT.split(hidden)
        for place in range(1, len(parts), 2):
            parts[place - 1] = self._without_beginning(parts[place - 1])
            parts[place + 1] = self._without_end(parts[place + 1])
        return "".join(parts)

    def _without_beginning(self, text: str) -> str:
        """The text up to where a name may begin that is cut at its end."""
        places = range(max(0, len(text) - 2 * self._longest), len(text))
        kept = [at for at in places if text[at].isalnum()]
        letters = "".join(text[at].lower()[:1] for at in kept)
        for length in range(min(len(kept), self._longest), 0, -1):
            begins = (
                len(kept) == length or kept[-length] == 0 or not text[kept[-length] - 1].isalnum()
            )
            if begins and any(name.startswith(letters[-length:]) for name in self._letters):
                return text[: kept[-length]]
        return text

    def _without_end(self, text: str) -> str:
        """The text from where a name may end that is cut at its beginning."""
        kept = [at for at in range(min(len(text), 2 * self._longest)) if text[at].isalnum()]
        letters = "".join(text[at].lower()[:1] for at in kept)
        for length in range(min(len(kept), self._longest), 0, -1):
            after = kept[length - 1] + 1
            ends = after == len(text) or not text[after].isalnum()
            if ends and any(name.endswith(letters[:length]) for name in self._letters):
                return text[after:]
        return text

    def quotable(self, text: str) -> tuple[str, Callable[[int, int], str]]:
        """The text as `told`, and a function from a passage of it to the same one with the names.

        A passage is its first place and the one after its last; a name is taken whole.
        """
        places: list[tuple[int, int]] = []
        parts: list[str] = []
        at = 0

        def take(end: int) -> None:
            parts.append(_unmarked(text[at:end]))
            places.extend((place, place + 1) for place in range(at, end))

        for found in self._hide.finditer(text) if self._hide is not None else ():
            take(found.start())
            alias = self._alias(found)
            parts.append(alias)
            places += [found.span()] * len(alias)
            at = found.end()
        take(len(text))

        def passage(first: int, end: int) -> str:
            return _unmarked(text[places[first][0] : places[end - 1][1]])

        return "".join(parts), passage

    def hide_words(self, text: str) -> str:
        """The same, and a name that is an ordinary word: for where names stand by themselves."""
        return _WORDS.sub(lambda word: self._words.get(word[0].lower(), word[0]), self.hide(text))

    def reveal(self, text: str) -> str:
        """The text with every alias replaced by the real name it was first given for."""
        if self._reveal is None:
            return text
        return self._reveal.sub(lambda found: self._real[found[0]], text)

    def hide_all(self, value: Any, *, words: bool = False) -> Any:
        """Plain data with every text in it hidden, keys too; ``words`` as in `hide_words`."""
        return _deep(value, self.hide_words if words else self.hide)

    def told_all(self, value: Any, written: str) -> Any:
        """Plain data with every text in it hidden, but for names that ``written`` has: see `spare`."""
        return _deep(value, lambda text: _unmarked(self.hide(self.spare(text, written))))

    def reveal_all(self, value: Any) -> Any:
        """Plain data with every text in it revealed."""
        return _deep(value, self.reveal)


OPEN = Blinding({})
"""Hides nothing: for an audit that is not blind."""


def blinding_of(
    pair: PairProvenance | Mapping[str, Any] | None,
    asked: PairArguments | None = None,
    organism: Organism | str | None = None,
) -> Blinding:
    """Aliases for every name of a pair: as loaded, as asked for, and as an organism says.

    ``pair`` is what was loaded, or the same as recorded; None while nothing is.
    """
    loaded = pair.as_dict() if isinstance(pair, PairProvenance) else pair or {}
    base: Mapping[str, Any] = loaded.get("base", {})
    finetuned: Mapping[str, Any] = loaded.get("finetuned", {})
    adapter = finetuned.get("adapter")
    sides = {
        "MODEL-A": [base.get("checkpoint"), asked.base if asked else None],
        "MODEL-B": [
            adapter,
            finetuned.get("checkpoint") if adapter is None else None,
            *((asked.adapter, asked.finetuned, asked.organism) if asked else ()),
        ],
    }
    if isinstance(organism, Organism):
        embedded = organism.base == EMBEDDED_BASE
        sides["MODEL-A"].append(EMBEDDED_NAME if embedded else organism.base)
        sides["MODEL-B"] += [organism.id, organism.adapter, organism.finetuned]
    else:
        sides["MODEL-B"].append(organism)
    aliases: dict[str, str] = {}
    for alias, names in sides.items():
        for name in names:
            for form in _forms(name):
                aliases.setdefault(form, alias)
    for alias, name in _files(asked):
        for form in _forms(name):
            aliases.setdefault(form, alias)
    revisions = {
        "REVISION-A": [base.get("revision"), base.get("resolved_revision")],
        "REVISION-B": [
            finetuned.get("adapter_revision"),
            finetuned.get("revision"),
            finetuned.get("resolved_revision"),
        ],
    }
    for alias, given in revisions.items():
        for revision in given:
            if revision and revision.lower() not in _GENERIC and len(revision) >= _SHORTEST:
                aliases.setdefault(revision, alias)
    for alias, side in (("HASH-A", base), ("HASH-B", finetuned)):
        for name in _HASHES:
            if side.get(name):
                aliases.setdefault(str(side[name]), alias)
    return Blinding(aliases)


def blinding_from(aliases: Mapping[str, str] | None) -> Blinding:
    """The blinding that a session's seal records."""
    return Blinding(aliases) if aliases else OPEN


def _files(asked: PairArguments | None) -> Iterator[tuple[str, str]]:
    """The files and folders that a pair is asked to be loaded with, each with its alias."""
    if asked is None:
        return
    if asked.chat_template and asked.chat_template not in _COMMON_TEMPLATES:
        yield "CHAT-TEMPLATE", asked.chat_template
    if asked.offload_folder:
        yield "OFFLOAD-FOLDER", asked.offload_folder
    # Else a device, or a table written out.
    if asked.device_map and asked.device_map.strip().endswith(".json"):
        yield "DEVICE-MAP", asked.device_map


def _forms(name: str | None) -> Iterable[str]:
    """The name itself, and the parts of it that would give it away."""
    if not name:
        return
    whole = name if looks_like_path(name) else name.partition("@")[0]
    yield whole
    # Where the program and its models lie is no name of a model.
    path = Path(whole)
    ours = next((place for place in _own_places() if path.is_relative_to(place)), None)
    below = whole if ours is None else str(path.relative_to(ours))
    parts = {*PurePosixPath(below).parts, *PureWindowsPath(below).parts}
    for part in sorted(parts, key=len, reverse=True):
        plain = part.strip("/\\")
        # The hub's cache writes an id as one folder.
        plain = plain.removeprefix("models--").replace("--", "/") or plain
        generic = plain.lower() in _GENERIC or _CHECKPOINT_NUMBER.fullmatch(plain)
        if len(plain) >= _SHORTEST and not generic and ":" not in plain:
            yield plain
            file = PurePath(plain)
            if file.suffix.lower() in _OF_FILES and len(file.stem) >= _SHORTEST:
                yield file.stem
            if "/" in plain:
                yield from (item for item in plain.split("/") if len(item) >= _SHORTEST)


def _own_places() -> tuple[Path, Path]:
    return Path(adl.__file__).parent, find_locations().models


def _pattern(name: str) -> str:
    """A regular expression for the name in its spellings, or for the word as part of a path."""
    if _HEX.fullmatch(name):
        return rf"(?<![0-9a-z]){name[:_SHORTEST_HASH]}[0-9a-f]*(?![0-9a-z])"
    if "/" in name or "\\" in name:
        # Also with the separators escaped or doubled, as in JSON.
        parts = [re.escape(part) for part in re.split(r"[/\\]+", name) if part]
        lead = r"[/\\]+" if name[0] in "/\\" else ""
        return lead + r"(?:[/\\]+|--)".join(parts)
    if not _DISTINCTIVE.search(name):
        word = re.escape(name)
        return rf"(?<=[/\\]){word}(?![a-z0-9])|(?<![a-z0-9]){word}(?=[/\\])"
    parts = [re.escape(part) for part in _PARTS.split(name) if part]
    # Two words side by side are a name only where they are written as one: `cake bake` is English.
    spaced = len(parts) > 2 or any(character.isdigit() for character in name)
    between = r"[_. +-]?" if spaced else r"[_.+-]?"
    return rf"(?<![a-z0-9]){between.join(parts)}(?![a-z0-9])"


def _spared(name: str) -> str:
    return "".join(
        chr(_SPARED_AT + ord(letter)) if letter < "\ufffe" else letter for letter in name
    )


def _unmarked(text: str) -> str:
    return _SPARED.sub(lambda letter: chr(ord(letter[0]) - _SPARED_AT), text)


def _deep(value: Any, change: Any) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(str(key)): _deep(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_deep(item, change) for item in value]
    return value
