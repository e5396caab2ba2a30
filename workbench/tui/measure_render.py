"""What a recorded measure shows: its verdict, a small plot, its figures and sample texts.

The same figures as the commands print, drawn where looking beats reading. Everything comes from the
session's state; text of models and files goes through the display boundary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from pydantic import BaseModel
from textual.content import Content

from workbench.store.events import Event
from workbench.store.measure_events import (
    CausalChange,
    CausalEffectMeasured,
    CoherenceVerdict,
    CoherentAlphaFound,
    Estimate,
    RelevanceMeasured,
    RelevanceShare,
    SimilarityMeasured,
    TraceLayer,
    TraceMeasured,
    TraceSite,
)
from workbench.store.recorded import Recorded
from workbench.store.state import SessionState
from workbench.store.training_events import MixingStudied, MixtureMeasured, OrganismTrained
from workbench.tui import text
from workbench.tui.event_fields import event_fields
from workbench.tui.training_render import mixture_lines, study_lines, training_lines
from workbench.tui.widgets.bars import bar, dots

Lines = list[Content]

NAMES: dict[type[BaseModel], str] = {
    OrganismTrained: "training",
    MixtureMeasured: "mixture",
    MixingStudied: "mixing study",
    TraceMeasured: "trace strength",
    CoherentAlphaFound: "coherent alpha",
    RelevanceMeasured: "token relevance",
    SimilarityMeasured: "steered similarity",
    CausalEffectMeasured: "causal effect",
}
_MUTED = "$foreground-muted"
_FILLED = "$accent on $panel"
_LABEL = 24
_FEWEST_CELLS, _MOST_CELLS = 12, 40
# Words and texts beyond this are in the event itself.
_MOST_WORDS = 40
_NOT_COMPUTED = "not computed"


def findings(state: SessionState) -> list[Recorded[BaseModel]]:
    """What was found that has a place here, the oldest first."""
    trained = [
        one
        for one in state.trainings
        if isinstance(one.body, OrganismTrained | MixtureMeasured | MixingStudied)
    ]
    return sorted([*state.measures, *trained], key=lambda one: one.seq)


def name_of(body: BaseModel) -> str:
    """What the measure is called; any other finding by its kind."""
    return NAMES.get(type(body)) or str(getattr(body, "kind", "finding")).replace("_", " ")


def in_short(body: BaseModel) -> str:
    """The finding in a few characters."""
    match body:
        case TraceMeasured():
            known = body.breadth != _NOT_COMPUTED
            return f"{body.verdict}, {body.breadth}" if known else body.verdict
        case CoherentAlphaFound():
            return f"alpha {body.alpha:g}"
        case RelevanceMeasured():
            shares = [one.share.value for one in body.shares if one.share]
            return f"at most {max(shares):.0%}" if shares else _NOT_COMPUTED
        case SimilarityMeasured():
            over = body.over_unsteered
            return f"{over.value:+.3f} over unsteered" if over else _NOT_COMPUTED
        case CausalEffectMeasured():
            return f"{body.effects[0].effect.value:+.4f} nats" if body.effects else _NOT_COMPUTED
        case OrganismTrained():
            return f"{body.name}, loss {body.final_loss:.2f}"
        case MixtureMeasured():
            return f"1:{body.ratio:g}, {body.trace.verdict}"
        case MixingStudied():
            return f"{body.name}, {len(body.ratios)} ratios"
    return ""


def look(
    one: Recorded[BaseModel],
    state: SessionState,
    width: int,
    read_event: Callable[[int], Event],
) -> Content:
    """All there is to see of a measure, ``width`` cells wide."""
    cells = max(_FEWEST_CELLS, min(_MOST_CELLS, width - _LABEL - 28))
    head = [
        Content.assemble(
            (name_of(one.body), "bold"), "  ", text.line(in_short(one.body), "bold $accent")
        ),
        Content.styled(
            text.line(f"event {one.seq}, {one.at:%Y-%m-%d %H:%M} UTC, by {one.actor.kind}").plain,
            _MUTED,
        ),
    ]
    return Content("\n").join([*head, *_body(one, state, cells, read_event)])


def _body(
    one: Recorded[BaseModel],
    state: SessionState,
    cells: int,
    read_event: Callable[[int], Event],
) -> Lines:
    match one.body:
        case TraceMeasured() as trace:
            return _trace(trace, cells)
        case CoherentAlphaFound() as alpha:
            return _alpha(alpha, state, cells)
        case RelevanceMeasured() as relevance:
            return _relevance(relevance, cells)
        case SimilarityMeasured() as similarity:
            return _similarity(similarity, state, cells)
        case CausalEffectMeasured() as causal:
            return _causal(causal, cells)
        case OrganismTrained() as trained:
            return training_lines(trained, state, cells)
        case MixtureMeasured() as mixture:
            return mixture_lines(mixture, cells)
        case MixingStudied() as study:
            return study_lines(study, state, cells)
    fields = event_fields(read_event(one.seq))
    return [Content.assemble((f"{name}  ", _MUTED), text.block(value)) for name, value in fields]


# --- one after the other --------------------------------------------------------------------------


def _trace(body: TraceMeasured, cells: int) -> Lines:
    lines = [Content(), text.line(body.summary)]
    lines += [text.line(f"Layer {one.layer}: {one.verdict}; {one.why}.") for one in body.layers]
    lines += [
        text.line(f"Breadth: {body.breadth}; {body.breadth_why.rstrip('.')}."),
        text.block(body.does_not_mean, _MUTED),
        *_heading(
            f"Norm beside its null, in residual norms, over {body.n_texts} texts (con.: consistency)"
        ),
    ]
    most = max((max(one.high, one.split_half_norm) for one in body.sites), default=0.0) or 1.0
    # The mean over positions first, in each layer: it is what the verdict is about.
    for site in sorted(body.sites, key=lambda one: (one.layer, "-" not in one.position)):
        lines += _site(site, most, cells)
    with_effect = [one for one in body.layers if one.effect]
    if with_effect:
        lines += _heading(
            "What it does, aligned with what the finetuning does (· random directions)"
        )
    for one in with_effect:
        lines += _effect(one, cells)
    if body.narrowness:
        found = body.narrowness
        lines += _heading(
            f"Words that rose most; closeness index {found.index:.1f} "
            f"[{found.low:.1f}, {found.high:.1f}]"
        )
        lines.append(text.line(" ".join(found.words[:_MOST_WORDS])))
    return lines


def _site(site: TraceSite, most: float, cells: int) -> Lines:
    norm, null = site.norm / most, site.split_half_norm / most
    said = f"{site.norm:.4f} [{site.low:.4f}, {site.high:.4f}]"
    facts = f"{site.split_half_norm:.4f}; p {site.p_value:.4f}"
    label = f"layer {site.layer}, {site.position}, con. {site.consistency:.2f}"
    return [
        _bar(label, norm, cells, said),
        _bar("  base against itself", null, cells, facts, _MUTED),
    ]


def _effect(one: TraceLayer, cells: int) -> Lines:
    effect = one.effect
    assert effect is not None
    said = f"{effect.alignment:.2f}; random at most {max(effect.random):.2f}"
    return [
        *_dots(f"layer {one.layer}", effect.alignment, effect.random, cells, said, "{:.2f}"),
        text.line(f"  z {effect.z:.1f}, p {effect.p_value:.2g}, alpha {effect.alpha:g}", _MUTED),
    ]


def _alpha(body: CoherentAlphaFound, state: SessionState, cells: int) -> Lines:
    beyond = "; the strongest tried still passes" if body.reached_end else ""
    lines = [
        Content(),
        text.line(
            f"Steered with {body.source}, layer {body.layer}, position {body.position}, on the "
            f"{body.side} model: coherent up to alpha {body.alpha:g}{beyond}."
        ),
        text.line(
            f"Mean over prompts {body.prompt_mean:.3f}: "
            + ", ".join(f"{one:g}" for one in body.by_prompt)
        ),
    ]
    if body.llm_alpha is not None:
        lines.append(text.line(f"By the LLM judge ({body.judge}): alpha {body.llm_alpha:g}."))
    lines += _heading("Share of coherent texts by alpha")
    for one in body.rates:
        here = " ◀" if one.alpha == body.alpha else ""
        judged = "" if one.llm is None else f", {one.llm:.0%} by LLM"
        said = f"{one.plain:.0%} of {one.n}{judged}{here}"
        lines.append(_bar(f"alpha {one.alpha:g}", one.plain, cells, said))
    alphas = dict.fromkeys((0.0, body.alpha, *(one.alpha for one in body.rates[-1:])))
    for strength in alphas:
        verdict = _sample_at(body.texts, strength)
        if verdict is not None:
            faults = ", ".join(verdict.faults) or "coherent"
            lines += _heading(f"Alpha {strength:g}: {faults}")
            lines.append(_text(state, verdict.text_id))
    return lines


def _sample_at(texts: Sequence[CoherenceVerdict], alpha: float) -> CoherenceVerdict | None:
    return next((one for one in texts if one.alpha == alpha), None)


def _relevance(body: RelevanceMeasured, cells: int) -> Lines:
    lines = [
        Content(),
        text.line(f"Share of the first tokens of each list that belong to: {body.against}."),
    ]
    ranked = sorted(
        body.shares, key=lambda one: (_LAST.get(one.source, 1), _pooled_last(one), -_share(one))
    )
    for source, shares in groupby(ranked, key=lambda one: one.source):
        lines += _heading(f"Of the {source}".replace("_", " "))
        for one in shares:
            lines += _list(one, cells)
    lines += _heading(f"The {len(body.words)} words that count")
    more = f" and {len(body.words) - _MOST_WORDS} more" if len(body.words) > _MOST_WORDS else ""
    lines.append(text.line(" ".join(body.words[:_MOST_WORDS]) + more, _MUTED))
    return lines


_LAST = {"difference": 0, "random": 2, "split_half": 3}


def _pooled_last(one: RelevanceShare) -> bool:
    return "-" not in one.position


def _share(one: RelevanceShare) -> float:
    return one.share.value if one.share else -1.0


def _list(one: RelevanceShare, cells: int) -> Lines:
    name = f"{one.reading}, {one.position}".replace("_", " ")
    if one.share is None:
        return [text.line(f"{name:<{_LABEL}} {_NOT_COMPUTED}", _MUTED)]
    over = f", over random {one.over_random.value:+.2f}" if one.over_random else ""
    lines = [_bar(name, one.share.value, cells, f"{one.share.value:.0%} on {one.side}{over}")]
    if one.relevant:
        lines.append(text.line("  " + " ".join(map(str.strip, one.relevant)), _MUTED))
    return lines


def _similarity(body: SimilarityMeasured, state: SessionState, cells: int) -> Lines:
    lines = [
        Content(),
        text.line(
            f"Cosine to {body.n_documents} documents of {body.against}, alpha {body.alpha:g}, by "
            f"{body.embedding}."
        ),
        text.line(
            f"Steered over unsteered {_interval(body.over_unsteered)}, over a random direction "
            f"{_interval(body.over_random)}."
        ),
        *_heading("Similarity to the documents"),
    ]
    most = max(body.documents, *(one.high for one in body.by_kind.values())) or 1.0
    for kind in sorted(body.by_kind, key=lambda one: -body.by_kind[one].value):
        found = body.by_kind[kind]
        said = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
        lines.append(_bar(kind, found.value / most, cells, said))
    among = body.documents / most
    lines.append(_bar("documents themselves", among, cells, f"{body.documents:.3f}"))
    for kind, ids in body.texts.items():
        if ids:
            lines += _heading(f"One text, {kind}")
            lines.append(_text(state, ids[0]))
    return lines


def _causal(body: CausalEffectMeasured, cells: int) -> Lines:
    read = ", ".join(f"{count} {corpus}" for corpus, count in body.n_texts.items())
    lines = [
        Content(),
        text.line(
            f"Layer {body.layer}, position {body.position}, against {body.against}; texts: {read}."
        ),
        Content.styled(
            "Above zero, the text costs the finetuned model more without the component.", _MUTED
        ),
        *_heading("Rise of cross-entropy, nats per token (· random directions)"),
    ]
    for one in body.effects:
        lines += _change(one, cells)
    return lines


def _change(one: CausalChange, cells: int) -> Lines:
    effect = one.effect
    what = {"replace": "base's", "remove": "removed"}[one.change]
    where = "" if one.positions == "all" else f", {one.positions}"
    said = f"{effect.value:+.4f} [{effect.low:+.4f}, {effect.high:+.4f}]"
    p = "" if one.p_value is None else f"; p {one.p_value:.3f}"
    return [
        *_dots(f"{one.corpus}, {what}{where}", effect.value, one.random, cells, said, "{:+.4f}"),
        text.line(f"  cross-entropy base {one.base:.3f}, finetuned {one.left:.3f}{p}", _MUTED),
    ]


# --- parts ----------------------------------------------------------------------------------------


def _heading(said: str) -> Lines:
    return [Content(), text.line(said, "bold")]


def _bar(label: str, share: float, cells: int, said: str, style: str = "") -> Content:
    filled = f"{_MUTED} on $panel" if style else _FILLED
    return Content.assemble(
        text.line(label.ljust(_LABEL), style, _LABEL),
        " ",
        (bar(share, cells), filled),
        " ",
        text.line(said, style),
    )


def _dots(
    label: str, own: float, nulls: Iterable[float], cells: int, said: str, form: str
) -> Lines:
    """A value among its nulls, with the ends of the axis below."""
    drawn, low, high = dots(own, tuple(nulls), cells)
    ends = form.format(low), form.format(high)
    between = " " * max(1, cells - len(ends[0]) - len(ends[1]))
    indent = " " * (_LABEL + 1)
    return [
        Content.assemble(
            text.line(label.ljust(_LABEL), "", _LABEL),
            " ",
            (drawn, _FILLED),
            " ",
            text.line(said),
        ),
        Content.styled(f"{indent}{ends[0]}{between}{ends[1]}", _MUTED),
    ]


def _interval(found: Estimate | None) -> str:
    if found is None:
        return _NOT_COMPUTED
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _text(state: SessionState, text_id: str) -> Content:
    found = state.texts.get(text_id)
    return Content("(not in this session)") if found is None else text.block(found.text.strip())
