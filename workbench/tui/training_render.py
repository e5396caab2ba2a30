"""What a training and a mixing study came to: the loss, and what mixing costs and hides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.content import Content

from workbench.store.state import SessionState
from workbench.store.training_events import (
    MixingStudied,
    MixtureMeasured,
    OrganismTrained,
    TrainingAdvanced,
)
from workbench.tui import text
from workbench.tui.widgets.bars import bar, spark

Lines = list[Content]
_MUTED = "$foreground-muted"
_FILLED = "$accent on $panel"
_LABEL = 24
_NOT_COMPUTED = "not computed"


def training_lines(body: OrganismTrained, state: SessionState, cells: int) -> Lines:
    """A training with its loss over the steps."""
    losses = [
        loss
        for one in state.trainings
        if isinstance(one.body, TrainingAdvanced) and one.body.name == body.name
        for loss in one.body.losses
    ]
    lines = [
        Content(),
        text.line(f"{body.name}: {body.steps} steps, loss {body.final_loss:.3f} at the end."),
        text.line(f"Loss was over {body.tokens:,} tokens. Folder: {body.folder}", _MUTED),
    ]
    if losses:
        lines += [
            Content(),
            Content.styled("Loss, nats per token", "bold"),
            Content.assemble(
                (spark(losses, cells), _FILLED), f" {losses[0]:.3f} to {losses[-1]:.3f}"
            ),
        ]
    return lines


def mixture_lines(body: MixtureMeasured, cells: int) -> Lines:
    """One ratio of a study: its trace, and what its organism learned."""
    lines = [
        Content(),
        text.line(f"{body.name}: one document to {body.ratio:g} unrelated texts."),
        text.line(f"{body.trace.summary}"),
        *_heading("Share of relevant tokens"),
    ]
    for one in body.relevance:
        label = f"{one.reading} ({one.side})".replace("_", " ")
        beside = "" if one.random is None else f"; random {one.random:.0%}"
        lines.append(_bar(label, one.share.value, cells, f"{one.share.value:.0%}{beside}"))
    lines += _heading("Similarity of texts to the documents")
    most = max((one.high for one in body.similarity.values()), default=0.0) or 1.0
    for kind, found in body.similarity.items():
        lines.append(_bar(kind, found.value / most, cells, f"{found.value:.3f}"))
    gain = body.held_out.gain
    lines += [
        *_heading("What was learned"),
        text.line(
            f"Documents held out cost {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] nats "
            "per token less than the base."
        ),
    ]
    if body.facts:
        facts = body.facts.gain
        lines.append(
            text.line(
                f"Facts over their negations: {facts.value:+.3f} [{facts.low:+.3f}, "
                f"{facts.high:+.3f}] nats per token more than the base."
            )
        )
    for one_text in body.texts[:3]:
        lines += _heading(f"One text, {one_text.kind_of}")
        lines.append(text.block(one_text.text.strip()))
    return lines


def study_lines(body: MixingStudied, state: SessionState, cells: int) -> Lines:
    """A whole study: each quantity over the ratios, so that the trade-off is seen."""
    by_ratio = {
        one.body.ratio: one.body
        for one in state.trainings
        if isinstance(one.body, MixtureMeasured) and one.body.name == body.name
    }
    found = [by_ratio[ratio] for ratio in body.ratios if ratio in by_ratio]
    lines = [Content(), text.line(f"{body.name}, against {body.against}.")]
    plots: Sequence[tuple[str, Callable[[MixtureMeasured], float | None], str]] = (
        ("Norm of the trace, in residual norms", _norm, "{:.3f}"),
        ("Steered texts like the documents, over unsteered", _similarity, "{:+.3f}"),
        ("Highest share of relevant tokens", _relevance, "{:.0%}"),
        ("Learned: facts over their negations, nats", _facts, "{:+.3f}"),
        ("Learned: documents held out, nats", lambda one: one.held_out.gain.value, "{:+.3f}"),
    )
    for title, value, form in plots:
        lines += _heading(title)
        values = [value(one) for one in found]
        most = max((abs(one) for one in values if one is not None), default=0.0) or 1.0
        for one, number in zip(found, values, strict=True):
            said = _NOT_COMPUTED if number is None else form.format(number)
            lines.append(_bar(f"1:{one.ratio:g}", (number or 0.0) / most, cells, said))
    return lines


def _norm(one: MixtureMeasured) -> float | None:
    pooled = [site.norm for site in one.trace.sites if "-" in site.position]
    return pooled[0] if pooled else None


def _similarity(one: MixtureMeasured) -> float | None:
    return one.over_unsteered.value if one.over_unsteered else None


def _relevance(one: MixtureMeasured) -> float | None:
    return max((found.share.value for found in one.relevance), default=None)


def _facts(one: MixtureMeasured) -> float | None:
    return one.facts.gain.value if one.facts else None


def _heading(said: str) -> Lines:
    return [Content(), text.line(said, "bold")]


def _bar(label: str, share: float, cells: int, said: str) -> Content:
    return Content.assemble(
        text.line(label.ljust(_LABEL), "", _LABEL),
        " ",
        (bar(share, cells), _FILLED),
        " ",
        text.line(said),
    )
