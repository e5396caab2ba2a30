"""Sessions side by side: hypotheses, evidence, budget and time; grades apart."""

from __future__ import annotations

from workbench.replay.compare import Comparison, grade_rows, rows
from workbench.tui.dialogs.tables import Shown, TablesScreen


class CompareScreen(TablesScreen):
    """Two sessions or more; names of blind ones must be hidden by now."""

    def __init__(self, compared: Comparison) -> None:
        title = f"{len(compared.sessions)} sessions compared"
        super().__init__(title, comparison_tables(compared), file="comparison.md")


def comparison_tables(compared: Comparison) -> list[Shown]:
    """A comparison as tables, a session a column."""
    names = tuple(one.name or "(no name)" for one in compared.sessions)
    return [
        Shown("What was done, and what came of it", ("", *names), rows(compared)),
        Shown("Grades", ("", *names), grade_rows(compared), empty="nothing was graded"),
        Shown(
            "Evidence that more than one of them marked",
            ("excerpt",),
            [(one,) for one in compared.shared_evidence],
            wide=True,
        ),
    ]
