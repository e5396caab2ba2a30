"""The event of completions: likeliest continuations of prefixes, with the numbers of both sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from adl.text.tokens import visible
from workbench.store.body import EventBody, one_line
from workbench.store.findings import Bar, Figure, Heading, Line, Measure, Row, Rows
from workbench.store.record import Record


class FoundCompletion(Record):
    """One continuation (``adl.generation.completions.Completion``), log-probabilities in nats."""

    text: str
    finetuned: float
    base: float | None

    @property
    def log_ratio(self) -> float | None:
        """Return log p(finetuned) - log p(base) in nats; None where the base cannot score it."""
        return None if self.base is None else self.finetuned - self.base


class CompletedPrefix(Record):
    """The completions of one prefix; ``chat`` holds the turns before it, none for raw text."""

    prefix: str
    chat: tuple[dict[str, str], ...] = ()
    tokens: tuple[FoundCompletion, ...]
    raised: tuple[FoundCompletion, ...]
    words: tuple[FoundCompletion, ...]
    continuations: tuple[FoundCompletion, ...]


class CompletionsFound(Measure, label="completions"):
    """The completions of one or more prefixes."""

    kind: Literal["completions_found"] = "completions_found"
    prefixes: tuple[CompletedPrefix, ...]
    settings: dict[str, Any] = Field(default_factory=dict)

    def _texts(self) -> Any:
        for found in self.prefixes:
            yield found.prefix
            for group in (found.words, found.continuations):
                yield from (completion.text for completion in group)

    def _line(self) -> str:
        return one_line(
            "completions: " + "; ".join(f"{p.prefix} →{_best(p)}" for p in self.prefixes[:4])
        )

    def short(self) -> str:
        """The word most raised by the finetuning, of any prefix."""
        return one_line(" / ".join(_best(prefix).strip() for prefix in self.prefixes[:3]))

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """For each prefix: likeliest and most raised tokens, likeliest words and continuations."""
        found: list[Figure] = [
            Line(
                "p: probability on the finetuned side; ratio: its log-ratio over the base model in "
                "nats, 2.3 being ten times as likely.",
                muted=True,
            )
        ]
        for prefix in self.prefixes:
            before = " / ".join(turn["content"] for turn in prefix.chat)
            found.append(
                Heading(one_line(f"{before} → {prefix.prefix}" if before else prefix.prefix))
            )
            for title, group in (
                ("Most raised next tokens", prefix.raised[:8]),
                ("Likeliest next tokens", prefix.tokens[:8]),
                ("Likeliest words", prefix.words),
                ("Likeliest continuations", prefix.continuations),
            ):
                if group:
                    found.append(Rows(title, ("text", "p", "ratio"), tuple(map(_row, group))))
        return found


def _row(completion: FoundCompletion) -> Row:
    probability = math.exp(completion.finetuned)
    ratio = "not in base" if completion.log_ratio is None else f"{completion.log_ratio:+.2f}"
    shown = f"{probability:.3f}" if probability >= 0.001 else f"{probability:.1e}"
    text = visible(completion.text)
    return Row(
        (text, shown, ratio),
        (Bar(text, min(1.0, probability), f"{shown}  {ratio}"),),
    )


def _best(prefix: CompletedPrefix) -> str:
    rated = [each for each in prefix.words if each.log_ratio is not None] or list(prefix.raised)
    return max(rated, key=lambda each: each.log_ratio or 0.0).text if rated else ""
