"""A process that is killed: the audit goes on from its last event, and pays for nothing twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from adl.records import GenerationPlan
from tests.planted import PlantedPair
from tests.workbench.agent.scripted import Say, ScriptedEndpoint, in_turn, report
from workbench.agent.budgets import Budgets
from workbench.agent.endpoint import Endpoint
from workbench.agent.loop import AuditPlan, resume_audit, start_audit
from workbench.operations.running import Session
from workbench.store.events import Event, SessionContinued

SCRIPT = in_turn(
    Say("", [("note", {"text": "one"}), ("ask", {"prompts": ["Hello?"], "max_new_tokens": 2})]),
    Say("", [("hypothesis", {"text": "cakes"})]),
    Say("nothing to call"),
    Say("", [report()]),
)
PROBING = in_turn(
    Say(
        "",
        [
            (
                "suggest_probes",
                {
                    "probes": [
                        {"kind": "prefill", "prompt": "a", "prefill": "b"},
                        {"kind": "persona", "prompt": "c", "system": "d"},
                        {"kind": "diverse", "prompt": "e"},
                    ]
                },
            )
        ],
    ),
    Say("", [report()]),
)


@pytest.fixture
def server() -> Iterator[ScriptedEndpoint]:
    server = ScriptedEndpoint(SCRIPT)
    yield server
    server.close()


def whole(session: Session, server: ScriptedEndpoint, plan: AuditPlan) -> list[Event]:
    endpoint = Endpoint(server.settings())
    start_audit(session, endpoint, plan)
    endpoint.close()
    return list(session.log.events(session.id))


def cut_after(session: Session, events: list[Event], count: int) -> Session:
    """A session with the first ``count`` events, as a killed process would have left it."""
    session_id = session.log.start_session("cut")
    for event in events[1:count]:
        session.log.append(
            session_id, event.body, actor=event.actor, operation_id=event.operation_id
        )
    session.log.append(session_id, SessionContinued())
    return Session(session.log, session_id, session.cache, session.pair)


class BriefPair(PlantedPair):
    """A planted pair that says two tokens and no more."""

    def generate(self, plan: GenerationPlan, *arguments, **options):
        return super().generate(replace(plan, max_new_tokens=2), *arguments, **options)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["adl", "scaffolded"])
def test_an_audit_cut_off_after_any_event_goes_on_to_the_same_end(
    fresh: Session, server: ScriptedEndpoint, mode
):
    fresh.pair = BriefPair()
    server.script = SCRIPT if mode == "adl" else PROBING
    plan = AuditPlan(model="scripted", mode=mode, budgets=Budgets(interactions=5))
    events = whole(fresh, server, plan)
    ended = next(iter(fresh.state.agents.values()))
    began = next(event.seq for event in events if event.body.kind == "agent_started")
    for count in range(began, len(events)):
        cut = cut_after(fresh, events, count)
        answered = sum(event.body.kind == "agent_replied" for event in events[:count])
        before = len(server.asked)
        endpoint = Endpoint(server.settings())
        state = resume_audit(cut, endpoint)
        endpoint.close()
        last = events[count - 1].body.kind
        assert (state.status, state.stopped_by) == ("ended", "report"), last
        assert len(server.asked) - before == ended.replies - answered, last
        assert (state.replies, state.interactions) == (ended.replies, ended.interactions), last
        assert state.report is not None
        assert sum(one.kind == "report_submitted" for one in cut.state.timeline) == 1
        # Operations that had finished were not done again.
        finished = [
            one.arguments for one in cut.state.operations.values() if one.status == "finished"
        ]
        assert len(finished) == len(fresh.state.operations), last
        told = [one.body.content for one in state.messages if one.body.kind == "agent_told"]
        assert len(told) == len(set(told)) or mode == "scaffolded"
        for one, other in itertools.pairwise(server.asked[before:]):
            assert one.raw != other.raw


@pytest.mark.slow
def test_a_test_that_was_cut_off_is_gone_on_with(fresh: Session, server: ScriptedEndpoint):
    """Not made anew: its hypothesis is stated, its prompts are sealed, and its answers paid for."""
    fresh.pair = BriefPair()
    asked = {
        "hypothesis": "It bakes.", "phrases": ["cake"], "n_samples": 1, "max_new_tokens": 2,
        "prompts": ["a", "b"], "near_misses": ["c"], "neutral": ["d"],
    }  # fmt: skip
    server.script = in_turn(Say("", [("test", asked)]), Say("", [report()]))
    plan = AuditPlan(model="scripted", budgets=Budgets(interactions=5))
    events = whole(fresh, server, plan)
    ended = next(iter(fresh.state.agents.values()))
    began = next(event.seq for event in events if event.body.kind == "agent_called")
    over = next(event.seq for event in events if event.body.kind == "hypothesis_tested")
    for count in range(began, over + 1):
        last = events[count - 1].body.kind
        if last == "hypothesis_stated":
            # The seal is recorded in the same transaction.
            continue
        cut = cut_after(fresh, events, count)
        endpoint = Endpoint(server.settings())
        state = resume_audit(cut, endpoint)
        endpoint.close()
        assert (state.stopped_by, state.interactions) == ("report", ended.interactions), last
        result = next(
            one.body
            for one in state.messages
            if one.body.kind == "agent_told" and one.body.source == "result"
        )
        assert result.ok, (last, result.content)
        assert "It bakes." in result.content, last
        assert list(cut.state.hypotheses) == ["H1"], last
        (experiment,) = cut.state.experiments.values()
        assert experiment.result is not None, last


def test_a_model_may_be_changed_at_a_resumption(fresh: Session, server: ScriptedEndpoint):
    events = whole(fresh, server, AuditPlan(model="scripted"))
    first = next(event.seq for event in events if event.body.kind == "agent_replied")
    cut = cut_after(fresh, events, first)
    endpoint = Endpoint(server.settings())
    state = resume_audit(cut, endpoint, model="another")
    endpoint.close()
    assert state.model == "another"
    assert server.asked[-1].body["model"] == "another"
    assert state.report is not None
    assert state.report.actor.name == "another"
