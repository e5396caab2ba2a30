"""The line of an operation in the timeline, from the events inside it."""

from __future__ import annotations

from collections.abc import Sequence

from adl.words import number_of
from workbench.operations import OPERATIONS
from workbench.store.state import OperationState, TimelineEntry
from workbench.tui.on_screen import described
from workbench.tui.panes.timeline.filter import ENDINGS, Inside

#: The results that are counted, by kind of event: one, and several.
_COUNTED = {"reading_taken": ("list", "lists"), "text_finished": ("text", "texts")}
_PROMPT = 200


def operation_line(
    operation: OperationState | None,
    head: TimelineEntry,
    inside: Inside,
    timeline: Sequence[TimelineEntry],
) -> str:
    """Return the operation with what it came to; may hold text of a model.

    With a single finding, such as a mark or a note, that finding's line; with a few, the first one's.
    """
    ended = next(
        (timeline[place] for place in reversed(inside.places) if timeline[place].kind in ENDINGS),
        None,
    )
    if (only := inside.only_finding(timeline)) is not None:
        return described(timeline[only])
    findings = inside.findings(timeline)
    if findings and inside.kinds["operation_finished"] and not _counts(inside):
        more = f" (and {number_of(len(findings) - 1, 'more event')})"
        return described(timeline[findings[0]]) + more
    name = head.description.removesuffix(" started")
    title = OPERATIONS[name].title if name in OPERATIONS else name
    prompt = "" if operation is None else _prompt(operation)
    parts = [part for part in (prompt, _counts(inside)) if part]
    if ended is not None:
        parts.append(described(ended))
    elif operation is not None and operation.status == "abandoned":
        parts.append("never finished: the program was closed or killed")
    else:
        parts.append("running")
    return f"{title}: {', '.join(parts)}"


def _prompt(operation: OperationState) -> str:
    prompt = operation.arguments.get("prompt")
    return f"\u201c{prompt[:_PROMPT]}\u201d" if isinstance(prompt, str) and prompt else ""


def _counts(inside: Inside) -> str:
    counted = [
        f"{n:,} {singular if n == 1 else plural}"
        for kind, (singular, plural) in _COUNTED.items()
        if (n := inside.kinds[kind])
    ]
    return ", ".join(counted)
