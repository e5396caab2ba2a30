"""The base of every record in the log."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from adl.text.files import well_formed as well_formed

LATER = "added later"
"""Marks a field that older sessions lack: empty, it is no part of a state's digest."""


class Record(BaseModel):
    """A frozen record that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Actor(Record):
    """The actor of an event: a person, an agent, or the program itself."""

    kind: Literal["human", "agent", "system"]
    name: Annotated[str, BeforeValidator(lambda name: well_formed(str(name)))] = ""

    @property
    def who(self) -> str:
        """The name, or the kind of an actor without one."""
        return self.name or self.kind


class ReadToken(Record):
    """A token of a readout; the list is ordered by ``score``."""

    id: int
    text: str
    score: float
    probability: float | None = None
