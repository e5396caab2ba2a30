"""Every reading there is, in the order of display: the one list of readings in the project.

To add a reading, declare a :class:`~adl.readings.reading.Reading` in a module of its own and list it
here. Commands, forms, schemas, help texts and tables take its name and texts from this list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from adl.readings.logit_lens import LOGIT_LENS
from adl.readings.patchscope import PATCHSCOPE, PATCHSCOPE_CONTRAST
from adl.readings.predictions import (
    AMPLIFIED_DIFFERENCE,
    CONSENSUS,
    OUTPUT_DIFFERENCE,
    SHIFT_LENS,
)
from adl.readings.reading import Reading

READINGS: dict[str, Reading] = {}
"""The readings by name, in the order of display."""


def register(reading: Reading) -> None:
    """Add a reading. Raises ``ValueError`` if its name is taken.

    The workbench builds its forms and schemas from the readings registered when it is imported.
    """
    if reading.name in READINGS:
        raise ValueError(f"there already is a reading {reading.name!r}")
    READINGS[reading.name] = reading


for _reading in (
    CONSENSUS,
    OUTPUT_DIFFERENCE,
    SHIFT_LENS,
    AMPLIFIED_DIFFERENCE,
    PATCHSCOPE_CONTRAST,
    PATCHSCOPE,
    LOGIT_LENS,
):
    register(_reading)


def described() -> str:
    """Return what each reading shows, in Markdown, for help texts."""
    return " ".join(f"*{reading.title}*: {reading.help}" for reading in READINGS.values())


if TYPE_CHECKING:
    ReadingName = str
else:
    # A real Literal, so that pydantic refuses other names and puts the choice into its schemas.
    def __getattr__(name: str) -> object:
        if name == "ReadingName":
            return Literal[tuple(READINGS)]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
