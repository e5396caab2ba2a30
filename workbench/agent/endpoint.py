"""One attempt at a reply from an OpenAI-compatible endpoint.

    Request  --attempt-->  Answer            a whole reply, native tool calls included
                        |  AttemptFailed     with whether, and how soon, another attempt makes sense
                        |  Stopped           within a moment of being asked to stop

Servers differ in what they take. Where one refuses a parameter by name (tools, a forced tool, stream,
usage in a stream, temperature, seed), the endpoint remembers and does without.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import Any, TypeGuard

from adl.errors import Stopped
from adl.pair import ShouldStop, never_stop
from workbench.agent.assembling import MOST_CALLS, Assembly
from workbench.agent.event_stream import Body
from workbench.settings import DEFAULT_ENDPOINT, Settings, SettingsError
from workbench.store.agent_events import ToolCall, ToolMode, Usage

#: Kept of one reply, in characters; a server that goes on is hung up on.
LONGEST_REPLY = 200_000
#: Of the provider's own fields of a reply, such as its reasoning, in characters of JSON.
LONGEST_FIELDS = 1_000_000
_LOOK_FOR_STOP = 0.05
_LONGEST_MESSAGE = 500
# How servers say that a prompt is too long for the model: OpenAI, vLLM, llama.cpp, Anthropic, others.
_TOO_LONG = re.compile(
    r"context[ _]length|context[ _](?:window|size)|prompt is too long|too many (?:input )?tokens"
    r"|(?:input|prompt) (?:length|tokens?) exceeds?|maximum (?:input|prompt) length",
    re.IGNORECASE,
)
_CHARACTERS_PER_TOKEN = 4
#: Characters of a call's id; a longer one is replaced.
LONGEST_ID = 200
# No reply has more tokens, and no prompt more than it has bytes, but for what a server adds.
_MOST_TOKENS = 2_000_000
_TOKENS_ADDED = 20_000
# Beyond that a reply's cost is no price of anything, in US dollars.
_HIGHEST_COST = 1_000.0

OnText = Callable[[str], None]
Message = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """What to ask.

    ``render`` gives messages and tools for a way of calling tools, since it may turn out during the
    attempt that the server has none. ``forced`` names the one tool that has to be called.
    """

    model: str
    render: Callable[[ToolMode], tuple[Sequence[Message], Sequence[Mapping[str, Any]]]]
    forced: str | None = None
    temperature: float | None = None
    seed: int | None = None
    max_tokens: int | None = None


@dataclass(frozen=True)
class Answer:
    """A reply as it came; ``truncated`` where more came than is kept."""

    model: str
    content: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    usage: Usage
    seconds: float
    truncated: bool = False
    provider_fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Capabilities:
    """What this server is known not to refuse."""

    stream: bool = True
    stream_usage: bool = True
    native_tools: bool = True
    forced_tool: bool = True
    temperature: bool = True
    seed: bool = True
    max_tokens: bool = True


class AttemptFailed(Exception):
    """No reply. ``again`` if another attempt makes sense, not before ``wait`` seconds if it says so."""

    def __init__(
        self,
        error: str,
        message: str,
        *,
        status: int | None = None,
        again: bool = True,
        wait: float | None = None,
    ) -> None:
        super().__init__(message)
        self.error = error
        self.message = message
        self.status = status
        self.again = again
        self.wait = wait


class Endpoint:
    """An endpoint and what was learnt of it. One attempt at a time; others wait for their turn."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is connected to. Raises ``SettingsError`` where there is no key for OpenAI itself."""
        if settings.api_key is None and settings.base_url.rstrip("/") == DEFAULT_ENDPOINT:
            raise SettingsError(
                "no API key is set",
                "Set OPENAI_API_KEY, or OPENAI_BASE_URL for a server that needs none.",
            )
        self.settings = settings
        self.capabilities = Capabilities(
            stream=settings.stream, native_tools=settings.tools != "json"
        )
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None

    @property
    def tool_mode(self) -> ToolMode:
        """How tools are called here, as far as is known."""
        return "native" if self.capabilities.native_tools else "json"

    def use_json_tools(self) -> None:
        """Ask for tool calls as JSON from now on."""
        self.capabilities = replace(self.capabilities, native_tools=False)

    def scrub(self, text: str) -> str:
        """``text`` without the key: servers like to repeat it when they refuse it."""
        for secret in self.settings.secrets():
            text = text.replace(secret, "[key]")
        return text

    def attempt(
        self,
        request: Request,
        on_text: OnText = lambda _text: None,
        should_stop: ShouldStop = never_stop,
        deadline: float = math.inf,
    ) -> Answer:
        """Ask once. Raises ``AttemptFailed``, or ``Stopped`` within a moment of the request to.

        At ``deadline``, a time of ``time.monotonic``, the endpoint is hung up on whatever it does.
        """
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
            outcome = self._loop.run_until_complete(
                self._until_stopped(request, on_text, should_stop, deadline)
            )
        # Raised here and not where it was caught: the library's own exceptions hold the request,
        # and the request holds the key.
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def close(self) -> None:
        """Let go of connections."""
        with self._lock:
            if self._loop is None:
                return
            if self._client is not None:
                self._loop.run_until_complete(self._client.close())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
            self._loop = self._client = None

    async def _until_stopped(
        self, request: Request, on_text: OnText, should_stop: ShouldStop, deadline: float
    ) -> Answer | AttemptFailed | Stopped:
        task = asyncio.ensure_future(self._outcome(request, on_text))
        try:
            while not task.done():
                if should_stop():
                    return Stopped("stopped while the endpoint was asked")
                left = deadline - time.monotonic()
                if left <= 0:
                    return AttemptFailed("deadline", "the reply took too long", again=False)
                await asyncio.wait({task}, timeout=min(_LOOK_FOR_STOP, left))
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=1.0)

    async def _outcome(self, request: Request, on_text: OnText) -> Answer | AttemptFailed:
        import openai

        from workbench.agent.transport import ReplyRefused

        began = time.monotonic()
        try:
            return await self._ask(request, on_text, began)
        except AttemptFailed as exc:
            return exc
        except ReplyRefused as exc:
            return AttemptFailed("refused", self._short(str(exc)), again=False)
        except openai.APIStatusError as exc:
            return self._refused(exc.status_code, exc.message, exc.response.headers, request)
        except (openai.APITimeoutError, TimeoutError):
            return AttemptFailed("time-out", "the endpoint was silent for too long")
        except openai.APIConnectionError as exc:
            cause = exc.__cause__
            if isinstance(cause, ReplyRefused):
                return AttemptFailed("refused", self._short(str(cause)), again=False)
            why = f"{type(cause).__name__}: {cause}" if cause else exc.message
            return AttemptFailed("connection", self._short(f"the connection failed ({why})"))
        except (ValueError, TypeError, AttributeError, RecursionError) as exc:
            # The body is not what the protocol says; the library lets such errors through.
            return AttemptFailed("body", self._short(f"the reply cannot be read: {exc}"))
        except Exception as exc:
            if type(exc).__module__.split(".")[0] not in {"httpx", "httpx2", "httpcore", "h11"}:
                raise
            if "Timeout" in type(exc).__name__:
                return AttemptFailed("time-out", "the endpoint was silent for too long")
            return AttemptFailed("connection", self._short(f"the connection broke ({exc})"))

    async def _ask(self, request: Request, on_text: OnText, began: float) -> Answer:
        client = self._open()
        can = self.capabilities
        messages, tools = request.render(self.tool_mode)
        body: dict[str, Any] = {"model": request.model, "messages": list(messages)}
        if tools and can.native_tools:
            body["tools"] = list(tools)
            if request.forced and can.forced_tool:
                body["tool_choice"] = {"type": "function", "function": {"name": request.forced}}
        if request.temperature is not None and can.temperature:
            body["temperature"] = request.temperature
        if request.seed is not None and can.seed:
            body["seed"] = request.seed
        if request.max_tokens is not None:
            body["max_tokens" if can.max_tokens else "max_completion_tokens"] = request.max_tokens
        if can.stream and can.stream_usage:
            body["stream_options"] = {"include_usage": True}
        reply = Assembly(tools=frozenset(str(tool["function"]["name"]) for tool in tools))
        create = client.chat.completions.with_streaming_response.create
        async with create(**body, stream=can.stream) as response:
            came = Body()
            async for data in response.iter_bytes():
                self._take(came.feed(data), reply, request, on_text)
                if came.done or _too_long(reply):
                    break
            else:
                self._take(came.close(), reply, request, on_text)
        return self._answer(reply, request, messages, began, done=came.done)

    def _take(
        self, values: Iterable[Any], reply: Assembly, request: Request, on_text: OnText
    ) -> None:
        """Take what came of a body, and pass new text on. Raises ``AttemptFailed`` for an error in it."""
        for value in values:
            if not isinstance(value, dict):
                raise AttemptFailed("body", f"the reply is a JSON {type(value).__name__}")
            error = error_in(value)
            if error is not None:
                raise self._reported(error, request)
            piece = reply.take(value)
            if piece:
                on_text(self.scrub(piece[:LONGEST_REPLY]))

    def _answer(
        self,
        reply: Assembly,
        request: Request,
        messages: Iterable[Message],
        began: float,
        *,
        done: bool,
    ) -> Answer:
        truncated = _too_long(reply)
        finish_reason = reply.finish_reason
        if not truncated and not reply.choices:
            raise AttemptFailed("empty", "the reply has no choices")
        if not truncated and finish_reason is None:
            # Some servers leave the reason out: then the stream's own end has to tell.
            if not (done and reply.is_whole):
                raise AttemptFailed("dropped", "the reply broke off in the middle")
            finish_reason = "tool_calls" if reply.calls else "stop"
        model = reply.model or request.model
        return Answer(
            model=self.scrub(model)[:200],
            content=self.scrub(reply.content[:LONGEST_REPLY]),
            tool_calls=tuple(
                ToolCall(
                    # Too long to be sent back: the conversation gives it one of its own.
                    id=call.id if len(call.id) <= LONGEST_ID else "",
                    name=self.scrub(call.name)[:200],
                    arguments=self.scrub(call.arguments[:LONGEST_REPLY]),
                    # Half of a signature is none.
                    provider_fields={} if truncated else self._scrubbed(call.fields),
                )
                for call in reply.calls[:MOST_CALLS]
            ),
            finish_reason="length" if truncated else str(finish_reason),
            usage=self._usage(reply, request, messages),
            seconds=round(time.monotonic() - began, 3),
            truncated=truncated,
            provider_fields={} if truncated else self._scrubbed(reply.fields),
        )

    def _scrubbed(self, value: Any) -> Any:
        """A JSON value with the key in none of its texts."""
        if isinstance(value, str):
            return self.scrub(value)
        if isinstance(value, list):
            return [self._scrubbed(item) for item in value]
        if isinstance(value, dict):
            return {self.scrub(name): self._scrubbed(item) for name, item in value.items()}
        return value

    def _usage(self, reply: Assembly, request: Request, messages: Iterable[Message]) -> Usage:
        said = reply.usage or {}
        sent = len(json.dumps(list(messages)))
        prompt, completion = said.get("prompt_tokens"), said.get("completion_tokens")
        wrong = _wrong_counts(said, sent, reply.size) if said else ""
        estimated = bool(wrong) or not said
        if estimated:
            prompt, completion = sent // _CHARACTERS_PER_TOKEN, reply.size // _CHARACTERS_PER_TOKEN
        assert isinstance(prompt, int)
        assert isinstance(completion, int)
        unusable = [wrong] if wrong else []
        total = said.get("total_tokens")
        if not wrong and total is not None and total != prompt + completion:
            # More is what some servers count of hidden thoughts; which part it is they do not say.
            unusable.append(f"total_tokens {_quoted(total)}")
        cost = said.get("cost")
        if cost is not None and not _is_cost(cost):
            unusable.append(f"cost {_quoted(cost)}")
        if not _is_cost(cost):
            cost = self.settings.cost(request.model, prompt, completion)
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            cost=cost,
            estimated=estimated,
            unusable=self.scrub("; ".join(unusable)),
        )

    def _refused(
        self, status: int, message: str, headers: Mapping[str, str], request: Request
    ) -> AttemptFailed:
        said = self._short(message)
        if status in {400, 413, 422} and _TOO_LONG.search(message):
            return AttemptFailed("context", said, status=status, again=False)
        if status in {400, 404, 422, 501} and self._do_without(said.lower(), request):
            return AttemptFailed("unsupported", said, status=status, wait=0.0)
        again = status in {408, 409, 429} or status >= 500
        if status == 429 and "insufficient_quota" in message:
            again = False
        return AttemptFailed(
            f"status {status}", said, status=status, again=again, wait=retry_after(headers)
        )

    def _reported(self, error: Reported, request: Request) -> AttemptFailed:
        """The failure that an error in place of a reply, or in the middle of one, amounts to."""
        del request
        said = self._short(f"the endpoint reported: {error.message}")
        if _TOO_LONG.search(error.message):
            return AttemptFailed("context", said, again=False)
        return AttemptFailed("stream", said)

    def _do_without(self, message: str, request: Request) -> bool:
        """Whether the message names something we sent that the server may go without."""
        can = self.capabilities
        asked = {
            "stream_usage": can.stream and "stream_options" in message,
            "forced_tool": request.forced is not None and "tool_choice" in message,
            "temperature": request.temperature is not None and "temperature" in message,
            "seed": request.seed is not None and "seed" in message,
            "max_tokens": request.max_tokens is not None and "max_tokens" in message,
            "native_tools": self.settings.tools == "auto"
            and ("tool" in message or "function" in message),
            "stream": can.stream and "stream" in message,
        }
        for name, named in asked.items():
            if named and getattr(can, name):
                changes: dict[str, Any] = {name: False}
                self.capabilities = replace(can, **changes)
                return True
        return False

    def _short(self, text: str) -> str:
        return self.scrub(text)[:_LONGEST_MESSAGE]

    def _open(self) -> Any:
        if self._client is None:
            import openai

            from workbench.agent.transport import LimitedClient

            key = self.settings.api_key
            self._client = openai.AsyncOpenAI(
                # A server of one's own takes any; the library insists on one.
                api_key=key.get_secret_value() if key else "none",
                base_url=self.settings.base_url,
                timeout=self.settings.timeout,
                max_retries=0,
                http_client=LimitedClient(self.settings.timeout),
            )
        return self._client


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait, given in seconds, milliseconds or as a date; or None."""
    for header, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        said = headers.get(header)
        if said is None:
            continue
        try:
            seconds = float(said) / unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(said).timestamp() - time.time()
            except (ValueError, TypeError, OverflowError):
                continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


@dataclass(frozen=True)
class Reported:
    """An error as a server reports it; ``code`` and ``param`` are empty where it names none."""

    message: str
    code: str = ""
    param: str = ""


def error_in(value: Mapping[str, Any]) -> Reported | None:
    """The error that a body or a chunk of a stream is, if it is one."""
    error = value.get("error")
    if not error and (value.get("object") == "error" or value.get("type") == "error"):
        error = value
    if not error and not value.get("choices") and "detail" in value:
        error = {"message": value["detail"]}
    if not error:
        choices = value.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        error = choice.get("error") if isinstance(choice, dict) else None
    if not error:
        return None
    if not isinstance(error, dict):
        return Reported(str(error))
    message = error.get("message") or json.dumps(error)
    code, param = error.get("code") or error.get("type"), error.get("param")
    return Reported(
        message if isinstance(message, str) else json.dumps(message),
        str(code or ""),
        param if isinstance(param, str) else "",
    )


def _too_long(reply: Assembly) -> bool:
    return (
        reply.size > LONGEST_REPLY
        or reply.own_size > LONGEST_FIELDS
        or len(reply.calls) > MOST_CALLS
    )


def _wrong_counts(usage: Mapping[str, Any], sent: int, received: int) -> str:
    """The token count that makes no sense for so many characters sent and received; or empty."""
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    total = usage.get("total_tokens")
    if not _is_count(prompt) or not 0 < prompt <= sent + _TOKENS_ADDED:
        return f"prompt_tokens {_quoted(prompt)}"
    if not _is_count(completion) or (received and not completion):
        return f"completion_tokens {_quoted(completion)}"
    if _is_count(total) and total < prompt + completion:
        return f"total_tokens {total} for {prompt} and {completion}"
    return ""


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS


def _is_cost(value: Any) -> TypeGuard[float]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= _HIGHEST_COST


def _quoted(value: Any) -> str:
    return repr(value)[:40]
