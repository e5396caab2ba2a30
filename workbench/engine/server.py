"""The socket of an engine: who may connect, what may be sent, and what is told to whom.

    connection   the peer's user  ->  hello  ->  one request after the other, each with its reply
                 notices in between, of each thing the last state only

What a client sends ends at worst its own connection: a line that is too long or no message gets an
error, and then the end. One that reads slowly is told less, and one that does not read is asked
nothing more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from pydantic import ValidationError

from adl.errors import AdlError
from workbench.engine import protocol as p
from workbench.engine.engine import Engine
from workbench.engine.sockets import NotYours, check_user, listening_socket
from workbench.faults import REPORT_BUG, as_error
from workbench.fields import in_words

#: Seconds in which a client has to introduce itself.
HELLO_SECONDS = 10.0
MOST_CLIENTS = 64
#: Notices that wait for one client; one that lags further behind is cut off.
MOST_NEWS = 2_000
#: Seconds that are left, at the end, to take what was written.
_PARTING_SECONDS = 2.0

_logger = logging.getLogger(__name__)


class Server:
    """Serves an engine at a socket until `end`, on one event loop."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._connections: dict[int, _Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = count(1)
        self._reason = ""

    async def run(self, ready: Callable[[], object] = lambda: None) -> str:
        """Listen, and serve until `end`; then close the engine, and return why. Raises `OSError`."""
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        engine = self._engine
        engine.listen(self._tell_from_thread)
        engine.end = lambda: self._loop.call_soon_threadsafe(self.end, "asked to by a client")
        with self._listening() as listening:
            server = await asyncio.start_unix_server(
                self._serve, sock=listening, limit=p.LONGEST_LINE
            )
            watch = asyncio.create_task(self._watch_idle())
            ready()
            await self._over.wait()
            watch.cancel()
            server.close()
        # Clients that are there see their sessions being closed; others do not find the engine.
        await asyncio.to_thread(engine.close, self._reason)
        await self._part()
        return self._reason

    @contextmanager
    def _listening(self) -> Iterator[socket.socket]:
        listening = listening_socket(self._path)
        try:
            yield listening
        finally:
            listening.close()
            self._path.unlink(missing_ok=True)

    def end(self, reason: str) -> None:
        """Stop serving. On the loop's thread."""
        if not self._over.is_set():
            self._reason = reason
            self._over.set()

    async def _part(self) -> None:
        """Tell all clients that it is over, and close their connections."""
        for connection in self._connections.values():
            connection.tell(p.ClosingNotice(reason=self._reason))
        waiting = [connection.part() for connection in self._connections.values()]
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*waiting), _PARTING_SECONDS)
        for connection in list(self._connections.values()):
            connection.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch_idle(self) -> None:
        limit = self._engine.idle_limit
        while limit is not None:
            await asyncio.sleep(min(limit / 4 + 0.01, 5.0))
            await asyncio.to_thread(self._engine.free_if_idle)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(next(self._numbers), self._engine, reader, writer)
        self._connections[connection.number] = connection
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if len(self._connections) > MOST_CLIENTS:
                raise AdlError(
                    f"this engine has {MOST_CLIENTS} clients already", "End one of them."
                )
            await connection.serve()
        except AdlError as exc:
            # Of a stranger, or no message: an error, and the end.
            with suppress(OSError):
                await connection.refuse(exc)
        except OSError:
            pass  # the client went away
        except Exception as exc:
            _logger.exception("client %d", connection.number)
            with suppress(OSError):
                await connection.refuse(AdlError(f"{type(exc).__name__}: {exc}", REPORT_BUG))
        finally:
            del self._connections[connection.number]
            connection.cut()
            await asyncio.to_thread(self._engine.gone, connection.number)
            self._tasks.discard(task)

    def _tell_from_thread(self, number: int, notice: p.Notice) -> None:
        with suppress(RuntimeError):  # the loop is over
            self._loop.call_soon_threadsafe(self._tell, number, notice)

    def _tell(self, number: int, notice: p.Notice) -> None:
        if (connection := self._connections.get(number)) is not None:
            connection.tell(notice)


class _Connection:
    """One client. On the loop's thread."""

    def __init__(
        self,
        number: int,
        engine: Engine,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.number = number
        self._engine = engine
        self._reader = reader
        self._writer = writer
        self._writing = asyncio.Lock()
        # Notices to be sent, of each thing the last state: what changes often is sent less often.
        self._news: dict[tuple[str, ...], p.Notice] = {}
        self._has_news = asyncio.Event()
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()

    async def serve(self) -> None:
        """Serve the client until it goes away. Raises `AdlError` for what is no message."""
        check_user(self._writer.get_extra_info("socket"))
        client = await self._welcome()
        self._engine.come(client)
        sending = asyncio.create_task(self._send_news())
        try:
            while (line := await self._line()) is not None:
                await self._send(await self._reply(p.decode(line), client))
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await sending

    def tell(self, notice: p.Notice) -> None:
        """Send a notice when there is time, instead of an older one of the same thing."""
        key = _subject(notice)
        # As the newest: a job comes after the events that it recorded before.
        self._news.pop(key, None)
        self._news[key] = notice
        self._has_news.set()
        self._is_quiet.clear()
        if len(self._news) > MOST_NEWS:
            self.cut()

    async def refuse(self, exc: AdlError) -> None:
        """Send an error that answers no request."""
        hidden = p.error_data(exc) if isinstance(exc, NotYours) else self._engine.error(exc)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._send(p.Reply(id=None, error=hidden)), _PARTING_SECONDS)

    async def part(self) -> None:
        """Send the notices that wait."""
        await self._is_quiet.wait()
        with suppress(OSError):
            await self._writer.drain()

    def cut(self) -> None:
        """End the connection; what is on its way to a client that reads still gets there."""
        if self._writer.transport.get_write_buffer_size():
            self._writer.transport.abort()
        self._writer.close()

    async def _welcome(self) -> p.ClientData:
        try:
            line = await asyncio.wait_for(self._line(), HELLO_SECONDS)
        except TimeoutError:
            raise p.BadMessage("no hello came") from None
        if line is None:
            raise ConnectionResetError
        hello = p.decode(line)
        if not isinstance(hello, p.Hello):
            raise p.BadMessage("the first message has to be a hello")
        await self._send(p.Welcome(pid=os.getpid(), client=self.number))
        return p.ClientData(number=self.number, role=hello.role, name=hello.name)

    async def _line(self) -> bytes | None:
        """The next line; None at the end."""
        try:
            line = await self._reader.readline()
        except ValueError:
            raise p.BadMessage(f"a line is longer than {p.LONGEST_LINE} bytes") from None
        return line if line.endswith(b"\n") else None

    async def _reply(self, request: object, client: p.ClientData) -> p.Reply:
        if not isinstance(request, p.Request):
            raise p.BadMessage("a client sends requests alone")
        kind = p.ORDERS.get(request.method)
        if kind is None:
            exc = p.BadMessage(f"there is no method {request.method[:40]!r}")
            return p.Reply(id=request.id, error=p.error_data(exc))
        try:
            order = kind.model_validate(request.params)
        except ValidationError as exc:
            bad = p.BadMessage(f"{request.method}: {in_words(exc, most=1)}")
            return p.Reply(id=request.id, error=self._engine.error(bad))
        try:
            result = await asyncio.to_thread(self._do, order, client)
        except Exception as exc:
            known = as_error(exc)
            if known is None and not isinstance(exc, RuntimeError):
                _logger.exception("the order %s failed", request.method)
                known = AdlError(f"{type(exc).__name__}: {exc}", REPORT_BUG)
            return p.Reply(id=request.id, error=self._engine.error(known or exc))
        return p.Reply(id=request.id, result=result.model_dump(mode="json"))

    def _do(self, order: p.Order[p.Wire], client: p.ClientData) -> p.Wire:
        self._engine.check(order, client)
        return self._engine.answer(order, client)

    async def _send_news(self) -> None:
        while True:
            await self._has_news.wait()
            while self._news:
                key = next(iter(self._news))
                await self._send(self._news.pop(key))
            self._has_news.clear()
            self._is_quiet.set()

    async def _send(self, message: p.Wire) -> None:
        try:
            line = p.encode(message)
        except p.BadMessage as exc:
            if not isinstance(message, p.Reply):
                return
            line = p.encode(p.Reply(id=message.id, error=p.error_data(exc)))
        async with self._writing:
            self._writer.write(line)
            await self._writer.drain()


def _subject(notice: p.Notice) -> tuple[str, ...]:
    match notice:
        case p.JobNotice():
            return ("job", notice.session, notice.job.id)
        case p.HolderNotice():
            # A question for the keys is not replaced by what comes after it.
            asking = "" if notice.asking is None else str(notice.asking.number)
            return ("holder", notice.session, asking)
        case p.ClosingNotice():
            return ("closing", notice.session or "")
        case p.EventNotice() | p.AgentNotice():
            return (notice.topic, notice.session)
    return (notice.topic,)
