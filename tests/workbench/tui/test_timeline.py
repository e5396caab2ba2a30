"""The timeline lists every event, finds the ones that are looked for, and leads to them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from rich.cells import cell_len
from textual.widgets import Input, Static

from tests.workbench.tui.conftest import PaneApp
from tests.workbench.tui.hypotheses_sample import AGENT, gone_on, gone_on_state, with_events
from tests.workbench.tui.sample import BEGAN
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.waiting import screen_text, until
from workbench.operations.hypotheses import MARK, MarkArguments
from workbench.operations.notes import NOTE, NoteArguments
from workbench.store.body import kinds_of
from workbench.store.errors import StoreError
from workbench.store.events import (
    HUMAN,
    SYSTEM,
    Event,
    NoteWritten,
    OperationStarted,
    TextGrew,
    TextStarted,
)
from workbench.store.state import Fold, Prefix, SessionState, TimelineEntry
from workbench.tui.dialogs.event_detail import EventDetail
from workbench.tui.event_fields import as_flow, event_fields
from workbench.tui.panes.timeline.filter import CHOICES, Filter, TimelineIndex
from workbench.tui.panes.timeline.pane import TimelinePane
from workbench.tui.panes.timeline.render import operation_line
from workbench.tui.widgets.pane import Pane
from workbench.tui.widgets.rows import Rows

SIZE = (80, 24)
HOSTILE = (
    "\x1b]52;c;aGk=\x07\x1b[2J\x9b31m [@click=app.quit]x[/] [/ \u202eevil\u202c " + "w" * 50_000
)


def an_app(state: SessionState | None = None) -> PaneApp:
    app = PaneApp(TimelinePane, gone_on_state() if state is None else state)
    app.pane.read_event = read
    return app


def read(seq: int) -> Event:
    """An event of the sample; an error as from the log if there is none."""
    if not 0 < seq <= len(gone_on()):
        raise StoreError(f"there is no event {seq}", "Ask for another.")
    return gone_on()[seq - 1]


def entry(seq: int, kind: str = "note_written", said: str = "x", actor=HUMAN) -> TimelineEntry:
    return TimelineEntry(seq, BEGAN + timedelta(seconds=seq), actor, kind, said)


def jumps(app: PaneApp) -> list[int]:
    return [one.seq for one in app.asked if isinstance(one, Pane.Jump)]


def seqs(app: PaneApp) -> list[int]:
    """The numbers of the events that are shown."""
    index = app.pane._index
    return [index.place(row) + 1 for row in range(len(index))]


def found(index: TimelineIndex) -> list[int]:
    """The places of the events that the search finds."""
    return [place for _, place in index.found]


def current(app: PaneApp) -> int:
    return app.pane._entry().seq


# --- which events pass, without a screen ----------------------------------------------------


def test_growth_is_hidden_until_it_is_asked_for():
    index = TimelineIndex()
    entries = [entry(1), entry(2, "text_grew"), entry(3, "agent_reply_grew"), entry(4)]
    index.take(entries, "s")
    assert [index.place(row) for row in range(len(index))] == [0, 3]
    index.choose(Filter(growth=True))
    assert len(index) == 4
    index.choose(Filter(group="texts"))
    assert len(index) == 0


@pytest.mark.parametrize(
    ("chosen", "places"),
    [
        (Filter(), [0, 1, 2, 3]),
        (Filter(actor="human"), [0, 3]),
        (Filter(actor="agent"), [1]),
        (Filter(actor="system", group="operations"), [2]),
        (Filter(group="notes"), [0, 1]),
        (Filter(actor="agent", group="texts"), []),
    ],
)
def test_a_filter_by_actor_and_kind(chosen, places):
    index = TimelineIndex()
    index.take(
        [
            entry(1),
            entry(2, actor=AGENT),
            entry(3, "operation_started", actor=SYSTEM),
            entry(4, "reading_taken"),
        ],
        "s",
    )
    index.choose(chosen)
    assert [index.place(row) for row in range(len(index))] == places


def test_taking_more_looks_at_what_is_new_alone():
    looked: list[int] = []

    class Watched(list):
        def __getitem__(self, place):
            looked.append(place)
            return super().__getitem__(place)

    index = TimelineIndex()
    index.search("cake")
    entries = Watched(entry(seq, said="cake" if seq % 10 == 0 else "x") for seq in range(1, 101))
    assert index.take(entries, "s")
    looked.clear()
    entries.extend([entry(101, said="a cake"), entry(102, "text_grew", "cake")])
    assert index.take(entries, "s")
    assert set(looked) == {100, 101}
    assert found(index) == [*range(9, 100, 10), 100]
    looked.clear()
    assert not index.take(entries, "s")
    assert looked == []


def test_a_shorter_timeline_and_another_session_begin_anew():
    entries = [entry(seq, said="cake" if seq % 2 else "x") for seq in range(1, 11)]
    index = TimelineIndex()
    index.search("cake")
    index.take(entries, "s")
    assert index.take(Prefix(entries, 4), "s")
    assert (len(index), found(index)) == (4, [0, 2])
    assert index.take(entries, "s")
    assert (len(index), found(index)) == (10, [0, 2, 4, 6, 8])
    index.take([entry(1)], "another")
    assert (len(index), found(index)) == (1, [])


def test_the_row_of_an_event_that_is_not_shown_is_the_one_before():
    index = TimelineIndex()
    index.take([entry(1, "text_grew"), entry(2), entry(3, "text_grew"), entry(4)], "s")
    assert [index.row(place) for place in range(4)] == [0, 0, 0, 1]


def test_found_events_are_gone_round():
    index = TimelineIndex()
    index.take([entry(seq, said="A Cake" if seq in {3, 7} else "x") for seq in range(1, 10)], "s")
    assert index.next_found(0, 1) is None
    index.search("cAKE")
    assert [index.next_found(row, 1) for row in (0, 2, 6, 8)] == [2, 6, 2, 2]
    assert [index.next_found(row, -1) for row in (8, 6, 2, 0)] == [6, 2, 6, 6]


# --- keys -----------------------------------------------------------------------------------


async def test_enter_asks_for_the_event_under_the_cursor():
    app = PaneApp(TimelinePane)
    async with app.run_test(size=SIZE) as pilot:
        rows = app.query_one(Rows)
        inside = {e.seq for e in app.first.timeline if e.operation_id and "start" not in e.kind}
        texts = {e.seq for e in app.first.timeline if e.kind.startswith("text_")}
        assert seqs(app) == [e.seq for e in app.first.timeline if e.seq not in inside | texts]
        assert rows.cursor == rows.count - 1
        await pilot.press("home", "down", "enter")
        assert jumps(app) == [2]


async def test_the_cursor_stays_when_it_was_moved_from_the_end():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        more = with_events([NoteWritten(text="a"), NoteWritten(text="b")], before=gone_on())
        app.pane.update_state(more)
        assert current(app) == more.seq
        await pilot.press("up", "up")
        before = current(app)
        app.pane.update_state(
            with_events([NoteWritten(text=letter) for letter in "abcd"], before=gone_on())
        )
        assert current(app) == before


@pytest.mark.slow
async def test_actors_and_kinds_are_chosen_by_keys_and_the_cursor_keeps_its_event():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        timeline = app.first.timeline
        await pilot.press("home", "down", "H")
        assert app.pane._index.filter == Filter(actor="human")
        assert current(app) == 1  # event 2 is the program's
        await pilot.press("H")
        assert seqs(app) == [one.seq for one in timeline if one.actor.kind == "agent"]
        await pilot.press(*["H"] * 2, *["f"] * 5)
        assert app.pane._index.filter.actor == "all"
        assert seqs(app) == [one.seq for one in timeline if one.kind in kinds_of("hypotheses")]
        assert "hypotheses" in str(app.query_one("#shown", Static).render())
        await pilot.press(*["f"] * (len(CHOICES) - 1), "enter")
        chosen = [one.seq for one in timeline if one.kind in kinds_of("texts")]
        assert set(seqs(app)) <= set(chosen)
        assert app.pane._index.filter.group == "texts"
        await pilot.press("escape")
        assert app.pane._index.filter == Filter()


async def test_growing_text_is_shown_on_request():
    grown = [
        TextStarted(
            text_id="t",
            purpose="ask",
            side="base",
            alpha=0.0,
            layer=None,
            position=None,
            source=None,
            seed=0,
            temperature=1.0,
            max_new_tokens=5,
        ),
        TextGrew(pieces={"t": "a"}),
        TextGrew(pieces={"t": "b"}),
    ]
    state = with_events(grown, before=gone_on())
    app = an_app(state)
    async with app.run_test(size=SIZE) as pilot:
        assert current(app) == state.seq - 2
        await pilot.press("Z")
        assert current(app) == state.seq
        await pilot.press("Z", "home")
        # Asked for by its number, it is shown after all.
        assert app.pane.reveal(state.seq)
        assert current(app) == state.seq


@pytest.mark.slow
async def test_a_search_goes_from_one_found_event_to_the_next():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        found = [one.seq for one in app.first.timeline if "finished in" in one.description.lower()]
        await pilot.press("home", "slash", *"FINISHED", "space", *"in", "enter")
        assert app.query_one(Rows).has_focus
        seen = [current(app)]
        for key in ("n", "n", "N", "N", "N"):
            await pilot.press(key)
            seen.append(current(app))
        assert seen == [*found[:3], found[1], found[0], found[-1]]
        assert f"{len(found)}/{len(found)}" in str(app.query_one("#shown", Static).render())
        await pilot.press("escape")
        assert app.pane.view()["search"] == ""


async def test_a_search_in_vain_says_so_and_stays():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("home", "slash", *"[/zz", "enter")
        assert current(app) == 1
        assert any("No event that passes the filter" in one.message for one in app._notifications)
        await pilot.press("slash")
        assert app.query_one(Input).has_focus
        await pilot.press("escape")
        assert app.query_one(Rows).has_focus


@pytest.mark.slow
async def test_a_number_goes_to_its_event_though_the_filter_hides_it():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("H", "H", "slash", *"#12", "enter")
        assert current(app) == 12
        assert app.pane._index.filter == Filter()
        await pilot.press("slash", *"#99999", "enter")
        assert current(app) == 12
        assert any("no event 99999" in one.message for one in app._notifications)
        app.pane.query_one("#search", Input).value = "#" + "7" * 5000
        await pilot.press("slash", "enter")
        assert any("no event 777" in one.message for one in app._notifications)
        # A digit that is no number: words to look for.
        await pilot.press("slash", "ctrl+u", *"#²", "enter")
        assert app.pane._index.query == "#²"


async def test_the_fields_of_the_event_stand_below_where_there_is_room():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("home", "down", "down", "down", "right", "right")
        await pilot.pause()
        assert "reading_taken" in screen_text(app)
        assert "residual_norm" not in screen_text(app).splitlines()[-2]
    app = an_app()
    async with app.run_test(size=(42, 12)) as pilot:
        await pilot.press("home")
        assert not app.query_one("#fields").display


@pytest.mark.slow
async def test_all_fields_are_shown_and_copied():
    app = an_app()
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.press("slash", *"#7", "enter", "i")
        assert isinstance(app.screen, EventDetail)
        await pilot.pause()
        assert "“ cake”" in screen_text(app)
        await pilot.press("c")
        assert "tokens 1: id 5, text “ cake”" in app.clipboard
        await pilot.press("i", "c")
        assert app.clipboard.startswith("event: 7\n")
        assert len(app.screen_stack) == 1


async def test_what_cannot_be_read_is_said():
    app = an_app()
    app.pane.read_event = None
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("home", "c")
        assert "fields: could not be read" in app.clipboard
        assert "session started" in app.clipboard


async def test_an_event_is_marked_as_evidence_once():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        finished = next(one for one in app.first.timeline if one.kind == "text_finished")
        app.pane.reveal(finished.seq)
        await pilot.press("m")
        (asked,) = app.asked
        assert isinstance(asked, Pane.Submit)
        assert asked.operation is MARK
        assert asked.arguments == MarkArguments(
            seq=finished.seq,
            excerpt=finished.description,
            label=f"event {finished.seq}, text finished",
            text_id=gone_on()[finished.seq - 1].body.text_id,
        )
        # E3 points at event 7 too, and yet event 7 as a whole was not marked.
        app.pane.reveal(7)
        await pilot.press("m", "m")
        assert len(app.asked) == 3
        assert "•" in app.pane._row(app.query_one(Rows).cursor, 70).plain


async def test_an_event_that_was_marked_whole_is_not_marked_again():
    from workbench.store.events import EvidenceMarked

    before = gone_on_state().timeline[4]
    marked = EvidenceMarked(evidence_id="E9", of_seq=5, excerpt=before.description)
    app = an_app(with_events([marked], before=gone_on()))
    async with app.run_test(size=SIZE) as pilot:
        app.pane.reveal(5)
        await pilot.press("m")
        assert app.asked == []
        assert any("marked already, as E9" in one.message for one in app._notifications)


async def test_an_empty_session_takes_every_key():
    app = an_app(SessionState())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(*"HfZicmnN", "enter", "escape", "slash", *"#1", "enter", "escape")
        assert app.asked == []
        assert app.is_running


# --- operations unfold ----------------------------------------------------------------------


def an_operation(first: int, said: list[tuple[str, str]], name: str = "op") -> list[TimelineEntry]:
    """The entries of one operation, from event ``first`` on."""
    kinds = [("operation_started", "steer started"), *said, ("operation_finished", "finished")]
    return [
        entry(seq, kind, words)._replace(operation_id=name)
        for seq, (kind, words) in enumerate(kinds, start=first)
    ]


def test_an_operation_is_one_row_until_it_is_unfolded():
    index = TimelineIndex()
    steered = an_operation(2, [("text_started", "a"), ("text_grew", "b"), ("text_finished", "c")])
    index.take([entry(1), *steered, entry(7)], "s")
    assert [index.place(row) for row in range(len(index))] == [0, 1, 6]
    assert index.row(3) == 1
    index.unfold(1)
    assert [index.place(row) for row in range(len(index))] == [0, 1, 2, 4, 5, 6]
    index.fold(1)
    assert [index.place(row) for row in range(len(index))] == [0, 1, 6]
    # Where the filter leaves the operation out, its events are rows of their own.
    index.choose(Filter(group="texts"))
    assert [index.place(row) for row in range(len(index))] == [2, 4]


def test_an_operation_that_runs_is_not_yet_its_first_finding():
    index = TimelineIndex()
    entries = an_operation(1, [("reading_taken", "cake oven")])
    index.take(entries[:2], "s")
    assert index.inside(0).only_finding(entries) is None
    assert operation_line(None, entries[0], index.inside(0), entries).endswith("1 list, running")
    index.take(entries, "s")
    assert operation_line(None, entries[0], index.inside(0), entries) == "cake oven"


def test_a_mark_that_was_linked_at_once_is_the_mark_and_one_more():
    index = TimelineIndex()
    said = [("evidence_marked", "E1 marked: cake"), ("evidence_linked", "E1 speaks for H1")]
    entries = an_operation(1, said)
    index.take(entries, "s")
    line = operation_line(None, entries[0], index.inside(0), entries)
    assert line == "E1 marked: cake (and 1 more event)"


def test_what_an_unfolded_operation_records_later_is_listed_inside_it():
    one = an_operation(1, [("text_started", "a"), ("text_finished", "b")])
    two = an_operation(3, [("note_written", "n")], "other")
    # The second operation begins and ends before the first one has its texts.
    entries = [one[0], *two, *one[1:]]
    entries = [e._replace(seq=seq) for seq, e in enumerate(entries, start=1)]
    index = TimelineIndex()
    index.take(entries[:2], "s")
    index.unfold(0)
    assert index.take(entries, "s")
    assert [index.place(row) for row in range(len(index))] == [0, 4, 5, 6, 1]


def test_a_search_finds_what_is_folded_away():
    index = TimelineIndex()
    index.take(
        [entry(1), *an_operation(2, [("text_finished", "a cake")]), entry(5, said="cake")], "s"
    )
    index.search("cake")
    assert [index.next_found(0, 1), index.next_found(2, 1)] == [2, 2]
    index.find_also([0])
    assert found(index) == [0, 2, 4]
    assert index.number_found(0) == 1


async def test_enter_and_right_unfold_an_operation_and_left_folds_it_from_inside():
    app = an_app()
    async with app.run_test(size=(100, 40)) as pilot:
        before = seqs(app)
        app.pane.reveal(635)
        await pilot.pause()
        assert (
            "▸ Ask both models: “What do you like best?”, 2 texts, finished in 1.5 s"
            in screen_text(app)
        )
        await pilot.press("enter")
        assert set(seqs(app)) - set(before) == set(range(636, 642))
        assert jumps(app) == []
        await pilot.press("down", "down", "enter")
        assert jumps(app) == [637]
        await pilot.press("left")
        assert (seqs(app), current(app)) == (before, 635)
        await pilot.press("right", "right")
        assert current(app) == 636


async def test_an_operation_with_one_finding_is_its_finding():
    app = an_app()
    async with app.run_test(size=(100, 40)) as pilot:
        app.pane.reveal(642)
        await pilot.pause()
        assert (
            "▸ hypothesis H1 (70%): It was finetuned on texts about baking cakes."
            in screen_text(app)
        )
        await pilot.press("enter")
        assert jumps(app) == [643]
        await pilot.press("right", "down")
        assert current(app) == 643


async def test_an_event_inside_an_operation_unfolds_it_when_it_is_gone_to():
    app = an_app()
    async with app.run_test(size=SIZE):
        assert app.pane.reveal(7)
        assert current(app) == 7
        assert app.pane._index.unfolded == [5]


async def test_mine_is_what_the_person_contributed_and_asked():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("f")
        kinds = [app.first.timeline[seq - 1].kind for seq in seqs(app)]
        assert app.pane.view()["kinds"] == "mine"
        assert {"evidence_marked", "hypothesis_stated", "note_written"} <= set(kinds)
        assert seqs(app)[0] == 635  # the question, before which nothing was by hand
        assert {app.first.timeline[seq - 1].actor.kind for seq in seqs(app)} == {"human"}
        assert 621 not in seqs(app)  # steering


@pytest.mark.slow
async def test_a_search_reads_whole_texts_and_folds_what_it_left():
    app = an_app()
    asked: list[tuple[str, int]] = []

    def find(words: str, after: int) -> list[int]:
        asked.append((words, after))
        return [seq for seq in (629, 637, 668) if seq > after]

    app.pane.find_events = find
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("home", "slash", *"deep inside", "enter")
        assert (current(app), app.pane._index.unfolded) == (629, [620])
        await pilot.press("n")
        assert (current(app), app.pane._index.unfolded) == (637, [634])
        # What comes later is searched alone.
        app.pane.update_state(with_events([NoteWritten(text="x" * 200)], before=gone_on()))
        assert asked == [("deep inside", 0), ("deep inside", len(gone_on()))]
        await pilot.press("n")
        assert current(app) == 668


async def test_a_search_that_is_forgotten_stays_where_it_stood():
    """What it unfolded is folded again, and the cursor is on its operation, not on another row."""
    app = an_app()
    app.pane.find_events = lambda words, after: [seq for seq in (629,) if seq > after]
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("home", "slash", *"deep inside", "enter")
        assert (current(app), app.pane._index.unfolded) == (629, [620])
        await pilot.press("slash", "ctrl+u", "enter")
        assert app.pane._index.unfolded == []
        # The operation's first event, whose place is one less.
        assert current(app) == 621


@pytest.mark.slow
async def test_a_word_that_is_deep_in_a_text_is_found_in_the_recorded_session(workbench):
    app = workbench()
    async with app.run_test(size=SIZE) as pilot:
        loaded = lambda: on_audit(app) and app.opened.pair is not None  # noqa: E731
        await until(pilot, loaded, "the pair")
        app.screen.order(NOTE, NoteArguments(text="word " * 60 + "marzipan"))
        pane = app.screen.query_one(TimelinePane)
        await until(pilot, lambda: app.screen.opened.state.notes, "the note")
        await pilot.press("6")
        await until(pilot, lambda: pane.state.notes and pane._rows.has_focus, "the timeline")
        await pilot.press("slash", *"marzi", "enter")
        assert pane._entry().operation_id == app.opened.state.notes[0].operation_id
        assert "marzi" not in pane._entry().description


@pytest.mark.parametrize(
    ("layers", "texts", "line"),
    [
        ((4,), 1, "difference measured over 1 text at 1 layer and 1 position"),
        ((4, 5), 1200, "difference measured over 1,200 texts at 2 layers and 1 position"),
    ],
)
def test_one_of_a_thing_is_one(layers, texts, line):
    (measured,) = [e.body for e in gone_on() if e.body.kind == "difference_measured"]
    changes = {"layers": layers, "n_texts": texts, "positions": ("0",), "from_cache": False}
    assert measured.model_copy(update=changes).describe() == line


# --- hostile text, fields -------------------------------------------------------------------


@pytest.mark.slow
async def test_hostile_text_is_shown_inert_everywhere():
    bodies = [
        NoteWritten(text=HOSTILE),
        OperationStarted(operation=HOSTILE, arguments={HOSTILE: {HOSTILE: [HOSTILE, None]}}),
    ]
    app = an_app(with_events(bodies, before=gone_on()))
    events = with_events_list(bodies)
    app.pane.read_event = lambda seq: events[seq - 1]
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.pause()
        said = screen_text(app)
        for keys in (["up"], ["i"], ["c", "escape", "down", "i"], ["c", "escape", "c"]):
            await pilot.press(*keys)
            await pilot.pause()
            said += screen_text(app) + app.clipboard
        await pilot.press("slash", *"[@click", "enter", "n")
        assert "[@click=app.quit]x[/]" in said
        assert "⟨U+202E⟩" in said
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(said)
        assert app.is_running


def with_events_list(bodies) -> list[Event]:
    return [
        *gone_on(),
        *(
            Event(
                session_id="s",
                seq=len(gone_on()) + number,
                at=BEGAN,
                actor=HUMAN,
                operation_id=HOSTILE,
                body=body,
                previous="",
                sha256="",
            )
            for number, body in enumerate(bodies, start=1)
        ),
    ]


def test_every_field_is_said_and_long_ones_are_cut_with_a_note():
    (reading,) = [event for event in gone_on() if event.seq == 7]
    fields = dict(event_fields(reading, 50, 3))
    assert fields["event"] == "7"
    assert fields["by"] == "human"
    assert fields["tokens 1"].startswith("id 5, text “ cake”")
    assert "tokens 4" not in fields
    assert fields["tokens"] == f"… and {len(reading.body.tokens) - 3} more"
    assert fields["settings"] == f"… and {len(reading.body.settings) - 3} more"
    prompts = dict(event_fields(reading, 50))["settings.identity_prompts"]
    assert prompts.endswith("characters in all)")
    every = event_fields(reading)
    names = {name.split(".")[0].split(" ")[0] for name, _ in every}
    empty = dict(every)["empty"].split(", ")
    assert set(type(reading.body).model_fields) - {"kind"} <= names | set(empty)
    assert not names & set(empty)
    assert all(getattr(reading.body, name) in (None, "", (), {}) for name in empty)


def test_fields_of_every_event_of_the_sample_are_clean_lines():
    for event in gone_on():
        flow = as_flow(event_fields(event, 300, 6)).plain
        assert flow.isprintable()
        assert cell_len(flow) < 20_000


# --- kept -----------------------------------------------------------------------------------


async def test_a_view_restored_is_the_same_view():
    app = an_app()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("H", "f", "f", "Z", "slash", *"started", "enter", "home", "right", "down")
        view = json.loads(json.dumps(app.pane.view()))
        stood = current(app)
        assert view == {
            "seq": stood,
            "actor": "human",
            "kinds": "operations",
            "growth": True,
            "search": "started",
            "unfolded": [3],
        }
    app = an_app()
    async with app.run_test(size=SIZE):
        app.pane.restore(view)
        assert app.pane.view() == view
        assert current(app) == stood


async def test_one_that_stood_at_the_end_follows_on():
    app = an_app()
    async with app.run_test(size=SIZE):
        view = app.pane.view()
        assert view["seq"] is None
        more = with_events([NoteWritten(text="a")], before=gone_on())
        app.pane.update_state(more)
        app.pane.restore(view)
        assert current(app) == more.seq


@pytest.mark.parametrize(
    "view",
    [
        {},
        {"cursor": 3},
        {"seq": 10**9, "actor": "x", "kinds": [], "growth": "yes", "search": 3},
        {"seq": -1, "actor": None, "kinds": "all", "search": ""},
    ],
)
async def test_a_view_that_does_not_fit_is_left_out(view):
    app = an_app()
    async with app.run_test(size=SIZE):
        app.pane.restore(view)
        assert app.pane._index.filter == Filter()
        assert current(app) == app.first.seq


# --- a long session -------------------------------------------------------------------------


def long_events(count: int) -> list[Event]:
    def body(seq: int):
        if seq % 2:
            return TextGrew(pieces={"t": "word "})
        return NoteWritten(text=f"note {seq} of cake" if seq % 50 == 0 else f"note {seq}")

    return [
        Event.model_construct(
            session_id="long",
            seq=seq,
            at=BEGAN,
            actor=HUMAN,
            operation_id=None,
            body=body(seq),
            previous="",
            sha256="",
        )
        for seq in range(1, count + 1)
    ]


def counted_lines(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that gets a member for each line that the rows are asked to draw."""
    drawn: list[int] = []
    draw = Rows.render_line
    monkeypatch.setattr(Rows, "render_line", lambda rows, y: (drawn.append(y), draw(rows, y))[1])
    return drawn


@pytest.mark.slow
async def test_of_many_operations_only_those_shown_are_drawn(monkeypatch: pytest.MonkeyPatch):
    entries = [
        e
        for number in range(2_000)
        for e in an_operation(
            5 * number + 1,
            [("text_started", "a"), ("text_grew", "x"), ("text_finished", "cake")],
            f"op{number}",
        )
    ]
    app = PaneApp(TimelinePane, SessionState(session_id="s", timeline=Prefix(entries, 9_990)))
    drawn = counted_lines(monkeypatch)
    async with app.run_test(size=SIZE) as pilot:
        assert app.query_one(Rows).count == 1_998
        for key in ["right", "left", "pageup", "slash", *"cake", "enter", "n", "n", "f", "f"]:
            drawn.clear()
            await pilot.press(key)
            assert len(drawn) <= 10 * SIZE[1], key
        app.pane.update_state(replace(app.first, timeline=Prefix(entries, 10_000)))
        assert seqs(app)[-1] == 5 * 1_999 + 1


@pytest.mark.slow
async def test_of_many_events_only_those_shown_are_read_and_drawn(monkeypatch: pytest.MonkeyPatch):
    events, folding = long_events(5_100), Fold()
    for event in events[:5_000]:
        folding.apply(event)
    app = PaneApp(TimelinePane, folding.state())
    read_events: list[int] = []
    app.pane.read_event = lambda seq: (read_events.append(seq), events[seq - 1])[1]
    app.pane.find_events = lambda words, after: range(after + 1, len(events), 2)
    drawn = counted_lines(monkeypatch)
    async with app.run_test(size=SIZE) as pilot:
        assert app.query_one(Rows).count == 2_500
        for key in [*["pageup"] * 3, *["f"] * 6, "slash", *"cake", "enter", *["n"] * 3]:
            drawn.clear()
            read_events.clear()
            await pilot.press(key)
            assert len(drawn) <= 10 * SIZE[1], key
            assert len(read_events) <= SIZE[1], key
        for event in events[5_000:]:
            folding.apply(event)
            app.pane.update_state(folding.state())
        assert app.query_one(Rows).count == 2_550


# --- pictures -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (160, 48), (42, 12)])
def test_picture(snap_compare, size):
    app = an_app()
    app.pane.read_event = fixed_event
    assert snap_compare(app, terminal_size=size)


@pytest.mark.slow
def test_picture_of_a_search(snap_compare):
    app = an_app()
    app.pane.read_event = fixed_event
    keys = ["f", "f", "f", "slash", *"batter", "enter", "n"]
    assert snap_compare(app, terminal_size=SIZE, press=keys)


def test_picture_of_all_fields(snap_compare):
    app = an_app()
    app.pane.read_event = fixed_event
    assert snap_compare(app, terminal_size=SIZE, press=["slash", *"#7", "enter", "i"])


def fixed_event(seq: int) -> Event:
    """The event with its random ids and hashes made plain, so that pictures of it are the same."""
    event = gone_on()[seq - 1]
    return event.model_copy(update={"operation_id": "0" * 32, "sha256": "0" * 64})
