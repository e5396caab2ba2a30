"""An agent's endpoint and the people beside it, as a cassette has them.

The endpoint gives the recorded replies in their order, whatever it is asked: results are fenced with
marks drawn anew, number events, and say how many seconds are left, so no two runs ask in the same
words. Whether the agent was told the same but for those is compared message by message, and said.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from adl.callbacks import ShouldStop, never_stop
from workbench.agent.endpoint import Endpoint
from workbench.agent.request import Answer, OnText, Request
from workbench.operations.running import Session
from workbench.replay.cassette import Cassette
from workbench.settings import Settings
from workbench.store.agent_events import (
    AgentReplied,
    AgentRequested,
    AgentStarted,
    AgentTold,
    ApprovalAsked,
    ApprovalGiven,
    ToolMode,
)
from workbench.store.events import Event
from workbench.store.log import SessionLog
from workbench.store.recorded import Recorded
from workbench.store.slices.agents import AgentState

_FENCE = re.compile(r"(audited text (?:begins|ends) )[0-9a-f]{16}\b")
# Events of the endpoint itself depend on its speed, so later ones may have moved by some.
_SEQ = re.compile(r'("seq": )\d+')
_SECONDS_LEFT = re.compile(r"^(Left: .*?)\b\d+ s\.$", re.MULTILINE)


@dataclass(frozen=True)
class Reply:
    """A recorded reply, and the way of calling tools that was in use when it was asked for."""

    event: Event
    body: AgentReplied
    tool_mode: ToolMode


def recorded_replies(log: SessionLog, session_id: str, run_id: str) -> list[Reply]:
    """The replies of a run in its conversation, in order."""
    modes: dict[str, ToolMode] = {}
    found: list[Reply] = []
    for event in log.events(session_id, kinds=["agent_requested", "agent_replied"]):
        body = event.body
        if isinstance(body, AgentRequested):
            modes[body.exchange_id] = body.tool_mode
        elif isinstance(body, AgentReplied) and (body.run_id, body.purpose) == (run_id, "turn"):
            found.append(Reply(event, body, modes.get(body.exchange_id, "native")))
    return found


class RecordedEndpoint(Endpoint):
    """Answers from recorded replies, and asks no one."""

    def __init__(self, cassette: Cassette, start: AgentStarted, replies: Sequence[Reply]) -> None:
        # The address is recorded again as it was; no key is looked for, and none is needed.
        super().__init__(Settings.model_construct(base_url=start.endpoint, api_key=None))
        self._cassette = cassette
        self._replies = list(replies)
        self._given = 0
        self._use_mode()

    def attempt(
        self,
        request: Request,
        on_text: OnText = lambda _text: None,
        should_stop: ShouldStop = never_stop,
        deadline: float = math.inf,
    ) -> Answer:
        """The next recorded reply. Raises `OffCassette` where the record has no more."""
        if self._given == len(self._replies):
            raise self._cassette.leave(
                f"reply {self._given + 1} of {request.model}",
                f"the record has {len(self._replies)} replies",
            )
        reply = self._replies[self._given]
        self._given += 1
        self._use_mode()
        self._cassette.given(reply.event)
        body = reply.body
        on_text(body.content)
        return Answer(
            model=body.model,
            content=body.content,
            tool_calls=body.tool_calls,
            finish_reason=body.finish_reason,
            usage=body.usage,
            seconds=body.seconds,
            truncated=body.truncated,
            provider_fields=body.provider_fields,
        )

    def forget(self) -> None:
        """Do nothing: what was learnt of the recorded endpoint stands in the cassette."""

    def _use_mode(self) -> None:
        """Call tools as the next reply was asked to, which a server's refusal may have decided."""
        if self._given < len(self._replies) and self._replies[self._given].tool_mode == "json":
            self.use_json_tools()


@dataclass(frozen=True)
class Interlude:
    """An action of someone else while an agent was at work: after so many of its messages."""

    after_messages: int
    do: Callable[[], None]


class RecordedSupervisor:
    """The people of the record: they approve, write and take over where they did."""

    def __init__(
        self,
        cassette: Cassette,
        session: Session,
        interludes: Sequence[Interlude],
        decisions: Sequence[Event],
    ) -> None:
        self._cassette = cassette
        self._session = session
        self._interludes = list(interludes)
        self._decisions = list(decisions)

    def hold(self, run_id: str, should_stop: ShouldStop) -> None:
        """Do what others had done by now; nobody waits."""
        del should_stop
        so_far = len(spoken(self._session.state.agents[run_id].messages))
        while self._interludes and self._interludes[0].after_messages <= so_far:
            self._interludes.pop(0).do()

    def finish(self) -> None:
        """Do what others did that the agent's end came before."""
        while self._interludes:
            self._interludes.pop(0).do()

    def decide(self, asked: ApprovalAsked, should_stop: ShouldStop) -> ApprovalGiven:
        """The next recorded decision. Raises `OffCassette` where the record has no more."""
        del should_stop
        if not self._decisions:
            raise self._cassette.leave(
                f"approval of {asked.tool}", "nobody was asked so in the record"
            )
        event = self._decisions.pop(0)
        body = event.body
        assert isinstance(body, ApprovalGiven)
        again = body.model_copy(update={"run_id": asked.run_id, "call_id": asked.call_id})
        self._cassette.given(event, self._session.record(again, actor=event.actor))
        return again


def spoken(messages: Sequence[Recorded[Any]]) -> list[Recorded[Any]]:
    """The messages without the call that old sessions made in the agent's place."""
    return [message for message in messages if not is_made_up(message.body)]


def is_made_up(body: BaseModel) -> bool:
    """True if the message is a call made in the agent's place."""
    return isinstance(body, AgentTold) and body.role == "assistant"


def told_otherwise(then: AgentState, now: AgentState) -> int | None:
    """The place, from 1, of the first message that the agent was told in other words; or None."""
    pairs = zip(spoken(then.messages), spoken(now.messages), strict=False)
    for place, (message, other) in enumerate(pairs, start=1):
        if isinstance(message.body, AgentTold) != isinstance(other.body, AgentTold):
            return place
        if _normal(message.body.content) != _normal(other.body.content):
            return place
    return None


def _normal(content: str) -> str:
    """A message without what is drawn anew for every run."""
    return _SECONDS_LEFT.sub(r"\1? s.", _SEQ.sub(r"\1?", _FENCE.sub(r"\1?", content)))
