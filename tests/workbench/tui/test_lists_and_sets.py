"""Lists side by side, texts that hold a token, looked at and nothing, sets of questions, history."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from textual.app import App

from tests.workbench.tui.conftest import PaneApp
from tests.workbench.tui.sample import sample_state
from tests.workbench.tui.waiting import screen_text, until
from workbench.operations.generation import ASK
from workbench.operations.notes import NOTE
from workbench.question_sets import load_sets, save_set
from workbench.settings import SettingsError
from workbench.tui.dialogs.question_sets import QuestionSets
from workbench.tui.dialogs.token_texts import TokenTexts, texts_with
from workbench.tui.dialogs.two_lists import TwoLists
from workbench.tui.panes.chat.field import ProbeField
from workbench.tui.panes.chat.pane import ChatPane
from workbench.tui.panes.readings.pane import ReadingsPane
from workbench.tui.panes.timeline.pane import TimelinePane
from workbench.tui.widgets.pane import Pane
from workbench.tui.widgets.rows import Rows

SIZE = (110, 40)


def submitted(app: PaneApp) -> list[Pane.Submit]:
    return [one for one in app.asked if isinstance(one, Pane.Submit)]


# --- from a token to its texts --------------------------------------------------------------


def test_texts_that_hold_a_token_are_found_and_ordered_by_how_often():
    state = sample_state()
    found = texts_with(state, " Batter")
    held = {t.start.seq: t.text.lower().count("batter") for t in state.texts.values()}
    assert {one.seq: one.times for one in found} == {s: n for s, n in held.items() if n}
    assert [one.times for one in found] == sorted((one.times for one in found), reverse=True)
    for one in found:
        assert one.word.lower() == "batter"
        assert (one.before + one.word + one.after) in next(
            text.text for text in state.texts.values() if text.start.seq == one.seq
        )
    assert texts_with(state, "  ") == texts_with(state, "zebra") == []


async def test_a_token_leads_to_a_text_that_holds_it():
    app = PaneApp(ReadingsPane)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("down", "down", "@")
        assert isinstance(app.screen, TokenTexts)
        token = app.screen._token
        held = f"\u201c{token.strip()}\u201d is in"
        await until(pilot, lambda: held in screen_text(app), "the texts")
        (first, *_) = texts_with(app.first, token)
        await pilot.press("enter")
        await pilot.pause()
        assert [one.seq for one in app.asked if isinstance(one, Pane.Jump)] == [first.seq]


# --- two lists ------------------------------------------------------------------------------


@pytest.mark.slow
async def test_two_lists_stand_side_by_side_with_ranks_in_each_other():
    app = PaneApp(ReadingsPane)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("|")
        assert isinstance(app.screen, TwoLists)
        screen = app.screen
        first = "left:  consensus of difference on base, layer 3, position 1-4"
        await until(pilot, lambda: first in screen_text(app), "the lists")
        seen = set()
        for _ in screen._others:
            name, tokens = screen._others[screen._at]
            seen.add(name)
            mine = screen._first[1]
            row = screen._row(0, 90).plain.split()
            assert row[-1] == (str(mine.index(tokens[0]) + 1) if tokens[0] in mine else "-")
            shared = len(set(mine[:20]) & set(tokens[:20]))
            place = (
                f"List {screen._at + 1} of {len(screen._others)}: {shared} of the first 20 tokens"
            )
            await until(pilot, lambda place=place: place in screen_text(app), "the list")
            # A long name goes on in the next line.
            assert f"right: {name[:60]}" in screen_text(app)
            await pilot.press("right")
        assert len(seen) > 5
        await pilot.press("left", "left", "down", "pagedown", "escape")
        assert not isinstance(app.screen, TwoLists)


# --- looked at, nothing ---------------------------------------------------------------------


async def test_a_token_that_is_nothing_is_noted_with_its_place():
    app = PaneApp(ReadingsPane)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("down", "_")
        (asked,) = submitted(app)
        assert asked.operation is NOTE
        assert asked.arguments.text.startswith(
            "Looked at, nothing: 'oven', consensus of difference on"
        )
        assert asked.arguments.text.endswith("(event 7)")


async def test_an_event_that_is_nothing_is_noted():
    app = PaneApp(TimelinePane)
    async with app.run_test(size=SIZE) as pilot:
        app.pane.reveal(640)
        await pilot.press("_")
        (asked,) = submitted(app)
        assert asked.operation is NOTE
        assert "answers compared" in asked.arguments.text
        assert asked.arguments.text.endswith("(event 640)")


# --- history --------------------------------------------------------------------------------


class FieldApp(App[None]):
    asked = ("newest", "older\nof two lines", "oldest")

    def compose(self):
        yield ProbeField(on_send=lambda: None, history=lambda: self.asked, id="field")


async def test_arrow_up_goes_through_what_was_asked():
    app = FieldApp()
    async with app.run_test(size=(60, 10)) as pilot:
        field = app.query_one(ProbeField)
        field.focus()
        seen = []
        for key in ("up", "up", "up", "up", "down", "down", "down", "up"):
            await pilot.press(key)
            seen.append(field.text)
        a, b, c = app.asked
        assert seen == [a, b, c, c, b, a, "", a]
        # What is being written is never replaced.
        await pilot.press("x", "up")
        assert field.text == f"{a}x"


async def test_the_chat_fields_history_is_the_sessions_questions():
    app = PaneApp(ChatPane)
    async with app.run_test(size=SIZE) as pilot:
        app.pane.query_one(ProbeField).focus()
        await pilot.press("up")
        assert app.pane.query_one(ProbeField).value == "What do you like best?"


# --- sets of questions ----------------------------------------------------------------------


def test_sets_are_kept_by_name(tmp_path):
    file = tmp_path / "deep" / "question_sets.json"
    assert load_sets(file) == {}
    save_set(file, "food ", ["What do you eat?", "É?"])
    save_set(file, "other", ["a"])
    save_set(file, "food", ["b"])
    assert load_sets(file) == {"food": ["b"], "other": ["a"]}
    for name, questions in ((" ", ["a"]), ("x", [])):
        with pytest.raises(SettingsError):
            save_set(file, name, questions)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1}', b"\xff", b'{"a": [1]}'])
def test_a_file_that_holds_no_sets_is_refused_by_name_and_kept(tmp_path, content):
    file = tmp_path / "question_sets.json"
    file.write_bytes(content)
    for attempt in (lambda: load_sets(file), lambda: save_set(file, "x", ["a"])):
        with pytest.raises(SettingsError, match="question_sets.json"):
            attempt()
    assert file.read_bytes() == content
    file.unlink()
    file.mkdir()
    with pytest.raises(SettingsError, match="question_sets.json"):
        load_sets(file)


@pytest.mark.slow
async def test_a_set_is_kept_and_sent_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("ADL_WORKBENCH_HOME", str(tmp_path))
    app = PaneApp(ChatPane, replace(sample_state(), pair=sample_state().pair))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("&")
        assert isinstance(app.screen, QuestionSets)
        offer = "w keeps the 1 question of this session"
        await until(pilot, lambda: offer in screen_text(app), "the offer")
        await pilot.press("w", *"mine", "enter")
        await pilot.pause()
        assert app.screen.query_one(Rows).count == 1
        (file,) = tmp_path.rglob("question_sets.json")
        assert json.loads(file.read_text()) == {"mine": ["What do you like best?"]}
        save_set(file, "mine", ["One?", "Two?", "Three?"])
        await pilot.press("escape", "&")
        await pilot.pause()
        await pilot.press("enter")
        await pilot.pause()
        asked = submitted(app)
        assert [one.operation for one in asked] == [ASK] * 3
        assert [one.arguments.prompt for one in asked] == ["One?", "Two?", "Three?"]
