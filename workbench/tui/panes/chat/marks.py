"""The answers of a session that are marked as evidence."""

from __future__ import annotations

from workbench.display import shorten
from workbench.operations.hypotheses import MarkArguments
from workbench.store.state import SessionState, TextState
from workbench.tui.panes.chat.turns import AnswerRef, Turn


def evidence_of_texts(state: SessionState) -> dict[str, str]:
    """Return the ids of evidence by the id of the marked text."""
    found: dict[str, str] = {}
    for evidence_id, mark in state.evidence.items():
        text_id = mark.body.text_id
        if text_id is not None:
            found[text_id] = f"{found[text_id]} {evidence_id}" if text_id in found else evidence_id
    return found


def mark_arguments(turn: Turn, chosen: AnswerRef, answer: TextState) -> MarkArguments:
    """Return the arguments that mark an answer. Raises ``ValidationError`` for a blank one."""
    sample = f", sample {chosen.sample + 1}" if turn.n_samples > 1 else ""
    steered = f", alpha {answer.start.body.alpha:g}" if answer.start.body.alpha else ""
    probe = shorten(" ".join(turn.probe.split()), 60)
    return MarkArguments(
        seq=answer.start.seq,
        text_id=answer.start.body.text_id,
        excerpt=answer.text,
        label=f"{chosen.side}'s answer{sample}{steered}: {probe}",
    )
