"""Errors of agents and judges."""

from __future__ import annotations

from adl.errors import AdlError


class EndpointError(AdlError):
    """The endpoint gave no usable reply; what it had answered before is in the log."""

    exit_code = 1


class ContextTooLong(EndpointError):
    """The endpoint takes no prompt of this length; a shorter one may be answered."""


class OutOfTime(EndpointError):
    """The time that was given is over, and there is no reply yet."""


class AgentError(AdlError):
    """There is no such audit, or it is not one that can be gone on with."""


class GradeError(AdlError):
    """There is nothing to grade, or no such grade."""


class EvaluationError(AdlError):
    """The evaluation asked for cannot be done."""


class ToolError(AdlError):
    """A call that cannot be done; the agent gets the reason and goes on."""
