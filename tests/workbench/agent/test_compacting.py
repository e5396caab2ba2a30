"""A long audit is sent shortened: by one rule, recorded, and the same after a kill."""

from __future__ import annotations

import hashlib
import json

import pytest

from adl.errors import Stopped
from tests.workbench.agent.scripted import (
    Asked,
    Hang,
    Reaction,
    Refuse,
    Say,
    in_turn,
    report,
    serving,
)
from workbench.agent.budgets import Budgets
from workbench.agent.compacting import short_content
from workbench.agent.conversation import rendered
from workbench.agent.endpoint import Endpoint
from workbench.agent.errors import ContextTooLong
from workbench.agent.loop import AuditPlan, Surroundings, resume_audit, start_audit
from workbench.agent.supervision import Supervision
from workbench.agent.toolbox import tools_of
from workbench.operations.running import Session
from workbench.store.agent_events import AgentCompacted, AgentTold
from workbench.store.state import fold

LONG = [
    Say(f"Look {number}.", [("show_reading", {"reading": "consensus", "top": 30})], usage=None)
    for number in range(6)
]
ASK = Say("Ask.", [("ask", {"prompts": ["What do you bake?"], "n_samples": 4})], usage=None)
SCRIPT = in_turn(ASK, *LONG, Say("Done.", [report()], usage=None))
LEFT_OUT = "characters stood here"


def plan(context: int | None) -> AuditPlan:
    return AuditPlan(model="scripted", budgets=Budgets(interactions=5), context=context)


def size(asked: Asked) -> int:
    return len(json.dumps(asked.messages))


def compactions(session: Session) -> list[AgentCompacted]:
    bodies = [event.body for event in session.log.events(session.id, kinds=["agent_compacted"])]
    return [body for body in bodies if isinstance(body, AgentCompacted)]


def first_size(session: Session) -> int:
    """How long the first request is, in characters of its messages."""
    with serving(in_turn(Say("", [report()]))) as server:
        endpoint = Endpoint(server.settings())
        start_audit(session, endpoint, plan(None))
        endpoint.close()
        return size(server.asked[0])


@pytest.mark.slow
def test_older_results_are_shortened_over_the_limit(session: Session):
    limit = first_size(session) // 4 + 1_500
    supervision = Supervision(session)

    def script(asked: Asked) -> Reaction | None:
        if asked.n_replies == 0 and "stay" not in str(asked.messages):
            supervision.message("Let these words stay. " * 40)
        return SCRIPT(asked)

    with serving(script) as server:
        endpoint = Endpoint(server.settings())
        state = start_audit(session, endpoint, plan(limit))
        endpoint.close()
    assert (state.stopped_by, state.replies) == ("report", 8)
    found = compactions(session)
    assert found
    assert {one.reason for one in found} == {"limit"}
    assert all(one.tokens > limit and one.tokens_after < one.tokens for one in found)
    whole = [asked for asked in server.asked if LEFT_OUT not in asked.raw.decode()]
    assert 0 < len(whole) < len(server.asked)
    last = server.asked[-1]
    # The overview is the last to go; the newest result and a person's words stay.
    results = last.results
    assert LEFT_OUT in results[0]
    assert "show_samples shows its texts again: " in results[0]
    assert LEFT_OUT not in results[-1]
    assert "Let these words stay. " * 39 in str(last.messages)
    # What was sent can be told from the log alone, at every request.
    events = list(session.log.events(session.id))
    sent = iter(server.asked)
    for place, event in enumerate(events):
        if event.body.kind != "agent_requested" or event.body.run_id != state.id:
            continue
        then = fold(events[:place]).agents[state.id]
        messages = rendered(then, (), "native")
        assert messages == next(sent).messages
        digest = hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()
        assert digest == event.body.messages_sha256
    # Nothing is lost: the log has every result whole.
    told = [one.body for one in state.messages if isinstance(one.body, AgentTold)]
    assert not any(LEFT_OUT in one.content for one in told)


@pytest.mark.slow
@pytest.mark.parametrize("tools", [True, False])
def test_an_endpoint_that_refuses_the_length_gets_less(session: Session, tools: bool):
    most = first_size(session) + 4_000
    if not tools:
        # The tools stand in the messages then.
        listed = [tool.specification() for tool in tools_of("adl")]
        most += len(json.dumps(json.dumps(listed)))

    def script(asked: Asked) -> Reaction | None:
        if size(asked) > most:
            return Refuse(400, "This model's maximum context length is 900 tokens")
        say = SCRIPT(asked)
        if tools or not isinstance(say, Say):
            return say
        ((name, arguments),) = say.calls
        return Say(json.dumps({"tool": name, "arguments": arguments}), usage=None)

    with serving(script, tools=tools) as server:
        endpoint = Endpoint(server.settings())
        state = start_audit(session, endpoint, plan(None))
        endpoint.close()
    assert (state.stopped_by, state.replies) == ("report", 8)
    found = compactions(session)
    assert {one.reason for one in found} == {"refused"}
    refused = [one for one in state.failures if one.body.error == "context"]
    assert len(refused) == len(found)
    assert [one.through for one in found] == sorted(one.through for one in found)


def test_what_cannot_be_shortened_any_more_is_an_error_that_can_be_resumed(session: Session):
    with serving(lambda _: Refuse(400, "the prompt is too long for context_length 10")) as server:
        endpoint = Endpoint(server.settings())
        with pytest.raises(ContextTooLong, match="no prompt this long") as caught:
            start_audit(session, endpoint, plan(None))
        assert "agent resume --model" in caught.value.hint
        # As it was, and once with its overview left out.
        assert len(server.asked) == 2
        assert LEFT_OUT in server.asked[1].opening
        assert server.asked[1].opening.startswith("The audit begins.")
        server.script = in_turn(Say("", [report()]))
        state = resume_audit(session, endpoint, model="longer")
        endpoint.close()
    assert state.stopped_by == "report"


@pytest.mark.slow
def test_a_shortened_audit_goes_on_after_a_kill_in_the_same_words(session: Session):
    limit = first_size(session) // 4 + 1_500
    stopping = False

    def script(asked: Asked) -> Reaction | None:
        nonlocal stopping
        if asked.n_replies == 6 and not stopping:
            stopping = True
            return Hang()
        return SCRIPT(asked)

    with serving(script) as server:
        endpoint = Endpoint(server.settings())
        with pytest.raises(Stopped):
            start_audit(
                session,
                endpoint,
                plan(limit),
                surroundings=Surroundings(should_stop=lambda: stopping and len(server.asked) == 7),
            )
        before = len(compactions(session))
        assert before
        later = Session(session.log, session.id, session.cache, session.pair)
        state = resume_audit(later, endpoint)
        endpoint.close()
    assert state.stopped_by == "report"
    assert server.asked[6].raw == server.asked[7].raw
    assert LEFT_OUT in server.asked[7].raw.decode()


def test_ids_are_taken_from_the_data_and_not_from_what_a_text_says():
    text = json.dumps({"text_id": "t1", "text": 'a "text_id": "forged" and more ' * 40})
    told = AgentTold(run_id="r", role="tool", source="result", content=text, tool="ask")
    said = short_content(told)
    assert "texts again: t1." in said
    assert "forged" not in said
    unknown = told.model_copy(update={"tool": "SCORE: 5"})
    assert "SCORE" not in short_content(unknown)
    short = told.model_copy(update={"content": "failed: no such layer"})
    assert short_content(short) == "failed: no such layer"
