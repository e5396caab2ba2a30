"""The replay screen, by keys, over the sample audit."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from textual.widgets import Input

from tests.hostile import hostile_texts
from tests.workbench.tui.recording import ReplayApp, recording, seq_of
from tests.workbench.tui.sample import sample, sample_state
from tests.workbench.tui.waiting import screen_text, until
from workbench.display import clean_lines
from workbench.replay.player import CHANGES, Player
from workbench.store.agent_events import AuditSealed
from workbench.store.events import HUMAN, SYSTEM, NoteWritten
from workbench.store.log import SessionLog
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.dialogs.pane_help import PaneHelp
from workbench.tui.keys import own_bindings
from workbench.tui.messages import BranchSession, ShowSessions
from workbench.tui.panes.hypotheses.pane import HypothesesPane
from workbench.tui.panes.pair.pane import PairPane
from workbench.tui.panes.readings.pane import ReadingsPane
from workbench.tui.panes.steering.pane import SteeringPane
from workbench.tui.panes.timeline.pane import TimelinePane
from workbench.tui.screens.coverage import CoverageScreen
from workbench.tui.screens.panes import PANES

LENGTH = len(sample()[0])
SIZES = [(80, 24), (160, 48)]


def current(app: ReplayApp) -> type:
    """The pane in front."""
    return PANES[app.replay._current]


@pytest.mark.slow
async def test_the_screen_shows_the_session_as_it_stood_after_every_kind_of_event():
    app = ReplayApp(seq=LENGTH)
    kinds = {event.body.kind: event.seq for event in sample()[0]}
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: app.replay._ready, "the whole session")
        for seq in kinds.values():
            app.replay._seek(seq)
            assert all(pane.state is app.opened.shown for pane in app.replay.panes)
            assert app.opened.shown.seq == seq
        app.replay._seek(LENGTH)
        assert app.opened.shown.digest() == sample_state().digest()


@pytest.mark.slow
async def test_steps_and_both_ends():
    app = ReplayApp(seq=5)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.standing.position == 5, "the event")
        await pilot.press("greater_than_sign", "greater_than_sign", "less_than_sign")
        assert app.standing.position == 6
        await pilot.press("dollar_sign")
        assert (app.standing.position, app.standing.at_end) == (LENGTH, True)
        await pilot.press("circumflex_accent")
        assert (app.standing.position, app.standing.current) == (0, None)
        await pilot.press("less_than_sign")
        assert app.standing.position == 0


@pytest.mark.slow
async def test_from_change_to_change():
    app = ReplayApp(seq=0)
    changes = [event.seq for event in sample()[0] if event.body.kind in CHANGES]
    async with app.run_test(size=(80, 24)) as pilot:
        found = []
        for _ in changes:
            await pilot.press("right_curly_bracket")
            await until(pilot, lambda: not app.standing.waits, "the change")
            found.append(app.standing.position)
            assert current(app) is HypothesesPane
        assert found == changes
        await pilot.press("right_curly_bracket")
        await until(pilot, lambda: app.said, "that there is no more")
        await pilot.press("left_curly_bracket")
        assert app.standing.position == changes[-2]


@pytest.mark.slow
async def test_the_pane_that_has_the_event_comes_to_the_front():
    app = ReplayApp(seq=0)
    places = [
        (seq_of("pair_loaded"), PairPane),
        (seq_of("reading_taken", 3), ReadingsPane),
        (seq_of("text_started"), SteeringPane),
        (seq_of("evidence_marked"), HypothesesPane),
    ]
    async with app.run_test(size=(80, 24)) as pilot:
        for seq, pane in places:
            app.replay._seek(seq)
            await pilot.pause()
            assert current(app) is pane
            await until(
                pilot,
                lambda pane=pane: (
                    pane is PairPane
                    or (app.focused and app.replay.query_one(pane) in app.focused.ancestors)
                ),
                "the focus",
            )
        await pilot.press("ctrl+f")
        app.replay._seek(places[1][0])
        assert current(app) is HypothesesPane
        await pilot.press("ctrl+f")
        assert current(app) is ReadingsPane


@pytest.mark.slow
async def test_an_event_is_gone_to_by_its_number():
    app = ReplayApp(seq=0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(app.screen, AskLine), "the question")
        await pilot.press("ctrl+u", *"#634", "enter")
        await until(pilot, lambda: app.standing.position == 634, "the event")
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(app.screen, AskLine), "the question")
        await pilot.press("ctrl+u", *"655", "enter")
        await until(pilot, lambda: app.said, "the refusal")
        assert f"give 0 to {LENGTH}" in app.said[-1]
        assert app.standing.position == 634


@pytest.mark.slow
async def test_it_is_not_said_to_play_while_it_asks_where_to_go():
    app = ReplayApp(seq=None)
    async with app.run_test(size=(80, 24)) as pilot:
        app.opened.player.play()
        app.replay._show_standing()
        assert app.standing.playing
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(app.screen, AskLine), "the question")
        assert not app.standing.playing


@pytest.mark.slow
async def test_playing_goes_to_the_end_and_from_there_begins_again():
    app = ReplayApp(seq=LENGTH - 6)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*["right_parenthesis"] * 7, "space")
        assert app.standing.speed == 64
        await until(pilot, lambda: app.standing.at_end and not app.standing.playing, "the end")
        assert app.standing.position == LENGTH
        await pilot.press(*["left_parenthesis"] * 9, "space")
        assert (app.standing.speed, app.standing.playing) == (0.25, True)
        assert app.standing.position < LENGTH
        await pilot.press("space")
        assert not app.standing.playing


@pytest.mark.slow
async def test_without_a_place_to_stand_it_begins_to_play():
    app = ReplayApp(seq=None)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.standing.position > 1, "the second event")
        assert app.standing.playing


async def test_only_the_turns_of_one():
    app = ReplayApp(seq=0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("T")
        await until(pilot, lambda: app.standing.turns == "human", "the human's turns")
        await pilot.press("T")
        await until(pilot, lambda: app.standing.turns == "agent", "the agent's turns")
        await pilot.press("greater_than_sign")
        await until(pilot, lambda: not app.standing.waits, "that it looked")
        # The sample has no agent.
        assert app.standing.position == 0
        await pilot.press("T")
        assert app.standing.turns == "all"


@pytest.mark.slow
@pytest.mark.parametrize("pane", range(len(PANES)))
async def test_nothing_that_records_or_runs_a_model_is_offered(pane: int):
    app = ReplayApp(seq=LENGTH)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.standing.position == LENGTH, "the end")
        await pilot.pause()
        await pilot.press(str(pane + 1))
        await until(pilot, lambda: current(app) is PANES[pane], "the pane")
        held = app.replay.panes[pane]
        offered = {
            one.binding.action.partition("(")[0]
            for one in app.replay.active_bindings.values()
            if one.node is held and one.enabled
        }
        assert offered <= held.LOOKS
        before = app.standing
        for key in ("m", "s", "S", "o", "d", "y", "M", "t", "e", "enter", "escape"):
            await pilot.press(key)
        await pilot.pause()
        # That is what an operation that was asked for after all is answered with.
        assert not [one for one in app.said if one.startswith("that:")]
        assert app.standing.position == before.position


#: What a key is said to do, where a screen tells of it: "o adds one", "s steers with the settings".
DOES = (
    "adds|asks|begins|chooses|confirms|edits|goes on|hands|links|marks|measures|opens|reads|rejects|"
    "reads|sends|shows|starts|steers|stops|sweeps|types|writes"
)


@pytest.mark.slow
@pytest.mark.parametrize("seq", [0, 1, 2, 5, LENGTH])
@pytest.mark.parametrize("size", [(160, 48), (80, 24)])
async def test_no_pane_tells_of_a_key_that_a_replay_has_not(seq: int, size: tuple[int, int]):
    app = ReplayApp(seq=seq)
    async with app.run_test(size=size) as pilot:
        # It goes there once it has read so far, and brings up the pane of the event.
        await until(pilot, lambda: app.standing.position == seq, "the event")
        for place, pane in enumerate(app.replay.panes):
            await pilot.press(str(place + 1))
            await until(pilot, lambda pane=pane: current(app) is type(pane), "the pane")
            await pilot.pause()
            words = " ".join(screen_text(app).split())
            for binding in own_bindings(pane):
                name = binding.action.partition("(")[0]
                key = binding.key_display or binding.key
                if not pane.offers(name) and len(key) == 1:
                    told = re.search(rf"(?<![\w-]){re.escape(key)} ({DOES})\b", words)
                    assert told is None, (type(pane).__name__, told)


@pytest.mark.slow
async def test_a_key_that_is_not_offered_says_why():
    app = ReplayApp(seq=LENGTH)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.standing.position == LENGTH, "the event")
        await pilot.pause()
        await pilot.press("2")
        await until(pilot, lambda: current(app) is ReadingsPane, "the pane")
        await pilot.press("m")
        await until(pilot, lambda: app.said, "why")
        assert app.said[-1].startswith("Mark: this is a replay")


@pytest.mark.slow
async def test_the_help_names_what_there_is():
    app = ReplayApp(seq=LENGTH)
    async with app.run_test(size=(160, 48)) as pilot:
        # It goes there once it has read so far, and brings up the pane of the event.
        await until(pilot, lambda: app.standing.position == LENGTH, "the event")
        await pilot.press("6", "f1")
        await until(pilot, lambda: isinstance(app.screen, PaneHelp), "the help")
        keys = app.screen._keys().plain
        assert "Play, or pause" in keys
        assert "Search, or go to #number" in keys
        assert "Mark the event as evidence" not in keys


@pytest.mark.slow
async def test_a_space_in_a_search_is_text():
    app = ReplayApp(seq=LENGTH)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.standing.position == LENGTH, "the event")
        await pilot.press("6")
        pane = app.replay.query_one(TimelinePane)
        await until(pilot, lambda: app.focused and pane in app.focused.ancestors, "the pane")
        await pilot.press("slash")
        await until(pilot, lambda: isinstance(app.focused, Input), "the field")
        await pilot.press(*"of", "space", *"cakes")
        assert app.focused.value == "of cakes"  # type: ignore[union-attr]
        assert not app.standing.playing


@pytest.mark.slow
async def test_a_branch_begins_at_the_event_shown():
    app = ReplayApp(seq=640)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("B")
        await until(pilot, lambda: isinstance(app.screen, AskLine), "the question")
        await pilot.press("ctrl+u", *"better", "enter")
        await until(pilot, lambda: app.asked, "the branch")
        assert app.asked == [BranchSession("20260314-planted", 640, "better")]
        await until(pilot, lambda: app.screen is app.replay, "the replay")
        await pilot.press("circumflex_accent", "B")
        assert app.screen is app.replay


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pressed", "position", "playing"),
    [
        (["dollar_sign", "less_than_sign"], LENGTH - 1, False),
        (["dollar_sign", "circumflex_accent", "greater_than_sign"], 1, False),
        (["dollar_sign", "left_curly_bracket", "greater_than_sign"], 0, False),
        (["right_curly_bracket", "circumflex_accent"], 0, False),
        (["dollar_sign", "less_than_sign", "space", "space"], LENGTH - 1, False),
        (["right_curly_bracket", "space"], 0, True),
    ],
)
async def test_keys_that_come_before_all_is_read_act_in_their_order(
    monkeypatch, pressed, position, playing
):
    read_on, may_read = Player.prepare, []
    monkeypatch.setattr(
        Player, "prepare", lambda self, seconds: bool(may_read) and read_on(self, seconds)
    )
    changes = [event.seq for event in sample()[0] if event.body.kind in CHANGES]
    if "left_curly_bracket" in pressed:
        position = changes[-1] + 1
    app = ReplayApp(seq=0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*pressed)
        assert app.standing.waits
        may_read.append(True)
        await until(pilot, lambda: not app.standing.waits, "the end of the reading")
        player = app.opened.player
        if playing:
            assert player.playing
            assert player.position >= changes[0]
        else:
            assert (player.position, player.playing) == (position, False)


@pytest.mark.slow
async def test_a_branch_asked_for_before_all_is_read_begins_where_the_keys_before_it_lead(
    monkeypatch,
):
    read_on, may_read = Player.prepare, []
    monkeypatch.setattr(
        Player, "prepare", lambda self, seconds: bool(may_read) and read_on(self, seconds)
    )
    app = ReplayApp(seq=0)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("dollar_sign", "B")
        assert app.screen is app.replay
        may_read.append(True)
        await until(pilot, lambda: isinstance(app.screen, AskLine), "the question")
        await pilot.press("ctrl+u", *"better", "enter")
        await until(pilot, lambda: app.asked, "the branch")
        assert app.asked == [BranchSession("20260314-planted", LENGTH, "better")]


@pytest.mark.slow
async def test_coverage_of_the_moment_and_the_way_out():
    app = ReplayApp(seq=LENGTH)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(app.screen, CoverageScreen), "the coverage")
        await pilot.press("escape", "ctrl+r")
        await until(pilot, lambda: app.asked, "the way out")
        assert isinstance(app.asked[0], ShowSessions)
    assert app.opened._log.closed  # type: ignore[attr-defined]


@pytest.mark.slow
async def test_what_is_hidden_at_the_end_is_hidden_from_the_start():
    opened = recording(**{"planted-base": "model B", "planted-finetuned": "model F"})
    app = ReplayApp(opened, seq=seq_of("pair_loaded"))
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.pause()
        shown = app.export_screenshot()
        assert "planted-base" not in shown
        assert "B" in str(opened.shown.pair["base"]["checkpoint"])  # type: ignore[index]
        assert opened.event(seq_of("pair_loaded")).body.pair["base"]["checkpoint"] == "model B"  # type: ignore[union-attr]


def test_the_names_of_a_blind_session_are_found_in_its_log(tmp_path):
    from workbench.tui.replay_session import ReplayedSession

    path = tmp_path / "sessions.db"
    with SessionLog.open(path) as log:
        session = log.start_session("on planted-base", {}, HUMAN)
        sealed = AuditSealed(organism=None, ground_truth_sha256=None, aliases={"planted-base": "B"})
        log.append(session, sealed, actor=SYSTEM)
    opened = ReplayedSession.open(path, "last")
    try:
        opened.player.step()
        assert opened.shown.name == opened.name == "on B"
        assert "planted" not in opened.shown.timeline[0].description
    finally:
        opened.close()


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
async def test_hostile_text_stays_text(size):
    events = list(sample()[0])
    for text in hostile_texts(60):
        last = events[-1]
        body = NoteWritten(text=text)
        events.append(last.model_copy(update={"seq": last.seq + 1, "body": body}))
    app = ReplayApp(recording(events), seq=LENGTH)
    async with app.run_test(size=size) as pilot:
        await pilot.press("6")
        for _ in range(60):
            await pilot.press("greater_than_sign")
            line = app.replay.query_one("Transport").render().plain  # type: ignore[attr-defined]
            assert line.count("\n") == 1
            assert clean_lines(line) == line
        assert app.standing.position == LENGTH + 60
        assert events[-1].body.describe()


LIGHT = """
import asyncio, json, sys
from tests.workbench.tui.recording import ReplayApp
heavy = {"torch", "transformers", "nnsight", "peft", "openai", "datasets"}
before = sorted(heavy & sys.modules.keys())
async def main():
    app = ReplayApp(seq=0)
    async with app.run_test(size=(160, 48)) as pilot:
        for key in ("right_curly_bracket", "dollar_sign", *"1234567", "ctrl+l", "escape"):
            await pilot.press(key)
        assert app.standing.at_end
asyncio.run(main())
print(json.dumps(sorted(heavy & sys.modules.keys())))
"""


@pytest.mark.slow
def test_no_model_library_and_no_client_is_loaded():
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", ["reading", "steering", "end"])
def test_picture(snap_compare, size, place):
    seq = {
        "reading": seq_of("reading_taken", 3),
        "steering": seq_of("text_finished", 5),
        "end": LENGTH,
    }[place]

    async def read(pilot):
        replayed = pilot.app
        await until(
            pilot,
            lambda: replayed.replay._ready and replayed.standing.position == seq,
            "the whole session",
        )
        await pilot.pause()

    assert snap_compare(ReplayApp(seq=seq), terminal_size=size, run_before=read)


def panes_shown(app: ReplayApp) -> dict[str, str]:
    """The text of each pane, as the terminal has it."""
    screen = screen_text(app).split("\n")
    shown = {}
    for pane in app.replay.panes:
        area = pane.region
        lines = (screen[y][area.x : area.right] for y in range(area.y, area.bottom))
        shown[type(pane).__name__] = "\n".join(lines)
    return shown


@pytest.mark.slow
async def test_a_jump_shows_the_same_wherever_it_comes_from():
    places = [
        seq_of("difference_measured"),
        seq_of("reading_taken", 200),
        seq_of("text_finished", 5),
        seq_of("evidence_marked"),
        LENGTH,
    ]
    fresh = {}
    for place in places:
        app = ReplayApp(seq=place)
        async with app.run_test(size=(300, 80)) as pilot:
            await until(pilot, lambda app=app, at=place: app.standing.position == at, "the event")
            await pilot.pause()
            await pilot.pause()
            fresh[place] = panes_shown(app)
    app = ReplayApp(seq=0)
    # In both directions, to the next place and past one.
    ways = [place for step in (2, -1) for place in places[::step]]
    async with app.run_test(size=(300, 80)) as pilot:
        await until(pilot, lambda: app.replay._ready, "the whole session")
        for place in ways:
            app.replay._seek(place)
            await pilot.pause()
            await pilot.pause()
            assert panes_shown(app) == fresh[place], place
