"""The progress of an audit, read off its messages; the loop's next step follows from it."""

from __future__ import annotations

from workbench.agent.conversation import turns
from workbench.agent.errors import ToolError
from workbench.agent.tools import arguments_of
from workbench.store.agent_events import AgentReplied, AgentTold, BudgetName, ToolCall
from workbench.store.slices.agents import AgentState


def asked_for_answer(state: AgentState) -> BudgetName | None:
    """The spent budget for which the agent was asked for its answer."""
    for message in state.messages:
        if isinstance(message.body, AgentTold) and message.body.source == "budget":
            return message.body.budget
    return None


def answers_tried(state: AgentState) -> int:
    """The number of replies since the agent was asked for its answer. It has been asked."""
    bodies = [message.body for message in state.messages]
    places = [
        place
        for place, body in enumerate(bodies)
        if isinstance(body, AgentTold) and body.source == "budget"
    ]
    return sum(isinstance(body, AgentReplied) for body in bodies[places[-1] :])


def last_written(state: AgentState) -> str:
    """The agent's last message that is not empty."""
    replies = [message.body for message in state.messages if isinstance(message.body, AgentReplied)]
    return next((reply.content for reply in reversed(replies) if reply.content.strip()), "")


def silent_replies(state: AgentState) -> int:
    """The number of replies without a call since the last that had one."""
    count = 0
    for turn in reversed(list(turns(state))):
        if isinstance(turn.body, AgentReplied):
            if turn.calls:
                break
            count += 1
    return count


def ever_called(state: AgentState) -> bool:
    """True if any reply made a call in the protocol's fields."""
    return any(
        message.body.tool_calls
        for message in state.messages
        if isinstance(message.body, AgentReplied)
    )


def cut_off_replies(state: AgentState) -> int:
    """The number of replies, back from the last, that were cut off before a whole call."""
    count = 0
    for turn in reversed(list(turns(state))):
        if isinstance(turn.body, AgentReplied):
            if turn.body.finish_reason != "length" or any(map(_is_whole, turn.calls)):
                break
            count += 1
    return count


def _is_whole(call: ToolCall) -> bool:
    try:
        arguments_of(call.arguments)
    except ToolError:
        return False
    return True
