"""Operations: what each was asked to do, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, Self

from workbench.store.events import (
    Actor,
    Event,
    OperationFailed,
    OperationFinished,
    OperationStarted,
    OperationStopped,
    SessionClosed,
    SessionContinued,
)
from workbench.store.slices.slice import Items, on


@dataclass(frozen=True)
class OperationState:
    """An operation; ``abandoned`` if its process ended before it did.

    ``seconds``, ``ended_at`` and what belongs to one way of ending are None or empty without it.
    """

    id: str
    name: str
    arguments: dict[str, Any]
    actor: Actor
    started_seq: int
    started_at: datetime
    status: Literal["running", "finished", "failed", "stopped", "abandoned"] = "running"
    ended_at: datetime | None = None
    seconds: float | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    message: str = ""
    way_out: str = ""
    reason: str = ""


def operation_id(event: Event) -> str | None:
    """Id of the operation that recorded the event, None without one."""
    if event.operation_id is None and isinstance(event.body, OperationStarted):
        # An operation without an id cannot be ended: its place in the log names it.
        return f"event-{event.seq}"
    return event.operation_id


class Operations(Items[str, OperationState]):
    """The operations by id, in the order they began."""

    def __init__(self) -> None:
        # Of the ends of a session, which are naming, it keeps nothing but that they came.
        super().__init__("items")
        self._running: set[str] = set()

    def copy(self) -> Self:
        """Another with a dict of its own."""
        twin = super().copy()
        twin._running = set(self._running)
        return twin

    @on(OperationStarted)
    def _start(self, event: Event) -> None:
        body: Any = event.body
        key = operation_id(event)
        assert key is not None, "an operation that starts has an id"
        started = OperationState(
            id=key,
            name=body.operation,
            arguments=body.arguments,
            actor=event.actor,
            started_seq=event.seq,
            started_at=event.at,
        )
        self.put(key, started)
        self._running.add(key)

    @on(OperationFinished, OperationFailed, OperationStopped)
    def _end(self, event: Event) -> None:
        operation = self.items.get(event.operation_id or "")
        if operation is None:
            return
        # Also one that was abandoned: another process may have continued the session while the
        # one at work was alive after all.
        body: Any = event.body
        ended = replace(operation, ended_at=event.at, seconds=body.seconds)
        match body:
            case OperationFinished():
                ended = replace(ended, status="finished", summary=body.summary)
            case OperationFailed():
                ended = replace(
                    ended,
                    status="failed",
                    error=body.error,
                    message=body.message,
                    way_out=body.way_out,
                )
            case OperationStopped():
                ended = replace(ended, status="stopped", reason=body.reason)
        self.put(operation.id, ended)
        self._running.discard(operation.id)

    @on(SessionContinued, SessionClosed)
    def _abandon(self, _event: Event) -> None:
        """End operations that no process is at work on any more."""
        for key in self._running:
            self.put(key, replace(self.items[key], status="abandoned"))
        self._running.clear()
