"""The lines above an agent's turns: its name, its status, its budgets, and requests to the person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from textual.content import Content

from workbench.agent.budgets import budget_in_words
from workbench.display import clean_line, shorten
from workbench.engine.agent_request import EndpointFacts
from workbench.engine.agent_runner import WorkStatus
from workbench.store.slices.agents import AgentState
from workbench.tui import text
from workbench.tui.keys import shown
from workbench.tui.panes.agent.render import call_words
from workbench.tui.panes.agent.turns import under_way
from workbench.tui.request_form import MODES
from workbench.tui.widgets.bars import bar

_MUTED = "$foreground-muted"
_BAR = 6
#: At this many cells or more the budgets fit on one line.
_ONE_LINE = 106


@dataclass(frozen=True)
class Place:
    """The place of the run that is shown among all runs, from 1."""

    number: int
    count: int


def title(agent: AgentState, place: Place, blind: bool, width: int) -> Content:
    """Return the agent's mode, model and endpoint, and its number among several."""
    start = agent.start.body
    others = f"{shown('older')} and {shown('newer')} go to others"
    several = f" ({place.number} of {place.count}, {others})" if place.count > 1 else ""
    mode = MODES[start.mode] + (" agent" if start.mode == "adl" else "")
    parts: list[Content | tuple[str, str]] = [
        (mode, "bold $accent"),
        text.line(f"  {agent.model}", "bold", 40),
        text.line(f" at {start.endpoint}", _MUTED),
        ("  blind" if blind else "", "bold"),
        (several, _MUTED),
    ]
    return Content.assemble(*parts).truncate(max(1, width))


def standing(agent: AgentState, work: WorkStatus, now: datetime) -> Content:
    """Return the run's status as a sign and a word."""
    sign, style, status = _standing(agent, work, now)
    asks = {"never": "never asks", "spending": "asks before spending", "always": "asks always"}
    policy = "" if agent.is_over else f"  ·  {asks[agent.policy]}"
    return Content.assemble(
        (f"{sign} ", f"bold {style}"), text.line(status, f"bold {style}"), (policy, _MUTED)
    )


def _standing(agent: AgentState, work: WorkStatus, now: datetime) -> tuple[str, str, str]:
    if agent.status == "ended":
        stopped_by = budget_in_words(agent.stopped_by or "")
        by = "its report" if stopped_by == "report" else f"a spent budget: {stopped_by}"
        return "✓", "$text-success", f"ended by {by}"
    if agent.status == "interrupted":
        return "✗", "$text-error", "interrupted"
    if not work.is_busy:
        return "○", "", "at work in another process"
    if work.phase == "stopping":
        return "○", "$text-warning", "stopping"
    if agent.asked is not None:
        return "?", "$text-warning", "approval needed"
    if agent.status == "paused":
        return "‖", "$text-warning", "paused"
    if agent.status == "taken_over":
        return "◆", "$text-warning", "you have taken over"
    return "●", "$accent", doing(agent, now)


def doing(agent: AgentState, now: datetime) -> str:
    """Return the current activity of a running agent."""
    if agent.growing:
        return "writes"
    last = agent.messages[-1] if agent.messages else None
    failed = agent.failures[-1] if agent.failures else None
    if failed is not None and (last is None or failed.seq > last.seq):
        left = (failed.body.retry_in or 0.0) - (now - failed.at).total_seconds()
        if left > 0:
            return f"waits {left:.0f} s, then asks the endpoint again"
    call = under_way(agent)
    if call is not None and last is not None:
        return f"calls {clean_line(call.name)[:40]}"
    return "waits for the endpoint"


def budgets(agent: AgentState, seconds: float, width: int) -> Content:
    """Return a bar and numbers for each budget, and the cost."""
    given = agent.start.body.budgets
    spent = [
        _spent("interactions", agent.interactions, given.get("interactions")),
        _spent("replies", agent.replies, given.get("calls")),
        _spent("tokens", agent.tokens, given.get("tokens")),
        _time(seconds, given.get("seconds")),
    ]
    spent_in_all = agent.whole_cost
    cost = "price not known" if spent_in_all is None else f"${spent_in_all:.4f}"
    last = Content.styled(cost, _MUTED if spent_in_all is None else "")
    if width >= _ONE_LINE:
        return Content("  ").join([*spent, last])
    left = max(label.cell_length for label in (spent[0], spent[2]))
    rows = [
        Content.assemble(one, " " * (left - one.cell_length + 2), other)
        for one, other in ((spent[0], spent[1]), (spent[2], spent[3]))
    ]
    return Content("\n").join([rows[0], Content.assemble(rows[1], "  ", last)])


def _spent(name: str, value: float, most: float | None) -> Content:
    amounts = f"{_short(value)}/{'no limit' if most is None else _short(most)}"
    return _budget(name, value, most, amounts)


def _time(seconds: float, most: float | None) -> Content:
    amounts = f"{_clock(seconds)}/{'no limit' if most is None else _clock(most)}"
    return _budget("time", seconds, most, amounts)


def _budget(name: str, value: float, most: float | None, amounts: str) -> Content:
    share = 0.0 if most is None else 1.0 if most <= 0 else value / most
    style = "$text-warning" if most is not None and share >= 1 and most > 0 else "$accent"
    return Content.assemble(
        (f"{name} ", _MUTED), (bar(share, _BAR), f"{style} on $panel"), f" {amounts}"
    )


def _short(value: float) -> str:
    if value < 10_000:
        return f"{value:.0f}"
    return f"{value / 1_000:.0f}k" if value < 1e6 else f"{value / 1e6:.1f}M"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


# --- what a person is to do -----------------------------------------------------------------


def banner(agent: AgentState, work: WorkStatus, width: int, *, resumes: bool) -> Content | None:
    """Return what a person can do about the status, None if nothing is needed.

    ``resumes`` is True if the key that goes on with a run acts on this one.
    """
    if work.phase == "preparing":
        preparing = Content.assemble(
            ("● ", "bold $accent"), text.line(f"Preparing: {work.doing}.", "bold")
        )
        return Content.assemble(preparing, " The agent begins when that is done.")
    if agent.status == "interrupted":
        why = agent.problem or "its process ended before it did"
        if work.problem is not None:
            why = str(work.problem)
        if not resumes:
            return text.problem(why)
        return Content.assemble(
            text.problem(why),
            "\n",
            *keys(("play", "resumes from here: no answered request is sent again")),
        )
    if agent.asked is not None and work.is_busy:
        asked = agent.asked.body
        left = agent.start.body.budgets.get("interactions")
        spends = ""
        if asked.spends:
            of = "" if left is None else f" of {max(0, int(left) - agent.interactions)} left"
            spends = f"  spends {asked.spends}{of}"
        return Content.assemble(
            ("May it call ", "bold"),
            call_words(asked.tool, asked.arguments).truncate(max(20, 3 * width), ellipsis=True),
            (spends, "bold"),
            "\n",
            *keys(
                ("accept", "approve"), ("decline", "refuse"), ("settings", "ask me less or more")
            ),
        )
    if agent.status == "taken_over":
        return Content.assemble(
            "You work in its place, in any pane. ",
            *keys(("hand_over", "hands back, with a list of what you did")),
        )
    if agent.status == "paused":
        return Content.assemble(
            *keys(("play", "goes on"), ("write_to", "writes to it"), ("hand_over", "takes over"))
        )
    if work.problem is not None and not work.is_busy:
        return text.problem(str(work.problem))
    return None


def keys(*pairs: tuple[str, str]) -> list[Content]:
    """Return keys, given by their ids in the table of keys, with what they do."""
    return [
        Content.assemble((f" {shown(key)} ", "bold reverse"), f" {does}   ") for key, does in pairs
    ]


def no_agent(work: WorkStatus, facts: EndpointFacts | None) -> Content:
    """Return the text before there is an agent: how to start one, and what is missing for it."""
    parts: list[Content] = []
    if work.phase == "preparing":
        preparing = f"Preparing: {work.doing}. The agent begins when that is done.\n\n"
        parts.append(
            Content.assemble(("● ", "bold $accent"), text.line(preparing.strip(), "bold"), "\n\n")
        )
    if work.problem is not None:
        parts.append(Content.assemble(text.problem(str(work.problem)), "\n\n"))
    if not work.is_busy:
        parts.append(
            Content.assemble(
                "No agent has run in this session yet. ",
                *keys(("new", "starts one")),
                "\nIt uses the same operations as you. Its messages, replies and calls are listed here "
                "and in the timeline.\n\n",
            )
        )
    parts.append(setup(facts))
    return Content.assemble(*parts)


def setup(facts: EndpointFacts | None) -> Content:
    """Return the endpoint's settings and how to set the missing ones. No API key is ever shown."""
    if facts is None:
        return Content.styled("looking at the settings", _MUTED)
    if facts.trouble:
        return text.problem(facts.trouble)
    key = "set" if facts.has_key else "not set" if facts.needs_key else "not set, and not needed"
    lines = [
        _fact("endpoint", text.line(facts.address)),
        _fact("key", Content.styled(key, "" if facts.is_ready else "bold $text-error")),
        _fact(
            "model", text.line(facts.model) if facts.model else Content.styled("not set", "bold")
        ),
    ]
    if not facts.is_ready or not facts.model:
        lines.append(Content())
    where = shorten(clean_line(facts.config_file), 200)
    if not facts.is_ready:
        lines += [
            Content("No API key is set. Before the start of the workbench, in the shell:"),
            Content.styled("  export OPENAI_API_KEY=...", "bold"),
            Content("or, for a server of your own that needs none:"),
            Content.styled("  export OPENAI_BASE_URL=http://localhost:8000/v1", "bold"),
            Content.assemble("or now, as api_key or base_url in ", (where, "bold")),
        ]
    if not facts.model:
        lines += [
            Content.assemble(
                "The model is asked for when an agent is started; to set it once: ",
                ("ADL_WORKBENCH_AGENT_MODEL", "bold"),
                ", or agent_model in ",
                (where, "bold"),
            )
        ]
    return Content("\n").join(lines)


def _fact(name: str, value: Content) -> Content:
    return Content.assemble((f"{name:<10}", _MUTED), value)
