"""The real program in a real pseudo-terminal, with a terminal emulator on the other side."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyte

from tests import forks
from tests.processes import HANGS

ROOT = Path(__file__).parents[3]
KEYS = {
    "up": "\x1b[A",
    "down": "\x1b[B",
    "right": "\x1b[C",
    "left": "\x1b[D",
    "home": "\x1b[H",
    "end": "\x1b[F",
    "enter": "\r",
    "escape": "\x1b",
    "tab": "\t",
    "space": " ",
    "pageup": "\x1b[5~",
    "pagedown": "\x1b[6~",
    "backspace": "\x7f",
    "f1": "\x1bOP",
    "f2": "\x1bOQ",
    "f4": "\x1bOS",
    "f6": "\x1b[17~",
    "f8": "\x1b[19~",
    "f9": "\x1b[20~",
}


class Terminal:
    """A process in a pseudo-terminal: press keys, and wait for what the screen shows.

    ``written`` is every byte the process wrote. The terminal answers no queries, as a dumb one.
    ``forked`` starts it with its modules loaded, at a third of the cost: where it is not the start
    or the end of the process that is tried.
    """

    def __init__(
        self,
        arguments: list[str],
        *,
        home: Path,
        size: tuple[int, int] = (160, 48),
        planted: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        module: str = "tests.planted_cli",
        program: Path | None = None,
        folder: Path | None = None,
        forked: bool = False,
    ) -> None:
        columns, lines = size
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._lines = [""] * lines
        self.written = bytearray()
        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(self._slave)
        env = {
            # A size in the environment would hide that of the terminal.
            **{key: os.environ[key] for key in os.environ if key not in {"COLUMNS", "LINES"}},
            "ADL_WORKBENCH_HOME": str(home),
            "TERM": "xterm-256color",
            "LC_ALL": "C.UTF-8",
            "PLANTED_CLI": json.dumps(dict(planted or {})),
            **(environment or {}),
        }
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), self._slave)
        self.process: subprocess.Popen[bytes] | forks.Started
        if forked:
            loaded = ["workbench.tui.app"]
            self.process = forks.Started(
                module, arguments, env, **streams, cwd=folder or ROOT, loaded=loaded, terminal=True
            )
            return
        self.process = subprocess.Popen(
            [*([sys.executable, "-m", module] if program is None else [program]), *arguments],
            **streams,
            # An installed program must find nothing of the checkout.
            cwd=folder or (ROOT if program is None else home),
            env=env,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - one system call, and no thread holds a lock
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for descriptor in (self._master, self._slave):
            if descriptor >= 0:
                os.close(descriptor)

    def press(self, *keys: str) -> None:
        """Press keys: names of `KEYS`, ``ctrl+x``, or text as it is typed."""
        for key in keys:
            said = chr(ord(key[-1]) & 31) if key.startswith("ctrl+") else KEYS.get(key, key)
            os.write(self._master, said.encode())

    def shows(self, wanted: str, *, within: float = HANGS) -> None:
        """Wait until the screen shows the text."""
        self.wait(lambda: wanted in self.text, f"the screen never showed {wanted!r}", within)

    def wait(self, condition: Callable[[], bool], otherwise: str, within: float = HANGS) -> None:
        """Take in what is written until the condition holds."""
        until = time.monotonic() + within
        while not condition():
            left = until - time.monotonic()
            if left <= 0 or not self.take_in(left):
                if condition():
                    return
                raise AssertionError(f"{otherwise}; it shows:\n{self.text}")

    def settle(self, quiet: float = 0.3, most: float = 600) -> None:
        """Take in what is written until nothing is for so many seconds, but ``most`` at the most.

        A cursor that blinks is written twice a second.
        """
        until = time.monotonic() + most
        while time.monotonic() < until and self.take_in(quiet):
            pass

    def take_in(self, within: float) -> bool:
        """Take in the next bytes, if any come within so many seconds; False at the end too."""
        if not select.select([self._master], [], [], within)[0]:
            return False
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # the other side is closed
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)

    def ends(self, within: float = HANGS) -> int:
        """Wait for the process to end; returns its exit code."""
        until = time.monotonic() + within
        while self.process.poll() is None and time.monotonic() < until:
            if self._master >= 0:
                # What it writes must be read, or it would wait for us at its end.
                self.take_in(0.1)
            else:
                self.process.wait(max(0.0, until - time.monotonic()))
        assert self.process.poll() is not None, f"it did not end; it shows:\n{self.text}"
        while self._master >= 0 and self.take_in(0.05):
            pass
        return self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def hang_up(self) -> None:
        """Take the terminal away, as a lost connection does."""
        for descriptor in (self._master, self._slave):
            os.close(descriptor)
        self._master = self._slave = -1

    @property
    def text(self) -> str:
        """What the screen shows.

        As the emulator's ``display``, which measures every character anew at each look.
        """
        for y in self.screen.dirty:
            cells = self.screen.buffer[y]
            # The second cell of a wide character is empty.
            self._lines[y] = "".join([cells[x].data for x in range(self.screen.columns)])
        self.screen.dirty.clear()
        return "\n".join(self._lines)

    @property
    def is_clean(self) -> bool:
        """Whether the terminal was left as it was found: modes, cursor, main screen, settings."""
        written = bytes(self.written)
        ends = [
            (b"\x1b[?1049h", b"\x1b[?1049l"),
            (b"\x1b[?25l", b"\x1b[?25h"),
            (b"\x1b[?1000h", b"\x1b[?1000l"),
            (b"\x1b[?1003h", b"\x1b[?1003l"),
            (b"\x1b[?2004h", b"\x1b[?2004l"),
        ]
        undone = all(written.rfind(off) >= written.rfind(on) for on, off in ends)
        return undone and termios.tcgetattr(self._slave) == self.before


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
