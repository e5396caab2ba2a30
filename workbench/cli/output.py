"""Output of the commands: data to stdout, messages to stderr, and errors with exit codes.

Exit codes: 0 done, 1 failed, 2 usage or bad input, 130 Ctrl-C.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, NoReturn, cast

import typer
from rich.console import Console
from rich.text import Text

from adl.errors import Stopped, first_line
from workbench.cli.show import sayable
from workbench.display import clean_line
from workbench.faults import REPORT_BUG, as_error, keep_crash, without_secrets

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class _Talk(io.TextIOBase):
    """stderr for messages: one that cannot be written is dropped, and never ends the work.

    A terminal that hung up refuses every write, and a signal's handler may want to write while the
    program is in the middle of a write: neither may turn a stop into a failure.
    """

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        return sys.stderr.fileno()

    def write(self, text: str) -> int:
        if self._stream is not None:
            with suppress(OSError, RuntimeError):
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            with suppress(OSError, RuntimeError):
                self._stream.flush()

    @property
    def _stream(self) -> Any:
        # While progress bars are drawn, rich stands in for sys.stderr and would write to us.
        stream = getattr(sys, "stderr", None)  # there is no sys at the interpreter's own end
        return getattr(stream, "rich_proxied_file", stream)


stderr = Console(file=cast("IO[str]", _Talk()), highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """Write one line to stderr, untrusted parts made visible."""
    stderr.print(Text(sayable(clean_line(line), stderr.encoding)))


def print_json(value: Any) -> None:
    """Data for a program, on stdout; ASCII, so that no text of a model reaches the terminal raw."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True, default=str) + "\n")
    sys.stdout.flush()  # while a reader that went away can still be told from other errors


@contextmanager
def reported_errors() -> Iterator[None]:
    """End the command with a message and the right exit code for whatever goes wrong."""
    try:
        yield
    except Stopped as exc:
        say(f"stopped: {exc.message}")
        raise typer.Exit(EXIT_INTERRUPTED) from exc
    except BrokenPipeError as exc:
        # Whoever read our output has gone; the interpreter must not flush into the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(EXIT_FAILURE) from exc
    except Exception as exc:
        error = as_error(exc)
        if error is None:
            raise
        fail(str(error), error.exit_code)


def report_bug(exc: Exception, hide: Callable[[str], str] = str) -> int:
    """Report an exception that nobody foresaw, with its trace in a file; returns the exit code."""
    kept = keep_crash(exc, hide)
    where = f" The trace is in {kept}." if kept else ""
    message = without_secrets(first_line(exc))
    _print_error(f"{type(exc).__name__}: {message}. {REPORT_BUG}{where}")
    return EXIT_FAILURE


def fail(message: str, code: int) -> NoReturn:
    """Report an error and exit with ``code``."""
    _print_error(message)
    raise typer.Exit(code)


def require_screen(otherwise: str) -> None:
    """Fail unless there is a terminal that can show a screen; ``otherwise`` names another way."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        fail(f"this needs a terminal. Run it in one, or {otherwise}", EXIT_USAGE)
    if os.environ.get("TERM", "dumb") in {"dumb", "unknown", ""}:
        fail(
            f"the terminal ({os.environ.get('TERM') or 'TERM is not set'}) shows no screens: it takes "
            f"no cursor movements. Set TERM to what your terminal is, such as xterm-256color, or "
            f"{otherwise}",
            EXIT_USAGE,
        )


def _print_error(message: str) -> None:
    shown = sayable(clean_line(message), stderr.encoding)
    stderr.print(Text.assemble(("error: ", "bold red"), shown))
