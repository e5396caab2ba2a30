"""The event of unprompted texts: every text's log-likelihood ratio, finetuned over base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from adl.records import Side
from adl.words import number_of
from workbench.store.body import EventBody, one_line
from workbench.store.findings import NOT_COMPUTED, Figure, Line, Measure, Row, Rows, Sample
from workbench.store.record import Record

#: Texts shown of the finetuned side, and of the base side as their null.
_SHOWN, _NULLS = 20, 3

_STARTS = {
    "begin_of_text": "from the begin of text",
    "user_turn": "from the user turn",
    "assistant_turn": "from the assistant turn",
    "own_question": "answering its own question",
}


class ScoredUnprompted(Record):
    """One text with its ratio (``adl.measures.unprompted.TextRatio``), in nats."""

    text_id: str
    side: Side
    start: str
    per_token: float
    ends: tuple[int, ...]
    ratios: tuple[float, ...]
    n_tokens: int


class UnpromptedTexts(
    Measure,
    label="unprompted texts",
    searched=(),
    pointers={"texts": {"__all__": {"text_id": True}}},
):
    """Texts both models wrote from nothing, the most finetuned first, those of the base model last."""

    kind: Literal["unprompted_texts"] = "unprompted_texts"
    texts: tuple[ScoredUnprompted, ...]
    left_out: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)

    def of(self, side: str) -> list[ScoredUnprompted]:
        """Return the texts of one side, the highest ratio first."""
        return [text for text in self.texts if text.side == side]

    @property
    def shown_text(self) -> str | None:
        """The text with the highest ratio."""
        return self.texts[0].text_id if self.texts else None

    def _line(self) -> str:
        best = self.of("finetuned")[:1]
        highest = f", highest {best[0].per_token:+.2f} nats per token" if best else ""
        return one_line(
            f"{number_of(len(self.of('finetuned')), 'unprompted text')} scored{highest}"
        )

    def short(self) -> str:
        """The mean ratio of the finetuned texts."""
        mean = _mean(self.of("finetuned"))
        return NOT_COMPUTED if mean is None else f"{mean:+.2f} nats per token"

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """The mean of each side, then the texts with the highest ratio."""
        found: list[Figure] = [
            Line(
                "Log-likelihood ratio per token, finetuned over base. The base model's own texts are "
                "the null: words that stand in them, too, say nothing about the finetuning."
            )
        ]
        found += [
            Line(f"Left out: texts {_begun(name)} ({reason}).")
            for name, reason in self.left_out.items()
        ]
        rows = []
        for side in ("finetuned", "base"):
            texts = self.of(side)
            mean = _mean(texts)
            if mean is not None:
                cells = (side, str(len(texts)), f"{mean:+.3f}", f"{texts[0].per_token:+.3f}")
                rows.append(
                    Row(
                        cells,
                        (
                            Line(
                                f"{side}: {number_of(len(texts), 'text')}, mean {cells[2]}, highest "
                                f"{cells[3]} nats per token"
                            ),
                        ),
                    )
                )
        found.append(Rows("Ratio by side", ("side", "texts", "mean", "highest"), tuple(rows)))
        for title, texts in (
            ("finetuned", self.of("finetuned")[:_SHOWN]),
            ("base (null)", self.of("base")[:_NULLS]),
        ):
            found += [
                Sample(
                    f"{title}, {_begun(text.start)}, {text.per_token:+.2f} nats per token",
                    text.text_id,
                    ends=text.ends,
                    ratios=text.ratios,
                    asks=text.start == "own_question",
                )
                for text in texts
            ]
        return found


def _begun(start: str) -> str:
    return _STARTS.get(start, f"from {start}")


def _mean(texts: Sequence[ScoredUnprompted]) -> float | None:
    return sum(text.per_token for text in texts) / len(texts) if texts else None
