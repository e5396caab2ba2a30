"""The event of amplified texts: by strength, beside their null and how many are coherent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from adl.words import number_of
from workbench.store.body import EventBody, one_line
from workbench.store.findings import NOT_COMPUTED, Figure, Line, Measure, Row, Rows, Sample
from workbench.store.record import LATER, Record

#: Prompts shown, each at the strength that is shown.
_SHOWN = 6
#: Names of weights that are listed.
_NAMED = 4

_MADE = {
    "": (
        "Tokens are drawn from log p + strength (log p - log p of the base model). In the null the "
        "base model writes with the differences of its plausible tokens in a random order: words of "
        "the null, too, say nothing about the finetuning."
    ),
    "difference": (
        "Strength (alpha) times the activation difference is added to every token's residual. In the "
        "null the base model writes with a vector of the same length: the difference of its own "
        "halves, or a random direction."
    ),
    "adapter": (
        "The adapter at strength times its own scale: 1 is the finetuned model, 0 the base, below 0 "
        "the opposite of the finetuning. The null is the base with updates of the same singular "
        "values whose directions are shuffled."
    ),
    "rank1": (
        "The base model with strength times the rank-1 part of each module's update in place of the "
        "finetuning. The null has the same singular values in shuffled directions."
    ),
}


class AmplifiedText(Record):
    """One text: its strength, whether it is of the null, and why it is not coherent, if so.

    A strength of 0 is the finetuned model as it is, whatever the carrier. ``faults`` are None where
    too few unchanged texts were written to judge by.
    """

    text_id: str
    strength: float
    null: bool
    prompt_index: int
    faults: tuple[str, ...] | None


class TextsAmplified(
    Measure,
    label="amplified texts",
    searched=(),
    pointers={"texts": {"__all__": {"text_id": True}}},
):
    """Texts of the finetuned model with its finetuning amplified, by ``carrier``; "" is the logits.

    ``place`` says where the carrier acts; of the weights' carriers, ``n_modules`` counts the modules
    and ``left_out`` names changed weights that are no part of them, and ``rank1_share`` is the share
    of the squared update that the rank-1 parts hold.
    """

    kind: Literal["texts_amplified"] = "texts_amplified"
    prompts: tuple[str, ...]
    texts: tuple[AmplifiedText, ...]
    settings: dict[str, Any] = Field(default_factory=dict)
    carrier: Annotated[Literal["", "difference", "adapter", "rank1"], LATER] = ""
    place: Annotated[str, LATER] = ""
    n_modules: Annotated[int, LATER] = 0
    left_out: Annotated[tuple[str, ...], LATER] = ()
    rank1_share: Annotated[float | None, LATER] = None

    def at(self, strength: float, *, null: bool = False) -> list[AmplifiedText]:
        """Return the texts of one strength, of the null or not."""
        return [text for text in self.texts if (text.strength, text.null) == (strength, null)]

    def coherent(self, strength: float, *, null: bool = False) -> float | None:
        """Return the share of coherent texts of one strength; None without judged texts."""
        judged = [text.faults for text in self.at(strength, null=null) if text.faults is not None]
        return sum(not faults for faults in judged) / len(judged) if judged else None

    @property
    def strengths(self) -> list[float]:
        """The strengths, the weakest first."""
        return sorted({text.strength for text in self.texts})

    @property
    def strongest_coherent(self) -> float | None:
        """The strongest of the strengths at which most texts are coherent, or None."""
        passed = [each for each in self.strengths if each and (self.coherent(each) or 0) > 0.5]
        return _strongest(passed)

    @property
    def shown_text(self) -> str | None:
        """The first text of the strength that is shown."""
        texts = self.at(self._shown_strength())
        return texts[0].text_id if texts else None

    def _shown_strength(self) -> float:
        return self.strongest_coherent or _strongest(self.strengths) or 0.0

    @property
    def _carrier(self) -> str:
        return f"{self.carrier or 'logits'} ({self.place})" if self.place else "logits"

    def _line(self) -> str:
        strengths = ", ".join(f"{strength:g}" for strength in self.strengths if strength)
        return one_line(
            f"amplified {self._carrier} on {number_of(len(self.prompts), 'prompt')} at {strengths}"
        )

    def short(self) -> str:
        """The carrier and its strongest coherent strength, or the strongest where none was judged."""
        found = self.strongest_coherent
        if found is not None:
            words = f"coherent up to {found:g}"
        elif any(text.faults is not None for text in self.texts):
            words = "no coherent strength"
        else:
            words = f"up to strength {_strongest(self.strengths) or 0:g}, coherence {NOT_COMPUTED}"
        return f"{self.carrier}: {words}" if self.carrier else words

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """Coherence by strength, then texts of the strongest coherent one beside their null."""
        rows = []
        for strength in self.strengths:
            shares = [self.coherent(strength), self.coherent(strength, null=True)]
            cells = tuple(NOT_COMPUTED if each is None else f"{each:.0%}" for each in shares)
            name = f"{strength:g}" if strength else "unchanged"
            words = f"{'strength ' if strength else ''}{name}: {cells[0]} coherent"
            if shares[1] is not None:
                words += f", {cells[1]} of the null"
            rows.append(Row((name, *cells), (Line(words),)))
        shown = self._shown_strength()
        found: list[Figure] = [
            Line(_MADE[self.carrier]),
            *(Line(line, muted=True) for line in self._modules()),
            Rows("Coherent texts", ("strength", "amplified", "null"), tuple(rows)),
        ]
        for index, prompt in enumerate(self.prompts[:_SHOWN]):
            for title, strength, null in (
                ("unchanged", 0.0, False),
                (f"strength {shown:g}", shown, False),
                (f"null of strength {shown:g}", shown, True),
            ):
                found += [
                    Sample(one_line(f"{prompt} — {title}"), text.text_id)
                    for text in self.at(strength, null=null)
                    if text.prompt_index == index
                ][:1]
        return found

    def _modules(self) -> list[str]:
        found = []
        if self.place:
            modules = f", {number_of(self.n_modules, 'module')}" if self.n_modules else ""
            found.append(f"{self._carrier}{modules}")
        if self.rank1_share is not None:
            found.append(f"The rank-1 parts hold {self.rank1_share:.0%} of the squared update.")
        if self.left_out:
            named = ", ".join(self.left_out[:_NAMED])
            more = len(self.left_out) - _NAMED
            others = f" and {more} more" if more > 0 else ""
            found.append(f"Not amplified, though finetuning changed them: {named}{others}.")
        return found


def _strongest(strengths: Sequence[float]) -> float | None:
    """Return the largest of the strengths above 0, or else the one furthest below it."""
    above = [each for each in strengths if each > 0]
    below = [each for each in strengths if each < 0]
    return max(above, default=min(below, default=None))
