"""At 80 columns the main key of a pane, help and quit stay on the line, and what is left out is marked."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from tests.workbench.tui.conftest import PaneApp
from tests.workbench.tui.waiting import until
from workbench.tui.panes.readings.pane import ReadingsPane
from workbench.tui.widgets.key_bar import LEFT_OUT, KeyBar
from workbench.tui.widgets.token_table import TokenTable


def bar_of(app) -> str:
    return app.screen.query_one(KeyBar).render().plain.rstrip()


def shown_bindings(app):
    return [known for known in app.screen.active_bindings.values() if known.binding.show]


@pytest.mark.slow
async def test_the_main_key_help_and_quit_are_always_there(workbench):
    app = workbench()
    async with app.run_test(size=(80, 24)) as pilot:
        from tests.workbench.tui.test_app import on_audit

        await until(pilot, lambda: on_audit(app), "the audit screen")
        for index, main in enumerate(
            ("^o Jump", "r Reading", "s Steer", "⏎ Ask", "o Add", "f Kind", "o Start")
        ):
            app.screen.action_pane(index)
            await until(
                pilot,
                lambda at=index: on_audit(app) and app.screen._current == at,
                "the pane",
            )
            await until(
                pilot, lambda words=main: bar_of(app).startswith(words), f"{main} in {bar_of(app)}"
            )
            bar = bar_of(app)
            assert bar.endswith("f1 Help ^q Quit"), bar
            if any(known.binding.description == "Mark" for known in shown_bindings(app)):
                assert " m Mark " in bar
            assert cell_len(bar) <= 80
            keys, kept = app.screen.query_one(KeyBar).entries
            whole = " ".join(f"{entry.shown} {entry.title}" for entry in (*keys, *kept))
            assert (LEFT_OUT in bar) == (cell_len(whole) > 80), whole
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app._exit, "the end")


async def test_a_table_of_one_line_shows_a_row_and_not_its_head():
    app = PaneApp(ReadingsPane)
    async with app.run_test(size=(20, 4)) as pilot:
        await pilot.pause()
        table = app.query_one(TokenTable)
        assert table.size.height == 1
        assert table.render_line(0).text.split()[0] == "1"


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_panes_are_placed_as_a_pass_over_all_widgets_would_place_them(workbench, size):
    from tests.workbench.tui.test_app import on_audit

    def rules():
        return {
            node: (node.styles.base.get_rules(), node.region)
            for node in app.screen.walk_children(with_self=True)
        }

    app = workbench()
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: on_audit(app), "the audit screen")
        for index in (6, 3, 0, 5, 2, 1, 4):
            app.screen.go_to(index)
            await until(pilot, lambda: app.screen._going is None, "the pane")
            await pilot.pause()
            placed = rules()
            app.screen.update_node_styles(animate=False)
            await pilot.pause()
            assert rules() == placed
            assert app.screen.panes[index].region
