"""Commands run to their end, each in a process of its own that costs little; see `fork_server`."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: The environment of this process before any test changed it, as the servers have it.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    # A process with threads is not safely forked.
    **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
}
#: Variables that Python reads once, when it starts.
AT_START = ("PYTHONPATH", "PYTHONIOENCODING", "PYTHONUTF8", "LANG", "LC_ALL")

_servers: dict[bool, subprocess.Popen[str]] = {}


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
    server = _server(torch)
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return Ended(**json.loads(server.stdout.readline()))


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


def _server(torch: bool) -> subprocess.Popen[str]:
    """The server, started with the first command of this process; anew if a time-out killed it."""
    server = _servers.get(torch)
    if server is None or server.poll() is not None:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server", *(["torch"] if torch else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=ENVIRONMENT,
        )
        atexit.register(server.kill)
        _servers[torch] = server
    return server
