"""The report can be read in the workbench before it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.app import App

from tests.workbench.replay.conftest import log as log
from tests.workbench.replay.conftest import recorded as recorded
from tests.workbench.report.hostile import record_hostile
from tests.workbench.tui.conftest import PaneApp
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.waiting import screen_text, until
from workbench.report.content import build_report
from workbench.report.errors import ExportError
from workbench.store.events import HUMAN, HypothesisStated
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.dialogs.report import ReportScreen


class ReportApp(App[None]):
    CSS_PATH = PaneApp.CSS_PATH

    def __init__(self, build) -> None:
        super().__init__()
        self._build = build

    def on_mount(self) -> None:
        self.push_screen(ReportScreen(self._build, "report"))


@pytest.mark.slow
async def test_the_first_page_is_what_is_seen_first_and_files_are_written(log, tmp_path):
    name = log.start_session("a look")
    stated = HypothesisStated(hypothesis_id="H1", text="It bakes [/b] `cakes`.", confidence=0.4)
    log.append(name, stated, actor=HUMAN)
    app = ReportApp(lambda: build_report(log, name))
    async with app.run_test(size=(80, 40)) as pilot:
        await until(pilot, lambda: "Conclusions" in screen_text(app), "the report")
        assert "open, confidence 40%: It bakes [/b] `cakes`." in screen_text(app)
        await pilot.press("c")
        assert app.clipboard.startswith("# a look")
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, AskLine), "the question")
        await pilot.press("ctrl+u", *str(tmp_path / "r"), "enter")
        await until(pilot, (tmp_path / "r.html").exists, "the files")
        assert (tmp_path / "r.md").read_text(encoding="utf-8") == app.clipboard
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, AskLine), "the question")
        await pilot.press("ctrl+u", *str(tmp_path / "r"), "enter")
        refused = lambda: any("exists already" in one.message for one in app._notifications)  # noqa: E731
        await until(pilot, refused, "why")
        await pilot.press("escape")
        assert not isinstance(app.screen, ReportScreen)


@pytest.mark.slow
async def test_hostile_text_is_inert_in_it(log):
    name = record_hostile(log)
    app = ReportApp(lambda: build_report(log, name))
    async with app.run_test(size=(120, 400)) as pilot:
        await until(pilot, lambda: "Conclusions" in screen_text(app), "the report")
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(screen_text(app))
        assert app.is_running


async def test_why_there_is_none_is_shown(tmp_path: Path):
    def fail():
        raise ExportError("the disk is gone", "Get another.")

    app = ReportApp(fail)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "the disk is gone" in screen_text(app), "why")
        await pilot.press("c", "w", "escape")
        assert not isinstance(app.screen, ReportScreen)


@pytest.mark.slow
async def test_f9_shows_the_report_of_the_open_session(workbench):
    app = workbench(name="now")
    async with app.run_test(size=(80, 24)) as pilot:
        loaded = lambda: on_audit(app) and app.opened.pair is not None  # noqa: E731
        await until(pilot, loaded, "the pair")
        await pilot.press("f9")
        await until(pilot, lambda: "Conclusions" in screen_text(app), "the report")
        assert "now" in screen_text(app)
