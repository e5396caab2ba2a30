"""Sessions side by side: hypotheses, evidence, budget and time; grades apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from adl.words import number_of
from workbench.replay.compare import Comparison, grade_rows, rows
from workbench.tui.dialogs.tables import Shown, TablesScreen


class CompareScreen(TablesScreen):
    """Two sessions or more, which must be redacted."""

    def __init__(self, compared: Comparison) -> None:
        title = f"{number_of(len(compared.sessions), 'session')} compared"
        super().__init__(title, comparison_tables(compared), file="comparison.md")


def token_rows(compared: Comparison) -> Iterator[tuple[str, ...]]:
    """A row for each rank: the token that each session has there."""
    lists = [session.tokens for session in compared.sessions]
    times = Counter(token.lower() for tokens in lists for token in {*map(str.lower, tokens)})
    for rank in range(max((len(tokens) for tokens in lists), default=0)):
        cells = [tokens[rank] if rank < len(tokens) else "" for tokens in lists]
        yield (
            str(rank + 1),
            *(f"\u2022 {cell}" if times[cell.lower()] > 1 else cell for cell in cells),
        )


def comparison_tables(compared: Comparison) -> list[Shown]:
    """Return a comparison as tables with a column for each session."""
    names = tuple(session.name or "(no name)" for session in compared.sessions)
    return [
        Shown("What was done, and what came of it", ("", *names), rows(compared)),
        Shown(
            "First tokens of each session's likeliest reading; \u2022 marks those of several",
            ("rank", *names),
            list(token_rows(compared)),
            empty="no list was read",
        ),
        Shown("Grades", ("", *names), grade_rows(compared), empty="nothing was graded"),
        Shown(
            "Evidence that more than one of them marked",
            ("excerpt",),
            [(excerpt,) for excerpt in compared.shared_evidence],
            wide=True,
        ),
    ]
