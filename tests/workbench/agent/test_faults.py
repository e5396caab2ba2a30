"""Whatever an endpoint does, the audit is recorded, and goes on or can be gone on with."""

from __future__ import annotations

import json
import threading
import time
import traceback
from email.utils import formatdate

import pytest

from adl.errors import Stopped
from tests.workbench.agent.scripted import (
    KEY,
    Asked,
    Drop,
    Hang,
    Raw,
    Reaction,
    Refuse,
    Say,
    in_turn,
    report,
    serving,
    then,
)
from workbench.agent.endpoint import LONGEST_REPLY, Endpoint, retry_after
from workbench.agent.errors import EndpointError
from workbench.agent.exchange import backoff
from workbench.agent.loop import AuditPlan, Surroundings, resume_audit, start_audit
from workbench.operations.running import Session
from workbench.settings import SettingsError, load_settings

PLAN = AuditPlan(model="scripted")
DONE = Say("", [report()])


def audited(session: Session, script, **settings):
    """The audit's state and the requests that it took."""
    with serving(script) as server:
        endpoint = Endpoint(server.settings(**settings))
        try:
            return start_audit(session, endpoint, PLAN), server.asked
        finally:
            endpoint.close()


def empty(stream_or_not: dict) -> Raw:
    return Raw(json.dumps({"id": "x", "model": "m", "choices": [], **stream_or_not}).encode())


@pytest.mark.parametrize(
    ("fault", "error", "settings"),
    [
        (Refuse(429, "slow down"), "status 429", {}),
        (Refuse(500, "oops"), "status 500", {}),
        (Refuse(503, "busy"), "status 503", {}),
        (Drop(), "dropped", {}),
        (Raw(b"data: [DONE]\n\n", "text/event-stream"), "empty", {}),
        (empty({}), "empty", {"stream": False}),
        (Raw(b'{"id": "x", "choices": null}'), "empty", {"stream": False}),
        (Raw(b"<html>gateway</html>", "text/html"), "body", {"stream": False}),
        (Raw(b"[1, 2]"), "body", {"stream": False}),
        (Raw(b'data: {"error": {"message": "overloaded"}}\n\n', "text/event-stream"), "stream", {}),
        (Raw(b"data: {not json\n\n", "text/event-stream"), "body", {}),
    ],
    ids=lambda value: getattr(value, "message", None) or str(value)[:20],
)
def test_a_passing_fault_is_tried_again(session: Session, fault, error, settings):
    state, asked = audited(session, then(fault, fault, DONE), **settings)
    assert state.stopped_by == "report"
    assert [one.body.error for one in state.failures] == [error, error]
    assert all(one.body.retry_in is not None for one in state.failures)
    assert len(asked) == 3
    assert asked[0].body["messages"] == asked[2].body["messages"]
    # What failed is not paid for.
    assert (state.replies, state.tokens) == (1, 110)


@pytest.mark.slow
def test_a_fault_that_stays_interrupts_the_audit_which_can_be_resumed(session: Session):
    with serving(in_turn(Say("", [("note", {"text": "one"})]), Refuse(500, "down"))) as server:
        endpoint = Endpoint(server.settings(attempts=3))
        with pytest.raises(EndpointError, match="after 3 attempts: .*down") as caught:
            start_audit(session, endpoint, PLAN)
        assert caught.value.exit_code == 1
        (state,) = session.state.agents.values()
        assert (state.status, state.replies, len(state.failures)) == ("interrupted", 1, 3)
        assert "down" in state.problem
        assert state.failures[-1].body.retry_in is None

        server.script = in_turn(Say("never asked for again"), DONE)
        before = len(server.asked)
        resumed = resume_audit(session, endpoint)
        endpoint.close()
    assert (resumed.status, resumed.stopped_by, resumed.replies) == ("ended", "report", 2)
    assert len(server.asked) == before + 1
    assert len(session.state.notes) == 1
    assert session.log.verify().ok


@pytest.mark.parametrize(
    ("refusal", "hint"),
    [
        (Refuse(401, f"Incorrect API key provided: {KEY}"), "OPENAI_API_KEY"),
        (Refuse(404, "no such model"), "OPENAI_BASE_URL"),
        (Refuse(429, "insufficient_quota: pay first"), "resume"),
        (Refuse(429, "later", {"Retry-After": "4000"}), "4000 s"),
    ],
    ids=lambda value: getattr(value, "message", value)[:20],
)
def test_what_will_not_pass_is_not_tried_again(session: Session, refusal, hint):
    with serving(then(refusal)) as server:
        endpoint = Endpoint(server.settings())
        with pytest.raises(EndpointError) as caught:
            start_audit(session, endpoint, PLAN)
        endpoint.close()
    assert hint in caught.value.hint
    assert len(server.asked) == 1
    assert next(iter(session.state.agents.values())).status == "interrupted"


def test_the_key_is_in_no_error_no_traceback_and_no_event(session: Session):
    refusal = Refuse(401, f"Incorrect API key provided: {KEY}")
    with serving(then(refusal)) as server:
        endpoint = Endpoint(server.settings())
        with pytest.raises(EndpointError) as caught:
            start_audit(session, endpoint, PLAN)
        endpoint.close()
    told = "".join(traceback.format_exception(caught.value))
    log = "".join(event.model_dump_json() for event in session.log.events(session.id))
    assert KEY not in told + log + repr(endpoint.settings) + str(caught.value)
    assert "[key]" in log
    # Nor is it reachable from the exception: the library's own hold the request.
    assert caught.value.__cause__ is None
    failure = caught.value.__context__
    assert failure is not None
    assert failure.__context__ is None


def test_a_reply_that_repeats_the_key_is_recorded_without_it(session: Session):
    script = in_turn(Say(f"my key is {KEY}", [("note", {"text": KEY})]), DONE)
    audited(session, script)
    log = "".join(event.model_dump_json() for event in session.log.events(session.id))
    assert KEY not in log
    assert session.state.notes[0].body.text == "[key]"


def test_retry_after_is_honoured(session: Session):
    refusal = Refuse(429, "slow down", {"Retry-After": "0.3"})
    began = time.monotonic()
    state, _ = audited(session, then(refusal, DONE), backoff=0.0)
    assert time.monotonic() - began >= 0.3
    assert state.failures[0].body.retry_in == 0.3


@pytest.mark.parametrize("wait", ["0", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_wait_of_nothing_is_the_usual_one(session: Session, wait: str):
    refusal = Refuse(429, "slow down", {"Retry-After": wait})
    state, _ = audited(session, then(refusal, DONE), backoff=0.02)
    assert (state.failures[0].body.retry_in or 0.0) >= 0.01


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "-2"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
    ],
)
def test_what_a_server_asks_to_wait(headers, expected):
    assert retry_after(headers) == expected


def test_what_a_server_asks_to_wait_as_a_date():
    seconds = retry_after({"retry-after": formatdate(time.time() + 3600, usegmt=True)})
    assert seconds is not None
    assert 3000 < seconds <= 3600


def test_waits_grow_and_differ():
    waits = [[backoff(1.0, failures) for _ in range(50)] for failures in (1, 2, 3, 20)]
    for few, longest in zip(waits, (1.0, 2.0, 4.0, 60.0), strict=True):
        assert longest / 2 <= min(few) < max(few) <= longest


def test_a_silent_endpoint_is_given_up_on(session: Session):
    state, _ = audited(session, then(Hang(), DONE), timeout=0.2)
    assert [one.body.error for one in state.failures] == ["time-out"]
    assert state.stopped_by == "report"


@pytest.mark.parametrize("waiting_for", ["reply", "retry"])
def test_a_request_is_cancelled_at_once(session: Session, waiting_for: str):
    stop = threading.Event()
    fault = Hang() if waiting_for == "reply" else Refuse(429, "later", {"Retry-After": "200"})
    with serving(then(fault)) as server:

        def stop_once_asked() -> None:
            server.arrivals.get()
            stop.set()

        stopper = threading.Thread(target=stop_once_asked)
        stopper.start()
        endpoint = Endpoint(server.settings())
        surroundings = Surroundings(should_stop=stop.is_set)
        with pytest.raises(Stopped):
            start_audit(session, endpoint, PLAN, surroundings=surroundings)
        stopper.join()
        endpoint.close()
        (state,) = session.state.agents.values()
        assert state.status == "interrupted"
        server.script = in_turn(DONE)
        endpoint = Endpoint(server.settings())
        assert resume_audit(session, endpoint).stopped_by == "report"
        endpoint.close()


def test_an_unknown_prompt_is_an_error_of_the_scripted_server(session: Session):
    with pytest.raises(EndpointError, match="unknown prompt"):
        audited(session, lambda _: None)


@pytest.mark.slow
@pytest.mark.parametrize("stream", [True, False])
def test_a_reply_of_a_megabyte_is_cut_and_the_audit_goes_on(session: Session, stream: bool):
    script = in_turn(Say("x" * 1_000_000, pieces=50), DONE)
    state, asked = audited(session, script, stream=stream)
    assert state.stopped_by == "report"
    reply = next(one.body for one in state.messages if one.body.kind == "agent_replied")
    assert reply.truncated
    assert len(reply.content) == LONGEST_REPLY
    assert reply.finish_reason == "length"
    sent_again = asked[1].messages[-2]["content"]
    assert len(sent_again) < 21_000
    assert "too long" in asked[1].last


def test_arguments_of_a_megabyte_are_cut_and_answered(session: Session):
    call = ("note", {"text": "x" * 1_000_000})
    state, asked = audited(session, in_turn(Say("", [call], pieces=50), DONE))
    assert state.stopped_by == "report"
    assert len(asked[1].raw) < 60_000
    # Half of the arguments is not taken for the whole.
    assert not session.state.notes


def test_arguments_that_are_no_json_go_back_in_a_form_that_servers_can_read(session: Session):
    state, asked = audited(session, in_turn(Say("", [("note", "{not json")]), DONE))
    call = asked[1].messages[-2]["tool_calls"][0]
    assert "unreadable" in json.loads(call["function"]["arguments"])
    assert "not JSON" in asked[1].last
    assert state.stopped_by == "report"


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("stream_options", "unknown field: stream_options"),
        ("tool_choice", "tool_choice is not supported"),
        ("stream", "stream: not supported here"),
    ],
)
def test_a_server_that_refuses_a_parameter_is_asked_without_it(
    session: Session, parameter: str, message: str
):
    def script(asked: Asked) -> Reaction:
        if parameter in asked.body and asked.body[parameter] is not False:
            return Refuse(400, message)
        if asked.tools == ["submit_report"]:
            return DONE
        return Say("", [("show_samples", {"count": 1})])

    plan = AuditPlan(model="scripted", budgets=PLAN.budgets.__class__(calls=1))
    with serving(script) as server:
        endpoint = Endpoint(server.settings(attempts=1))
        state = start_audit(session, endpoint, plan)
        endpoint.close()
    assert state.stopped_by == "calls"
    assert [one.body.error for one in state.failures] == ["unsupported"]
    assert state.tool_mode == "native"


def test_openai_itself_needs_a_key(monkeypatch: pytest.MonkeyPatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match="OPENAI_API_KEY"):
        Endpoint(load_settings())
    Endpoint(load_settings(base_url="http://localhost:1/v1")).close()


def test_nobody_listens(session: Session):
    settings = load_settings(base_url="http://127.0.0.1:9/v1", backoff=0.001, attempts=2)
    endpoint = Endpoint(settings)
    with pytest.raises(EndpointError, match="connection failed"):
        start_audit(session, endpoint, PLAN)
    endpoint.close()
    assert next(iter(session.state.agents.values())).status == "interrupted"
