"""The base of every record in the log."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from adl.text.files import well_formed as well_formed

LATER = "added later"
"""Marks a field that sessions were recorded without: empty, it is no part of a state's digest."""


class Record(BaseModel):
    """A frozen record that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Actor(Record):
    """Who did it: a person at the keys, an agent, or the program itself."""

    kind: Literal["human", "agent", "system"]
    name: Annotated[str, BeforeValidator(lambda name: well_formed(str(name)))] = ""
