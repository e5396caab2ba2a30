"""The event of token relevance: how much of the token lists the finetuning documents account for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Literal

from pydantic import Field

from adl.words import number_of
from workbench.store.body import EventBody, one_line
from workbench.store.findings import (
    NOT_COMPUTED,
    Bar,
    Estimate,
    Figure,
    Heading,
    Line,
    Measure,
    Row,
    Rows,
    words_of,
)
from workbench.store.record import Record

_WORDS_SHOWN = 40
_LAST = {"difference": 0, "random": 2, "split_half": 3}


class RelevanceShare(Record):
    """Share of one list's first tokens that are relevant; None for a list without tokens.

    ``seq`` is the event that has the list. ``over_random`` is the share less that of the same
    reading of a random direction, None where there is none.
    """

    seq: int
    reading: str
    source: str
    side: str
    layer: int
    position: str
    share: Estimate | None
    over_random: Estimate | None
    relevant: tuple[str, ...]


class RelevanceMeasured(
    Measure,
    label="token relevance",
    pointers={"shares": {"__all__": {"seq"}}},
    of_truth=True,
):
    """Token relevance against named documents or words (``adl.measures.relevance``).

    ``against`` says what they are, and ``words`` which count as relevant.
    """

    kind: Literal["relevance_measured"] = "relevance_measured"
    against: str
    documents_sha256: str | None
    words: tuple[str, ...]
    shares: tuple[RelevanceShare, ...]
    settings: dict[str, Any] = Field(default_factory=dict)

    def _line(self) -> str:
        shares = [found.share.value for found in self.shares if found.share]
        best = f", at most {max(shares):.0%}" if shares else ""
        return one_line(f"token relevance of {number_of(len(self.shares), 'list')}{best}")

    def _texts(self) -> Iterator[str]:
        yield from (" ".join(found.relevant) for found in self.shares)

    def short(self) -> str:
        """The largest share."""
        shares = [found.share.value for found in self.shares if found.share]
        return f"at most {max(shares):.0%}" if shares else NOT_COMPUTED

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """The share of each list by source, the largest first, and the words that count."""
        figures: list[Figure] = [
            Line(f"Share of the first tokens of each list that belong to: {self.against}.")
        ]
        ranked = sorted(self.shares, key=_rank)
        for source, shares in groupby(ranked, key=lambda found: found.source):
            figures.append(
                Rows(
                    f"Of the {source}".replace("_", " "),
                    ("reading", "side", "position", "share [95%]", "over random", "relevant"),
                    tuple(map(_row, shares)),
                )
            )
        more = len(self.words) - _WORDS_SHOWN
        figures += [
            Heading(f"What counts: {number_of(len(self.words), 'word')}"),
            Line(
                " ".join(self.words[:_WORDS_SHOWN]) + (f" and {more} more" if more > 0 else ""),
                muted=True,
            ),
        ]
        return figures


def _rank(found: RelevanceShare) -> tuple[int, bool, float]:
    share = found.share.value if found.share else -1.0
    return _LAST.get(found.source, 1), "-" not in found.position, -share


def _row(found: RelevanceShare) -> Row:
    name = found.reading.replace("_", " ")
    tokens = " ".join(map(str.strip, found.relevant))
    cells = (
        name,
        found.side,
        found.position,
        words_of(found.share, "{:.2f}"),
        words_of(found.over_random, "{:+.2f}"),
        tokens,
    )
    label = f"{name}, {found.position}"
    if found.share is None:
        return Row(cells, (Line(f"{label:<24} {NOT_COMPUTED}", muted=True),))
    over = f", over random {found.over_random.value:+.2f}" if found.over_random else ""
    bar = Bar(label, found.share.value, f"{found.share.value:.0%} on {found.side}{over}")
    return Row(cells, (bar, Line(f"  {tokens}", muted=True)) if found.relevant else (bar,))
