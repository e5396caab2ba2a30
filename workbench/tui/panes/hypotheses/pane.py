"""Hypotheses of what the finetuning was for, with the evidence for and against each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.widgets import Static

from adl.paths import expanded
from workbench.display import clean_line, clean_lines, shorten
from workbench.operations.experiment_arguments import JudgeAnswerArguments
from workbench.operations.hypotheses import (
    ADD_HYPOTHESIS,
    RANK,
    REVISE,
    SET_VERDICT,
    UNMARK,
    PassageArguments,
    RankArguments,
    ReviseArguments,
    SetVerdictArguments,
    UnmarkArguments,
    passed_test,
)
from workbench.operations.jobs import Job
from workbench.operations.running import Arguments, Operation
from workbench.operations.testing import JUDGE_ANSWER, TEST
from workbench.private_files import new_text
from workbench.store.events import Bearing, EvidenceMarked, Verdict
from workbench.store.state import HypothesisState, SessionState
from workbench.tui import keys
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.dialogs.hypothesis_tests import (
    HypothesisTests,
    JudgeAnswers,
    tests_of,
    waiting_answers,
)
from workbench.tui.dialogs.leads import ChosenLead
from workbench.tui.dialogs.reason import AskReason
from workbench.tui.linking import link_anew
from workbench.tui.panes.hypotheses.drafts import Drafts
from workbench.tui.panes.hypotheses.evidence import EvidenceList
from workbench.tui.panes.hypotheses.form import Draft, HypothesisForm, revised, stated
from workbench.tui.panes.hypotheses.history import HypothesisHistory
from workbench.tui.panes.hypotheses.listing import HypothesisList
from workbench.tui.panes.hypotheses.orders import PendingOrders
from workbench.tui.panes.hypotheses.render import (
    all_text,
    evidence_lines,
    evidence_text,
    excerpt,
    history,
    hypothesis_text,
    place,
)
from workbench.tui.text import actor_name
from workbench.tui.widgets.pane import Pane

#: Cells from which on evidence is shown beside the hypotheses, and lines from which on the selected
#: mark is shown in full below it.
_WIDE, _TALL = 100, 18
_MARK_SHOWN = 600
#: Seconds that keys wait for a new hypothesis. It is there in some hundredths, unless a long job that
#: needs no model is ahead of it.
_SOON = 2.0


class HypothesesPane(Pane):
    """Hypotheses by rank, and the evidence for and against the selected one."""

    TITLE: ClassVar[str] = "Hypotheses"
    SHORT: ClassVar[str] = "Hyp"
    HELP: ClassVar[str] = """
Hypotheses about the purpose of the finetuning, the likeliest first. The sign is the verdict: `?` open,
`✓` confirmed, `✗` rejected. The bar and the percentage are its author's confidence, not a measurement;
`+` and `−` count the pieces of evidence for and against it.

The lower list has the evidence of the selected hypothesis, then the marks that are not linked to it.
`{tests}` tests the selected hypothesis: both models answer prompts that would show it, prompts that should
not, and neutral ones, and the answers are judged without knowing which model wrote them. Only a passed
test confirms it by itself. Without a passed test, or against one, your verdict stands, and is shown as
yours.
`{mark}` on a token, a text or an event marks it as evidence; Enter on evidence goes back there.
`{measures}` has the leads of scans and other measures: `{new}` there states one as a hypothesis.
Every change is kept with its author and reason, and `{detail}` shows them.
"""
    LOOKS: ClassVar[frozenset[str]] = frozenset(
        {"history", "tests", "copy", "write", "to_hypotheses", "to_evidence"}
    )
    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("hypotheses")
    DEFAULT_CSS = """
    HypothesesPane #split { layout: vertical; height: 1fr; }
    HypothesesPane HypothesisList { height: 1fr; width: 1fr; }
    HypothesesPane #evidence { height: 1fr; width: 1fr; }
    HypothesesPane EvidenceList { height: 1fr; }
    HypothesesPane #mark { display: none; height: auto; max-height: 6;
        border-top: solid $panel-lighten-2; }
    HypothesesPane.-tall #mark { display: block; }
    HypothesesPane.-wide #split { layout: horizontal; }
    HypothesesPane.-wide #evidence { padding-left: 2; }
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._selected: str | None = None
        self._evidence: str | None = None
        self._drafts = Drafts()
        self._orders = PendingOrders()
        self._added_at: float | None = None
        self._judged: set[str] = set()
        self._available: tuple[bool, ...] = ()

    def compose(self) -> ComposeResult:
        """Hypotheses, and evidence below or beside them."""
        with Container(id="split"):
            yield HypothesisList(recorded=self.recorded)
            with Vertical(id="evidence"):
                yield EvidenceList()
                yield Static(id="mark")

    def focus_pane(self) -> None:
        """Focus the hypotheses."""
        self.query_one(HypothesisList).focus()

    # --- what is shown ----------------------------------------------------------------------

    def show(self, state: SessionState, before: SessionState) -> None:
        """Redraw the lists if a hypothesis, the ranking or a mark changed."""
        if state.ranking != before.ranking:
            self._orders.came_true(state.ranking)
        if (
            state.hypotheses is not before.hypotheses
            or state.ranking is not before.ranking
            or state.evidence is not before.evidence
            or state.experiments is not before.experiments
        ):
            self._select_new(state, before)
            self._draw()
        for screen in self.app.screen_stack:
            if isinstance(screen, HypothesisTests):
                screen.call_later(screen.update_state, state)

    def _select_new(self, state: SessionState, before: SessionState) -> None:
        """Select a hypothesis that the person just added."""
        if self._added_at is None:
            return
        for hypothesis in reversed(list(state.hypotheses.values())):
            if hypothesis.id not in before.hypotheses and hypothesis.actor.kind == "human":
                self._selected = hypothesis.id
                self._added_at = None
                return

    @property
    def awaits_selection(self) -> bool:
        """True until a hypothesis that the person adds is selected; not long, if it has to wait."""
        return self._added_at is not None and time.monotonic() - self._added_at < _SOON

    def give_up(self, operation: Operation[Any], arguments: Arguments) -> None:
        """Keep the selection: the hypothesis was not added."""
        if operation.name == ADD_HYPOTHESIS.name:
            self._added_at = None

    def _draw(self) -> None:
        ranked = self.state.ranked()
        if self._selected not in self.state.hypotheses:
            self._selected = ranked[0].id if ranked else None
        draft = self._drafts.over("", {}).get("text", "").strip()
        self.query_one(HypothesisList).set_items(ranked, self._selected, draft)
        self._draw_evidence()

    def _draw_evidence(self) -> None:
        lines = evidence_lines(self.state, self._hypothesis())
        self.query_one(EvidenceList).set_lines(lines, self._evidence)
        self._show_mark()

    def _show_mark(self) -> None:
        """Show the selected mark in full, and offer the keys that it takes."""
        line = self.query_one(EvidenceList).selected
        if line is not None:
            self._evidence = line.id
        strip = self.query_one("#mark", Static)
        if line is None:
            hint = "nothing is marked so far"
            if not self.recorded:
                key = keys.shown("mark")
                hint = f"nothing is marked yet: {key} marks a token, a text or an event as evidence"
            strip.update(Content.styled(hint, "$foreground-muted"))
        else:
            strip.update(_mark_in_full(line.mark.body, actor_name(line.mark.actor, short=True)))
        available = (self._hypothesis() is not None, line is not None, self._bearing() is not None)
        if available != self._available:
            self._available = available
            self.refresh_bindings()

    def on_resize(self, event: events.Resize) -> None:
        """Show evidence beside the hypotheses, and marks in full, where there is room."""
        width, height = event.size
        self.update_classes({"-wide": width >= _WIDE, "-tall": height >= _TALL})

    def start_over(self) -> None:
        """Select nothing."""
        self._selected = self._evidence = None
        super().start_over()

    def reveal(self, seq: int) -> bool:
        """Select the hypothesis or the mark that the event created or changed."""
        for evidence_id, mark in self.state.evidence.items():
            if mark.seq == seq:
                self._show_evidence(evidence_id)
                return True
        for hypothesis in self.state.hypotheses.values():
            for recorded in hypothesis.history:
                if recorded.seq == seq:
                    self._selected = hypothesis.id
                    self._draw()
                    return True
        if 0 < seq <= len(self.state.timeline):
            return self.state.timeline[seq - 1].kind == "hypotheses_ranked"
        return False

    def _show_evidence(self, evidence_id: str) -> None:
        linked = [
            hypothesis.id
            for hypothesis in self.state.ranked()
            if evidence_id in hypothesis.evidence
        ]
        if linked and self._selected not in linked:
            self._selected = linked[0]
        self._evidence = evidence_id
        self._draw()

    # --- kept when the session is left --------------------------------------------------------

    def view(self) -> dict[str, Any]:
        """The selection, and drafts that were not saved."""
        return {
            "selected": self._selected,
            "evidence": self._evidence,
            "drafts": self._drafts.as_data(),
        }

    def restore(self, view: dict[str, Any]) -> None:
        """Restore what still exists."""
        selected, evidence = view.get("selected"), view.get("evidence")
        if isinstance(selected, str):
            self._selected = selected
        if isinstance(evidence, str):
            self._evidence = evidence
        self._drafts.restore(view.get("drafts"), self.state.hypotheses)
        self._draw()

    # --- what is selected -------------------------------------------------------------------

    @property
    def selected(self) -> str | None:
        """Id of the selected hypothesis."""
        return self._selected

    def _hypothesis(self) -> HypothesisState | None:
        return self.state.hypotheses.get(self._selected or "")

    def _mark(self) -> EvidenceMarked | None:
        line = self.query_one(EvidenceList).selected
        return None if line is None else line.mark.body

    def _bearing(self) -> Bearing | None:
        """The bearing of the selected evidence on the selected hypothesis, None without a link."""
        hypothesis, mark = self._hypothesis(), self._mark()
        return (
            None
            if hypothesis is None or mark is None
            else hypothesis.evidence.get(mark.evidence_id)
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable the keys that need a missing selection."""
        if not self.offers(action):
            return False
        if not self.query(EvidenceList):
            # One that goes loses its parts before itself, and is asked until the end.
            return True
        if action == "tests":
            hypothesis = self._hypothesis()
            tested = hypothesis is not None and bool(tests_of(self.state, hypothesis.id))
            return (tested if self.recorded else hypothesis is not None) or None
        if action in {"revise", "judge", "rank", "history"}:
            return self._hypothesis() is not None or None
        if action == "link" and parameters == ("none",):
            return self._bearing() is not None or None
        if action == "link":
            return (self._hypothesis() is not None and self._mark() is not None) or None
        if action == "unmark":
            return self._mark() is not None or None
        return True

    def on_hypothesis_list_moved(self, event: HypothesisList.Moved) -> None:
        """Show the evidence of the hypothesis."""
        event.stop()
        if self._bearing() is not None:
            # It belongs to the hypothesis that is left; a mark yet to be linked stays selected.
            self._evidence = None
        self._selected = event.hypothesis_id
        self._draw_evidence()

    @on(HypothesisList.Chosen, "HypothesisList")
    def _hypothesis_chosen(self, event: HypothesisList.Chosen) -> None:
        """Show the history of the hypothesis."""
        event.stop()
        self.action_history()

    @on(EvidenceList.Moved, "EvidenceList")
    def _evidence_moved(self, event: EvidenceList.Moved) -> None:
        """Show the mark in full."""
        event.stop()
        self._show_mark()

    @on(EvidenceList.Chosen, "EvidenceList")
    def _evidence_chosen(self, event: EvidenceList.Chosen) -> None:
        """Go to what the mark points at."""
        event.stop()
        if (mark := self._mark()) is not None:
            self.post_message(self.Jump(mark.of_seq))

    def action_to_hypotheses(self) -> None:
        """Give the keys to the hypotheses."""
        self.query_one(HypothesisList).focus()

    def action_to_evidence(self) -> None:
        """Give the keys to the evidence."""
        self.query_one(EvidenceList).focus()

    # --- adding and changing ----------------------------------------------------------------

    def action_add(self) -> None:
        """Ask for a new hypothesis."""
        self._ask_for_new("", {})

    def state_lead(self, chosen: ChosenLead) -> None:
        """Ask for the wording of a hypothesis from a lead, which is marked and linked to it."""
        lead = chosen.lead
        mark = PassageArguments(seq=chosen.seq, excerpt=lead.excerpt, label=lead.label)
        self._ask_for_new(f"{chosen.seq} {lead.claim}", {"text": lead.claim}, mark)

    def _ask_for_new(
        self, key: str, unchanged: Draft, lead: PassageArguments | None = None
    ) -> None:
        def done(arguments: Any) -> None:
            if arguments is not None:
                self._added_at = time.monotonic()
                self.submit(ADD_HYPOTHESIS, arguments.model_copy(update={"lead": lead}))
                self._drafts.forget(key)
            self._draw()

        form = HypothesisForm(
            "New hypothesis",
            self._drafts.over(key, unchanged),
            stated,
            self._drafts.keeper(key, unchanged),
            asks_why=False,
        )
        self.app.push_screen(form, done)

    def action_revise(self) -> None:
        """Edit the selected hypothesis."""
        hypothesis = self._hypothesis()
        if hypothesis is None:
            return
        current = {
            "text": hypothesis.text,
            "confidence": ""
            if hypothesis.confidence is None
            else f"{100 * hypothesis.confidence:g}%",
            "reason": "",
        }

        def make(draft: Draft) -> ReviseArguments:
            return revised(hypothesis, draft)

        def done(arguments: Any) -> None:
            if arguments is not None:
                self.submit(REVISE, arguments)
                self._drafts.forget(hypothesis.id)

        form = HypothesisForm(
            f"Revise {clean_line(hypothesis.id)}",
            self._drafts.over(hypothesis.id, current),
            make,
            self._drafts.keeper(hypothesis.id, current),
            asks_why=True,
        )
        self.app.push_screen(form, done)

    def action_rank(self, step: int) -> None:
        """Move the selected hypothesis up or down by one."""
        hypothesis = self._hypothesis()
        if hypothesis is None:
            return
        order = self._orders.moved([it.id for it in self.state.ranked()], hypothesis.id, step)
        if order is not None:
            self.submit(RANK, RankArguments(order=order))

    def action_judge(self, verdict: Verdict) -> None:
        """Confirm the selected hypothesis, reject it or open it again."""
        hypothesis = self._hypothesis()
        if hypothesis is None:
            return
        if hypothesis.verdict == verdict:
            self.notify(f"{clean_line(hypothesis.id)} is {verdict} already.", markup=False)
            return
        self._ask_why(hypothesis, verdict)

    def _ask_why(self, hypothesis: HypothesisState, verdict: Verdict) -> None:
        """Ask for the reason of a verdict, and give it on the words that were shown alone."""

        def done(reason: str | None) -> None:
            if reason is None:
                return
            now = self.state.hypotheses.get(hypothesis.id, hypothesis)
            if now.text == hypothesis.text:
                self._judge(hypothesis.id, verdict, reason)
                return
            self.notify(
                f"The wording of {clean_line(hypothesis.id)} was changed meanwhile: read it again.",
                severity="warning",
                markup=False,
            )
            self._ask_why(now, verdict)

        about = Content.styled(shorten(clean_lines(hypothesis.text[:_MARK_SHOWN]), 400))
        if verdict == "confirmed":
            about = Content.assemble(about, (self._warnings(hypothesis), "bold $text-warning"))
        asked = {"confirmed": "Confirm {}", "rejected": "Reject {}", "open": "Open {} again"}
        title = asked[verdict].format(clean_line(hypothesis.id))
        self.app.push_screen(AskReason(title, about), done)

    def _warnings(self, hypothesis: HypothesisState) -> str:
        """The objections to a confirmation, one per line."""
        warnings = ""
        if "for" not in hypothesis.evidence.values():
            warnings += "\n! No marked evidence speaks for it yet."
        if not passed_test(self.state, hypothesis):
            key = keys.shown("tests")
            warnings += (
                "\n! Without a passed test your verdict stands, and is shown as yours. "
                f"{key} tests it."
            )
        return warnings

    def show_jobs(self, jobs: Sequence[Job]) -> None:
        """Offer answers again whose verdicts were refused or failed."""
        if not any(job.operation.name == JUDGE_ANSWER.name for job in jobs):
            self._judged.clear()

    def _judge(self, hypothesis: str, verdict: Verdict, reason: str) -> None:
        self.submit(
            SET_VERDICT, SetVerdictArguments(hypothesis=hypothesis, verdict=verdict, reason=reason)
        )

    # --- testing --------------------------------------------------------------------------------

    def action_tests(self) -> None:
        """Show the tests of the selected hypothesis, or ask for the first."""
        hypothesis = self._hypothesis()
        if hypothesis is None:
            return
        if not tests_of(self.state, hypothesis.id):
            self._ask_for_test()
            return

        def done(wanted: str | None) -> None:
            if wanted == "new":
                self._ask_for_test()
            elif wanted is not None:
                self._judge_answers(wanted)

        self.app.push_screen(
            HypothesisTests(hypothesis.id, self.state, recorded=self.recorded), done
        )

    def _ask_for_test(self) -> None:
        self.call_later(self.run_action, f"screen.operate('{TEST.name}', 'hypothesis')")

    def _judge_answers(self, experiment: str) -> None:
        known = self.state.experiments.get(experiment)
        answers = [] if known is None else waiting_answers(known, self.state)
        # Verdicts that are not in the log yet.
        answers = [answer for answer in answers if answer.text_id not in self._judged]
        if known is None or not answers:
            return

        def judge(text_id: str, shows: bool | None) -> None:
            self._judged.add(text_id)
            arguments = JudgeAnswerArguments(experiment=experiment, text_id=text_id, shows=shows)
            self.submit(JUDGE_ANSWER, arguments)

        self.app.push_screen(
            JudgeAnswers(
                f"Does the answer show it? ({clean_line(experiment)})",
                known.sealed.body.hypothesis,
                answers,
                judge,
            )
        )

    def action_link(self, bearing: Bearing) -> None:
        """Set the bearing of the selected evidence on the selected hypothesis."""
        hypothesis, mark = self._hypothesis(), self._mark()
        if hypothesis is not None and mark is not None:
            link_anew(self, hypothesis, mark.evidence_id, bearing)

    def action_unmark(self) -> None:
        """Remove the selected mark."""
        mark = self._mark()
        if mark is None:
            return

        def done(reason: str | None) -> None:
            if reason is not None:
                self.submit(UNMARK, UnmarkArguments(evidence=mark.evidence_id, reason=reason))

        title = f"Take the mark {clean_line(mark.evidence_id)} back"
        self.app.push_screen(AskReason(title, Content(excerpt(mark, 400))), done)

    # --- reading and taking along ---------------------------------------------------------------

    def action_history(self) -> None:
        """Show every event of the selected hypothesis."""
        hypothesis = self._hypothesis()
        if hypothesis is not None:
            title = f"History of {clean_line(hypothesis.id)}"
            self.app.push_screen(HypothesisHistory(title, list(history(self.state, hypothesis))))

    def action_copy(self) -> None:
        """Copy the selected evidence if it has the focus, else the selected hypothesis."""
        line = self.query_one(EvidenceList).selected
        hypothesis = self._hypothesis()
        if line is not None and self.query_one(EvidenceList).has_focus:
            self.app.copy_to_clipboard(evidence_text(line.mark))
            self.notify(f"Copied {clean_line(line.id)}.", markup=False)
        elif hypothesis is not None:
            self.app.copy_to_clipboard(hypothesis_text(self.state, hypothesis))
            self.notify(f"Copied {clean_line(hypothesis.id)} with its evidence.", markup=False)

    def action_write(self) -> None:
        """Write all hypotheses to a file."""
        asked = AskLine("Write the hypotheses to a file (Markdown)", "hypotheses.md")
        self.app.push_screen(asked, self._write)

    def _write(self, written: str | None) -> None:
        if not written:
            return
        path = expanded(written).absolute()
        try:
            with new_text(path) as file:
                file.write(all_text(self.state))
        except FileExistsError:
            message = f"{path} exists already. Choose another file name."
            self.notify(clean_line(message), severity="error", markup=False)
        except (OSError, ValueError) as exc:
            self.notify(clean_line(f"{path}: {exc}"), severity="error", markup=False)
        else:
            self.notify(clean_line(f"Wrote {path}"), markup=False)


def _mark_in_full(mark: EvidenceMarked, by: str) -> Content:
    words = shorten(clean_lines(mark.excerpt[:_MARK_SHOWN]).strip(), _MARK_SHOWN)
    if mark.token_id is not None:
        words = excerpt(mark)
    where = ", ".join(place(mark, f"marked by {by}"))
    return Content.assemble((where, "$foreground-muted"), "\n", (words, "bold"))
