"""Small plots as SVG text that stands in a page by itself: no script, no style, no reference.

Words are given as attributes and text of ours alone; whatever comes from a session goes through
`text`, which cleans and escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from markupsafe import Markup, escape

from adl.words import plain_number
from workbench.display import clean_line

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 44, 44
COLOURS = ("#3b6fb6", "#c2562d", "#4f8a3d", "#8a5aa8")


@dataclass(frozen=True)
class Series:
    """A named line of values, None where there is none."""

    name: str
    values: tuple[float | None, ...]


def text(words: str) -> Markup:
    """Untrusted words, cleaned and escaped."""
    return escape(clean_line(words))


def _has_a_place(value: float | None) -> TypeGuard[float]:
    return value is not None and 0 < value < math.inf


def line_plot(
    title: str, x_name: str, y_name: str, labels: Sequence[str], series: Sequence[Series]
) -> Markup:
    """Values by label, each series a line with points, on a logarithmic axis.

    Values that are not above 0, or not finite, have no place on it and are left out. Empty if no
    value is left.
    """
    values = [value for item in series for value in item.values if _has_a_place(value)]
    if not values:
        return Markup("")
    low = math.floor(math.log10(min(values)))
    high = max(math.ceil(math.log10(max(values))), low + 1)

    def x(place: int) -> float:
        span = WIDTH - LEFT - RIGHT
        return LEFT + span * (place + 0.5) / max(len(labels), 1)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log10(value) - low) / (high - low)

    parts = [_frame(title, x_name, y_name)]
    parts += [_grid(10.0**power, y(10.0**power)) for power in range(low, high + 1)]
    parts += [
        Markup('<text x="{:.1f}" y="{}" text-anchor="middle" font-size="12">{}</text>').format(
            x(place), HEIGHT - BOTTOM + 18, text(label)
        )
        for place, label in enumerate(labels)
    ]
    for number, line in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        points = [
            (x(place), y(value)) for place, value in enumerate(line.values) if _has_a_place(value)
        ]
        parts.append(_line(colour, points))
        parts.append(_key(number, colour, line.name))
    return Markup(
        '<svg viewBox="0 0 {} {}" width="{}" height="{}" fill="currentColor" role="img" '
        'aria-label="{}">{}</svg>'
    ).format(WIDTH, HEIGHT, WIDTH, HEIGHT, text(title), Markup("").join(parts))


def _frame(title: str, x_name: str, y_name: str) -> Markup:
    return Markup(
        "<title>{title}</title>"
        '<text x="{left}" y="16" font-size="13" font-weight="bold">{title}</text>'
        '<text x="{middle}" y="{bottom}" text-anchor="middle" font-size="12">{x_name}</text>'
        '<text x="14" y="{centre}" text-anchor="middle" font-size="12" '
        'transform="rotate(-90 14 {centre})">{y_name}</text>'
        '<line x1="{left}" y1="{top}" x2="{left}" y2="{base}" stroke="#888"/>'
        '<line x1="{left}" y1="{base}" x2="{right}" y2="{base}" stroke="#888"/>'
    ).format(
        title=text(title),
        x_name=text(x_name),
        y_name=text(y_name),
        left=LEFT,
        middle=(LEFT + WIDTH - RIGHT) / 2,
        bottom=HEIGHT - 8,
        centre=(TOP + HEIGHT - BOTTOM) / 2,
        top=TOP,
        base=HEIGHT - BOTTOM,
        right=WIDTH - RIGHT,
    )


def _grid(value: float, height: float) -> Markup:
    return Markup(
        '<line x1="{}" y1="{:.1f}" x2="{}" y2="{:.1f}" stroke="#888" stroke-opacity="0.25"/>'
        '<text x="{}" y="{:.1f}" text-anchor="end" font-size="11">{}</text>'
    ).format(LEFT, height, WIDTH - RIGHT, height, LEFT - 6, height + 4, plain_number(value))


def _line(colour: str, points: Sequence[tuple[float, float]]) -> Markup:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = Markup("").join(
        Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}"/>').format(x, y, colour)
        for x, y in points
    )
    return (
        Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>').format(
            path, colour
        )
        + dots
    )


def _key(number: int, colour: str, name: str) -> Markup:
    x = LEFT + number * (WIDTH - LEFT - RIGHT) / len(COLOURS)
    return Markup(
        '<rect x="{:.1f}" y="24" width="12" height="8" fill="{}"/>'
        '<text x="{:.1f}" y="32" font-size="12">{}</text>'
    ).format(x, colour, x + 16, text(name))
