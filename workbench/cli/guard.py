"""The start and end of the command line: its streams, and every error of a command in words.

A command is called with checked values only, and whatever it raises comes to `ending_well`: known
kinds as one line and an exit code, anything else as a bug with its trace in a file.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer

from workbench.bounds import refusal
from workbench.cli.output import EXIT_INTERRUPTED, EXIT_USAGE, fail, report_bug, reported_errors
from workbench.display import shorten


def new_program() -> typer.Typer:
    """Return the program, yet without commands."""
    return typer.Typer(
        name="adl-workbench",
        rich_markup_mode=None,  # "ID[@revision]" is text, not markup
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def guarded(command: Any) -> Any:
    """The command, and each below it, with every value checked against `workbench.bounds` first."""
    for below in getattr(command, "commands", {}).values():
        guarded(below)
    if command.callback is not None:
        command.callback = _checked(command.callback, command.params)
    return command


def _checked(callback: Callable[..., Any], params: Any) -> Callable[..., Any]:
    named = {param.name: _spelled(param) for param in params}

    @functools.wraps(callback)
    def checked(*args: Any, **given: Any) -> Any:
        for name, value in given.items():
            if (why := refusal(value)) is not None:
                got = shorten(str(value), 100)
                fail(f"{named.get(name, name)} {why} (got {got})", EXIT_USAGE)
        return callback(*args, **given)

    return checked


def _spelled(param: Any) -> str:
    return str(param.opts[0] if param.param_type_name == "option" else param.name.upper())


#: Libraries whose remarks are for their own users, and which this program reports the errors of.
_LIBRARIES = (
    *("accelerate", "bitsandbytes", "datasets", "huggingface_hub", "nnsight", "peft"),
    *("torch", "transformers"),
)


def quieten_libraries() -> None:
    """Keep progress bars, warnings and log lines of the model libraries off stderr.

    Called before any is imported. Variables that are set already stay as they are.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", module=rf"({'|'.join(_LIBRARIES)})(\.|$)")
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def ending_well() -> Iterator[None]:
    """Turn whatever is raised inside into words on stderr and an exit code."""
    _take_missing_streams()
    try:
        with reported_errors():
            try:
                yield
            finally:
                # Here, where a full disk or a reader that left can still be reported.
                if not isinstance(sys.exception(), KeyboardInterrupt):
                    sys.stdout.flush()
    except typer.Exit as exc:
        _leave(exc.exit_code)
    except SystemExit as exc:
        _leave(exc.code)
    except KeyboardInterrupt:
        # A reader that waits would keep us waiting once more: the rest is not written.
        _discard(sys.stdout)
        _leave(EXIT_INTERRUPTED)
    except Exception as exc:  # noqa: BLE001 - the last resort
        _leave(report_bug(exc))


def _leave(code: int | str | None) -> None:
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError, KeyboardInterrupt):
            # What could not be written now can't be at the interpreter's own end either.
            _discard(stream)
    sys.exit(code)


def _discard(stream: Any) -> None:
    """Send what the stream still holds, and all that follows, to /dev/null."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _take_missing_streams() -> None:
    """Occupy the numbers of streams that whoever started us closed.

    Else the next file to be opened would get the number, and be written to as if it were stdout.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # Only to be read from: what is written to a closed stream is an error and not lost.
            os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
