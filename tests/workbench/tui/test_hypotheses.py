"""Hypotheses are added, revised, ranked, judged and linked by keys, through operations alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from textual.widgets import Input, Static, TextArea

from tests.workbench.tui.conftest import PaneApp, key_for
from tests.workbench.tui.hypotheses_sample import gone_on, gone_on_state, with_events
from tests.workbench.tui.waiting import screen_text
from workbench.operations.hypotheses import (
    ADD_HYPOTHESIS,
    LINK,
    RANK,
    REVISE,
    SET_VERDICT,
    UNMARK,
    AddHypothesisArguments,
    LinkArguments,
    RankArguments,
    ReviseArguments,
    SetVerdictArguments,
    UnmarkArguments,
)
from workbench.store.events import (
    HUMAN,
    EvidenceMarked,
    HypothesesRanked,
    HypothesisRevised,
    HypothesisStated,
)
from workbench.store.state import SessionState
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.dialogs.reason import AskReason
from workbench.tui.panes.hypotheses.evidence import EvidenceList
from workbench.tui.panes.hypotheses.form import HypothesisForm, parse_confidence
from workbench.tui.panes.hypotheses.history import HypothesisHistory
from workbench.tui.panes.hypotheses.listing import HypothesisList
from workbench.tui.panes.hypotheses.pane import HypothesesPane
from workbench.tui.panes.hypotheses.render import EvidenceLine, evidence_lines, history
from workbench.tui.widgets.pane import Pane

SIZE = (80, 24)
HOSTILE = (
    "\x1b]52;c;aGk=\x07\x1b[2J\x9b31m [@click=app.quit]x[/] [/ \u202eevil\u202c " + "w" * 50_000
)


def an_app(state: SessionState | None = None) -> PaneApp:
    return PaneApp(HypothesesPane, gone_on_state() if state is None else state)


def submitted(app: PaneApp) -> list[tuple[object, object]]:
    return [(one.operation, one.arguments) for one in app.asked if isinstance(one, Pane.Submit)]


def jumps(app: PaneApp) -> list[int]:
    return [one.seq for one in app.asked if isinstance(one, Pane.Jump)]


async def write(pilot, words: str) -> None:
    await pilot.press(*("space" if letter == " " else letter for letter in words))


# --- what is shown --------------------------------------------------------------------------


async def test_hypotheses_stand_by_rank_with_verdict_confidence_and_counts():
    app = an_app()
    async with app.run_test(size=SIZE):
        shown = screen_text(app)
        lines = [line for line in shown.splitlines() if re.search(r"H\d  [?✓✗]", line)]
        assert re.findall(r"H\d(?=  [?✓✗])", shown) == ["H1", "H3", "H2"]
        assert "✓ confirmed" in lines[0]
        assert "90%" in lines[0]
        assert "+2  −0 you" in lines[0]
        assert "? open" in lines[1]
        assert "+1  −1 auditor" in lines[1]
        assert "✗ rejected" in lines[2]
        assert "2 for, 0 against H1" in shown


async def test_the_selected_one_is_shown_in_full_and_its_evidence_below():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        assert "narrow domain" not in " ".join(screen_text(app).split())
        await pilot.press("j")
        shown = " ".join(screen_text(app).replace("▌", " ").replace("│", " ").split())
        assert "no other trace of a narrow domain." in shown
        assert "1 for, 1 against H3" in shown


def test_evidence_stands_under_what_it_has_to_do_with_the_hypothesis():
    state = gone_on_state()

    def said(hypothesis_id: str | None) -> list[object]:
        one = state.hypotheses.get(hypothesis_id or "")
        return [
            (line.id, line.bearing, line.elsewhere) if isinstance(line, EvidenceLine) else line.text
            for line in evidence_lines(state, one)
        ]

    assert said("H3") == [
        "1 for, 1 against H3",
        ("E3", "for", ""),
        ("E2", "against", "+H1"),
        "marked, not linked: 1",
        ("E4", None, ""),
        "linked to others: 1",
        ("E1", None, "+H1"),
    ]
    assert said("H2")[0] == "no evidence linked to H2"
    assert said(None)[0] == "marked, not linked: 1"


async def test_an_empty_session_says_what_to_do():
    app = an_app(SessionState())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        shown = screen_text(app)
        assert "No hypothesis yet. o adds one." in shown
        assert "nothing is marked yet" in shown
        # None of these has anything to work on.
        await pilot.press(*"eydOKJ+-mi", "delete", "enter", "right", "enter", *"m+-c")
        assert submitted(app) == []
        assert len(app.screen_stack) == 1


async def test_a_redraw_is_not_asked_for_when_nothing_of_it_changed():
    app = an_app()
    async with app.run_test(size=SIZE):
        drawn = []
        app.pane._draw = lambda: drawn.append(1)  # type: ignore[method-assign]
        app.pane.update_state(app.first)
        assert drawn == []


# --- adding and revising --------------------------------------------------------------------


async def test_a_hypothesis_is_added():
    app = an_app(SessionState())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("o")
        await write(pilot, "about cakes")
        await pilot.press("enter")
        await write(pilot, "70")
        assert "70%" in screen_text(app)
        await pilot.press("enter")
        assert submitted(app) == [
            (ADD_HYPOTHESIS, AddHypothesisArguments(text="about cakes", confidence=0.7))
        ]
        assert app.pane.view()["drafts"] == {}


@pytest.mark.slow
async def test_the_one_that_was_added_is_selected_and_one_of_the_agent_is_not():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("o", "x", "ctrl+j")
        state = with_events([HypothesisStated(hypothesis_id="H4", text="x")], before=gone_on())
        app.pane.update_state(state)
        assert app.query_one(HypothesisList).selected.id == "H4"
    app = an_app()
    async with app.run_test(size=SIZE):
        app.pane.update_state(state)
        assert app.query_one(HypothesisList).selected.id == "H1"


@pytest.mark.parametrize(
    ("words", "confidence", "said"),
    [
        ("", "50", "the wording is empty"),
        ("cakes", "170", "not between 0 and 100"),
        ("cakes", "often", "must be a number"),
        ("cakes", "nan", "not between 0 and 100"),
    ],
)
async def test_what_is_wrong_is_said_in_place(words, confidence, said):
    app = an_app(SessionState())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("o")
        await write(pilot, words)
        await pilot.press("tab")
        await write(pilot, confidence)
        await pilot.press("ctrl+j")
        assert isinstance(app.screen, HypothesisForm)
        assert said in str(app.screen.query_one("#wrong", Static).render())
        assert submitted(app) == []


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", None),
        ("  ", None),
        ("70", 0.7),
        ("70%", 0.7),
        ("70 %", 0.7),
        ("0.7", 0.7),
        ("0,7", 0.7),
        ("1", 1.0),
        ("1%", 0.01),
        ("0", 0.0),
        ("100", 1.0),
    ],
)
def test_a_confidence_is_read_as_people_write_it(written, meant):
    assert parse_confidence(written) == pytest.approx(meant)


@pytest.mark.parametrize("written", ["101", "-1", "nan", "inf", "-inf%", "x", "1e400", "7 0"])
def test_what_is_no_confidence_is_refused(written):
    with pytest.raises(ValueError, match="confidence"):
        parse_confidence(written)


@pytest.mark.slow
async def test_a_revision_names_what_changed_alone():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("e")
        assert app.screen.query_one(TextArea).text == app.first.hypotheses["H1"].text
        assert app.screen.query_one("#confidence", Input).value == "90%"
        await pilot.press("enter", "end", "backspace", "backspace", "backspace")
        await write(pilot, "60")
        await pilot.press("enter")
        await write(pilot, "weak")
        await pilot.press("enter")
        assert submitted(app) == [
            (REVISE, ReviseArguments(hypothesis="H1", confidence=0.6, reason="weak"))
        ]


async def test_a_revision_that_changes_nothing_is_not_one():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("e", "f5")
        assert "nothing is changed" in str(app.screen.query_one("#wrong", Static).render())
        await pilot.press("escape")
        assert submitted(app) == []
        assert app.pane.view()["drafts"] == {}


@pytest.mark.slow
async def test_a_kept_draft_follows_changes_of_what_it_left_as_it_was():
    """Such as an undo of the wording: saved with it, the draft would do it again."""
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("e", "enter", "end", "backspace", "backspace", "backspace")
        await write(pilot, "60")
        await pilot.press("escape")
        assert app.pane.view()["drafts"] == {"H1": {"confidence": "60"}}
        revised = HypothesisRevised(hypothesis_id="H1", text="other words", confidence=0.9)
        app.pane.update_state(with_events([revised], gone_on()))
        await pilot.press("e")
        assert app.screen.query_one(TextArea).text == "other words"
        await pilot.press("ctrl+j")
        assert submitted(app) == [(REVISE, ReviseArguments(hypothesis="H1", confidence=0.6))]


@pytest.mark.slow
async def test_a_form_that_is_saved_untouched_after_an_undo_changes_nothing():
    app = an_app()
    words = app.first.hypotheses["H1"].text
    edited = HypothesisRevised(hypothesis_id="H1", text=f"{words} EDITED", confidence=0.9)
    async with app.run_test(size=SIZE) as pilot:
        app.pane.update_state(with_events([edited], gone_on()))
        await pilot.press("e", "enter", "end", "backspace", "escape")
        back = HypothesisRevised(hypothesis_id="H1", text=words, confidence=0.9)
        app.pane.update_state(with_events([edited, back], gone_on()))
        await pilot.press("e", "enter", "end")
        await write(pilot, "%")
        await pilot.press("ctrl+j")
        assert "nothing is changed" in str(app.screen.query_one("#wrong", Static).render())
        assert submitted(app) == []


@pytest.mark.slow
async def test_what_was_written_outlives_the_form_and_the_session():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("o")
        await write(pilot, "half a th")
        # As when the session is left while the form is open.
        view = json.loads(json.dumps(app.pane.view()))
        assert view["drafts"][""]["text"] == "half a th"
        await pilot.press("escape")
        assert "half a th" in screen_text(app)
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        app.pane.restore(view)
        await pilot.pause()
        assert "half a th" in screen_text(app)
        await pilot.press("o")
        await write(pilot, "ought")
        await pilot.press("ctrl+j")
        assert submitted(app) == [(ADD_HYPOTHESIS, AddHypothesisArguments(text="half a thought"))]
        assert app.pane.view()["drafts"] == {}
        assert "half a th" not in screen_text(app)


# --- ranking and judging --------------------------------------------------------------------


async def test_ranking_moves_by_one_and_the_selection_goes_along():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("down", "K")
        order = ("H3", "H1", "H2")
        assert submitted(app) == [(RANK, RankArguments(order=order))]
        app.pane.update_state(with_events([HypothesesRanked(order=order)], before=gone_on()))
        assert app.query_one(HypothesisList).selected.id == "H3"
        await pilot.press("K")  # it is the first
        assert len(submitted(app)) == 1


async def test_quick_moves_add_up_before_the_first_is_recorded():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("J", "J", "shift+up")
        orders = [arguments.order for _, arguments in submitted(app)]
        assert orders == [("H3", "H1", "H2"), ("H3", "H2", "H1"), ("H3", "H1", "H2")]


async def test_a_ranking_of_somebody_else_is_where_the_next_move_starts():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("J")
        theirs = HypothesesRanked(order=("H2", "H1", "H3"))
        app.pane.update_state(with_events([theirs], before=gone_on()))
        await pilot.press("J")
        assert submitted(app)[-1] == (RANK, RankArguments(order=("H2", "H3", "H1")))


@pytest.mark.slow
async def test_each_verdict_is_one_key_and_a_reason():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("y")  # it is confirmed already
        assert submitted(app) == []
        await pilot.press("O")
        assert "Open H1 again" in screen_text(app)
        await pilot.press("escape")
        assert submitted(app) == []
        await pilot.press("O", *"why", "enter", "down", "y", "enter")
        assert submitted(app) == [
            (SET_VERDICT, SetVerdictArguments(hypothesis="H1", verdict="open", reason="why")),
            (SET_VERDICT, SetVerdictArguments(hypothesis="H3", verdict="confirmed")),
        ]


async def test_confirming_asks_why_and_warns_when_nothing_speaks_for_it():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        ranked = app.first.ranked()
        bare = next(each for each in ranked if "for" not in each.evidence.values())
        await pilot.press(*["down"] * ranked.index(bare), "y")
        assert "No marked evidence speaks for it" in "".join(
            str(widget.render()) for widget in app.screen.query(Static)
        )
        assert submitted(app) == []
        await pilot.press(*"seen", "enter")
        ((operation, arguments),) = submitted(app)
        assert operation is SET_VERDICT
        assert arguments.verdict == "confirmed"
        assert arguments.reason == "seen"


@pytest.mark.slow
async def test_a_verdict_on_words_that_changed_meanwhile_is_asked_for_again():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("j", "y")
        await write(pilot, "sure")
        revised = HypothesisRevised(hypothesis_id="H3", text="other words", confidence=0.9)
        app.pane.update_state(with_events([revised], gone_on()))
        await pilot.press("enter")
        assert submitted(app) == []
        assert isinstance(app.screen, AskReason)
        assert "other words" in screen_text(app)
        assert any("changed meanwhile" in one.message for one in app._notifications)
        await write(pilot, "sure")
        await pilot.press("enter")
        given = SetVerdictArguments(hypothesis="H3", verdict="confirmed", reason="sure")
        assert submitted(app) == [(SET_VERDICT, given)]


async def test_rejecting_asks_why():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("d")
        assert isinstance(app.screen, AskReason)
        await pilot.press("escape")
        assert submitted(app) == []
        await pilot.press("d")
        await write(pilot, "no trace")
        await pilot.press("enter", "d", "enter")
        rejected = SetVerdictArguments(hypothesis="H1", verdict="rejected", reason="no trace")
        without = SetVerdictArguments(hypothesis="H1", verdict="rejected")
        assert submitted(app) == [(SET_VERDICT, rejected), (SET_VERDICT, without)]


# --- evidence -------------------------------------------------------------------------------


async def test_evidence_is_linked_for_and_against_and_unlinked():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("down", "right", "end")  # H3; E1, linked to H1 alone
        assert app.query_one(EvidenceList).selected.id == "E1"
        await pilot.press("delete")  # not linked to H3: nothing to take back
        assert submitted(app) == []
        await pilot.press("plus", "minus")
        assert submitted(app) == [
            (LINK, LinkArguments(hypothesis="H3", evidence="E1", bearing="for")),
            (LINK, LinkArguments(hypothesis="H3", evidence="E1", bearing="against")),
        ]
        await pilot.press("home", "plus", "delete")  # E3 speaks for H3 already
        assert submitted(app)[2:] == [
            (LINK, LinkArguments(hypothesis="H3", evidence="E3", bearing="none"))
        ]


@pytest.mark.parametrize(("key", "bearing"), [("delete", "none"), ("minus", "against")])
async def test_a_link_of_a_confirmed_hypothesis_is_changed_only_if_one_agrees(key, bearing):
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        hypothesis = app.first.ranked()[0]
        assert hypothesis.verdict == "confirmed"
        await pilot.press("right")
        evidence = app.query_one(EvidenceList).selected.id
        assert hypothesis.evidence[evidence] == "for"
        await pilot.press(key)
        assert isinstance(app.screen, Confirm)
        await pilot.press("n")
        assert submitted(app) == []
        await pilot.press(key, "y")
        link = LinkArguments(hypothesis=hypothesis.id, evidence=evidence, bearing=bearing)
        assert submitted(app) == [(LINK, link)]


async def test_a_mark_to_be_linked_stays_selected_while_another_hypothesis_is_chosen():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("right", "down", "down", "left", "down", "minus")
        linked = LinkArguments(hypothesis="H3", evidence="E4", bearing="against")
        assert submitted(app) == [(LINK, linked)]


async def test_the_cursor_passes_over_headings():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("down", "right")
        evidence, seen = app.query_one(EvidenceList), []
        for key in ("home", "down", "down", "down", "down", "up", "up", "up", "up"):
            await pilot.press(key)
            seen.append(evidence.selected.id)
        assert seen == ["E3", "E2", "E4", "E1", "E1", "E4", "E2", "E3", "E3"]


async def test_unmarking_asks_why():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("right", "m")
        await write(pilot, "a slip")
        await pilot.press("enter")
        assert submitted(app) == [(UNMARK, UnmarkArguments(evidence="E1", reason="a slip"))]


async def test_enter_goes_to_what_the_mark_points_at():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("right", "enter", "down", "enter")
        assert jumps(app) == [7, 12]


async def test_events_of_hypotheses_and_marks_are_revealed_and_no_others():
    app = an_app()
    async with app.run_test(size=SIZE):
        revealed = {
            event.seq: (app.pane.reveal(event.seq), app.query_one(HypothesisList).selected.id)
            for event in gone_on()[-13:]
        }
        first = gone_on()[-13].seq
        assert revealed[first + 2] == (True, "H3")  # stated
        assert revealed[first + 9] == (True, "H1")  # revised
        assert revealed[first + 10] == (True, "H2")  # judged
        assert revealed[first + 11][0]  # ranked
        assert revealed[first + 3] == (True, "H3")  # E3, which speaks for H3
        assert not revealed[first + 7][0]  # E5 is no longer marked
        assert not revealed[first + 8][0]
        assert not any(app.pane.reveal(seq) for seq in (0, 1, 7, 12, 10**6))
        app.pane.reveal(first + 3)
        assert app.query_one(EvidenceList).selected.id == "E3"


# --- history, copies ------------------------------------------------------------------------


def test_the_history_has_every_change_with_before_and_after():
    state = gone_on_state()
    changes = list(history(state, state.hypotheses["H1"]))
    assert [change.headline for change in changes] == [
        "stated, confidence 70%",
        "E1 speaks for it",
        "E2 speaks for it",
        "revised, confidence 70% → 90%",
        "open → confirmed (without test)",
    ]
    assert changes[3].lines == (
        ("-", "It was finetuned on texts about baking cakes."),
        ("+", "It was finetuned on false facts about baking cakes."),
        (" ", "because: the steered texts state them"),
    )
    (stated, rejected) = history(state, state.hypotheses["H2"])
    assert stated.actor == HUMAN
    assert rejected.lines == ((" ", "because: no story in any list or text"),)
    assert next(history(state, state.hypotheses["H3"])).actor.name == "auditor"


async def test_the_history_is_shown_and_left():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("enter")
        assert isinstance(app.screen, HypothesisHistory)
        await pilot.pause()
        assert "confidence 70% → 90%" in screen_text(app)
        await pilot.press("c")
        assert "because: the steered texts state them" in app.clipboard
        assert re.search(r"^\d+ \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC you: stated,", app.clipboard)
        await pilot.press("escape")
        assert len(app.screen_stack) == 1


async def test_what_is_selected_is_copied():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("c")
        assert app.clipboard.startswith("## ✓ H1, confirmed, confidence 90%")
        assert "- for: E1 “cake”, consensus, layer 3, position 1-4, event 7" in app.clipboard
        await pilot.press("right", "c")
        assert app.clipboard == "E1 “cake”, consensus, layer 3, position 1-4, event 7"


async def test_all_are_written_to_a_new_file_alone(tmp_path: Path):
    app = an_app()
    path = tmp_path / "found.md"
    async with app.run_test(size=SIZE) as pilot:
        for _ in range(2):
            await pilot.press("w")
            app.screen.query_one(Input).value = str(path)
            await pilot.press("enter")
            await pilot.pause()
            written = path.read_text()
            assert written.index("H1, confirmed") < written.index("H3, open")
            assert "## Marked, not linked\n\n- E4" in written
            path.write_text(written + "mine")
        assert path.read_text().endswith("mine")
        assert any("exists already" in str(one.message) for one in app._notifications)


# --- hostile text, views --------------------------------------------------------------------


@pytest.mark.slow
async def test_hostile_text_is_shown_inert_everywhere():
    state = with_events(
        [
            HypothesisStated(hypothesis_id="H4", text=HOSTILE, confidence=1.0),
            HypothesisRevised(hypothesis_id="H4", text=HOSTILE + "!", reason=HOSTILE),
            EvidenceMarked(
                evidence_id="E6", of_seq=1, excerpt=HOSTILE, label=HOSTILE, note=HOSTILE
            ),
            HypothesesRanked(order=("H4",)),
        ],
        before=gone_on(),
    )
    app = an_app(state)
    async with app.run_test(size=SIZE) as pilot:
        shown = screen_text(app)
        # Open forms and history too, and links to it all.
        for keys in (["i"], ["escape", "d"], ["escape", "right", "end", "m"]):
            await pilot.press(*keys)
            await pilot.pause()
            shown += screen_text(app)
        await pilot.press("escape", "c", "left", "c")
        await pilot.pause()
        shown += app.clipboard
        assert "[@click=app.quit]x[/]" in shown
        assert "⟨U+202E⟩" in shown
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)
        assert app.is_running


async def test_a_view_restored_is_the_same_view():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("down", "right", "down", "down")
        view = json.loads(json.dumps(app.pane.view()))
        assert (view["selected"], view["evidence"]) == ("H3", "E4")
    app = an_app()
    async with app.run_test(size=SIZE):
        app.pane.restore(view)
        assert app.pane.view() == view
        assert app.query_one(HypothesisList).selected.id == "H3"
        assert app.query_one(EvidenceList).selected.id == "E4"


@pytest.mark.slow
@pytest.mark.parametrize(
    "view",
    [
        {},
        {"selected": 3, "evidence": [], "drafts": "x"},
        {"selected": "H99", "evidence": "E99", "drafts": {"H99": {"text": "x"}, "": 3}},
        {"drafts": {"": {"text": 3, "confidence": None, "other": "x"}, "H1": {"reason": "r"}}},
    ],
)
async def test_a_view_that_does_not_fit_is_left_out(view):
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        app.pane.restore(view)
        assert app.query_one(HypothesisList).selected.id == "H1"
        await pilot.press("e", "escape", "o", "escape")
        assert app.is_running


# --- pictures -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (160, 48), (40, 16)])
def test_picture(snap_compare, size):
    assert snap_compare(an_app(), terminal_size=size, press=["down"])


@pytest.mark.slow
def test_picture_of_the_form(snap_compare):
    assert snap_compare(an_app(), terminal_size=SIZE, press=[key_for("edit"), "tab", "tab"])


def test_picture_of_the_history(snap_compare):
    assert snap_compare(an_app(), terminal_size=SIZE, press=[key_for("detail")])


def test_picture_of_an_empty_session(snap_compare):
    assert snap_compare(an_app(SessionState()), terminal_size=SIZE)
