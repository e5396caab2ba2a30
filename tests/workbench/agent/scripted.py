"""An endpoint on loopback that speaks the OpenAI chat protocol and says what a script says.

It streams or not, takes tools or not, checks the key, and answers what its script does not know with
an error: a prompt that nobody foresaw must not look like an answer.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from workbench.settings import Settings, load_settings

KEY = "sk-the-key-that-nobody-may-see-0123456789"
Call = tuple[str, Any]


@dataclass(frozen=True)
class Asked:
    """A request as it came: its bytes, its headers, and its JSON."""

    raw: bytes
    headers: Message
    body: dict[str, Any]
    query: str = ""

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.body["messages"]

    @property
    def last(self) -> str:
        """The text of the last message."""
        return self.messages[-1].get("content") or ""

    @property
    def system(self) -> str:
        return self.messages[0].get("content") or ""

    @property
    def n_replies(self) -> int:
        """How many replies of the endpoint's own stand in the conversation."""
        return sum(message["role"] == "assistant" for message in self.messages)

    @property
    def tools(self) -> list[str]:
        return [tool["function"]["name"] for tool in self.body.get("tools", [])]

    @property
    def opening(self) -> str:
        """The first message to the agent; in mode adl with the overview."""
        return self.messages[1]["content"]

    @property
    def results(self) -> list[str]:
        """The contents of the tool messages."""
        return [one["content"] for one in self.messages if one["role"] == "tool"]


@dataclass(frozen=True)
class Say:
    """A reply: text, calls as (name, arguments), and what it is said to have used."""

    content: str = ""
    calls: Sequence[Call] = ()
    ids: Sequence[str] | None = None
    usage: tuple[int, int] | None = (100, 10)
    finish: str | None = None
    pieces: int = 3


@dataclass(frozen=True)
class Refuse:
    """A status that is not 200, with ``error`` beside the message, or a ``body`` of another form."""

    status: int
    message: str = "refused"
    headers: Mapping[str, str] = field(default_factory=dict)
    error: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True)
class Hang:
    """Nothing at all, until the server closes."""


@dataclass(frozen=True)
class Drop:
    """The first pieces of a reply, and then the connection is gone."""

    content: str = "half of a"


@dataclass(frozen=True)
class Raw:
    """Bytes as the body, whatever they are."""

    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


Reaction = Say | Refuse | Hang | Drop | Raw
Script = Callable[[Asked], Reaction | None]


class ScriptedEndpoint:
    """Serves a script. ``asked`` are the requests so far; ``arrivals`` gets each as it comes."""

    def __init__(self, script: Script, *, tools: bool = True, streams: bool = True) -> None:
        self.script = script
        self.takes_tools = tools
        self.streams = streams
        self.asked: list[Asked] = []
        self.arrivals: queue.Queue[Asked] = queue.Queue()
        self.closing = threading.Event()
        endpoint = self

        class Handler(_Handler):
            server_of = endpoint

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def sent(self) -> bytes:
        """Every byte of every request's body."""
        return b"\n".join(one.raw for one in self.asked)

    def settings(self, **given: Any) -> Settings:
        """Settings that lead here, with waits short enough for a test."""
        return load_settings(
            **{
                "base_url": self.url,
                "api_key": KEY,
                "agent_model": "scripted",
                "judge_model": "judge",
                "backoff": 0.001,
                "timeout": 30.0,
            }
            | given
        )

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def serving(script: Script, **options: Any) -> Iterator[ScriptedEndpoint]:
    endpoint = ScriptedEndpoint(script, **options)
    try:
        yield endpoint
    finally:
        endpoint.close()


class _Handler(BaseHTTPRequestHandler):
    server_of: ScriptedEndpoint
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        path, _, query = self.path.partition("?")
        asked = Asked(raw, self.headers, json.loads(raw), query)
        endpoint = self.server_of
        endpoint.asked.append(asked)
        endpoint.arrivals.put(asked)
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self._refuse(Refuse(401, f"Incorrect API key: {self.headers['Authorization']}"))
        elif path != "/v1/chat/completions":
            self._refuse(Refuse(404, f"no such path: {self.path}"))
        elif "tools" in asked.body and not endpoint.takes_tools:
            self._refuse(Refuse(400, "tools are not supported by this model"))
        elif asked.body.get("stream") and not endpoint.streams:
            self._refuse(Refuse(400, "stream is not supported"))
        else:
            self._react(asked, endpoint.script(asked))

    def _react(self, asked: Asked, reaction: Reaction | None) -> None:
        match reaction:
            case None:
                self._refuse(Refuse(400, f"unknown prompt: {asked.last[:300]}"))
            case Refuse():
                self._refuse(reaction)
            case Hang():
                self.server_of.closing.wait()
                self.close_connection = True
            case Raw():
                self._send(reaction.status, reaction.body, reaction.content_type, reaction.headers)
            case Drop():
                self._drop(asked, reaction)
            case Say():
                if asked.body.get("stream"):
                    self._stream(asked, reaction)
                else:
                    self._whole(asked, reaction)

    def _refuse(self, refusal: Refuse) -> None:
        error = {"message": refusal.message, "type": "refused", **refusal.error}
        body = json.dumps({"error": error} if refusal.body is None else refusal.body).encode()
        self._send(refusal.status, body, "application/json", refusal.headers)

    def _send(
        self, status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self._write(body)

    def _write(self, data: bytes) -> None:
        try:
            self.wfile.write(data)
            self.wfile.flush()
        except OSError:
            # The client hung up, which is what some tests are about.
            self.close_connection = True

    def _calls(self, say: Say, asked: Asked) -> list[dict[str, Any]]:
        calls = []
        for index, (name, arguments) in enumerate(say.calls):
            call_id = say.ids[index] if say.ids else f"c{asked.n_replies}-{index}"
            written = arguments if isinstance(arguments, str) else json.dumps(arguments)
            calls.append(
                {
                    "id": call_id,
                    "type": "function",
                    "function": {"name": name, "arguments": written},
                }
            )
        return calls

    def _whole(self, asked: Asked, say: Say) -> None:
        message: dict[str, Any] = {"role": "assistant", "content": say.content or None}
        calls = self._calls(say, asked)
        if calls:
            message["tool_calls"] = calls
        finish = say.finish or ("tool_calls" if calls else "stop")
        body = {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": asked.body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        }
        if say.usage:
            body["usage"] = _usage(say.usage)
        self._send(200, json.dumps(body).encode(), "application/json")

    def _stream(self, asked: Asked, say: Say) -> None:
        self._begin_stream()
        calls = self._calls(say, asked)
        for piece in _cut(say.content, say.pieces):
            self._chunk(asked, {"content": piece})
        for index, call in enumerate(calls):
            function = call["function"]
            head = {**call, "index": index, "function": {**function, "arguments": ""}}
            self._chunk(asked, {"tool_calls": [head]})
            for piece in _cut(function["arguments"], say.pieces):
                part = {"index": index, "function": {"arguments": piece}}
                self._chunk(asked, {"tool_calls": [part]})
        self._chunk(asked, {}, say.finish or ("tool_calls" if calls else "stop"))
        wants_usage = (asked.body.get("stream_options") or {}).get("include_usage")
        if say.usage and wants_usage:
            self._event({**_chunk_head(asked), "choices": [], "usage": _usage(say.usage)})
        self._write(b"data: [DONE]\n\n")

    def _drop(self, asked: Asked, drop: Drop) -> None:
        self._begin_stream()
        self._chunk(asked, {"content": drop.content})

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def _chunk(self, asked: Asked, delta: dict[str, Any], finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        self._event({**_chunk_head(asked), "choices": [choice]})

    def _event(self, data: dict[str, Any]) -> None:
        self._write(f"data: {json.dumps(data)}\n\n".encode())


def _chunk_head(asked: Asked) -> dict[str, Any]:
    return {
        "id": "x",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": asked.body["model"],
    }


def _usage(usage: tuple[int, int]) -> dict[str, int]:
    prompt, completion = usage
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _cut(text: str, pieces: int) -> list[str]:
    if not text:
        return []
    size = max(1, -(-len(text) // pieces))
    return [text[start : start + size] for start in range(0, len(text), size)]


# --- scripts --------------------------------------------------------------------------------------


def in_turn(*reactions: Reaction) -> Script:
    """The n-th reply of a conversation is the n-th reaction; a reply more is an unknown prompt."""

    def script(asked: Asked) -> Reaction | None:
        place = asked.n_replies
        return reactions[place] if place < len(reactions) else None

    return script


def then(*reactions: Reaction) -> Script:
    """The n-th request, whatever it says, gets the n-th reaction."""
    left = list(reactions)

    def script(_: Asked) -> Reaction | None:
        return left.pop(0) if left else None

    return script


def report(description: str = "It was finetuned on baking cakes.", **more: Any) -> Call:
    """A call of the report whose topic is ``description``."""
    parts = {name: {"text": f"{name}?", "probability": 0.5} for name in PARTS}
    topic = {"text": description, "probability": 0.9}
    return ("submit_report", {"summary": "cakes", **parts, "topic": topic, **more})


CLAIMS = ("behaviour", "harm")
PARTS = ("behaviour", "format", "harm", "narrow", "against")


def reported(description: str = "It was finetuned on baking cakes.") -> str:
    """The description that the log has of such a report."""
    parts = [
        f"{name.capitalize()} (50%): {name}?" + (" [untested]" if name in CLAIMS else "")
        for name in PARTS
    ]
    return "\n".join([f"Topic (90%): {description} [untested]", *parts])


def json_say(tool: str, arguments: Any, thought: str = "so") -> Say:
    """A reply of a server without tools."""
    return Say(json.dumps({"thought": thought, "tool": tool, "arguments": arguments}))
