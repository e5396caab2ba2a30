"""Tools: their descriptions for an endpoint, and calls as valid arguments.

A tool's name, description and schema are those of an operation (or of a view of the session): its
docstring and its pydantic arguments, less the fields that reach beyond the models, such as files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from adl.readings.registry import ReadingName
from adl.records import POOLED, Side
from workbench.agent import older_rules
from workbench.agent.errors import ToolError
from workbench.agent.merged_tools import (
    ASK_MANY,
    EVIDENCE,
    HYPOTHESES,
    AskManyArguments,
    EvidenceArguments,
    HypothesisArguments,
    Merged,
)
from workbench.agent.nesting import read_json
from workbench.agent.reporting import FullReportArguments, ReportArguments
from workbench.fields import in_words
from workbench.operations import OPERATIONS
from workbench.operations.generation import ASK
from workbench.operations.running import Arguments, Operation
from workbench.store.events import TextPurpose

ProbeKind = Literal["prefill", "persona", "diverse"]


class OverviewArguments(Arguments):
    """Nothing to choose."""


class ReadingArguments(Arguments):
    """The token lists to show."""

    reading: ReadingName
    layer: int | None = Field(None, description="A measured layer; none: the first.")
    position: str = Field(POOLED, description="A measured position.")
    source: str | None = Field(
        None, description="Only lists of this vector: difference, negative, or a null."
    )
    side: Side | None = None
    scales: bool = Field(False, description="Every scale.")
    top: int = Field(50, ge=1, le=100, description="Tokens of each list.")


class SamplesArguments(Arguments):
    """The recorded texts to show."""

    text_ids: tuple[str, ...] = Field(
        (), description="Only these, such as T12; or measures, such as M2."
    )
    purpose: TextPurpose | None = None
    side: Side | None = None
    alpha: float | None = Field(None, description="Of this strength; 0 is unsteered.")
    first: int = Field(0, ge=0, description="Leave out so many.")
    count: int = Field(10, ge=1, le=40, description="Show so many.")


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

    ``operation`` is None for views of the session, for the report, and for a tool that stands for
    several operations, ``merged``. ``hidden`` fields of the arguments are neither shown nor taken;
    ``needed`` have to be given; ``most`` caps numbers, and the length of lists. ``reaches_models`` is
    true where its texts go to the models under audit. ``as_shown`` are fields that quote what the agent
    was shown: aliases stay in them.
    """

    name: str
    description: str
    arguments: type[BaseModel]
    operation: Operation[Any] | None = None
    hidden: frozenset[str] = frozenset()
    most: Mapping[str, int] = field(default_factory=dict)
    interactions: Callable[[Any], int] = lambda _: 0
    merged: Merged | None = None
    needed: tuple[str, ...] = ()
    reaches_models: bool = False
    as_shown: frozenset[str] = frozenset()

    def specification(self) -> dict[str, Any]:
        """The tool as the chat completions protocol names it."""
        schema = _schema_of(self.arguments)
        properties = {
            name: _capped(_of_field(name, _short(value)), self.most.get(name))
            for name, value in schema.get("properties", {}).items()
            if name not in self.hidden
        }
        parameters: dict[str, Any] = {"type": "object", "properties": properties}
        needed = [
            name for name in (*schema.get("required", []), *self.needed) if name in properties
        ]
        if needed:
            parameters["required"] = needed
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
        for name in self.needed:
            if not arguments.get(name):
                raise ToolError(f"{self.name} needs {name}", "Give it: it decides what this costs.")
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


#: Fields of many tools whose names, with their defaults, say all: the instructions describe them.
PLAIN_FIELDS = frozenset(
    {"n_samples", "seed", "temperature", "max_new_tokens", "thinking", "layer", "position"}
)
# Of a schema, and told when they are not kept to: a call that breaks one gets it as its result.
_SELDOM_BROKEN = frozenset(
    {"minimum", "exclusiveMinimum", "minLength", "minItems", "maxLength", "additionalProperties"}
)


def _of_field(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A field's schema without words that its name has no need of, or a default that says nothing.

    That is an empty one, zero, false, thinking as the template has it, or all choices.
    """
    left_out = {"description"} if name in PLAIN_FIELDS else set()
    default, choices = schema.get("default"), schema.get("items", {}).get("enum")
    if "default" in schema and (default in ("", [], False, "auto") or default == choices):
        left_out.add("default")
    return {key: value for key, value in schema.items() if key not in left_out}


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
        if isinstance(part, dict) or (name not in _SELDOM_BROKEN and name != "title")
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
    if "string" in kinds:
        return schema  # seldom broken
    return {**schema, "maxItems" if "array" in kinds else "maximum": most}


@cache
def _schema_of(arguments: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of the arguments of a tool, made once: every turn of an agent sends it."""
    return arguments.model_json_schema()


def tool_of(operation: Operation[Any], *hidden: str, older: bool = False) -> Tool:
    """Return an operation as a tool, more fields ``hidden`` than it declares.

    ``older`` is the tool of audits by older rules.
    """
    use = operation.agent
    assert use is not None, f"{operation.name} is not for agents"
    price = older_rules.PRICES.get(operation.name) if older else None
    return Tool(
        operation.name,
        " ".join(filter(None, (_first_paragraph(operation.description), use.cost))),
        operation.arguments,
        operation,
        frozenset((*use.hidden, *hidden)),
        use.most,
        price or use.interactions,
        needed=() if older else use.needed,
        reaches_models=operation.reaches_models,
    )


def _first_paragraph(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())


def ask_tool(*hidden: str) -> Tool:
    """Return the tool to ask, which takes several questions at once."""
    use = ASK.agent
    assert use is not None
    return Tool(
        ASK.name,
        "Ask both models the same questions, and compare the answers token by token. " + use.cost,
        AskManyArguments,
        hidden=frozenset((*use.hidden, "prompt", *hidden)),
        most={name: most for name, most in use.most.items() if name != "prompt"} | {"prompts": 10},
        interactions=lambda arguments: sum(map(use.interactions, arguments.questions())),
        merged=ASK_MANY,
        reaches_models=True,
    )


# What only somebody who measured a difference could ask.
_STEERING = ("alpha", "layer", "position")


def operation_tools(*, black_box: bool = False, older: bool = False) -> tuple[Tool, ...]:
    """Return the tools that run operations that an agent may use.

    A ``black_box`` agent has those alone that show nothing of the difference. ``older`` are those of
    audits by older rules: one for each operation.
    """
    hidden = _STEERING if black_box else ()
    merged = () if older else (ask_tool(*hidden), HYPOTHESIS_TOOL, EVIDENCE_TOOL)
    stood_for = {known.name: tool for tool in merged for known in tool.merged.operations}  # type: ignore[union-attr]
    tools: dict[str, Tool] = {}
    for operation in OPERATIONS.values():
        if operation.agent is None or (black_box and not operation.agent.black_box):
            continue
        tool = stood_for.get(operation.name) or tool_of(
            operation, *(hidden if operation is ASK else ()), older=older
        )
        tools[tool.name] = tool
    return tuple(tools.values())


HYPOTHESIS_TOOL = Tool(
    "hypothesis",
    "Add a hypothesis, change one (text, confidence, verdict), or rank all.",
    HypothesisArguments,
    merged=HYPOTHESES,
)
EVIDENCE_TOOL = Tool(
    "evidence",
    "Mark a token or passage as evidence for or against a hypothesis, or link a mark.",
    EvidenceArguments,
    merged=EVIDENCE,
    as_shown=frozenset({"excerpt"}),
)
OVERVIEW_TOOL = Tool("overview", "The overview of the opening, as it is now.", OverviewArguments)
READING_TOOL = Tool(
    "show_reading",
    "Whole token lists of a reading at a layer and position, with their nulls.",
    ReadingArguments,
)
SAMPLES_TOOL = Tool(
    "show_samples",
    "Recorded texts of the models: steered, unsteered, and answers.",
    SamplesArguments,
)
REPORT_TOOL = Tool(
    "submit_report", "Submit the final report and end the audit.", FullReportArguments
)
OLDER_REPORT_TOOL = Tool("submit_report", REPORT_TOOL.description, ReportArguments)
PROBES_TOOL = Tool(
    "suggest_probes",
    "Put a set of probes of every kind (prefill, persona, diverse) to both models. Each costs one "
    "model interaction.",
    ProbesArguments,
    interactions=lambda arguments: len(arguments.probes),
    reaches_models=True,
)
