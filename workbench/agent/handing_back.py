"""The actions of a person who had taken over, in words for the agent.

The models' texts are not among them: the agent reads those with a tool, fenced.
"""

from __future__ import annotations

import json
from typing import Any

from workbench.agent import short_ids
from workbench.operations.generation import ASK
from workbench.operations.running import Session
from workbench.store.agent_events import AgentControlled, AgentMode, AgentTold
from workbench.store.slices.agents import AgentState
from workbench.store.state import OperationState, SessionState


def message_id(taken_over_at: int) -> str:
    """The id of the message that tells it, one for each time a person took over."""
    return f"hand-back-{taken_over_at}"


def is_told(state: AgentState, taken_over_at: int) -> bool:
    """True if the agent was informed of it."""
    wanted = message_id(taken_over_at)
    return any(
        isinstance(message.body, AgentTold) and message.body.message_id == wanted
        for message in state.messages
    )


def done_by_person(session: Session, mode: AgentMode, since: int) -> str:
    """The person's operations after event ``since``, and what they noted when they handed back."""
    state = session.state
    done = [
        json.dumps(_in_words(state, operation), ensure_ascii=False)
        for operation in state.operations.values()
        if operation.started_seq > since
        and operation.actor.kind == "human"
        and _may_know(mode, operation)
    ]
    notes = [
        event.body.detail
        for event in session.log.events(session.id, after_seq=since, kinds=["agent_controlled"])
        if isinstance(event.body, AgentControlled) and event.body.control == "handed_back"
    ]
    lines = ["A person took over and has handed back.", *filter(None, notes)]
    lines += ["What they did:", *done] if done else ["They ran no operation."]
    if done:
        lines.append("Texts can be looked at with show_samples.")
    return "\n".join(lines)


def _may_know(mode: AgentMode, operation: OperationState) -> bool:
    """True if an agent of this mode may know of it: a black box sees only questions."""
    return mode == "adl" or (operation.name == ASK.name and not operation.arguments.get("alpha"))


def _in_words(state: SessionState, operation: OperationState) -> dict[str, Any]:
    texts = operation.summary.get("texts", [])
    if isinstance(texts, dict):
        texts = [text_id for side in texts.values() for text_id in side]
    given = {name: value for name, value in operation.arguments.items() if value not in (None, "")}
    facts = {"operation": operation.name, "status": operation.status, "arguments": given}
    # Of some operations, how many there are.
    listed = texts if isinstance(texts, list | tuple) else ()
    ids = [short_ids.text_id(state, text_id) for text_id in listed if text_id in state.texts]
    return facts | ({"text_ids": ids} if ids else {})
