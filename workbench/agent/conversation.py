"""An audit's messages, from its events, as an endpoint takes them.

Two ways of calling tools, and an audit may change from one to the other at any message:

    native   tools by the protocol's own fields; results in the role ``tool``
    json     for servers without: the reply is one JSON object, and results are the user's turn, since
             such servers have no other role. Audited text is inside its fence either way.

Taken as a call is only what stands in the protocol's fields, or a reply that is one JSON object as a
whole: nothing that a reply quotes can become one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.agent.compacting import SHORTENED_OWN, is_short, short_content
from workbench.agent.nesting import TooDeep, read_json
from workbench.agent.prompts import JSON_TOOLS
from workbench.agent.quoting import cut
from workbench.agent.tools import Tool
from workbench.store.agent_events import AgentReplied, AgentTold, ToolCall, ToolMode
from workbench.store.agents import AgentState

Message = dict[str, Any]

#: Of one reply, in characters, as the agent gets it to read again.
LONGEST_OWN = 20_000
_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_TOOL = re.compile(r'"tool"\s*:\s*"([^"\\]{1,60})"')
_FENCED = re.compile(r"\A```(?:json)?\s*\n(.*)\n```\Z", re.DOTALL)


@dataclass(frozen=True)
class Turn:
    """One message with the tool calls it makes, each under an id of its own.

    ``short`` if it is sent shortened; see ``workbench.agent.compacting``.
    """

    body: AgentTold | AgentReplied
    calls: tuple[ToolCall, ...]
    short: bool = False

    @property
    def content(self) -> str:
        """Its text as it is sent. Ours is never cut otherwise: a fence without its end is none."""
        if self.short:
            return short_content(self.body)
        body = self.body
        return body.content if isinstance(body, AgentTold) else cut(body.content, LONGEST_OWN)

    @property
    def longest(self) -> int:
        """Of a call's arguments, in characters."""
        return SHORTENED_OWN if self.short else LONGEST_OWN


def turns(state: AgentState) -> Iterator[Turn]:
    """The conversation's messages in order.

    Servers give calls ids that are empty or used twice: such a call gets one made from its place.
    """
    seen: set[str] = set()
    for recorded in state.messages:
        body = recorded.body
        calls: list[ToolCall] = []
        found = body.tool_calls if isinstance(body, AgentTold) else calls_in(body)
        for index, call in enumerate(found):
            call_id = call.id
            if not call_id or call_id in seen:
                call_id = f"call-{recorded.seq}-{index}"
            seen.add(call_id)
            calls.append(call.model_copy(update={"id": call_id}))
        yield Turn(body, tuple(calls), is_short(state.compacted, recorded))


def unanswered(state: AgentState) -> list[ToolCall]:
    """The calls that have no result yet, in order."""
    waiting: dict[str, ToolCall] = {}
    for turn in turns(state):
        waiting |= {call.id: call for call in turn.calls}
        if isinstance(turn.body, AgentTold) and turn.body.tool_call_id is not None:
            waiting.pop(turn.body.tool_call_id, None)
    return list(waiting.values())


def calls_in(reply: AgentReplied) -> tuple[ToolCall, ...]:
    """The calls that a reply makes: the protocol's, or the one that the whole reply is."""
    if reply.tool_calls:
        return reply.tool_calls
    call = json_call(reply.content)
    return () if call is None else (call,)


def json_call(content: str) -> ToolCall | None:
    """The call that a reply is, if it is one JSON object with ``tool`` and ``arguments``."""
    text = _THOUGHTS.sub("", content).strip()
    fenced = _FENCED.match(text)
    try:
        found = read_json(fenced[1] if fenced else text)
    except TooDeep:
        # A call all the same, whose arguments are refused when they are read.
        named = _TOOL.search(text)
        return ToolCall(id="", name=named[1], arguments=text) if named else None
    except ValueError:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("tool"), str):
        return None
    arguments = found.get("arguments", {})
    written = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(id="", name=found["tool"], arguments=written)


def rendered(state: AgentState, tools: Sequence[Tool], mode: ToolMode) -> list[Message]:
    """The messages to send."""
    if mode == "native":
        return [_native(turn) for turn in turns(state)]
    specifications = [tool.specification()["function"] for tool in tools]
    listed = "\n".join(json.dumps(one, ensure_ascii=False) for one in specifications)
    return _merged(_as_json(turn, JSON_TOOLS + listed) for turn in turns(state))


def _native(turn: Turn) -> Message:
    body = turn.body
    if isinstance(body, AgentTold) and body.role == "tool":
        return {"role": "tool", "tool_call_id": body.tool_call_id, "content": turn.content}
    role = body.role if isinstance(body, AgentTold) else "assistant"
    message: Message = {"role": role, "content": turn.content}
    if turn.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _valid(call.arguments, turn.longest)},
            }
            for call in turn.calls
        ]
    return message


def _as_json(turn: Turn, tools: str) -> Message:
    body = turn.body
    if isinstance(body, AgentTold):
        if body.role == "system":
            return {"role": "system", "content": body.content + "\n\n" + tools}
        if body.role == "tool":
            return {"role": "user", "content": f"Result of {body.tool}:\n" + turn.content}
        if body.role == "user":
            return {"role": "user", "content": body.content}
    own = isinstance(body, AgentReplied) and not body.tool_calls
    if own or not turn.calls:
        return {"role": "assistant", "content": turn.content}
    call = turn.calls[0]
    written = {
        "thought": turn.content,
        "tool": call.name,
        "arguments": json.loads(_valid(call.arguments, turn.longest)),
    }
    return {"role": "assistant", "content": json.dumps(written, ensure_ascii=False)}


def _merged(messages: Iterator[Message]) -> list[Message]:
    """Turns of one role one after the other as one: many chat templates insist on taking turns."""
    merged: list[Message] = []
    for message in messages:
        if merged and merged[-1]["role"] == message["role"] != "system":
            merged[-1]["content"] += "\n\n" + message["content"]
        else:
            merged.append(message)
    return merged


def _valid(arguments: str, longest: int) -> str:
    """The arguments as JSON: servers parse what they are sent again, and fail where it is none."""
    try:
        parsed = read_json(arguments or "{}")
    except ValueError:
        parsed = None
    if isinstance(parsed, dict) and len(arguments) <= longest:
        return arguments or "{}"
    why = "shortened" if isinstance(parsed, dict) else "unreadable"
    return json.dumps({why: cut(arguments, 200)})
