"""A preview of a session's report before it is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from rich.markdown import Markdown
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from adl.errors import AdlError
from adl.paths import expanded
from workbench.display import clean_line
from workbench.faults import as_error
from workbench.store.errors import StoreError
from workbench.tui import text
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.widgets.dialog import Dialog

if TYPE_CHECKING:
    from workbench.report.records import Report

_WRITTEN = "Two files: NAME.md, and NAME.html in which nothing runs"


class ReportScreen(Dialog[None]):
    """The Markdown report of a session. ``build`` makes it and is called on a thread."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,f9", "dismiss", "Close"),
        Binding("c", "copy", "Copy", tooltip="Copy the report as Markdown"),
        Binding("w", "write", "Write", tooltip="Write it to files, Markdown and HTML"),
    ]
    DEFAULT_CSS = """
    ReportScreen VerticalScroll { border: round $accent; background: $surface; padding: 0 2;
        border-subtitle-color: $text-muted; scrollbar-size-vertical: 1; }
    """

    def __init__(self, build: Callable[[], Report], proposed: str) -> None:
        super().__init__(classes="dialog")
        self._build = build
        self._proposed = proposed
        self._report: Report | None = None
        self._markdown = ""

    def compose(self) -> ComposeResult:
        """The report."""
        with VerticalScroll() as scroll:
            scroll.border_title = "Report"
            scroll.border_subtitle = "c copy \u00b7 w write to files \u00b7 esc close"
            yield Static(Content("Checking the session and building its report ..."), id="report")

    def on_mount(self) -> None:
        """Start building the report and focus it."""
        self.query_one(VerticalScroll).focus()
        self._make()

    @work(thread=True)
    def _make(self) -> None:
        from workbench.report.markdown import report_markdown

        try:
            report = self._build()
            markdown = report_markdown(report)
        except Exception as exc:
            known = as_error(exc)
            problem = text.problem(str(known or "The report could not be built."))
            self.app.call_from_thread(self._show, problem)
            if known is None:
                raise
        else:
            self._report, self._markdown = report, markdown
            self.app.call_from_thread(self._show, Markdown(markdown, hyperlinks=False))

    def _show(self, shown: Content | Markdown) -> None:
        for strip in self.query("#report").results(Static):
            strip.update(shown)

    def action_copy(self) -> None:
        """Copy the report."""
        if self._markdown:
            self.app.copy_to_clipboard(self._markdown)
            self.notify("Copied the report as Markdown.")

    def action_write(self) -> None:
        """Ask for a name, and write the report there."""
        if self._report is not None:
            asked = AskLine("Write the report to", self._proposed, _WRITTEN)
            self.app.push_screen(asked, self._write)

    def _write(self, written: str | None) -> None:
        from workbench.report.files import write_report

        if not written or self._report is None:
            return
        try:
            files = write_report(self._report, expanded(written).absolute())
        except (AdlError, StoreError) as exc:
            self.notify(clean_line(str(exc)), severity="error", markup=False)
        else:
            self.notify(clean_line(f"Wrote {files[0]} and {files[1].name}"), markup=False)
