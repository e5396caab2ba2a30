"""The event of phrases that the finetuned model writes more often than the base model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from workbench.store.body import EventBody, one_line
from workbench.store.findings import Bar, Figure, Lead, Line, Measure, Row, Rows, Sample
from workbench.store.record import LATER, Record

#: Phrases whose first text is shown in full.
_OPENED = 5


class FoundPhrase(Record):
    """A phrase with its counts (``adl.measures.phrases.Phrase``) and the texts that hold it."""

    words: str
    z: float
    log_odds: float
    finetuned: int
    base: int
    text_ids: tuple[str, ...]


class PhrasesFound(
    Measure,
    label="phrases",
    searched=(),
    pointers={name: {"__all__": {"text_ids": True}} for name in ("phrases", "null")},
):
    """Phrases of the finetuned side over all texts of the session, and those of the null.

    ``no_null`` is the reason why there is no null. Not counted are ``n_left_out`` texts to a prompt
    that only one model got, ``n_copies`` that a side wrote a second time to one prompt, and
    ``n_steered`` steered ones: base's, and those of finetuned that were steered harder, away from
    the difference or by a null.
    """

    kind: Literal["phrases_found"] = "phrases_found"
    phrases: tuple[FoundPhrase, ...]
    null: tuple[FoundPhrase, ...]
    n_texts: dict[str, dict[str, int]]
    n_left_out: Annotated[int, LATER] = 0
    n_copies: Annotated[int, LATER] = 0
    n_steered: Annotated[int, LATER] = 0
    no_null: Annotated[str, LATER] = ""
    settings: dict[str, Any] = Field(default_factory=dict)

    def _line(self) -> str:
        return one_line(
            "phrases: " + (", ".join(phrase.words for phrase in self.phrases[:6]) or "none")
        )

    def short(self) -> str:
        """The first phrases."""
        return one_line(", ".join(phrase.words for phrase in self.phrases[:3]) or "none")

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """The phrases beside the highest z of the null, and texts that hold the first of them."""
        counted = "; ".join(
            f"{source}: {sides.get('finetuned', 0)} finetuned, {sides.get('base', 0)} base"
            for source, sides in self.n_texts.items()
        )
        left_out = "".join(
            f" Left out, as {why}: {count}."
            for why, count in (
                ("the other model was not asked the same", self.n_left_out),
                ("copies of another text", self.n_copies),
                ("steered hard, away from the difference, by a null or on base", self.n_steered),
            )
            if count
        )
        highest = self._highest
        null = (
            f"There is no null: {self.no_null}."
            if self.no_null
            else "The null has no phrase with a positive z."
            if highest is None
            else f"In the null, one half of the base texts against the other, the highest z is "
            f"{highest:.2f}."
        )
        most = max((phrase.z for phrase in self.phrases), default=1.0)
        found: list[Figure] = [
            Line(f"Texts: {counted}.{left_out} {null}"),
            Rows(
                "Said more often by the finetuned model (z of the log-odds)",
                ("phrase", "z", "finetuned", "base", "texts"),
                tuple(_row(phrase, highest) for phrase in self.phrases),
                most,
            ),
        ]
        found += [
            Sample(f"A text with “{phrase.words}”", phrase.text_ids[0])
            for phrase in self.phrases[:_OPENED]
            if phrase.text_ids
        ]
        return found

    def leads(self) -> Sequence[Lead]:
        """The phrases above all of the null; without one, all of them, which they say."""
        highest = self._highest
        beside = ", no null" if self.no_null else ""
        return [
            Lead(
                f'It writes "{one_line(phrase.words)}"',
                phrase.words,
                f"phrases, z {phrase.z:.2f}, {phrase.finetuned} finetuned : {phrase.base} base"
                f"{beside}",
                tuple(
                    Sample(f"A text with “{phrase.words}”", of) for of in phrase.text_ids[:_OPENED]
                ),
            )
            for phrase in self.phrases
            if highest is None or phrase.z > highest
        ]

    @property
    def _highest(self) -> float | None:
        """The highest z of the null; None where it has none, or where there is no null."""
        return max((phrase.z for phrase in self.null), default=None)


def _row(phrase: FoundPhrase, null: float | None) -> Row:
    below = null is not None and phrase.z <= null
    note = f"{phrase.z:.2f}  {phrase.finetuned} : {phrase.base}" + (
        ", no better than the null" if below else ""
    )
    return Row(
        (
            phrase.words,
            f"{phrase.z:.2f}",
            str(phrase.finetuned),
            str(phrase.base),
            str(len(phrase.text_ids)),
        ),
        (Bar(phrase.words, phrase.z, note, muted=below),),
    )
