"""The budgets of an audit, and what is left of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from workbench.store.agent_events import BudgetName
from workbench.store.slices.agents import AgentState

# An agent that asks so often in a row for interactions it does not have has nothing else to do.
ASKED_IN_VAIN = 3
# Seconds for the answer that is asked for when the time is spent: a share of it, within bounds.
_ANSWER_SHARE = 0.1
_ANSWER_SECONDS = (2.0, 60.0)


def budget_in_words(name: str) -> str:
    """Return a budget's name as it is shown: ``calls`` of the agent's model are its replies."""
    return "replies" if name == "calls" else name


@dataclass(frozen=True)
class Budgets:
    """Model interactions, calls of the agent's model, its tokens, and seconds; None has no limit.

    The answer that is asked for when one is spent may go beyond calls and tokens, and beyond the
    seconds by a tenth (2 to 60).
    """

    interactions: int | None = 5
    calls: int | None = 40
    tokens: int | None = 400_000
    seconds: float | None = 3_600.0

    def as_dict(self) -> dict[str, float | None]:
        """Plain data, for the log."""
        return asdict(self)

    @classmethod
    def of(cls, recorded: Mapping[str, float | None]) -> Budgets:
        """The budgets as an audit's start records them; one that is not named has no limit."""

        def whole(name: str) -> int | None:
            value = recorded.get(name)
            return None if value is None else int(value)

        return cls(whole("interactions"), whole("calls"), whole("tokens"), recorded.get("seconds"))

    def interactions_left(self, state: AgentState) -> int | None:
        """The number of questions that may still be put to the models; None for any number."""
        if self.interactions is None:
            return None
        return max(0, self.interactions - state.interactions)

    def seconds_left(self, state: AgentState, *, answer: bool = False) -> float:
        """Seconds that the next reply may take; infinite without a limit.

        ``answer``: it is the answer that is asked for at the end, which is always given some.
        """
        if self.seconds is None:
            return math.inf
        left = max(0.0, self.seconds - state.seconds)
        least, most = _ANSWER_SECONDS
        return max(left, min(most, max(least, _ANSWER_SHARE * self.seconds))) if answer else left

    def spent(self, state: AgentState) -> BudgetName | None:
        """The budget that ends the audit here, if one does.

        Spent interactions alone do not: the agent may still think and look. They do when it asks for
        more again and again.
        """
        if self.calls is not None and state.replies >= self.calls:
            return "calls"
        if self.tokens is not None and state.tokens >= self.tokens:
            return "tokens"
        if self.seconds is not None and state.seconds >= self.seconds:
            return "time"
        results = [message.body for message in state.messages[-3 * ASKED_IN_VAIN :]]
        last = [body for body in results if body.kind == "agent_told" and body.source == "result"]
        in_vain = [body.budget == "interactions" for body in last[-ASKED_IN_VAIN:]]
        return "interactions" if len(in_vain) == ASKED_IN_VAIN and all(in_vain) else None

    def left(self, state: AgentState) -> str:
        """The budgets left, in words for the agent."""
        parts = []
        if self.interactions is not None:
            parts.append(f"{self.interactions_left(state)} of {self.interactions} interactions")
        if self.calls is not None:
            parts.append(f"{max(0, self.calls - state.replies)} of {self.calls} replies")
        if self.tokens is not None:
            parts.append(f"{max(0, self.tokens - state.tokens)} tokens")
        if self.seconds is not None:
            parts.append(f"{max(0.0, self.seconds - state.seconds):.0f} s")
        return "Left: " + (", ".join(parts) or "no limit") + "."
