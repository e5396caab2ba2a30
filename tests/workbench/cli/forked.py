"""Commands by the hundred, each in a process of its own; see `tests.forked_cli`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.workbench.cli.conftest import ROOT, environment
from workbench.locations import HOME_VARIABLE

#: Enough for the planted pair, and soon used up by a list of everything that was asked for.
MEMORY = 4 << 30


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str
    interrupted: bool


@dataclass(frozen=True)
class ForkedCli:
    """The planted command line, loaded once and forked for every command."""

    server: subprocess.Popen[str]
    home: Path

    def __call__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
        wanted: Mapping[str, Any] | None = None,
        patience: float = 120,
    ) -> Ended:
        """Run a command to its end."""
        request = {
            "argv": list(argv),
            "cwd": str(cwd or self.home),
            "env": {HOME_VARIABLE: str(self.home), **(env or {})},
            "wanted": dict(wanted or {}),
            "memory": MEMORY,
            "patience": patience,
        }
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return Ended(**json.loads(self.server.stdout.readline()))


@contextmanager
def forked_cli(home: Path) -> Iterator[ForkedCli]:
    """Commands whose things are all below ``home``."""
    home.mkdir(parents=True, exist_ok=True)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.forked_cli"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    try:
        yield ForkedCli(server, home)
    finally:
        server.kill()
        server.communicate()
