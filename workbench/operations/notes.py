"""Notes: remarks kept in the session's log."""

from __future__ import annotations

from pydantic import Field

from workbench.operations.running import AgentUse, Arguments, Context, Operation, Summary
from workbench.store.events import NoteWritten


class NoteArguments(Arguments):
    """The remark to keep."""

    text: str = Field(min_length=1, description="The remark.")


def note(context: Context, arguments: NoteArguments) -> Summary:
    """Write a remark into the session's log."""
    context.record(NoteWritten(text=arguments.text))
    return {}


def looked_at(seq: int, label: str, excerpt: str) -> NoteArguments:
    """Return a note that an event was looked at and is nothing."""
    return NoteArguments(text=f"Looked at, nothing: {excerpt.strip()!r}, {label} (event {seq})")


NOTE = Operation(
    "note",
    "Write a note",
    NoteArguments,
    note,
    place="pane",
    agent=AgentUse(black_box=True),
    uses_models=False,
)
