"""What every record of the log is made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

LATER = "added later"
"""Marks a field that sessions were recorded without: empty, it is no part of a state's digest."""


def well_formed(text: str) -> str:
    """Return the text with each half of a broken surrogate pair replaced by U+FFFD.

    Such a half is no character and has no UTF-8, so neither SQLite nor JSON readers take it; it
    comes from bytes that were decoded carelessly. Everything else, NUL and escapes too, stays.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class Record(BaseModel):
    """A frozen record that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Actor(Record):
    """Who did it: a person at the keys, an agent, or the program itself."""

    kind: Literal["human", "agent", "system"]
    name: Annotated[str, BeforeValidator(lambda name: well_formed(str(name)))] = ""
