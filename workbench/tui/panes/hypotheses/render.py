"""Hypotheses and evidence in words: for rows, for the clipboard and for files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from adl.text.tokens import visible
from workbench.display import clean_line, clean_lines, shorten
from workbench.store.changes import Change, changes
from workbench.store.changes import percent as percent
from workbench.store.events import Bearing, EvidenceMarked
from workbench.store.state import HypothesisState, Recorded, SessionState
from workbench.tui.text import actor_name

#: Signs and words of verdicts and of how evidence bears on a hypothesis.
VERDICTS = {"open": ("?", "open"), "confirmed": ("✓", "confirmed"), "rejected": ("✗", "rejected")}
BEARINGS = {"for": "+", "against": "−"}

#: A heading that runs over a text of any length would cost what the text does.
_LONGEST = 4_000


@dataclass(frozen=True)
class Heading:
    """A heading above a group of evidence."""

    text: str


@dataclass(frozen=True)
class EvidenceLine:
    """A mark in relation to the selected hypothesis.

    ``bearing`` on that hypothesis, None if it is not linked to it; ``elsewhere`` lists its
    bearings on others.
    """

    mark: Recorded[EvidenceMarked]
    bearing: Bearing | None
    elsewhere: str = ""

    @property
    def id(self) -> str:
        """The id of the evidence."""
        return self.mark.body.evidence_id


def evidence_lines(
    state: SessionState, hypothesis: HypothesisState | None
) -> list[Heading | EvidenceLine]:
    """Return the marks grouped by their bearing on the hypothesis, with headings."""
    others: dict[str, list[str]] = {}
    bearing: Bearing | None
    for other in state.hypotheses.values():
        if other is not hypothesis:
            for evidence_id, bearing in other.evidence.items():
                others.setdefault(evidence_id, []).append(f"{BEARINGS.get(bearing, '')}{other.id}")
    found: dict[str, list[EvidenceLine]] = {"for": [], "against": [], "nowhere": [], "others": []}
    for evidence_id, mark in state.evidence.items():
        bearing = hypothesis.evidence.get(evidence_id) if hypothesis is not None else None
        elsewhere = " ".join(others.get(evidence_id, ()))
        if bearing in {"for", "against"}:
            found[bearing].append(EvidenceLine(mark, bearing, elsewhere))
        else:
            found["others" if elsewhere else "nowhere"].append(EvidenceLine(mark, None, elsewhere))
    lines: list[Heading | EvidenceLine] = []
    if hypothesis is not None:
        linked = [*found["for"], *found["against"]]
        pro, contra = len(found["for"]), len(found["against"])
        title = f"{pro} for, {contra} against" if linked else "no evidence linked to"
        lines += [Heading(f"{title} {clean_line(hypothesis.id)}"), *linked]
    for key, title in (("nowhere", "marked, not linked"), ("others", "linked to others")):
        if found[key]:
            lines += [Heading(f"{title}: {len(found[key])}"), *found[key]]
    return lines


def counts(hypothesis: HypothesisState) -> tuple[int, int]:
    """Return the numbers of pieces of evidence for it and against it."""
    bearings = list(hypothesis.evidence.values())
    return bearings.count("for"), bearings.count("against")


def excerpt(mark: EvidenceMarked, longest: int = _LONGEST) -> str:
    """Return the marked text on one line; a token with its whitespace made visible."""
    if mark.token_id is not None:
        return shorten(clean_line(visible(mark.excerpt)).removeprefix("\u00b7"), longest)
    return shorten(clean_line(mark.excerpt[:_LONGEST]).strip(), longest)


# --- history --------------------------------------------------------------------------------


def history(state: SessionState, hypothesis: HypothesisState) -> Iterator[Change]:
    """Yield every event of the hypothesis as it may be shown, oldest first."""
    marks = {
        evidence_id: mark.body.model_copy(update={"excerpt": excerpt(mark.body, 200)})
        for evidence_id, mark in state.evidence.items()
    }
    for change in changes(hypothesis, marks):
        yield replace(
            change,
            headline=clean_line(change.headline),
            lines=tuple((sign, clean_lines(words)) for sign, words in change.lines),
        )


# --- for the clipboard and for files --------------------------------------------------------


def hypothesis_text(state: SessionState, hypothesis: HypothesisState) -> str:
    """The hypothesis with its evidence, as Markdown that any editor shows."""
    sign, word = VERDICTS[hypothesis.verdict]
    lines = [
        f"## {sign} {hypothesis.id}, {word}, confidence {percent(hypothesis.confidence)}",
        "",
        clean_lines(hypothesis.text),
        "",
        (
            f"Stated by {actor_name(hypothesis.actor, short=True)} "
            f"at {hypothesis.history[0].at:%Y-%m-%d %H:%M:%S} UTC."
        ),
    ]
    lines += [
        f"- {line.bearing}: {evidence_text(line.mark)}"
        for line in evidence_lines(state, hypothesis)
        if isinstance(line, EvidenceLine) and line.bearing is not None
    ]
    return "\n".join(lines)


def evidence_text(mark: Recorded[EvidenceMarked]) -> str:
    """Return a mark on one line, with its place."""
    body = mark.body
    return ", ".join([f"{clean_line(body.evidence_id)} \u201c{excerpt(body)}\u201d", *place(body)])


def place(mark: EvidenceMarked, *details: str) -> list[str]:
    """Return the label of a mark, further details, and its note."""
    event, label = f"event {mark.of_seq}", clean_line(mark.label)
    # A label may begin with the event already.
    known = label == event or label.startswith(f"{event},")
    parts = [label, "" if known else event, *details, clean_line(mark.note)]
    return [part for part in parts if part]


def all_text(state: SessionState) -> str:
    """Every hypothesis by rank, then the marks that are linked to none."""
    parts = [f"# Hypotheses of {clean_line(state.name)}"]
    parts += [hypothesis_text(state, hypothesis) for hypothesis in state.ranked()]
    linked = {
        evidence_id
        for hypothesis in state.hypotheses.values()
        for evidence_id in hypothesis.evidence
    }
    loose = [mark for evidence_id, mark in state.evidence.items() if evidence_id not in linked]
    if loose:
        parts.append("## Marked, not linked")
        parts.append("\n".join(f"- {evidence_text(mark)}" for mark in loose))
    return "\n\n".join(parts) + "\n"
