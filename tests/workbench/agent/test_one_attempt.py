"""One attempt at a reply: what is told of an error, and what is taken of a body that is odd."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.workbench.agent.scripted import Raw, Reaction, Refuse, serving, then
from workbench.agent.endpoint import Endpoint
from workbench.agent.request import Answer, AttemptFailed, Request

TOOLS = [{"type": "function", "function": {"name": "ask", "parameters": {"type": "object"}}}]
USAGE = {"prompt_tokens": 5, "completion_tokens": 3}


def whole(usage: Any = None, finish: str = "stop", **message: Any) -> bytes:
    choice = {"message": {"content": "hello"} | message, "finish_reason": finish}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


def attempt(reaction: Reaction, tools: list[dict[str, Any]] = TOOLS, query: str = "") -> Answer:
    with serving(then(reaction)) as server:
        endpoint = Endpoint(server.settings(base_url=server.url + query))
        try:
            messages = [{"role": "user", "content": "hi"}]
            answer = endpoint.attempt(Request("m", lambda _mode: (messages, tools)))
            assert server.asked[0].query == query.removeprefix("?")
            return answer
        finally:
            endpoint.close()


def failed(reaction: Reaction) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as found:
        attempt(reaction)
    return found.value


@pytest.mark.parametrize(
    ("status", "body", "words", "error"),
    [
        (400, {"error": "Model does not support tools"}, "does not support tools", "unsupported"),
        (422, {"error": "the input is wrong", "error_type": "validation"}, "is wrong", "form"),
        (
            422,
            {"error": "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000"},
            "4096",
            "context",
        ),
        (400, {"detail": "context length 4096 exceeded"}, "4096", "context"),
        (400, {"msg": "no such model"}, "- no such model", "status 400"),
        (400, {"error": {"error_message": "no"}}, "- no", "form"),
        (500, {"reason": "fire"}, '{"reason": "fire"}', "status 500"),
    ],
)
def test_the_words_of_a_refusal_are_told_whatever_field_has_them(
    status: int, body: Any, words: str, error: str
):
    told = failed(Refuse(status, body=body))
    assert (told.error, words in told.message) == (error, True), told.message


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (401, b"invalid api key", "Error code: 401 - invalid api key"),
        (
            502,
            b"<!DOCTYPE html><html><style>p {}</style>\n<h1>Bad &amp; gateway</h1><p>nginx</p></html>",
            "Error code: 502 - Bad & gateway nginx",
        ),
        (504, b"", "Error code: 504"),
    ],
)
def test_a_refusal_that_is_no_json_is_told_in_its_words(status: int, body: bytes, told: str):
    assert failed(Raw(body, "text/html", status=status)).message == told


@pytest.mark.parametrize(
    ("body", "words", "again"),
    [
        (
            b'{"success": false, "message": "balance too low", "code": 30001}',
            "balance too low",
            True,
        ),
        (b'event: error\ndata: {"message": "overloaded"}\n\n', "overloaded", True),
        (b'event: error\ndata: {"kind": "busy"}\n\n', '{"kind": "busy"}', True),
        (b"event: error\ndata: out of memory\n\n", "out of memory", True),
        (b'{"error": {"code": 404, "message": "no such model"}}', "no such model", False),
        (b'data: {"error": {"code": 422, "message": "bad"}}\n\n', "bad", False),
        (b"<html>\n<body>\nSign in\n</body>\n</html>\n", "'Sign in'", True),
    ],
)
def test_an_error_in_place_of_a_reply_is_told_in_its_words(body: bytes, words: str, again: bool):
    told = failed(Raw(body, "text/event-stream"))
    assert (words in told.message, told.again) == (True, again), told.message


@pytest.mark.parametrize("blanks", [b"\n" * 70, b" \r\n" * 5_000])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_blanks_before_a_reply_are_nothing(blanks: bytes, mark: bytes):
    assert attempt(Raw(blanks + mark + whole())).content == "hello"
    stream = b"data: " + whole() + b"\n\ndata: [DONE]\n\n"
    assert attempt(Raw(mark + blanks + stream, "text/event-stream")).content == "hello"


def test_a_query_of_the_address_goes_behind_the_path():
    assert attempt(Raw(whole()), query="?api-version=2024-10&x=").content == "hello"


def test_a_reply_that_ends_with_an_error_is_none():
    assert failed(Raw(whole(finish="error"))).error == "dropped"


def test_thoughts_that_are_billed_beside_the_reply_count_as_reply():
    thoughts = {"completion_tokens_details": {"reasoning_tokens": 82}}
    usage = attempt(Raw(whole(USAGE | thoughts | {"total_tokens": 90}))).usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.unusable) == (5, 85, "")
    # Most servers count them as reply themselves, and of some nobody knows what more there is.
    within = USAGE | {"completion_tokens_details": {"reasoning_tokens": 2}}
    for total, unusable in ((8, ""), (90, "total_tokens 90")):
        usage = attempt(Raw(whole(within | {"total_tokens": total}))).usage
        assert (usage.completion_tokens, usage.unusable) == (3, unusable)


def test_an_estimate_counts_thoughts_and_tools():
    plain = attempt(Raw(whole()), tools=[]).usage
    more = attempt(Raw(whole(reasoning="hm " * 100, reasoning_content="hm " * 100))).usage
    assert more.completion_tokens == (300 + len("hello")) // 4
    assert more.prompt_tokens - plain.prompt_tokens >= len(json.dumps(TOOLS)) // 4
