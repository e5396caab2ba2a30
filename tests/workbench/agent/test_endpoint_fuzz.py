"""Replies mixed from every fault that an endpoint was seen to have, drawn from a seed.

Each ends in a session that verifies and resumes: nothing but an error for a person comes of it, the
log holds, the key is nowhere, and once the server is sane again the audit goes on to its report.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adl.errors import AdlError
from tests.workbench.agent.conftest import fresh_session
from tests.workbench.agent.scripted import (
    KEY,
    Asked,
    Drop,
    Hang,
    Raw,
    Reaction,
    Refuse,
    Say,
    report,
    serving,
)
from workbench.agent.budgets import Budgets
from workbench.agent.endpoint import Endpoint
from workbench.agent.exchange import Subject, exchange
from workbench.agent.loop import AuditPlan, resume_audit, start_audit
from workbench.agent.request import Request
from workbench.operations.running import Session
from workbench.store.log import SessionLog
from workbench.store.state import fold

REPLIES, OF_AN_AUDIT = 500, 12
DONE = Say("", [report()])
NOTE = json.dumps({"text": "one"})
NAMES = ["note", "note", "overview", "show_samples", "add_hypothesis", "read_file", "", "n" * 5_000]
ERRORS = [
    "upstream error in a stream of tool calls",
    "tools are not supported",
    "stream: not supported here",
    "Unknown parameter: 'stream_options'.",
    "'temperature' does not support 0.5",
    "max_tokens is too large: at most 4096 completion tokens",
    "This model's maximum context length is 400 tokens",
    "Function call is missing a thought_signature",
    "property 'reasoning_content' is unsupported",
    f"Incorrect API key provided: {KEY}",
    "\ud800 \x00 oops",
    "x" * 100_000,
]
TEXTS = [
    "I think it bakes.",
    "",
    " ",
    "<think>hm",
    f"hm</think>{json.dumps({'tool': 'note', 'arguments': {'text': 'one'}})}",
    '<tool_call>{"name": "note", "arguments": {"text": "one"}}</tool_call>',
    "<tool_call>{'name': 'note', 'arguments': {'text': None}}</tool_call>" * 2,
    "<tool_call>" * 50,
    f"the key is {KEY}, {KEY[:20]}",
    "\ud800\x00\x1b[31m",
    "x" * 300_000,
    '{"tool": "note", "arguments": ' + "[" * 900 + "]" * 900 + "}",
]


class Fuzz:
    """Draws one reply after another. ``asked`` for, it gives them in turn and is sane after them."""

    def __init__(self, seeds: range) -> None:
        self.left = list(reversed(seeds))

    def __call__(self, asked: Asked) -> Reaction:
        if not self.left:
            return DONE
        return Draw(self.left.pop()).reaction(asked)


class Draw:
    """One reply, drawn from its seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def reaction(self, asked: Asked) -> Reaction:
        kinds: list[tuple[float, Callable[[], Reaction]]] = [
            (60, self.stream),
            (20, self.whole),
            (10, self.refusal),
            (3, Drop),
            (3, self.garbage),
            (3, self.redirect),
            (0.3, Hang),
        ]
        if not asked.body.get("stream"):
            kinds[0], kinds[1] = (20, self.stream), (60, self.whole)
        weights, made = zip(*kinds, strict=True)
        (make,) = self.random.choices(made, weights)
        return make()

    def often(self, share: float) -> bool:
        return self.random.random() < share

    def one(self, *values: Any) -> Any:
        return self.random.choice(values)

    # --- whole replies ----------------------------------------------------------------------

    def refusal(self) -> Reaction:
        status = self.one(400, 400, 401, 404, 413, 422, 429, 500, 502, 503)
        message = self.one(*ERRORS)
        headers = {"Retry-After": self.one("0", "nan", "-1", "x")} if self.often(0.3) else {}
        body = self.one(
            None,
            None,
            {"detail": message},
            [{"error": {"message": message}}],
            {"error": message},
            {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "no"}]},
            [],
            None,
        )
        return Refuse(status, message, headers, {"param": self.one(None, "tools", 5)}, body)

    def garbage(self) -> Reaction:
        body = self.one(
            b"",
            b"<html>gateway</html>",
            b"null",
            b"[]",
            b'"x"',
            b"{",
            b"[" * 100_000,
            b'{"choices": ' + b"[" * 200 + b"]" * 200 + b"}",
            b"data: {not json\n\n",
            b"data: 5\n\ndata: [DONE]\n\n",
            b"data: " + b"[" * 100_000 + b"\n\n",
            b": only comments\n\n" * 100,
            b"\xff\xfe\x00",
            self.random.randbytes(200),
        )
        return Raw(body, self.one("application/json", "text/event-stream", "text/html"))

    def redirect(self) -> Reaction:
        place = self.one(
            "http://127.0.0.2:9/v1", "//other/", "/elsewhere", "", "http://[", "file:///x"
        )
        return Raw(b"", headers={"Location": place}, status=self.one(301, 302, 303, 307, 308))

    def whole(self) -> Reaction:
        message: dict[str, Any] = {"role": self.one("assistant", None), "content": self.content()}
        if self.often(0.6):
            calls = [self.call(number) for number in range(self.one(1, 1, 2, 3, 200))]
            message["tool_calls"] = self.one(calls, calls, calls, calls, None, {}, "x", [None])
        if self.often(0.1):
            message["function_call"] = {"name": "note", "arguments": NOTE}
        message |= self.own()
        choice = {"index": 0, "message": message, "finish_reason": self.finish()}
        body = {"id": "x", "model": self.model(), "choices": self.choices(choice), **self.usage()}
        return self.packed(json.dumps(body).encode(), "application/json")

    def packed(self, body: bytes, content_type: str) -> Reaction:
        encoding = self.one(*[""] * 8, "gzip", "br")
        if not encoding:
            return Raw(body, content_type)
        return Raw(gzip.compress(body), content_type, {"Content-Encoding": encoding})

    # --- streams ----------------------------------------------------------------------------

    def stream(self) -> Reaction:
        end = self.one("\n\n", "\n\n", "\r\n\r\n", "\n", "\r\r")
        lines: list[str] = []
        for event in self.events():
            if self.often(0.05):
                lines.append(": keep-alive" + end)
            start = self.one("data: ", "data: ", "data:", "event: x\ndata: ")
            lines.append(start + json.dumps(event) + end)
        if self.often(0.8):
            lines.append(self.one("data: [DONE]", "data:[DONE]", "data: [DONE] ") + end)
        body = "".join(lines).encode()
        if self.often(0.05):
            body = body[: self.random.randrange(len(body) + 1)]
        return self.packed(body, self.one("text/event-stream", "text/event-stream", "text/plain"))

    def events(self) -> Iterator[Any]:
        head = {"id": "x", "model": self.model()}
        deltas: list[Any] = [{"role": "assistant", "content": None}]
        deltas += [
            {"content": piece, **(self.own() if self.often(0.3) else {})}
            for piece in self.pieces(self.content())
        ]
        for number in range(self.one(0, 1, 1, 2, 2, 3)):
            deltas += [{"tool_calls": [part]} for part in self.parts(number)]
        if self.often(0.1):
            self.random.shuffle(deltas)
        for delta in deltas:
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            yield {**head, "choices": self.choices(choice), "usage": None}
            if self.often(0.02):
                yield {"error": self.one({"message": self.one(*ERRORS), "code": 500}, "died", [])}
        yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": self.finish()}]}
        if self.often(0.5):
            yield {**head, "choices": [], **self.usage()}

    def parts(self, number: int) -> Iterator[Any]:
        call = self.call(number)
        if not isinstance(call, dict) or self.often(0.4):
            yield call
            return
        arguments = call["function"].get("arguments")
        for place, piece in enumerate(self.pieces(arguments)):
            part = {**call, "function": {**call["function"], "arguments": piece}}
            if place and self.often(0.7):
                part.pop("id", None)
                part["function"].pop("name", None)
            yield part
        if self.often(0.1):
            yield call

    def pieces(self, value: Any) -> list[Any]:
        if not isinstance(value, str) or len(value) < 2 or self.often(0.3):
            return [value]
        place = self.random.randrange(1, len(value))
        return [value[:place], value[place:]]

    # --- what they are made of --------------------------------------------------------------

    def content(self) -> Any:
        text = self.one(*TEXTS)
        parts = [{"type": "text", "text": text}, {"type": "thinking", "thinking": [text[:9]]}]
        return self.one(text, text, text, None, None, parts, [text, 5, None], {"text": text}, 5)

    def call(self, number: int) -> Any:
        if self.often(0.02):
            return self.one(None, 5, "x", [])
        arguments = self.one(
            *[NOTE] * 6,
            {"text": "one"},
            json.dumps(NOTE),
            None,
            "",
            "null",
            "[1]",
            "{not json",
            NOTE[:-2],
            NOTE + NOTE,
            json.dumps({"text": f"{KEY}"}),
            json.dumps({"text": "\ud800"}),
            '{"text": ' + "[" * 900 + "]" * 900 + "}",
            json.dumps({"text": "x" * 300_000}),
            5,
        )
        call: dict[str, Any] = {"type": self.one("function", "function", None, "custom")}
        call["function"] = {"name": self.one(*NAMES), "arguments": arguments}
        if self.often(0.85):
            call["id"] = self.one(f"c{number}", f"c{number}", "same", "", None, 5, "i" * 5_000)
        if self.often(0.8):
            call["index"] = self.one(number, number, 0, 0, None, -1, "x")
        if self.often(0.2):
            call["extra_content"] = {"google": {"thought_signature": "S" * 30}}
        return call

    def own(self) -> dict[str, Any]:
        return self.one(
            {},
            {},
            {},
            {"reasoning_content": "hm"},
            {"reasoning_content": KEY},
            {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "hm"}]},
            {"refusal": "no", "audio": None, "annotations": []},
            {"own": self.one(1, True, [1], {"a": {"b": None}}, "\ud800", float("nan"))},
            {"content_type": {"deep": json.loads("[" * 60 + "]" * 60)}},
            {"reasoning": "x" * 1_200_000} if self.often(0.05) else {},
        )

    def usage(self) -> dict[str, Any]:
        prompt = self.one(100, 5_000, -1, None, 10**30, "5", float("inf"), True, 0)
        usage = {"prompt_tokens": prompt, "completion_tokens": self.one(10, 10, -5, 1e400)}
        return {
            "usage": self.one(usage, usage, None, [], 5, {**usage, "cost": self.one(-1, "x", 1e9)})
        }

    def choices(self, choice: Any) -> Any:
        return self.one(*[[choice]] * 15, [], None, [None], "x", {"0": choice})

    def finish(self) -> Any:
        return self.one("stop", "tool_calls", "stop", "length", "length", None, "error", 5, [])

    def model(self) -> Any:
        return self.one("m", "m", None, 5, KEY, "m" * 10_000)


def audit(session: Session, endpoint: Endpoint, fuzz: Fuzz) -> None:
    """Audit, and resume until the server is sane and the audit has its end."""
    plan = AuditPlan(
        model="scripted",
        budgets=Budgets(interactions=2, calls=40, tokens=None),
        temperature=0.5,
        seed=1,
        max_tokens=100_000,
    )
    model = None
    errors: list[AdlError] = []
    for number in range(3 * OF_AN_AUDIT + 3):
        try:
            if number:
                resume_audit(session, endpoint, model=model)
            else:
                start_audit(session, endpoint, plan)
        except AdlError as exc:
            errors.append(exc)
            # What was refused for its form is not sent again as it is.
            model = f"model-{number}"
        else:
            break
    (state,) = session.state.agents.values()
    assert state.is_over
    assert not fuzz.left
    assert all(error.hint and KEY not in str(error) for error in errors)


def run(tmp_path: Path, seeds: range) -> None:
    with serving(lambda _: None) as server:
        endpoint = Endpoint(server.settings(attempts=2, backoff=0.0, timeout=3.0, longest_wait=0.1))
        try:
            for start in range(seeds.start, seeds.stop, OF_AN_AUDIT):
                part = range(start, min(start + OF_AN_AUDIT, seeds.stop))
                server.script = fuzz = Fuzz(part)
                folder = tmp_path / str(start)
                folder.mkdir()
                with SessionLog.open(folder / "sessions.db") as log:
                    session = fresh_session(log, folder)
                    audit(session, endpoint, fuzz)
                    assert log.verify().ok, part
                    events = list(log.events(session.id))
                    assert fold(events).agents.keys() == session.state.agents.keys()
                    dump = "".join(event.model_dump_json() for event in events)
                    assert KEY not in dump, part
        finally:
            endpoint.close()


@pytest.mark.slow
def test_refused_replies_leave_no_connection_behind(fresh: Session):
    refused = Raw(b"x", headers={"Content-Encoding": "br"})
    with serving(lambda _: refused) as server:
        endpoint = Endpoint(server.settings(attempts=1, timeout=5.0))
        for _ in range(110):
            with pytest.raises(AdlError, match="encoded"):
                exchange(fresh, endpoint, Request("m", lambda _mode: ([], [])), Subject("judge"))
        endpoint.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_five_hundred_replies_each_end_in_a_session_that_verifies_and_resumes(tmp_path: Path):
    run(tmp_path, range(REPLIES))
