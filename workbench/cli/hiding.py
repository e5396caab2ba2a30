"""What a command says of a blind session: no name of its pair, whoever says it.

    working_session(..., blind=pair)   sealed before anything is loaded
        stderr                         our talk, and what libraries write there, line by line
        work.shown                     the session as it may be seen, for what goes to stdout

While a pair is loaded, names stand by themselves, so those that are ordinary words are hidden, too;
later they would be words of the models' own texts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from workbench.agent.blinding import OPEN, Blinding


class Veil:
    """Hides what ``blinding`` hides; of a session that is not blind, nothing."""

    def __init__(self) -> None:
        self.blinding: Blinding = OPEN
        self.loading = False
        "Whether names stand by themselves now."

    def __bool__(self) -> bool:
        """Whether anything is hidden."""
        return bool(self.blinding)

    def hide(self, text: str) -> str:
        """The text as it may be seen."""
        return self.blinding.hide_words(text) if self.loading else self.blinding.hide(text)


class _Stream:
    """A stream that is written to through a veil; in all else it is the stream."""

    def __init__(self, stream: Any, veil: Veil) -> None:
        self._stream = stream
        self._veil = veil

    def write(self, text: str) -> int:
        return int(self._stream.write(self._veil.hide(text)) or 0)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def veiled() -> Iterator[Veil]:
    """Whatever is written to stderr meanwhile goes through the veil; so does an unforeseen error.

    An error that nobody foresaw would be shown with its trace, and that has paths in it: of a blind
    session only its own words are said, veiled.
    """
    veil, before = Veil(), sys.stderr
    sys.stderr = _Stream(before, veil)
    try:
        yield veil
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except Exception as exc:
        if not veil:
            raise
        veil.loading = True
        from workbench.cli.running import EXIT_FAILURE, fail

        fail(f"{type(exc).__name__}: {exc} (this is a fault of the program)", EXIT_FAILURE)
    finally:
        sys.stderr = before
