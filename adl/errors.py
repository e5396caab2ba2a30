"""Errors with a message that names the value, and a hint at what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class AdlError(Exception):
    """An error for the user: the problem (``message``) and what to do about it (``hint``).

    ``str()`` gives both as one line. Other exceptions are bugs. ``exit_code`` is that of a command:
    2 for a wrong request, 1 for an obstacle such as memory or the network.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = "", *, concerns: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint
        self.concerns = concerns
        "The argument that is wrong, so that a form shows the error there; empty if not one alone."

    def __str__(self) -> str:
        """Return both parts, the message with a full stop if a hint follows."""
        if not self.hint:
            return self.message
        stop = "" if self.message.endswith((".", "!", "?")) else "."
        return f"{self.message}{stop} {self.hint}"


def install_extra(extra: str) -> str:
    """Return the command that installs an extra; the package is in no index."""
    return f"in the checkout, .venv/bin/pip install '.[{extra}]'"


class CorpusError(AdlError):
    """The reference text cannot be read, or has no usable text."""


class StyleBankError(AdlError):
    """A bank of finetunings cannot be read."""


class PromptError(AdlError):
    """A file of prompts cannot be read, or a prompt cannot be used."""


class OrganismError(AdlError):
    """A model organism is unknown, or its folder is not one."""


class PairError(AdlError):
    """A model pair cannot be loaded, or its sides do not fit each other."""


class SiteError(AdlError):
    """A layer or a position is not one of the model's or of the measurement's."""


class TrainingError(AdlError):
    """A training cannot be run as requested, or cannot be continued."""


class HubUnreachable(PairError):
    """The Hugging Face hub or the network does not answer; the name may be right."""

    exit_code = 1


class NdifError(PairError):
    """NDIF does not answer, refuses a request, or fails at it."""

    exit_code = 1


class DeviceOutOfMemory(AdlError):
    """The device has no room for the model or the batch."""

    exit_code = 1


class NotAvailable(AdlError):
    """A capability is off because this pair failed a check at load."""


class NotFinite(AdlError):
    """A computation gave NaN or infinity."""


class Stopped(AdlError):
    """The computation was stopped on request: not a failure, so catch it before ``AdlError``."""

    def __init__(self, message: str = "stopped", hint: str = "") -> None:
        super().__init__(message, hint)


@contextmanager
def concerning(argument: str) -> Iterator[None]:
    """Mark errors raised inside as concerning an argument, unless they name one already.

    A full device concerns none: more than one of them can be changed.
    """
    try:
        yield
    except AdlError as exc:
        if not isinstance(exc, DeviceOutOfMemory | Stopped):
            exc.concerns = exc.concerns or argument
        raise


def not_finite(what: str, dtype: str) -> NotFinite:
    """Return the error for NaN or infinity in the numbers of ``what``, run in ``dtype``."""
    how = "--dtype float32" if dtype == "bfloat16" else "--dtype bfloat16"
    return NotFinite(
        f"{what} gives NaN or infinity in {dtype}: its numbers exceed the range of that format",
        f"Load the pair with {how}."
        if dtype != "float32"
        else "Check the weights of the checkpoint; a smaller alpha may help.",
    )


def first_line(exc: BaseException) -> str:
    """Return the first line of an exception's text that is not blank, cut to 300 characters."""
    lines = (line.strip() for line in str(exc).splitlines())
    return next((line for line in lines if line), type(exc).__name__)[:300]
