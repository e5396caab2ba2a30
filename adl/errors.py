"""What can go wrong, said once: each error names the thing and the value, and the way out."""

from __future__ import annotations


class AdlError(Exception):
    """An error to show to a person: what is wrong (``message``) and what to do about it (``hint``).

    ``str()`` gives both as one line of prose. Other exceptions are bugs. ``exit_code`` is what a
    command ends with: 2 where what was asked for is wrong, 1 where the world is in the way.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Both parts, the message closed with a full stop if a way out follows."""
        if not self.hint:
            return self.message
        stop = "" if self.message.endswith((".", "!", "?")) else "."
        return f"{self.message}{stop} {self.hint}"


class CorpusError(AdlError):
    """The reference text cannot be read, or nothing in it can be used."""


class PromptError(AdlError):
    """A file of prompts cannot be read, or has a prompt that cannot be used."""


class OrganismError(AdlError):
    """A model organism is unknown, or its folder is not one."""


class PairError(AdlError):
    """A model pair cannot be loaded, or its sides do not fit each other."""


class SiteError(AdlError):
    """A layer or a position is not one of the model's or of the measurement's."""


class TrainingError(AdlError):
    """A training cannot be done as asked, or cannot be gone on with."""


class HubUnreachable(PairError):
    """The hub, or the network between, does not answer; the name may well be right."""

    exit_code = 1


class DeviceOutOfMemory(AdlError):
    """The device has no room for the model or the batch."""

    exit_code = 1


class NotAvailable(AdlError):
    """What was asked for rests on something that this pair failed when it was checked."""


class NotFinite(AdlError):
    """NaN or infinity came out where a number was computed."""


class Stopped(AdlError):
    """The work was stopped on request: not a failure, so catch it before ``AdlError``."""

    def __init__(self, message: str = "stopped", hint: str = "") -> None:
        super().__init__(message, hint)


def not_finite(what: str, dtype: str) -> NotFinite:
    """The error for numbers of ``what``, run in ``dtype``, that are NaN or infinite."""
    how = "--dtype float32" if dtype == "bfloat16" else "--dtype bfloat16"
    return NotFinite(
        f"{what} gives NaN or infinity in {dtype}: its numbers leave the range of that format",
        f"Load the pair with {how}."
        if dtype != "float32"
        else "Check the checkpoint's weights, and the vector's size: less alpha may help.",
    )


def first_line(exc: BaseException, limit: int = 300) -> str:
    """The first line of an exception's text that says something, cut to ``limit`` characters."""
    lines = (line.strip() for line in str(exc).splitlines())
    return next((line for line in lines if line), type(exc).__name__)[:limit]
