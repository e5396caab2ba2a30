"""The audit screen's part for its agent pane: forms, control of the agent, and grades."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual import on, work

from adl.errors import AdlError
from workbench.engine.agent_request import look_up_endpoint
from workbench.store.errors import StoreError
from workbench.store.events import Actor
from workbench.store.slices.agents import history
from workbench.tui import text
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.dialogs.grade_form import GivenGrade, GradeForm, GradeSheet
from workbench.tui.panes.agent.pane import AgentPane
from workbench.tui.screens.agent_form import AgentForm
from workbench.tui.screens.linked_screen import LinkedScreen

if TYPE_CHECKING:
    from workbench.operations.running import Session

GRADING = "grading a report"


class AgentScreen(LinkedScreen):
    """A screen over a live session with an agent pane."""

    @on(AgentPane.LookUp)
    async def _look_up(self, message: AgentPane.LookUp) -> None:
        message.stop()
        facts = await asyncio.to_thread(look_up_endpoint)
        self.query_one(AgentPane).show_endpoint(facts)

    # --- starting and going on --------------------------------------------------------------

    @on(AgentPane.Begin)
    def _begin(self, message: AgentPane.Begin) -> None:
        message.stop()
        self._ask_and_start(message.draft)

    @work
    async def _ask_and_start(self, draft: dict[str, str]) -> None:
        from workbench.agent.shown_evidence import missing_evidence

        facts = await asyncio.to_thread(look_up_endpoint)
        state = self.opened.state
        n_layers = state.pair.get("n_layers") if state.pair else None
        titles = [operation.title.lower() for operation, _ in missing_evidence(state, n_layers)]
        is_blind = bool(state.seal and state.seal.body.aliases)
        form = AgentForm(draft, facts, missing=titles, is_blind=is_blind)
        wish = await self.app.push_screen_wait(form)
        if wish is not None:
            try:
                await asyncio.to_thread(self.opened.start_agent, wish)
            except (AdlError, RuntimeError) as exc:
                self.say_problem(exc, "The agent did not start")

    @on(AgentPane.Resume)
    async def _resume(self, message: AgentPane.Resume) -> None:
        message.stop()
        try:
            await asyncio.to_thread(self.opened.resume_agent, message.run_id)
        except (AdlError, RuntimeError) as exc:
            self.say_problem(exc, "The agent did not go on")

    # --- the person's hand ------------------------------------------------------------------

    @on(AgentPane.Handle)
    def _handle(self, message: AgentPane.Handle) -> None:
        message.stop()
        agent = self.opened.agent
        person, detail, call_id = agent.person, message.detail, message.call_id
        try:
            match message.hand:
                case "pause":
                    person.pause()
                case "go_on":
                    person.go_on()
                case "take_over":
                    person.take_over()
                case "hand_back":
                    person.hand_back(detail)
                case "policy":
                    person.set_policy(detail)  # type: ignore[arg-type]
                case "message":
                    person.message(detail)
                case "approve":
                    person.approve(call_id, detail)
                case "refuse":
                    person.refuse(call_id, detail)
                case "stop":
                    agent.stop()
        except (AdlError, StoreError) as exc:
            self.say_problem(exc, "Nothing was done")

    # --- grades -----------------------------------------------------------------------------

    @on(AgentPane.Grade)
    def _grade_asked(self, message: AgentPane.Grade) -> None:
        message.stop()
        self._grade(message.run_id, message.edits)

    @work
    async def _grade(self, run_id: str, edits: str | None) -> None:
        """Show report, ground truth and rubric, and record the person's grade."""
        from workbench.agent import grading

        session = self.opened.session
        try:
            organism = await self._organism(session)
            if organism is None or not await self._may_unblind():
                return
            author = self._last_author()
            sheet = await asyncio.to_thread(_sheet, session, run_id, edits, organism, author)
            # The truth may be seen now; names stay hidden until they are revealed.
            form = GradeForm(self.opened.redactor.record(sheet))
            given: GivenGrade | None = await self.app.push_screen_wait(form)
            if given is None:
                return
            person = Actor(kind="human", name=given.author)
            if edits is not None:
                await asyncio.to_thread(
                    grading.edit_grade, session, edits, given.score, given.reason, person
                )
            elif given.score is not None:
                await asyncio.to_thread(
                    grading.grade_by_hand,
                    session,
                    given.score,
                    given.reason,
                    person,
                    run_id=run_id,
                    organism=organism,
                )
        except (AdlError, StoreError) as exc:
            self.say_problem(exc, "Nothing was graded")

    async def _organism(self, session: Session) -> str | None:
        """Return the audited organism: from the session, or named by the person."""
        from workbench.blinding.seal import find_organism
        from workbench.organisms import known_organisms

        sealed = session.state.seal.body.organism if session.state.seal else None
        found = await asyncio.to_thread(find_organism, session.state, sealed)
        if found is not None:
            return found.id
        known = ", ".join(organism.id for organism in await asyncio.to_thread(known_organisms))
        return await self.app.push_screen_wait(
            AskLine("Whose truth is the report graded against?", hint=f"Organisms: {known}")
        )

    async def _may_unblind(self) -> bool:
        """Ask a person who has not seen the ground truth whether to go on; a yes is recorded."""
        from workbench.blinding.seal import has_seen_truth

        if has_seen_truth(self.opened.state):
            return True
        question = text.block(
            "Grading shows what the model was in fact finetuned to do.\n\n"
            "From then on you are no blind auditor of this pair, and the session records that."
        )
        return await self.app.push_screen_wait(Confirm(question, "Show it and grade", "Not yet"))

    def _last_author(self) -> str:
        people = [
            grade.actor.name for grade in self.opened.state.grades if grade.actor.kind == "human"
        ]
        return people[-1] if people else ""


def _sheet(
    session: Session, run_id: str, edits: str | None, organism: str, author: str
) -> GradeSheet:
    """Return the material of a grade; records that the truth was shown. Raises ``AdlError``."""
    from workbench.agent.grading import check_editable, find_run
    from workbench.agent.rubrics import RUBRICS
    from workbench.blinding.seal import unseal

    state = session.state
    before = history(state.grades, edits) if edits is not None else ()
    if before:
        check_editable(before[-1].body)
    found, truth = unseal(session, Actor(kind="human", name=author), GRADING, organism)
    if before:
        run_id = before[-1].body.subject.partition(":")[2]
    report = find_run(session, run_id).report
    report_text = (
        "" if report is None else f"{report.body.summary}\n{report.body.description}".strip()
    )
    return GradeSheet(
        report=report_text,
        family=str(found.family),
        levels=RUBRICS[found.family].levels,
        truth=truth.description,
        facts=truth.key_facts,
        before=before,
        author=author,
    )
