"""The output of a command on a blind session, free of every name of its pair.

    working_session(..., blind=True)   sealed before anything is loaded
        stderr                         our messages and those of libraries, line by line
        work.shown                     the session as it may be seen, for what goes to stdout
    looking_at(log, session)           a recorded session: stderr as above, and what hides its names
    say_if_raw                         that a file holds them, where it is the record itself

While a pair is loaded, names stand by themselves, so those that are ordinary words are hidden, too;
later they would be words of the models' own texts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from workbench.blinding.aliases import OPEN, Blinding
from workbench.blinding.sessions import HiddenNames, redactor_for
from workbench.cli.streams import ChangedStream
from workbench.store.log import SessionLog

if TYPE_CHECKING:
    from workbench.blinding.redact import StateRedactor


class Redactor:
    """Hides what ``blinding`` hides; of a session that is not blind, nothing."""

    def __init__(self) -> None:
        self.blinding: Blinding = OPEN
        self.loading = False
        "True while names stand by themselves."
        self.own_path = ""
        "Where the session is: whoever named it knows it, and with an alias in it it leads nowhere."

    def __bool__(self) -> bool:
        """True if anything is hidden."""
        return bool(self.blinding)

    def hide(self, text: str) -> str:
        """The text as it may be seen."""
        change = self.blinding.hide_words if self.loading else self.blinding.hide
        if not self.own_path:
            return change(text)
        return self.own_path.join(map(change, text.split(self.own_path)))


@contextmanager
def redacted_stderr() -> Iterator[Redactor]:
    """Whatever is written to stderr meanwhile goes through the redactor; so does an unforeseen error.

    An error that nobody foresaw would be shown with its trace, and that has paths in it: of a blind
    session only its message is shown, redacted.
    """
    redactor, before = Redactor(), sys.stderr
    if before is not None:  # it is None where whoever started us closed it
        sys.stderr = ChangedStream(before, redactor.hide)
    try:
        yield redactor
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except Exception as exc:
        if not redactor:
            raise
        redactor.loading = True
        from workbench.cli.output import report_bug

        raise typer.Exit(report_bug(exc, redactor.hide)) from None
    finally:
        sys.stderr = before


@contextmanager
def looking_at(log: SessionLog, session_id: str) -> Iterator[StateRedactor]:
    """Talk of a recorded session, and its errors, without the names it hides; and what hides them.

    Names stand by themselves in messages while its pair is loaded again.
    """
    from workbench.cli.output import reported_errors

    with redacted_stderr() as redactor, reported_errors():
        redactor.blinding, redactor.own_path = HiddenNames.read(log).of(session_id), str(log.path)
        redactor.loading = True
        yield redactor_for(log, session_id)


def say_if_raw(log: SessionLog, session_id: str) -> None:
    """Warn that a file written of a blind session holds its real names."""
    from workbench.cli.output import say

    if HiddenNames.read(log).is_blind(session_id):
        say("note: the session is blind, and the file holds the real names of its pair")
