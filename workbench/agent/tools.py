"""Tools: their descriptions for an endpoint, and calls as valid arguments.

A tool's name, description and schema are those of an operation (or of a view of the session): its
docstring and its pydantic arguments, less the fields that reach beyond the models, such as files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from adl.errors import AdlError
from adl.readings.registry import ReadingName
from adl.records import POOLED, Side
from workbench.agent.nesting import read_json
from workbench.fields import in_words
from workbench.operations import OPERATIONS
from workbench.operations.generation import ASK
from workbench.operations.running import Arguments, Operation
from workbench.store.events import TextPurpose


class ToolError(AdlError):
    """A call that cannot be done; the agent gets the reason and goes on."""


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
    purpose: TextPurpose | None = Field(None, description="Only texts made for this.")
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
    interactions: Callable[[Any], int] = lambda _: 0

    def specification(self) -> dict[str, Any]:
        """The tool as the chat completions protocol names it."""
        schema = self.arguments.model_json_schema()
        properties = {
            name: _capped(_short(value), self.most.get(name))
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
            parameters["$defs"] = _short(schema["$defs"])
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


def _short(schema: Any) -> Any:
    """A schema without what every request would carry for nothing: titles, and null as a choice.

    A field that may be null has null as its default, so leaving it out means the same.
    """
    if isinstance(schema, list):
        return [_short(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    short = {
        name: _short(part)
        for name, part in schema.items()
        if not (name == "title" and isinstance(part, str))
    }
    choices = short.get("anyOf", [])
    if len(choices) == 2 and {"type": "null"} in choices and short.get("default", 0) is None:
        (choice,) = (part for part in choices if part != {"type": "null"})
        short = {
            **choice,
            **{name: part for name, part in short.items() if name not in {"anyOf", "default"}},
        }
    return short


def _capped(schema: dict[str, Any], most: int | None) -> dict[str, Any]:
    if most is None:
        return schema
    kinds = {variant.get("type") for variant in (schema, *schema.get("anyOf", ()))}
    limit = "maxItems" if "array" in kinds else "maxLength" if "string" in kinds else "maximum"
    return {**schema, limit: most}


def tool_of(operation: Operation[Any], *hidden: str) -> Tool:
    """Return an operation as a tool, more fields ``hidden`` than it declares."""
    use = operation.agent
    assert use is not None, f"{operation.name} is not for agents"
    return Tool(
        operation.name,
        " ".join(filter(None, (operation.description, use.cost))),
        operation.arguments,
        operation,
        frozenset((*use.hidden, *hidden)),
        use.most,
        use.interactions,
    )


# Asking without what only somebody who measured a difference could ask.
BLACK_BOX_ASK_TOOL = tool_of(ASK, "alpha", "layer", "position")


def operation_tools(*, black_box: bool = False) -> tuple[Tool, ...]:
    """Return a tool for every operation that an agent may use.

    A ``black_box`` agent has those alone that show nothing of the difference.
    """
    if not black_box:
        return tuple(
            tool_of(operation) for operation in OPERATIONS.values() if operation.agent is not None
        )
    return tuple(
        BLACK_BOX_ASK_TOOL if operation is ASK else tool_of(operation)
        for operation in OPERATIONS.values()
        if operation.agent is not None and operation.agent.black_box
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
    interactions=lambda arguments: len(arguments.probes),
)
