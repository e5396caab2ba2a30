"""A blind session as it may be seen: every name of its pair replaced before it is drawn or printed.

Panes, reports and commands show nothing but its state, its events and its jobs. So names are hidden
there, once, and not in each of them:

    state   SessionState --> SessionState    what did not change stays the same object
    event   Event        --> Event
    record  any record   --> the same      such as what a replay found
    reveal  arguments    --> arguments       what a person writes for the record gets its names back

The log keeps the real names. A session that is not blind is passed through as it is.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType, NoneType
from typing import Any, TypeVar

from pydantic import BaseModel

from workbench.blinding.aliases import OPEN, Blinding, blinding_from
from workbench.blinding.seal import blinding_for_people
from workbench.operations.pair import LOAD
from workbench.operations.running import Arguments, Operation
from workbench.store.body import KINDS
from workbench.store.events import Actor, Event, OperationStarted
from workbench.store.recorded import Prefix, Recorded
from workbench.store.slices.slice import SLICE, Redaction
from workbench.store.state import OperationState, SessionState, TimelineEntry

Item = TypeVar("Item")
Change = Callable[[str], str]

_WORDS = re.compile(r"\w+")
_PARTS = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])")
# Lines of the timeline are looked through so many at a time.
_AT_ONCE = 256
_PLAIN = (bool, int, float, datetime, NoneType, bytes)


class StateRedactor:
    """Hides the names of one session. For one thread at a time.

    ``sealed`` are the aliases of a session that is looked at before the moment it was sealed, as in
    a replay: what it hides at its end it hides from its start.
    """

    def __init__(self, sealed: Mapping[str, str] | None = None) -> None:
        self._sealed = dict(sealed or {})
        # What the names were taken from last: neither is changed in place.
        self._told: tuple[Any, ...] = (None, None, 0)
        self._forget(blinding_from(self._sealed) if self._sealed else OPEN)

    def _forget(self, blinding: Blinding) -> None:
        self._blinding = blinding
        self._names = {name.lower(): alias for name, alias in blinding.aliases.items()}
        self._parts = {_parts(name) for name in blinding.aliases}
        self._seen = self._shown = SessionState()
        self._items: dict[str, dict[Any, tuple[Any, Any]]] = {}
        # A recorded finding never changes, so it is looked through once; it is kept, so that no
        # other object gets its number.
        self._recorded: dict[int, tuple[Any, Any]] = {}
        self._timeline: list[TimelineEntry] = []
        self._actors: dict[Actor, Actor] = {}

    def __bool__(self) -> bool:
        """True if anything is hidden."""
        return bool(self._blinding)

    # --- what is shown ----------------------------------------------------------------------

    def state(self, state: SessionState) -> SessionState:
        """The state with every name of a blind audit hidden."""
        told = (state.seal, state.pair, len(state.unblinded))
        if not self._sealed and not all(map(_is, told, self._told)):
            blinding = blinding_for_people(state)
            if blinding.aliases != self._blinding.aliases:
                self._forget(blinding)
            self._told = told
        if not self._blinding:
            return state
        if state is not self._seen:
            self._shown = replace(state, **self._changes(state))
            self._seen = state
        return self._shown

    def event(self, event: Event) -> Event:
        """The event with every name of a blind audit hidden."""
        if not self._blinding:
            return event
        body = event.body
        asked = isinstance(body, OperationStarted) and body.operation == LOAD.name
        change = self._hide_words if asked or body.is_naming else self.hide
        changes = {
            "body": self._hidden(body, change),
            "actor": self._hidden(event.actor, self.hide),
        }
        return event.model_copy(update=changes)

    def hide(self, text: str) -> str:
        """The text with every name of a blind audit hidden."""
        return self._blinding.hide(text) if self._may_name(text) else text

    def hiding(self, operation: Operation[Any]) -> Change:
        """Return what hides names in the jobs of an operation: of loading, ordinary words, too."""
        return self._hide_words if self._blinding and operation.name == LOAD.name else self.hide

    def record(self, value: Item, *, words: bool = False) -> Item:
        """Any record, mapping or sequence with every name of a blind audit hidden in its texts.

        ``words`` hides also a name that is an ordinary word: for where names stand by themselves.
        """
        if not self._blinding:
            return value
        hidden: Item = self._hidden(value, self._hide_words if words else self.hide)
        return hidden

    def reveal(self, operation: Operation[Any], arguments: Arguments) -> Arguments:
        """Arguments with the real names, where no model gets to read them."""
        if not self._blinding or operation.reaches_models:
            return arguments
        plain = arguments.model_dump()
        revealed = self._blinding.reveal_all(plain)
        return arguments if revealed == plain else type(arguments).model_validate(revealed)

    # --- how --------------------------------------------------------------------------------

    def _may_name(self, text: str) -> bool:
        """True if a name may be in the text. Almost no text has one, and this test is much cheaper."""
        low = text.lower()
        # A generator would cost more than the search.
        for rarest, others in self._parts:  # noqa: SIM110
            if rarest in low and all(part in low for part in others):
                return True
        return False

    def _changes(self, state: SessionState) -> dict[str, Any]:
        rules = {field.name: redaction_of(field) for field in dataclasses.fields(state)}
        return {
            name: self._hidden_part(name, rule, state)
            for name, rule in rules.items()
            if rule != "plain"
        }

    def _hidden_part(self, name: str, rule: Redaction, state: SessionState) -> Any:
        if rule == "timeline":
            return self._hidden_timeline(state)
        part: Any = getattr(state, name)
        # A state of another version may lack it.
        seen, shown = getattr(self._seen, name, None), getattr(self._shown, name, None)
        if rule == "list":
            same = len(part) == len(seen or ()) and state.session_id == self._seen.session_id
            return shown if same else self._hidden(part, self.hide)
        if part is seen:
            return shown
        if rule == "items":
            return self._hidden_items(name, part)
        return self._hidden(part, self.hide if rule == "text" else self._hide_words)

    def _hidden_items(self, name: str, items: Mapping[Any, Any]) -> Mapping[Any, Any]:
        known = self._items.setdefault(name, {})
        for key, item in items.items():
            if key not in known or known[key][0] is not item:
                asked = isinstance(item, OperationState) and item.name == LOAD.name
                change = self._hide_words if asked else self.hide
                known[key] = (item, self._hidden(item, change))
        return MappingProxyType({key: known[key][1] for key in items})

    def _hidden_timeline(self, state: SessionState) -> Prefix[TimelineEntry]:
        if state.session_id != self._seen.session_id or len(state.timeline) < len(self._timeline):
            self._timeline = []
        for first in range(len(self._timeline), len(state.timeline), _AT_ONCE):
            entries = state.timeline[first : first + _AT_ONCE]
            entries = tuple(map(self._hidden_entry, entries))
            self._timeline.extend(entries)
        return Prefix(self._timeline, len(state.timeline))

    def _hidden_entry(self, entry: TimelineEntry) -> TimelineEntry:
        said = entry.description
        if "\u2026" in said or self._may_name(said):
            said = self._blinding.hide_cut(said)
        if KINDS[entry.kind].is_naming:
            said = self._hide_words(said)
        actor = self._actors.get(entry.actor)
        if actor is None:
            # Few do all there is, and looking into each of theirs takes as long as the words.
            actor = self._actors[entry.actor] = self._hidden(entry.actor, self.hide)
        if said == entry.description and actor == entry.actor:
            return entry
        return entry._replace(description=said, actor=actor)

    def _hide_words(self, text: str) -> str:
        """Hide also a name that is an ordinary word: for where names stand by themselves."""
        hidden = self.hide(text)
        return _WORDS.sub(lambda word: self._names.get(word[0].lower(), word[0]), hidden)

    def _hidden(self, value: Any, change: Change) -> Any:
        """The value with every text in it changed; the same object if none did."""
        if isinstance(value, str):
            return change(value)
        # Asked first, as most values are numbers, and whether one is a model or a mapping costs more.
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, Recorded):
            known = self._recorded.get(id(value))
            if known is None:
                body = self._hidden(value.body, change)
                hidden = value if body is value.body else replace(value, body=body)
                known = self._recorded[id(value)] = (value, hidden)
            return known[1]
        if isinstance(value, BaseModel):
            changes = self._changed(
                ((name, getattr(value, name)) for name in _fields(value)), change
            )
            return value.model_copy(update=changes) if changes else value
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in dataclasses.fields(value)]
            changes = self._changed(((name, getattr(value, name)) for name in names), change)
            return replace(value, **changes) if changes else value
        if isinstance(value, Mapping):
            pairs = {
                self._hidden(key, change): self._hidden(item, change) for key, item in value.items()
            }
            same = len(pairs) == len(value) and all(
                key in value and value[key] is item for key, item in pairs.items()
            )
            return value if same else pairs
        if isinstance(value, tuple | list | Prefix):
            return self._hidden_sequence(value, change)
        if isinstance(value, set | frozenset):
            return type(value)(self._hidden(item, change) for item in value)
        # Of a kind that nobody thought of: better its text than a name.
        return change(str(value))

    def _changed(self, parts: Iterable[tuple[str, Any]], change: Change) -> dict[str, Any]:
        hidden = ((name, part, self._hidden(part, change)) for name, part in parts)
        return {name: new for name, part, new in hidden if new is not part and new != part}

    def _hidden_sequence(self, value: Sequence[Any], change: Change) -> Sequence[Any]:
        # Lists of numbers are long.
        if not value or set(map(type, value)) <= {int, float}:
            return value
        hidden = [self._hidden(item, change) for item in value]
        if all(map(_is, hidden, value)):
            return value
        if hasattr(value, "_fields"):
            return type(value)(*hidden)
        if isinstance(value, Prefix):
            return Prefix(hidden, len(hidden))
        return tuple(hidden) if isinstance(value, tuple) else hidden


def redaction_of(field: dataclasses.Field[Any]) -> Redaction:
    """Return the redaction of a field of a state: that of its slice, or ``"naming"`` without one."""
    redaction: Redaction = field.metadata[SLICE].redaction if SLICE in field.metadata else "naming"
    return redaction


def _fields(value: BaseModel) -> Iterable[str]:
    return type(value).model_fields


def _is(first: object, other: object) -> bool:
    return first is other


def _parts(name: str) -> tuple[str, tuple[str, ...]]:
    """The parts common to every spelling of a name, in lower case: the longest, and the others.

    The longest is the rarest; it is empty, and so in every text, if the name has no letters.
    """
    parts = sorted(map(str.lower, _PARTS.split(name)), key=len, reverse=True)
    return parts[0], tuple(parts[1:])
