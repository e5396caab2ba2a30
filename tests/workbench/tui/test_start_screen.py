"""The start screen: what it offers, by keys, and what it says is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.workbench.tui.listings import ENGINES, SESSIONS, SHELF, TROUBLED, FixedLibrary, ScreenApp
from tests.workbench.tui.waiting import screen_text, until
from workbench.operations.pair import DEMO_ORGANISM, PairArguments
from workbench.tui.app import WorkbenchApp
from workbench.tui.library import DatabaseListing
from workbench.tui.messages import AttachSession, ContinueSession, OpenPair, ShowSessions
from workbench.tui.screens.listing_screen import ListingRead
from workbench.tui.screens.new_pair import NewPairScreen, empty_pair
from workbench.tui.screens.start import StartScreen, UseDatabase
from workbench.tui.widgets.facts import facts
from workbench.tui.widgets.menu import Menu


def start(library: FixedLibrary | None = None) -> ScreenApp:
    return ScreenApp(StartScreen, library, draft=empty_pair())


def keys(app) -> list[str]:
    return [entry.key for entry in app.screen.query_one(Menu).entries if entry.key]


async def go_to(pilot, key: str) -> None:
    """Move the cursor down to the entry, by keys."""
    menu = pilot.app.screen.query_one(Menu)
    await pilot.press("home")
    for _ in menu.entries:
        if menu.current.key == key:
            return
        await pilot.press("down")
    raise AssertionError(f"no entry {key} in {keys(pilot.app)}")


async def test_a_session_that_was_not_closed_comes_first():
    app = start()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert keys(app)[0] == f"continue {SESSIONS[0].id}"
        await pilot.press("enter")
        await pilot.pause()
        assert app.asked == [ContinueSession(SESSIONS[0].id)]


async def test_engines_that_run_are_attached_to():
    app = start(FixedLibrary(ENGINES))
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        assert "red team, shared screen  base Qwen/Qwen3-4B" in screen_text(app)
        await go_to(pilot, f"engine {SESSIONS[4].id}")
        await pilot.press("enter")
        await go_to(pilot, "engine 72")
        await pilot.press("enter")
        await pilot.pause()
        busy, free = (engine.socket for engine in ENGINES.engines)
        assert app.asked == [AttachSession(busy, SESSIONS[4].id), AttachSession(free)]


async def test_a_session_that_is_open_elsewhere_does_not():
    listing = replace(SHELF, open_elsewhere=frozenset({SESSIONS[0].id}))
    app = start(FixedLibrary(listing))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert keys(app)[0] == "demo"
        assert f"session {SESSIONS[0].id}" in keys(app)
        await until(pilot, lambda: "open elsewhere" in screen_text(app), "how it stands")


@pytest.mark.slow
async def test_each_entry_opens_what_it_says():
    app = start()
    async with app.run_test(size=(80, 40)) as pilot:
        await pilot.pause()
        for key, expected in {
            "demo": OpenPair(PairArguments(organism=DEMO_ORGANISM), blind=True),
            "organism taboo_gold": OpenPair(PairArguments(organism="taboo_gold")),
            "pair 1": OpenPair(SHELF.recent[1]),
            f"session {SESSIONS[2].id}": ContinueSession(SESSIONS[2].id),
            "all": ShowSessions(),
        }.items():
            app.asked.clear()
            await go_to(pilot, key)
            await pilot.press("enter")
            await pilot.pause()
            assert app.asked == [expected], key


async def test_keys_of_their_own():
    app = start()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("d", "ctrl+r", "/")
        await pilot.pause()
        assert app.asked == [
            OpenPair(PairArguments(organism=DEMO_ORGANISM), blind=True),
            ShowSessions(),
            ShowSessions(searching=True),
        ]


async def test_the_cursor_passes_over_headings_and_stops_at_the_ends():
    app = start()
    async with app.run_test(size=(80, 40)) as pilot:
        await pilot.pause()
        menu = app.screen.query_one(Menu)
        await pilot.press("home", "up")
        assert menu.current.key == keys(app)[0]
        passed = [menu.current.key]
        for _ in menu.entries:
            await pilot.press("down")
            passed.append(menu.current.key)
        assert list(dict.fromkeys(passed)) == keys(app)


@pytest.mark.slow
async def test_a_pair_is_edited_before_it_is_opened():
    app = start()
    async with app.run_test(size=(80, 40)) as pilot:
        await pilot.pause()
        await go_to(pilot, "pair 1")
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, NewPairScreen), "the form")
        await pilot.press("end", "@", "v", "2", "enter")
        await until(pilot, lambda: app.asked, "the pair")
        pair = SHELF.recent[1].model_copy(update={"base": "Qwen/Qwen3-4B@v2"})
        assert app.asked == [OpenPair(pair, is_typed=True)]


@pytest.mark.slow
@pytest.mark.parametrize("base", ["./model.gguf", "owner/name/MODEL-Q4.gguf"])
async def test_what_the_command_line_takes_can_be_typed(tmp_path, monkeypatch, base):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "adapter_config.json").write_text("{}")
    app = start()
    async with app.run_test(size=(80, 40)) as pilot:
        await pilot.pause()
        await go_to(pilot, "pair 1")
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, NewPairScreen), "the form")
        typed = {"base": base, "adapter": "", "finetuned": str(tmp_path)}
        for name, text in typed.items():
            app.screen.query_one(f"#{name}").value = text
        await pilot.press("enter")
        await until(pilot, lambda: app.asked, "the pair")
        pair = SHELF.recent[1].model_copy(update=typed | {"adapter": None})
        assert app.asked == [OpenPair(pair, is_typed=True)]


async def test_a_pair_is_opened_blind_if_that_is_chosen():
    app = start()
    async with app.run_test(size=(80, 40)) as pilot:
        await pilot.pause()
        await go_to(pilot, "pair 1")
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, NewPairScreen), "the form")
        app.screen.query_one("#blind").focus()
        await pilot.press("right", "enter")
        await until(pilot, lambda: app.asked, "the pair")
        assert app.asked == [OpenPair(SHELF.recent[1], blind=True, is_typed=True)]


async def test_recorded_trust_in_code_is_not_taken_over():
    pair = PairArguments(base="a/b", finetuned="c/d", trust_remote_code=True)
    app = start(FixedLibrary(replace(SHELF, recent=(pair,))))
    async with app.run_test(size=(80, 40)) as pilot:
        await pilot.pause()
        await go_to(pilot, "pair 0")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, NewPairScreen), "the form")
        await pilot.press("enter")
        await until(pilot, lambda: app.asked, "the pair")
        distrusted = pair.model_copy(update={"trust_remote_code": False})
        assert app.asked == [OpenPair(distrusted, is_typed=True)]


async def test_another_database_is_asked_for():
    app = start()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("b")
        await pilot.press("ctrl+u", *"/srv/other.db", "enter")
        await until(pilot, lambda: app.asked, "the database")
        assert app.asked == [UseDatabase("/srv/other.db")]


@pytest.mark.slow
async def test_the_ground_truth_of_an_organism_is_nowhere():
    app = start(FixedLibrary(DatabaseListing(organisms=SHELF.organisms)))
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.pause()
        for organism in SHELF.organisms:
            await go_to(pilot, f"organism {organism.id}")
            await until(pilot, lambda: "and not shown" in screen_text(app), "its details")
            page = screen_text(app)
            truth = organism.ground_truth()
            for fact in (truth.description, *truth.key_facts):
                assert fact[:30] not in page
            assert organism.base in page


@pytest.mark.slow
async def test_hostile_names_are_shown_inert():
    hostile = "\x1b]0;owned\x07[@click=app.quit]x[/] [/ \u202eevil"
    session = replace(SESSIONS[1], name=hostile, finetuned=hostile)
    pair = PairArguments(base=hostile, adapter=hostile)
    trouble = TROUBLED.trouble.__class__(hostile, hostile)
    listing = replace(SHELF, sessions=(session,), recent=(pair,), trouble=trouble)
    app = start(FixedLibrary(listing))
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.pause()
        for key in keys(app):
            await go_to(pilot, key)
            await pilot.pause()
            assert not set(screen_text(app)) & set("\x1b\x07\u202e")
        await until(pilot, lambda: "[@click=app.quit]x[/]" in screen_text(app), "the name")


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_picture(snap_compare, size):
    assert snap_compare(start(), terminal_size=size)


def test_picture_of_a_first_start(snap_compare):
    library = FixedLibrary(DatabaseListing(organisms=SHELF.organisms))
    assert snap_compare(start(library), terminal_size=(80, 24))


def test_picture_of_trouble(snap_compare):
    assert snap_compare(start(FixedLibrary(TROUBLED)), terminal_size=(80, 24))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_picture_of_the_form(snap_compare, size):
    async def type_it(pilot):
        await pilot.press("o")
        await pilot.press(*"acme/base", "down", *"/nowhere/at all", "enter")

    assert snap_compare(start(), terminal_size=size, run_before=type_it)


async def test_the_cursor_stands_on_the_last_session():
    app = start()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        screen = app.screen
        last = screen._listing.sessions[0]
        assert screen.query_one(Menu).current.key.endswith(last.id)
        await pilot.press("home")
        moved = screen.query_one(Menu).current.key
        screen._fill()
        assert screen.query_one(Menu).current.key == moved


async def test_the_cursor_waits_for_the_sessions_that_are_there_now():
    """What another screen read is shown at once, and may be older than the last session."""
    older = replace(SHELF, sessions=SHELF.sessions[1:], engines=())
    app = ScreenApp(
        lambda library, listing, draft: StartScreen(library, listing=older, draft=draft),
        FixedLibrary(replace(SHELF, engines=())),
        draft=empty_pair(),
    )
    async with app.run_test(size=(120, 40)) as pilot:
        menu = app.screen.query_one(Menu)
        await until(pilot, lambda: menu.current.key.endswith(SESSIONS[0].id), "the last session")


def test_the_app_keeps_what_a_screen_read():
    assert hasattr(WorkbenchApp, ListingRead.handler_name)


def test_a_long_name_does_not_run_into_its_value():
    told = facts([("base", "x"), ("attn_implementation", "eager")], 11, 40).plain
    assert told.split("\n") == [f"{'base':<20}x", "attn_implementation eager"]
