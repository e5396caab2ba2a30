"""A request to an endpoint, its answer or failure, and the features that a server is known to take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from workbench.store.agent_events import ToolCall, ToolMode, Usage

OnText = Callable[[str], None]
"""Called with each piece of a reply."""

Message = dict[str, Any]
"""A message as the protocol has it."""


@dataclass(frozen=True)
class Request:
    """A request for a reply.

    ``render`` gives messages and tools for a way of calling tools, since it may turn out during the
    attempt that the server has none. ``forced`` names the one tool that has to be called. ``refused``
    are the digests of requests that were refused for their form, which are not sent again.
    """

    model: str
    render: Callable[[ToolMode], tuple[Sequence[Message], Sequence[Mapping[str, Any]]]]
    forced: str | None = None
    temperature: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    refused: Collection[str] = ()


@dataclass(frozen=True)
class Answer:
    """A reply as it came; ``truncated`` where more came than is kept."""

    model: str
    content: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    usage: Usage
    seconds: float
    truncated: bool = False
    provider_fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Capabilities:
    """The features that a server is not known to refuse.

    ``own_fields`` are the provider's own, of its earlier replies; ``calls`` are earlier calls in the
    protocol's fields, and not as text. ``most_tokens`` of one reply.
    """

    stream: bool = True
    stream_usage: bool = True
    native_tools: bool = True
    forced_tool: bool = True
    temperature: bool = True
    seed: bool = True
    max_tokens: bool = True
    own_fields: bool = True
    without_fields: frozenset[str] = frozenset()
    calls: bool = True
    most_tokens: int | None = None


@dataclass(frozen=True)
class Notice:
    """A limit of the server that requests keep from now on; see ``AgentNoticed``."""

    notice: Literal["without", "lowered"]
    feature: str
    message: str
    tokens: int | None = None


class AttemptFailed(Exception):
    """No reply. ``again`` if another attempt makes sense, not before ``wait`` seconds if it says so.

    ``notice`` is there if the request was refused and the next attempt is another; ``request_sha256``
    if it was refused for its form.
    """

    def __init__(
        self,
        error: str,
        message: str,
        *,
        status: int | None = None,
        again: bool = True,
        wait: float | None = None,
        notice: Notice | None = None,
        request_sha256: str = "",
    ) -> None:
        super().__init__(message)
        self.error = error
        self.message = message
        self.status = status
        self.again = again
        self.wait = wait
        self.notice = notice
        self.request_sha256 = request_sha256
