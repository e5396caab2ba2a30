"""The event of a finetuning that was added to the bank of style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from adl.words import number_of
from workbench.store.body import EventBody, one_line
from workbench.store.findings import Figure, Heading, Line, Measure

_SHOWN = 40


class FinetuningBanked(
    Measure, label="bank of style", searched=("name", "output"), pointers={"n_others": True}
):
    """The words that a finetuning raises (``adl.readings.style.Finetuning``), kept for other pairs."""

    kind: Literal["finetuning_banked"] = "finetuning_banked"
    name: str
    digest: str
    base: str
    is_broad: bool
    output: tuple[str, ...]
    shift: tuple[str, ...]
    n_others: int
    settings: dict[str, Any] = Field(default_factory=dict)

    def _line(self) -> str:
        return one_line(f"{self.name} added to the bank of style: {' '.join(self.output[:6])}")

    def short(self) -> str:
        """Its name, and how many others of its base the bank has."""
        return one_line(f"{self.name}, beside {number_of(self.n_others, 'other')} of this base")

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """The words that it raises."""
        kind = "a broad control" if self.is_broad else "a finetuning"
        return [
            Line(
                f"{self.name}, {kind}. Words that at least half of the other finetunings of a base "
                "raise, and at least two, are struck from the lists of a pair; never by its own entry."
            ),
            Heading("Raised in the output difference"),
            Line(" ".join(self.output[:_SHOWN])),
            Heading("Raised by the shift lens"),
            Line(" ".join(self.shift[:_SHOWN])),
        ]
