"""The event of steered texts compared with documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from adl.words import number_of
from workbench.store.body import EventBody, one_line
from workbench.store.findings import (
    NOT_COMPUTED,
    Bar,
    Estimate,
    Figure,
    Line,
    Measure,
    Row,
    Rows,
    Sample,
    words_of,
)


class SimilarityMeasured(
    Measure, label="steered similarity", searched=(), pointers={"texts": True}, of_truth=True
):
    """Similarity of generated texts to named documents (``adl.measures.similarity.Similarity``).

    ``by_kind`` is by kind of text: steered, unsteered, random. ``embedding`` says by what.
    """

    kind: Literal["similarity_measured"] = "similarity_measured"
    against: str
    documents_sha256: str
    embedding: str
    alpha: float
    by_kind: dict[str, Estimate]
    over_unsteered: Estimate | None
    over_random: Estimate | None
    documents: float
    n_documents: int
    texts: dict[str, tuple[str, ...]]
    settings: dict[str, Any] = Field(default_factory=dict)

    def _line(self) -> str:
        over = self.over_unsteered
        more = f", {over.value:+.3f} over unsteered" if over else ""
        return one_line(
            f"steered texts are {self.by_kind['steered'].value:.3f} like the documents{more}"
        )

    def short(self) -> str:
        """The similarity of steered texts over that of unsteered ones."""
        over = self.over_unsteered
        return f"{over.value:+.3f} over unsteered" if over else NOT_COMPUTED

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """The similarity by kind of text, and a text of each kind."""
        most = max(self.documents, *(found.high for found in self.by_kind.values())) or 1.0
        kinds = sorted(self.by_kind, key=lambda kind: -self.by_kind[kind].value)
        documents = f"{self.documents:.3f}"
        label = "documents themselves"
        return [
            Line(
                f"Cosine to {number_of(self.n_documents, 'document')} of {self.against}, alpha "
                f"{self.alpha:g}, by {self.embedding}."
            ),
            Line(
                f"Steered over unsteered {words_of(self.over_unsteered, '{:+.3f}')}, over a random "
                f"direction {words_of(self.over_random, '{:+.3f}')}."
            ),
            Rows(
                "Similarity to the documents",
                ("texts", "cosine [95%]"),
                (
                    *(_row(kind, self.by_kind[kind]) for kind in kinds),
                    Row((label, documents), (Bar(label, self.documents, documents),)),
                ),
                most,
            ),
            *(Sample(f"One text, {kind}", ids[0]) for kind, ids in self.texts.items() if ids),
        ]


def _row(kind: str, found: Estimate) -> Row:
    return Row((kind, found.words()), (Bar(kind, found.value, found.words()),))
