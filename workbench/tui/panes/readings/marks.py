"""The tokens of a session's lists that are marked as evidence."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.operations.hypotheses import MarkArguments
from workbench.store.events import ReadToken
from workbench.store.state import SessionState
from workbench.tui.panes.readings.columns import Column, Table
from workbench.tui.panes.readings.export import where


class Marks:
    """Evidence by marked token, for one state of the session."""

    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._found: dict[tuple[int, int | str], list[str]] = {}
        for evidence_id, recorded in state.evidence.items():
            body = recorded.body
            # Who marks by words alone, as an agent may, gives no id.
            token = body.excerpt if body.token_id is None else body.token_id
            self._found.setdefault((body.of_seq, token), []).append(evidence_id)

    def of(self, column: Column, token: ReadToken) -> Sequence[str]:
        """Return the ids of the evidence that marks a token of a list."""
        if column.taken is None:
            return ()
        seq = column.taken.seq
        return self._found.get((seq, token.id)) or self._found.get((seq, token.text)) or ()

    def describe(self, column: Column, token: ReadToken) -> list[str]:
        """Return each mark with the hypotheses that it is linked to."""
        return [self._in_words(evidence) for evidence in self.of(column, token)]

    def linked(self, evidence: str) -> list[str]:
        """Return the hypotheses that a piece of evidence is linked to, with bearing and verdict."""
        return [
            f"{hypothesis.id} ({hypothesis.evidence[evidence]}; {hypothesis.verdict})"
            for hypothesis in self._state.hypotheses.values()
            if evidence in hypothesis.evidence
        ]

    def _in_words(self, evidence: str) -> str:
        bearings = [
            f"{hypothesis.evidence[evidence]} {hypothesis.id}"
            for hypothesis in self._state.hypotheses.values()
            if hypothesis.evidence.get(evidence, "none") != "none"
        ]
        return " ".join([evidence, ", ".join(bearings)]).strip()


def mark_arguments(
    table: Table, column: Column, row: int, hypothesis: str | None = None
) -> MarkArguments:
    """Return the arguments that mark the token at a rank. Raises ``ValidationError`` for an empty one."""
    assert column.taken is not None
    token = column.tokens[row]
    return MarkArguments(
        seq=column.taken.seq,
        excerpt=token.text,
        label=f"{where(table.group, column)}, rank {row + 1}",
        token_id=token.id,
        hypothesis=hypothesis,
    )
