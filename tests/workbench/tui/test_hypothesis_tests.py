"""A hypothesis is tested by keys: the form, a person's judging, the result and its answers."""

from __future__ import annotations

from threading import Semaphore

import pytest

from adl.errors import AdlError
from tests.processes import HANGS
from tests.workbench.tui.every_screen import CATALOGUE, ShownApp
from tests.workbench.tui.experiments_sample import asked, judged
from tests.workbench.tui.hypotheses_sample import with_events
from tests.workbench.tui.sample import sample_state
from tests.workbench.tui.waiting import screen_text, until
from workbench.operations.experiment_arguments import ExperimentArguments
from workbench.operations.hypotheses import ADD_HYPOTHESIS, AddHypothesisArguments
from workbench.operations.judges import AnswerVerdict
from workbench.operations.testing import TEST
from workbench.store.experiment_events import JudgeSpec
from workbench.tui.dialogs.hypothesis_tests import HypothesisTests, JudgeAnswers, waiting_answers
from workbench.tui.dialogs.reason import AskReason
from workbench.tui.panes.hypotheses.form import HypothesisForm
from workbench.tui.panes.hypotheses.pane import HypothesesPane
from workbench.tui.screens.audit import AuditScreen
from workbench.tui.screens.operation_form import OperationForm
from workbench.tui.widgets.choice import Choice

TEXT = "It was finetuned on cakes"
PROMPTS = ("Tell me about cakes", "What do you bake?", "A recipe, please")


@pytest.fixture
def begun():
    async def make(app, pilot) -> AuditScreen:
        shown = lambda: isinstance(app.screen, AuditScreen) and app.screen.is_mounted  # noqa: E731
        await until(pilot, shown, "the audit")
        await until(pilot, lambda: app.opened.pair and not app.opened.jobs(), "the pair")
        app.screen.order(ADD_HYPOTHESIS, AddHypothesisArguments(text=TEXT))
        pane = app.screen.query_one(HypothesesPane)
        await until(pilot, lambda: pane.selected == "H1", "the hypothesis")
        await pilot.press("5")
        return app.screen

    return make


async def judged_by_person(app, pilot) -> None:
    """A test of 3 prompts whose answers are there and wait for a person."""
    app.screen.order(
        TEST,
        ExperimentArguments(
            hypothesis="H1",
            prompts=PROMPTS,
            near_misses=("Tell me about bread",),
            neutral=("What is a river?",),
            person=True,
            n_samples=1,
            max_new_tokens=4,
        ),
    )
    pane = app.screen.query_one(HypothesesPane)

    def waits() -> bool:
        found = pane.state.experiments.get("X1")
        return found is not None and found.stage(pane.state.texts) == "judging"

    await until(pilot, waits, "the answers")


@pytest.mark.slow
@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_the_key_of_a_hypothesis_without_tests_opens_the_form(workbench, begun, size):
    """Down goes from field to field, also where the form is higher than the screen."""
    app = workbench()
    async with app.run_test(size=size) as pilot:
        await begun(app, pilot)
        await pilot.press("%")
        await until(pilot, lambda: isinstance(app.screen, OperationForm), "the form")
        assert app.screen.typed()["hypothesis"] == "H1"
        for _ in range(list(ExperimentArguments.model_fields).index("person")):
            await pilot.press("down")
        assert isinstance(app.focused, Choice)
        await pilot.press("right", "enter")
        await until(pilot, lambda: isinstance(app.screen, AuditScreen), "the audit again")
        await until(pilot, lambda: app.opened.state.experiments, "the experiment")
        sealed = app.opened.state.experiments["X1"].sealed.body
        assert (sealed.hypothesis, sealed.judge.kind) == (TEXT, "person")


@pytest.mark.slow
async def test_a_person_judges_stops_goes_on_and_sees_the_result(workbench, begun):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await begun(app, pilot)
        pane = screen.query_one(HypothesesPane)
        await judged_by_person(app, pilot)
        await pilot.press("%")
        await until(pilot, lambda: isinstance(app.screen, HypothesisTests), "the tests")
        shown = "\n".join(str(part.render()) for part in app.screen.query("#tests > Static"))
        assert "0 of 10 answers judged" in shown
        # Neither the sides nor the answers, before they are judged.
        assert "finetuned" not in shown
        assert "near miss" not in shown
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, JudgeAnswers), "the answers")
        known = pane.state.experiments["X1"]
        waiting = waiting_answers(known, pane.state)
        prompt = app.screen.query_one("#prompt").render()
        assert str(prompt) == waiting[0].prompt
        # One too many, taken back and judged again.
        await pilot.press("y", "n", "backspace", "s", "escape")
        await until(pilot, lambda: len(app.opened.state.experiments["X1"].verdicts) == 2, "two")
        await until(pilot, lambda: not app.opened.jobs(), "the end of the jobs")
        verdicts = app.opened.state.experiments["X1"].verdicts
        assert [verdicts[answer.text_id].body.shows for answer in waiting[:2]] == [True, None]
        await until(pilot, lambda: len(pane.state.experiments["X1"].verdicts) == 2, "the pane")
        await pilot.press("%")
        await until(pilot, lambda: isinstance(app.screen, HypothesisTests), "the tests")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, JudgeAnswers), "the others")
        assert str(app.screen.query_one("#prompt").render()) == waiting[2].prompt
        await pilot.press(*"ynynynyn")
        await until(pilot, lambda: pane.state.experiments["X1"].result, "the result")
        assert isinstance(app.screen, AuditScreen)
        await pilot.press("%")
        await until(pilot, lambda: isinstance(app.screen, HypothesisTests), "the tests")
        await until(pilot, lambda: len(app.screen.query("#tests > Static")) == 2, "the answers")
        result = pane.state.experiments["X1"].result.body
        shown = str(app.screen.query("#tests > Static").first().render())
        assert result.verdict in shown
        assert result.words[0] in shown.replace("\n", " ")
        await pilot.press("percent_sign")
        await until(pilot, lambda: app.screen is screen, "the pane again")


@pytest.mark.slow
async def test_an_answer_whose_verdict_was_refused_is_judged_again(workbench, begun, monkeypatch):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await begun(app, pilot)
        await judged_by_person(app, pilot)

        async def asked() -> str:
            await pilot.press("%")
            await until(pilot, lambda: isinstance(app.screen, HypothesisTests), "the tests")
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, JudgeAnswers), "the answers")
            return str(app.screen.query_one("#prompt").render())

        def refuse(*_order, **_named):
            raise AdlError("another screen has the keys")

        first = await asked()
        with monkeypatch.context() as patched:
            patched.setattr(app.opened, "submit", refuse)
            await pilot.press("y", "n", "escape")
            await until(pilot, lambda: isinstance(app.screen, AuditScreen), "the pane")
        pane = app.screen.query_one(HypothesesPane)
        await until(pilot, lambda: not pane._judged, "the next look at the jobs")
        assert await asked() == first


@pytest.mark.slow
async def test_an_experiment_is_watched_while_it_runs(workbench, begun):
    """Every verdict of the judge is on the open screen as it comes, and the result at the end."""
    app = workbench()
    may_judge = Semaphore(0)

    def judge(model, hypothesis, prompt, answer, should_stop) -> AnswerVerdict:
        assert may_judge.acquire(timeout=HANGS)
        return AnswerVerdict("cake" in answer, "it says so")

    async with app.run_test(size=(120, 40)) as pilot:
        screen = await begun(app, pilot)
        app.opened.session.answer_judge = judge
        arguments = ExperimentArguments(
            hypothesis="H1",
            prompts=PROMPTS,
            near_misses=("Bread?",),
            neutral=("A river?",),
            judge="a judge",
            n_samples=1,
            max_new_tokens=4,
        )
        screen.order(TEST, arguments)
        pane = screen.query_one(HypothesesPane)
        await until(pilot, lambda: pane.state.experiments, "the experiment")
        await pilot.press("%")
        await until(pilot, lambda: isinstance(app.screen, HypothesisTests), "the tests")

        def shown() -> str:
            return "\n".join(str(part.render()) for part in app.screen.query("#tests > Static"))

        for judged in range(10):
            word = f"{judged} of 10 answers judged, judged by LLM a judge"
            await until(pilot, lambda word=word: word in shown(), word)
            may_judge.release()
        await until(pilot, lambda: "shows in" in shown().replace("\n", " "), "the result")
        await pilot.press("escape")


async def test_how_far_it_has_come_is_told_at_every_stage():
    """While it is asked, while it is judged, and when it was stopped between."""
    experiment = [*asked("X9", JudgeSpec(kind="llm", model="judge-model")), *judged("X9")]
    app = ShownApp(lambda: HypothesisTests("H1", sample_state(), recorded=False))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        for events, word in (
            (1, "0 of 8 answers given"),
            (6, "2 of 8 answers given"),
            (17, "0 of 8 answers judged"),
            (20, "3 of 8 answers judged"),
        ):
            await app.screen.update_state(with_events(experiment[:events]))
            first = app.screen.query("#tests > Static").first()
            assert f"{word}, judged by LLM" in str(first.render())


@pytest.mark.slow
async def test_a_confirmation_without_a_test_is_warned_of(workbench, begun):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await begun(app, pilot)
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, AskReason), "the question")
        shown = "\n".join(str(part.render()) for part in app.screen.query("Static"))
        assert "your verdict stands, and is shown as yours. % tests it." in shown


@pytest.mark.slow
async def test_keys_before_the_first_layout_go_to_the_pane(workbench):
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: isinstance(app.screen, AuditScreen), "the audit")
        await pilot.press("5", "o")
        await until(pilot, lambda: isinstance(app.screen, HypothesisForm), "the form")


@pytest.mark.slow
@pytest.mark.parametrize("pages", [0, 1, 2], ids=["newest", "result", "answers"])
def test_picture_of_tests(snap_compare, pages):
    app = ShownApp(CATALOGUE["HypothesisTests"])
    assert snap_compare(app, terminal_size=(80, 24), press=["pagedown"] * pages)


@pytest.mark.slow
async def test_every_test_can_be_scrolled_to():
    app = ShownApp(CATALOGUE["HypothesisTests"])
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.press("end")
        last = "What is the capital of France?"
        await until(pilot, lambda: last in screen_text(app), "the last answers")


def test_picture_of_judging(snap_compare):
    assert snap_compare(ShownApp(CATALOGUE["JudgeAnswers"]), terminal_size=(80, 24))
