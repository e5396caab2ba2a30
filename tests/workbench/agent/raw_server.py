"""A server of raw bytes on loopback, for what no well-behaved HTTP server sends."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.workbench.agent.scripted import KEY
from workbench.settings import Settings, load_settings

Respond = Callable[["Connection"], None]


class Connection:
    """One request as its bytes, and the way to answer it."""

    def __init__(self, client: socket.socket, request: bytes, closing: threading.Event) -> None:
        self._client = client
        self.request = request
        self.closing = closing

    def send(self, data: bytes) -> bool:
        """True if it could be sent."""
        with suppress(OSError):
            self._client.sendall(data)
            return True
        return False

    def drip(self, pieces: Iterator[bytes]) -> None:
        """Send piece after piece until the client hangs up or the server closes."""
        for piece in pieces:
            if not self.send(piece) or self.closing.wait(0.02):
                return

    def stall(self) -> None:
        """Send nothing more until the client hangs up or the server closes."""
        self._client.settimeout(0.05)
        while not self.closing.is_set():
            try:
                if not self._client.recv(1):
                    return
            except TimeoutError:
                continue
            except OSError:
                return


class RawServer:
    """Answers every request with ``respond``; ``requests`` are those so far."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self.requests: list[bytes] = []
        self.closing = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    def settings(self, **given: object) -> Settings:
        defaults = {
            "base_url": self.url,
            "api_key": KEY,
            "agent_model": "scripted",
            "judge_model": "judge",
            "backoff": 0.001,
        }
        return load_settings(**(defaults | given))

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                received = client.recv(65536)
                if not received:
                    return
                data += received
            head, _, body = data.partition(b"\r\n\r\n")
            lengths = [
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            ]
            while len(body) < (lengths or [0])[0]:
                body += client.recv(65536)
            self.requests.append(head + b"\r\n\r\n" + body)
            self._respond(Connection(client, self.requests[-1], self.closing))

    def close(self) -> None:
        self.closing.set()
        # Ends accept(). The thread must not be in it while the descriptor goes to another socket,
        # such as the next test's server, whose connections it would take.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._socket.close()


@contextmanager
def serving_raw(respond: Respond) -> Iterator[RawServer]:
    server = RawServer(respond)
    try:
        yield server
    finally:
        server.close()


def head(content_type: str = "text/event-stream", status: str = "200 OK", **more: str) -> bytes:
    """The head of a response whose body ends where the connection does."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunk(content: str = "", finish: str | None = None, **more: object) -> bytes:
    """One event of a stream."""
    choice = {"index": 0, "delta": {"content": content, **more}, "finish_reason": finish}
    data = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
    return b"data: " + json.dumps({**data, "choices": [choice]}).encode() + b"\n\n"
