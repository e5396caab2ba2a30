"""The steering console by keys, over the sample and over sessions that go on from it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from textual.widgets import Input, Static

from adl.nulls import NULLS
from tests.workbench.tui.conftest import PaneApp
from tests.workbench.tui.sample import BEGAN, sample, sample_state
from tests.workbench.tui.waiting import screen_text
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import STEER, SteerArguments
from workbench.operations.hypotheses import MARK, UNMARK, MarkArguments, UnmarkArguments
from workbench.operations.jobs import Job
from workbench.store.events import (
    HUMAN,
    Event,
    EvidenceLinked,
    EvidenceMarked,
    OperationFailed,
    OperationFinished,
    OperationStarted,
    OperationStopped,
    TextFinished,
    TextGrew,
    TextStarted,
)
from workbench.store.state import SessionState, fold
from workbench.tui.panes.steering.pane import SteeringPane
from workbench.tui.widgets.pane import Pane
from workbench.tui.widgets.rows import Rows
from workbench.tui.widgets.text_columns import SampleList

HOSTILE = "\x1b]52;c;aGFja2Vk\x07\x1b[2J\x9b2J [@click=app.quit]x[/] [/ \u202eevil\u202c\x00"


def going_on(*bodies: Any, operation_id: str = "later") -> SessionState:
    """The sample, and then these."""
    events = list(sample()[0])
    for body in bodies:
        seq = len(events) + 1
        events.append(
            Event(
                session_id=events[0].session_id,
                seq=seq,
                at=BEGAN + timedelta(seconds=seq),
                actor=HUMAN,
                operation_id=operation_id,
                body=body,
                previous="",
                sha256="",
            )
        )
    return fold(events)


def started(**arguments: Any) -> OperationStarted:
    given = SteerArguments(**({"layer": "3", "alphas": (0.0, 0.3)} | arguments))
    return OperationStarted(operation="steer", arguments=given.model_dump(mode="json"))


def begun(text_id: str, alpha: float, **given: Any) -> TextStarted:
    fields = {
        "side": "finetuned",
        "layer": 3 if alpha else None,
        "position": "1-4" if alpha else None,
        "source": "difference" if alpha else None,
        "seed": 0,
        "temperature": 1.1,
        "max_new_tokens": 60,
        "messages": ({"role": "user", "content": "Plan a quiet weekend."},),
    }
    return TextStarted(text_id=text_id, purpose="steer", alpha=alpha, **(fields | given))


def finished(text_id: str, text: str, ended: str = "length") -> TextFinished:
    return TextFinished(text_id=text_id, text=text, token_ids=(1, 2), ended=ended)


def kept(text_id: str, evidence_id: str, seq: int = 1) -> EvidenceMarked:
    return EvidenceMarked(evidence_id=evidence_id, of_seq=seq, excerpt="x", text_id=text_id)


BOTH = (
    started(),
    begun("plain", 0.0),
    begun("steered", 0.3),
    finished("plain", "Walk along the shore.", "end_of_text"),
    finished("steered", "Bake a cake by the sea."),
    OperationFinished(seconds=1.5),
)


def asked(app: PaneApp) -> list[tuple[str, Any]]:
    return [
        (message.operation.name, message.arguments)
        for message in app.asked
        if isinstance(message, Pane.Submit)
    ]


def said(app: PaneApp) -> str:
    return str(app.query_one("#status", Static).render())


def settings(app: PaneApp) -> Any:
    return app.query_one(SteeringPane).console.settings


# --- settings by keys ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "alpha"),
    [
        (["right"], 0.31),
        (["left", "left"], 0.28),
        (["shift+right"], 0.4),
        (["full_stop"], 0.4),
        (["comma"], 0.2),
        (["comma"] * 5, 0.0),
        (["full_stop"] * 8, 1.1),
        (["equals_sign", *"0.375", "enter"], 0.375),
        (["equals_sign", *"-0.2", "enter", "right"], -0.19),
        (["l", "3", "enter", "asterisk"], 0.45),
    ],
)
async def test_alpha_moves_by_keys_and_is_typed(keys, alpha):
    app = PaneApp(SteeringPane)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*keys)
        assert settings(app).alpha == pytest.approx(alpha)


@pytest.mark.slow
async def test_steering_is_asked_for_with_what_is_set():
    app = PaneApp(SteeringPane)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("l", "3", "enter", "p", "p", "b", "v", "D", "5", "enter", "right")
        await pilot.press("t", *"0.8", "enter", "X", *"25", "enter", "number_sign", "2", "enter")
        await pilot.press("o", *"Who are you?", "enter", "s")
        assert asked(app) == [
            (
                "steer",
                SteerArguments(
                    prompts=("Who are you?",),
                    alphas=(0.0, 0.31),
                    layer="3",
                    position="1",
                    side="base",
                    source="random",
                    n_samples=2,
                    seed=5,
                    temperature=0.8,
                    max_new_tokens=25,
                ),
            )
        ]


async def test_another_carrier_needs_no_difference():
    app = PaneApp(SteeringPane)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("l", "0", "enter", "semicolon", "equals_sign", "2", "enter", "s")
        assert settings(app).carrier == "logits"
        assert "log p of base" in screen_text(app)
        assert [name for name, _ in asked(app)] == ["amplify"]
        (arguments,) = (given for _, given in asked(app))
        assert (arguments.carrier, arguments.strengths) == ("logits", (2.0,))
        await pilot.press("semicolon", "equals_sign", "1", "enter", "s")
        assert "finetuned model itself" in said(app)
        assert len(asked(app)) == 1


async def test_the_form_is_walked_by_tab_and_arrows():
    app = PaneApp(SteeringPane)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("shift+tab", "shift+tab", "down", "right", "down", "right", "down")
        assert app.focused.id == "settings"
        assert (settings(app).layer, settings(app).position) == ("3", "0")
        assert settings(app).side == "base"
        await pilot.press("right", "right", "enter", *"77", "enter")
        assert settings(app).seed == 77
        assert app.focused.id == "settings"


async def test_a_sweep_is_asked_for_with_its_alphas():
    app = PaneApp(SteeringPane)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("A", *"0.2 0.5", "enter", "Y", "2", "enter", "S")
        assert asked(app) == [
            ("steer", SteerArguments(n_prompts=2, alphas=(0.0, 0.2, 0.5), max_new_tokens=40))
        ]


@pytest.mark.slow
async def test_what_is_wrong_is_said_in_place_and_nothing_is_asked():
    app = PaneApp(SteeringPane)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("equals_sign", *"much", "enter")
        assert "alpha must be a number, not 'much'" in said(app)
        assert app.query_one(Input).has_focus
        await pilot.press("escape")
        assert said(app) == ""
        assert settings(app).alpha == 0.3
        assert app.query_one(SampleList).has_focus
        await pilot.press("o", "enter")
        assert "prompt must not be empty" in said(app)
        await pilot.press("escape", "l", *"17", "enter")
        assert "layer 17 is not a layer of this model" in said(app)
        await pilot.press("backspace", "backspace", "enter")
        assert "layer must be a number (15) or a share of the depth" in said(app)
        await pilot.press("escape", *["comma"] * 4, "s")
        assert "adds nothing" in said(app)
        assert asked(app) == []


async def test_a_layer_that_was_not_measured_is_measured_by_a_key():
    app = PaneApp(SteeringPane)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("M")
        assert asked(app) == []
        await pilot.press("l", "4", "enter")
        assert "not computed: the difference at layer 4. M measures it." in said(app)
        assert "norm not computed" in screen_text(app)
        await pilot.press("s")
        assert asked(app) == []
        await pilot.press("M")
        assert asked(app) == [("measure_difference", MeasureArguments(layers=("4",)))]
        measuring = Job("j", MEASURE, MeasureArguments(layers=("4",)), HUMAN, status="running")
        app.pane.show_jobs([measuring])
        assert "being measured" in said(app)
        await pilot.press("s")
        assert [name for name, _ in asked(app)] == ["measure_difference", "steer"]


async def test_a_measurement_behind_the_steering_does_not_count():
    app = PaneApp(SteeringPane)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("l", "4", "enter")
        behind = MeasureArguments(layers=("4",))
        app.pane.show_jobs([Job("j", MEASURE, behind, HUMAN, background=True)])
        await pilot.press("s")
        assert asked(app) == []


async def test_an_empty_session_says_so():
    app = PaneApp(SteeringPane, SessionState())
    async with app.run_test(size=(80, 24)) as pilot:
        assert "Nothing was steered yet" in screen_text(app)
        await pilot.press(*"spbvmUcCM[]*", "tab", "down", "up", "enter", "escape", "end", "home")
        await pilot.press("s")
        assert "no model pair is loaded" in said(app)
        assert asked(app) == []


# --- texts ------------------------------------------------------------------------------------


async def test_texts_stand_beside_each_other_while_they_are_written():
    state = going_on(*BOTH[:3], TextGrew(pieces={"steered": "Bake a", "plain": "Walk"}))
    app = PaneApp(SteeringPane, state)
    async with app.run_test(size=(100, 24)):
        shown = screen_text(app)
        assert "α 0.3  writing" in shown
        assert "unsteered  writing" in shown
        assert "Bake a▌" in shown
        assert "writing, 2 of 2 begun" in shown
        app.pane.update_state(going_on(*BOTH))
        shown = screen_text(app)
        (line,) = [line for line in shown.split("\n") if "Bake a cake by the sea." in line]
        assert "Walk along the shore." in line
        assert "α 0.3  length limit" in shown
        assert "unsteered  end of text" in shown


async def test_texts_stand_below_each_other_where_there_is_no_room():
    app = PaneApp(SteeringPane, going_on(*BOTH))
    async with app.run_test(size=(60, 30)):
        lines = screen_text(app).split("\n")
        (steered,) = [index for index, line in enumerate(lines) if "Bake a cake" in line]
        (plain,) = [index for index, line in enumerate(lines) if "Walk along" in line]
        assert plain == steered + 2


async def test_a_text_that_was_cut_off_says_so():
    cut = (*BOTH[:3], TextGrew(pieces={"steered": "Bake"}), OperationStopped(reason="", seconds=1))
    app = PaneApp(SteeringPane, going_on(*cut))
    async with app.run_test(size=(100, 24)):
        assert "α 0.3  cut off" in screen_text(app)
        assert "2/2" in screen_text(app)


async def test_a_failure_says_what_to_do():
    failed = OperationFailed(
        error="SiteError", message="no room", way_out="Use a smaller batch.", seconds=1.0
    )
    app = PaneApp(SteeringPane, going_on(started(), failed))
    async with app.run_test(size=(80, 24)):
        shown = screen_text(app)
        assert "failed" in shown
        assert "no room" in shown
        assert "Use a smaller batch." in shown
        assert "not computed: no text begun" in shown


async def test_a_steering_that_waits_is_said():
    app = PaneApp(SteeringPane)
    async with app.run_test(size=(80, 24)) as pilot:
        app.pane.show_jobs([Job("j", STEER, SteerArguments(), HUMAN)])
        await pilot.pause()
        assert "a steering waits" in screen_text(app)


async def test_older_steering_is_browsed_and_the_newest_followed():
    app = PaneApp(SteeringPane, going_on(*BOTH))
    async with app.run_test(size=(80, 24)) as pilot:
        assert "2/2" in screen_text(app)
        await pilot.press("[")
        assert "1/2 #621" in screen_text(app)
        assert "frosting" in screen_text(app)
        app.pane.update_state(going_on(*BOTH))
        assert "1/2 #621" in screen_text(app)
        await pilot.press("]", "]")
        assert "2/2" in screen_text(app)
        third = OperationStarted(operation="steer", arguments={})
        app.pane.update_state(going_on(*BOTH, third, operation_id="later"))
        await pilot.pause()
        assert "Bake a cake" in screen_text(app)


async def test_what_was_asked_for_is_followed():
    app = PaneApp(SteeringPane, going_on(*BOTH))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("[", "s")
        await pilot.pause()
        assert "2/2" in screen_text(app)


async def test_the_strips_cursor_shows_an_alpha_and_sets_the_slider():
    app = PaneApp(SteeringPane)
    async with app.run_test(size=(100, 30)) as pilot:
        assert settings(app).alpha == 0.3
        assert "α 0.2  length limit" in screen_text(app)
        await pilot.press("shift+tab")
        assert app.focused is app.query_one(Rows)
        await pilot.press("down")
        await pilot.pause()
        assert settings(app).alpha == 0.4
        assert "α 0.4  length limit" in screen_text(app)
        await pilot.press("up", "up")
        await pilot.pause()
        assert settings(app).alpha == 0.2
        assert "α 0.2  length limit" not in screen_text(app)
        assert "unsteered  length limit" in screen_text(app)
        await pilot.press("enter")
        assert app.query_one(SampleList).has_focus


async def test_a_long_text_is_scrolled_through_before_the_next():
    long = " ".join(f"word{number}" for number in range(400))
    state = going_on(
        *BOTH[:3],
        begun("other", 0.3, prompt_index=1),
        finished("steered", long),
        finished("other", "the other"),
    )
    app = PaneApp(SteeringPane, state)
    async with app.run_test(size=(80, 24)) as pilot:
        samples = app.query_one(SampleList)
        await pilot.press("down")
        assert (samples.cursor, samples.scroll_offset.y) == (0, 3)
        await pilot.press(*["down"] * 60)
        assert samples.cursor == 1
        assert "the other" in screen_text(app)
        await pilot.press("home")
        assert samples.scroll_offset.y == 0


# --- evidence and comparing ---------------------------------------------------------------------


async def test_a_sample_is_kept_as_evidence():
    app = PaneApp(SteeringPane, going_on(*BOTH))
    start = app.first.texts["steered"].start.seq
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.press("m", "m")
        assert asked(app) == [
            (
                MARK.name,
                MarkArguments(
                    seq=start,
                    excerpt="Bake a cake by the sea.",
                    label=(
                        "steered, alpha 0.3, difference at layer 3, position 1-4, finetuned,"
                        " seed 0, on: Plan a quiet weekend."
                    ),
                    text_id="steered",
                ),
            )
        ]
        app.pane.update_state(going_on(*BOTH, kept("steered", "E7")))
        assert "■ marked E7" in screen_text(app)
        await pilot.press("m", "U")
        assert asked(app)[1:] == [
            (UNMARK.name, UnmarkArguments(evidence="E7")),
            (
                MARK.name,
                MarkArguments(
                    seq=app.first.texts["plain"].start.seq,
                    excerpt="Walk along the shore.",
                    label="unsteered, finetuned, seed 0, on: Plan a quiet weekend.",
                    text_id="plain",
                ),
            ),
        ]


@pytest.mark.parametrize("null", NULLS)
async def test_marking_a_text_of_a_null_tells_that_it_is_one(null):
    texts = (
        started(source=null),
        begun("steered", 0.3, source=null),
        finished("steered", "A sea."),
    )
    app = PaneApp(SteeringPane, going_on(*texts, OperationFinished(seconds=1.5)))
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.press("m")
        assert [name for name, _ in asked(app)] == [MARK.name]
        assert f"of a null ({null.replace('_', ' ')})" in said(app)


@pytest.mark.parametrize("width", [36, 40, 60, 80])
@pytest.mark.parametrize("height", range(6, 24))
async def test_the_texts_keep_a_row_below_a_status_of_two_lines(width, height):
    null = "random"
    texts = (
        started(source=null),
        begun("steered", 0.3, source=null),
        finished("steered", "A sea."),
    )
    app = PaneApp(SteeringPane, going_on(*texts, OperationFinished(seconds=1.5)))
    async with app.run_test(size=(width, height)) as pilot:
        await pilot.press("m")
        await pilot.pause()
        assert "of a null" in said(app)
        samples = app.query_one(SampleList)
        assert samples.size.height >= (1 if height < 8 else 2)
        assert samples.region.bottom <= height


async def test_evidence_that_bears_on_a_hypothesis_stays():
    linked = EvidenceLinked(hypothesis_id="H1", evidence_id="E7", bearing="for")
    app = PaneApp(SteeringPane, going_on(*BOTH, kept("steered", "E7"), linked))
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.press("m")
        assert asked(app) == []
        assert "E7 bears on H1" in said(app)


async def test_two_kept_samples_are_compared():
    marks = [kept("plain", "E7"), kept("steered", "E8")]
    third = next(iter(sample_state().texts))
    app = PaneApp(SteeringPane, going_on(*BOTH, *marks, kept(third, "E9")))
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.press("C")
        shown = screen_text(app)
        (line,) = [line for line in shown.split("\n") if "marked E8" in line]
        assert line.index("marked E8") < line.index("marked E9")
        await pilot.press("[")
        (line,) = [line for line in screen_text(app).split("\n") if "marked E9" in line]
        assert line.index("marked E7") < line.index("marked E9")
        await pilot.press("right")
        assert screen_text(app).count("marked E7") == 2
        await pilot.press("escape")
        assert "2/2" in screen_text(app)


async def test_comparing_needs_two_kept_samples():
    app = PaneApp(SteeringPane, going_on(*BOTH, kept("plain", "E7")))
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.press("C")
        assert "mark two samples" in said(app)


# --- out of the program -----------------------------------------------------------------------


@pytest.mark.slow
async def test_a_pair_is_copied_and_written(tmp_path):
    app = PaneApp(SteeringPane, going_on(*BOTH))
    expected = (
        "# steered, alpha 0.3, difference at layer 3, position 1-4, finetuned, seed 0,"
        " temperature 1.1, at most 60 tokens, length limit\n"
        "prompt: Plan a quiet weekend.\n\nBake a cake by the sea.\n\n"
        "# unsteered, finetuned, seed 0, temperature 1.1, at most 60 tokens, end of text\n"
        "prompt: Plan a quiet weekend.\n\nWalk along the shore.\n"
    )
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.press("c")
        assert app.clipboard == expected
        path = tmp_path / "pair.txt"
        for _ in range(2):
            await pilot.press("w")
            await pilot.pause()
            app.screen.query_one(Input).value = str(path)
            await pilot.press("enter")
            await pilot.pause()
        assert path.read_text(encoding="utf-8") == expected
        assert "exists already" in said(app)
        await pilot.press("w")
        await pilot.pause()
        app.screen.query_one(Input).value = str(tmp_path / "no" / "folder")
        await pilot.press("enter")
        await pilot.pause()
        assert "cannot be written: No such file or directory" in said(app)


# --- jumping and coming back ------------------------------------------------------------------


async def test_events_of_steering_are_revealed():
    app = PaneApp(SteeringPane, going_on(*BOTH))
    state = app.first
    kinds = {
        entry.seq: entry.kind
        for entry in state.timeline
        if entry.kind.startswith(("text_", "operation_"))
    }
    async with app.run_test(size=(100, 30)) as pilot:
        last = next(text for text in state.texts.values() if text.start.body.alpha == 0.4)
        assert app.pane.reveal(last.start.seq)
        await pilot.pause()
        assert "1/2 #621" in screen_text(app)
        assert "α 0.4  length limit" in screen_text(app)
        assert app.query_one(SampleList).cursor == 0
        ended = [seq for seq in kinds if kinds[seq] == "text_finished"]
        # Of the sample's steering the fifth text to end is prompt 2 at alpha 0.2.
        assert app.pane.reveal(ended[4])
        await pilot.pause()
        assert "α 0.2  length limit" in screen_text(app)
        assert app.query_one(SampleList).cursor == 1
        steering = [one.started_seq for one in state.operations.values() if one.name == "steer"]
        assert app.pane.reveal(steering[1])
        assert "2/2" in screen_text(app)
        asking = next(one for one in state.operations.values() if one.name == "ask")
        assert not app.pane.reveal(asking.started_seq)
        assert not app.pane.reveal(asking.started_seq + 1)
        assert not app.pane.reveal(1)
        assert not app.pane.reveal(state.seq + 1)
        assert "2/2" in screen_text(app)


@pytest.mark.slow
async def test_everything_is_as_it_was_left():
    state = going_on(*BOTH, kept("plain", "E7"), kept("steered", "E8"))
    app = PaneApp(SteeringPane, state)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("l", "3", "enter", "o", *"Why?", "enter", "A", *"0.7", "enter", "[")
        await pilot.press("down", "shift+tab", "down", "D", *"12x")
        view = app.pane.view()
    again = PaneApp(SteeringPane, state)
    async with again.run_test(size=(100, 30)) as pilot:
        again.pane.restore(view)
        again.pane.focus_pane()
        await pilot.pause()
        assert again.pane.view() == view
        assert "1/2 #621" in screen_text(again)
        assert again.query_one(Input).has_focus
        assert again.query_one(Input).value == "12x"
        assert settings(again).prompt == "Why?"
        await pilot.press("escape", "C")
        view = again.pane.view()
    third = PaneApp(SteeringPane, state)
    async with third.run_test(size=(100, 30)) as pilot:
        third.pane.restore(view)
        await pilot.pause()
        assert "marked E7" in screen_text(third)
        assert third.pane.view() == view


@pytest.mark.parametrize(
    "view",
    [
        {},
        {"settings": "x", "operation": 3, "alpha": "y", "cursor": -4, "comparing": [1, [2]]},
        {"operation": "gone", "comparing": ["a", "b"], "cursor": 99, "alpha": 9.0, "editing": []},
        {"editing": "os", "draft": 4, "comparing": {}, "operation": []},
    ],
)
async def test_a_view_that_does_not_fit_is_left_out(view):
    app = PaneApp(SteeringPane)
    async with app.run_test(size=(80, 24)) as pilot:
        app.pane.restore(view)
        await pilot.pause()
        assert "1/1 #621" in screen_text(app)


# --- untrusted text ---------------------------------------------------------------------------


@pytest.mark.slow
async def test_hostile_text_is_inert():
    huge = "x" * 300_000
    state = going_on(
        started(prompts=(HOSTILE,)),
        begun("plain", 0.0, messages=({"role": "user", "content": HOSTILE},)),
        begun("steered", 0.3, messages=({"role": "user", "content": HOSTILE},)),
        finished("plain", f"{HOSTILE} {huge}"),
        finished("steered", f"{HOSTILE}\n{HOSTILE}"),
        kept("steered", "E7\x1b[2J"),
        kept("plain", "[/"),
        OperationFailed(error=HOSTILE, message=HOSTILE, way_out=HOSTILE, seconds=1.0),
    )
    app = PaneApp(SteeringPane, state)
    async with app.run_test(size=(100, 40)) as pilot:
        await pilot.press("o", "escape", "C", "[", "C", "c", "down", "end", "home")
        await pilot.pause()
        shown = screen_text(app)
        assert "[@click=app.quit]x[/] [/" in shown
        for control in "\x1b\x07\x9b\x00\u202e\u202c":
            assert control not in shown
            assert control not in app.clipboard
        await pilot.press(*["pagedown"] * 20)
        assert "more characters; w writes all" in screen_text(app)
        assert app.is_running


async def test_a_hostile_draft_is_inert():
    app = PaneApp(SteeringPane)
    async with app.run_test(size=(80, 24)) as pilot:
        app.pane.restore({"settings": {"own": "yes", "prompt": HOSTILE, "position": HOSTILE}})
        await pilot.pause()
        for control in "\x1b\x07\x9b\x00\u202e\u202c":
            assert control not in screen_text(app)
        await pilot.press("s")
        assert "was not measured at layer 2" in said(app)


# --- pictures ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_picture_of_a_sweep(snap_compare, size):
    assert snap_compare(PaneApp(SteeringPane), terminal_size=size, press=["l", "3", "enter"])


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_picture_of_steering(snap_compare, size):
    half = "Start with a slow breakfast: a sponge cake, fresh from the oven, and a pot of tea."
    state = going_on(
        started(n_prompts=2),
        begun("plain", 0.0),
        begun("steered", 0.3),
        begun("plain 2", 0.0, prompt_index=1),
        begun("steered 2", 0.3, prompt_index=1),
        finished("plain", "Walk along the shore in the morning, and read in the afternoon."),
        finished("steered", half, "end_of_text"),
        kept("steered", "E2"),
        TextGrew(pieces={"plain 2": "A letter arrives", "steered 2": "A letter arrives, and with"}),
    )
    assert snap_compare(PaneApp(SteeringPane, state), terminal_size=size)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (58, 26)])
def test_picture_of_a_mistake(snap_compare, size):
    assert snap_compare(
        PaneApp(SteeringPane), terminal_size=size, press=["l", "4", "enter", "t", "h", "enter"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_picture_of_a_comparison(snap_compare, size):
    ids = list(sample_state().texts)
    state = going_on(kept(ids[2], "E2"), kept(ids[5], "E3"))
    assert snap_compare(PaneApp(SteeringPane, state), terminal_size=size, press=["C"])
