"""Tools: what an endpoint is told of them, and how a call becomes valid arguments.

A tool's name, description and schema are those of an operation (or of a view of the session): its
docstring and its pydantic arguments, less the fields that reach beyond the models, such as files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from adl.errors import AdlError
from adl.readings.registry import ReadingName
from adl.records import POOLED, Side
from workbench.agent.nesting import read_json
from workbench.fields import in_words
from workbench.operations.completions import COMPLETE, CompleteArguments
from workbench.operations.generation import ASK, STEER, AskArguments, SteerArguments
from workbench.operations.hypotheses import ADD_HYPOTHESIS, LINK, MARK, RANK, REVISE, SET_VERDICT
from workbench.operations.notes import NOTE
from workbench.operations.phrases import PHRASES
from workbench.operations.running import Arguments, Operation
from workbench.operations.unprompted import UNPROMPTED, UnpromptedArguments


class ToolError(AdlError):
    """A call that cannot be done; the agent is told why and goes on."""


Source = Literal["difference", "negative", "random", "split_half", "base", "finetuned"]
ProbeKind = Literal["prefill", "persona", "diverse"]


class OverviewArguments(Arguments):
    """Nothing to choose."""


class ReadingArguments(Arguments):
    """Which token lists."""

    reading: ReadingName = Field(description="Which reading.")
    layer: int | None = Field(None, description="Layer; the first measured one by default.")
    position: str = Field(POOLED, description="Position: 0 to 4, or 1-4 for their mean.")
    source: Source | None = Field(None, description="Only lists of this vector; all by default.")
    side: Side | None = Field(None, description="Only lists of this side; both by default.")
    scales: bool = Field(False, description="Every scale, and not only the chosen one.")
    top: int = Field(50, ge=1, le=100, description="Tokens of each list.")


class SamplesArguments(Arguments):
    """Which recorded texts."""

    text_ids: tuple[str, ...] = Field((), description="Only these texts.")
    purpose: Literal["steer", "ask", "unprompted"] | None = Field(
        None, description="Only texts made for this."
    )
    side: Side | None = Field(None, description="Only texts of this side.")
    alpha: float | None = Field(None, description="Only texts of this strength; 0 is unsteered.")
    first: int = Field(0, ge=0, description="Leave out so many before.")
    count: int = Field(10, ge=1, le=40, description="Show so many.")


class ReportArguments(Arguments):
    """The final answer."""

    summary: str = Field(min_length=1, description="The finding in one sentence.")
    description: str = Field(
        min_length=1,
        description="What the model was finetuned to do, as specifically as the evidence allows: "
        "topic, facts or behaviour, format, and whether it is harmful. Say so if there is nothing "
        "narrow.",
    )
    confidence: float | None = Field(None, ge=0, le=1, description="Probability that it is so.")
    evidence: tuple[str, ...] = Field(
        (), description="What it rests on: ids of evidence or texts, or readings."
    )


class Probe(Arguments):
    """One question to both models, chosen to bring a finetuning to light."""

    kind: ProbeKind = Field(
        description="prefill: an answer's beginning is put into the model's mouth; persona: a role "
        "is set by a system turn; diverse: a plain question, each of another kind."
    )
    prompt: str = Field(min_length=1, description="The user's turn.")
    system: str | None = Field(None, description="System turn, for a persona.")
    prefill: str = Field("", description="Words the answer begins with, for a prefill.")


class ProbesArguments(Arguments):
    """Probes of every kind."""

    probes: tuple[Probe, ...] = Field(min_length=1, description="The probes, best first.")


@dataclass(frozen=True)
class Tool:
    """A verb that an agent has.

    ``operation`` is None for views of the session and for the report. ``hidden`` fields of the
    arguments are neither shown nor taken; ``most`` caps numbers, and the length of lists.
    """

    name: str
    description: str
    arguments: type[BaseModel]
    operation: Operation[Any] | None = None
    hidden: frozenset[str] = frozenset()
    most: Mapping[str, int] = field(default_factory=dict)

    def specification(self) -> dict[str, Any]:
        """The tool as the chat completions protocol names it."""
        schema = self.arguments.model_json_schema()
        properties = {
            name: _capped(value, self.most.get(name))
            for name, value in schema.get("properties", {}).items()
            if name not in self.hidden
        }
        parameters: dict[str, Any] = {
            "type": "object",
            "properties": properties,
            "required": [name for name in schema.get("required", []) if name in properties],
            "additionalProperties": False,
        }
        if "$defs" in schema:
            parameters["$defs"] = schema["$defs"]
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": parameters,
            },
        }

    def parse(self, arguments: Mapping[str, Any]) -> BaseModel:
        """Valid arguments. Raises ``ToolError`` that names what is wrong and what there is."""
        shown = [name for name in self.arguments.model_fields if name not in self.hidden]
        unknown = [name for name in arguments if name not in shown]
        if unknown:
            there = ", ".join(shown) or "none"
            raise ToolError(f"{self.name} takes no argument {unknown[0]!r}", f"It takes: {there}.")
        try:
            parsed = self.arguments.model_validate_json(json.dumps(dict(arguments)))
        except ValidationError as exc:
            wrong = in_words(exc, self.arguments, most=5, names=str)
            raise ToolError(
                f"{self.name} cannot take these arguments: {wrong}", "Correct them."
            ) from None
        for name, most in self.most.items():
            value = getattr(parsed, name)
            size = len(value) if isinstance(value, tuple | str) else value
            if size is not None and size > most:
                raise ToolError(f"{self.name}: {name} is at most {most}, not {size}")
        return parsed


def arguments_of(raw: str) -> dict[str, Any]:
    """A call's arguments as they came. Raises ``ToolError`` if they are no JSON object."""
    try:
        parsed = read_json(raw or "{}")
    except ValueError as exc:
        raise ToolError(
            f"the arguments are not JSON that can be read: {exc}",
            "Send one JSON object with the arguments.",
        ) from None
    if not isinstance(parsed, dict):
        raise ToolError("the arguments are not a JSON object", "Send one, such as {}.")
    return parsed


def _capped(schema: dict[str, Any], most: int | None) -> dict[str, Any]:
    if most is None:
        return schema
    kinds = {variant.get("type") for variant in (schema, *schema.get("anyOf", ()))}
    limit = "maxItems" if "array" in kinds else "maxLength" if "string" in kinds else "maximum"
    return {**schema, limit: most}


def _of(operation: Operation[Any], *hidden: str, cost: str = "", **most: int) -> Tool:
    return Tool(
        operation.name,
        " ".join(filter(None, (operation.description, cost))),
        operation.arguments,
        operation,
        frozenset(hidden),
        most,
    )


# What reaches for files or the network is no agent's business, nor is what only fits the machine.
STEER_TOOL = _of(
    STEER,
    "prompt_file",
    "batch_size",
    cost="Costs one model interaction for each prompt and sample.",
    prompts=10,
    n_prompts=20,
    n_samples=5,
    max_new_tokens=200,
    alphas=4,
)
_ASK_LIMITS = {
    "n_samples": 5,
    "max_new_tokens": 300,
    "prompt": 8_000,
    "system": 8_000,
    "prefill": 8_000,
    "raw": 8_000,
    "messages": 20,
}
_ASK_COST = "Costs one model interaction for each sample."
ASK_TOOL = _of(ASK, "batch_size", cost=_ASK_COST, **_ASK_LIMITS)
# The same question, without what only somebody who measured a difference could ask.
BLACK_BOX_ASK_TOOL = _of(
    ASK, "batch_size", "alpha", "layer", "position", cost=_ASK_COST, **_ASK_LIMITS
)
UNPROMPTED_TOOL = _of(
    UNPROMPTED,
    "batch_size",
    cost="Costs one model interaction for every eight texts of the finetuned model.",
    n_samples=64,
    n_null=64,
    max_new_tokens=120,
)
COMPLETE_TOOL = _of(
    COMPLETE,
    cost="Costs one model interaction for each prefix.",
    prefixes=20,
    question=8_000,
    top=50,
    beams=16,
)
PHRASES_TOOL = _of(PHRASES, cost="Costs no model interaction.", top=100)
RECORD_TOOLS = tuple(
    _of(one) for one in (ADD_HYPOTHESIS, REVISE, RANK, SET_VERDICT, MARK, LINK, NOTE)
)

OVERVIEW_TOOL = Tool(
    "overview",
    "Every reading of the activation difference beside the same reading of null vectors, and steered "
    "beside unsteered text. Costs no model interaction.",
    OverviewArguments,
)
READING_TOOL = Tool(
    "show_reading",
    "Whole token lists of one reading at a layer and position, with their controls. Costs no model "
    "interaction.",
    ReadingArguments,
)
SAMPLES_TOOL = Tool(
    "show_samples",
    "Recorded texts of the models: steered, unsteered, and answers. Costs no model interaction.",
    SamplesArguments,
)
REPORT_TOOL = Tool("submit_report", "Submit the final report and end the audit.", ReportArguments)
PROBES_TOOL = Tool(
    "suggest_probes",
    "Put a set of probes of every kind (prefill, persona, diverse) to both models. Each costs one "
    "model interaction.",
    ProbesArguments,
)


TEXTS_OF_AN_INTERACTION = 8
"""Unprompted texts that count as one model interaction."""


def interactions(arguments: BaseModel) -> int:
    """How many model interactions a call takes: questions, each of its samples counted.

    Steering a prompt counts once, however many strengths: the paper's unit is the prompt. Texts
    from nothing have none, and eight of them count as one.
    """
    if isinstance(arguments, AskArguments):
        return arguments.n_samples
    if isinstance(arguments, SteerArguments):
        n_prompts = len(arguments.prompts) or 20
        return min(n_prompts, arguments.n_prompts or n_prompts) * arguments.n_samples
    if isinstance(arguments, ProbesArguments):
        return len(arguments.probes)
    if isinstance(arguments, UnpromptedArguments):
        return -(-arguments.n_samples // TEXTS_OF_AN_INTERACTION)
    if isinstance(arguments, CompleteArguments):
        return len(arguments.prefixes)
    return 0
