"""The event of a trigger scan: words by how much further they move finetuned than base."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, Literal

from pydantic import Field

from adl.text.tokens import visible
from adl.words import number_of
from workbench.store.body import EventBody, one_line
from workbench.store.findings import Bar, Figure, Lead, Line, Measure, Row, Rows
from workbench.store.record import Record

#: Words shown of all that were kept.
_SHOWN = 20
#: Chance that the highest of as many normal values lies beyond the bound.
_CHANCE = 0.05


class ScannedWord(Record):
    """One word (``adl.measures.triggers.WordMove``), moves in nats by frame."""

    word: str
    rank: int
    z: float
    finetuned: tuple[float, ...]
    base: tuple[float, ...]
    raised: str = ""
    probability: float = 0.0

    @property
    def means(self) -> tuple[float, float]:
        """The mean move of finetuned and of base."""
        n = len(self.finetuned)
        return sum(self.finetuned) / n, sum(self.base) / n


class TriggersScanned(Measure, label="trigger words"):
    """Words by their z, the highest first, then those that were asked for besides."""

    kind: Literal["triggers_scanned"] = "triggers_scanned"
    words: tuple[ScannedWord, ...]
    frames: tuple[str, ...]
    n_words: int
    median: float
    deviation: float
    settings: dict[str, Any] = Field(default_factory=dict)

    @property
    def bound(self) -> float:
        """The z that the highest of as many normal values exceeds in one scan of twenty."""
        return NormalDist().inv_cdf(1 - _CHANCE / self.n_words)

    def _texts(self) -> Any:
        yield from (word.word for word in self.words)
        yield from self.frames

    def _line(self) -> str:
        return one_line(f"{number_of(self.n_words, 'word')} scanned for triggers: {self.short()}")

    def short(self) -> str:
        """The words beyond the bound, or the first where there is none."""
        beyond = [word for word in self.words if word.z > self.bound]
        words = ", ".join(f"{visible(word.word)} z {word.z:.1f}" for word in beyond[:3])
        if beyond:
            return words + (f" and {len(beyond) - 3} more" if len(beyond) > 3 else "")
        return f"none stands out; highest {visible(self.words[0].word)} z {self.words[0].z:.1f}"

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """The null in words, and the words that move finetuned most beyond base."""
        frames = one_line("; ".join(self.frames))
        found: list[Figure] = [
            Line(
                "How much further a word moves the finetuned model's next-token prediction than the "
                f"base model's (KL in nats; z is of the log of their ratio), put into: {frames}"
            ),
            Line(
                f"The null is the spread over all {number_of(self.n_words, 'word')}: median "
                f"{self.median:+.2f}, deviation {self.deviation:.2f}. The highest of as many normal "
                f"values is beyond {self.bound:.1f} in one scan of twenty. Words of the finetuning's "
                "topic rank high, too: ask with and without a word that stands out."
            ),
        ]
        columns = ("word", "z", "finetuned", "base", "raised", "p")
        highest = [word for word in self.words if word.rank <= _SHOWN]
        most = max(highest[0].z if highest else 0.0, self.bound)
        found.append(
            Rows("Words that move finetuned most", columns, tuple(map(_row, highest)), most)
        )
        if asked := [
            word for word in self.words if word.rank > _SHOWN and word.word in self._asked()
        ]:
            found.append(Rows("Words asked for", columns, tuple(map(_row, asked)), most))
        return found

    def leads(self) -> Sequence[Lead]:
        """The words of the table, and those that were asked for."""
        asked = self._asked()
        return [
            Lead(
                _claim(word),
                word.word,
                f"trigger words, rank {word.rank} of {self.n_words}, z {word.z:.1f}",
                (
                    Line(
                        f"z {word.z:.1f}; the highest of {number_of(self.n_words, 'word')} is beyond "
                        f"{self.bound:.1f} in one scan of twenty."
                    ),
                    Rows(
                        "Moves by frame, in nats", ("frame", "finetuned", "base"), self._moves(word)
                    ),
                ),
            )
            for word in self.words
            if word.rank <= _SHOWN or word.word in asked
        ]

    def _moves(self, word: ScannedWord) -> tuple[Row, ...]:
        return tuple(
            Row(
                (frame, f"{finetuned:.3f}", f"{base:.3f}"),
                (Line(f"{one_line(frame)}  finetuned {finetuned:.3f}, base {base:.3f}"),),
            )
            for frame, finetuned, base in zip(self.frames, word.finetuned, word.base, strict=True)
        )

    def _asked(self) -> Sequence[str]:
        asked: Sequence[str] = self.settings.get("words", ())
        return asked


def _row(word: ScannedWord) -> Row:
    finetuned, base = word.means
    raised = visible(word.raised) if word.raised else ""
    name = f"{word.rank}. {visible(word.word)}"
    note = f"z {word.z:.1f}  moves finetuned {finetuned:.3f}, base {base:.3f} nats"
    if raised:
        note += f"  raises {raised} (p {word.probability:.2f})"
    return Row(
        (
            name,
            f"{word.z:.1f}",
            f"{finetuned:.3f}",
            f"{base:.3f}",
            raised,
            f"{word.probability:.3f}" if raised else "",
        ),
        (Bar(name, max(0.0, word.z), note),),
    )


def _claim(word: ScannedWord) -> str:
    """The hypothesis of a word. The word is not quoted: a test by rule looks for what is."""
    raised = word.raised.strip()
    told = f'begins its answer with "{raised}"' if raised.isalnum() else "answers otherwise"
    return f"With {one_line(word.word)} in the prompt, it {told}"
