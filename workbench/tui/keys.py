"""The keys in use: bindings from the table, other keys by ``config.toml``, and keys in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Final

from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.keys import _character_to_key, format_key

from workbench.display import shorten
from workbench.settings import EXAMPLE_KEYS, SettingsError
from workbench.tui.key_table import BY_ID, PLACES, SURFACES, TABLE, Key

OURS = "workbench."

#: Keys of the library and the app that no idea can have.
_TAKEN: Final = {
    "shift+tab": "previous field",
    "ctrl+q": "quit",
    "ctrl+c": "copy",
    "ctrl+p": "commands",
    "tab": "next field",
}


def bindings(place: str) -> list[BindingType]:
    """Bindings of one place, in the order of the table."""
    return [
        Binding(
            key.keys,
            use.action,
            use.title,
            show=use.show,
            priority=use.priority,
            tooltip=use.tooltip,
            id=key.id,
        )
        for key in TABLE
        for use in key.uses
        if use.place == place
    ]


# --- other keys, by config.toml -------------------------------------------------------------------


def remapped(given: Mapping[str, object]) -> dict[str, str]:
    """Keys by id as ``[keys]`` of the settings gives them, as Textual's keymap takes them.

    Raises ``SettingsError`` for an id that does not exist, a key that no terminal sends, and a key
    that two ideas would have in one place.
    """
    changed = {id_: ",".join(_key_names(id_, value)) for id_, value in given.items()}
    for surface in SURFACES:
        holders: dict[str, str] = {key: f"kept for {idea!r}" for key, idea in _TAKEN.items()}
        for key in TABLE:
            if any(use.place in surface for use in key.uses):
                for name in changed.get(key.id, key.keys).split(","):
                    holder = holders.setdefault(name, f"the key of {key.id!r}")
                    if holder != f"the key of {key.id!r}":
                        raise SettingsError(
                            f"[keys]: {shown_key(name)!r} cannot be {key.id!r}: it is {holder}",
                            "Give one of the two another key in config.toml.",
                        )
    return changed


def _key_names(id_: str, value: object) -> list[str]:
    if id_ not in BY_ID:
        close = get_close_matches(id_, BY_ID, n=1)
        meant = f"Did you mean {close[0]}? " if close else ""
        raise SettingsError(
            f"[keys] has {shorten(id_, 60)!r}, which is not the id of a key",
            f"{meant}docs/keys.md lists the ids.",
        )
    listed = value if isinstance(value, list) else [value]
    names = [_key_name(key) for key in listed if isinstance(key, str)]
    if not names or len(names) < len(listed) or None in names:
        raise SettingsError(
            f"[keys]: {id_} = {shorten(repr(value), 60)} is not a key or a list of keys",
            'Write keys as "y", "?", "f9", "ctrl+t" or ["y", "f9"].',
        )
    return [name for name in names if name is not None]


_NAMED = {
    "enter", "escape", "space", "delete", "backspace", "insert", "home", "end", "pageup", "pagedown",
    "up", "down", "left", "right", "tab", *(f"f{number}" for number in range(1, 25)),
}  # fmt: skip
_KEY = re.compile(r"((?:ctrl\+|shift\+|alt\+)*)(.+)", re.DOTALL)


def _key_name(written: str) -> str | None:
    """A key as Textual names it; None if there is no such key."""
    if len(written) == 1:
        return _character_to_key(written) if written.isprintable() and written != " " else None
    modifiers, rest = _matched(written)
    named = rest in _NAMED or (len(rest) == 1 and rest.isalnum() and bool(modifiers))
    return f"{modifiers}{rest}" if named else None


def _matched(written: str) -> tuple[str, str]:
    found = _KEY.fullmatch(written)
    return (found[1], found[2]) if found else ("", "")


#: Keys that the user gave, by id; there is one user and one terminal to a process.
_chosen: dict[str, str] = {}


def choose(given: Mapping[str, object]) -> dict[str, str]:
    """Use the keys of ``[keys]`` from here on; returns Textual's keymap. Raises as `remapped`."""
    changed = remapped(given)
    _chosen.clear()
    _chosen.update(changed)
    return changed


def shown(id_: str) -> str:
    """The first key of an idea as the screen names it, such as ``s``, ``?`` or ``^r``."""
    return shown_key(_chosen.get(id_, BY_ID[id_].keys).split(",")[0])


def with_keys(text: str) -> str:
    """Text with each ``{id}`` replaced by the key of that id."""
    return re.sub(r"\{(\w+)\}", lambda found: shown(found[1]), text)


def shown_key(name: str) -> str:
    """A key as the bottom line shows it."""
    modifiers, _, rest = name.rpartition("+")
    shown = format_key(rest)
    return ("^" if modifiers == "ctrl" else f"{modifiers}+" if modifiers else "") + shown


# --- whose keys are ours --------------------------------------------------------------------------


def own_bindings(node: DOMNode) -> Iterator[Binding]:
    """Bindings that our own classes give to a node, those of the nearest class first."""
    for kind in type(node).__mro__:
        if kind.__module__.startswith(OURS):
            declared: Iterable[object] = kind.__dict__.get("BINDINGS", ())
            for binding in declared:
                if isinstance(binding, Binding):
                    keys = _chosen.get(binding.id or "", binding.key)
                    yield from Binding.make_bindings([binding.with_key(keys, binding.key_display)])


def is_own(node: DOMNode, binding: Binding) -> bool:
    """True if the binding is ours, rather than of the widget that the node is built on."""
    return any((binding.key, binding.action) == (own.key, own.action) for own in own_bindings(node))


# --- in words -------------------------------------------------------------------------------------


def as_markdown() -> str:
    """The table as docs/keys.md holds it."""
    parts = [_INTRODUCTION]
    for place, title in PLACES.items():
        rows = [(key, use) for key in TABLE for use in key.uses if use.place == place]
        if rows:
            lines = [
                f"| {_keys_in_words(key)} | {key.id} | {use.tooltip or use.title} |"
                for key, use in rows
            ]
            parts.append(
                "\n".join([f"## {title}", "", "| key | id | does |", "|---|---|---|", *lines])
            )
    return "\n\n".join(parts) + "\n"


def _keys_in_words(key: Key) -> str:
    return " ".join(f"`{shown_key(name)}`".replace("|", r"\|") for name in key.names)


_INTRODUCTION = f"""\
# Keys

A key is for one thing in all panes, or is unused: `m` is for marks, which it sets, and takes back in
Hypotheses. Screens without panes (the sessions, the measures) have keys of their own. `f1` (or `?`) lists the
keys of the pane you are in, `ctrl+p` finds a command by name. `^` is the control key.

Other keys are set in `config.toml` by id; a key given to two commands is refused at startup:

```toml
[keys]
{EXAMPLE_KEYS}
```"""
