"""Commands run to their end, each in a process of its own that costs little; see `fork_server`."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

ROOT = Path(__file__).resolve().parents[1]
#: The environment of this process before any test changed it, as the servers have it.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    # A process with threads is not safely forked.
    **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
}
#: Variables that Python reads once, when it starts.
AT_START = ("PYTHONPATH", "PYTHONIOENCODING", "PYTHONUTF8", "LANG", "LC_ALL")


@dataclass(frozen=True)
class _Server:
    """A server under way; descriptors of what it starts go through ``passing``."""

    process: subprocess.Popen[str]
    passing: socket.socket

    def ask(self, request: dict[str, object]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


_servers: dict[bool, _Server] = {}


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str
    interrupted: bool


def run(
    module: str,
    arguments: Sequence[str | bytes | Path],
    env: dict[str, str],
    *,
    cwd: Path = ROOT,
    torch: bool = False,
    memory: int | None = None,
    patience: float | None = None,
) -> Ended:
    """Run ``main`` of the module as a program of its own."""
    request = {
        "module": module,
        "argv": [os.fsdecode(argument) for argument in arguments],
        "cwd": str(cwd),
        "env": env,
        "memory": memory,
        "patience": patience,
    }
    return Ended(**_server(torch).ask(request))


class Started:
    """A command under way, to be used as a `subprocess.Popen` of texts."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str | bytes | Path],
        env: dict[str, str],
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        pass_fds: Sequence[int] = (),
        cwd: Path = ROOT,
        loaded: Sequence[str] = (),
        terminal: bool = False,
    ) -> None:
        self.returncode: int | None = None
        self.stdout, out = _end(stdout)
        self.stderr, err = _end(stderr)
        _, into = _end(stdin)
        self._ended, ends = os.pipe()
        server = _server(torch=False)
        socket.send_fds(server.passing, [b"."], [into, out, err, ends, *pass_fds])
        request = {
            "module": module,
            "argv": [os.fsdecode(argument) for argument in arguments],
            "cwd": str(cwd),
            "env": env,
            "memory": None,
            "fds": list(pass_fds),
            "loaded": list(loaded),
            "terminal": terminal,
        }
        self.pid: int = server.ask(request)["pid"]
        os.close(ends)
        for asked, descriptor in ((stdin, into), (stdout, out), (stderr, err)):
            if descriptor != asked:
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.kill()
        for stream in filter(None, (self.stdout, self.stderr)):
            stream.close()

    def poll(self) -> int | None:
        """How it ended; None while it is under way."""
        if self.returncode is None and select.select([self._ended], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns how it ended, negative if by a signal."""
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            with os.fdopen(self._ended) as ended:
                self.returncode = int(ended.read())
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """What it writes until it ends."""
        with ThreadPoolExecutor(2) as readers:
            texts = list(
                readers.map(lambda end: end.read() if end else "", (self.stdout, self.stderr))
            )
        self.wait()
        return texts[0], texts[1]

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            # It may end between the question and the signal.
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(signal.SIGKILL)


def _end(asked: int) -> tuple[IO[str] | None, int]:
    """Our end of a stream, if we read it, and the descriptor that the command gets."""
    if asked == subprocess.PIPE:
        read, write = os.pipe()
        return os.fdopen(read, encoding="utf-8"), write
    if asked == subprocess.DEVNULL:
        return None, os.open(os.devnull, os.O_RDWR)
    return None, asked


def starts_alike(env: dict[str, str]) -> bool:
    """True if a fork of a server is to Python as a new process in this environment."""
    return all(env.get(name) == ENVIRONMENT.get(name) for name in AT_START)


def completed(
    module: str,
    arguments: Sequence[str | bytes | Path],
    env: dict[str, str],
    *,
    torch: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run it, and tell of it as `subprocess.run` does of what it captured as text."""
    ended = run(module, arguments, env, torch=torch)
    out, err = (text.replace("\r\n", "\n").replace("\r", "\n") for text in (ended.out, ended.err))
    return subprocess.CompletedProcess([module, *arguments], ended.code, out, err)


def _server(torch: bool) -> _Server:
    """The server, started with the first command of this process; anew if a time-out killed it."""
    server = _servers.get(torch)
    if server is None or server.process.poll() is not None:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.fork_server", str(theirs.fileno())),
                    *(["torch"] if torch else []),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env=ENVIRONMENT,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(process.kill)
        server = _servers[torch] = _Server(process, ours)
    return server
