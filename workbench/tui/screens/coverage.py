"""Leads that a session never followed up, and the use of its budget."""

from __future__ import annotations

from adl.words import number_of
from workbench.replay.coverage import ACTIVITY_COLUMNS, Coverage, coverage
from workbench.store.state import SessionState
from workbench.tui import text
from workbench.tui.dialogs.tables import Shown, TablesScreen

#: Tokens listed; the rest are counted.
_TOKENS = 40


class CoverageScreen(TablesScreen):
    """Coverage of one session state, which must be redacted."""

    def __init__(self, state: SessionState) -> None:
        title = f"Coverage of {state.name}, up to event {state.seq}"
        super().__init__(title, coverage_tables(coverage(state)), file="coverage.md")


def coverage_tables(found: Coverage) -> list[Shown]:
    """Coverage as tables."""
    unseen = f"{number_of(len(found.tokens), 'top token')} that nobody named ({found.tokens_seen} were named)"
    if len(found.tokens) > _TOKENS:
        unseen += f"; the first {_TOKENS}"
    return [
        Shown(
            unseen,
            ("token", "best rank", "lists", "also in a null", "event"),
            [
                (
                    text.token(token.text).plain,
                    token.best_rank,
                    token.lists,
                    "yes" if token.in_controls else "",
                    f"#{token.seq}",
                )
                for token in found.tokens[:_TOKENS]
            ],
        ),
        Shown(
            "Never used",
            ("what", "which"),
            [
                ("operations", ", ".join(found.operations_unused) or "none"),
                ("readings", ", ".join(found.readings_unused) or "none"),
                *(("not computed", why) for why in found.readings_failed),
            ],
        ),
        Shown("Untested hypotheses", ("hypothesis",), [(name,) for name in found.untested]),
        Shown(
            "Hypotheses dropped without a test",
            ("hypothesis", "how", "text"),
            [(hypothesis.id, hypothesis.how, hypothesis.text) for hypothesis in found.dropped],
        ),
        Shown(
            "Evidence linked to no hypothesis",
            ("excerpt",),
            [(excerpt,) for excerpt in found.evidence_unused],
            wide=True,
        ),
        Shown(
            "What the budget went to",
            ACTIVITY_COLUMNS,
            [activity.row() for activity in found.activities],
        ),
        Shown("Operations by who asked", ("who", "operations"), list(found.turns.items())),
    ]
