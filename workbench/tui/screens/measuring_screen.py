"""Operations without a pane on the audit screen: forms, runs and findings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from textual import work

from workbench.operations import OPERATIONS
from workbench.operations.difference import MEASURE
from workbench.operations.jobs import Job
from workbench.operations.running import Arguments, Operation
from workbench.store.state import SessionState
from workbench.tui import keys, text
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.dialogs.leads import ChosenLead
from workbench.tui.measure_render import findings
from workbench.tui.offered import missing, offered
from workbench.tui.operation_fields import sees_truth
from workbench.tui.screens.agent_screen import AgentScreen
from workbench.tui.screens.measures import MeasuresScreen
from workbench.tui.screens.operation_form import OperationForm

# Settings of a measurement that the next measures start with.
_SAME_TEXTS = ("positions", "corpus", "text_column", "bos")


class MeasuringScreen(AgentScreen):
    """A screen with forms for operations, and a list of their findings."""

    def __init__(self) -> None:
        super().__init__()
        self._drafts: dict[str, dict[str, str]] = {}

    def can_run(self, operation: Operation[Any]) -> str:
        """Return what is missing for the operation, empty if it can be run."""
        return missing(operation, self.opened.shown, has_pair=self.has_pair())

    @abstractmethod
    def has_pair(self) -> bool:
        """True if a pair is loaded or being loaded."""

    @abstractmethod
    def place(self) -> Mapping[str, str]:
        """Return the settings of the panes, by name of an argument."""

    @abstractmethod
    def order(self, operation: Operation[Any], arguments: Arguments) -> None:
        """Run an operation."""

    @abstractmethod
    def state_lead(self, chosen: ChosenLead) -> None:
        """Ask for the hypothesis that a lead of a finding is stated as."""

    def offered(self) -> list[Operation[Any]]:
        """Return the operations that can be run now."""
        return [operation for operation in offered() if not self.can_run(operation)]

    @work
    async def action_measures(self, chosen: int | None = None) -> None:
        """Open the screen of measures."""
        while True:
            screen = MeasuresScreen(
                self.opened.shown,
                lambda: self.app.call_later(self.run_action, "stop_job"),
                has_pair=self.has_pair(),
                chosen=chosen,
            )
            screen.show_jobs(self.jobs_shown())
            wanted = await self.app.push_screen_wait(screen)
            if wanted is None:
                return
            if isinstance(wanted, ChosenLead):
                self.state_lead(wanted)
                return
            await self._ask_and_run(OPERATIONS[wanted])
            chosen = None

    @work
    async def action_operate(self, name: str, chosen: str = "") -> None:
        """Ask for the settings of an operation and run it.

        The field ``chosen`` is what the pane has selected, whatever was typed in it before.
        """
        self._drafts.get(name, {}).pop(chosen, None)
        await self._ask_and_run(OPERATIONS[name])

    async def _ask_and_run(self, operation: Operation[Any]) -> None:
        if lacks := self.can_run(operation):
            self.notify(lacks, title=operation.title, severity="warning", markup=False)
            return
        draft = self._drafts.setdefault(operation.name, {})
        form = OperationForm(operation, known_values(self.opened.shown) | dict(self.place()), draft)
        arguments = await self.app.push_screen_wait(form)
        if arguments is not None and await self._may_see_truth(arguments):
            self.order(operation, arguments)

    async def _may_see_truth(self, arguments: Arguments) -> bool:
        """Ask before ground truth is shown to a person who has not seen it."""
        from workbench.blinding.seal import has_seen_truth

        if not sees_truth(arguments) or has_seen_truth(self.opened.state):
            return True
        question = text.block(
            "This compares with the finetuning documents of the model, and shows words of them.\n\n"
            "You will no longer be a blind auditor of this pair; the session records that."
        )
        return await self.app.push_screen_wait(Confirm(question, "Compare and show it", "Not yet"))

    # --- telling ----------------------------------------------------------------------------

    def jobs_shown(self) -> list[Job]:
        """Return the running and waiting jobs, redacted in a blind session."""
        hiding = self.opened.redactor.hiding
        return [replace(job, stage=hiding(job.operation)(job.stage)) for job in self.opened.jobs()]

    def update_measures(self, state: SessionState) -> None:
        """Show another state on the open screen of measures."""
        for screen in self._open_measures():
            screen.update_state(state, has_pair=self.has_pair())

    def show_measuring_jobs(self, jobs: list[Job]) -> None:
        """Show the jobs on the open screen of measures."""
        for screen in self._open_measures():
            screen.show_jobs(jobs)

    def notify_of_finding(self, job: Job) -> None:
        """Notify of a finding that no pane shows, unless the screen of measures is open."""
        if job.operation.place != "form" or self._open_measures():
            return
        found = [
            known.body for known in findings(self.opened.shown) if known.operation_id == job.id
        ]
        news = f"{found[-1].label}: {found[-1].short()}" if found else "done"
        shows = f": {keys.shown('measures')} shows it" if found else ""
        title = f"{job.operation.title}{shows}"
        self.notify(text.line(news).plain, title=title, timeout=10, markup=False)

    def _open_measures(self) -> list[MeasuresScreen]:
        return [screen for screen in self.app.screen_stack if isinstance(screen, MeasuresScreen)]


def known_values(state: SessionState) -> dict[str, str]:
    """Return the settings of the last measurement that the next measures start with."""
    for made in reversed(list(state.operations.values())):
        if made.name == MEASURE.name and made.status == "finished":
            known = {name: made.arguments.get(name) for name in _SAME_TEXTS}
            known["layers"] = ", ".join(map(str, made.arguments.get("layers") or ()))
            return {name: str(value) for name, value in known.items() if value}
    return {}
