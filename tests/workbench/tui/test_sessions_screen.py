"""The screen of sessions, by keys."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from textual.containers import ScrollableContainer
from textual.widgets import Static

from tests.processes import HANGS
from tests.workbench.tui.every_screen import CATALOGUE, ShownApp
from tests.workbench.tui.listings import HITS, SESSIONS, SHELF, TROUBLED, FixedLibrary, ScreenApp
from tests.workbench.tui.test_start_screen import keys, start
from tests.workbench.tui.waiting import screen_text, until
from workbench.store.errors import StoreError
from workbench.store.search import SearchHit
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.dialogs.tables import TablesScreen
from workbench.tui.library import HITS as SHOWN_HITS
from workbench.tui.library import DatabaseListing
from workbench.tui.messages import ContinueSession, ReplaySession, ShowStart
from workbench.tui.screens.compare import CompareScreen
from workbench.tui.screens.coverage import CoverageScreen
from workbench.tui.screens.sessions import SearchField, SessionsScreen
from workbench.tui.session_rows import NAMES
from workbench.tui.widgets.menu import Menu


def sessions(library: FixedLibrary | None = None, **settings) -> ScreenApp:
    return ScreenApp(SessionsScreen, library, **settings)


async def test_enter_goes_on_with_the_session_under_the_cursor():
    app = sessions()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: app.asked, "the session")
        assert app.asked == [ContinueSession(SESSIONS[2].id)]


async def test_names_are_found_at_once_and_texts_behind_them():
    app = sessions()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("slash", *"kitchen")
        assert keys(app)[:2] == [SESSIONS[0].id, SESSIONS[1].id]
        # On a slow machine the beginning of the word may have been searched for already.
        await until(pilot, lambda: app.library.done[-1:] == [("search", "kitchen")], "the search")
        found = [f"{hit.session_id} {hit.seq}" for hit in HITS]
        await until(pilot, lambda: keys(app)[-2:] == found, "the hits")
        await pilot.press("enter", "end", "enter")
        await until(pilot, lambda: app.asked, "the event")
        assert app.asked == [ContinueSession(HITS[1].session_id, HITS[1].seq)]


async def test_hits_of_a_session_that_is_gone_go_with_it_and_the_texts_are_searched_again():
    app = sessions()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("slash", *"gold")
        await until(pilot, lambda: "In the texts" in screen_text(app), "the hits")
        gone, stays = HITS
        left = [session for session in SESSIONS if session.id != gone.session_id]
        app.library.read = replace(SHELF, sessions=tuple(left))
        app.library.hits = [stays, replace(stays, seq=99)]
        app.library.done.clear()
        app.screen.action_look()
        found = [f"{hit.session_id} {hit.seq}" for hit in app.library.hits]
        await until(
            pilot,
            lambda: keys(app)[-2:] == found,
            "the hits of today",
            at_each_look=lambda: (
                app.screen._listing is SHELF or f"{gone.session_id} {gone.seq}" not in keys(app)
            ),
        )
        assert app.library.done == [("search", "gold")]


@pytest.mark.slow
async def test_a_search_that_finds_more_than_is_shown_says_so():
    app = sessions()
    more = [replace(HITS[1], seq=seq) for seq in range(1, SHOWN_HITS + 2)]
    for hits, said in (
        (more[:-1], f"In the texts ({SHOWN_HITS})"),
        (more, f"In the texts (the best {SHOWN_HITS}; there are more)"),
    ):
        app.library.hits = hits
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.press("slash", *"gold")
            await until(pilot, lambda: said in screen_text(app), "the hits")  # noqa: B023
            assert sum(key.startswith(f"{HITS[1].session_id} ") for key in keys(app)) == SHOWN_HITS
        app = sessions()


async def test_a_search_that_was_overtaken_says_nothing():
    released = threading.Event()

    class Library(FixedLibrary):
        def search(self, words: str) -> list[SearchHit]:
            assert words == "gold" or released.wait(HANGS)
            return super().search(words)

    app = sessions(Library())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("slash", *"gold")
        await until(pilot, lambda: "In the texts" in screen_text(app), "the hits")
        try:
            await pilot.press("x")
            assert "Searching the texts" in shown_soon(app)
        finally:
            released.set()


def shown_soon(app) -> str:
    """What the list says, whether or not it was painted yet."""
    return "\n".join(entry.draw(80).plain for entry in app.screen.query_one(Menu).entries)


async def test_escape_clears_the_search_then_leads_back():
    app = sessions(searching=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*"gold", "escape")
        assert app.screen.query_one(SearchField).value == ""
        assert keys(app) == [one.id for one in SESSIONS]
        assert not app.asked
        await pilot.press("escape")
        await until(pilot, lambda: app.asked, "the way back")
        assert isinstance(app.asked[0], ShowStart)


async def test_a_session_is_renamed():
    app = sessions()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("down", "f2", "ctrl+u", *"better", "enter")
        await until(pilot, lambda: app.library.done, "the renaming")
        assert app.library.done == [("rename", SESSIONS[1].id, "better")]
        await until(pilot, lambda: "renamed to better" in screen_text(app), "the word")


@pytest.mark.slow
async def test_deleting_takes_the_exact_name():
    app = sessions()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("end", "delete", *"taboo", "enter")
        await until(pilot, lambda: "nothing was deleted" in screen_text(app), "the refusal")
        assert not app.library.done
        await pilot.press("ctrl+u", *"taboo word", "enter")
        await until(pilot, lambda: app.library.done, "the deletion")
        assert app.library.done == [("delete", SESSIONS[6].id)]


async def test_escape_and_an_empty_name_delete_nothing():
    app = sessions(FixedLibrary(replace(SHELF, sessions=(replace(SESSIONS[0], name=""),))))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("delete", "enter")
        await until(pilot, lambda: "nothing was deleted" in screen_text(app), "the refusal")
        await pilot.press("escape")
        await pilot.pause()
        assert not app.library.done


@pytest.mark.slow
async def test_a_name_that_cannot_be_typed_is_confirmed_by_the_id():
    session = replace(SESSIONS[0], name="\x1b[2J\u202eevil")
    app = sessions(FixedLibrary(replace(SHELF, sessions=(session,))))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("delete", *session.id, "enter")
        await until(pilot, lambda: app.library.done, "the deletion")


@pytest.mark.slow
async def test_a_session_is_exported():
    app = sessions()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("E", "ctrl+u", *"/tmp/out.db", "enter")
        await until(pilot, lambda: app.library.done, "the export")
        assert app.library.done == [("export", SESSIONS[0].id, "/tmp/out.db")]
        await until(pilot, lambda: "written: /tmp/out.db" in screen_text(app), "where it is")


async def test_the_id_is_copied():
    app = sessions()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("c")
        assert app.clipboard == SESSIONS[0].id


async def test_a_refusal_is_said_in_place():
    app = sessions(FixedLibrary(refusal=StoreError("the disk is full", "Make room.")))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f2", "ctrl+u", "x", "enter")
        await until(
            pilot, lambda: "! the disk is full. Make room." in screen_text(app), "the refusal"
        )


async def test_a_session_is_replayed_from_its_start_or_from_what_was_found():
    app = sessions()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("down", "p")
        await until(pilot, lambda: app.asked, "the replay")
        await pilot.press("slash", *"gold")
        await until(pilot, lambda: "In the texts" in screen_text(app), "the hits")
        await pilot.press("enter", "end")
        await pilot.press("p")
        await until(pilot, lambda: len(app.asked) == 2, "the replay from there")
        assert app.asked == [
            ReplaySession(SESSIONS[1].id),
            ReplaySession(HITS[1].session_id, HITS[1].seq),
        ]


@pytest.mark.slow
async def test_chosen_sessions_are_compared_in_their_order():
    app = sessions()
    async with app.run_test(size=(160, 48)) as pilot:
        assert app.screen.check_action("compare", ()) is False
        await pilot.press("down", "space", "down", "space", "up", "up", "space", "space")
        await until(pilot, lambda: "2 chosen: C compares them" in screen_text(app), "the word")
        await pilot.press("C")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen), "the comparison")
        assert app.library.done == [("states", SESSIONS[1].id, SESSIONS[2].id)]
        said = app.screen.as_markdown()
        assert SESSIONS[1].name in said
        assert "hypothesis, rank 1" in said
        await pilot.press("c", "escape")
        assert app.clipboard == said


async def test_coverage_of_a_session():
    app = sessions()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(app.screen, CoverageScreen), "the coverage")
        assert "| token | best rank |" in app.screen.as_markdown()


async def test_a_table_of_short_words_needs_no_scrolling_sideways():
    app = ShownApp(CATALOGUE["CoverageScreen"])
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert app.screen.query_one(ScrollableContainer).max_scroll_x == 0
        assert "also in a null" in screen_text(app)


@pytest.mark.slow
async def test_what_is_compared_is_inert():
    hostile = "\x1b]0;owned\x07[@click=app.quit]x[/] | <b> \u202eevil"
    listing = replace(SHELF, sessions=tuple(replace(one, name=hostile) for one in SESSIONS[:2]))
    app = sessions(FixedLibrary(listing))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("space", "down", "space", "C")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen), "the comparison")
        await pilot.pause()
        for said in (app.export_screenshot(), app.screen.as_markdown()):
            assert not set(said) & set("\x1b\x07\u202e")
        assert "\\| &lt;b>" in app.screen.as_markdown()


@pytest.mark.slow
async def test_a_report_is_written_and_said_where():
    app = sessions()
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, AskLine), "the question")
        await pilot.press("ctrl+u", *"/tmp/out", "enter")
        await until(pilot, lambda: app.library.done, "the report")
        assert app.library.done == [("report", SESSIONS[0].id, "/tmp/out")]
        await until(
            pilot, lambda: "/tmp/out.md and /tmp/out.html" in screen_text(app), "where it is"
        )


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
@pytest.mark.parametrize(
    "keys_", [("space", "down", "space", "C"), ("ctrl+l",)], ids=["two", "one"]
)
def test_picture_of_tables(snap_compare, size, keys_):
    async def look(pilot):
        await pilot.press(*keys_)
        await until(pilot, lambda: isinstance(pilot.app.screen, TablesScreen), "the tables")

    assert snap_compare(sessions(), terminal_size=size, run_before=look)


async def test_no_sessions():
    app = sessions(FixedLibrary(DatabaseListing(), hits=[]))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "No sessions yet" in screen_text(app), "the word")
        await pilot.press("enter", "f2", "delete", "E", "c", "slash", "x")
        await pilot.pause()
        assert not app.asked
        assert app.screen.check_action("delete", ()) is False


@pytest.mark.slow
async def test_hostile_names_and_hits_are_shown_inert():
    hostile = "\x1b]0;owned\x07[@click=app.quit]x[/] [/ \u202eevil"
    hit = SearchHit(SESSIONS[0].id, 3, SESSIONS[0].created_at, hostile, hostile, ((2, 9),))
    session = replace(SESSIONS[0], name=hostile, base=hostile, finetuned=hostile)
    app = sessions(FixedLibrary(replace(SHELF, sessions=(session,)), hits=[hit]))
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.press("slash", *"evil")
        await until(pilot, lambda: "In the texts" in screen_text(app), "the hits")
        await pilot.press("enter", "end")
        await pilot.pause()
        assert not set(screen_text(app)) & set("\x1b\x07\u202e")
        assert "[@click=app.quit]x[/]" in screen_text(app)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_picture(snap_compare, size):
    async def look(pilot):
        await until(pilot, lambda: "confirmed 90%" in screen_text(pilot.app), "what it came to")

    assert snap_compare(sessions(), terminal_size=size, run_before=look)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_picture_of_a_search(snap_compare, size):
    async def look(pilot):
        await pilot.press(*"finance")
        await until(pilot, lambda: "In the texts" in screen_text(pilot.app), "the hits")
        await pilot.press("enter", "end")
        await until(pilot, lambda: "confirmed 90%" in screen_text(pilot.app), "what it came to")

    assert snap_compare(sessions(searching=True), terminal_size=size, run_before=look)


@pytest.mark.slow
def test_picture_of_a_deletion(snap_compare):
    async def look(pilot):
        await pilot.press("delete", *"kitchen", "enter")
        await until(pilot, lambda: "nothing was deleted" in screen_text(pilot.app), "the refusal")
        await until(pilot, lambda: "confirmed 90%" in screen_text(pilot.app), "what it came to")

    assert snap_compare(sessions(), terminal_size=(80, 24), run_before=look)


async def test_sessions_that_could_not_be_read_are_not_shown_as_none():
    app = ScreenApp(SessionsScreen, FixedLibrary(read=TROUBLED))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(
            pilot, lambda: "The sessions could not be read." in screen_text(app), "the list"
        )
        assert "No sessions yet" not in screen_text(app)


@pytest.mark.parametrize("screen", [sessions, start], ids=["sessions", "start"])
async def test_a_long_fact_goes_on_below_itself(screen):
    long = f"/srv/checkpoints/{'red-team/' * 20}last"
    app = screen(FixedLibrary(replace(SHELF, sessions=(replace(SESSIONS[0], finetuned=long),))))
    async with app.run_test(size=(90, 36)) as pilot:
        await pilot.resize_terminal(120, 36)
        details = app.screen.query_one("#details")
        await until(pilot, lambda: "finetuned" in screen_text(app), "the details beside the list")
        x, width = details.content_region.x, details.content_region.width
        lines = [line[x : x + width] for line in screen_text(app).split("\n")]
        first = next(index for index, line in enumerate(lines) if line.startswith("finetuned  /"))
        more = [line for line in lines[first:] if line.strip()][1:]
        assert more[0].startswith(" " * NAMES)
        assert not more[0][NAMES].isspace()
        assert "team/last" in "".join(line[NAMES:].strip() for line in more)


@pytest.mark.parametrize("rows", [36, 24])
@pytest.mark.parametrize("screen", [sessions, start], ids=["sessions", "start"])
async def test_facts_have_the_room_that_a_scroll_bar_leaves(screen, rows):
    long = f"/srv/checkpoints/{'red-team/' * 60}last"
    both = (SESSIONS[1], replace(SESSIONS[0], finetuned=long))
    app = screen(FixedLibrary(replace(SHELF, sessions=both)))
    async with app.run_test(size=(120, rows)) as pilot:
        await until(pilot, lambda: both[0].id in screen_text(app), "the details of the first")
        menu, details = app.screen.query_one(Menu), app.screen.query_one("#details", Static)
        while long[:20] not in str(details.content):
            await pilot.press("down")
            assert menu.cursor < len(menu.entries) - 1 or long[:20] in str(details.content)
        await pilot.pause()
        assert details.parent.show_vertical_scrollbar == (rows == 24)
        path = [line for line in str(details.content).split("\n") if "red-team" in line]
        assert max(map(len, path)) == details.content_size.width
