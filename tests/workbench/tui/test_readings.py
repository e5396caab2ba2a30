"""The readings pane on the planted pair: what it shows, what its keys do, what it asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from rich.cells import cell_len
from textual.app import App
from textual.widgets import Input, Static
from textual.widgets._toast import Toast

from adl.nulls import DIFFERENCE, NULLS, SOURCE_HELP, SOURCES
from adl.readings.registry import READINGS
from tests.planted import DOMAIN
from tests.workbench.test_against_nulls import taken
from tests.workbench.tui.conftest import PaneApp, key_for
from tests.workbench.tui.sample import sample_state
from tests.workbench.tui.waiting import until
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.hypotheses import (
    LINK,
    MARK,
    UNMARK,
    LinkArguments,
    MarkArguments,
    UnmarkArguments,
)
from workbench.operations.readings import READ, ReadArguments
from workbench.store.events import HUMAN
from workbench.store.log import SessionLog
from workbench.store.state import ReadingKey, SessionState, fold
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.panes.readings.form import ReadForm
from workbench.tui.panes.readings.pane import ReadingsPane
from workbench.tui.panes.readings.plot import NormPlot
from workbench.tui.panes.readings.render import _agreement
from workbench.tui.widgets.token_table import TokenTable

HOSTILE = "\x1b]52;c;aGFja2Vk\x07\x9b2J\u202eevil [@click=app.quit]x[/] [/ \x00\r" + "w" * 500


def app_of(state: SessionState | None = None) -> PaneApp:
    return PaneApp(ReadingsPane, state)


def said(app: App, part: str) -> str:
    return str(app.query_one(f"#{part}", Static).content)


def table_lines(app: App) -> list[str]:
    table = app.query_one(TokenTable)
    return [table.render_line(y).text for y in range(table.size.height)]


def seq_of(
    reading: str,
    source: str = "difference",
    side: str = "finetuned",
    scale: float | None = None,
    position: str = "1-4",
) -> int:
    return sample_state().readings[ReadingKey(reading, source, side, 3, position, scale)].seq


def submitted(app: PaneApp) -> list[tuple[object, object]]:
    return [(message.operation, message.arguments) for message in app.asked]


async def wait_for(pilot, kind: type) -> None:
    for _ in range(100):
        if isinstance(pilot.app.screen, kind):
            return
        await pilot.pause()
    raise AssertionError(f"{kind.__name__} never came")


# --- what is shown --------------------------------------------------------------------------


async def test_first_comes_the_consensus_with_the_planted_words():
    app = app_of()
    async with app.run_test(size=(80, 24)):
        assert "[consensus]" in said(app, "strip")
        lines = table_lines(app)
        for rank, word in enumerate(DOMAIN, start=1):
            assert lines[rank].split()[0] == str(rank)
            assert word.strip() in lines[rank]
        assert "null random" in said(app, "nulls")
        assert "null split half" in said(app, "nulls")


def of_layers(tmp_path: Path, *layers: tuple[int, float, float]) -> SessionState:
    """A state with one reading at each layer: how narrow its list is, and how narrow its null's."""
    with SessionLog.open(tmp_path / "sessions.db") as log:
        session_id = log.start_session("s")
        for layer, own, null in layers:
            for source, closeness in (("difference", own), ("random", null)):
                log.append(
                    session_id, taken("shift_lens", source, closeness, layer=layer), actor=HUMAN
                )
        return fold(log.events(session_id))


async def test_a_strip_shows_which_layer_reads_best_above_its_nulls(tmp_path: Path):
    # The list of layer 2 is the narrowest, and so is its null.
    app = app_of(of_layers(tmp_path, (1, 2.0, 1.5), (2, 6.0, 5.9), (3, 4.0, 1.0)))
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.pause()
        strip = app.query_one("#layers", Static)
        assert strip.display
        line = "layers 1 \u2582\u2581\u2588 3, best 3: shift lens, 3.0 above its nulls"
        assert said(app, "layers").lower() == line


async def test_one_layer_has_no_strip(tmp_path: Path):
    app = app_of(of_layers(tmp_path, (3, 4.0, 1.0)))
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.pause()
        assert not app.query_one("#layers", Static).display


async def test_positions_are_columns_and_the_pooled_one_comes_first():
    app = app_of()
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.press("r", "r")
        assert table_lines(app)[0].split() == [
            part for position in ("1-4", "0", "1", "2", "3", "4") for part in (position, "0.45*")
        ]


async def test_the_header_says_side_source_layer_scale_and_who_chose_it():
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r", "r")
        assert said(app, "site").split() == [
            "b",
            "on",
            "base",
            "v",
            "of",
            "difference",
            "l",
            "layer",
            "3",
            ",",
            ".",
            "alpha",
            "0.45*",
        ]
        assert "* chosen: strongest within the KL budget" in said(app, "why")
        assert "KL 0.198 nats" in said(app, "why")


@pytest.mark.parametrize(
    ("keys", "site"),
    [
        ("b", "b on finetuned  v of difference  l layer 3  , . alpha 0.45*"),
        ("b b", "b on base  v of difference  l layer 3  , . alpha 0.45*"),
        ("v", "b beside base  v of random  l layer 3  , . alpha 0.45*"),
        ("v v", "b beside base  v of split half  l layer 3  , . alpha 0.45*"),
        ("V", "b beside base  v of split half  l layer 3  , . alpha 0.45*"),
        ("comma", "b on base  v of difference  l layer 3  , . alpha 0.3"),
        ("comma comma full_stop", "b on base  v of difference  l layer 3  , . alpha 0.3"),
        ("full_stop", "b on base  v of difference  l layer 3  , . alpha 0.45*"),
        ("comma comma asterisk", "b on base  v of difference  l layer 3  , . alpha 0.45*"),
        ("r r", "b on finetuned  v of difference  l layer 3  , . scale mean*"),
        ("R", "b on finetuned  v of difference  l layer 3  , . no alpha"),
        ("l", "l layer 2  "),
        ("L L", "b on base  v of difference  l layer 3  , . alpha 0.45*"),
    ],
)
async def test_keys_choose(keys, site):
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r", "r", *keys.split())
        assert said(app, "site") == site


async def test_of_another_vector_its_own_words_are_said():
    """What a reading shows, and how it stands beside its nulls, is said of the difference alone."""
    app = app_of()
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.press("r", "r")
        assert READINGS["shift_lens"].description in said(app, "why")
        assert READINGS["shift_lens"].limits in said(app, "limits")
        for _ in SOURCES:
            await pilot.press("v")
            source = app.pane._under_cursor()[1].source
            is_difference = source == DIFFERENCE
            assert (READINGS["shift_lens"].description in said(app, "why")) is is_difference
            assert (READINGS["shift_lens"].limits in said(app, "limits")) is is_difference
            if not is_difference:
                assert SOURCE_HELP[source] in said(app, "why")


async def test_a_scale_that_only_one_position_was_read_at_says_so_of_the_others():
    app = app_of()
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.press("r", "r", "comma")
        first = table_lines(app)[1]
        assert "cake" in first
        assert first.count("not computed") == 5
        assert "at 0.45" in said(app, "nulls")
        assert "key * goes to the chosen alpha 0.45" in said(app, "why")


async def test_beside_the_list_stand_its_nulls():
    app = app_of()
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.press("r", "r", "0")
        head, first = table_lines(app)[:2]
        assert head.split()[:7] == ["1-4", "0.45*", "random", "null", "split", "half", "null"]
        state = sample_state()
        for source in ("random", "split_half"):
            body = state.readings[ReadingKey("shift_lens", source, "base", 3, "1-4", 0.45)].body
            assert body.tokens[0].text.strip() in first
        await pilot.press("0")
        assert "null" not in table_lines(app)[0]


async def test_all_tokens_or_whole_words():
    app = app_of()
    async with app.run_test(size=(160, 48)) as pilot:
        await pilot.press("R")
        assert "·" not in "".join(table_lines(app))
        await pilot.press("f")
        assert "·cake" in table_lines(app)[1]
        assert "all tokens" in said(app, "why")
        await pilot.press("r")
        assert "words only" in table_lines(app)[1]  # the consensus keeps no others


async def test_the_token_under_the_cursor_is_told_in_full():
    app = app_of()
    async with app.run_test(size=(160, 48)) as pilot:
        token = sample_state().readings[
            ReadingKey("consensus", "difference", "base", 3, "1-4", 0.45)
        ]
        assert said(app, "token").startswith(
            f'"·cake"  rank 1  id {token.body.tokens[0].id}  score 0.0492  p not computed'
        )
        assert "in the top 20 of 7 of 7 readings" in said(app, "token")
        assert "E1 for H1" in said(app, "token")
        await pilot.press("j")
        assert said(app, "token").startswith('"·oven"  rank 2')
        assert "E1" not in said(app, "token")
        await pilot.press("G", "k", "home", "right")
        assert said(app, "token").startswith('"·cake"  rank 1')


async def test_a_marked_token_has_its_sign():
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        lines = table_lines(app)
        assert "●cake" in lines[1] or "◉cake" in lines[1]
        assert not set("●◉") & set("".join(lines[2:]))
        await pilot.press("r")
        assert "●" not in "".join(table_lines(app))  # it was marked in the consensus alone


async def test_a_token_has_a_sign_where_a_null_raises_it_half_as_much():
    state = sample_state()
    key = ReadingKey("output_difference", "random", "finetuned", 3, "1-4", None)
    null = state.readings[key]
    first = state.readings[key._replace(source="difference")].body.tokens[0]
    shared = []
    for share, sign in ((0.6, "~"), (0.4, " ")):
        token = first.model_copy(update={"score": first.score * share})
        body = null.body.model_copy(update={"tokens": (token, *null.body.tokens[1:])})
        readings = MappingProxyType({**state.readings, key: replace(null, body=body)})
        app = app_of(replace(state, readings=readings))
        async with app.run_test(size=(80, 24)) as pilot:
            await pilot.press("r")
            assert f"{sign}cake" in table_lines(app)[1]
            shared.append(int(said(app, "nulls").split()[2].removesuffix("/20")))
    assert shared[0] == shared[1] + 1


@pytest.mark.slow
@pytest.mark.parametrize("size", [(30, 10), (54, 24), (80, 21), (116, 30)])
async def test_lines_are_as_wide_as_the_table(size):
    app = app_of()
    async with app.run_test(size=size) as pilot:
        for key in ("r", "r", "0", "r", "f", "end", "right", "right", "right", "right"):
            await pilot.press(key)
            table = app.query_one(TokenTable)
            width = table.scrollable_content_region.width
            assert {cell_len(line) for line in table_lines(app)} == {width}


async def test_columns_out_of_sight_come_with_the_cursor():
    app = app_of()
    async with app.run_test(size=(60, 24)) as pilot:
        await pilot.press("r", "r")
        assert table_lines(app)[0].split()[0] == "1-4"
        assert table_lines(app)[0].rstrip().endswith("›")
        await pilot.press("right", "right", "right", "right", "right", "right")
        head = table_lines(app)[0].split()
        assert head[0] == "‹"
        assert head[-2] == "4"


# --- evidence -------------------------------------------------------------------------------


async def test_m_marks_the_token():
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r", "j", "m")
        assert submitted(app) == [
            (
                MARK,
                MarkArguments(
                    seq=seq_of("output_difference"),
                    excerpt=" oven",
                    label="output difference of difference on finetuned, layer 3, position 1-4, rank 2",
                    token_id=6,
                ),
            )
        ]


async def test_capital_m_marks_it_for_the_top_ranked_hypothesis():
    state = replace(sample_state(), ranking=("H2", "H1"))
    app = app_of(state)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r", "plus")
        ((operation, arguments),) = submitted(app)
        assert operation is MARK
        assert arguments.hypothesis == "H2"


async def test_capital_m_marks_without_a_link_where_nothing_is_supposed():
    app = app_of(replace(sample_state(), hypotheses=MappingProxyType({})))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r", "plus")
        ((_, arguments),) = submitted(app)
        assert arguments.hypothesis is None


async def test_a_mark_is_taken_back_or_linked():
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("m")
        assert submitted(app) == []
        assert "E1 bears on H1" in str(app.screen.query_one("#question").render())
        # That it speaks for H1 it does already.
        await pilot.press("y", "plus")
        assert submitted(app) == [(UNMARK, UnmarkArguments(evidence="E1"))]


@pytest.mark.parametrize("verdict", ["open", "confirmed"])
async def test_a_link_is_turned_with_a_word_and_of_a_confirmed_hypothesis_only_if_one_agrees(
    verdict,
):
    state = sample_state()
    known = replace(
        state.hypotheses["H1"], evidence=MappingProxyType({"E1": "against"}), verdict=verdict
    )
    app = app_of(replace(state, hypotheses=MappingProxyType({"H1": known})))
    link = (LINK, LinkArguments(hypothesis="H1", evidence="E1", bearing="for"))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("plus")
        if verdict == "confirmed":
            assert submitted(app) == []
            assert "H1 is confirmed: E1 speaks for H1" in str(
                app.screen.query_one("#question").render()
            )
            await pilot.press("y")
        assert submitted(app) == [link]
        await until(pilot, lambda: app.screen.query(Toast), "the toast")
        (toast,) = app.screen.query(Toast)
        assert str(toast.render()) == "E1 speaks for H1, and not against it. u undoes it."


async def test_a_mark_that_bears_on_nothing_is_taken_back_aloud():
    app = app_of(replace(sample_state(), hypotheses=MappingProxyType({})))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.press("m")
        assert submitted(app) == [(UNMARK, UnmarkArguments(evidence="E1"))]
        await until(pilot, lambda: app.screen.query(Toast), "the toast")
        (toast,) = app.screen.query(Toast)
        assert str(toast.render()) == "E1 removed. u undoes it."


@pytest.mark.parametrize("key", ["m", "plus"])
async def test_marking_a_token_of_a_null_tells_that_it_is_one(key):
    app = app_of()
    async with app.run_test(size=(120, 24), notifications=True) as pilot:
        await pilot.press("r")
        seen = set()
        while (source := app.pane._under_cursor()[1].source) not in NULLS:
            assert source not in seen, "no null among the vectors"
            seen.add(source)
            await pilot.press("v")
        await pilot.press(key)
        ((operation, _),) = submitted(app)
        assert operation is MARK
        await until(pilot, lambda: app.screen.query(Toast), "the toast")
        (toast,) = app.screen.query(Toast)
        assert f"a null ({source.replace('_', ' ')})" in str(toast.render())


async def test_a_token_without_text_cannot_be_marked_and_says_why():
    app = app_of(with_token(""))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r", "m")
        assert app.asked == []
        assert "excerpt" in said(app, "token")
        await pilot.press("j")
        assert "excerpt" not in said(app, "token")


# --- reading --------------------------------------------------------------------------------


async def test_r_reads_the_layer_again_on_the_same_texts():
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("M")
        await wait_for(pilot, ReadForm)
        assert "again" in str(app.screen.query_one("#what", Static).content)
        await pilot.press("enter")
        await pilot.pause()
        assert submitted(app) == [(READ, ReadArguments(layer="3", n_texts=64))]


async def test_r_measures_a_layer_that_was_not():
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("M")
        await wait_for(pilot, ReadForm)
        app.screen.query_one(Input).value = "0.25"
        await pilot.press("enter")
        await pilot.pause()
        assert submitted(app) == [
            (MEASURE, MeasureArguments(layers=("0.25",), n_texts=64)),
            (READ, ReadArguments(layer="0.25", n_texts=64)),
        ]


async def test_r_reads_one_way_only():
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("R", "l", "M")
        await wait_for(pilot, ReadForm)
        await pilot.press("tab", "space", "enter")
        await pilot.pause()
        assert submitted(app) == [
            (READ, ReadArguments(layer="2", n_texts=64, readings=("logit_lens",)))
        ]


@pytest.mark.parametrize("typed", ["9", "x", "", "1.5", "-1", HOSTILE])
async def test_a_layer_that_is_not_there_is_refused_in_place(typed):
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("M")
        await wait_for(pilot, ReadForm)
        app.screen.query_one(Input).value = typed
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.screen, ReadForm)
        assert "0 to 5" in str(app.screen.query_one("#what", Static).content)
        await pilot.press("escape")
        await pilot.pause()
        assert app.asked == []


async def test_nothing_yet_says_not_computed_and_which_key_computes():
    app = app_of(SessionState(pair=sample_state().pair))
    async with app.run_test(size=(80, 24)) as pilot:
        assert "not computed" in table_lines(app)[0]
        assert "Press M" in "".join(table_lines(app))
        for key in "rRbvVlL0fm+McwP*,.":
            await pilot.press(key)
        await pilot.press("escape", "up", "down", "left", "right", "end")
        assert app.asked == []


async def test_without_a_pair_nothing_can_be_read():
    app = app_of(SessionState())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("M")
        await pilot.pause()
        assert not isinstance(app.screen, ReadForm)
        assert "loaded pair" in "".join(table_lines(app))


async def test_a_layer_measured_but_not_read_says_so():
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("l")
        assert "layer 2, measured but not read: not computed." in table_lines(app)[0]


async def test_a_reading_that_was_not_taken_says_so():
    state = sample_state()
    kept = {key: one for key, one in state.readings.items() if key.reading != "patchscope"}
    app = app_of(replace(state, readings=MappingProxyType(kept)))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("R", "R")
        assert "patchscope at layer 3: not computed." in table_lines(app)[0]


# --- coming and going -----------------------------------------------------------------------


@pytest.mark.slow
async def test_what_was_chosen_is_there_again():
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r", "r", "b", "comma", "f", "0", "j", "j", "right")
        view = app.pane.view()
        before = (said(app, "site"), table_lines(app), said(app, "token"))
    again = app_of()
    async with again.run_test(size=(80, 24)) as pilot:
        again.pane.restore(view)
        await pilot.pause()
        assert again.pane.view() == view
        assert (said(again, "site"), table_lines(again), said(again, "token")) == before


@pytest.mark.parametrize(
    "view",
    [
        {},
        {"choice": 3, "plot": "x", "cursor": "here"},
        {"choice": {"reading": "none", "layer": 99, "scales": [[1], 2, ["a", "b"]]}, "cursor": [9]},
        {"choice": {"reading": None, "side": HOSTILE, "source": 3}, "cursor": [10**9, -4]},
        {"choice": {"scales": [["shift_lens", 7.5]]}, "cursor": [True, None], "plot": ["layers"]},
    ],
)
async def test_any_view_can_be_restored(view):
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        app.pane.restore(view)
        await pilot.press("r", "0", "down")
        assert app.is_running


@pytest.mark.parametrize(
    ("key", "strip", "where"),
    [
        (
            ("shift_lens", "random", "finetuned", 0.45, "1-4"),
            "[shift]",
            "b beside finetuned  v of random (null, read on base)",
        ),
        (("shift_lens", "difference", "base", 0.1, "1-4"), "[shift]", "alpha 0.1"),
        (("logit_lens", "negative", "finetuned", None, "2"), "[logit]", "negative"),
    ],
)
async def test_an_event_is_shown_where_it_stands(key, strip, where):
    reading, source, side, scale, position = key
    app = app_of()
    async with app.run_test(size=(160, 48)) as pilot:
        assert app.pane.reveal(seq_of(reading, source, side, scale, position))
        await pilot.pause()
        assert strip in said(app, "strip")
        assert where in said(app, "site")
        table = app.query_one(TokenTable)
        head = table_lines(app)[0].split("  ")
        assert [part.split()[0] for part in head if part.strip()][table.column] == position


async def test_the_event_of_a_mark_shows_the_marked_token():
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r", "j", "j")
        (evidence,) = sample_state().evidence.values()
        assert app.pane.reveal(evidence.body.of_seq)
        await pilot.pause()
        assert said(app, "token").startswith('"·cake"')


async def test_an_event_of_another_pane_is_not_shown():
    app = app_of()
    async with app.run_test(size=(80, 24)):
        assert not app.pane.reveal(1)
        assert not app.pane.reveal(10**9)


async def test_what_did_not_change_is_not_drawn_again(monkeypatch):
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        drawn = []
        monkeypatch.setattr(app.pane, "_redraw", lambda: drawn.append(1))
        app.pane.update_state(replace(app.pane.state, name="another"))
        await pilot.pause()
        assert drawn == []


async def test_another_layer_that_was_read_meanwhile_does_not_take_its_place():
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        state = app.pane.state
        moved = {
            key._replace(layer=2): replace(
                one, seq=one.seq + 1000, body=one.body.model_copy(update={"layer": 2})
            )
            for key, one in state.readings.items()
        }
        readings = MappingProxyType({**state.readings, **moved})
        app.pane.update_state(replace(state, readings=readings))
        assert "layer 3" in said(app, "site")
        await pilot.press("l")
        assert "layer 2" in said(app, "site")
        assert "cake" in table_lines(app)[1]


# --- norms ----------------------------------------------------------------------------------


@pytest.mark.slow
async def test_p_plots_norms_over_positions_then_layers_then_shows_the_lists():
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        table = app.query_one(TokenTable)
        await pilot.press("P")
        await pilot.pause()
        assert not table.display
        assert "by&#160;position" in app.export_screenshot()
        sentence = str(app.query_one(NormPlot).query_one(Static).content)
        assert "cosine between halves of the 64 texts" in sentence
        assert sentence.endswith(": well measured.")
        await pilot.press("P")
        await pilot.pause()
        assert "by&#160;layer" in app.export_screenshot()
        await pilot.press("P")
        await pilot.pause()
        assert table.display
        assert table.has_focus


async def test_no_key_acts_on_a_token_that_a_plot_hides():
    app = app_of()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("r", "P")
        await pilot.pause()
        assert not {"mark", "copy"} & {
            binding.action for _, binding, *_ in app.active_bindings.values()
        }
        await pilot.press("m", "c")
        await pilot.pause()
        assert submitted(app) == []
        assert app.clipboard == ""
        await pilot.press("escape")
        await pilot.pause()
        await pilot.press("m")
        assert [operation for operation, _ in submitted(app)] == [MARK]


async def test_the_event_of_a_difference_shows_its_norms():
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        (measured,) = sample_state().differences.values()
        assert app.pane.reveal(measured.seq)
        await pilot.press("escape")
        assert app.query_one(TokenTable).display


async def test_norms_of_nothing_are_not_computed():
    app = app_of(SessionState())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("P")
        await pilot.pause()
        assert "not&#160;computed" in app.export_screenshot()


# --- taking lists out -----------------------------------------------------------------------


async def test_c_copies_the_list_under_the_cursor():
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r", "r", "c")
        lines = app.clipboard.splitlines()
        assert lines[0] == "shift lens of difference on base, layer 3, position 1-4, alpha 0.45"
        assert lines[1].startswith("1\t cake\t1.")
        assert len(lines) == 34


async def test_w_writes_the_table(tmp_path: Path):
    app = app_of()
    target = tmp_path / "lists.tsv"
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("w")
        await wait_for(pilot, AskLine)
        app.screen.query_one(Input).value = str(tmp_path / "missing" / "lists.tsv")
        await pilot.press("enter")
        await pilot.pause()
        await wait_for(pilot, AskLine)  # it asks again, with what was typed
        assert app.screen.query_one(Input).value.endswith("missing/lists.tsv")
        app.screen.query_one(Input).value = str(target)
        await pilot.press("enter")
        await pilot.pause()
        rows = [line.split("\t") for line in target.read_text().splitlines()]
        assert rows[0][:4] == ["reading", "side", "source", "layer"]
        assert len(rows) == 34
        assert rows[1][:9] == [
            "consensus",
            "base",
            "difference",
            "3",
            "1-4",
            "0.45",
            "yes",
            "1",
            " cake",
        ]
        assert rows[1][-2:] == ["E1", str(seq_of("consensus", side="base", scale=0.45))]


@pytest.mark.slow
async def test_a_file_is_replaced_only_when_asked_twice(tmp_path: Path):
    app = app_of()
    target = tmp_path / "lists.tsv"
    target.write_text("mine")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("w")
        await wait_for(pilot, AskLine)
        app.screen.query_one(Input).value = str(target)
        await pilot.press("enter")
        await pilot.pause()
        await wait_for(pilot, AskLine)
        assert target.read_text() == "mine"
        await pilot.press("enter")
        await pilot.pause()
        assert target.read_text().startswith("reading\t")


# --- untrusted text -------------------------------------------------------------------------


def with_token(text: str) -> SessionState:
    """The sample, the first token of every list being another."""
    state = sample_state()
    readings = {}
    for key, one in state.readings.items():
        first = one.body.tokens[0].model_copy(update={"text": text})
        changed = {
            "tokens": (first, *one.body.tokens[1:]),
            "unfiltered": (first, *one.body.unfiltered[1:]),
            "chosen_by": text if one.body.chosen_by else "",
        }
        readings[key] = replace(one, body=one.body.model_copy(update=changed))
    return replace(state, readings=MappingProxyType(readings))


@pytest.mark.slow
async def test_hostile_tokens_are_inert(tmp_path: Path):
    app = app_of(with_token(HOSTILE))
    async with app.run_test(size=(160, 48)) as pilot:
        for key in ("r", "r", "0", "f", "comma", "P", "P", "P", "c", "m"):
            await pilot.press(key)
            await pilot.pause()
            shown = "".join((*table_lines(app), *(said(app, one) for one in PARTS)))
            assert not set(shown) & {"\x1b", "\x07", "\x9b", "\u202e", "\x00", "\r"}
        assert "[@click=app.quit]x[/]" in said(app, "token")
        assert not set(app.clipboard) & {"\x1b", "\x07", "\x9b", "\u202e", "\x00", "\r"}
        ((_, arguments),) = submitted(app)
        assert arguments.excerpt == HOSTILE
        await pilot.press("w")
        await wait_for(pilot, AskLine)
        app.screen.query_one(Input).value = str(tmp_path / "lists.tsv")
        await pilot.press("enter")
        await pilot.pause()
        written = (tmp_path / "lists.tsv").read_bytes().decode()
        assert not set(written) & {"\x1b", "\x07", "\x9b", "\u202e", "\x00", "\r"}
        assert {line.count("\t") for line in written.splitlines()} == {13}
        assert app.is_running


@pytest.mark.slow
async def test_a_score_that_is_no_number_is_shown():
    state = sample_state()
    readings = {
        key: replace(
            one,
            body=one.body.model_copy(
                update={
                    "tokens": tuple(
                        token.model_copy(update={"score": float("nan"), "probability": None})
                        for token in one.body.tokens
                    )
                }
            ),
        )
        for key, one in state.readings.items()
    }
    app = app_of(replace(state, readings=MappingProxyType(readings)))
    async with app.run_test(size=(160, 48)):
        assert "score nan" in said(app, "token")


PARTS = ("strip", "site", "why", "nulls", "token")


# --- pictures -------------------------------------------------------------------------------

SIZES = pytest.mark.parametrize("size", [(80, 24), (160, 48)])


@pytest.mark.slow
@SIZES
def test_picture(snap_compare, size):
    keys = [key_for("reading"), key_for("reading"), "down", "right"]
    assert snap_compare(app_of(), terminal_size=size, press=keys)


@pytest.mark.slow
@SIZES
def test_picture_beside_the_nulls(snap_compare, size):
    assert snap_compare(
        app_of(), terminal_size=size, press=[*[key_for("reading_back")] * 3, key_for("null")]
    )


@pytest.mark.slow
@SIZES
def test_picture_of_norms(snap_compare, size):
    assert snap_compare(app_of(), terminal_size=size, press=[key_for("plot")])


def test_picture_of_nothing(snap_compare):
    state = SessionState(pair=sample_state().pair)
    assert snap_compare(app_of(state), terminal_size=(80, 24))


@pytest.mark.slow
def test_picture_of_the_form(snap_compare):
    assert snap_compare(
        app_of(), terminal_size=(80, 24), press=[key_for("measure"), "backspace", "1"]
    )


@pytest.mark.parametrize(
    ("ranks", "words"),
    [
        ({"consensus": 1, "output": 20}, "rank: consensus 1 output 20"),
        (
            {"consensus": 3, "output": 21, "shift_lens": None, "logit_lens": 60},
            "rank: consensus 3; below the top 20: output 21 logit 60",
        ),
        ({"consensus": 21}, "in the top 20 of none of 1 reading; below the top 20: consensus 21"),
    ],
)
def test_the_readings_that_are_counted_are_those_listed_first(ranks, words):
    assert _agreement(ranks, 76).plain == words


@pytest.mark.parametrize(("size", "lines"), [((60, 40), 5), ((60, 20), 2), ((60, 12), 1)])
async def test_a_lower_pane_says_less_of_the_token(size, lines):
    app = app_of()
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        assert app.query_one("#token").size.height == lines
