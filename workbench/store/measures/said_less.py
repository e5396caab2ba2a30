"""The event of words that finetuned predicts less than base, and of words held back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field

from workbench.store.body import EventBody, one_line
from workbench.store.findings import NOT_COMPUTED, Bar, Figure, Line, Measure, Row, Rows
from workbench.store.record import ReadToken


class LessSaid(Measure, label="said less"):
    """Words predicted less, and words held back beside their null (``adl.measures.said_less``)."""

    kind: Literal["less_said"] = "less_said"
    less: tuple[ReadToken, ...]
    held_back: tuple[ReadToken, ...]
    null: tuple[ReadToken, ...] | None
    n_contexts: int
    settings: dict[str, Any] = Field(default_factory=dict)

    def _line(self) -> str:
        return one_line(
            f"said less: {_words(self.less[:6]) or 'none'}; "
            f"held back: {_words(self.held_back[:6]) or 'none'}"
        )

    def _texts(self) -> Iterator[str]:
        yield _words(self.less)
        yield _words(self.held_back)

    def short(self) -> str:
        """The first words held back."""
        return one_line(_words(self.held_back[:4]) or "no word held back")

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """The words predicted less, then those held back beside the null."""
        highest = max((token.score for token in self.null or ()), default=None)
        null = NOT_COMPUTED if highest is None else f"{highest:.2f}"
        return [
            Line(
                f"Over {self.n_contexts} unrelated contexts. A word is held back if its neighbours rise "
                "with the finetuning and it does not: a clue to a secret or denied word, and no more. "
                f"In the null, base against itself, the highest score is {null}."
            ),
            _rows("Predicted less by the finetuned model", self.less, None),
            _rows("Held back: neighbours rise, the word does not", self.held_back, highest),
        ]


def _words(tokens: Sequence[ReadToken]) -> str:
    return " ".join(token.text.strip() for token in tokens)


def _rows(title: str, tokens: Sequence[ReadToken], null: float | None) -> Rows:
    most = max((token.score for token in tokens), default=1.0)
    rows = []
    for token in tokens:
        below = null is not None and token.score <= null
        note = f"{token.score:.2f}" + (", no better than the null" if below else "")
        word = token.text.strip()
        rows.append(Row((word, f"{token.score:.2f}"), (Bar(word, token.score, note, muted=below),)))
    return Rows(title, ("word", "score"), tuple(rows), most)
