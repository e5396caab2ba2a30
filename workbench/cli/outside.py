"""The command `mcp`: an audit by an agent that runs elsewhere."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import typer
from pydantic import Field

from adl.errors import AdlError, install_extra
from adl.words import plain_number
from workbench.cli.agent_arguments import AuditArguments
from workbench.cli.derived import arguments_from, made, option_name
from workbench.cli.options import (
    SessionOptions,
    measure_arguments,
    options_from,
    pair_arguments,
    working_options,
)
from workbench.cli.output import reported_errors
from workbench.cli.running import Work, working_session
from workbench.operations.difference import MeasureArguments
from workbench.operations.pair import PairArguments
from workbench.store.agent_events import ApprovalAsked
from workbench.store.slices.agents import AgentState

if TYPE_CHECKING:
    from workbench.outside.audit import OutsideAudit

_BUDGET = dict.fromkeys(("interactions", "calls", "seconds"), "Budget")
_NAMES = {"approval": "approve"}


class McpArguments(AuditArguments):
    """The options of an outside agent's audit; the tokens of its model are not known here."""

    calls: int = Field(
        200, ge=1, description="Calls of tools the agent may make; each counts as a reply."
    )
    seconds: float = Field(
        14_400.0, ge=0, allow_inf_nan=False, description="Seconds the agent may work."
    )


class McpMissing(AdlError):
    """The MCP SDK is not installed."""


@options_from(
    pair=pair_arguments,
    measure=measure_arguments,
    where=working_options,
    wanted=arguments_from(McpArguments, leave_out=("tokens",), names=_NAMES, panels=_BUDGET),
)
def mcp(
    pair: PairArguments, measure: MeasureArguments, where: SessionOptions, wanted: McpArguments
) -> None:
    """Serve the agent's tools to another program, over stdio (Model Context Protocol)."""
    from workbench.cli.auditing import refuse_difference_options

    with reported_errors():
        refuse_difference_options(wanted, measure)
        try:
            from workbench.outside.server import serve
        except ModuleNotFoundError as exc:
            if exc.name is None or exc.name.split(".")[0] not in {"mcp", "mcp_types"}:
                raise
            raise McpMissing(
                "the MCP server needs the package `mcp`", f"Install it: {install_extra('mcp')}."
            ) from None
    with working_session(where, "outside agent", blind=wanted.blind) as work:
        begun = None
        if work.has_session:
            from workbench.outside.audit import unfinished

            begun = unfinished(work.session.state)
        if begun is not None:
            wanted = going_on(wanted, begun)
            refuse_difference_options(wanted, measure)
        serve(_Host(work, pair, measure, wanted, begun), work.flag)


def going_on(wanted: McpArguments, begun: AgentState) -> McpArguments:
    """Return the arguments with the mode of an audit that is gone on with.

    Raises ``BadParameter`` for a mode, a budget or an approval that was given and is not the audit's:
    it goes on by what it began with.
    """
    start = begun.start.body
    own = {**start.budgets, "mode": start.mode.replace("_", "-"), "approval": begun.policy}

    def written(values: Mapping[str, Any], fields: Iterable[str]) -> str:
        shown = {name: values[name] for name in fields}
        return ", ".join(
            f"{option_name(name, _NAMES)} "
            f"{plain_number(value) if isinstance(value, float) else value}"
            for name, value in shown.items()
        )

    given = wanted.model_dump(include=wanted.model_fields_set)
    others = [name for name in own if name in given and given[name] != own[name]]
    if others:
        raise typer.BadParameter(
            f"{written(given, others)}: the audit {begun.id} goes on with {written(own, others)}, as "
            "it began: leave it out"
        )
    return made(McpArguments, given | {"mode": own["mode"]}, **_NAMES)


class _Host:
    """The session that is served; the pair is loaded with the first call that needs it."""

    def __init__(
        self,
        work: Work,
        pair: PairArguments,
        measure: MeasureArguments,
        wanted: McpArguments,
        begun: AgentState | None = None,
    ) -> None:
        from workbench.agent import older_rules, prompts
        from workbench.cli.auditing import agent_mode
        from workbench.outside.audit import opening_of

        self.mode = agent_mode(wanted.mode)
        self.is_older = begun is not None and older_rules.are_of(begun.start.body.settings)
        recorded = opening_of(begun, "system") if begun is not None else ""
        self.instructions = recorded or prompts.system_prompt(self.mode)
        self._work = work
        self._pair = pair
        self._measure = measure
        self._wanted = wanted
        self._audit: OutsideAudit | None = None
        self._stage = ""
        self._is_loaded = False
        self._beginning = threading.Lock()

    def audit(self, client: str, ask: Callable[[ApprovalAsked], tuple[bool, str]]) -> OutsideAudit:
        """Load the pair, compute what the agent is shown, and begin the audit."""
        with self._beginning:
            if self._audit is None:
                self._audit = self._begin(client, ask)
                self._stage = ""
            return self._audit

    def leave(self, reason: str) -> None:
        """Wait for the end of what is being done, and record that the client is gone."""
        with self._beginning:
            if self._audit is not None:
                self._audit.leave(reason)

    def session_text(self) -> str:
        """Return the session as JSON."""
        from workbench.agent.evidence import measured_layers

        assert self._audit is not None
        state, audit = self._work.session.state, self._audit.state
        data = {
            "session": state.session_id,
            "agent": audit.id,
            "mode": self.mode,
            "layers": list(measured_layers(state)) if self.mode == "adl" else None,
            "budgets": audit.start.body.budgets,
            "interactions": audit.interactions,
            "calls": audit.replies,
            "hypotheses": [
                {"id": hypothesis.id, "text": hypothesis.text, "status": hypothesis.status}
                for hypothesis in state.hypotheses.values()
            ],
        }
        return self._hidden(json.dumps(data, indent=2, ensure_ascii=False))

    def report_text(self) -> str:
        """Return the report so far, as agents may see it. Raises `AdlError` where it tells the truth."""
        from workbench.agent.quoting import LONGEST_DATA, quoted
        from workbench.report.content import build_report
        from workbench.report.markdown import report_markdown

        session = self._work.session
        if session.state.grades:
            raise AdlError(
                "the report of a graded session is not shown to agents: grades tell the truth",
                "Read the overview and the readings.",
            )
        text = report_markdown(build_report(session.log, session.id, for_agents=True))
        lines = self._hidden(text).splitlines()
        return quoted(lines, longest=4 * LONGEST_DATA)

    def stage(self) -> str:
        """Return what is being done, in a few words."""
        return self._stage

    def hide(self, text: str) -> str:
        """Return a message as the agent may see it: people may see more, once they had names revealed."""
        from workbench.blinding.seal import blinding_in

        hidden = self._work.hide(text)
        if not self._work.has_session:
            return hidden
        return blinding_in(self._work.session.state).hide_words(hidden)

    def _hidden(self, text: str) -> str:
        from workbench.blinding.aliases import OPEN
        from workbench.blinding.seal import blinding_in

        state = self._work.session.state
        return (blinding_in(state) if state.seal else OPEN).hide_cut(text)

    def _begin(self, client: str, ask: Callable[[ApprovalAsked], tuple[bool, str]]) -> OutsideAudit:
        from workbench.agent.budgets import Budgets
        from workbench.agent.shown_evidence import missing_evidence
        from workbench.blinding.seal import seal
        from workbench.outside.audit import OutsideAudit, OutsidePlan, OutsideSurroundings

        work, wanted = self._work, self._wanted
        if not self._is_loaded:
            self._stage = "loading the models"
            work.load(self._pair, self._measure.layers)
            self._is_loaded = True
        if self.mode == "adl":
            for operation, arguments in missing_evidence(
                work.session.state, work.n_layers, self._measure, n_prompts=wanted.n_prompts
            ):
                self._stage = operation.title
                work.run(operation, arguments)
        blinding = seal(work.session, blind=wanted.blind)
        budgets = Budgets(wanted.interactions, wanted.calls, None, wanted.seconds)
        plan = OutsidePlan(self.mode, budgets, wanted.approval)
        return OutsideAudit.begin(
            work.session, client, plan, blinding, OutsideSurroundings(work.runner, ask, work.flag)
        )
