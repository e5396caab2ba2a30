"""A reply put together from the pieces that servers send, each in its own way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from workbench.agent.assembling import Assembly
from workbench.agent.endpoint import error_in
from workbench.agent.event_stream import Body

ONE, TWO = json.dumps({"text": "one"}), json.dumps({"text": "two"})
TOOLS = frozenset({"note", "overview", "submit_report"})


def call(
    index: int | None = None,
    call_id: str | None = None,
    name: str | None = None,
    arguments: Any = None,
    **own: Any,
) -> dict[str, Any]:
    """A piece of a call, without the fields that are None."""
    function = {"name": name, "arguments": arguments}
    return {
        **{
            key: value
            for key, value in {"index": index, "id": call_id}.items()
            if value is not None
        },
        "function": {key: value for key, value in function.items() if value is not None},
        **own,
    }


def assembled(*deltas: dict[str, Any]) -> Assembly:
    reply = Assembly(tools=TOOLS)
    for delta in deltas:
        reply.take({"choices": [{"index": 0, "delta": delta}]})
    return reply


def calls_of(*pieces: dict[str, Any] | list[dict[str, Any]]) -> list[tuple[str, str]]:
    deltas = [{"tool_calls": piece if isinstance(piece, list) else [piece]} for piece in pieces]
    return [(one.name, one.arguments) for one in assembled(*deltas).calls]


TWO_CALLS = {
    "whole, one index": [call(0, "a", "note", ONE), call(0, "b", "note", TWO)],
    "whole, one index, no ids": [call(0, None, "note", ONE), call(0, None, "note", TWO)],
    "whole, empty ids": [call(0, "", "note", ONE), call(0, "", "note", TWO)],
    "whole, one id": [call(0, "a", "note", ONE), call(0, "a", "note", TWO)],
    "whole, neither": [call(None, None, "note", ONE), call(None, None, "note", TWO)],
    "in one chunk, neither": [[call(None, None, "note", ONE), call(None, None, "note", TWO)]],
    "in one chunk, one id": [[call(0, "a", "note", ONE), call(1, "a", "note", TWO)]],
    "in pieces, one index": [
        call(0, "a", "note", ""),
        call(0, None, None, ONE[:4]),
        call(0, None, None, ONE[4:]),
        call(0, "b", "note", ""),
        call(0, None, None, TWO),
    ],
    "in pieces, no index": [
        call(None, "a", "note", ONE[:4]),
        call(None, None, None, ONE[4:]),
        call(None, "b", "note", TWO[:4]),
        call(None, None, None, TWO[4:]),
    ],
    "in turn": [
        call(0, "a", "note", ONE[:4]),
        call(1, "b", "note", TWO[:4]),
        call(0, None, None, ONE[4:]),
        call(1, None, None, TWO[4:]),
    ],
    "one id at two indexes": [call(0, "a", "note", ONE), call(1, "a", "note", TWO)],
    "objects": [call(0, "a", "note", {"text": "one"}), call(0, "b", "note", {"text": "two"})],
}


@pytest.mark.parametrize("pieces", TWO_CALLS.values(), ids=TWO_CALLS)
def test_two_calls_stay_two(pieces):
    assert calls_of(*pieces) == [("note", ONE), ("note", TWO)]


ONE_CALL = {
    "the id in every piece": [call(0, "a", "note", ONE[:4]), call(0, "a", None, ONE[4:])],
    "the name in every piece": [call(0, "a", "note", ONE[:4]), call(0, "a", "note", ONE[4:])],
    "the name in every piece, no id": [
        call(0, None, "note", ONE[:4]),
        call(0, None, "note", ONE[4:]),
    ],
    "no index later": [call(0, "a", "note", ONE[:4]), call(None, None, None, ONE[4:])],
    "the id late": [call(0, None, "note", ""), call(0, "a", None, ONE)],
    "a split name": [call(0, "a", "no", ""), call(0, None, "te", ONE)],
    "all of it once more": [
        call(0, "a", "note", ONE[:4]),
        call(0, None, None, ONE[4:]),
        call(0, None, None, ONE),
    ],
    "all of it once more, named": [call(0, "a", "note", ONE), call(0, "a", "note", ONE)],
    "ever more of it": [
        call(0, "a", "note", ONE[:4]),
        call(0, "a", "note", ONE[:9]),
        call(0, "a", "note", ONE),
    ],
    "null, then it": [call(0, "a", "note"), call(0, None, None, ONE)],
}


@pytest.mark.parametrize("pieces", ONE_CALL.values(), ids=ONE_CALL)
def test_one_call_stays_one(pieces):
    assert calls_of(*pieces) == [("note", ONE)]


@pytest.mark.parametrize("arguments", [None, "", "null", {}])
def test_a_call_without_arguments_is_whole(arguments):
    reply = assembled({"tool_calls": [call(0, "a", "overview", arguments)]})
    assert json.loads(reply.calls[0].arguments or "{}") == {}
    assert reply.is_whole


def test_two_calls_without_arguments_are_two():
    pieces = call(0, None, "overview", ""), call(0, None, "note", ONE)
    assert calls_of(*pieces) == [("overview", ""), ("note", ONE)]


def test_the_call_of_the_old_protocol_is_one():
    reply = assembled(
        {"function_call": {"name": "note", "arguments": ONE[:4]}},
        {"function_call": {"arguments": ONE[4:]}},
    )
    assert [(one.name, one.arguments) for one in reply.calls] == [("note", ONE)]


def test_a_whole_message_at_the_end_takes_the_place_of_its_pieces():
    reply = assembled({"content": "so"}, {"tool_calls": [call(0, "a", "note", ONE[:4])]})
    calls = [call(0, "a", "note", ONE), call(1, "b", "note", TWO)]
    message = {"role": "assistant", "content": "so it is", "tool_calls": calls}
    piece = reply.take({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    assert (piece, reply.content) == (" it is", "so it is")
    assert [one.arguments for one in reply.calls] == [ONE, TWO]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("so", "so"),
        (None, ""),
        ([{"type": "text", "text": "so "}, {"type": "text", "text": "it is"}], "so it is"),
        (["so"], "so"),
        (
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": "so"},
            ],
            "so",
        ),
        ([{"type": "output_text", "text": "so"}], "so"),
    ],
)
def test_content_is_text_or_parts(content, text):
    reply = Assembly()
    reply.take({"choices": [{"message": {"role": "assistant", "content": content}}]})
    assert reply.content == text
    says_more = isinstance(content, list) and "thinking" in str(content)
    assert reply.fields == ({"content": content} if says_more else {})


def test_a_refusal_is_what_was_written():
    assert assembled({"refusal": "I can"}, {"refusal": "not."}).content == "I cannot."


def test_fields_of_the_provider_are_put_together():
    signature = {"google": {"thought_signature": "SIG" * 20}}
    reply = assembled(
        {"role": "assistant", "content": None, "reasoning_content": "ha"},
        {"reasoning_content": "ha", "refusal": None},
        {
            "reasoning_details": [
                {"type": "reasoning.text", "index": 0, "text": "ha", "format": "f"}
            ]
        },
        {
            "reasoning_details": [
                {"type": "reasoning.text", "index": 0, "text": "ha", "format": "f"}
            ]
        },
        {"reasoning_details": [{"type": "reasoning.text", "index": 0, "signature": "S1"}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "index": 0, "data": "E"}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "F"}]},
        {"tool_calls": [call(0, "a", "note", ONE[:4], extra_content=signature)]},
        {"tool_calls": [call(0, "a", None, ONE[4:], extra_content=signature)]},
        {"score": 1},
        {"score": 2, "seen": True},
    )
    assert reply.fields == {
        "reasoning_content": "haha",
        "reasoning_details": [
            {
                "type": "reasoning.text",
                "index": 0,
                "text": "haha",
                "format": "f",
                "signature": "S1",
            },
            {"type": "reasoning.encrypted", "index": 0, "data": "E"},
            {"type": "reasoning.encrypted", "data": "F"},
        ],
        "score": 2,
        "seen": True,
    }
    assert reply.calls[0].fields == {"extra_content": signature}


def test_fields_within_the_function_and_a_kind_of_call_are_kept():
    piece = call(0, "a", "note", ONE, type="custom")
    piece["function"]["strict"] = True
    reply = assembled({"tool_calls": [piece]})
    assert reply.calls[0].fields == {"function": {"strict": True}, "type": "custom"}


@pytest.mark.parametrize(
    "usage",
    [
        {"usage": {"prompt_tokens": 5}},
        {"x_groq": {"usage": {"prompt_tokens": 5}}},
        {"choices": [{"delta": {}, "usage": {"prompt_tokens": 5}}]},
    ],
)
def test_usage_stands_where_a_server_puts_it(usage):
    reply = Assembly()
    reply.take({"choices": []} | usage)
    assert reply.usage == {"prompt_tokens": 5}


@pytest.mark.parametrize(
    ("deltas", "whole"),
    [
        ([{"content": "so"}], True),
        ([{"content": " "}], False),
        ([{"reasoning_content": "so"}], False),
        ([{"tool_calls": [call(0, "a", "note", ONE)]}], True),
        ([{"tool_calls": [call(0, "a", "note", ONE[:-1])]}], False),
        ([{"content": "so", "tool_calls": [call(0, "a", None, ONE)]}], False),
    ],
)
def test_what_can_be_all_of_a_reply(deltas, whole):
    assert assembled(*deltas).is_whole is whole


@pytest.mark.parametrize(
    "delta",
    [
        {"tool_calls": "x"},
        {"tool_calls": ["x"]},
        {"tool_calls": [{"function": "x"}]},
        {"content": 5},
    ],
)
def test_what_is_built_otherwise_is_an_error(delta):
    with pytest.raises(ValueError, match="is a JSON"):
        assembled(delta)


# --- the bytes ------------------------------------------------------------------------------------

STREAMS = {
    "as the protocol says": b'data: {"a": 1}\n\ndata: {"b": "\xc3\xa9"}\n\ndata: [DONE]\n\n',
    "carriage returns": b'data: {"a": 1}\r\n\r\ndata: {"b": "\xc3\xa9"}\r\n\r\ndata: [DONE]\r\n\r\n',
    "carriage returns alone": b'data: {"a": 1}\r\rdata: {"b": "\xc3\xa9"}\r\rdata: [DONE]\r\r',
    "no space": b'data:{"a": 1}\n\ndata:{"b": "\xc3\xa9"}\n\ndata:[DONE]\n\n',
    "no empty lines": b'data: {"a": 1}\ndata: {"b": "\xc3\xa9"}\ndata: [DONE]',
    "comments": b': hold\n\ndata: {"a": 1}\n\n: on\n\ndata: {"b": "\xc3\xa9"}\n\ndata: [DONE]\n\n',
    "names and ids": b'event: x\nid: 1\ndata: {"a": 1}\n\nid: y\ndata: {"b": "\xc3\xa9"}\n\ndata: [DONE]\n\n',
    "a value on several lines": b'data: {"a":\ndata: 1}\n\ndata: {"b": "\xc3\xa9"}\n\ndata: [DONE]\n\n',
    "a mark before it": b'\xef\xbb\xbf\ndata: {"a": 1}\n\ndata: {"b": "\xc3\xa9"}\n\ndata: [DONE]\n\n',
    "more after the end": b'data: {"a": 1}\n\ndata: {"b": "\xc3\xa9"}\n\ndata: [DONE]\n\ndata: {"c": 1}\n\n',
}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
def test_an_event_stream_is_read_in_any_form_and_in_any_pieces(stream: bytes, size: int):
    body, found = Body(), []
    for start in range(0, len(stream), size):
        found += body.feed(stream[start : start + size])
    found += body.close()
    assert found == [{"a": 1}, {"b": "é"}]
    assert body.done


@pytest.mark.parametrize(
    ("stream", "values"),
    [
        (b'data: {"a": 1}\n\ndata: {"b"', [{"a": 1}]),
        (b'data: {"a": 1}', [{"a": 1}]),
        (b": x\n\n", []),
    ],
)
def test_a_stream_that_breaks_off_is_not_done(stream: bytes, values):
    body = Body()
    assert body.feed(stream) + body.close() == values
    assert not body.done


def test_json_is_read_whatever_was_asked_for():
    body = Body()
    assert body.feed(b' {"a":') == body.feed(b"\n1}") == []
    assert body.close() == [{"a": 1}]


@pytest.mark.parametrize(
    "data",
    [
        b"<html>",
        b"{",
        b"data: {not json\n\n",
        b'{"a":' + b"[" * 100_000,
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
)
def test_what_is_neither_is_an_error(data: bytes):
    body = Body()
    with pytest.raises(ValueError, match=r"JSON|Expecting"):
        (body.feed(data), body.close())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"error": {"message": "overloaded", "code": 529}}, "overloaded"),
        ({"error": "no such model"}, "no such model"),
        ({"object": "error", "message": "too long", "code": 400}, "too long"),
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
            "Overloaded",
        ),
        ({"detail": "Not Found"}, "Not Found"),
        (
            {"choices": [{"delta": {}, "finish_reason": "error", "error": {"message": "died"}}]},
            "died",
        ),
        ({"error": None, "choices": []}, None),
    ],
)
def test_an_error_in_place_of_a_reply_is_found(value, message):
    found = error_in(value)
    assert (found and found.message) == message
