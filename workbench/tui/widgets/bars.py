"""Bars drawn in characters."""

from __future__ import annotations

from collections.abc import Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def bar(share: float, width: int) -> str:
    """A bar of ``width`` cells, filled to ``share`` (0 to 1), in eighths of a cell."""
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def dots(own: float, nulls: Sequence[float], width: int) -> tuple[str, float, float]:
    """One value among its nulls on an axis that holds them all and zero, and the axis's ends.

    ``●`` is the value, ``·`` a null (``:`` several of them), ``│`` zero where nothing else is drawn.
    """
    low, high = min(0.0, own, *nulls), max(0.0, own, *nulls)
    cells = [" "] * width

    def place(value: float) -> int:
        return round((value - low) / ((high - low) or 1.0) * (width - 1))

    cells[place(0.0)] = "│"
    for null in nulls:
        at = place(null)
        cells[at] = ":" if cells[at] in {"·", ":"} else "·"
    cells[place(own)] = "●"
    return "".join(cells), low, high
