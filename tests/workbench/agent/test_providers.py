"""An audit with every provider: many turns, two calls at once, stopped in the middle and resumed."""

from __future__ import annotations

import pytest

from adl.errors import Stopped
from tests.workbench.agent.providers import PROVIDERS, LlamaCpp, Ollama, OpenRouter, Provider
from tests.workbench.agent.scripted import reported, serving
from workbench.agent.budgets import Budgets
from workbench.agent.endpoint import Endpoint
from workbench.agent.loop import AuditPlan, Surroundings, resume_audit, start_audit
from workbench.operations.running import Session
from workbench.store.agent_events import AgentNoticed

PLAN = AuditPlan(
    model="scripted", budgets=Budgets(calls=3), temperature=0.5, seed=1, max_tokens=100_000
)


@pytest.mark.parametrize("kind", PROVIDERS, ids=lambda kind: kind.name)
def test_an_audit_with_a_provider_is_stopped_and_goes_on_to_its_report(
    fresh: Session, kind: type[Provider]
):
    provider = kind()

    def stop() -> bool:
        return any(one.replies == 2 for one in fresh.state.agents.values())

    with serving(provider) as server:
        endpoint = Endpoint(server.settings())
        with pytest.raises(Stopped):
            start_audit(fresh, endpoint, PLAN, surroundings=Surroundings(should_stop=stop))
        endpoint.close()
        endpoint = Endpoint(server.settings())
        state = resume_audit(fresh, endpoint)
        endpoint.close()
    assert provider.faults == []
    assert (state.stopped_by, state.replies) == ("calls", 4)
    assert state.report is not None
    assert state.report.body.description == reported()
    notes = ["one"] if kind is LlamaCpp else ["one", "two"]
    assert [one.body.text for one in fresh.state.notes] == notes
    assert [one.text for one in fresh.state.hypotheses.values()] == ["cakes"]
    assert [one.body.error for one in state.failures] == list(provider.failures)
    assert state.tool_mode == ("json" if kind is LlamaCpp else "native")
    assert fresh.log.verify().ok
    events = fresh.log.events(fresh.id, kinds=["agent_noticed"])
    noticed = [event.body for event in events if isinstance(event.body, AgentNoticed)]
    left_out = {one.feature for one in noticed if one.notice in {"without", "lowered"}}
    assert left_out == set(provider.without)
    assert ("unread" in {one.notice for one in noticed}) is (kind is Ollama)
    assert (state.cost is not None) is (kind is OpenRouter)
    # Nothing is asked for twice in the same words, but for what broke off.
    again = len(server.asked) - len({one.raw for one in server.asked})
    assert again == (kind is OpenRouter)
