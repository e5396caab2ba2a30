"""Thinking in chat templates: the tags of a thought, and the settings that switch it on and off."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension, loopcontrols

_WORDS = r"(?:[\w-]*:)?(?:think|thinking|thought|thoughts|reasoning|reason|analysis)"
# <think>, <seed:think>, [THINK], <|START_THINKING|>, <|begin_of_thought|>, <|channel>thought.
_OPENS = re.compile(
    rf"<(?P<angle>{_WORDS})>|\[(?P<square>{_WORDS})\]|(?P<channel><\|channel>{_WORDS})|"
    rf"<\|(?P<before>start_|begin_of_|begin_)(?P<bar>{_WORDS})\|>",
    re.IGNORECASE,
)
_TAG_AT_END = re.compile(rf"(?:{_OPENS.pattern})\s*\Z", re.IGNORECASE)
_PAST_THOUGHT = re.compile(rf"\A.*</{_WORDS}>|\A.*\[/{_WORDS}\]", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class OpenThought:
    """A thought that is opened: its index in the text, its tag and the tag that ends it."""

    at: int
    tag: str
    end: str


def open_thought(answer: str) -> OpenThought | None:
    """Return the thought that a generation prompt opens and does not end, or None."""
    found = None
    for match in _OPENS.finditer(answer):
        found = match
    if found is None:
        return None
    end = _ending(found)
    after = answer[found.end() :]
    return None if end.lower() in after.lower() else OpenThought(found.start(), found[0], end)


def tag_at_end(text: str) -> str:
    """Return the tag that opens a thought at the end of a text, or an empty string."""
    tail = _TAG_AT_END.search(text)
    return tail[0] if tail else ""


def without_thought(answer: str) -> str:
    """Return an answer without the thought it begins with."""
    return _PAST_THOUGHT.sub("", answer)


def _ending(opened: re.Match[str]) -> str:
    if opened["angle"]:
        return f"</{opened['angle']}>"
    if opened["square"]:
        return f"[/{opened['square']}]"
    if opened["channel"]:
        return "<channel|>"
    before = opened["before"]
    end = {"start_": "end_", "begin_": "end_", "begin_of_": "end_of_"}[before.lower()]
    return f"<|{end.upper() if before.isupper() else end}{opened['bar']}|>"


# Settings that a template reads: those of a yes-no kind by any such name, the others by their values.
_SETTING = re.compile(r"think|reason|thought", re.IGNORECASE)
_NEGATIVE = re.compile(
    r"(?:^|_)(?:no|not|disable|disabled|skip|hide|without)(?:_|$)", re.IGNORECASE
)
_OFF_VALUES = ("none", "off", "no_think", "nothink", "disabled", "chat")
_ON_VALUES = ("high", "on", "think", "thinking", "enabled", "deep", "medium")


class _Generation(Extension):
    """The block that transformers adds to jinja; without it some templates do not parse."""

    tags = {"generation"}  # noqa: RUF012 - how jinja declares it

    def parse(self, parser: Any) -> list[nodes.Node]:
        next(parser.stream)
        found: list[nodes.Node] = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return found


@lru_cache(maxsize=64)
def thinking_settings(template: str) -> tuple[tuple[dict[str, Any], dict[str, Any]], ...]:
    """Return (on, off) options of rendering for each thinking setting that a template reads."""
    environment = jinja2.Environment(extensions=[_Generation, loopcontrols])
    try:
        tree = environment.parse(template)
    except jinja2.TemplateError:
        return ()
    read = sorted(name for name in meta.find_undeclared_variables(tree) if _SETTING.search(name))
    values = {
        node.value.lower() for node in tree.find_all(nodes.Const) if isinstance(node.value, str)
    }
    off = next((value for value in _OFF_VALUES if value in values), None)
    on = next((value for value in _ON_VALUES if value in values), None)
    found: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for name in read:
        if "budget" in name.lower():
            found.append(({}, {name: 0}))
        elif "effort" in name.lower() or "mode" in name.lower():
            if on is not None and off is not None:
                found.append(({name: on}, {name: off}))
        else:
            negative = bool(_NEGATIVE.search(name))
            found.append(({name: not negative}, {name: negative}))
    return tuple(found)
