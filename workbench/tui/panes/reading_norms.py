"""How large the difference is beside what chance gives, over positions or over layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from workbench.store.events import ArrayRef
from workbench.tui.panes.reading_index import Index, Measured

Over = Literal["positions", "layers"]
ReadArray = Callable[[ArrayRef], np.ndarray]

#: A difference this many times its null is beyond doubt; below the second it is not told from it.
CLEAR, UNCLEAR = 3.0, 1.5


@dataclass(frozen=True)
class Norms:
    """Norms in per cent of the residual norm at the same place, one for each of ``labels``."""

    over: Over
    layer: int
    labels: tuple[str, ...]
    difference: tuple[float, ...]
    null: tuple[float, ...]
    error: tuple[float, ...]
    ratio: float
    size: float
    n_texts: int

    def sentence(self) -> str:
        """What it means, for the layer the readings are of."""
        if not np.isfinite(self.ratio):
            against = "there is no null of chance to compare it with"
        elif self.ratio >= CLEAR:
            against = f"{self.ratio:.1f} times its null: finetuning moved it, not chance"
        elif self.ratio >= UNCLEAR:
            against = f"{self.ratio:.1f} times its null: little more than chance, use more texts"
        else:
            against = f"{self.ratio:.1f} times its null: not told from chance, use more texts"
        return (
            f"Layer {self.layer}, {self.n_texts} texts: the difference is {self.size:.2g} % of the "
            f"residual norm (position 0 left out), {against}."
        )


def norms_over(index: Index, layer: int, over: Over, read_array: ReadArray) -> Norms | None:
    """The norms to draw; None where no difference holds the layer."""
    measured = index.measured(layer)
    if measured is None:
        return None
    here = _of_layer(measured, layer, read_array)
    pooled = _pooled(measured)
    size, null_size, _ = (float(values[pooled].mean()) for values in here)
    if over == "positions":
        labels: Sequence[str] = measured.body.positions
        drawn = here
    else:
        layers = [one for one in index.layers() if index.measured(one) is not None]
        labels = [str(one) for one in layers]
        rows = []
        for one in layers:
            other = index.measured(one)
            assert other is not None
            values = _of_layer(other, one, read_array)
            rows.append([value[_pooled(other)].mean() for value in values])
        columns = np.array(rows).T
        drawn = (columns[0], columns[1], columns[2])
    return Norms(
        over=over,
        layer=layer,
        labels=tuple(labels),
        difference=tuple(map(float, drawn[0])),
        null=tuple(map(float, drawn[1])),
        error=tuple(map(float, drawn[2])),
        ratio=size / null_size if null_size > 0 else float("nan"),
        size=size,
        n_texts=measured.body.n_texts,
    )


def _of_layer(
    measured: Measured, layer: int, read_array: ReadArray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Difference, null and standard error at each position, per cent of the residual norm there."""
    body = measured.body
    row = body.layers.index(layer)

    def array(name: str) -> np.ndarray:
        values: np.ndarray = read_array(body.arrays[name])[row]
        return values

    residual = np.maximum(array("finetuned_norm"), 1e-12)
    difference = np.linalg.norm(array("difference"), axis=-1)
    null = np.linalg.norm(array("split_half_null"), axis=-1)
    percent = 100 / residual
    return difference * percent, null * percent, array("standard_error") * percent


def _pooled(measured: Measured) -> list[int]:
    """The columns that are pooled, see `ActivationDifference.pooled_positions`."""
    positions = measured.body.positions
    rest = [place for place, label in enumerate(positions) if label != "0"]
    return rest or list(range(len(positions)))
