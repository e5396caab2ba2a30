"""The audit: ask the endpoint, do what it calls, tell it what came of it, until it reports.

Where an audit stands is what its events amount to, and the next step follows from that alone:

    hold          a person paused it or took over
    end           a report is there
    do a call     the last reply has calls without a result
    deliver       a person's message, or what a person did
    ask for the answer     a budget is spent
    ask the endpoint       otherwise

So an audit that was killed goes on where its log ends, and pays for no answer twice.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from adl.callbacks import ShouldStop, never_stop
from adl.errors import AdlError, Stopped
from workbench.agent import older_rules, progress, prompts
from workbench.agent.budgets import Budgets
from workbench.agent.calling import Calls
from workbench.agent.compacting import (
    CHARACTERS_PER_TOKEN,
    compaction,
    is_at_window,
    is_overview,
    is_unread,
)
from workbench.agent.conversation import Sending, n_characters, rendered, turns, unanswered
from workbench.agent.endpoint import Endpoint
from workbench.agent.errors import AgentError, ContextTooLong, OutOfTime
from workbench.agent.exchange import Subject, exchange
from workbench.agent.request import Message, Request
from workbench.agent.runners import Runner, direct
from workbench.agent.supervision import Supervision, Supervisor
from workbench.agent.toolbox import Toolbox
from workbench.agent.tools import (
    OVERVIEW_TOOL,
    PROBES_TOOL,
    REPORT_TOOL,
    Tool,
)
from workbench.blinding.aliases import OPEN, Blinding
from workbench.blinding.seal import blinding_in
from workbench.operations.running import Session
from workbench.settings import DEFAULT_CONTEXT
from workbench.store.agent_events import (
    AgentInterrupted,
    AgentMode,
    AgentNoticed,
    AgentReplied,
    AgentResumed,
    AgentStarted,
    BudgetName,
    Policy,
    ReportSubmitted,
    ToolMode,
)
from workbench.store.errors import SessionOver
from workbench.store.events import SYSTEM, Actor
from workbench.store.slices.agents import AgentState
from workbench.store.state import SessionState

# Asked for its answer so often before what it wrote last is taken for one.
_ANSWER_TRIES = 3
# Replies without a call before a server is taken to have no tools.
_SILENT_REPLIES = 2
_SUGGEST_TRIES = 3
# Replies that were cut off, one after the other, before it makes no sense to go on.
_CUT_OFF_REPLIES = 4
_LONGER_WINDOW = (
    "Give the server a longer window (Ollama: OLLAMA_CONTEXT_LENGTH or num_ctx; llama.cpp: --ctx-size; "
    "vLLM: --max-model-len), or set ADL_WORKBENCH_CONTEXT to what it has."
)


@dataclass(frozen=True)
class AuditPlan:
    """The plan of an agent's audit.

    ``temperature``, ``seed`` and ``max_tokens`` (of one reply) go to the endpoint if it takes them.
    ``context`` is how long the conversation may become, in tokens, before older results of tools
    are sent shortened; None waits for the endpoint to refuse it. ``rules`` is the version of prompts,
    tools and prices: an older one where an audit that began by it is replayed from its cassette.
    """

    model: str
    mode: AgentMode = "adl"
    budgets: Budgets = field(default_factory=Budgets)
    approval: Policy = "never"
    temperature: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    context: int | None = DEFAULT_CONTEXT
    rules: str = prompts.VERSION


@dataclass(frozen=True)
class Surroundings:
    """The surroundings of an audit: runner of operations, supervisor, stop flag."""

    runner: Runner | None = None
    supervisor: Supervisor | None = None
    should_stop: ShouldStop = never_stop


def start_audit(
    session: Session,
    endpoint: Endpoint,
    plan: AuditPlan,
    blinding: Blinding = OPEN,
    surroundings: Surroundings | None = None,
) -> AgentState:
    """Audit from the start to the end; returns how it ended.

    Raises ``EndpointError`` and ``Stopped``, with the audit interrupted and to be resumed.
    """
    run_id = uuid.uuid4().hex[:12]
    session.record(
        AgentStarted(
            run_id=run_id,
            mode=plan.mode,
            model=plan.model,
            endpoint=endpoint.settings.address,
            budgets=plan.budgets.as_dict(),
            approval=plan.approval,
            settings={
                "temperature": plan.temperature,
                "seed": plan.seed,
                "max_tokens": plan.max_tokens,
                "context": plan.context,
                "prompts": plan.rules,
                "blind": bool(blinding),
            },
        ),
        actor=SYSTEM,
    )
    return _Audit(session, endpoint, run_id, blinding, surroundings or Surroundings()).go()


def resume_audit(
    session: Session,
    endpoint: Endpoint,
    *,
    run_id: str | None = None,
    model: str | None = None,
    surroundings: Surroundings | None = None,
) -> AgentState:
    """Go on with an audit from its last event: the one named, or the last that is not over.

    An audit that is over is returned as it is. Raises ``AgentError`` if there is none, and what
    ``start_audit`` raises.
    """
    state = audit_of(session.state, run_id)
    if state.is_over:
        return state
    session.record(
        AgentResumed(
            run_id=state.id, model=model or state.model, endpoint=endpoint.settings.address
        ),
        actor=SYSTEM,
    )
    blinding = blinding_in(session.state) if state.start.body.settings.get("blind") else OPEN
    return _Audit(session, endpoint, state.id, blinding, surroundings or Surroundings()).go()


def audit_of(state: SessionState, run_id: str | None = None) -> AgentState:
    """Return a session's audit: the one named, or the last that is not over, else the last.

    Raises ``AgentError`` if there is none.
    """
    agents = state.agents
    unfinished = [agent.id for agent in agents.values() if not agent.is_over]
    chosen = run_id or next(iter(reversed(unfinished or list(agents))), None)
    if chosen is None or chosen not in agents:
        raise AgentError(
            f"session {state.session_id} has no agent's audit {chosen or ''}".rstrip(),
            f"There are: {', '.join(agents) or 'none'}. `adl-workbench agent run` starts one.",
        )
    return agents[chosen]


class _Audit:
    """One process's work on an audit."""

    def __init__(
        self,
        session: Session,
        endpoint: Endpoint,
        run_id: str,
        blinding: Blinding,
        surroundings: Surroundings,
    ) -> None:
        self._session = session
        self._endpoint = endpoint
        self._id = run_id
        self._blinding = blinding
        self._should_stop = surroundings.should_stop
        self._supervisor = surroundings.supervisor or Supervision(session)
        start = self._state.start.body
        self._mode = start.mode
        self._settings = start.settings
        self._actor = Actor(kind="agent", name=self._state.model)
        # Of the answer asked for at the end, in this process.
        self._answer_by: float | None = None
        self._toolbox = Toolbox(
            session,
            self._mode,
            blinding,
            surroundings.runner or direct(session),
            older=older_rules.are_of(self._settings),
        )
        self._calls = Calls(session, run_id, blinding, self._toolbox, self._supervisor)
        self._budgets = self._calls.budgets

    @property
    def _state(self) -> AgentState:
        return self._session.state.agents[self._id]

    def go(self) -> AgentState:
        """Step after step to the end."""
        self._endpoint.forget()
        try:
            self._open()
            while not self._state.is_over:
                if self._should_stop():
                    raise Stopped("stopped on request")
                self._supervisor.hold(self._id, self._should_stop)
                self._step()
        except Exception as exc:
            message = exc.message if isinstance(exc, AdlError) else str(exc)
            # The end of a session interrupts the agents in it: no more is to be recorded then.
            with suppress(SessionOver):
                self._session.record(
                    AgentInterrupted(run_id=self._id, error=type(exc).__name__, message=message)
                )
            raise
        return self._state

    def _step(self) -> None:
        state = self._state
        if state.report is not None:
            self._end(state)
            return
        asked_for = progress.asked_for_answer(state)
        calls = unanswered(state)
        if calls:
            self._calls.do(calls[0], asked_for, self._should_stop, self._deadline)
            return
        if asked_for is None:
            self._calls.deliver()
            spent = self._budgets.spent(state)
            if spent is not None:
                self._ask_for_answer(spent)
                return
        elif progress.answers_tried(state) >= _ANSWER_TRIES:
            self._end_without_call(state, asked_for)
            return
        self._turn(asked_for is not None)

    # --- messages to the agent -------------------------------------------------------------------

    def _open(self) -> None:
        """Send instructions and overview, except those sent before a kill."""
        sent = len(self._state.messages)
        opening = prompts.opening(
            self._mode, self._budgets.interactions, self._budgets.left(self._state)
        )
        if sent < 1:
            self._calls.tell("system", "opening", prompts.system_prompt(self._mode))
        # Not as the result of a call: the agent made none, and some providers sign theirs.
        overview = self._toolbox.overview() if self._mode == "adl" and sent < 4 else None
        about = None if overview is None else OVERVIEW_TOOL.name
        if sent < 2:
            self._calls.tell("user", "opening", _joined(opening, overview), tool=about)
        elif overview and not any(is_overview(message.body) for message in self._state.messages):
            # An old session that was cut off in its opening.
            self._calls.tell("user", "opening", overview, tool=about)

    def _ask_for_answer(self, spent: BudgetName) -> None:
        self._calls.tell(
            "user",
            "budget",
            f"Your budget is spent ({spent}). Submit your final report now with submit_report: say "
            "what you know and how sure you are.",
            budget=spent,
        )

    # --- the endpoint ----------------------------------------------------------------------------

    def _turn(self, final: bool) -> None:
        tools: Sequence[Tool] = self._toolbox.tools[-1:] if final else self._toolbox.tools
        specifications = [tool.specification() for tool in tools]
        overhead = len(json.dumps(specifications))
        self._compact(overhead)
        state = self._state
        if state.window is not None and progress.cut_off_replies(state) >= _CUT_OFF_REPLIES:
            raise ContextTooLong(
                f"{_CUT_OFF_REPLIES} replies in a row were cut off before they called a tool, the "
                f"last after {state.window} tokens of prompt and reply",
                f"{_LONGER_WINDOW} Then `adl-workbench agent resume`.",
            )
        forced = REPORT_TOOL.name if final else self._first_tool(state)

        def render(mode: ToolMode) -> tuple[Sequence[Message], Sequence[Mapping[str, Any]]]:
            can = self._endpoint.capabilities
            sending = Sending(
                self._endpoint.settings.address, can.own_fields, can.without_fields, can.calls
            )
            return rendered(state, tools, mode, sending), specifications

        request = Request(
            model=state.model,
            render=render,
            forced=forced,
            temperature=self._settings.get("temperature"),
            seed=self._settings.get("seed"),
            max_tokens=self._settings.get("max_tokens"),
            refused={failure.body.request_sha256 for failure in state.failures} - {""},
        )
        try:
            reply = exchange(
                self._session,
                self._endpoint,
                request,
                Subject(self._id),
                actor=self._actor,
                should_stop=self._should_stop,
                deadline=self._deadline(answer=final),
            )
        except OutOfTime:
            spent = progress.asked_for_answer(self._state)
            if spent is None:
                self._ask_for_answer("time")
            else:
                self._end_without_call(self._state, spent)
            return
        except ContextTooLong:
            if self._compact(overhead, refused=True):
                return
            raise
        mode = self._endpoint.tool_mode
        sent = n_characters(render(mode)[0]) + (overhead if mode == "native" else 0)
        self._watch_window(reply, sent)
        last = list(turns(self._state))[-1]
        if not last.calls:
            self._nudge(reply)

    def _deadline(self, *, answer: bool = False) -> float:
        """The time of ``time.monotonic`` at which the time budget is spent."""
        if not answer:
            return time.monotonic() + self._budgets.seconds_left(self._state)
        if self._answer_by is None:
            left = self._budgets.seconds_left(self._state, answer=True)
            self._answer_by = time.monotonic() + left
        return self._answer_by

    def _watch_window(self, reply: AgentReplied, sent: int) -> None:
        """Notice a server that read only a part of what it was sent, or ran out of room to reply."""
        state, usage = self._state, reply.usage
        known = any(notice.notice == "unread" for notice in state.noticed)
        if not known and is_unread(usage, sent):
            self._notice(
                "unread",
                tokens=usage.prompt_tokens,
                message=f"about {sent // CHARACTERS_PER_TOKEN} were sent. {_LONGER_WINDOW}",
            )
        asked = self._endpoint.parameters(
            Request(
                state.model, lambda _mode: ((), ()), max_tokens=self._settings.get("max_tokens")
            )
        )
        most = asked.get("max_tokens", asked.get("max_completion_tokens"))
        if is_at_window(reply, most) or progress.cut_off_replies(state) > 1:
            tokens = usage.total_tokens
            if tokens != state.window:
                self._notice("window", tokens=tokens, message="a reply was cut off there")

    def _notice(self, notice: str, **more: Any) -> None:
        self._session.record(
            AgentNoticed.model_validate({"run_id": self._id, "notice": notice, **more})
        )

    def _compact(self, overhead: int, *, refused: bool = False) -> bool:
        """Have older messages sent shortened, if there is need and room for it; whether it was."""
        limit = self._settings.get("context")
        found = compaction(self._state, limit, overhead, refused=refused)
        if found is not None:
            self._session.record(found)
        return found is not None

    def _first_tool(self, state: AgentState) -> str | None:
        probed = any(call.body.tool == PROBES_TOOL.name for call in state.calls)
        if self._mode == "scaffolded" and not probed and state.replies < _SUGGEST_TRIES:
            return PROBES_TOOL.name
        return None

    def _nudge(self, reply: AgentReplied) -> None:
        """A reply without a call: say what is missing, once it is known how calls are made here."""
        if (
            self._endpoint.settings.tools == "auto"
            and self._endpoint.tool_mode == "native"
            and not progress.ever_called(self._state)
            and progress.silent_replies(self._state) >= _SILENT_REPLIES
        ):
            self._endpoint.use_json_tools()
            self._notice(
                "without",
                feature="native tools",
                message=f"{_SILENT_REPLIES} replies called none",
            )
        reminder = prompts.NO_CALL if self._endpoint.tool_mode == "native" else prompts.NO_JSON
        if reply.truncated or reply.finish_reason == "length":
            reminder = prompts.LONG_REPLY + " " + reminder
        self._calls.tell("user", "nudge", reminder)

    # --- the end ---------------------------------------------------------------------------------

    def _end_without_call(self, state: AgentState, spent: BudgetName) -> None:
        """It never used the tool: what it wrote last is its answer, if it wrote anything."""
        written = progress.last_written(state)
        if written:
            self._session.record(
                ReportSubmitted(
                    run_id=self._id,
                    summary="",
                    description=self._blinding.reveal(written[:20_000]),
                    form="text",
                ),
                actor=self._actor,
            )
        self._calls.end(spent, "" if written else "it gave no answer when asked for one")

    def _end(self, state: AgentState) -> None:
        self._calls.end(progress.asked_for_answer(state) or "report")


def _joined(*parts: str | None) -> str:
    return "\n\n".join(part for part in parts if part)
