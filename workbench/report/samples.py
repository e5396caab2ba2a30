"""Generated texts in a report, grouped by operation and prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adl.words import number_of
from workbench.report.records import Sample, SampleGroup
from workbench.store.state import NOT_COMPUTED, SessionState, TextState


def sample_groups(state: SessionState, purpose: str) -> list[SampleGroup]:
    """Texts of one operation and prompt together, in the order they were begun."""
    marks: dict[str, list[str]] = {}
    for name, marked in state.evidence.items():
        if marked.body.text_id is not None:
            marks.setdefault(marked.body.text_id, []).append(name)
    notes = _comparison_notes(state)
    grouped: dict[tuple[str, str], list[TextState]] = {}
    for text in state.texts.values():
        if text.start.body.purpose == purpose:
            place = (text.start.operation_id or "", whole_prompt(text))
            grouped.setdefault(place, []).append(text)
    return [
        SampleGroup(
            prompt,
            tuple(_sample(text, marks.get(text.start.body.text_id, [])) for text in texts),
            "; ".join(
                note for text in texts if (note := notes.get(text.start.body.text_id)) is not None
            ),
        )
        for (_, prompt), texts in grouped.items()
    ]


def first_marked(groups: Sequence[SampleGroup]) -> tuple[SampleGroup, ...]:
    """Those with evidence first: what the hypotheses rest on must be there to read."""
    return tuple(
        sorted(groups, key=lambda group: not any(sample.marks for sample in group.samples))
    )


def _sample(text: TextState, marks: Sequence[str]) -> Sample:
    start = text.start.body
    steered = "unsteered"
    if start.alpha:
        of = (start.source or "difference").replace("_", " ")
        steered = f"alpha {start.alpha:g}, {of} of layer {start.layer}, position {start.position}"
    ended = text.ended or text.status.replace("_", " ")
    return Sample(
        label=f"{start.side}, {steered}",
        prompting=start.prompting,
        text=start.prefill + text.text,
        ended=ended.replace("_", " "),
        seed=start.seed,
        seq=text.start.seq,
        marks=tuple(marks),
    )


def whole_prompt(text: TextState) -> str:
    """The prompt of a text: raw, or every turn after its role."""
    start = text.start.body
    if start.raw_prompt is not None:
        return start.raw_prompt
    return "\n".join(f"{turn.get('role')}: {turn.get('content', '')}" for turn in start.messages)


def _comparison_notes(state: SessionState) -> dict[str, str]:
    """Return comparisons of two answers in words, by the id of the finetuned one."""
    notes = {}
    means = {
        comparison.body.finetuned_text: sum(comparison.body.kl) / len(comparison.body.kl)
        for comparison in state.comparisons
        if comparison.body.kl
    }
    for comparison in state.comparisons:
        body = comparison.body
        where = (
            "do not part"
            if body.first_divergence is None
            else f"part at token {body.first_divergence}"
        )
        notes[body.finetuned_text] = f"answers {where}; {_kl(body.finetuned_text, means)}"
    return notes


def _kl(text_id: str, means: Mapping[str, float]) -> str:
    """The mean KL of an answer beside those of the other answers: alone it says nothing."""
    if text_id not in means:
        return f"KL(finetuned || base) {NOT_COMPUTED}"
    mean = f"mean KL(finetuned || base) {means[text_id]:.3f} nats per token"
    others = sorted(mean for other, mean in means.items() if other != text_id)
    if not others:
        return f"{mean}, with no other question to compare it with"
    return (
        f"{mean}; {others[0]:.3f} to {others[-1]:.3f} for {number_of(len(others), 'other answer')}"
    )
