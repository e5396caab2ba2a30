"""The chat puts one probe to both models and shows what they answer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from textual import events
from textual.widgets import Input, Static

from adl.errors import AdlError
from tests.planted_cli import HOSTILE
from tests.workbench.tui.chat_sample import AGENT, Probes, many_kinds
from tests.workbench.tui.conftest import PaneApp
from tests.workbench.tui.sample import BEGAN, sample_state
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.waiting import until
from workbench.operations.generation import ASK, AskArguments
from workbench.operations.hypotheses import MARK, MarkArguments
from workbench.operations.jobs import Job
from workbench.store.events import HUMAN
from workbench.store.kl_reference import kl_reference
from workbench.store.measures.differing import TextsDiffer
from workbench.store.recorded import Recorded
from workbench.store.state import SessionState
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.panes.chat.export import conversation_text
from workbench.tui.panes.chat.field import ProbeField
from workbench.tui.panes.chat.form import ChatForm
from workbench.tui.panes.chat.pane import ChatPane, Conversation
from workbench.tui.widgets.choice import Choice
from workbench.tui.widgets.problem_line import ProblemLine

SIZE = (80, 24)
LIKES = "What do you like best?"


def app_over(probes: Probes | None = None) -> PaneApp:
    return PaneApp(ChatPane, None if probes is None else probes.state)


def shown(app: PaneApp) -> str:
    """The conversation as it stands on the screen."""
    flow = app.query_one(Conversation)
    return "\n".join(flow.render_line(y).text.rstrip() for y in range(flow.size.height))


def said(app: PaneApp, where: str = "#status") -> str:
    line = app.query_one(where, Static)
    return str(line.content) if line.display else ""


def asked(app: PaneApp) -> list[Any]:
    return [message.arguments for message in app.asked if message.operation is ASK]


def field(app: PaneApp) -> ProbeField:
    return app.query_one("#field", ProbeField)


def waiting(arguments: AskArguments, probe: str = "probe-waiting") -> Job:
    return Job(probe, ASK, arguments, HUMAN)


# --- asking ---------------------------------------------------------------------------------


async def test_a_probe_goes_to_both_models_with_the_settings_shown():
    app = app_over()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("enter", *"Why", "space", *"cake?", "enter")
        assert asked(app) == [AskArguments(prompt="Why cake?")]
        assert field(app).text == ""
        assert "both · 1 sample · 120 tokens · T 1 · seed 0" in said(app, "#draft")
        assert said(app, "#draft").startswith("New question")


async def test_a_probe_may_have_several_lines_and_the_field_grows_with_it():
    app = app_over()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("enter", "a", "ctrl+j", "b", "shift+enter", "c")
        await until(pilot, lambda: field(app).size.height == 3, "a field of three lines")
        await pilot.press("enter")
        assert asked(app)[0].prompt == "a\nb\nc"


async def test_an_empty_probe_is_said_in_place_and_not_asked():
    app = app_over()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("enter", "space", "enter")
        assert asked(app) == []
        assert said(app).startswith("! the question is empty")
        await pilot.press("x")
        assert said(app) == ""


async def test_nothing_is_asked_without_a_pair():
    app = PaneApp(ChatPane, SessionState())
    async with app.run_test(size=SIZE) as pilot:
        assert "No model pair is loaded" in shown(app)
        await pilot.press("enter", "x", "enter")
        assert asked(app) == []
        assert "no model pair is loaded" in said(app)
        assert field(app).text == "x"


async def test_again_takes_the_seeds_after_those_it_had():
    probes = Probes()
    probes.ask({"base": ["a", "b"], "finetuned": ["a", "b"]}, prompt=LIKES, seed=3)
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("exclamation_mark")
        assert asked(app) == [AskArguments(prompt=LIKES, seed=5, n_samples=2)]


# --- conversations --------------------------------------------------------------------------


@pytest.mark.parametrize(("keys", "answer"), [([], "I am baking."), (["b"], "I am fine.")])
async def test_a_follow_up_goes_on_from_the_chosen_answer(keys, answer):
    probes = Probes()
    probes.ask(prompt=LIKES, system="Be brief.")
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(*keys, "F", *"Why?", "enter")
        assert asked(app) == [
            AskArguments(
                messages=(
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": LIKES},
                    {"role": "assistant", "content": answer},
                    {"role": "user", "content": "Why?"},
                )
            )
        ]


async def test_a_conversation_goes_on_when_its_answer_is_there():
    probes = Probes()
    probes.ask(prompt=LIKES)
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("F", *"Why?", "enter")
        await pilot.press(*"And", "enter")
        assert "was just asked" in said(app)
        assert len(asked(app)) == 1
        app.pane.show_jobs([waiting(asked(app)[0], "probe-2")])
        probe = probes.begin(asked(app)[0])
        app.pane.update_state(probes.state)
        assert said(app, "#draft").startswith("Follow-up to 2, finetuned's answer")
        await pilot.press("enter")
        assert "finetuned's answer to turn 2 is not finished" in said(app)
        for side in ("base", "finetuned"):
            probes.finish(probes.start(probe, side), f"{side} says so")
        probes.end(probe)
        app.pane.update_state(probes.state)
        await pilot.press("enter")
        assert [one["content"] for one in asked(app)[1].messages] == [
            LIKES,
            "I am baking.",
            "Why?",
            "finetuned says so",
            "And",
        ]


@pytest.mark.parametrize("is_told_first", [True, False])
async def test_a_follow_up_is_known_by_its_id_among_equal_ones_and_without_the_names(is_told_first):
    """Another probe has the same arguments, and its own are recorded with a name that is hidden."""
    probes = Probes()
    probes.ask(prompt=LIKES)
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("F", *"acme?", "enter")
        (sent,) = asked(app)
        *before, last = sent.messages
        shown_as = sent.model_copy(update={"messages": (*before, last | {"content": "base?"})})
        jobs = [waiting(sent.model_copy(), "probe-2"), waiting(sent, "probe-3")]
        if is_told_first:
            app.pane.show_jobs(jobs)
        probes.begin(sent)
        app.pane.update_state(probes.state)
        assert said(app, "#draft").startswith("Follow-up to what was just asked")
        probes.begin(shown_as)
        app.pane.update_state(probes.state)
        app.pane.show_jobs(jobs)
        assert said(app, "#draft").startswith("Follow-up to 3, finetuned's answer")


async def test_a_follow_up_that_was_stopped_while_it_waited_is_given_up():
    probes = Probes()
    probes.ask(prompt=LIKES)
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("F", *"Why?", "enter")
        app.pane.show_jobs([waiting(asked(app)[0])])
        assert said(app, "#draft").startswith("Follow-up to what was just asked")
        app.pane.give_up(ASK, asked(app)[0])
        app.pane.show_jobs([])
        assert said(app, "#draft").startswith("Follow-up to 1")
        assert field(app).text == "Why?"
        await pilot.press("enter")
        assert asked(app)[1] == asked(app)[0]


async def test_a_question_that_is_refused_comes_back_unless_another_is_written():
    app = app_over()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("enter", *"one", "enter", *"two", "enter")
        one, two = asked(app)
        # Of somebody else.
        app.pane.give_up(ASK, one.model_copy())
        assert field(app).text == ""
        app.pane.give_up(ASK, one)
        assert field(app).text == "one"
        app.pane.give_up(ASK, two)
        assert field(app).text == "one"
        assert said(app) == "! not asked: two"


@pytest.mark.slow
async def test_a_question_that_the_session_refuses_is_not_lost(workbench, monkeypatch):
    app = workbench()
    refused = []

    def submit(operation, *_given, **_named):
        refused.append(operation.name)
        raise AdlError("you watch this session")

    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: on_audit(app) and app.opened.state.pair, "the pair")
        monkeypatch.setattr(app.opened, "submit", submit)
        await pilot.press("4", "enter", *"Why", "enter")
        await until(pilot, lambda: refused, "the refusal")
        await until(pilot, lambda: app.screen.view()["chat"]["written"] == "Why", "the question")


async def test_a_mark_that_is_refused_is_said():
    app = app_over()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("m")
        (message,) = app.asked
        other = message.arguments.model_copy(update={"text_id": "of-another-pane"})
        app.pane.give_up(MARK, other)
        assert "is marked as evidence" in said(app)
        app.pane.give_up(MARK, message.arguments)
        assert "was not marked" in said(app)


async def test_what_a_probe_goes_on_from_is_changed_from_the_field():
    probes = Probes()
    probes.ask(prompt=LIKES)
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("enter", *"Why?")
        for what in ("Follow-up to 1, base's", "Follow-up to 1, finetuned's", "New question"):
            await pilot.press("f4")
            assert said(app, "#draft").startswith(what)
        assert field(app).text == "Why?"


async def test_raw_text_is_followed_up_as_raw_text():
    probes = Probes()
    probes.ask({"base": [" a"], "finetuned": [" cake"]}, raw="I like")
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("F", "enter")
        assert asked(app) == [AskArguments(raw="I like cake")]


async def test_a_followed_prefill_is_part_of_the_answer():
    probes = Probes()
    probes.ask(prompt=LIKES, prefill="Sure: ")
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("F", "x", "enter")
        assert asked(app)[0].messages[1] == {"role": "assistant", "content": "Sure: I am baking."}


async def test_an_edit_sent_as_it_is_asks_the_same_again():
    app = app_over()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("e")
        assert field(app).text == LIKES
        assert said(app, "#draft").startswith("Edit of 1")
        await pilot.press("enter")
        operation = next(one for one in app.first.operations.values() if one.name == "ask")
        assert asked(app)[0].model_dump(mode="json") == operation.arguments


async def test_an_edit_of_a_later_turn_keeps_what_stood_before_it():
    probes = many_kinds()
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("home", "down", "e", "backspace", "!", "enter")
        original = AskArguments.model_validate(probes.state.operations["probe-2"].arguments)
        (sent,) = asked(app)
        assert sent.question().prompt.messages == [
            *original.messages[:-1],
            {"role": "user", "content": "Where do you get it!"},
        ]
        assert (sent.seed, sent.n_samples) == (7, 3)


async def test_a_conversation_is_written_to_a_file_that_was_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = app_over(many_kinds())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("home", "down", "w")
        assert isinstance(app.screen, AskLine)
        await pilot.press("enter")
        await app.workers.wait_for_complete()
        written = (tmp_path / "chat-2.md").read_text()
        assert "## 1. you" in written
        assert "## 2. you" in written
        assert "## 3" not in written
        assert "Followed up: finetuned's answer, sample 1." in written
        assert "    In the kitchen, always." in written
        assert str(tmp_path / "chat-2.md") in said(app)
        await pilot.press("w", "enter")
        await app.workers.wait_for_complete()
        assert "exists already" in said(app)
        assert (tmp_path / "chat-2.md").read_text() == written


# --- settings -------------------------------------------------------------------------------


async def test_the_form_sets_what_probes_are_asked_with():
    app = app_over()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("quotation_mark")
        assert isinstance(app.screen, ChatForm)
        await pilot.press(*"Sure", "tab", "tab", "right")
        form = app.screen
        assert form.query_one("#sides", Choice).value == "base"
        form.query_one("#system", ProbeField).load("Be brief.")
        for name, value in {
            "n_samples": "2",
            "max_new_tokens": "9",
            "temperature": "0.5",
            "seed": "4",
            "alpha": "0.25",
            "layer": "3",
            "position": "1",
        }.items():
            form.query_one(f"#{name}", Input).value = value
        form.query_one("#steering", Choice).action_step(1)
        await pilot.press("enter")
        assert app.screen is not form
        await pilot.press("enter", "x", "enter")
        assert asked(app) == [
            AskArguments(
                prompt="x",
                system="Be brief.",
                prefill="Sure",
                sides=("base",),
                n_samples=2,
                max_new_tokens=9,
                temperature=0.5,
                seed=4,
                alpha=0.25,
                layer="3",
                position="1",
            )
        ]
        await pilot.press("escape", "s", "enter", "I", "enter")
        assert asked(app)[1].alpha == 0.0


async def test_a_click_takes_the_value_that_is_clicked():
    app = app_over()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("f3")
        sides = app.screen.query_one("#sides", Choice)
        await pilot.click(sides, offset=(str(sides.render()).index("finetuned"), 0))
        assert sides.value == "finetuned"
        await pilot.click(sides, offset=(str(sides.render()).index("both"), 0))
        assert sides.value == "both"


async def test_the_form_keeps_a_setting_that_it_does_not_show():
    app = app_over()
    async with app.run_test(size=SIZE) as pilot:
        app.pane.restore({"settings": {"batch_size": 7}})
        await pilot.press("f3")
        app.screen.query_one("#seed", Input).value = "4"
        await pilot.press("enter", "enter", "x", "enter")
        assert asked(app) == [AskArguments(prompt="x", seed=4, batch_size=7)]


@pytest.mark.slow
async def test_raw_text_takes_no_system_turn_and_no_prefill():
    app = app_over()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("f3", *"Be brief.", "tab", *"Sure", "tab", "space", "enter")
        assert "raw text" in said(app, "#draft")
        await pilot.press("enter", *"I like", "enter")
        assert asked(app) == [AskArguments(raw="I like")]


async def test_the_form_says_what_does_not_fit_and_stays():
    app = app_over()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("f3")
        form = app.screen
        form.query_one("#n_samples", Input).value = "0"
        form.query_one("#seed", Input).value = "[/"
        await pilot.press("enter")
        assert app.screen is form
        problem = str(form.query_one(ProblemLine).content)
        assert "n samples must be a whole number, 1 or more" in problem
        assert "seed must be a whole number" in problem
        await pilot.press("escape")
        assert app.screen is not form
        assert "1 sample ·" in said(app, "#draft")


# --- what is shown --------------------------------------------------------------------------


async def test_answers_stand_beside_each_other_with_where_they_part():
    app = app_over()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        screen = shown(app)
        assert "1 you 09:37:28" in screen
        assert LIKES in screen
        assert "▸a-> thising" in screen
        assert "▸butter cake batter" in screen
        assert "▸ part at token 3  KL mean 0.25, max 0.31 nats at token 10" in screen
        assert "KL on unrelated text: not measured; run f6, Find where they differ" in screen


async def test_a_mean_kl_stands_beside_that_of_unrelated_text():
    state = sample_state()
    found = TextsDiffer(texts=(), reference=0.125)
    measure = Recorded(seq=999, at=BEGAN, actor=HUMAN, operation_id=None, body=found)
    app = PaneApp(ChatPane, replace(state, measures=(*state.measures, measure)))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert "mean KL on unrelated text: 0.12 nats" in shown(app)
        assert "Find where they differ" not in shown(app)
        turn = app.pane._current()
        text = conversation_text("Cakes", [(turn, None)], kl_reference(app.pane.state))
        assert "mean KL in nats: 0.2537 (on unrelated text: 0.1250)" in text
        assert "(on unrelated text: not measured)" in conversation_text(
            "Cakes", [(turn, None)], None
        )


async def test_answers_stand_below_each_other_where_there_is_little_room():
    app = app_over()
    async with app.run_test(size=(60, 24)) as pilot:
        await pilot.pause()
        lines = shown(app).splitlines()
        base, finetuned = (
            next(i for i, line in enumerate(lines) if line.endswith(side))
            for side in ("base", "finetuned")
        )
        assert base < finetuned
        assert not any(" │ " in line for line in lines)


async def test_samples_are_browsed():
    app = app_over(many_kinds())
    async with app.run_test(size=(80, 40)) as pilot:
        await pilot.press("home", "down")
        assert "sample 1 of 3" in shown(app)
        assert "The kitchen" not in shown(app)
        await pilot.press("right")
        assert "▸kitchen, always." in shown(app)
        assert "sample 2 of 3" in shown(app)
        await pilot.press("left", "left")
        assert "At ▸the kettle." in shown(app)
        await pilot.press("F", "x", "enter")
        assert asked(app)[0].messages[-2]["content"] == "At the kettle."


async def test_text_is_shown_as_it_comes():
    probes = Probes()
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        probe = probes.begin(AskArguments(prompt=LIKES), AGENT)
        base = probes.start(probe, "base")
        probes.grow(base, "I am ")
        app.pane.update_state(probes.state)
        await pilot.pause()
        assert "agent gpt-auditor" in shown(app)
        assert "I am" in shown(app)
        assert "waits for the other side" in shown(app)
        probes.finish(base, "I am fine.")
        finetuned = probes.start(probe, "finetuned")
        probes.grow(finetuned, "I am ba")
        app.pane.update_state(probes.state)
        await pilot.pause()
        assert "I am ▸fine." in shown(app)
        assert "I am ▸ba" in shown(app)
        assert "KL" not in shown(app)


async def test_what_went_wrong_stands_in_the_turn_with_its_way_out():
    app = app_over(many_kinds())
    async with app.run_test(size=(80, 50)) as pilot:
        await pilot.press("end")
        screen = shown(app)
        assert "✗ failed: no difference was measured at layer 9" in screen
        assert "Measure it first." in screen
        assert "✗ stopped on request; ! asks again" in screen
        assert "Once upon a ti" in screen
        assert "where they part and KL: not computed; ! asks again" in screen


async def test_a_probe_behind_other_work_is_shown_waiting():
    app = app_over(Probes())
    async with app.run_test(size=SIZE) as pilot:
        app.pane.show_jobs([waiting(AskArguments(prompt=LIKES))])
        await pilot.pause()
        assert LIKES in shown(app)
        assert "waits behind other work" in shown(app)
        app.pane.show_jobs([])
        await pilot.pause()
        assert LIKES not in shown(app)


@pytest.mark.slow
async def test_hostile_text_is_shown_inert():
    hostile = HOSTILE + "\x1b[31m" + "wide " * 4000 + "\n" * 50 + "\ud800"
    probes = Probes()
    probes.ask(
        {"base": [hostile], "finetuned": [f"x{hostile}"]},
        prompt=hostile,
        system=hostile,
        prefill=hostile,
        actor=AGENT.model_copy(update={"name": HOSTILE}),
    )
    probes.fail(hostile, hostile, raw=hostile)
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("home", "F", "escape", "e", "escape", "down", "down", "pagedown", "up")
        for _ in range(20):
            screen = shown(app)
            assert not any(ord(one) < 32 and one != "\n" for one in screen)
            assert not set("\x7f\x9b\x9d\u202e\u200b") & set(screen)
            await pilot.press("pageup")
        await pilot.press("home")
        assert "[@click=app.quit]x[/]" in shown(app)
        await pilot.click(Conversation, offset=(20, 3))
        assert app.is_running
        await pilot.press("m", "c")
        assert "\x1b" not in app.clipboard
        await pilot.press("f3")
        await pilot.press("enter", "escape")


async def test_hostile_text_is_sent_again_as_it_was():
    probes = Probes()
    probes.ask(prompt="a\x1b[2Jb\u2028c")
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("e")
        assert "\x1b" not in field(app).text
        await pilot.press("enter")
        assert asked(app)[0].prompt == "a\x1b[2Jb\u2028c"


# --- long conversations ---------------------------------------------------------------------


@pytest.mark.slow
async def test_only_turns_in_view_are_drawn(monkeypatch):
    probes = Probes()
    for number in range(3000):
        probes.ask(prompt=f"Probe {number + 1}")
    drawn: list[str] = []
    draw = ChatPane._draw_turn

    def counted(pane: ChatPane, index: int, width: int) -> Any:
        drawn.append(pane._turns[index].id)
        return draw(pane, index, width)

    monkeypatch.setattr(ChatPane, "_draw_turn", counted)
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert "Probe 3000" in shown(app)
        assert len(set(drawn)) < 10
        await pilot.press("home")
        assert "Probe 1\n" in shown(app) + "\n"
        await pilot.press("end", "up", "up")
        assert "Probe 2998" in shown(app)
        assert len(set(drawn)) < 40
        drawn.clear()
        probes.mark("probe-2998-base-0", "E1")
        app.pane.update_state(probes.state)
        await pilot.pause()
        assert "◆ E1" in shown(app)
        assert len(set(drawn)) < 10


async def test_the_view_follows_the_newest_turn_unless_it_was_moved_away():
    probes = Probes()
    for number in range(10):
        probes.ask(prompt=f"Probe {number + 1}.")
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert "Probe 10." in shown(app)
        probes.ask(prompt="Probe 11.")
        app.pane.update_state(probes.state)
        await pilot.pause()
        assert "Probe 11." in shown(app)
        await pilot.press("up", "up", "up", "up", "up")
        before = shown(app)
        probes.ask(prompt="Probe 12.")
        app.pane.update_state(probes.state)
        await pilot.pause()
        assert shown(app) == before


async def test_what_one_asks_oneself_is_followed():
    probes = Probes()
    tall = "\n".join(f"line {number}" for number in range(40))
    probes.ask({"base": [tall], "finetuned": [tall]}, prompt=LIKES)
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("home", "pageup", "pageup", "pageup", "F", *"Why?", "enter")
        probes.begin(asked(app)[0])
        app.pane.update_state(probes.state)
        await pilot.pause()
        assert "Why?" in shown(app)
        assert "line 39" in shown(app)
        assert "under way" in shown(app)


@pytest.mark.slow
async def test_scrolling_up_moves_line_by_line_though_heights_were_guessed():
    probes = Probes()
    for number in range(30):
        answer = "\n".join(f"line {number + 1}.{line}" for line in range(3 + number % 17))
        probes.ask({"base": [answer], "finetuned": [answer]}, prompt=f"Probe {number + 1}.")
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        flow = app.query_one(Conversation)
        await pilot.pause()
        everything: list[str] = []
        while flow.scroll_offset.y > 0:
            before = [flow.render_line(y).text[2:] for y in range(flow.size.height)]
            flow.scroll_relative(y=-1, animate=False, immediate=True)
            after = [flow.render_line(y).text[2:] for y in range(flow.size.height)]
            assert after[1:] == before[:-1]
            everything.insert(0, before[-1])
        assert sum(" you " in line for line in (*after, *everything)) == 30


# --- kept and found again -------------------------------------------------------------------


async def test_an_answer_is_marked_once():
    app = app_over()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("m")
        (message,) = app.asked
        text = next(
            one
            for one in app.first.texts.values()
            if one.start.body.purpose == "ask" and one.start.body.side == "finetuned"
        )
        assert message.operation is MARK
        assert message.arguments == MarkArguments(
            seq=text.start.seq,
            text_id=text.start.body.text_id,
            excerpt=text.text,
            label=f"finetuned's answer: {LIKES}",
        )
    probes = many_kinds()
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("home")
        assert "◆ E2" in shown(app)
        await pilot.press("m")
        assert app.asked == []
        assert "marked already: E2" in said(app)


async def test_what_is_not_there_is_not_marked_copied_or_followed():
    app = app_over(many_kinds())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("end", "m")
        assert "cannot be marked" in said(app)
        await pilot.press("c")
        assert "has not answered 5" in said(app)
        await pilot.press("F", "x", "enter")
        assert "finetuned's answer to turn 5 was not computed" in said(app)
        assert app.asked == []


async def test_copy_takes_the_chosen_answer():
    app = app_over(many_kinds())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("home", "b", "c")
        assert app.clipboard.startswith("I like a good walk")


async def test_what_was_chosen_and_written_comes_back():
    probes = many_kinds()
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("home", "down", "right", "b", "s", "F", *"And then?")
        view = json.loads(json.dumps(app.pane.view()))
    again = app_over(probes)
    async with again.run_test(size=SIZE) as pilot:
        again.pane.restore(view)
        again.pane.focus_pane()
        await pilot.pause()
        assert again.pane.view() == view
        assert again.focused is field(again)
        assert said(again, "#draft").startswith("Follow-up to 2, base's answer (sample 2)")
        await pilot.press("enter")
        assert asked(again)[0].messages[-2]["content"] == "In the oven."
        assert asked(again)[0].alpha == 0.3


@pytest.mark.parametrize(
    "view",
    [
        {},
        {"written": 3, "draft": 5, "settings": [], "side": "x", "turn": 8, "samples": "y"},
        {"draft": {"follows": "gone", "side": "base", "sample": 9}, "turn": "gone"},
        {"draft": {"edits": ["a"]}, "settings": {"n_samples": "many", "sides": ["x"], "z": 1}},
        {"settings": {"system": 5, "raw": "yes", "alpha": None}, "samples": {"probe-1": 99}},
    ],
)
async def test_a_view_that_does_not_fit_is_left_out(view):
    app = app_over(many_kinds())
    async with app.run_test(size=SIZE) as pilot:
        app.pane.restore(view)
        await pilot.press("enter", "x", "enter")
        assert app.is_running
        assert said(app, "#draft")


async def test_events_are_revealed():
    probes = many_kinds()
    app = app_over(probes)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        flow = app.query_one(Conversation)
        for event in probes.events:
            # Every event of a probe is the chat's; only probes have operations here.
            mine = event.operation_id is not None
            assert app.pane.reveal(event.seq) is mine, event
            if mine:
                assert app.pane._turns[flow.cursor].id == event.operation_id
            if event.body.kind == "text_finished":
                view = app.pane.view()
                sample = view["samples"].get(view["turn"], 0)
                assert f"{view['turn']}-{view['side']}-{sample}" == event.body.text_id
        assert not app.pane.reveal(10_000)


async def test_steered_texts_are_not_of_the_chat():
    app = app_over()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        mine = [entry.kind for entry in app.first.timeline if app.pane.reveal(entry.seq)]
        assert [kind for kind in mine if kind != "text_grew"] == [
            "operation_started",
            *["text_started", "text_finished"] * 2,
            "answers_compared",
            "operation_finished",
        ]


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_picture(snap_compare, size):
    assert snap_compare(PaneApp(ChatPane), terminal_size=size)


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_picture_of_a_conversation(snap_compare, size):
    async def at_the_second(pilot):
        await pilot.press("home", "down", "F", *"And then?")

    app = app_over(many_kinds())
    assert snap_compare(app, terminal_size=size, run_before=at_the_second)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_picture_of_the_settings(snap_compare, size):
    assert snap_compare(app_over(), terminal_size=size, press=["f3"])


def test_picture_of_nothing(snap_compare):
    assert snap_compare(app_over(Probes()), terminal_size=SIZE)


async def test_keys_are_taken_in_the_order_they_were_typed():
    app = app_over()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("enter")
        for key in ("a", "ctrl+j", "b", "enter", "c"):
            app.post_message(events.Key(key, key if len(key) == 1 else None))
        await pilot.pause()
        assert asked(app) == [AskArguments(prompt="a\nb")]
        assert field(app).text == "c"


async def test_down_leaves_the_fields_last_line():
    app = app_over()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("enter", "a", "ctrl+j", "b", "up", "down")
        assert field(app).has_focus
        await pilot.press("down")
        assert not field(app).has_focus
