"""The event of amplified logits: texts by strength, beside their null and how many are coherent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from workbench.store.body import EventBody, one_line
from workbench.store.findings import NOT_COMPUTED, Figure, Line, Measure, Row, Rows, Sample
from workbench.store.record import Record

#: Prompts shown, each at the strength that is shown.
_SHOWN = 6


class AmplifiedText(Record):
    """One text: its strength gamma, whether it is of the null, and why it is not coherent, if so.

    ``faults`` are None where too few unchanged texts were written to judge by.
    """

    text_id: str
    strength: float
    null: bool
    prompt_index: int
    faults: tuple[str, ...] | None


class TextsAmplified(
    Measure,
    label="amplified logits",
    searched=(),
    pointers={"texts": {"__all__": {"text_id": True}}},
):
    """Texts of the finetuned model with its logits pushed away from the base model's."""

    kind: Literal["texts_amplified"] = "texts_amplified"
    prompts: tuple[str, ...]
    texts: tuple[AmplifiedText, ...]
    settings: dict[str, Any] = Field(default_factory=dict)

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
        """The strongest of the strengths above 0 at which most texts are coherent, or None."""
        passed = [each for each in self.strengths if each and (self.coherent(each) or 0) > 0.5]
        return max(passed, default=None)

    @property
    def shown_text(self) -> str | None:
        """The first text of the strength that is shown."""
        texts = self.at(self._shown_strength())
        return texts[0].text_id if texts else None

    def _shown_strength(self) -> float:
        return self.strongest_coherent or max(self.strengths, default=0.0)

    def _line(self) -> str:
        strengths = ", ".join(f"{strength:g}" for strength in self.strengths)
        return one_line(f"amplified logits on {len(self.prompts)} prompts at {strengths}")

    def short(self) -> str:
        """The strongest coherent strength, or the strongest where none was judged."""
        found = self.strongest_coherent
        if found is not None:
            return f"coherent up to {found:g}"
        if any(text.faults is not None for text in self.texts):
            return "no coherent strength"
        return f"up to strength {max(self.strengths, default=0.0):g}, coherence {NOT_COMPUTED}"

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """Coherence by strength, then texts of the strongest coherent one beside their null."""
        rows = []
        for strength in self.strengths:
            shares = [self.coherent(strength), self.coherent(strength, null=True)]
            cells = tuple(NOT_COMPUTED if each is None else f"{each:.0%}" for each in shares)
            words = f"strength {strength:g}: {cells[0]} coherent"
            if shares[1] is not None:
                words += f", {cells[1]} of the null"
            rows.append(Row((f"{strength:g}", *cells), (Line(words),)))
        shown = self._shown_strength()
        found: list[Figure] = [
            Line(
                "Tokens are drawn from log p + strength (log p - log p of the base model). The null "
                "takes the differences of the tokens in a random order: words of the null, too, say "
                "nothing about the finetuning."
            ),
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
