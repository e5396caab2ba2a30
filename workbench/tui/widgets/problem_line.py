"""The line below a field, or below a form, that says what is wrong."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from workbench.tui import text


class ProblemLine(Static):
    """A problem, as it stands in a form; no line at all while there is none."""

    DEFAULT_CSS = """
    ProblemLine { display: none; height: auto; color: $text-error; }
    ProblemLine.-any { display: block; }
    """

    def show(self, problem: str) -> None:
        """Show a problem; an empty one takes the line away."""
        self.set_class(bool(problem), "-any")
        self.update(Content.assemble("! ", text.line(problem)) if problem else "")
