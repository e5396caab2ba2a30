"""The norm of the difference beside its null, over positions or layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from adl.words import number_of, plain_number
from workbench.store.arrays import ReadArray
from workbench.tui.panes.readings.index import Index, Measured

Over = Literal["positions", "layers"]

#: A mean this many standard errors from nothing, whose halves agree this well, is well measured.
ERRORS, AGREEMENT = 3.0, 0.8


@dataclass(frozen=True)
class Norms:
    """Norms in per cent of the residual norm at the same place, one for each of ``labels``."""

    over: Over
    layer: int
    labels: tuple[str, ...]
    difference: tuple[float, ...]
    null: tuple[float, ...]
    error: tuple[float, ...]
    n_texts: int
    left_out: str
    size: float
    nulls: float
    errors: float
    half_cosine: float

    def sentence(self) -> str:
        """Return the result for the layer of the readings in a sentence; position 0 is left out."""
        if self.errors < ERRORS or self.half_cosine < AGREEMENT:
            verdict = "poorly measured, use more texts"
        elif self.nulls < 1:
            verdict = "well measured, yet smaller than what the choice of texts does"
        else:
            verdict = "well measured"
        left_out = self.left_out and f" ({self.left_out})"
        return (
            f"Layer {self.layer}: the difference is {plain_number(self.size, 2)} % of the residual norm, "
            f"{self.nulls:.1f} x its null, {self.errors:.1f} x its standard error; cosine between "
            f"halves of the {number_of(self.n_texts, 'text')}{left_out} {self.half_cosine:.2f}: {verdict}."
        )


def norms_over(index: Index, layer: int, over: Over, read_array: ReadArray) -> Norms | None:
    """The norms to draw; None where no difference holds the layer."""
    measured = index.measured(layer)
    if measured is None:
        return None
    here = _of_layer(measured, layer, read_array)
    pooled = _pooled(measured)
    size, null, error = (float(values[pooled].mean()) for values in here)
    halves = read_array(measured.body.arrays["half_cosine"])[measured.body.layers.index(layer)]
    if over == "positions":
        labels: Sequence[str] = measured.body.positions
        drawn = here
    else:
        layers = [layer for layer in index.layers() if index.measured(layer) is not None]
        labels = [str(layer) for layer in layers]
        rows = []
        for other_layer in layers:
            other = index.measured(other_layer)
            assert other is not None
            values = _of_layer(other, other_layer, read_array)
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
        n_texts=measured.body.n_texts,
        left_out=measured.body.left_out,
        size=size,
        nulls=size / null if null > 0 else float("inf"),
        errors=size / error if error > 0 else float("inf"),
        half_cosine=float(halves[pooled].mean()),
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
