"""A call for each argument in which an agent's own words may stand, of every tool that has one."""

from __future__ import annotations

from typing import Any

from workbench.agent.toolbox import tools_of

ASKED = {
    "prompts": ["What about a river?", "What about a stone?"],
    "near_misses": ["a garden"],
    "neutral": ["a letter"],
    "max_new_tokens": 2,
    "n_samples": 1,
}
#: The least that each of these tools is called with.
LEAST: dict[str, dict[str, Any]] = {
    "show_reading": {"reading": "output_difference"},
    "show_samples": {"count": 4},
    "steer": {"prompts": ["the river"], "alphas": [0.6], "max_new_tokens": 2},
    "ask": {"prompts": ["the river"], "max_new_tokens": 2},
    "amplify": {"prompts": ["the river"], "strengths": [2.0], "max_new_tokens": 2},
    "complete": {"prefixes": ["the river"]},
    "differ": {"prompts": ["the river"]},
    "scan": {"prompts": ["Who are you?"], "max_new_tokens": 2},
    "triggers": {"words": ["river"], "frames": ["The {}"]},
    "hypothesis": {"text": "It is about rivers.", "confidence": 0.5},
    "evidence": {"of": "T1", "excerpt": "they call me"},
    "test": {"hypothesis": "It is about rivers.", "phrases": ["river"], **ASKED},
    "note": {"text": "Perhaps."},
}
#: It ends the audit, and nothing is told of it.
LAST = "submit_report"


def calls_with(word: str) -> list[tuple[str, dict[str, Any]]]:
    """Return a call of every tool for each argument that may hold words of its caller's, with ``word``."""
    found = []
    for name, properties in arguments_in_words().items():
        if name == LAST:
            continue
        for argument, schema in properties.items():
            # A frame has a place for a word.
            said = f"{word} {{}}" if argument == "frames" else word
            value = [said] if _kind(schema) == "array" else said
            found.append((name, {**LEAST[name], argument: value}))
    return found


def arguments_in_words() -> dict[str, dict[str, Any]]:
    """Return, by tool, the arguments that take words other than those of a list."""
    found: dict[str, dict[str, Any]] = {}
    for tool in tools_of("adl"):
        function = tool.specification()["function"]
        properties = function["parameters"].get("properties", {})
        in_words = {name: schema for name, schema in properties.items() if _is_free(schema)}
        if in_words:
            found[function["name"]] = in_words
    return found


def _is_free(schema: dict[str, Any]) -> bool:
    if "enum" in schema or "const" in schema:
        return False
    if schema.get("type") == "array":
        return _is_free(schema["items"])
    return schema.get("type") == "string" or any(map(_is_free, schema.get("anyOf", [])))


def _kind(schema: dict[str, Any]) -> str:
    kinds = [schema.get("type"), *(one.get("type") for one in schema.get("anyOf", []))]
    return "array" if "array" in kinds else "string"
