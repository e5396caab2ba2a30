"""The base of every event's body, and the registry of the kinds that there are.

A kind of event is one class. It states its group, its line in a timeline and its searchable text, and
is registered by being defined:

    class NoteWritten(EventBody, group="notes", searched=("text",)):
        kind: Literal["note_written"] = "note_written"
        text: str

        def _line(self) -> str:
            return f"note: {one_line(self.text)}"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Union, get_args

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema

from adl.words import number_of as number_of
from workbench.store.record import Record

Group = Literal["operations", "findings", "texts", "hypotheses", "notes", "agent", "session"]
"""The part of an audit that an event belongs to; a timeline can be filtered by it."""

GROUPS: tuple[Group, ...] = get_args(Group)

_WIDEST = 100


class EventBody(Record):
    """The content of one event. Subclasses with a default ``kind`` are registered.

    Class arguments:

    ``group``      group of the timeline; inherited
    ``searched``   fields whose texts a search looks through, empty for none; a class may override
                   `_texts` instead
    ``is_piece``   True for a piece of a text that a later event holds whole
    ``is_naming``  True if a name of a model may stand in its fields by itself, such as a session's
                   name: a blind session hides it there even where it is an ordinary word. So is
                   every kind whose content a slice of the state redacts as ``naming``
    ``pointers``   fields that differ between two runs of the same operation, such as ids of the log,
                   as ``model_dump(exclude=)`` takes them

    Raises `TypeError` for a kind without a group, a `_line` or a search rule.
    """

    kind: str

    group: ClassVar[Group]
    searched: ClassVar[tuple[str, ...]]
    is_piece: ClassVar[bool] = False
    is_naming: ClassVar[bool] = False
    pointers: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(
        cls,
        *,
        group: Group | None = None,
        searched: tuple[str, ...] | None = None,
        is_piece: bool = False,
        is_naming: bool = False,
        pointers: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        if group is not None:
            cls.group = group
        if searched is not None:
            cls.searched = searched
        cls.is_piece = is_piece
        cls.is_naming = is_naming
        if pointers is not None:
            cls.pointers = pointers

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        # Here the fields are known, and the class arguments are taken.
        if not cls.model_fields["kind"].is_required():
            cls._check()
            _register(cls)

    @classmethod
    def _check(cls) -> None:
        """Raise `TypeError` for a kind that does not describe itself."""
        if getattr(cls, "group", None) not in GROUPS:
            raise TypeError(f"event {cls.__name__} needs a group, one of: {', '.join(GROUPS)}")
        if cls._line is EventBody._line:
            raise TypeError(f"event {cls.__name__} needs _line(), its line in a timeline")
        if cls._texts is EventBody._texts:
            searched = getattr(cls, "searched", None)
            if searched is None:
                raise TypeError(
                    f"event {cls.__name__} needs searched=(...), the fields that a search reads"
                )
            if unknown := [name for name in searched if name not in cls.model_fields]:
                raise TypeError(f"event {cls.__name__} has no field {unknown[0]!r} to search")

    def describe(self) -> str:
        """Return what happened in one line.

        Parts may be text of a model: on one line and short, but with its escapes, so it still has to
        go through the display boundary.
        """
        return self._line()

    def searchable(self) -> Iterator[str]:
        """Yield the texts that a search looks through; some may be empty.

        They are stored in every database: change a rule together with a migration.
        """
        return self._texts()

    def compared(self) -> dict[str, Any]:
        """Return the numbers and words that a second run should give again, as plain data."""
        return self.model_dump(mode="json", exclude={"settings": True, **self.pointers})

    @property
    def shown_text(self) -> str | None:
        """Id of the generated text that the event names; of several the first, None without one."""
        return getattr(self, "text_id", None)

    def _line(self) -> str:
        raise NotImplementedError

    def _texts(self) -> Iterator[str]:
        for name in self.searched:
            yield from strings(getattr(self, name))


KINDS: dict[str, type[EventBody]] = {}
"""Every kind of event, by the name it is recorded under."""

_reader: TypeAdapter[EventBody] | None = None


def kinds_of(group: Group) -> frozenset[str]:
    """Names of the kinds in a group."""
    return frozenset(name for name, kind in KINDS.items() if kind.group == group)


def body_reader() -> TypeAdapter[EventBody]:
    """Return the adapter that reads a body of any registered kind."""
    global _reader  # noqa: PLW0603 -- made anew when a kind is added
    if _reader is None:
        kinds: Any = Union[tuple(KINDS.values())]  # noqa: UP007 -- of a tuple
        _reader = TypeAdapter(Annotated[kinds, Field(discriminator="kind")])
    return _reader


def _register(kind: type[EventBody]) -> None:
    global _reader  # noqa: PLW0603
    name = kind.model_fields["kind"].default
    if name in KINDS:
        raise TypeError(f"event {name} is defined twice: {KINDS[name]} and {kind}")
    KINDS[name] = kind
    _reader = None


class _OfAnyKind:
    """Validation of a body of any kind, those registered after the model was made among them."""

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda value: body_reader().validate_python(value)
        )

    def __get_pydantic_json_schema__(
        self, _: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(body_reader().core_schema)


AnyBody = Annotated[EventBody, _OfAnyKind()]
"""A field for a body of any registered kind."""


# --- words ----------------------------------------------------------------------------------


def one_line(text: str) -> str:
    """Return the start of the text on one line, at most 100 characters."""
    # A long text is cut first: splitting all of it takes time and gives nothing.
    line = " ".join(text[: 4 * _WIDEST].split())
    return line if len(line) <= _WIDEST else line[: _WIDEST - 1] + "…"


def because(reason: str) -> str:
    """Return the reason as the end of a line, empty without one."""
    return f": {one_line(reason)}" if reason else ""


def strings(value: Any) -> Iterator[str]:
    """Yield every text in plain data, without the keys of mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from strings(item)
