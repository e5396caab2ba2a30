"""Tool calls that a reply has in its text, since its server has no others or did not read them.

Taken is a reply that is calls and nothing else, after its thoughts:

    {"tool": NAME, "arguments": {...}}    as we ask for it, also in a fence; several, one a line, as
                                          earlier replies of several calls are written to it
    <tool_call> ... </tool_call>          as models were trained to write it, several, too: an object
                                          with a name and arguments, as JSON or as Python has it, a
                                          call as Python has it, or tags for function and parameters

Thoughts end with their closing tag, also where the opening one stood in the prompt; where the closing
one is missing, the call is what the reply ends with. Words before ``<tool_call>`` are thoughts as well.
Nothing that a reply quotes in passing can become a call: text after it makes it none.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

from workbench.agent.nesting import TooDeep, read_json
from workbench.store.agent_events import ToolCall

_TAGS = r"(?:think|thinking|thought)"
_THOUGHTS = re.compile(rf"\A\s*<{_TAGS}>.*?</{_TAGS}>", re.DOTALL)
_OPENED = re.compile(rf"\A\s*<{_TAGS}>")
_CLOSED = re.compile(rf"\A.*</{_TAGS}>", re.DOTALL)
_FENCED = re.compile(r"\A```\w*[ \t]*\n(.*)\n```\Z", re.DOTALL)
_OPEN_BLOCK = "<tool_call>"
_BLOCK = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_FUNCTION = re.compile(r"\A<function=([\w.-]+)>(.*?)(?:</function>)?\Z", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([\w.-]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_OBJECT = re.compile(r"^\{", re.MULTILINE)
_NAME = re.compile(r'"(?:tool|name)"\s*:\s*"(\w{1,60})"')
# Of a text that is read as Python; a longer one is no call.
_LONGEST_PYTHON = 50_000
# Keys of a call that are no arguments of it.
_BESIDE = frozenset({"tool", "name", "thought", "id", "type", "arguments", "parameters"})
# Objects at the end of thoughts without an end that are looked at.
_MOST_OBJECTS = 5


def written_calls(content: str) -> tuple[ToolCall, ...]:
    """The calls that a reply's text is; none if it is anything else as well."""
    text = _without_thoughts(content)
    place = 0 if text.startswith(_OPEN_BLOCK) else text.find("\n" + _OPEN_BLOCK)
    if place >= 0:
        blocks = [_call(block) for block in _BLOCK.findall(text, place)]
        alone = not _BLOCK.sub("", text[place:]).strip()
        found = tuple(call for call in blocks if call is not None)
        return found if alone and len(found) == len(blocks) else ()
    lines = text.splitlines()
    if len(lines) > 1:
        each = [_line_call(line) for line in lines if line.strip()]
        if all(each):
            return tuple(filter(None, each))
    call = _call(text)
    if call is None and _OPENED.match(content):
        # Thoughts without an end: the call is the object that the reply ends with.
        starts = [found.start() for found in _OBJECT.finditer(text)][-_MOST_OBJECTS:]
        call = next(filter(None, (_call(text[start:]) for start in starts)), None)
    return () if call is None else (call,)


def _without_thoughts(content: str) -> str:
    text = _THOUGHTS.sub("", content)
    if text == content:
        text = _OPENED.sub("", _CLOSED.sub("", content))
    return text.strip()


def _call(text: str) -> ToolCall | None:
    """The call that a text is as a whole."""
    text = text.strip()
    fenced = _FENCED.match(text)
    text = fenced[1].strip() if fenced else text
    try:
        return _called(read_json(text))
    except TooDeep:
        # A call all the same, whose arguments are refused when they are read.
        named = _NAME.search(text)
        return ToolCall(id="", name=named[1], arguments=text) if named else None
    except ValueError:
        pass
    function = _FUNCTION.match(text)
    if function is not None:
        given = {name: _typed(value) for name, value in _PARAMETER.findall(function[2])}
        return _called({"name": function[1], "arguments": given})
    try:
        return _called(_python(text)) if len(text) <= _LONGEST_PYTHON else None
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _line_call(line: str) -> ToolCall | None:
    """The call that a line is as one JSON object."""
    try:
        return _called(read_json(line))
    except ValueError:
        return None


def _called(value: Any) -> ToolCall | None:
    """The call that an object describes."""
    if not isinstance(value, dict):
        return None
    name = value.get("tool", value.get("name"))
    arguments = value.get("arguments", value.get("parameters"))
    if not isinstance(name, str) or ("tool" not in value and arguments is None):
        return None
    if arguments is None and value.keys() - _BESIDE:
        # Its arguments stand elsewhere: it is told the form, instead of called without them.
        return None
    if arguments is None:
        arguments = {}
    written = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(id="", name=name, arguments=written)


def _python(text: str) -> Any:
    """The value of a literal, or of a call with literals. Raises as ``ast`` does, and ``TypeError``."""
    with warnings.catch_warnings():
        # Of escapes that Python does not know.
        warnings.simplefilter("ignore")
        node = ast.parse(text, mode="eval").body
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    if not isinstance(node.func, ast.Name) or node.args:
        return None
    named = {item.arg: ast.literal_eval(item.value) for item in node.keywords if item.arg}
    return {"name": node.func.id, "arguments": named}


def _typed(value: str) -> Any:
    try:
        return read_json(value)
    except ValueError:
        return value
