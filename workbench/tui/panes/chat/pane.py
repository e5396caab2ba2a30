"""Questions to both models, with their answers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError
from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static, TextArea

from adl.errors import AdlError
from adl.paths import expanded
from adl.records import Side
from adl.words import number_of
from workbench.display import clean_lines
from workbench.fields import in_words
from workbench.operations.generation import ASK, AskArguments
from workbench.operations.hypotheses import MARK
from workbench.operations.jobs import Job
from workbench.operations.pair import LOAD
from workbench.operations.running import Arguments, Operation
from workbench.question_sets import sets_file
from workbench.store.kl_reference import kl_reference
from workbench.store.state import SessionState
from workbench.tui import keys, text
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.dialogs.question_sets import QuestionSets
from workbench.tui.panes.chat.chosen import ChosenAnswers
from workbench.tui.panes.chat.draft import Draft, Sent
from workbench.tui.panes.chat.export import write_conversation
from workbench.tui.panes.chat.field import ProbeField
from workbench.tui.panes.chat.form import ChatForm, measured_places
from workbench.tui.panes.chat.marks import evidence_of_texts, mark_arguments
from workbench.tui.panes.chat.render import TWO_COLUMNS, DrawnTurns, Look, nothing_asked
from workbench.tui.panes.chat.settings import ProbeSettings
from workbench.tui.panes.chat.turns import Turn, Turns
from workbench.tui.widgets.pane import Pane
from workbench.tui.widgets.virtual_list import Block, Flow

#: Keys that type text while a field has the focus.
_OF_CONVERSATION = frozenset(
    {"write", "new", "follow", "edit", "again", "side", "sample", "mark", "steer", "copy", "export"}
)


class Conversation(Flow):
    """The list of turns; the pane has the keys for the turn under the cursor."""


class ChatPane(Pane):
    """Probes, both answers to each, where they part, and the field for the next."""

    TITLE: ClassVar[str] = "Chat"
    SHORT: ClassVar[str] = "Chat"
    HELP: ClassVar[str] = """
Every question goes to the base and to the finetuned model with the same seed, so that differences
between the answers come from the finetuning. `Enter` goes to the field, where `Enter` sends and
`Escape` goes back.

`▸` marks where the answers part; the common beginning is muted. The **token** named is the first that
differs. **KL** (finetuned from base, in nats) measures at each token of the finetuned answer how far the
two models' predictions are apart, both unsteered: 0 is agreement, above 1 they expect different words.
The bars follow the answer; a full bar is its greatest KL, or 1 nat if that is more.

A **follow-up** sends the conversation so far to both models. It continues one answer, that of the side
marked `●`: `{side}` changes the side, `Left` and `Right` the sample. An **edit** asks an earlier question
again with its settings. **Raw text** is continued without a chat template. **Steering** adds the
measured difference, alpha times the residual norm, to both models.

Copies and files show control characters as visible marks. The session keeps the original text.
"""
    LOOKS: ClassVar[frozenset[str]] = frozenset({"side", "sample", "copy", "export"})
    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("chat")
    DEFAULT_CSS = """
    ChatPane #status { height: auto; max-height: 4; }
    ChatPane.-short #status { max-height: 1; }
    ChatPane.-tiny #draft { display: none; }
    ChatPane.-tiny ProbeField { max-height: 1; }
    ChatPane #draft { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._turns = Turns()
        self._drawn = DrawnTurns()
        self._evidence: dict[str, str] = {}
        self._chosen = ChosenAnswers()
        self._stages: dict[str, str] = {}
        self._settings = ProbeSettings()
        self._draft = Draft()
        self._loading = False
        self._writing = False
        self._out: list[Sent] = []
        self._sent: Sent | None = None
        self._marking: tuple[str, str] = ("", "")

    def compose(self) -> ComposeResult:
        """Compose the conversation, the status line and the field."""
        yield Conversation(self._draw_turn)
        yield Static(id="status")
        yield Static(id="draft")
        yield ProbeField(
            on_send=self._send,
            history=self._questions,
            placeholder="Ask both models. Enter sends, Ctrl+J begins a new line.",
            id="field",
        )

    def on_mount(self) -> None:
        """Draw the empty pane."""
        for part in ("#draft", "#field"):
            self.query_one(part).set_class(self.recorded, "-gone")
        self._show_status("")
        self._show_count()
        self._show_draft()

    # --- what is shown ----------------------------------------------------------------------

    def show(self, state: SessionState, before: SessionState) -> None:
        """Redraw the turns in view that changed, and follow the newest."""
        if state.evidence is not before.evidence:
            self._evidence = evidence_of_texts(state)
        changed = (
            state.operations is not before.operations
            or state.texts is not before.texts
            or len(state.comparisons) != len(before.comparisons)
            or state.evidence is not before.evidence
            or state.pair is not before.pair
            or state.measures is not before.measures
        )
        if changed:
            self._turns.take(state)
            self._follow_what_was_sent()
            self._show_count()

    def show_jobs(self, jobs: Sequence[Job]) -> None:
        """Show the waiting probes and the progress of the running one."""
        loading = any(job.operation is LOAD for job in jobs)
        stages = {
            job.id: f"{job.stage} {job.done}/{job.total}" if job.total else job.stage
            for job in jobs
            if job.operation.name == ASK.name and job.stage
        }
        for sent in self._out:
            sent.take_jobs(jobs)
        self._follow_what_was_sent()
        if self._turns.take_jobs(jobs) or stages != self._stages or loading != self._loading:
            self._stages, self._loading = stages, loading
            self._show_count()

    def _show_count(self, *, follow: bool = False) -> None:
        flow = self.query_one(Conversation)
        flow.set_count(len(self._turns), follow=follow)
        if not self._turns:
            flow.show_when_empty(
                Content("Nothing was asked so far.")
                if self.recorded
                else nothing_asked(self.state, loading=self._loading)
            )

    def _draw_turn(self, index: int, width: int) -> list[Block]:
        turn: Turn = self._turns[index]
        texts = [text for side in turn.sides for text in turn.answers.get(side, ())]
        ids = [text.start.body.text_id for text in texts]
        parent = self._turns.parent(turn)
        before = None if parent is None else self._turns.find(parent.probe)
        look = Look(
            width=width,
            side=self._chosen.side,
            sample=self._chosen.sample(turn),
            marked=tuple(
                (text_id, self._evidence[text_id]) for text_id in ids if text_id in self._evidence
            ),
            follows=None if parent is None or before is None else (before.number, parent),
            stage=self._stages.get(turn.id, ""),
            reference=kl_reference(self.state),
            recorded=self.recorded,
        )
        return self._drawn.blocks(turn, look)

    def _redraw(self) -> None:
        self._show_count()
        self._show_draft()

    def _show_draft(self) -> None:
        """Show the context and the settings of the probe in the field."""
        draft, turns = self._draft, self._turns
        raw = draft.is_raw(self._settings, turns)
        what = "New question" if self._sent is None else "Follow-up to what was just asked"
        self.query_one("#draft", Static).update(
            Content.assemble(
                (draft.in_words(turns) or what, "bold $accent"),
                "  ",
                text.line(self._settings.in_short(raw=raw), "$foreground-muted"),
            )
        )

    def _show_status(self, message: str, *, problem: bool = False) -> None:
        line = self.query_one("#status", Static)
        line.display = bool(message)
        if message:
            shown = text.line(f"! {message}" if problem else message, width=600)
            line.update(shown.stylize("bold $text-error" if problem else "$text-success"))

    # --- where one is -----------------------------------------------------------------------

    def focus_pane(self) -> None:
        """Focus the field or the conversation, whichever had the focus last."""
        (self._field if self._writing else self.query_one(Conversation)).focus()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Remember which part has the focus."""
        self._writing = event.widget is self._field

    def start_over(self) -> None:
        """Show the first answer of each probe."""
        self._chosen.start_over()
        super().start_over()

    def reveal(self, seq: int) -> bool:
        """Go to a probe, an answer or a comparison."""
        found = self._turns.at(seq)
        place = None if found is None else self._turns.place(found.probe)
        if found is None or place is None:
            return False
        self._chosen.choose(found)
        self._writing = False
        self._redraw()
        self.query_one(Conversation).go_to(place)
        return True

    def view(self) -> dict[str, Any]:
        """Return the draft, the settings and the turn under the cursor."""
        turn = self._current()
        return {
            "written": self._field.value,
            "draft": self._draft.as_data(),
            "settings": self._settings.as_data(),
            "turn": None if turn is None else turn.id,
            **self._chosen.as_data(),
            "writing": self._writing,
        }

    def restore(self, view: dict[str, Any]) -> None:
        """Restore the draft, the settings and the turn."""
        written, probe = view.get("written"), view.get("turn")
        if isinstance(written, str):
            self._field.load(written)
        self._draft = Draft.from_data(view.get("draft"))
        self._settings = ProbeSettings.from_data(view.get("settings"))
        self._chosen.restore(view)
        self._writing = view.get("writing") is True
        self._redraw()
        place = self._turns.place(probe) if isinstance(probe, str) else None
        if place is not None:
            self.query_one(Conversation).go_to(place)

    @property
    def _field(self) -> ProbeField:
        return self.query_one("#field", ProbeField)

    def _current(self) -> Turn | None:
        cursor = self.query_one(Conversation).cursor
        return self._turns[cursor] if cursor < len(self._turns) else None

    # --- asking -----------------------------------------------------------------------------

    def _send(self) -> None:
        if self._sent is not None:
            self._show_status(
                "what this follows was just asked: send again when it is there", problem=True
            )
            return
        written = self._field.value
        arguments = self._arguments(self._draft, written)
        if arguments is not None and self._ask(arguments):
            self._field.load("")
            sent = Sent(arguments, written, self._draft)
            self._out.append(sent)
            # A conversation goes on; what is asked on its own leaves the field for the next probe.
            if arguments.messages or self._draft.follows is not None:
                self._sent = sent
            self._draft = Draft()
            self._redraw()

    def _arguments(self, draft: Draft, written: str) -> AskArguments | None:
        """Return the arguments for sending ``written``; None if a problem is shown instead."""
        try:
            return draft.arguments(written, self._settings, self._turns)
        except AdlError as error:
            self._show_status(str(error), problem=True)
        except ValidationError as error:
            self._show_status(in_words(error, AskArguments), problem=True)
        return None

    def _ask(self, arguments: AskArguments) -> bool:
        if self.state.pair is None and not self._loading:
            self._show_status("no model pair is loaded: load one first, then send", problem=True)
            return False
        self._show_status("")
        self.submit(ASK, arguments)
        self.query_one(Conversation).go_to_end()
        return True

    def _questions(self) -> list[str]:
        """Return the distinct questions of the session, the newest first."""
        asked = (
            operation.arguments.get("prompt")
            for operation in reversed(list(self.state.operations.values()))
            if operation.name == ASK.name
        )
        return list(dict.fromkeys(text for text in asked if isinstance(text, str) and text))

    def action_question_set(self) -> None:
        """Choose a saved set of questions, and send all of it."""
        self.app.push_screen(QuestionSets(sets_file(), self._questions()[::-1]), self._send_set)

    def _send_set(self, questions: list[str] | None) -> None:
        for question in questions or ():
            arguments = self._arguments(Draft(), question)
            if arguments is None or not self._ask(arguments):
                return

    def _follow_what_was_sent(self) -> None:
        turn = None if self._sent is None else self._sent.turn(self._turns)
        self._out = [sent for sent in self._out if sent.turn(self._turns) is None]
        if turn is not None:
            self._sent = None
            if self._draft == Draft():
                self._draft = Draft(follows=replace(self._chosen.answer(turn), sample=0))
            self._show_draft()

    def give_up(self, operation: Operation[Any], arguments: Arguments) -> None:
        """Give back a probe that was not asked, and say that an answer was not marked."""
        for sent in [sent for sent in self._out if sent.arguments is arguments]:
            self._give_back(sent)
        marking, answer_name = self._marking
        if operation.name == MARK.name and getattr(arguments, "text_id", None) == marking:
            self._show_status(f"{answer_name} was not marked", problem=True)

    def _give_back(self, sent: Sent) -> None:
        self._out.remove(sent)
        self._sent = None if self._sent is sent else self._sent
        if self._field.value:
            self._show_status(f"not asked: {sent.written}", problem=True)
        else:
            self._field.load(sent.written)
            self._draft = sent.draft
        self._show_draft()

    @on(TextArea.Changed, "#field")
    def _written(self) -> None:
        self._show_status("")

    # --- keys -------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable letter keys in the field, and keys for a turn while there is none."""
        if not self.offers(action):
            return False
        if action == "leave":
            return self._writing
        return not (self._writing and action in _OF_CONVERSATION)

    def action_leave(self) -> None:
        """Focus the conversation."""
        self.screen.set_focus(self.query_one(Conversation))

    def action_write(self) -> None:
        """Focus the field."""
        self.screen.set_focus(self._field)

    def action_new(self) -> None:
        """Write a probe that follows nothing."""
        self._change_draft(Draft())
        self.screen.set_focus(self._field)

    def action_follow(self) -> None:
        """Follow up the answer of this turn."""
        turn = self._current()
        if turn is not None:
            self._change_draft(Draft(follows=self._chosen.answer(turn)))
            self.screen.set_focus(self._field)

    def action_edit(self) -> None:
        """Load this turn's probe and settings into the field."""
        turn = self._current()
        if turn is None:
            return
        try:
            self._settings = ProbeSettings.of(turn.arguments)
        except ValidationError as error:
            self._show_status(
                f"this question cannot be asked anew: {in_words(error)}", problem=True
            )
            return
        if turn.system is not None:
            self._settings = self._settings.model_copy(update={"system": turn.system})
        self._settings = self._settings.model_copy(update={"prefill": turn.prefill})
        self._field.load(turn.probe)
        self._change_draft(Draft(edits=turn.id))
        self.screen.set_focus(self._field)
        if self._field.shows_marks:
            self._show_status(
                "Shown with marks for its control characters; sent as it was if not changed."
            )

    def action_again(self) -> None:
        """Ask this again with new seeds."""
        turn = self._current()
        if turn is None:
            return
        try:
            asked = AskArguments.model_validate(turn.arguments)
            again = asked.model_copy(update={"seed": asked.seed + asked.n_samples})
        except ValidationError as error:
            self._show_status(
                f"this question cannot be asked again: {in_words(error)}", problem=True
            )
            return
        self._ask(again)

    def action_side(self) -> None:
        """Select the other model's answer."""
        self._chosen.choose_other_side()
        if self._draft.follows is not None:
            self._draft = Draft(follows=replace(self._draft.follows, side=self._chosen.side))
        self._redraw()

    def action_sample(self, step: int) -> None:
        """Show the next sample of this turn."""
        turn = self._current()
        if turn is not None and turn.n_samples > 1:
            self._chosen.choose_next_sample(turn, step)
            follows = self._draft.follows
            if follows is not None and follows.probe == turn.id:
                self._draft = Draft(follows=replace(follows, sample=self._chosen.sample(turn)))
            self._redraw()

    def action_next_draft(self) -> None:
        """Cycle the context of the probe: none, base's answer, finetuned's answer."""
        turn = self._current()
        follows = self._draft.follows
        if turn is None or (follows is not None and follows.side == "finetuned"):
            self._change_draft(Draft())
            return
        self._chosen.side = "base" if follows is None else "finetuned"
        self._change_draft(Draft(follows=self._chosen.answer(turn)))

    def _change_draft(self, draft: Draft) -> None:
        self._show_status("")
        self._sent = None
        self._draft = draft
        self._redraw()

    def action_steer(self) -> None:
        """Switch steering of the next answers on or off."""
        steering = not self._settings.steering
        self._settings = self._settings.model_copy(update={"steering": steering})
        self._show_draft()
        if steering and not self.state.differences:
            self._show_status(
                f"no difference is measured yet to steer with: {keys.shown('audit')} measures it",
                problem=True,
            )

    def action_prefill(self) -> None:
        """Edit the prefill of the answers."""
        self._open_form("prefill")

    def action_settings(self, first: str = "system") -> None:
        """Edit the settings of probes, starting at a field."""
        self._open_form(first)

    @work
    async def _open_form(self, begin: str) -> None:
        form = ChatForm(self._settings, measured=measured_places(self.state), begin=begin)
        settings = await self.app.push_screen_wait(form)
        if settings is not None:
            self._settings = settings
            self._show_status("")
            self._show_draft()

    def action_mark(self) -> None:
        """Mark an answer as evidence."""
        turn = self._current()
        if turn is None:
            return
        chosen = self._chosen.answer(turn)
        answer = turn.answer(chosen.side, chosen.sample)
        answer_name = f"{chosen.side}'s answer to {turn.number}"
        if answer is None or answer.status == "growing" or not answer.text:
            self._show_status(
                f"{answer_name} cannot be marked: there is no finished text", problem=True
            )
            return
        text_id = answer.start.body.text_id
        if text_id in self._evidence:
            self._show_status(f"{answer_name} is marked already: {self._evidence[text_id]}")
            return
        try:
            arguments = mark_arguments(turn, chosen, answer)
        except ValidationError as error:
            self._show_status(f"{answer_name} cannot be marked: {in_words(error)}", problem=True)
            return
        self._marking = (text_id, answer_name)
        self.submit(MARK, arguments)
        self._show_status(f"{answer_name} is marked as evidence.")

    def action_copy(self) -> None:
        """Copy an answer to the clipboard of the terminal."""
        turn = self._current()
        if turn is None:
            return
        chosen = self._chosen.answer(turn)
        answer = turn.answer(chosen.side, chosen.sample)
        if answer is None or not answer.text:
            self._show_status(f"{chosen.side} has not answered {turn.number}", problem=True)
            return
        self.app.copy_to_clipboard(clean_lines(answer.text))
        self._show_status(
            f"Copied {chosen.side}'s answer to {turn.number}, {number_of(len(answer.text), 'character')}."
        )

    @work
    async def action_export(self) -> None:
        """Write the conversation up to this turn to a file."""
        turn = self._current()
        if turn is None:
            return
        title = f"Write the conversation up to turn {turn.number} to"
        name = await self.app.push_screen_wait(AskLine(title, f"chat-{turn.number}.md"))
        if name is None:
            return
        self._write(turn, Path(name))

    def _write(self, turn: Turn, path: Path) -> None:
        chain = self._turns.chain(turn)
        path = expanded(path).absolute()
        try:
            write_conversation(
                path, f"{self.state.name}, turn {turn.number}", chain, kl_reference(self.state)
            )
        except AdlError as error:
            self._show_status(str(error), problem=True)
        else:
            self._show_status(f"Written: {path}")

    def on_flow_clicked(self, event: Flow.Clicked) -> None:
        """Select the side of the clicked answer."""
        event.stop()
        flow = event.flow
        turn: Turn = self._turns[event.index]
        if flow.width >= TWO_COLUMNS and len(turn.sides) == 2:
            side: Side = "base" if event.share < 0.5 else "finetuned"
            if side != self._chosen.side:
                self.action_side()
