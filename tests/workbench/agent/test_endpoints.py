"""Endpoints as they really are: what they refuse, want back, cut off, and what an audit learns of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.workbench.agent.scripted import (
    Asked,
    Drop,
    Raw,
    Reaction,
    Refuse,
    Say,
    in_turn,
    report,
    serving,
    then,
)
from workbench.agent.budgets import Budgets
from workbench.agent.conversation import rendered, turns, unanswered
from workbench.agent.endpoint import Endpoint
from workbench.agent.errors import ContextTooLong, EndpointError
from workbench.agent.loop import AuditPlan, resume_audit, start_audit
from workbench.operations.running import Session
from workbench.store.agent_events import (
    AgentCompacted,
    AgentNoticed,
    AgentStarted,
    AgentTold,
    ToolCall,
)

PLAN = AuditPlan(model="scripted", budgets=Budgets(interactions=5))
NOTE = ("note", {"text": "one"})
DONE = Say("", [report()])


def noticed(session: Session) -> list[AgentNoticed]:
    bodies = [event.body for event in session.log.events(session.id, kinds=["agent_noticed"])]
    return [body for body in bodies if isinstance(body, AgentNoticed)]


def left_out(session: Session) -> list[AgentNoticed]:
    """What was left out or lowered. The scripted server's usage is far too low, and noticed, too."""
    return [one for one in noticed(session) if one.notice in {"without", "lowered"}]


def audited(session: Session, script: Callable[[Asked], Reaction | None], plan=PLAN, **settings):
    with serving(script) as server:
        endpoint = Endpoint(server.settings(**settings))
        try:
            return start_audit(session, endpoint, plan), server
        finally:
            endpoint.close()


def whole(call_fields: dict[str, Any], message_fields: dict[str, Any]) -> Raw:
    """A reply in one piece with fields of the provider's own."""
    function = {"name": NOTE[0], "arguments": json.dumps(NOTE[1])}
    call = {"id": "c1", "type": "function", "function": function, **call_fields}
    message = {"role": "assistant", "content": None, "tool_calls": [call], **message_fields}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return Raw(json.dumps({"id": "x", "model": "m", "choices": [choice]}).encode())


OWN = whole(
    {"signature": {"b": [1, "x"]}, "index": 0},
    {"thoughts": "hm", "score": 0.5, "refusal": None, "annotations": [], "audio": None, "n": 0},
)


def call_again(asked: Asked) -> bool:
    return any(one.get("tool_calls") for one in asked.messages)


@pytest.mark.parametrize("reason", ["null", "absent"])
def test_a_whole_reply_need_not_say_why_it_ended(fresh: Session, reason: str):
    """What was read as one JSON value cannot have been cut off."""
    reply = json.loads(OWN.body)
    choice = reply["choices"][0]
    choice["finish_reason"] = None
    if reason == "absent":
        del choice["finish_reason"]
    state, server = audited(fresh, in_turn(Raw(json.dumps(reply).encode()), DONE))
    assert (state.stopped_by, state.replies, len(server.asked)) == ("report", 2, 2)


# --- the provider's own fields --------------------------------------------------------------------


def test_own_fields_go_back_to_their_endpoint_and_to_no_other(fresh: Session):
    with serving(in_turn(OWN, Refuse(500, "down"))) as first, serving(in_turn(OWN, DONE)) as other:
        endpoint = Endpoint(first.settings(attempts=1))
        with pytest.raises(EndpointError):
            start_audit(fresh, endpoint, PLAN)
        with pytest.raises(EndpointError):
            resume_audit(fresh, endpoint)
        endpoint.close()
        for asked in first.asked[1:]:
            _, _, reply, _ = asked.messages
            assert reply == {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "note", "arguments": json.dumps(NOTE[1])},
                        "signature": {"b": [1, "x"]},
                    }
                ],
                "thoughts": "hm",
                "score": 0.5,
                "n": 0,
            }
        endpoint = Endpoint(other.settings())
        resume_audit(fresh, endpoint)
        endpoint.close()
    assert set(other.asked[0].messages[2]) == {"role", "content", "tool_calls"}
    assert "signature" not in other.asked[0].raw.decode()
    assert fresh.log.verify().ok


def test_a_provider_that_refuses_its_own_field_does_not_get_it(fresh: Session):
    """As Groq and Cerebras do with the reasoning that they send."""

    def script(asked: Asked) -> Reaction | None:
        if any("thoughts" in one for one in asked.messages):
            return Refuse(400, "'messages.2' : property 'thoughts' is unsupported")
        return in_turn(OWN, DONE)(asked)

    state, server = audited(fresh, script)
    assert state.stopped_by == "report"
    assert len(server.asked) == 3
    assert server.asked[2].messages[2]["tool_calls"][0]["signature"] == {"b": [1, "x"]}
    assert [one.feature for one in left_out(fresh)] == ["the fields thoughts"]
    assert [one.body.error for one in state.failures] == ["form"]


def test_content_whose_parts_are_more_than_text_goes_back_as_it_came(fresh: Session):
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "signature": "S"},
        {"type": "text", "text": "I note it."},
    ]
    _, server = audited(fresh, in_turn(whole({}, {"content": parts}), DONE))
    assert server.asked[1].messages[2]["content"] == parts


# --- refused for its form -------------------------------------------------------------------------


def test_a_provider_that_signs_its_calls_gets_others_as_text(fresh: Session):
    """An audit that began elsewhere goes on with a provider that wants a signature on each call."""
    with serving(in_turn(Say("", [NOTE, NOTE]), Refuse(500, "down"))) as first:
        endpoint = Endpoint(first.settings(attempts=1))
        with pytest.raises(EndpointError):
            start_audit(fresh, endpoint, PLAN)
        endpoint.close()

    def signs(asked: Asked) -> Reaction | None:
        if call_again(asked):
            return Refuse(400, "Function call is missing a thought_signature. Tools need it.")
        return in_turn(Say("never"), Say("", [NOTE]), DONE)(asked)

    with serving(signs) as server:
        endpoint = Endpoint(server.settings())
        state = resume_audit(fresh, endpoint)
        endpoint.close()
    assert state.stopped_by == "report"
    assert (state.tool_mode, len(server.asked)) == ("native", 3)
    _, _, calls, results, *_ = server.asked[1].messages
    assert calls["content"].count('"tool": "note"') == 2
    assert results["content"].count("Result of note:") == 2
    (notice,) = left_out(fresh)
    assert "sent as text" in notice.feature
    assert "thought_signature" in notice.describe()


def test_what_was_refused_for_its_form_is_not_sent_again_by_a_later_run(fresh: Session):
    with serving(in_turn(OWN, Refuse(400, "messages are not as we like them"))) as server:
        endpoint = Endpoint(server.settings())
        with pytest.raises(EndpointError, match="as we like") as caught:
            start_audit(fresh, endpoint, PLAN)
        assert "not sent again" in caught.value.hint
        # As it is, without the provider's own fields, and with its calls as text.
        assert len(server.asked) == 4
        endpoint.close()
        for _ in range(2):
            endpoint = Endpoint(server.settings())
            with pytest.raises(EndpointError, match="before"):
                resume_audit(fresh, endpoint)
            endpoint.close()
        assert len(server.asked) == 4
        server.script = in_turn(OWN, DONE)
        endpoint = Endpoint(server.settings())
        assert resume_audit(fresh, endpoint, model="another").stopped_by == "report"
        endpoint.close()
    assert len({one.raw for one in server.asked}) == len(server.asked) == 5
    assert fresh.log.verify().ok


@pytest.mark.parametrize(
    "message", ["API key not valid. Please pass a valid API key.", "The model `x` does not exist"]
)
def test_what_was_not_refused_for_its_form_is_asked_again(fresh: Session, message: str):
    with serving(then(Refuse(400, message), DONE)) as server:
        endpoint = Endpoint(server.settings())
        with pytest.raises(EndpointError):
            start_audit(fresh, endpoint, PLAN)
        assert resume_audit(fresh, endpoint).stopped_by == "report"
        endpoint.close()


def test_an_old_session_with_an_invented_call_goes_on_without_it(fresh: Session):
    started = AgentStarted(run_id="r", mode="adl", model="scripted", endpoint="x", budgets={})
    call = ToolCall(id="opening", name="overview", arguments="{}")
    told = [
        AgentTold(run_id="r", role="system", source="opening", content="Audit."),
        AgentTold(run_id="r", role="user", source="opening", content="It begins."),
        AgentTold(run_id="r", role="assistant", source="opening", content="", tool_calls=(call,)),
        AgentTold(
            run_id="r",
            role="tool",
            source="opening",
            content="the overview",
            tool_call_id="opening",
            tool="overview",
        ),
    ]
    for count in (2, 3, 4):
        run_id = f"r{count}"
        fresh.record(started.model_copy(update={"run_id": run_id}))
        for body in told[:count]:
            fresh.record(body.model_copy(update={"run_id": run_id}))
        state = fresh.state.agents[run_id]
        assert unanswered(state) == []
        assert all(turn.body.role != "assistant" for turn in turns(state))  # type: ignore[union-attr]
        with serving(in_turn(DONE)) as server:
            endpoint = Endpoint(server.settings())
            assert resume_audit(fresh, endpoint, run_id=run_id).stopped_by == "report"
            endpoint.close()
        system, user = server.asked[0].messages
        assert (system["content"], user["role"]) == ("Audit.", "user")
        assert user["content"].startswith("It begins.\n\n")
        assert ("the overview" if count == 4 else "not computed") in user["content"]
        assert rendered(fresh.state.agents[run_id], (), "native")[:2] == [system, user]


# --- features -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 500, 503])
@pytest.mark.parametrize(
    "message",
    [
        "upstream error in a stream of tool calls",
        "the function failed: tools and stream",
        "tool_choice, temperature, seed and max_tokens were read",
    ],
)
def test_a_word_in_an_error_switches_nothing_off(fresh: Session, status: int, message: str):
    plan = AuditPlan(model="scripted", temperature=0.5, seed=1, max_tokens=500)
    with serving(then(Refuse(status, message), DONE)) as server:
        endpoint = Endpoint(server.settings())
        try:
            state = start_audit(fresh, endpoint, plan)
        except EndpointError:
            # Refused for its form, and nothing of its form can be changed.
            assert status == 400
            state = resume_audit(fresh, endpoint, model="another")
        endpoint.close()
    assert state.stopped_by == "report"
    first, last = (
        {name: value for name, value in one.body.items() if name != "model"} for one in server.asked
    )
    assert first == last
    assert left_out(fresh) == []


def test_a_feature_that_was_refused_is_tried_again_in_the_next_run(fresh: Session):
    refusals = [Refuse(400, "tools are not supported by this model")]

    def script(asked: Asked) -> Reaction | None:
        if refusals and "tools" in asked.body:
            return refusals[0]
        return Refuse(503, "down") if asked.n_replies == 0 else DONE

    with serving(script) as server:
        endpoint = Endpoint(server.settings(attempts=1))
        with pytest.raises(EndpointError):
            start_audit(fresh, endpoint, PLAN)
        assert ["tools" in one.body for one in server.asked] == [True, False]
        assert [one.feature for one in left_out(fresh)] == ["native tools"]
        assert "tools are not supported" in left_out(fresh)[0].describe()
        refusals.clear()
        server.script = in_turn(DONE)
        state = resume_audit(fresh, endpoint)
        endpoint.close()
    assert (state.stopped_by, state.tool_mode) == ("report", "native")
    assert "tools" in server.asked[-1].body


def test_more_tokens_than_a_server_gives_are_lowered_and_not_renamed(fresh: Session):
    def script(asked: Asked) -> Reaction | None:
        if asked.body["max_tokens"] > 3_000:
            return Refuse(400, "max_tokens is too large: at most 4096 completion tokens")
        return DONE

    plan = AuditPlan(model="scripted", max_tokens=100_000)
    state, server = audited(fresh, script, plan)
    assert state.stopped_by == "report"
    # As it names them, then by halves.
    assert [one.body["max_tokens"] for one in server.asked] == [100_000, 4_096, 2_048]
    assert [(one.notice, one.tokens) for one in left_out(fresh)] == [
        ("lowered", 4_096),
        ("lowered", 2_048),
    ]
    asked = [event.body for event in fresh.log.events(fresh.id, kinds=["agent_requested"])]
    assert [one.parameters["max_tokens"] for one in asked] == [100_000, 4_096, 2_048]


# --- replies that end oddly -----------------------------------------------------------------------


def sse(*chunks: dict[str, Any] | str) -> Raw:
    lines = [one if isinstance(one, str) else "data: " + json.dumps(one) for one in chunks]
    return Raw("".join(line + "\n\n" for line in lines).encode(), "text/event-stream")


def delta(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call_delta(arguments: str) -> dict[str, Any]:
    function = {"name": "note", "arguments": arguments}
    return delta({"tool_calls": [{"index": 0, "id": "c1", "function": function}]})


WHOLE_CALL = json.dumps(NOTE[1])


@pytest.mark.parametrize(
    ("reply", "failures"),
    [
        (sse(call_delta(WHOLE_CALL), delta({}), "data: [DONE]"), []),
        (sse(call_delta(WHOLE_CALL), delta({}, "stop")), []),
        (sse(call_delta(WHOLE_CALL)), ["dropped"]),
        (sse(call_delta(WHOLE_CALL[:-3]), "data: [DONE]"), ["dropped"]),
        (sse(delta({"content": " "}), "data: [DONE]"), ["dropped"]),
        (sse({"error": {"message": "overloaded", "code": 529}}), ["stream"]),
        (sse(call_delta(WHOLE_CALL), {"error": "died"}, "data: [DONE]"), ["stream"]),
        (sse({"object": "error", "message": "died", "code": 500}), ["stream"]),
        (Drop(), ["dropped"]),
    ],
)
def test_a_whole_reply_is_taken_and_a_part_of_one_is_not(fresh: Session, reply, failures):
    state, server = audited(fresh, then(reply, Say("", [NOTE]), *(DONE,) * 2))
    assert [one.body.error for one in state.failures] == failures
    assert [one.body.text for one in fresh.state.notes] == ["one"] * (1 if failures else 2)
    assert len(server.asked) == 3


def test_a_stream_is_read_whole_where_none_was_asked_for_and_the_reverse(fresh: Session):
    stream = sse(call_delta(WHOLE_CALL), delta({}, "tool_calls"), "data: [DONE]")
    state, _ = audited(fresh, then(stream, DONE), stream=False)
    assert state.stopped_by == "report"
    state, _ = audited(fresh, then(whole({}, {}), DONE), stream=True)
    assert state.stopped_by == "report"
    assert len(fresh.state.notes) == 2
    assert all(not one.failures for one in fresh.state.agents.values())


# --- windows --------------------------------------------------------------------------------------


class Windowed:
    """A server with a window, as Ollama's: what is too long is cut unsaid, and it has no room left."""

    def __init__(self, script: Callable[[Asked], Reaction | None], window: int) -> None:
        self.script = script
        self.window = window

    def __call__(self, asked: Asked) -> Reaction | None:
        size = len(json.dumps([asked.messages, asked.body.get("tools")])) // 4
        if size > self.window - 100:
            return Say("", usage=(self.window - 1, 1), finish="length")
        reaction = self.script(asked)
        if isinstance(reaction, Say):
            return Say(reaction.content, reaction.calls, usage=(size, 20))
        return reaction


LOOK = Say("", [("show_reading", {"reading": "consensus", "top": 30})])


def looking(asked: Asked) -> Reaction | None:
    calls = sum(bool(one.get("tool_calls")) for one in asked.messages)
    return LOOK if calls < 8 else DONE


def test_a_window_that_is_full_has_the_conversation_shortened(session: Session):
    with serving(in_turn(DONE)) as server:
        endpoint = Endpoint(server.settings())
        start_audit(session, endpoint, PLAN)
        endpoint.close()
    first = len(json.dumps([server.asked[0].messages, server.asked[0].body["tools"]])) // 4
    state, server = audited(session, Windowed(looking, first + 2_000))
    assert state.stopped_by == "report"
    bodies = [event.body for event in session.log.events(session.id, kinds=["agent_compacted"])]
    found = [one for one in bodies if isinstance(one, AgentCompacted)]
    assert found
    assert {one.reason for one in found} == {"window"}
    windows = [one.tokens for one in noticed(session) if one.notice == "window"]
    assert windows == [first + 2_000]
    assert len(server.asked) <= 9 + 3
    assert "window" in found[0].describe()


def test_a_window_that_nothing_fits_into_ends_the_run_in_words(session: Session):
    windowed = Windowed(looking, 600)
    with serving(windowed) as server:
        endpoint = Endpoint(server.settings())
        with pytest.raises(ContextTooLong, match="600 tokens") as caught:
            start_audit(session, endpoint, PLAN)
        assert "OLLAMA_CONTEXT_LENGTH" in caught.value.hint
        assert len(server.asked) <= 5
        unread = next(one for one in noticed(session) if one.notice == "unread")
        assert unread.tokens == 599
        assert "far fewer" in unread.describe()
        windowed.window = 60_000
        assert resume_audit(session, endpoint).stopped_by == "report"
        endpoint.close()


FULL = "the request exceeds the available context size, try increasing it"


@pytest.mark.parametrize(
    "refusal",
    [
        Refuse(400, FULL),
        Refuse(500, FULL),
        sse(delta({"content": "half"}), {"error": {"code": 500, "message": FULL}}),
    ],
)
def test_a_window_that_an_error_tells_of_has_it_shortened(session: Session, refusal: Reaction):
    refusals = [refusal]

    def script(asked: Asked) -> Reaction | None:
        if sum(bool(one.get("tool_calls")) for one in asked.messages) == 3 and refusals:
            return refusals.pop()
        return looking(asked)

    state, _ = audited(session, script)
    assert state.stopped_by == "report"
    assert [one.body.error for one in state.failures] == ["context"]


def test_a_reply_cut_off_at_the_length_asked_for_shortens_nothing(session: Session):
    script = in_turn(Say("long", usage=(4_000, 500), finish="length"), DONE)
    plan = AuditPlan(model="scripted", max_tokens=500)
    state, server = audited(session, script, plan)
    assert state.stopped_by == "report"
    assert "Be brief" in server.asked[1].last
    assert [one for one in noticed(session) if one.notice == "window"] == []
