"""A mixing study as a picture: small plots side by side, trace above, lesson below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from adl.words import plain_number
from workbench.report.plots import COLOURS, text
from workbench.store.findings import Estimate
from workbench.store.training_events import MixtureMeasured

WIDTH, HEIGHT = 720, 520
_LEFT, _TOP, _ACROSS, _DOWN = 52, 58, 236, 232
_PLOT_WIDTH, _PLOT_HEIGHT = 176, 150


@dataclass(frozen=True)
class _Panel:
    title: str
    value: Callable[[MixtureMeasured], tuple[float, float, float] | None]
    other: Callable[[MixtureMeasured], float | None] = lambda _one: None


def mixing_plot(found: Sequence[MixtureMeasured]) -> Markup:
    """One small plot for each measure by ratio, with 95% intervals where there are any."""
    ordered = sorted(found, key=lambda mixture: mixture.ratio)
    name = ordered[0].name if ordered else ""
    parts = [
        Markup('<rect width="{}" height="{}" fill="#fff"/>').format(WIDTH, HEIGHT),
        Markup(
            '<text x="16" y="24" font-size="15" font-weight="bold">Mixing unrelated text into {}'
            "</text>"
        ).format(text(name)),
        Markup(
            '<text x="16" y="{}" font-size="12">unrelated texts for each document; bars: 95% '
            "intervals; dashed: the measure's own baseline</text>"
        ).format(HEIGHT - 10),
    ]
    parts += [_panel(panel, place, ordered) for place, panel in enumerate(_PANELS)]
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" width="{}" height="{}" '
        'font-family="sans-serif" fill="#222" role="img" aria-label="Mixing study of {}">{}</svg>'
    ).format(WIDTH, HEIGHT, WIDTH, HEIGHT, text(name), Markup("").join(parts))


def _panel(panel: _Panel, place: int, found: Sequence[MixtureMeasured]) -> Markup:
    left = _LEFT + (place % 3) * _ACROSS
    top = _TOP + (place // 3) * _DOWN
    values = [panel.value(result) for result in found]
    others = [panel.other(result) for result in found]
    known = [number for three in values if three is not None for number in three]
    known += [number for number in others if number is not None]
    parts = [
        Markup('<text x="{}" y="{}" font-size="12" font-weight="bold">{}</text>').format(
            left, top - 10, panel.title
        )
    ]
    if not known:
        parts.append(
            Markup('<text x="{}" y="{}" font-size="12">not computed</text>').format(
                left, top + _PLOT_HEIGHT / 2
            )
        )
        return Markup("").join(parts)
    low, high = min(0.0, *known), max(0.0, *known)
    span = (high - low) or 1.0

    def x(index: int) -> float:
        return left + _PLOT_WIDTH * (index + 0.5) / len(found)

    def y(value: float) -> float:
        return top + _PLOT_HEIGHT * (high - value) / span

    parts += [_rule(left, y(value), value) for value in sorted({low, 0.0, high})]
    parts += [
        Markup('<text x="{:.1f}" y="{}" text-anchor="middle" font-size="11">1:{}</text>').format(
            x(index), top + _PLOT_HEIGHT + 16, plain_number(result.ratio)
        )
        for index, result in enumerate(found)
    ]
    middle = [(x(index), y(three[0])) for index, three in enumerate(values) if three is not None]
    dashed = [(x(index), y(item)) for index, item in enumerate(others) if item is not None]
    for index, three in enumerate(values):
        if three is not None and three[1] < three[2]:
            parts.append(
                Markup(
                    '<line x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}" stroke="{3}"/>'
                ).format(x(index), y(three[1]), y(three[2]), COLOURS[0])
            )
    parts.append(_path(middle, COLOURS[0], dots=True))
    parts.append(_path(dashed, COLOURS[1], dots=False))
    return Markup("").join(parts)


def _rule(left: float, height: float, value: float) -> Markup:
    return Markup(
        '<line x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}" stroke="#bbb"/>'
        '<text x="{}" y="{:.1f}" text-anchor="end" font-size="10">{}</text>'
    ).format(
        left, left + _PLOT_WIDTH, height, height, left - 4, height + 3.5, plain_number(value, 2)
    )


def _path(points: Sequence[tuple[float, float]], colour: str, *, dots: bool) -> Markup:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    line = Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="1.5"{}/>').format(
        places, colour, Markup("") if dots else Markup(' stroke-dasharray="4 3"')
    )
    marks = [
        Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}"/>').format(x, y, colour)
        for x, y in points
        if dots
    ]
    return line + Markup("").join(marks)


def _three(found: Estimate | None) -> tuple[float, float, float] | None:
    return (found.value, found.low, found.high) if found else None


def _norm(mixture: MixtureMeasured) -> tuple[float, float, float]:
    site = mixture.trace.sites[-1]
    return site.norm, site.low, site.high


def _alignment(mixture: MixtureMeasured) -> tuple[float, float, float] | None:
    effect = mixture.trace.layers[0].effect
    return (effect.alignment,) * 3 if effect else None


def _best_random(mixture: MixtureMeasured) -> float | None:
    effect = mixture.trace.layers[0].effect
    return max(effect.random) if effect else None


_PANELS = (
    _Panel("norm of the difference", _norm),
    _Panel("alignment with finetuning", _alignment, other=_best_random),
    _Panel(
        "relevant share of tokens",
        lambda mixture: _three(mixture.relevance[0].share) if mixture.relevance else None,
        other=lambda mixture: mixture.relevance[0].random if mixture.relevance else None,
    ),
    _Panel(
        "similarity of steered texts",
        lambda mixture: _three(mixture.similarity["steered"]),
        other=lambda mixture: mixture.similarity["unsteered"].value,
    ),
    _Panel(
        "facts over negations, nats",
        lambda mixture: _three(mixture.facts.finetuned) if mixture.facts else None,
        other=lambda mixture: mixture.facts.base.value if mixture.facts else None,
    ),
    _Panel("held-out gain, nats", lambda mixture: _three(mixture.held_out.gain)),
)
