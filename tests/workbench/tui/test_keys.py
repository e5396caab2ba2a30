"""One table of keys: a key is one idea everywhere, docs hold the table, and config.toml changes it."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
from textual.binding import Binding

import workbench
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.test_flows import quit_it
from tests.workbench.tui.waiting import until
from workbench.settings import EXAMPLE_KEYS, SettingsError, configured_keys, load_settings
from workbench.tui import key_table, keys
from workbench.tui.dialogs.pane_help import PaneHelp
from workbench.tui.screens.audit import AuditScreen
from workbench.tui.screens.opening import LoadingScreen
from workbench.tui.screens.panes import PANES
from workbench.tui.screens.replay import ReplayScreen
from workbench.tui.screens.sessions import SessionsScreen
from workbench.tui.screens.start import StartScreen
from workbench.tui.widgets.cursor_list import CursorList
from workbench.tui.widgets.rows import Rows
from workbench.tui.widgets.token_table import TokenTable

#: Texts that fill the screen; their own letters copy and write, as in panes.
_READ_ALONE = {"history.py", "report.py"}
DOCS = Path(__file__).parents[3] / "docs" / "keys.md"


@pytest.mark.parametrize("surface", key_table.SURFACES, ids=["panes", "screens"])
def test_a_key_is_one_idea_in_every_place(surface):
    ideas = defaultdict(set)
    for key in key_table.TABLE:
        for _use in (use for use in key.uses if use.place in surface):
            for name in key.names:
                ideas[name].add(key.id)
    assert {name: found for name, found in ideas.items() if len(found) > 1} == {}


def test_bindings_of_panes_and_screens_are_the_tables():
    """Read off the classes, so that a key declared elsewhere fails here."""
    screens = [AuditScreen, ReplayScreen, StartScreen, SessionsScreen]
    holders = [*PANES, *screens, CursorList, Rows, TokenTable]
    ideas = defaultdict(set)
    for holder in holders:
        for binding in Binding.make_bindings(holder.__dict__.get("BINDINGS", ())):
            assert binding.id in key_table.BY_ID, (holder, binding)
            assert binding.key in key_table.BY_ID[binding.id].names, (holder, binding)
            if holder not in {StartScreen, SessionsScreen}:
                ideas[binding.key].add(binding.id)
    assert all(len(found) == 1 for found in ideas.values()), ideas


def test_every_action_of_the_table_exists():
    places = {pane.__name__.removesuffix("Pane").lower(): pane for pane in PANES}
    places |= {"audit": AuditScreen, "replay": ReplayScreen, "start": StartScreen}
    places |= {"sessions": SessionsScreen, "loading": LoadingScreen}
    places |= {"list": CursorList, "rows": Rows, "table": TokenTable}
    missing = [
        (use.place, use.action)
        for key in key_table.TABLE
        for use in key.uses
        if use.place in places
        and not use.action.startswith("app.")
        and not hasattr(places[use.place], f"action_{use.action.partition('(')[0]}")
    ]
    assert missing == []


def test_no_pane_or_screen_declares_a_letter_of_its_own():
    found = []
    for folder in ("panes", "screens", "widgets"):
        for path in (Path(workbench.__file__).parent / "tui" / folder).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Binding":
                    letters = [
                        name for name in ast.literal_eval(call.args[0]).split(",") if len(name) == 1
                    ]
                    found += (
                        [(path.name, letters)] if letters and path.name not in _READ_ALONE else []
                    )
    assert found == []


def test_docs_hold_the_table():
    assert DOCS.read_text(encoding="utf-8") == keys.as_markdown(), (
        "write it anew: python -c 'from workbench.tui import keys; print(keys.as_markdown(), end=\"\")'"
    )


def test_help_names_only_keys_that_there_are():
    for holder in (*PANES, StartScreen, SessionsScreen):
        keys.with_keys(holder.HELP)  # KeyError for an id that there is not


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"layr": "y"}, ("layr", "Did you mean layer?", "docs/keys.md")),
        ({"layer": "v"}, ("'v'", "'layer'", "'vector'")),
        ({"layer": "f1"}, ("'f1'", "'help'")),
        ({"layer": "ctrl+q"}, ("^q", "quit")),
        ({"layer": "nokey"}, ("nokey", '"ctrl+t"')),
        ({"layer": 3}, ("layer = 3",)),
        ({"layer": []}, ("layer = []",)),
        ({"layer": ["9", 3]}, ("layer",)),
        ({"layer": "9", "vector": "9"}, ("'9'", "'layer'", "'vector'")),
        ({"search": "enter"}, ("enter", "'open'")),
    ],
)
def test_keys_that_cannot_be_are_refused_in_words(given, words):
    with pytest.raises(SettingsError) as refused:
        keys.remapped(given)
    assert all(word in str(refused.value).replace("⏎", "enter") for word in words), refused.value


def test_two_ideas_can_change_places():
    assert keys.remapped({"layer": "v", "vector": "l"}) == {"layer": "v", "vector": "l"}
    assert keys.remapped({"search": ["?", "/"], "help": "f1"})["search"] == "question_mark,slash"


def test_the_example_that_help_shows_is_accepted():
    example = tomllib.loads(EXAMPLE_KEYS)
    assert keys.remapped(example) == {"layer": "f11", "search": "slash,ctrl+s"}


def test_a_file_whose_keys_are_no_table_is_refused(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("keys = 3\n")
    with pytest.raises(SettingsError, match="not a table"):
        configured_keys(file)


def test_a_section_of_keys_is_a_setting(monkeypatch, tmp_path):
    monkeypatch.setenv("ADL_WORKBENCH_HOME", str(tmp_path))
    (tmp_path / "config.toml").write_text('[keys]\nlayer = "9"\n')
    assert load_settings().keys == {"layer": "9"}


@pytest.mark.slow
async def test_a_given_key_works_and_is_what_help_and_hints_name(workbench, tmp_path):
    from workbench.locations import find_locations

    file = find_locations().config_file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('[keys]\nzoom = ["9", "f11"]\nmeasure = "ctrl+t"\n')
    app = workbench()
    async with app.run_test(size=(120, 60)) as pilot:
        await until(pilot, lambda: on_audit(app), "the audit screen")
        await pilot.press("z")
        assert not app.screen.has_class("-zoomed")
        for key in ("9", "f11"):
            before = app.screen.has_class("-zoomed")
            await pilot.press(key)
            await until(pilot, lambda was=before: app.screen.has_class("-zoomed") != was, key)
        assert keys.shown("measure") == "^t"
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, PaneHelp), "the help")
        said = app.screen._keys().plain
        assert "9 f11  Show this pane alone" in said
        await pilot.press("escape")
        await until(pilot, lambda: on_audit(app), "the audit screen")
        await quit_it(pilot)


@pytest.mark.slow
async def test_question_mark_opens_help(workbench):
    app = workbench()
    async with app.run_test(size=(120, 60)) as pilot:
        await until(pilot, lambda: on_audit(app), "the audit screen")
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, PaneHelp), "the help")
        await pilot.press("escape")
        await until(pilot, lambda: on_audit(app), "the audit screen")
        await quit_it(pilot)


async def test_keys_told_in_panes_are_those_of_the_table():
    from tests.workbench.tui.conftest import PaneApp
    from workbench.tui.panes.readings.pane import ReadingsPane
    from workbench.tui.panes.timeline.pane import TimelinePane

    for pane, strip, told in (
        (TimelinePane, "#shown", ("who", "filter", "growth")),
        (ReadingsPane, "#strip", ("reading",)),
        (ReadingsPane, "#site", ("side", "vector", "layer")),
    ):
        app = PaneApp(pane)
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.pause()
            words = str(app.pane.query_one(strip).render()).split()
            assert [word for word in words if word in {keys.shown(one) for one in told}] == [
                keys.shown(one) for one in told
            ]


def test_an_agents_banner_tells_the_keys_of_the_table():
    from workbench.tui.panes.agent import head

    source = ast.parse(Path(head.__file__).read_text(encoding="utf-8"))
    calls = [
        call
        for call in ast.walk(source)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "keys"
    ]
    told = [
        ast.literal_eval(pair.elts[0])
        for call in calls
        for pair in call.args
        if isinstance(pair, ast.Tuple)
    ]
    uses = {key.id for key in key_table.TABLE for use in key.uses if use.place == "agent"}
    assert len(told) > 7
    assert set(told) <= uses


#: Words in which a letter of the table stands for itself, by module.
_LETTERS = {
    "console.py": {"p"},  # log p of a token
    "head.py": {"s"},  # seconds
    "norms.py": {"x"},  # the signs of a plot
    "plot.py": {"x"},
}


def spoken_keys(tree: ast.AST) -> set[str]:
    """Keys of the table that texts of a module write out, as in "s steers", "(b)" and "c copy"."""
    names = [keys.shown_key(name) for key in key_table.TABLE for name in key.names]
    letters = "|".join(re.escape(name) for name in names if len(name) == 1 and name.isalpha())
    numbered = "|".join(name for name in names if re.fullmatch(r"f\d+|\^\w", name))
    # "a" is a word, unless something is done by it.
    told = rf"(?:(?![aA]\b)(?:{letters})|a(?= to\b)|{re.escape('[')}(?= and \])|{numbered})"
    alone = rf"(?<![\w'’{{%+.-]){told}(?![\w'’}}.=])"
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in documents
    ]
    # One word by itself is a name or a key of a mapping.
    return {found for text in texts if " " in text.strip() for found in re.findall(alone, text)}


@pytest.mark.slow
def test_no_text_writes_out_a_key_that_can_be_another():
    """Dialogs declare keys of their own, which config.toml does not change."""
    found = {}
    for path in sorted((Path(workbench.__file__).parent / "tui").rglob("*.py")):
        if path.parent.name != "dialogs" and path.name not in {"keys.py", "key_table.py"}:
            spoken = spoken_keys(ast.parse(path.read_text(encoding="utf-8")))
            found[path.name] = spoken - _LETTERS.get(path.name, set())
    assert {name: spoken for name, spoken in found.items() if spoken} == {}


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("nothing yet: s steers, S sweeps", {"s", "S"}),
        ("or a to do so", {"a"}),
        ("a word of the model's", set()),
        ("another database (b)", {"b"}),
        ("c copy · x stop", {"c", "x"}),
        ("hidden until you ask (f10)", {"f10"}),
        ("[ and ] go to others", {"["}),
        ("`{report}` shows it", set()),
    ],
)
def test_the_check_sees_keys_in_words(text, spoken):
    assert spoken_keys(ast.parse(f"said = {text!r}")) == spoken
