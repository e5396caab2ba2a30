"""A client of an engine: orders that wait for their answer, and news as it comes.

client = EngineClient.connect(path, role="command")
client.listen(callback)
opened = client.call(Open(session=...))
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeVar, cast

from pydantic import ValidationError

from adl.errors import AdlError
from workbench.engine import protocol as p
from workbench.engine.agent_runner import WorkStatus
from workbench.engine.sockets import EngineGone as EngineGone
from workbench.engine.sockets import connected_socket
from workbench.operations import OPERATIONS
from workbench.operations.jobs import Job

Answer = TypeVar("Answer", bound=p.Wire)
Listener = Callable[[p.Notice], object]

_logger = logging.getLogger(__name__)


class EngineError(AdlError):
    """An error that the engine reports; ``kind`` is its class there."""

    def __init__(self, data: p.ErrorData) -> None:
        super().__init__(data.message, data.hint)
        self.kind = data.type
        self.exit_code = data.exit_code


class EngineSlow(AdlError):
    """The engine did not answer in time; it may still do what was asked."""

    exit_code = 1


class _Waiting:
    def __init__(self) -> None:
        self.over = threading.Event()
        self.reply: p.Reply | None = None


class EngineClient:
    """A connection to an engine. Its methods may be called from any thread, but not on the reader's."""

    def __init__(self, connection: socket.socket, path: Path, welcome: p.Welcome) -> None:
        self.path = path
        self.welcome = welcome
        self._socket = connection
        self._listener: Listener = lambda _notice: None
        self._lock = threading.Lock()
        # Another one: the reader, which the engine may wait for, is not held up by a long order.
        self._sending = threading.Lock()
        self._waiting: dict[int, _Waiting] = {}
        self._last = 0
        self._why_gone = ""
        self._reader = threading.Thread(target=self._read, daemon=True, name="engine news")
        self._reader.start()

    @classmethod
    def connect(
        cls,
        path: Path,
        *,
        role: p.Role,
        name: str = "",
        timeout: float = 10.0,
    ) -> Self:
        """Connect and introduce this process.

        Raises `EngineGone`, `OtherProtocol` where the engine is of another version, and
        `EngineError` where it refuses.
        """
        connection = connected_socket(path, timeout)
        try:
            connection.sendall(p.encode(p.Hello(pid=os.getpid(), role=role, name=name)))
            # Without a buffer of its own: what follows is for the reader.
            with connection.makefile("rb", buffering=0) as raw:
                answer = p.decode(_line(raw.read, p.LONGEST_LINE))
            if isinstance(answer, p.Reply) and answer.error is not None:
                if answer.error.type == p.OtherProtocol.__name__:
                    raise p.OtherProtocol(answer.error.message, answer.error.hint)
                raise EngineError(answer.error)
            if not isinstance(answer, p.Welcome):
                raise p.BadMessage(f"what listens at {path} is no engine")
            connection.settimeout(None)
        except OSError as exc:
            connection.close()
            raise EngineGone(f"the engine at {path} does not answer: {exc}") from exc
        except BaseException:
            connection.close()
            raise
        return cls(connection, path, answer)

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with every notice from here on, on the reader's thread.

        The end of the connection comes as a `ClosingNotice` of no session, once.
        """
        self._listener = listener

    def call(self, order: p.Order[Answer], timeout: float | None = 60.0) -> Answer:
        """Give an order, and return its answer; no ``timeout`` waits as long as it takes.

        Raises `EngineError` for what the engine refuses, `EngineGone`, `EngineSlow`, and
        `BadMessage` for an order that is too long.
        """
        waiting = _Waiting()
        with self._lock:
            if self._why_gone:
                raise EngineGone(self._why_gone)
            self._last += 1
            number = self._last
            params = order.model_dump(mode="json")
            line = p.encode(p.Request(id=number, method=order.method, params=params))
            self._waiting[number] = waiting
        try:
            with self._sending:
                self._socket.sendall(line)
        except OSError as exc:
            with self._lock:
                self._waiting.pop(number, None)
            raise EngineGone(f"the engine went away: {exc.strerror or exc}") from exc
        if not waiting.over.wait(timeout):
            raise EngineSlow(
                f"the engine did not answer {order.method!r} within {timeout} s",
                "It may be busy; see `adl-workbench engine status`.",
            )
        if waiting.reply is None:
            raise EngineGone(self._why_gone)
        if waiting.reply.error is not None:
            raise EngineError(waiting.reply.error)
        return cast("Answer", order.answer.model_validate(waiting.reply.result))

    def close(self) -> None:
        """End the connection; jobs at the engine go on. May be called twice."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self._reader:
            self._reader.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # --- on the reader's thread -------------------------------------------------------------------

    def _read(self) -> None:
        why = "the engine ended the connection"
        try:
            with self._socket.makefile("rb") as stream:
                while line := stream.readline(p.LONGEST_LINE + 1):
                    self._take(p.decode(line))
        except OSError as exc:
            why = f"the connection to the engine ended: {exc.strerror or exc}"
        except AdlError as exc:
            why = f"the engine sent what is no message: {exc.message}"
        except Exception as exc:
            # Whoever waits for an answer must not wait for ever.
            _logger.exception("a message of the engine failed")
            why = f"a message of the engine could not be taken: {type(exc).__name__}: {exc}"
        with self._lock:
            self._why_gone = why
            waiting, self._waiting = list(self._waiting.values()), {}
        for one in waiting:
            one.over.set()
        self._tell(p.ClosingNotice(reason=why))

    def _take(self, message: object) -> None:
        if isinstance(message, p.Notice):
            # The end of the engine is told once, as that of the connection.
            if not (isinstance(message, p.ClosingNotice) and message.session is None):
                self._tell(message)
        elif isinstance(message, p.Reply):
            if message.id is None:
                error = message.error
                raise p.BadMessage("it refused: " + ("" if error is None else error.message))
            with self._lock:
                waiting = self._waiting.pop(message.id, None)
            if waiting is not None:
                waiting.reply = message
                waiting.over.set()

    def _tell(self, notice: p.Notice) -> None:
        try:
            self._listener(notice)
        except Exception:
            _logger.exception("a listener failed at a notice of %s", notice.topic)


def job_of(data: p.JobData) -> Job:
    """Return a job of the engine as one of this process.

    Arguments with hidden names, and those that were too long to be sent, are not checked.
    """
    operation = OPERATIONS[data.operation]
    try:
        arguments = operation.arguments.model_validate(data.arguments)
    except ValidationError:
        arguments = operation.arguments.model_construct(**data.arguments)
    return Job(
        data.id,
        operation,
        arguments,
        data.actor,
        data.background,
        data.status,
        data.stage,
        data.done,
        data.total,
        None if data.status == "waiting" else time.monotonic() - data.seconds,
        data.summary,
        None if data.error is None else EngineError(data.error),
    )


def agent_status_of(data: p.AgentData) -> WorkStatus:
    """Return the status of the agent's thread at the engine."""
    problem = None if data.problem is None else EngineError(data.problem)
    return WorkStatus(data.phase, data.doing, problem)


def _line(read: Callable[[int], bytes], longest: int) -> bytes:
    """A line, read a byte at a time, so that nothing of the next one is taken."""
    line = bytearray()
    while len(line) < longest and (byte := read(1)):
        line += byte
        if byte == b"\n":
            break
    if not line:
        raise EngineGone("the engine ended the connection at once")
    return bytes(line)
