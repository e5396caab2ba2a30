"""A request to the endpoint and its reply, with every attempt an event as it happens."""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
import uuid
from dataclasses import dataclass

from adl.callbacks import STOP_POLL_SECONDS, ShouldStop, never_stop
from adl.errors import Stopped
from workbench.agent.endpoint import Endpoint
from workbench.agent.errors import ContextTooLong, EndpointError, OutOfTime
from workbench.agent.request import Answer, AttemptFailed, Notice, Request
from workbench.operations.running import Session
from workbench.store.agent_events import (
    AgentNoticed,
    AgentReplied,
    AgentReplyGrew,
    AgentRequested,
    AgentRequestFailed,
    Purpose,
)
from workbench.store.events import SYSTEM, Actor

# Often enough to look live, seldom enough that the log stays small.
SECONDS_BETWEEN_PIECES = 0.25
_LONGEST_BACKOFF = 60.0
# Longest time for a reply with all attempts and waits, in units of the longest silence.
_SILENCES = 10


@dataclass(frozen=True)
class Subject:
    """Whom or what a request is for: an audit's turn, or a judge's question ``about`` something.

    ``keep_messages``: the request's messages are nowhere else in the log.
    """

    run_id: str
    purpose: Purpose = "turn"
    about: str = ""
    keep_messages: bool = False


def exchange(
    session: Session,
    endpoint: Endpoint,
    request: Request,
    subject: Subject,
    *,
    actor: Actor = SYSTEM,
    should_stop: ShouldStop = never_stop,
    deadline: float = math.inf,
) -> AgentReplied:
    """Ask until there is a reply, and record it.

    One limit holds for all attempts and the waits between them: ``deadline``, a time of
    ``time.monotonic``, or ten of the longest silences, whichever comes first.

    Raises ``EndpointError`` when it makes no sense to go on trying, ``OutOfTime`` at ``deadline``,
    ``ContextTooLong`` where a shorter prompt may be answered, and ``Stopped``.
    """
    recorder = _Recorder(session, endpoint, request, subject)
    settings = endpoint.settings
    patience = settings.timeout * _SILENCES
    until = min(deadline, time.monotonic() + patience)
    attempt = failures = 0
    while True:
        attempt += 1
        recorder.asked(attempt)
        try:
            answer = endpoint.attempt(request, recorder.grew, should_stop, until)
        except Stopped as exc:
            recorder.failed(attempt, AttemptFailed("stopped", exc.message), None)
            raise
        except AttemptFailed as exc:
            # One that was refused for something we can go without is no failure of the endpoint.
            failures += exc.notice is None
            too_long = exc.wait is not None and exc.wait > settings.longest_wait
            # A server that asks for no wait, or gives a date that has passed, still gets the usual one.
            usual = 0.0 if exc.notice is not None else backoff(settings.backoff, failures)
            wait = max(usual, exc.wait or 0.0)
            late = exc.again and time.monotonic() + wait >= until
            if (exc.error == "deadline" or late) and until == deadline:
                recorder.failed(attempt, exc, None)
                raise OutOfTime(
                    f"{settings.address} gave no reply in time: {exc.message}",
                    "Give it more time with --seconds.",
                ) from None
            if not exc.again or failures >= settings.attempts or too_long or late:
                recorder.failed(attempt, exc, None)
                raise _given_up(endpoint, request, exc, failures) from None
            recorder.failed(attempt, exc, wait)
            if exc.notice is not None:
                recorder.noticed(exc.notice)
            _wait(wait, should_stop)
        else:
            return recorder.answered(answer, actor)


def backoff(first: float, failures: int) -> float:
    """Seconds to wait after so many failures: twice as long each time, with jitter.

    The jitter is over the upper half, so that agents that failed together do not return together.
    """
    longest = min(_LONGEST_BACKOFF, first * 2.0 ** (failures - 1))
    return longest * (0.5 + random.random() / 2)


class _Recorder:
    """Puts an exchange into the log."""

    def __init__(
        self, session: Session, endpoint: Endpoint, request: Request, subject: Subject
    ) -> None:
        self._session = session
        self._endpoint = endpoint
        self._request = request
        self._subject = subject
        self._id = uuid.uuid4().hex
        self._attempt = 0
        self._pending = ""
        self._last = time.monotonic()

    def asked(self, attempt: int) -> None:
        mode = self._endpoint.tool_mode
        messages, tools = self._request.render(mode)
        parameters = self._endpoint.parameters(self._request)
        parameters.pop("tool_choice", None)
        if self._request.forced:
            parameters["forced"] = self._request.forced
        self._attempt, self._pending = attempt, ""
        self._session.record(
            AgentRequested(
                exchange_id=self._id,
                run_id=self._subject.run_id,
                purpose=self._subject.purpose,
                about=self._subject.about,
                model=self._request.model,
                attempt=attempt,
                n_messages=len(messages),
                messages_sha256=hashlib.sha256(
                    json.dumps(list(messages), sort_keys=True).encode()
                ).hexdigest(),
                messages=tuple(messages) if self._subject.keep_messages else (),
                tools=tuple(str(tool["function"]["name"]) for tool in tools),
                tool_mode=mode,
                parameters=parameters,
            )
        )

    def grew(self, text: str) -> None:
        self._pending += text
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_PIECES:
            self._session.record(
                AgentReplyGrew(
                    exchange_id=self._id,
                    run_id=self._subject.run_id,
                    attempt=self._attempt,
                    text=self._pending,
                )
            )
            self._pending, self._last = "", now

    def failed(self, attempt: int, failure: AttemptFailed, retry_in: float | None) -> None:
        self._session.record(
            AgentRequestFailed(
                exchange_id=self._id,
                run_id=self._subject.run_id,
                attempt=attempt,
                error=failure.error,
                message=failure.message,
                status=failure.status,
                retry_in=None if retry_in is None else round(retry_in, 3),
                request_sha256=failure.request_sha256,
            )
        )

    def noticed(self, notice: Notice) -> None:
        self._session.record(
            AgentNoticed(
                run_id=self._subject.run_id,
                exchange_id=self._id,
                notice=notice.notice,
                feature=notice.feature,
                tokens=notice.tokens,
                message=notice.message,
            )
        )

    def answered(self, answer: Answer, actor: Actor) -> AgentReplied:
        body = AgentReplied(
            exchange_id=self._id,
            run_id=self._subject.run_id,
            purpose=self._subject.purpose,
            about=self._subject.about,
            model=answer.model,
            content=answer.content,
            tool_calls=answer.tool_calls,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            seconds=answer.seconds,
            truncated=answer.truncated,
            provider_fields=dict(answer.provider_fields),
            endpoint=self._endpoint.settings.address,
        )
        event = self._session.record(body, actor=actor)
        assert isinstance(event.body, AgentReplied)
        return event.body


def _wait(seconds: float, should_stop: ShouldStop) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if should_stop():
            raise Stopped("stopped while waiting for the endpoint")
        time.sleep(min(STOP_POLL_SECONDS, left))


def _given_up(
    endpoint: Endpoint, request: Request, failure: AttemptFailed, failures: int
) -> EndpointError:
    tried = f" after {failures} attempts" if failures > 1 else ""
    if failure.error == "context":
        return ContextTooLong(
            f"{endpoint.settings.address} takes no prompt this long: {failure.message}",
            f"{request.model!r} has too short a context: `adl-workbench agent resume --model` goes on "
            "with another.",
        )
    hint = "Try again later: `adl-workbench agent resume` goes on from here."
    if failure.status in {401, 403}:
        hint = "Check OPENAI_API_KEY, then `adl-workbench agent resume`."
    elif failure.status == 404:
        hint = f"Check OPENAI_BASE_URL and the model's name, {request.model!r}."
    elif failure.error == "form":
        hint = (
            "It does not take the conversation in this form, so the same is not sent again: "
            "`adl-workbench agent resume --model` or another OPENAI_BASE_URL goes on elsewhere, "
            "ADL_WORKBENCH_TOOLS=json without the protocol's tool calls."
        )
    elif failure.error == "refused":
        hint = "Check OPENAI_BASE_URL: it has to name the endpoint itself."
    elif failure.wait is not None and failure.wait > endpoint.settings.longest_wait:
        hint = f"It asks to wait {failure.wait:.0f} s; then `adl-workbench agent resume`."
    return EndpointError(
        f"{endpoint.settings.address} gave no reply{tried}: {failure.message}", hint
    )
