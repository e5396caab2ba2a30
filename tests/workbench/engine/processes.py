"""Engines in processes of their own, over the planted pair."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from tests.processes import HANGS
from tests.workbench.cli.conftest import ROOT, environment
from workbench.engine import protocol as p
from workbench.engine.client import EngineClient
from workbench.locations import HOME_VARIABLE
from workbench.store.log import SessionLog
from workbench.store.state import SessionState, fold


@dataclass
class EngineProcess:
    """An engine that serves, with the session it began with."""

    process: subprocess.Popen[str]
    home: Path
    socket: Path
    session: str
    resume: int

    def go_on(self) -> None:
        """Let it go on where its models halted."""
        os.write(self.resume, b".")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def state(self) -> SessionState:
        """The state of its session, of a database that verifies."""
        with SessionLog.open(self.home / "sessions.db", read_only=True) as log:
            assert log.verify().ok
            return fold(log.events(self.session))

    def wait(self, what: str, holds: Callable[[SessionState], object]) -> SessionState:
        """Wait until something holds of the session; looked at with each news of the engine."""
        news: SimpleQueue[p.Notice] = SimpleQueue()
        with EngineClient.connect(self.socket, role="command", name="a test") as client:
            client.listen(news.put)
            client.call(p.Open(session=self.session, keys=False), HANGS)
            while not holds(state := self.state()):
                try:
                    notice = news.get(timeout=HANGS)
                    # Several may have come while the session was read.
                    while not isinstance(notice, p.ClosingNotice) and not news.empty():
                        notice = news.get()
                except Empty:
                    raise AssertionError(f"{what} never came") from None
                assert not isinstance(notice, p.ClosingNotice), "the engine ended"
        return state


@contextmanager
def engine_process(
    home: Path,
    *arguments: str,
    planted: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
    module: str = "tests.planted_cli",
) -> Iterator[EngineProcess]:
    """An engine under way; killed if it is still there at the end."""
    waited, resume = os.pipe()
    wanted = {"announce": 2, "resume": waited, **planted} if planted else {}
    process = subprocess.Popen(
        [sys.executable, "-m", module, "serve", *(arguments or ("--demo",)), "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        pass_fds=(waited,),
        env=environment(wanted, **{HOME_VARIABLE: str(home)}, **(variables or {})),
    )
    os.close(waited)
    try:
        assert process.stdout is not None
        told = ""
        while not told.endswith("}\n"):
            line = process.stdout.readline()
            assert line, "the engine did not begin"
            told += line
        ready = json.loads(told)
        yield EngineProcess(process, home, Path(ready["socket"]), ready["session"], resume)
    finally:
        process.kill()
        process.wait()
        os.close(resume)
        if process.stdout is not None:
            process.stdout.close()
