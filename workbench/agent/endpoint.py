"""One attempt at a reply from an OpenAI-compatible endpoint.

    Request  --attempt-->  Answer            a whole reply, native tool calls included
                        |  AttemptFailed     with whether, and how soon, another attempt makes sense
                        |  Stopped           within a moment of being asked to stop

Servers differ in what they take. Where one refuses a parameter by name (tools, a forced tool, stream,
usage in a stream, temperature, seed), the endpoint does without until ``forget``, and says so in a
`Notice`; so it does where it sends the conversation in a plainer form, or asks for fewer tokens.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import Any, TypeGuard
from urllib.parse import parse_qsl, urlsplit

from adl.callbacks import STOP_POLL_SECONDS, ShouldStop, never_stop
from adl.errors import Stopped
from workbench.agent.assembling import MOST_CALLS, Assembly
from workbench.agent.event_stream import Body
from workbench.agent.refusals import Feature, Reported, error_in, reported
from workbench.agent.request import (
    Answer,
    AttemptFailed,
    Capabilities,
    Message,
    Notice,
    OnText,
    Request,
)
from workbench.scrubbing import KEY, Held, scrub, scrubber
from workbench.settings import DEFAULT_ENDPOINT, Settings, SettingsError
from workbench.store.agent_events import ToolCall, ToolMode, Usage

#: Kept of one reply, in characters; a server that goes on is hung up on.
LONGEST_REPLY = 200_000
#: Of the provider's own fields of a reply, such as its reasoning, in characters of JSON.
LONGEST_FIELDS = 1_000_000
# Of a message or call as the protocol has it; what else is sent is the provider's own.
_PROTOCOL = frozenset({"role", "content", "tool_calls", "tool_call_id", "id", "type", "function"})
_SHORTEST_SECRET = 4
_LONGEST_MESSAGE = 500
_CHARACTERS_PER_TOKEN = 4
#: Characters of a call's id; a longer one is replaced.
LONGEST_ID = 200
# No reply has more tokens, and no prompt more than it has bytes, but for what a server adds.
_MOST_TOKENS = 2_000_000
_TOKENS_ADDED = 20_000
# Beyond that a reply's cost is no price of anything, in US dollars.
_HIGHEST_COST = 1_000.0


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
        self.capabilities = Capabilities()
        self.forget()
        # The request under way, as far as its refusal may ask about it.
        self._sent: dict[str, Any] = {}
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None

    @property
    def tool_mode(self) -> ToolMode:
        """The way tools are called at this endpoint, as far as is known."""
        return "native" if self.capabilities.native_tools else "json"

    def forget(self) -> None:
        """Take every feature as untried again: servers change from one run to the next."""
        self.capabilities = Capabilities(
            stream=self.settings.stream, native_tools=self.settings.tools != "json"
        )

    def parameters(self, request: Request) -> dict[str, Any]:
        """The request's parameters other than model, messages and tools."""
        can = self.capabilities
        sent: dict[str, Any] = {}
        if request.forced and can.forced_tool and can.native_tools:
            sent["tool_choice"] = {"type": "function", "function": {"name": request.forced}}
        if request.temperature is not None and can.temperature:
            sent["temperature"] = request.temperature
        if request.seed is not None and can.seed:
            sent["seed"] = request.seed
        most = _least(request.max_tokens, request.max_tokens and can.most_tokens)
        if most is not None:
            sent["max_tokens" if can.max_tokens else "max_completion_tokens"] = most
        return sent

    def use_json_tools(self) -> None:
        """Ask for tool calls as JSON from now on."""
        self.capabilities = replace(self.capabilities, native_tools=False)

    def scrub(self, text: str) -> str:
        """``text`` without the key: servers like to repeat it when they refuse it."""
        for secret in self.settings.secrets():
            # Also one that is too short to be looked for everywhere, unless it is a word.
            if len(secret) >= _SHORTEST_SECRET and not secret.isalpha():
                text = text.replace(secret, KEY)
        return scrub(text)

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
                await asyncio.wait({task}, timeout=min(STOP_POLL_SECONDS, left))
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
            return self._refused(exc.status_code, reported(exc.body), exc.response.headers)
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
        parameters = self.parameters(request)
        if tools and can.native_tools:
            body["tools"] = list(tools)
        else:
            parameters.pop("tool_choice", None)
        body |= parameters
        if can.stream and can.stream_usage:
            body["stream_options"] = {"include_usage": True}
        self._sent = body
        if request.refused and self._digest() in request.refused:
            reason = "refused for its form before, and not sent again"
            raise self._form(Reported(reason), None) or AttemptFailed(
                "form", reason, again=False, request_sha256=self._digest()
            )
        reply = Assembly(tools=frozenset(str(tool["function"]["name"]) for tool in tools))
        held = Held(scrubber())

        def shown(text: str) -> None:
            piece = held.feed(text)
            if piece:
                on_text(self.scrub(piece))

        create = client.chat.completions.with_streaming_response.create
        async with create(**body, stream=can.stream) as response:
            came = Body()
            async for data in response.iter_bytes():
                self._take(came.feed(data), reply, shown)
                if came.done or _too_long(reply):
                    break
            else:
                self._take(came.close(), reply, shown)
        return self._answer(reply, request, messages, began, done=came.done)

    def _take(self, values: Iterable[Any], reply: Assembly, on_text: OnText) -> None:
        """Take what came of a body, and pass new text on. Raises ``AttemptFailed`` for an error in it."""
        for value in values:
            if not isinstance(value, dict):
                raise AttemptFailed("body", f"the reply is a JSON {type(value).__name__}")
            error = error_in(value)
            if error is not None:
                raise self._reported(error)
            piece = reply.take(value)
            if piece:
                on_text(piece[:LONGEST_REPLY])

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
        if not truncated and finish_reason == "error":
            raise AttemptFailed("dropped", "the endpoint ended the reply with an error of no words")
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
        usage = reply.usage or {}
        sent = len(json.dumps(list(messages)))
        if "tools" in self._sent:
            sent += len(json.dumps(self._sent["tools"]))
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
        wrong = _wrong_counts(usage, sent, reply.size) if usage else ""
        estimated = bool(wrong) or not usage
        if estimated:
            received = reply.size + reply.thoughts_size
            prompt, completion = sent // _CHARACTERS_PER_TOKEN, received // _CHARACTERS_PER_TOKEN
        assert isinstance(prompt, int)
        assert isinstance(completion, int)
        unusable = [wrong] if wrong else []
        total = usage.get("total_tokens")
        if not wrong and _is_count(total) and total - prompt - completion == _thoughts(usage):
            # Some servers bill hidden thoughts without counting them as reply.
            completion = total - prompt
        if not wrong and total is not None and total != prompt + completion:
            # More that no field names may be anything.
            unusable.append(f"total_tokens {_quoted(total)}")
        cost = usage.get("cost")
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

    def _refused(self, status: int, error: Reported, headers: Mapping[str, str]) -> AttemptFailed:
        message = self._error_message(error, status)
        changed = self._changed(error, status)
        if changed is not None:
            return changed
        if status != 429 and error.is_too_long:
            return AttemptFailed("context", message, status=status, again=False)
        if status in {400, 422} and error.may_be_form:
            return self._form(error, status) or AttemptFailed(
                "form", message, status=status, again=False, request_sha256=self._digest()
            )
        again = status in {408, 409, 429} or status >= 500
        if status == 429 and "insufficient_quota" in error.code + error.message:
            again = False
        return AttemptFailed(
            f"status {status}", message, status=status, again=again, wait=retry_after(headers)
        )

    def _reported(self, error: Reported) -> AttemptFailed:
        """The failure that an error in place of a reply, or in the middle of one, amounts to."""
        message = self._short(f"the endpoint reported: {error.message}")
        changed = self._changed(error, None)
        if changed is not None:
            return changed
        if error.is_too_long:
            return AttemptFailed("context", message, again=False)
        return AttemptFailed(
            "stream", message, again=error.code not in {"400", "401", "402", "403", "404", "422"}
        )

    def _changed(self, error: Reported, status: int | None) -> AttemptFailed | None:
        """The failure after which something that the server named is left out or lowered, if it did."""
        if status in {401, 402, 403, 429}:
            return None
        message = self._error_message(error, status)
        tokens = self._sent.get("max_tokens", self._sent.get("max_completion_tokens"))
        feature = next((name for name in self._leavable() if error.refuses(name)), None)
        if feature is not None:
            self._set(**{feature: False})
            what = "max_tokens (max_completion_tokens is sent)" if feature == "max_tokens" else ""
            notice = Notice("without", what or feature.replace("_", " "), message)
        elif tokens is not None and (fewer := error.fewer_tokens(tokens)) is not None:
            self._set(most_tokens=fewer)
            notice = Notice("lowered", "max_tokens", message, fewer)
        else:
            return None
        return AttemptFailed("unsupported", message, status=status, wait=0.0, notice=notice)

    def _form(self, error: Reported, status: int | None) -> AttemptFailed | None:
        """The failure after which the conversation is sent in a plainer form, if there is one."""
        detail, digest = self._error_message(error, status), self._digest()
        sent = [message for message in self._sent["messages"] if message["role"] == "assistant"]
        calls = [call for message in sent for call in message.get("tool_calls", ())]
        own = {name for item in (*sent, *calls) for name in set(item) - _PROTOCOL}
        refused = {name for name in own if error.names_unsupported(name)}
        if refused:
            self._set(without_fields=self.capabilities.without_fields | refused)
            feature = "the fields " + ", ".join(sorted(refused))
        elif own and not error.wants_more:
            self._set(own_fields=False)
            feature = "the provider's own fields of earlier replies"
        elif calls:
            self._set(calls=False)
            feature = "earlier calls in the protocol's fields: they are sent as text"
        else:
            return None
        notice = Notice("without", self._short(feature), detail)
        return AttemptFailed(
            "form", detail, status=status, wait=0.0, notice=notice, request_sha256=digest
        )

    def _leavable(self) -> Iterator[Feature]:
        """The sent features that can be left out, in the order in which an error is searched for them."""
        sent, can = self._sent, self.capabilities
        if "stream_options" in sent:
            yield "stream_usage"
        if "tool_choice" in sent:
            yield "forced_tool"
        for name in ("temperature", "seed", "max_tokens"):
            if name in sent:
                yield name
        if "tools" in sent and self.settings.tools == "auto":
            yield "native_tools"
        if can.stream:
            yield "stream"

    def _set(self, **changes: Any) -> None:
        self.capabilities = replace(self.capabilities, **changes)

    def _digest(self) -> str:
        """Of the request under way and where it goes."""
        asked = {**self._sent, "stream": self.capabilities.stream}
        written = json.dumps([self.settings.address, asked], sort_keys=True)
        return hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()

    def _error_message(self, error: Reported, status: int | None) -> str:
        code = "" if status is None else f"Error code: {status}"
        return self._short(" - ".join(filter(None, (code, error.message))))

    def _short(self, text: str) -> str:
        return self.scrub(text)[:_LONGEST_MESSAGE]

    def _open(self) -> Any:
        if self._client is None:
            import openai

            from workbench.agent.transport import LimitedClient

            key = self.settings.api_key
            # The library would write the path behind the query.
            address = urlsplit(self.settings.base_url)
            self._client = openai.AsyncOpenAI(
                # A server of one's own takes any; the library insists on one.
                api_key=key.get_secret_value() if key else "none",
                base_url=address._replace(query="").geturl(),
                default_query=dict(parse_qsl(address.query, keep_blank_values=True)),
                timeout=self.settings.timeout,
                max_retries=0,
                http_client=LimitedClient(self.settings.timeout),
            )
        return self._client


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait, given in seconds, milliseconds or as a date; or None."""
    for header, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(header)
        if value is None:
            continue
        try:
            seconds = float(value) / unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - time.time()
            except (ValueError, TypeError, OverflowError):
                continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def _least(*counts: int | None) -> int | None:
    return min((count for count in counts if count is not None), default=None)


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


def _thoughts(usage: Mapping[str, Any]) -> int:
    """The tokens of hidden thoughts as the server counts them; 0 where it does not."""
    details = usage.get("completion_tokens_details")
    count = details.get("reasoning_tokens") if isinstance(details, dict) else None
    return count if _is_count(count) else 0


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS


def _is_cost(value: Any) -> TypeGuard[float]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= _HIGHEST_COST


def _quoted(value: Any) -> str:
    return repr(value)[:40]
