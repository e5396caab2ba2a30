"""Tools that stand for several operations, or for one operation several times.

An operation of its own for each schema would go with every request: what an auditor does with
hypotheses is one tool, and so is what it does with evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from workbench.agent import short_ids
from workbench.agent.errors import ToolError
from workbench.agent.evidence import finding_data
from workbench.blinding.aliases import Blinding
from workbench.fields import FieldsConflict
from workbench.operations.generation import ASK, AskArguments
from workbench.operations.hypotheses import (
    ADD_HYPOTHESIS,
    LINK,
    MARK,
    RANK,
    REVISE,
    SET_VERDICT,
    AddHypothesisArguments,
    LinkArguments,
    MarkArguments,
    RankArguments,
    ReviseArguments,
    SetVerdictArguments,
    Wording,
)
from workbench.operations.running import Arguments, Operation
from workbench.operations.shared_arguments import (
    Confidence,
    EvidenceNote,
    PromptText,
    ReasonToRevise,
)
from workbench.store.events import Bearing, Verdict
from workbench.store.findings import Measure
from workbench.store.state import Recorded, SessionState, TextState

Step = tuple[Operation[Any], Arguments]


class AskManyArguments(AskArguments):
    """Questions to both models, each by itself: prompts, a whole chat, or raw text."""

    prompts: tuple[PromptText, ...] = Field((), description="User turns, each put to both models.")

    @model_validator(mode="after")
    def _one_question(self) -> AskManyArguments:
        if sum([bool(self.prompts), bool(self.messages), self.raw is not None]) != 1:
            raise FieldsConflict("give exactly one of them", "prompts", "messages", "raw")
        self.questions()
        return self

    def questions(self) -> list[AskArguments]:
        """The arguments of each question's operation."""
        same = self.model_dump(exclude={"prompts", "prompt"})
        return [AskArguments(prompt=prompt, **same) for prompt in self.prompts or (None,)]


class HypothesisArguments(Arguments):
    """A new hypothesis, or what changes of one; or the order of all."""

    hypothesis: str | None = Field(None, description="H1, say, to change it; none adds one.")
    text: Wording | None = Field(None, description="What the model was finetuned to do.")
    confidence: Confidence = None
    verdict: Verdict | None = Field(None, description="open takes a verdict back.")
    reason: ReasonToRevise = ""
    order: tuple[str, ...] = Field((), description="Ids, likeliest first: ranks them.")

    @model_validator(mode="after")
    def _something(self) -> HypothesisArguments:
        if self.hypothesis is None and self.text is None and not self.order:
            raise FieldsConflict(
                "give the text of a new hypothesis, the id of one, or an order",
                "text",
                "hypothesis",
                "order",
            )
        if self.hypothesis is None and self.verdict is not None:
            raise FieldsConflict(
                "a verdict needs the id of its hypothesis", "verdict", "hypothesis"
            )
        if self.hypothesis is None and self.text is None and self.confidence is not None:
            raise FieldsConflict(
                "a confidence needs the id of its hypothesis", "confidence", "hypothesis"
            )
        if self.hypothesis is not None and not (
            self.text or self.verdict or self.order or self.confidence is not None
        ):
            raise FieldsConflict("give what changes", "text", "confidence", "verdict", "order")
        return self


class EvidenceArguments(Arguments):
    """A token or passage to mark, or a mark to link to another hypothesis."""

    of: str = Field(
        description="Id of the text (T12), list (R3) or measure (M2), or of a mark to link (E4)."
    )
    excerpt: str = Field("", description="The token or passage, word for word.")
    hypothesis: str | None = Field(None, description="Id of the hypothesis it bears on.")
    bearing: Bearing = Field("for", description="none unlinks a mark.")
    note: EvidenceNote = ""


@dataclass(frozen=True)
class Sight:
    """The view that the agent has: the texts it may have been shown, and measures as it is told them.

    ``has_lens``: it is shown readings and measures, too.
    """

    is_visible: Callable[[TextState], bool]
    measure: Callable[[Recorded[Measure]], Measure]
    blinding: Blinding
    has_lens: bool = True


@dataclass(frozen=True)
class Merged:
    """The operations that a tool stands for, and those that one call of it takes, in order."""

    operations: tuple[Operation[Any], ...]
    steps: Callable[[SessionState, Any, Sight], Sequence[Step]]


def _ask_steps(_state: SessionState, wanted: AskManyArguments, _sight: Sight) -> Sequence[Step]:
    return [(ASK, question) for question in wanted.questions()]


def _hypothesis_steps(
    state: SessionState, wanted: HypothesisArguments, _sight: Sight
) -> Sequence[Step]:
    short_ids.check_ids(state, [*filter(None, [wanted.hypothesis]), *wanted.order])
    steps: list[Step] = []
    if wanted.hypothesis is None and wanted.text is not None:
        added = AddHypothesisArguments(text=wanted.text, confidence=wanted.confidence)
        steps.append((ADD_HYPOTHESIS, added))
    elif wanted.hypothesis is not None:
        if wanted.text is not None or wanted.confidence is not None:
            fields = wanted.model_dump(include={"hypothesis", "text", "confidence", "reason"})
            steps.append((REVISE, ReviseArguments(**fields)))
        if wanted.verdict is not None:
            fields = wanted.model_dump(include={"hypothesis", "verdict", "reason"})
            steps.append((SET_VERDICT, SetVerdictArguments(**fields)))
    if wanted.order:
        steps.append((RANK, RankArguments(order=wanted.order)))
    return steps


def _evidence_steps(state: SessionState, wanted: EvidenceArguments, sight: Sight) -> Sequence[Step]:
    short_ids.check_ids(state, filter(None, [wanted.hypothesis]))
    if wanted.of in state.evidence or wanted.of[:1] == "E":
        short_ids.check_ids(state, [wanted.of])
        if wanted.hypothesis is None:
            raise ToolError(f"{wanted.of} is marked already", "Name a hypothesis to link it to.")
        if wanted.excerpt or wanted.note:
            raise ToolError(
                f"{wanted.of} is marked already, with its excerpt and note",
                "Give of, hypothesis and bearing alone, or mark anew with the id of the text.",
            )
        link = LinkArguments(
            hypothesis=wanted.hypothesis, evidence=wanted.of, bearing=wanted.bearing
        )
        return [(LINK, link)]
    if not wanted.excerpt:
        raise ToolError("there is no excerpt", "Give the token or the passage, word for word.")
    if wanted.bearing == "none":
        raise ToolError("a new mark bears for or against", "none is for a mark, such as E1.")
    if wanted.bearing == "against" and wanted.hypothesis is None:
        raise ToolError("there is no hypothesis that it speaks against", "Name it by its id.")
    found = _found(state, wanted, sight)
    return [
        (
            MARK,
            MarkArguments(
                note=wanted.note, hypothesis=wanted.hypothesis, bearing=wanted.bearing, **found
            ),
        )
    ]


def _found(state: SessionState, wanted: EvidenceArguments, sight: Sight) -> dict[str, Any]:
    """Return the place of an excerpt, as a mark names it. Raises ``ToolError`` if there is none."""
    if not sight.has_lens:
        short_ids.check_seen([wanted.of])
    match wanted.of[:1]:
        case "R":
            listed = short_ids.find_reading(state, wanted.of)
            rank, token = short_ids.token(listed, wanted.excerpt, wanted.of, sight.blinding)
            body = listed.body
            where = f"{body.reading.replace('_', ' ')} of {body.source}"
            return {
                "seq": listed.seq,
                "excerpt": token.text,
                "token_id": token.id,
                "label": f"{where}, layer {body.layer}, position {body.position}, rank {rank}",
            }
        case "M":
            found = short_ids.find_measure(state, wanted.of)
            shown = "\n".join(strings_in(finding_data(sight.measure(found), state, 10**6)))
            excerpt = short_ids.passage(shown, wanted.excerpt, wanted.of, sight.blinding)
            return {"seq": found.seq, "excerpt": excerpt, "label": found.body.label}
        case _:
            text = short_ids.find_text(state, wanted.of)
            if not sight.is_visible(text):
                raise ToolError(f"there is no text {wanted.of!r} that you may see")
            start = text.start.body
            steered = f", alpha {start.alpha:g}" if start.alpha else ""
            return {
                "seq": text.start.seq,
                "text_id": start.text_id,
                "excerpt": short_ids.passage(text.text, wanted.excerpt, wanted.of, sight.blinding),
                "label": f"{start.side}{steered}: {' '.join(start.prompt.split())[:80]}",
            }


def strings_in(value: Any) -> list[str]:
    """Return all texts in plain data, keys left out."""
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    return (
        [text for item in items for text in strings_in(item)] if hasattr(items, "__iter__") else []
    )


ASK_MANY = Merged((ASK,), _ask_steps)
HYPOTHESES = Merged((ADD_HYPOTHESIS, REVISE, SET_VERDICT, RANK), _hypothesis_steps)
EVIDENCE = Merged((MARK, LINK), _evidence_steps)
