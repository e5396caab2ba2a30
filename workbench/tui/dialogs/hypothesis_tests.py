"""The tests of a hypothesis: results, answers side by side, and a person's judging, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from adl.records import SIDES
from workbench.display import clean_line, clean_lines, shorten
from workbench.store.body import number_of
from workbench.store.measures.tested import KIND_NAMES
from workbench.store.slices.experiments import AnswerKey, ExperimentState
from workbench.store.state import SessionState
from workbench.tui import text
from workbench.tui.measure_render import look
from workbench.tui.widgets.dialog import Dialog
from workbench.tui.widgets.key_bar import KeyBar

#: Characters of an answer in the table of answers.
LONGEST_ANSWER = 600
#: Columns of the terminal that the tests make use of, and those that are not theirs of as many.
_WIDEST, _AROUND = 145, 12
_HIDDEN = Content.styled(
    "\nThe answers are shown once all are judged: who judges does not know which model wrote them.",
    "$foreground-muted",
)
_SIGNS = {True: "✓", False: "✗", None: "?"}


def tests_of(state: SessionState, hypothesis: str) -> list[ExperimentState]:
    """Return the experiments on a hypothesis, the newest first."""
    found = [known for known in state.experiments.values() if known.hypothesis_id == hypothesis]
    return found[::-1]


def awaits_person(experiment: ExperimentState, state: SessionState) -> bool:
    """True if a person has answers of it to judge."""
    return (
        experiment.sealed.body.judge.kind == "person" and experiment.stage(state.texts) == "judging"
    )


def standing(experiment: ExperimentState, state: SessionState) -> str:
    """Return how far an experiment has come, in a line."""
    sealed = experiment.sealed.body
    judge = f"judged by {sealed.judge.words()}"
    missing = len(experiment.missing(state.texts))
    answers = 2 * len(sealed.prompts) * len(sealed.seeds)
    match experiment.stage(state.texts):
        case "asking" if sealed.test == "likelihood":
            return "statements are being scored"
        case "asking":
            return f"{answers - missing} of {number_of(answers, 'answer')} given, {judge}"
        case "judging":
            left = len(experiment.to_judge(state.texts))
            return f"{answers - left} of {number_of(answers, 'answer')} judged, {judge}"
        case _:
            return judge


class HypothesisTests(Dialog[str | None]):
    """The tests of a hypothesis; returns ``new``, the id of a test to judge, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "judge", "Judge", tooltip="Judge the answers that wait for a person"),
        Binding("n", "new", "New test", tooltip="Choose prompts and judge of another test"),
        Binding("escape,percent_sign,q", "leave", "Close"),
    ]
    DEFAULT_CSS = """
    HypothesisTests > Container { width: 96%; max-width: 140; height: 92%; border: round $accent;
        background: $surface; padding: 0 1; }
    HypothesisTests #tests { height: 1fr; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    HypothesisTests #tests > Static { margin-bottom: 1; }
    """

    def __init__(self, hypothesis: str, state: SessionState, *, recorded: bool) -> None:
        super().__init__(classes="dialog")
        self._hypothesis = hypothesis
        self._state = state
        self._recorded = recorded

    def compose(self) -> ComposeResult:
        """Compose the tests, one under the other."""
        with Container() as box:
            box.border_title = f"Tests of {clean_line(self._hypothesis)}"
            yield VerticalScroll(id="tests")
            yield KeyBar()

    def on_mount(self) -> None:
        """Give the tests the keys."""
        self.query_one("#tests").focus()

    @on(events.Resize)
    async def _resized(self, event: events.Resize) -> None:
        # Bars are drawn as wide as there is room for.
        await self._draw(event.size.width)

    async def update_state(self, state: SessionState) -> None:
        """Show another state of the session."""
        before, self._state = self._state, state
        # An answer that ends is news of its text alone.
        if state.experiments is not before.experiments or self._stands(state) != self._stands(
            before
        ):
            await self._draw(self.size.width)

    def _stands(self, state: SessionState) -> list[str]:
        return [standing(known, state) for known in tests_of(state, self._hypothesis)]

    async def _draw(self, columns: int) -> None:
        tests = self.query_one("#tests", VerticalScroll)
        parts = [Static(part) for part in self._parts(min(_WIDEST, columns) - _AROUND)]
        async with self.batch():
            await tests.remove_children()
            await tests.mount(*parts)
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer what applies."""
        if action == "judge":
            return self._to_judge() is not None and not self._recorded
        if action == "new":
            return not self._recorded
        return True

    def action_judge(self) -> None:
        """Return the newest test that waits for a person."""
        if (found := self._to_judge()) is not None:
            self.dismiss(found)

    def action_new(self) -> None:
        """Return that another test is wanted."""
        self.dismiss("new")

    def action_leave(self) -> None:
        """Return nothing."""
        self.dismiss(None)

    def _to_judge(self) -> str | None:
        waiting = (
            known.id
            for known in tests_of(self._state, self._hypothesis)
            if awaits_person(known, self._state)
        )
        return next(waiting, None)

    def _parts(self, width: int) -> Iterator[Content | RenderableType]:
        for known in tests_of(self._state, self._hypothesis):
            hidden = known.result is None and known.sealed.body.judge.kind == "person"
            if known.result is not None:
                yield look(known.result, self._state, width)
            else:
                stands = text.line(standing(known, self._state))
                yield Content.assemble((known.id, "bold"), "  ", stands, _HIDDEN if hidden else "")
            if known.answers and not hidden:
                yield answers_table(known, self._state)


def answers_table(experiment: ExperimentState, state: SessionState) -> Table:
    """Return the answers of both sides beside each other, with verdicts and their reasons."""
    table = Table(box=None, expand=True, padding=(0, 1), show_edge=False)
    for side in SIDES:
        table.add_column(side, ratio=1, overflow="fold")
    sealed = experiment.sealed.body
    for index, prompt in enumerate(sealed.prompts):
        held = ", held out" if prompt.held_out else ""
        kind = KIND_NAMES[prompt.kind]
        table.add_row(
            Text(shorten(clean_line(prompt.text), 200), style="bold"),
            Text(f"{kind}{held}", style="dim"),
        )
        for seed in sealed.seeds:
            table.add_row(
                *(_answer(experiment, state, AnswerKey(side, index, seed)) for side in SIDES)
            )
    return table


def _answer(experiment: ExperimentState, state: SessionState, key: AnswerKey) -> Text:
    text_id = experiment.answers.get(key, "")
    answer = state.texts.get(text_id)
    if answer is None:
        return Text("not asked yet", style="dim")
    verdict = experiment.verdicts.get(text_id)
    sign = "" if verdict is None else f"{_SIGNS[verdict.body.shows]} "
    shown = Text(sign, style="bold")
    shown.append(Text(shorten(clean_lines(answer.text.strip()), LONGEST_ANSWER), style="not bold"))
    if verdict is not None and verdict.body.reason:
        shown.append(f"\n— {clean_line(verdict.body.reason)}", style="dim")
    return shown


@dataclass(frozen=True)
class ToJudge:
    """An answer for a person: the prompt and the text, and nothing of who wrote it."""

    text_id: str
    prompt: str
    answer: str


def waiting_answers(experiment: ExperimentState, state: SessionState) -> list[ToJudge]:
    """Return the answers that a person has to judge, in their shuffled order."""
    return [
        ToJudge(text_id, experiment.prompt(key).text, state.texts[text_id].text)
        for key, text_id in experiment.to_judge(state.texts)
    ]


Judge = Callable[[str, bool | None], Any]
"""Records a verdict on the answer of that id."""


class JudgeAnswers(Dialog[None]):
    """Answers one after the other, judged with one key each; leaving keeps what was judged."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "verdict('shows')", "Shows it", tooltip="The answer shows the hypothesis"),
        Binding("n", "verdict('not')", "Does not", tooltip="The answer does not show it"),
        Binding("s", "verdict('unscored')", "Unscored", tooltip="It cannot be told"),
        Binding("backspace,u", "back", "Back", tooltip="Judge the answer before this one again"),
        Binding("escape", "leave", "Stop", tooltip="Stop here; go on later"),
    ]
    DEFAULT_CSS = """
    JudgeAnswers > Container { width: 96%; max-width: 100; height: 92%; border: round $accent;
        background: $surface; padding: 0 1; }
    JudgeAnswers #hypothesis { color: $text-muted; margin-bottom: 1; }
    JudgeAnswers #prompt { text-style: bold; margin-bottom: 1; }
    JudgeAnswers VerticalScroll { height: 1fr; scrollbar-size-vertical: 1; }
    """

    def __init__(
        self, title: str, hypothesis: str, answers: Sequence[ToJudge], judge: Judge
    ) -> None:
        super().__init__(classes="dialog")
        self._title = title
        self._hypothesis = hypothesis
        self._answers = answers
        self._judge = judge
        self._at = 0

    def compose(self) -> ComposeResult:
        """Compose the hypothesis, the prompt and the answer."""
        with Container() as box:
            box.border_title = self._title
            with VerticalScroll():
                yield Static(text.block(self._hypothesis), id="hypothesis")
                yield Static(id="prompt")
                yield Static(id="answer")
            yield KeyBar()

    def on_mount(self) -> None:
        """Show the first answer."""
        self.query_one(VerticalScroll).focus()
        self._show()

    def action_verdict(self, verdict: str) -> None:
        """Record a verdict, and show the next answer."""
        shows = {"shows": True, "not": False, "unscored": None}[verdict]
        self._judge(self._answers[self._at].text_id, shows)
        self._at += 1
        if self._at == len(self._answers):
            self.dismiss()
        else:
            self._show()

    def action_back(self) -> None:
        """Return to the answer before."""
        if self._at:
            self._at -= 1
            self._show()

    def action_leave(self) -> None:
        """Stop here."""
        self.dismiss()

    def _show(self) -> None:
        answer = self._answers[self._at]
        at = f"{self._at + 1} of {len(self._answers)}"
        self.query_one(Container).border_subtitle = at
        self.query_one("#prompt", Static).update(text.block(answer.prompt))
        self.query_one("#answer", Static).update(
            text.block(answer.answer.strip() or "(an empty answer)")
        )
        self.query_one(VerticalScroll).scroll_home(animate=False)
