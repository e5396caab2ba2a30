"""Time and size limits of an endpoint's replies."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import threading
import time
import tracemalloc
import zlib

import openai  # noqa: F401 - not within a time that is measured
import pytest

from adl.errors import Stopped
from tests.workbench.agent.raw_server import Connection, chunk, head, serving_raw
from tests.workbench.agent.scripted import (
    Asked,
    Raw,
    Refuse,
    Say,
    in_turn,
    report,
    serving,
    then,
)
from workbench.agent import budgets, transport
from workbench.agent.budgets import Budgets
from workbench.agent.endpoint import LONGEST_ID, LONGEST_REPLY, MOST_CALLS, Endpoint
from workbench.agent.errors import EndpointError, OutOfTime
from workbench.agent.exchange import Subject, exchange
from workbench.agent.loop import AuditPlan, Surroundings, resume_audit, start_audit
from workbench.agent.nesting import DEEPEST, read_json
from workbench.agent.request import Request
from workbench.agent.transport import LONGEST_BODY, LONGEST_STREAM
from workbench.agent.written_calls import written_calls
from workbench.operations.running import Session

PLAN = AuditPlan(model="scripted")
DONE = Say("", [report()])


# --- time -----------------------------------------------------------------------------------------


def drips(connection: Connection) -> None:
    connection.send(head())
    connection.drip(chunk("a") for _ in itertools.count())


def drips_bytes(connection: Connection) -> None:
    connection.drip(bytes([byte]) for byte in itertools.cycle(head() + chunk("a")))


def never_answers(connection: Connection) -> None:
    connection.stall()


def stalls_after_the_head(connection: Connection) -> None:
    connection.send(head())
    connection.stall()


def stalls_in_a_whole_body(connection: Connection) -> None:
    connection.send(head("application/json", Content_Length="1000") + b'{"choices": [')
    connection.stall()


def sends_comments(connection: Connection) -> None:
    connection.send(head())
    connection.drip(itertools.repeat(b": keep-alive\n\n"))


def stalls_in_an_error(connection: Connection) -> None:
    connection.send(head("application/json", "500 Oops", Content_Length="1000") + b"{")
    connection.stall()


def is_always_busy(connection: Connection) -> None:
    connection.send(head("application/json", "503 Busy") + b"{}")


def asks_for_waits(connection: Connection) -> None:
    connection.send(head("application/json", "429 Slow", Retry_After="200") + b"{}")


SLOW = [
    drips,
    drips_bytes,
    never_answers,
    stalls_after_the_head,
    stalls_in_a_whole_body,
    sends_comments,
    stalls_in_an_error,
    is_always_busy,
    asks_for_waits,
]


@pytest.mark.slow
@pytest.mark.parametrize("respond", SLOW)
def test_seconds_hold_inside_a_reply(session: Session, respond, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(budgets, "_ANSWER_SECONDS", (0.5, 60.0))
    plan = AuditPlan(model="scripted", budgets=Budgets(seconds=0.5))
    with serving_raw(respond) as server:
        endpoint = Endpoint(server.settings(attempts=1000, backoff=0.05))
        # Half a second, and as much for the answer that is asked for at the end: it would take
        # hours, or never end.
        state = start_audit(session, endpoint, plan)
        endpoint.close()
    assert (state.status, state.stopped_by) == ("ended", "time")
    assert session.log.verify().ok


@pytest.mark.parametrize("respond", SLOW)
def test_ctrl_c_holds_inside_a_reply(session: Session, respond):
    with serving_raw(respond) as server:
        endpoint = Endpoint(server.settings(attempts=1000, backoff=0.05))

        def asked_to_stop() -> bool:
            return bool(server.requests)

        with pytest.raises(Stopped):
            start_audit(
                session, endpoint, PLAN, surroundings=Surroundings(None, None, asked_to_stop)
            )
        endpoint.close()
    assert [one.status for one in session.state.agents.values()] == ["interrupted"]


@pytest.mark.parametrize("respond", [drips, is_always_busy, asks_for_waits])
def test_one_limit_holds_for_all_attempts_where_nobody_gave_one(session: Session, respond):
    with serving_raw(respond) as server:
        # Ten of the longest silences.
        endpoint = Endpoint(server.settings(timeout=0.1, attempts=1000, backoff=0.05))
        with pytest.raises(EndpointError) as caught:
            start_audit(
                session, endpoint, AuditPlan(model="scripted", budgets=Budgets(seconds=None))
            )
        endpoint.close()
    assert not isinstance(caught.value, OutOfTime)


def test_a_deadline_holds_for_a_judge(session: Session):
    with serving_raw(drips) as server:
        endpoint = Endpoint(server.settings())
        request = Request("judge", lambda _mode: ([{"role": "user", "content": "so?"}], []))
        with pytest.raises(OutOfTime):
            exchange(
                session,
                endpoint,
                request,
                Subject("judge", "grade"),
                deadline=time.monotonic() + 0.2,
            )
        endpoint.close()


def test_the_time_budget_ends_a_tool(session: Session):
    """A call that runs into the end of the time is stopped, and the answer asked for."""
    began = threading.Event()

    def endless(_operation, _arguments, _actor, should_stop):
        began.set()
        while not should_stop():
            time.sleep(0.01)
        raise Stopped("stopped on request")

    plan = AuditPlan(model="scripted", budgets=Budgets(seconds=0.5))
    with serving(in_turn(Say("", [("ask", {"prompts": ["who?"]})]), DONE)) as server:
        endpoint = Endpoint(server.settings())
        state = start_audit(session, endpoint, plan, surroundings=Surroundings(endless))
        endpoint.close()
    assert began.is_set()
    assert "the end of the time budget" in server.asked[-1].results[-1]
    assert (state.stopped_by, state.report is not None) == ("time", True)


@pytest.mark.slow
def test_what_was_written_in_time_is_the_answer(session: Session):
    """The time runs out in the answer: it is what the agent wrote last."""
    replies = iter([chunk("It bakes cakes.") + chunk("", "stop") + b"data: [DONE]\n\n"])

    def respond(connection: Connection) -> None:
        written = next(replies, None)
        connection.send(head() + (written or b""))
        if written is None:
            connection.stall()

    plan = AuditPlan(model="scripted", budgets=Budgets(seconds=0.5))
    with serving_raw(respond) as server:
        endpoint = Endpoint(server.settings())
        state = start_audit(session, endpoint, plan)
        endpoint.close()
    assert state.report is not None
    # Text is taken as it stands: nobody said which part of it is what.
    assert state.report.body.description == "It bakes cakes."


def test_the_seconds_for_an_answer():
    state = start_of(seconds=0.0)
    assert Budgets(seconds=None).seconds_left(state) == math.inf
    assert Budgets(seconds=10).seconds_left(state) == 10
    assert Budgets(seconds=10).seconds_left(state, answer=True) == 10
    spent = start_of(seconds=3_600.0)
    assert Budgets(seconds=10).seconds_left(spent, answer=True) == 2
    assert Budgets(seconds=300).seconds_left(spent, answer=True) == 30
    assert Budgets(seconds=3_600).seconds_left(spent, answer=True) == 60


def start_of(seconds: float):
    class State:
        pass

    state = State()
    state.seconds = seconds
    return state


# --- sizes ----------------------------------------------------------------------------------------


def bomb(size: int) -> bytes:
    """A reply of one body of so many bytes."""
    reply = {"choices": [{"message": {"content": "x" * size}, "finish_reason": "stop"}]}
    return json.dumps(reply).encode()


def deflated(data: bytes) -> bytes:
    return zlib.compress(data)


def raw_deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": gzip.compress,
    "deflate": deflated,
    "identity": bytes,
}


PACKINGS = [
    ("gzip", gzip.compress),
    ("deflate", deflated),
    ("deflate", raw_deflated),
    ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
    ("deflate, gzip", lambda data: gzip.compress(deflated(data))),
    ("identity", bytes),
]
RESPONSES = [
    ("application/json", "200 OK"),
    ("text/event-stream", "200 OK"),
    ("application/json", "500 Oops"),
    ("application/json", "307 Moved"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "status", "encoding", "pack"),
    [
        *((*RESPONSES[0], *packing) for packing in PACKINGS),
        *((*response, *PACKINGS[0]) for response in RESPONSES[1:]),
    ],
)
def test_a_bomb_is_hung_up_on_before_it_is_in_memory(
    session: Session, kind, status, encoding, pack
):
    body = bomb(64 * 2**20) if kind == "application/json" else b"data: " + b"x" * 64 * 2**20
    packed = pack(body)
    del body

    def respond(connection: Connection) -> None:
        more = {"Location": "/v1/elsewhere"} if status.startswith("307") else {}
        connection.send(head(kind, status, Content_Encoding=encoding, **more))
        for start in range(0, len(packed), 2**16):
            if not connection.send(packed[start : start + 2**16]):
                return

    with serving_raw(respond) as server:
        endpoint = Endpoint(server.settings(attempts=1, stream=kind == "text/event-stream"))
        endpoint._open()  # the library's imports are no part of it
        tracemalloc.start()
        try:
            with pytest.raises(EndpointError):
                start_audit(session, endpoint, PLAN)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        endpoint.close()
    assert peak < 6 * LONGEST_BODY


@pytest.mark.parametrize("encoding", ["br", "zstd", "x-gzip", "gzip, br", "rot13"])
def test_an_encoding_that_was_not_asked_for_is_named(session: Session, encoding):
    def respond(connection: Connection) -> None:
        assert b"accept-encoding: gzip, deflate\r\n" in connection.request.lower()
        connection.send(head("application/json", Content_Encoding=encoding) + b"xxx")

    with serving_raw(respond) as server:
        endpoint = Endpoint(server.settings())
        with pytest.raises(EndpointError, match="only gzip and deflate were asked for"):
            start_audit(session, endpoint, PLAN)
        endpoint.close()
    assert len(server.requests) == 1


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
def test_a_packed_reply_is_read(session: Session, encoding):
    reply = Say("", [report()])
    whole = {
        "model": "m",
        "choices": [
            {
                "message": {
                    "tool_calls": [
                        {
                            "id": "1",
                            "type": "function",
                            "function": {
                                "name": reply.calls[0][0],
                                "arguments": json.dumps(reply.calls[0][1]),
                            },
                        }
                    ]
                },
                "finish_reason": "stop",
            }
        ],
    }

    def respond(connection: Connection) -> None:
        packed = PACKED[encoding](json.dumps(whole).encode())
        connection.send(head("application/json", Content_Encoding=encoding) + packed)

    with serving_raw(respond) as server:
        endpoint = Endpoint(server.settings(stream=False))
        assert start_audit(session, endpoint, PLAN).report is not None
        endpoint.close()


def endless(piece: bytes):
    def respond(connection: Connection) -> None:
        connection.send(head())
        while connection.send(piece * (1 + 2**16 // len(piece))):
            pass

    return respond


@pytest.mark.parametrize(
    "piece",
    [
        b"x" * 1000,
        b"data: x\n",
        b": comment\n",
        chunk(""),
        chunk("", reasoning="x" * 100),
        chunk("", role="assistant"),
    ],
    ids=["line", "lines", "comments", "empty", "unknown", "roles"],
)
def test_a_stream_without_an_end_is_hung_up_on(
    session: Session, piece, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(transport, "LONGEST_STREAM", 2**20)
    with serving_raw(endless(piece)) as server:
        endpoint = Endpoint(server.settings())
        with pytest.raises(EndpointError, match="is longer than"):
            start_audit(session, endpoint, PLAN)
        endpoint.close()
    assert len(server.requests) == 1


def test_the_limit_of_a_stream_leaves_room_for_the_longest_reply():
    usual = len(chunk("four")) + 150  # ids and fingerprints
    assert LONGEST_REPLY / 4 * usual < LONGEST_STREAM


def test_a_blank_line_over_two_pieces_ends_an_event(session: Session):
    """An event is counted from the blank line before it, however the bytes are cut."""
    comment = b": " + b"x" * 2**16 + b"\n"

    def respond(connection: Connection) -> None:
        connection.send(head())
        for _ in range(LONGEST_BODY // len(comment) + 10):
            connection.send(comment)
            connection.closing.wait(0.001)
            connection.send(b"\n")
        connection.send(
            chunk("", tool_calls=[call(0, *report())])
            + chunk("", "tool_calls")
            + b"data: [DONE]\n\n"
        )

    with serving_raw(respond) as server:
        endpoint = Endpoint(server.settings())
        assert start_audit(session, endpoint, PLAN).report is not None
        endpoint.close()


def call(index: int, name: str, arguments: object, call_id: str | None = None) -> dict:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"index": index, "id": call_id or f"c{index}", "type": "function", "function": function}


@pytest.mark.slow
def test_calls_names_and_ids_are_limited(session: Session):
    many = [call(n, "note", {"text": str(n)}) for n in range(MOST_CALLS + 50)]
    many[0]["id"] = "i" * 100_000
    many[1]["function"]["name"] = "n" * 100_000
    replies = [many, [call(0, *report())]]

    def respond(connection: Connection) -> None:
        stream = chunk("", tool_calls=replies.pop(0)) + chunk("", "tool_calls")
        connection.send(head() + stream + b"data: [DONE]\n\n")

    with serving_raw(respond) as server:
        endpoint = Endpoint(server.settings())
        state = start_audit(session, endpoint, PLAN)
        endpoint.close()
    assert state.report is not None
    reply = next(one.body for one in state.messages if one.body.kind == "agent_replied")
    assert len(reply.tool_calls) == MOST_CALLS
    assert max(len(one.id) for one in reply.tool_calls) <= LONGEST_ID
    assert max(len(one.name) for one in reply.tool_calls) <= 200
    assert len(server.requests[-1]) < 100_000


# --- depth ----------------------------------------------------------------------------------------


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.slow
@pytest.mark.parametrize("depth", [DEEPEST, 400, 900, 990, 5_000, 100_000])
@pytest.mark.parametrize("tools", ["native", "json"])
def test_deep_arguments_are_refused_to_the_agent(session: Session, depth, tools):
    deep = '{"text": ' + nested(depth) + "}"
    first = Say("", [("note", deep)])
    if tools == "json":
        first = Say('{"tool": "note", "arguments": ' + deep + "}")
    last = report() if tools == "native" else None
    done = DONE if last else Say(json.dumps({"tool": "submit_report", "arguments": report()[1]}))

    def script(asked: Asked):
        # The audit that is resumed has the deep call in its conversation.
        return first if asked.n_replies == 0 else done

    with serving(script) as server:
        endpoint = Endpoint(server.settings(tools=tools))
        state = start_audit(session, endpoint, PLAN)
        endpoint.close()
    assert state.report is not None
    refused = [one for one in server.asked[-1].messages if "nested more than" in str(one)]
    assert refused
    assert session.log.verify().ok


def test_an_audit_with_a_deep_call_in_its_log_goes_on(session: Session):
    deep = '{"text": ' + nested(900) + "}"
    stop = threading.Event()

    def script(asked: Asked):
        if asked.n_replies == 0:
            stop.set()
            return Say("", [("note", deep)])
        return DONE

    with serving(script) as server:
        endpoint = Endpoint(server.settings())
        with pytest.raises(Stopped):
            start_audit(session, endpoint, PLAN, surroundings=Surroundings(None, None, stop.is_set))
        state = resume_audit(session, endpoint)
        endpoint.close()
    assert state.report is not None


@pytest.mark.parametrize("depth", [100, 900, 5_000, 500_000])
@pytest.mark.parametrize("stream", [True, False])
def test_a_deep_reply_is_no_reply(session: Session, depth, stream):
    deep = '{"model": "m", "extra": ' + nested(depth) + ', "choices": [{"finish_reason": "stop"}]}'
    body = f"data: {deep}\n\n".encode() if stream else deep.encode()
    kind = "text/event-stream" if stream else "application/json"
    with serving(then(Raw(body, kind), DONE)) as server:
        endpoint = Endpoint(server.settings(stream=stream))
        state = start_audit(session, endpoint, PLAN)
        endpoint.close()
    assert [one.body.error for one in state.failures] == ["body"]
    assert state.report is not None


def test_depth_is_counted_outside_of_strings():
    assert read_json(json.dumps({"a": "[" * 1000, "b": '\\"[{' * 100})) is not None
    assert read_json(nested(DEEPEST)) is not None
    for text in (nested(DEEPEST + 1), "[" * 10**6, '{"a":' * 10**5):
        with pytest.raises(ValueError, match="nested|JSON|Expecting"):
            read_json(text)
    (deep,) = written_calls('{"tool": "note", "arguments": ' + nested(900) + "}")
    assert deep.name == "note"


# --- usage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "unusable", "estimated"),
    [
        ({"prompt_tokens": -1, "completion_tokens": 3}, "prompt_tokens -1", True),
        ({"prompt_tokens": 10**9, "completion_tokens": 3}, "prompt_tokens 1000000000", True),
        ({"prompt_tokens": 2**63, "completion_tokens": 3}, "prompt_tokens 92233", True),
        ({"prompt_tokens": 0, "completion_tokens": 0}, "prompt_tokens 0", True),
        ({"prompt_tokens": "100", "completion_tokens": 3}, "prompt_tokens '100'", True),
        ({"prompt_tokens": True, "completion_tokens": 3}, "prompt_tokens True", True),
        ({"prompt_tokens": 100.5, "completion_tokens": 3}, "prompt_tokens 100.5", True),
        ({"prompt_tokens": math.nan, "completion_tokens": 3}, "prompt_tokens nan", True),
        ({"prompt_tokens": None, "completion_tokens": 3}, "prompt_tokens None", True),
        ({"prompt_tokens": [1], "completion_tokens": 3}, "prompt_tokens [1]", True),
        ({"prompt_tokens": 100, "completion_tokens": -3}, "completion_tokens -3", True),
        ({"prompt_tokens": 100, "completion_tokens": 10**12}, "completion_tokens 1000", True),
        ({"prompt_tokens": 100}, "completion_tokens None", True),
        (
            {"prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 7},
            "total_tokens 7 for 100 and 30",
            True,
        ),
        (
            {"prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 10**9},
            "total_tokens 1000000000",
            False,
        ),
        ({"prompt_tokens": 100, "completion_tokens": 30, "cost": -1}, "cost -1", False),
        ({"prompt_tokens": 100, "completion_tokens": 30, "cost": "1"}, "cost '1'", False),
        ({"prompt_tokens": 100, "completion_tokens": 30, "cost": True}, "cost True", False),
        ({"prompt_tokens": 100, "completion_tokens": 30, "cost": 1e300}, "cost 1e+300", False),
        ({"prompt_tokens": 100, "completion_tokens": 30, "cost": math.nan}, "cost nan", False),
        ({"prompt_tokens": 100, "completion_tokens": 30, "cost": math.inf}, "cost inf", False),
        ({"prompt_tokens": 100, "completion_tokens": 30, "cost": 0.25}, "", False),
    ],
    ids=str,
)
def test_usage_that_makes_no_sense_is_not_used(session: Session, usage, unusable, estimated):
    def respond(connection: Connection) -> None:
        used = {"model": "scripted", "choices": [], "usage": usage}
        stream = chunk("", tool_calls=[call(0, *report())]) + chunk("", "tool_calls")
        data = b"data: " + json.dumps(used).encode() + b"\n\n"
        connection.send(head() + stream + data + b"data: [DONE]\n\n")

    with serving_raw(respond) as server:
        endpoint = Endpoint(server.settings())
        state = start_audit(session, endpoint, PLAN)
        endpoint.close()
    found = state.messages[-1].body.usage
    assert found.estimated is estimated
    assert unusable in found.unusable
    assert bool(unusable) == bool(found.unusable)
    assert state.tokens == found.total_tokens
    assert 0 < state.tokens < 100_000
    if not estimated:
        assert state.tokens == 130
    assert state.cost == (0.25 if not unusable else None)


# --- redirects ------------------------------------------------------------------------------------


def test_a_redirect_to_another_place_is_not_followed(session: Session):
    with serving_raw(never_answers) as other:

        def respond(connection: Connection) -> None:
            connection.send(head(status="307 Moved", Location=other.url + "/chat/completions"))

        with serving_raw(respond) as server:
            endpoint = Endpoint(server.settings())
            with pytest.raises(
                EndpointError, match="redirects to http://127.0.0.1:.* not followed"
            ):
                start_audit(session, endpoint, PLAN)
            endpoint.close()
        assert other.requests == []


def test_a_redirect_on_the_same_server_is_followed(session: Session):
    def respond(connection: Connection) -> None:
        if b"POST /v1/chat/completions " in connection.request:
            connection.send(head(status="308 Moved", Location="/v2/chat"))
            return
        assert b"POST /v2/chat " in connection.request
        stream = chunk("", tool_calls=[call(0, *report())]) + chunk("", "tool_calls")
        connection.send(head() + stream + b"data: [DONE]\n\n")

    with serving_raw(respond) as server:
        endpoint = Endpoint(server.settings())
        assert start_audit(session, endpoint, PLAN).report is not None
        endpoint.close()


def test_an_error_body_without_an_end_is_an_error(session: Session):
    def respond(connection: Connection) -> None:
        connection.send(head("application/json", "400 Bad"))
        while connection.send(b"x" * 2**16):
            pass

    with serving_raw(respond) as server:
        endpoint = Endpoint(server.settings())
        with pytest.raises(EndpointError, match="Error code: 400") as caught:
            start_audit(session, endpoint, PLAN)
        endpoint.close()
    assert len(str(caught.value)) < 2_000


def test_a_long_wait_is_not_waited_for(session: Session):
    with serving(then(Refuse(429, "later", {"Retry-After": "3600"}))) as server:
        endpoint = Endpoint(server.settings())
        with pytest.raises(EndpointError, match="later"):
            start_audit(session, endpoint, PLAN)
        endpoint.close()
