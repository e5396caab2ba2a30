"""Drawing of an agent's turns: messages to it, its replies, its calls and their results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from textual.content import Content

from adl.words import number_of
from workbench.agent.budgets import budget_in_words
from workbench.agent.conversation import calls_in
from workbench.agent.nesting import read_json
from workbench.display import clean_line, shorten
from workbench.store.agent_events import (
    AgentControlled,
    AgentEnded,
    AgentInterrupted,
    AgentMessaged,
    AgentReplied,
    AgentRequestFailed,
    AgentResumed,
    AgentTold,
    ApprovalGiven,
    GradeGiven,
    ReportSubmitted,
    ToolCall,
)
from workbench.tui import text
from workbench.tui.panes.agent.turns import AgentItem
from workbench.tui.text import actor_name

#: Characters shown of a reply, and of anything else; `enter` shows all of it.
MOST_REPLY = 6_000
MOST_MESSAGE = 160
#: Lines shown of a result, and characters of one argument of a call.
RESULT_LINES = 4
MOST_OF_ARGUMENT = 120

#: The subject of a call is shown before its settings.
_TELLING = frozenset(
    {"prompt", "prompts", "prefixes", "messages", "raw", "text", "excerpt", "reading", "alpha"}
    | {"alphas", "strengths", "probes"}
)

_MUTED = "$foreground-muted"
_EMPTY: tuple[object, ...] = (None, "", [], {}, ())
_FENCE = ("audited text begins ", "audited text ends ")
_SOURCES = {
    "opening": "first message",
    "nudge": "reminder",
    "budget": "asked for its report",
    "hand_back": "list of what you did",
}
_CONTROLS = {
    "paused": "paused it",
    "continued": "let it go on",
    "taken_over": "took over",
    "handed_back": "handed back",
    "policy": "set when it asks:",
}


@dataclass(frozen=True)
class Look:
    """Settings for drawing an item: the width, and whether it was delivered."""

    width: int
    unread: bool = False
    replaced: bool = False


def item_blocks(item: AgentItem, look: Look) -> list[Content]:
    """Return an item as blocks of text."""
    body, width = item.body, look.width
    match body:
        case AgentTold() if body.tool is not None:
            return _result(body, width)
        case AgentTold():
            return [_message(body, width)]
        case AgentReplied():
            return _reply(item, body, width)
        case AgentRequestFailed():
            return _failed(body, width)
        case ReportSubmitted():
            return _report(item, body, width)
        case GradeGiven():
            return _grade(item, body, look)
        case AgentMessaged():
            waits = Content.styled("  (not read yet)" if look.unread else "", _MUTED)
            return [Content.assemble(_by(item), " wrote: ", text.block(body.text), waits)]
        case ApprovalGiven():
            answer = ("approved", "$text-success") if body.approved else ("refused", "$text-error")
            return [Content.assemble(_by(item), " ", answer, _because(body.reason))]
        case AgentControlled():
            action = _CONTROLS[body.control]
            detail = f" {body.detail}" if body.control == "policy" else ""
            why = "" if body.control == "policy" else body.detail
            return [Content.assemble(_by(item), f" {action}", text.line(detail), _because(why))]
        case AgentResumed():
            return [_rule(f"resumed with {clean_line(body.model)}", item, width)]
        case AgentInterrupted():
            error = body.message or body.error
            return [
                Content.assemble(("✗ interrupted: ", "bold $text-error"), text.problem(error, ""))
            ]
        case AgentEnded():
            why = f": {body.reason}" if body.reason else ""
            by = (
                "its report"
                if body.stopped_by == "report"
                else f"a spent budget, {budget_in_words(body.stopped_by)}"
            )
            return [_rule(clean_line(f"ended by {by}{why}"), item, width)]
        case _:
            return [text.line(item.line, _MUTED)]


def growing_blocks(reply: str) -> list[Content]:
    """The reply under way, its end in view."""
    cut = reply[-MOST_REPLY:]
    return [Content.assemble(("writes ", "bold $accent"), text.block(cut), ("▌", "$accent"))]


def call_words(tool: str, arguments: Mapping[str, Any]) -> Content:
    """Return a call on one line: its name and its non-empty arguments."""
    parts: list[Content | tuple[str, str]] = [text.line(tool, "bold $accent", 60)]
    for name in sorted(arguments, key=lambda name: name not in _TELLING):
        value = arguments[name]
        if value in _EMPTY:
            continue
        shown = f"“{value}”" if isinstance(value, str) else _in_words(value)
        parts += [
            text.line(f"  {name} ", _MUTED, 40),
            text.line(" ".join(shown.split()), "", MOST_OF_ARGUMENT),
        ]
    return Content.assemble(*parts)


def _in_words(value: Any) -> str:
    """An argument as a person reads it: of objects the names and values, without those left empty."""
    if isinstance(value, dict):
        parts = [(name, item) for name, item in value.items() if item not in _EMPTY]
        return ", ".join(
            f"{name} {item if isinstance(item, str) else _in_words(item)}" for name, item in parts
        )
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "; ".join(map(_in_words, value))
    return json.dumps(value, ensure_ascii=False)


def written_call(call: ToolCall) -> Content:
    """A call as the endpoint wrote it, which may be no JSON."""
    try:
        arguments = read_json(call.arguments or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        arguments = {"unreadable": call.arguments[:MOST_OF_ARGUMENT]}
    return call_words(call.name, arguments)


# --- the kinds of items ---------------------------------------------------------------------


def _message(body: AgentTold, width: int) -> Content:
    what = "instructions" if body.role == "system" else _SOURCES.get(body.source, body.source)
    content = " ".join(body.content[: 2 * MOST_MESSAGE].split())
    whole = len(body.content) <= MOST_MESSAGE
    size = "" if whole else f"  ({number_of(len(body.content), 'character')})"
    room = MOST_MESSAGE if whole else max(20, width - len(what) - len(size) - 2)
    return Content.assemble(
        (f"{what}: ", f"bold {_MUTED}"), text.line(content, _MUTED, room), (size, _MUTED)
    )


def _reply(item: AgentItem, body: AgentReplied, width: int) -> list[Content]:
    blocks = [_rule(_used(body), item, width)]
    calls = calls_in(body)
    # Of a reply that is one call as JSON, only the thought is shown beside the call.
    reply = body.content if body.tool_calls or not calls else _thought(body.content)
    if reply.strip():
        more = f"\n… {number_of(len(reply), 'character')} in all" if len(reply) > MOST_REPLY else ""
        blocks.append(Content.assemble(text.block(reply[:MOST_REPLY].strip()), (more, _MUTED)))
    blocks += [Content.assemble(("→ ", "bold $accent"), written_call(call)) for call in calls]
    if not blocks[1:]:
        blocks.append(Content.styled("(empty reply)", _MUTED))
    if body.truncated:
        blocks.append(Content.styled("cut off: it went on for too long", "$text-warning"))
    return blocks


def _used(body: AgentReplied) -> str:
    usage = body.usage
    parts = [f"{usage.total_tokens:,} tokens" + (" (estimated)" if usage.estimated else "")]
    if usage.cost is not None:
        parts.append(f"${usage.cost:.4f}")
    parts.append(f"{body.seconds:.1f} s")
    return " · ".join(parts)


def _result(body: AgentTold, width: int) -> list[Content]:
    lines = list(_result_lines(body.content))
    mark, style = ("← ", "$accent") if body.ok else ("✗ ", "bold $text-error")
    shown = lines[:RESULT_LINES]
    left = len(lines) - len(shown)
    parts: list[Content | tuple[str, str]] = [(mark, style), text.line(body.tool or "", "bold")]
    for place, line in enumerate(shown):
        parts.append("  " if place == 0 else "\n  ")  # type: ignore[arg-type]
        room = max(
            20, 2 * width if not body.ok else width - (len(body.tool or "") + 5) * (not place) - 2
        )
        parts.append(text.line(line, _MUTED if body.ok else "$text-error", room))
    if left > 0:
        parts.append((f"\n  … {number_of(left, 'more line')}", _MUTED))
    return [Content.assemble(*parts)]


def _result_lines(content: str) -> Iterator[str]:
    """A result in short, without the fence and what is left of the budget, for a person."""
    for line in content.splitlines():
        if line.startswith(_FENCE) or not line.strip() or line.startswith("Left: "):
            continue
        try:
            found = read_json(line)
        except ValueError:
            found = None
        yield _datum(found) if isinstance(found, dict) else " ".join(line[:500].split())


def _datum(data: Mapping[str, Any]) -> str:
    """A line of data in words: whose text, or the parts one after another."""
    written = data.get("text")
    if isinstance(written, str):
        alpha = f" α {data['alpha']}" if data.get("alpha") else ""
        return f"{data.get('side', '')}{alpha}: {' '.join(written[:500].split())}"
    parts = []
    for name, value in data.items():
        listed = isinstance(value, list)
        parts.append(f"{name} {' '.join(map(str, value[:12])) if listed else value}")
    return " ".join("  ".join(parts)[:500].split())


def _failed(body: AgentRequestFailed, width: int) -> list[Content]:
    after = "given up" if body.retry_in is None else f"tried again after {body.retry_in:.1f} s"
    return [
        Content.assemble(
            ("! ", "bold $text-warning"),
            text.line(f"attempt {body.attempt}, {body.error}: ", "bold"),
            text.line(body.message, "", 2 * width),
            (f"  ({after})", _MUTED),
        )
    ]


def _report(item: AgentItem, body: ReportSubmitted, width: int) -> list[Content]:
    sure = "" if body.confidence is None else f", {body.confidence:.0%} sure"
    blocks = [_rule(f"final report{sure}", item, width)]
    if body.summary:
        blocks.append(text.block(body.summary, "bold"))
    blocks.append(text.block(body.description[:MOST_REPLY]))
    if body.evidence:
        blocks.append(text.line("rests on " + ", ".join(body.evidence), _MUTED))
    if body.form == "text":
        blocks.append(Content.styled("written without the tool for it", _MUTED))
    return blocks


def _grade(item: AgentItem, body: GradeGiven, look: Look) -> list[Content]:
    most = " of 5" if body.grader == "report" else ""
    score = "unscored" if body.score is None else f"{body.score:g}{most}"
    edits = f", replaces {body.replaces}" if body.replaces else ""
    stands = ", replaced since" if look.replaced else ""
    return [
        Content.assemble(
            (f"{clean_line(body.grade_id)} ", f"bold {_MUTED}" if look.replaced else "bold"),
            (score, _MUTED if look.replaced else "bold"),
            " by ",
            _by(item),
            text.line(f" ({body.rubric} {body.rubric_version}{edits}{stands}): ", _MUTED),
            text.line(body.reason, _MUTED if look.replaced else ""),
        )
    ]


# --- parts ----------------------------------------------------------------------------------


def _rule(label: str, item: AgentItem, width: int) -> Content:
    left = Content.assemble(
        (shorten(actor_name(item.actor), 30), "bold $accent"), (f" {item.at:%H:%M:%S} ", _MUTED)
    )
    right = Content.styled(f" {shorten(label, max(0, width - left.cell_length - 4))}", _MUTED)
    rule = "─" * max(1, width - left.cell_length - right.cell_length)
    return Content.assemble(left, (rule, _MUTED), right).truncate(width)


def _by(item: AgentItem) -> Content:
    return Content.styled(shorten(actor_name(item.actor), 30), "bold")


def _because(reason: str) -> Content:
    return Content.assemble(": ", text.block(reason)) if reason else Content()


def _thought(content: str) -> str:
    try:
        found = read_json(content.strip().removeprefix("```json").removesuffix("```"))
    except ValueError:
        return ""
    thought = found.get("thought") if isinstance(found, dict) else None
    return thought if isinstance(thought, str) else ""
