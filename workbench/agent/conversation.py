"""An audit's messages, from its events, as an endpoint takes them.

Two ways of calling tools, and an audit may change from one to the other at any message:

    native   tools by the protocol's own fields; results in the role ``tool``
    json     for servers without: the reply is one JSON object, and results are the user's turn, since
             such servers have no other role. Audited text is inside its fence either way.

What only the endpoint knows of a reply and its calls (its reasoning, signatures) goes back to it as it
came, and to no other. No call is sent that it did not make: some sign theirs and refuse others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from workbench.agent.assembling import REASONING
from workbench.agent.compacting import SHORTENED_OWN, is_short, short_content
from workbench.agent.nesting import read_json
from workbench.agent.prompts import JSON_TOOLS
from workbench.agent.quoting import cut
from workbench.agent.request import Message
from workbench.agent.tools import Tool
from workbench.agent.written_calls import written_calls
from workbench.store.agent_events import AgentReplied, AgentTold, ToolCall, ToolMode
from workbench.store.slices.agents import AgentState

#: Of one reply, in characters, as the agent gets it to read again.
LONGEST_OWN = 20_000
# Of the protocol, but of replies alone: no provider wants them back.
_OF_REPLIES = ("refusal", "annotations", "audio")
_NOTHING = "(empty reply)"


@dataclass(frozen=True)
class Turn:
    """One message with the tool calls it makes, each under an id of its own.

    ``short`` if it is sent shortened, ``shortest`` if also the overview is; see
    ``workbench.agent.compacting``.
    """

    body: AgentTold | AgentReplied
    calls: tuple[ToolCall, ...]
    short: bool = False
    shortest: bool = False

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
        if isinstance(body, AgentTold) and body.role == "assistant":
            # Old sessions have a call that we made in the agent's place.
            continue
        calls: list[ToolCall] = []
        found = calls_in(body) if isinstance(body, AgentReplied) else ()
        for index, call in enumerate(found):
            call_id = call.id
            if not call_id or call_id in seen:
                call_id = f"call-{recorded.seq}-{index}"
            seen.add(call_id)
            calls.append(call.model_copy(update={"id": call_id}))
        short = is_short(state.compacted, recorded)
        shortest = short and state.compacted is not None and state.compacted.opening
        yield Turn(body, tuple(calls), short, shortest)


def unanswered(state: AgentState) -> list[ToolCall]:
    """The calls that have no result yet, in order."""
    waiting: dict[str, ToolCall] = {}
    for turn in turns(state):
        waiting |= {call.id: call for call in turn.calls}
        if isinstance(turn.body, AgentTold) and turn.body.tool_call_id is not None:
            waiting.pop(turn.body.tool_call_id, None)
    return list(waiting.values())


def calls_in(reply: AgentReplied) -> tuple[ToolCall, ...]:
    """The calls that a reply makes: the protocol's, or those that stand in its text."""
    if reply.tool_calls:
        return reply.tool_calls
    text = reply.content
    if not text.strip():
        # A server may take all of a reply for its reasoning; only a call and nothing else is one.
        reasoning = (reply.provider_fields.get(name) for name in REASONING)
        text = next((words for words in reasoning if isinstance(words, str)), "")
    return written_calls(text)


@dataclass(frozen=True)
class Sending:
    """The form in which a conversation is sent.

    ``endpoint`` is the address it goes to, which gets its own fields back, but for ``without``; none
    if ``own_fields`` is false. Without ``calls``, earlier calls and their results are sent as text.
    """

    endpoint: str = ""
    own_fields: bool = True
    without: frozenset[str] = frozenset()
    calls: bool = True


def rendered(
    state: AgentState, tools: Sequence[Tool], mode: ToolMode, sending: Sending | None = None
) -> list[Message]:
    """The messages to send."""
    sending = sending or Sending()
    if mode == "native":
        form = _native if sending.calls else partial(_as_text, tools="")
        return _merged(form(turn, sending=sending) for turn in turns(state))
    specifications = [tool.specification()["function"] for tool in tools]
    listed = "\n".join(
        json.dumps(specification, ensure_ascii=False) for specification in specifications
    )
    return _merged(
        _as_text(turn, tools="\n\n" + JSON_TOOLS + listed, sending=sending) for turn in turns(state)
    )


def n_characters(messages: Sequence[Message]) -> int:
    """The length of messages, in characters that the model reads."""
    return sum(
        len(message["content"] if isinstance(message["content"], str) else "")
        + sum(len(call["function"]["arguments"]) for call in message.get("tool_calls", ()))
        for message in messages
    )


def _native(turn: Turn, *, sending: Sending) -> Message:
    body = turn.body
    if isinstance(body, AgentTold):
        if body.role == "tool" and body.source == "result":
            return {"role": "tool", "tool_call_id": body.tool_call_id, "content": turn.content}
        return _told(turn)
    message = _written(turn)
    if turn.calls:
        message["content"] = turn.content or None
        message["tool_calls"] = [_call(call, turn, sending) for call in turn.calls]
    return message | _own_fields(turn, sending)


def _call(call: ToolCall, turn: Turn, sending: Sending) -> Message:
    function = {"name": call.name, "arguments": _valid(call.arguments, turn.longest)}
    written: Message = {"id": call.id, "type": "function", "function": function}
    own = _known(call.provider_fields, turn, sending)
    within = own.pop("function", None)
    if isinstance(within, dict):
        written["function"] = {**within, **function}
    return written | own


def _as_text(turn: Turn, *, tools: str, sending: Sending) -> Message:
    """The message with calls and results in its text."""
    body = turn.body
    if isinstance(body, AgentTold):
        message = _told(turn)
        if body.role == "system":
            message["content"] += tools
        elif body.role == "tool":
            message["content"] = f"Result of {body.tool}:\n" + turn.content
        return message
    message = _written(turn)
    if body.tool_calls:
        written = [
            {
                "thought": turn.content,
                "tool": call.name,
                "arguments": json.loads(_valid(call.arguments, turn.longest)),
            }
            for call in turn.calls
        ]
        message["content"] = "\n".join(json.dumps(call, ensure_ascii=False) for call in written)
    own = _own_fields(turn, sending)
    own.pop("content", None)
    return message | own


def _told(turn: Turn) -> Message:
    body = turn.body
    assert isinstance(body, AgentTold)
    role = "system" if body.role == "system" else "user"
    return {"role": role, "content": turn.content}


def _written(turn: Turn) -> Message:
    # Servers refuse a message with neither text nor calls.
    return {"role": "assistant", "content": turn.content or ("" if turn.calls else _NOTHING)}


def _own_fields(turn: Turn, sending: Sending) -> Message:
    """The provider's own fields of a reply, for the provider. Shortened, its long texts lose their end.

    Structured ones may be signed, so they go whole or, when all else is short, not at all.
    """
    body = turn.body
    assert isinstance(body, AgentReplied)
    own = _known(body.provider_fields, turn, sending)
    for name in _OF_REPLIES:
        own.pop(name, None)
    if turn.short:
        own.pop("content", None)
        own = own if not turn.shortest else _texts(own)
        own |= {name: cut(value, turn.longest) for name, value in _texts(own).items()}
    return own


def _known(fields: Mapping[str, Any], turn: Turn, sending: Sending) -> Message:
    """The fields that go back to where they came from."""
    body = turn.body
    assert isinstance(body, AgentReplied)
    if not sending.own_fields or body.endpoint != sending.endpoint:
        return {}
    return {name: value for name, value in fields.items() if name not in sending.without}


def _texts(fields: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if isinstance(value, str)}


def _merged(messages: Iterator[Message]) -> list[Message]:
    """The user's turns one after the other as one: many chat templates insist on taking turns."""
    merged: list[Message] = []
    for message in messages:
        if merged and merged[-1]["role"] == message["role"] == "user":
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
