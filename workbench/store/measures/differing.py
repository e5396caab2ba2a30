"""The event of texts on which the two models differ most, with their KL token by token."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal

from pydantic import Field

from adl.text.tokens import visible
from adl.words import number_of
from workbench.store.body import EventBody, one_line
from workbench.store.findings import NOT_COMPUTED, Bar, Figure, Line, Measure, Row, Rows, Sample
from workbench.store.record import Record

TextSource = Literal["passages", "prompts", "answers"]
_KINDS = {"passages": "Unrelated passages", "prompts": "Prompts", "answers": "Answers"}
#: Texts listed of a kind, those of them shown with each token shaded, and tokens around the one that
#: differs most.
_SHOWN, _SHADED, _AROUND = 12, 3, 6


class DifferingText(Record):
    """One text (``adl.measures.differing.TextDifference``), KL in nats."""

    source: TextSource
    text: str
    pieces: tuple[str, ...]
    kl: tuple[float, ...]
    highest: int
    raised: str
    probability: float
    log_ratio: float
    mean: float

    @property
    def is_whole(self) -> bool:
        """True if the pieces are the text's. Where a name is hidden in it, they would spell it."""
        joined = "".join(self.pieces)
        return joined.strip() in self.text or self.text.strip() in joined


class TextsDiffer(Measure, label="where they differ"):
    """Passages, prompts and answers by the mean KL of the two models, the largest first."""

    kind: Literal["texts_differ"] = "texts_differ"
    texts: tuple[DifferingText, ...]
    reference: float | None
    n_left_out: int = 0
    settings: dict[str, Any] = Field(default_factory=dict)

    def of(self, source: str) -> list[DifferingText]:
        """Return the texts of one source, the largest mean first."""
        return [text for text in self.texts if text.source == source]

    def _texts(self) -> Any:
        yield from (text.text for text in self.texts)

    def _line(self) -> str:
        return one_line(f"{number_of(len(self.texts), 'text')} compared, {self.short()}")

    def short(self) -> str:
        """The highest mean over prompts beside the reference."""
        prompts = self.of("prompts")
        reference = NOT_COMPUTED if self.reference is None else f"{self.reference:.3f}"
        if not prompts:
            return f"mean KL {reference} nats on unrelated text"
        return f"mean KL up to {prompts[0].mean:.3f} on prompts, {reference} on unrelated text"

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """For each source the texts with the largest mean, and what rises where they differ most."""
        reference = NOT_COMPUTED if self.reference is None else f"{self.reference:.3f} nats"
        found: list[Figure] = [
            Line(
                "Mean KL(finetuned || base) per token, the token in brackets being where it is "
                f"highest. The mean over unrelated passages is {reference}: a text differs by more "
                "than finetuning changes everything only if it lies well above."
            )
        ]
        if self.n_left_out:
            found.append(
                Line(
                    f"Left out: {number_of(self.n_left_out, 'text')}, which the sides write in other tokens."
                )
            )
        most = max((text.mean for text in self.texts), default=1.0)
        for source, title in _KINDS.items():
            if texts := self.of(source)[:_SHOWN]:
                columns = ("mean KL", "highest", "text", "raised most there", "p", "ratio")
                found.append(Rows(title, columns, tuple(map(_row, texts)), most))
                found += [_shaded(text) for text in texts[:_SHADED] if text.is_whole]
        return found


def _shaded(text: DifferingText) -> Sample:
    """The compared tokens, each shaded by its KL."""
    ends = tuple(accumulate(map(len, text.pieces)))
    title = f"Mean KL {text.mean:.3f}, the tokens shaded by theirs"
    return Sample(title, text="".join(text.pieces), ends=ends, ratios=text.kl)


def _row(text: DifferingText) -> Row:
    first = max(0, text.highest - _AROUND)
    pieces = list(text.pieces[first : text.highest + _AROUND])
    pieces[text.highest - first] = f"[{pieces[text.highest - first]}]"
    excerpt = one_line("".join(pieces) if text.is_whole else text.text)
    raised = visible(text.raised) if text.raised else ""
    ratio = f"{text.log_ratio:+.2f}" if text.raised else ""
    note = f"{text.mean:.3f}  raised there: {raised} (p {text.probability:.2f}, {ratio})"
    return Row(
        (
            f"{text.mean:.3f}",
            f"{text.kl[text.highest]:.2f}",
            excerpt,
            raised,
            f"{text.probability:.3f}" if text.raised else "",
            ratio,
        ),
        (Bar(excerpt, text.mean, note if text.raised else f"{text.mean:.3f}"),),
    )
