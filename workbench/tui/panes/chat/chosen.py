"""The answer of each turn that the keys act on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from adl.records import SIDES, Side
from workbench.tui.panes.chat.turns import AnswerRef, Turn


class ChosenAnswers:
    """The side that is chosen, the same for all turns, and the sample of each turn."""

    def __init__(self) -> None:
        self.side: Side = "finetuned"
        self._samples: dict[str, int] = {}

    def sample(self, turn: Turn) -> int:
        """Return the chosen sample of a turn, the first unless another was chosen."""
        return max(0, min(self._samples.get(turn.id, 0), turn.n_samples - 1))

    def answer(self, turn: Turn) -> AnswerRef:
        """Return the chosen answer of a turn, of the other side where only that was asked."""
        side = self.side if self.side in turn.sides else turn.sides[0]
        return AnswerRef(turn.id, side, self.sample(turn))

    def choose(self, answer: AnswerRef) -> None:
        """Choose an answer."""
        self.side = answer.side
        self._samples[answer.probe] = answer.sample

    def choose_other_side(self) -> None:
        """Choose the answers of the other model."""
        self.side = "base" if self.side == "finetuned" else "finetuned"

    def choose_next_sample(self, turn: Turn, step: int) -> None:
        """Choose the sample of a turn that comes so many after the chosen one, around the end."""
        self._samples[turn.id] = (self.sample(turn) + step) % turn.n_samples

    def start_over(self) -> None:
        """Choose the first answer of the finetuned model everywhere."""
        self._samples.clear()
        self.side = "finetuned"

    def as_data(self) -> dict[str, Any]:
        """Return the choice as plain JSON data."""
        samples = {probe: sample for probe, sample in self._samples.items() if sample}
        return {"side": self.side, "samples": samples}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take the data of `as_data`; parts that do not fit leave the choice as it is."""
        if data.get("side") in SIDES:
            self.side = cast("Side", data["side"])
        if isinstance(samples := data.get("samples"), dict):
            self._samples = {
                str(turn_id): sample
                for turn_id, sample in samples.items()
                if isinstance(sample, int)
            }
