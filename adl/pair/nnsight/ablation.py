"""Losses of texts, of the unchanged model and with a component of its residual stream changed.

nnsight reads the source of a traced block, so the blocks are written out in full.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from adl.pair.nnsight.load_errors import is_out_of_memory
from adl.pair.nnsight.offloading import weight_of
from adl.pair.nnsight.runs import NUMBERS_AT_ONCE, SideRuns, distance
from adl.pair.nnsight.structure import input_device, residual_of, with_residual
from adl.pair.protocol import ScoredBatch
from adl.records import Floats

# Limits of memory: logits of a batch in the model's dtype, and unit vectors put through a head.
LOGITS_AT_ONCE = 1 << 27
UNITS_AT_ONCE = 64


def plain_losses(runs: SideRuns, texts: ScoredBatch) -> Floats:
    """Return the summed -log p [texts] in nats of each text's scored tokens."""
    found = []
    for _, part in scored_parts(runs, texts):
        logits = runs.loaded.module(**_inputs(runs, part)).logits
        found.append(_losses(logits, part))
    return np.concatenate(found)


def token_log_probs(runs: SideRuns, texts: ScoredBatch) -> Floats:
    """Return log p [texts, tokens] in nats of each scored token; 0 at other tokens.

    The tokens that all texts begin with are run once, if the model's cache allows.
    """
    found = np.zeros(texts.ids.shape, dtype=np.float32)
    # No logits before the first scored token: a chat's template is a third of its tokens.
    first = max(0, int(texts.scored.any(axis=0).argmax()) - 1) if texts.scored.any() else 0
    for rows, part in scored_parts(runs, texts):
        if not part.scored.any():
            continue
        logits = _after_shared_start(runs, part, first)
        if logits is None:
            logits = _logits_from(runs, part, first)
        for row in range(len(part)):
            columns = part.scored[row].nonzero()[0]
            places = torch.as_tensor(columns - 1 - first, device=logits.device)
            losses = torch.nn.functional.cross_entropy(
                logits[row, places].float(),
                torch.as_tensor(part.ids[row, columns], device=logits.device),
                reduction="none",
            )
            found[rows.start + row, columns] = -losses.cpu().numpy()
    return found


def _logits_from(runs: SideRuns, texts: ScoredBatch, first: int) -> torch.Tensor:
    """Return logits [texts, tokens - first, V] from column ``first`` on."""
    kept = torch.arange(first, texts.ids.shape[1], device=runs.device)
    keep = runs.structure.taken({"logits_to_keep": kept})
    logits: torch.Tensor = runs.loaded.module(**_inputs(runs, texts), **keep).logits
    return logits if logits.shape[1] == len(kept) else logits[:, first:]


def _after_shared_start(runs: SideRuns, texts: ScoredBatch, first: int) -> torch.Tensor | None:
    """Return logits [texts, tokens - first, V], the first tokens run once for all texts.

    None if they are not the same in all texts, or the model's cache cannot be shared: the longest
    text is compared with itself run whole, and again where texts are longer than any before, since
    a window may end behind the last.
    """
    start = tuple(texts.ids[0, :first].tolist())
    same = bool(
        (texts.ids[:, :first] == texts.ids[0, :first]).all() and texts.mask[:, :first].all()
    )
    if len(texts) < 2 or not first or not same or not runs.may_share(start):
        return None
    row = int(texts.mask.sum(axis=1).argmax())
    length = int(texts.mask[row].sum())
    longest = ScoredBatch(*(array[[row], :length] for array in vars(texts).values()))
    try:
        logits = runs.after_start(texts.ids, texts.mask, first)
        if runs.shared_up_to(start) < length:
            whole = _logits_from(runs, longest, first)[0]
            wrong = distance(logits[row, : length - first], whole) > runs.structure.tolerance
            runs.note_shared(start, None if wrong else length)
    except Exception as exc:
        if is_out_of_memory(exc):
            raise
        runs.note_shared(start, None)
    return logits if runs.may_share(start) else None


def residuals_at(runs: SideRuns, layer: int, texts: ScoredBatch) -> torch.Tensor:
    """Return residuals [texts, tokens, width] at a layer's output, in float32 on its device."""
    found: torch.Tensor | None = None
    for rows, part in scored_parts(runs, texts):
        residuals = _residuals(runs, layer, part)
        if found is None:
            found = residuals.new_zeros((*texts.ids.shape, residuals.shape[-1]))
        found[rows, : residuals.shape[1]] = residuals
    assert found is not None
    return found


def _residuals(runs: SideRuns, layer: int, texts: ScoredBatch) -> torch.Tensor:
    layers = runs.layers
    with runs.loaded.model.trace(**_inputs(runs, texts)) as tracer:
        residual: Any = residual_of(layers[layer].output)
        saved = residual.save()
        tracer.stop()
    found: torch.Tensor = saved.float()
    return found


def changed_losses(
    runs: SideRuns,
    layer: int,
    texts: ScoredBatch,
    vectors: Floats,
    put: torch.Tensor | None,
) -> Floats:
    """Return losses [m, texts] with the component along each vector alone changed.

    At the changed tokens it becomes that of ``put`` [texts, tokens, width], or zero if that is None.
    """
    found = []
    for rows, part in scored_parts(runs, texts):
        there = None if put is None else put[rows, : part.ids.shape[1]]
        found.append(np.stack([_changed(runs, layer, part, vector, there) for vector in vectors]))
    return np.concatenate(found, axis=1)


def _changed(
    runs: SideRuns, layer: int, texts: ScoredBatch, vector: Floats, put: torch.Tensor | None
) -> Floats:
    layers, model = runs.layers, runs.loaded.model
    unit = torch.nn.functional.normalize(torch.as_tensor(vector, dtype=torch.float32), dim=-1)
    changed = torch.as_tensor(texts.changed)
    with model.trace(**_inputs(runs, texts)):
        output = layers[layer].output
        residual = _with_component(residual_of(output), unit, put, changed)
        layers[layer].output = with_residual(output, residual)
        logits = model.output.logits.save()
    return _losses(logits, texts)


def scored_parts(runs: SideRuns, texts: ScoredBatch) -> list[tuple[slice, ScoredBatch]]:
    """Return the texts in parts whose logits fit the limit, with their rows; usually a single part.

    Each text without its padding, for a model that reads it otherwise among others.
    """
    if runs.structure.alone:
        lengths = texts.mask.sum(axis=1).tolist()
        return [
            (slice(row, row + 1), _part(texts, slice(row, row + 1), length))
            for row, length in enumerate(lengths)
        ]
    width = texts.ids.shape[1]
    at_once = max(1, LOGITS_AT_ONCE // (runs.loaded.rows * width))
    slices = [slice(first, first + at_once) for first in range(0, len(texts), at_once)]
    return [(rows, _part(texts, rows, width)) for rows in slices]


def _part(texts: ScoredBatch, rows: slice, length: int) -> ScoredBatch:
    return ScoredBatch(*(array[rows, :length] for array in vars(texts).values()))


def unembedding(module: PreTrainedModel) -> torch.Tensor:
    """Return the matrix [V, width] of the head, adapters included.

    For a head with an adapter, or quantised, it is computed from unit vectors.
    """
    head = module.get_output_embeddings()
    if type(head) is torch.nn.Linear:
        return weight_of(head)
    width = _inner_width(head)
    weights = next((w for w in head.parameters() if w.dtype.is_floating_point), None)
    dtype = torch.float32 if weights is None else weights.dtype
    device = input_device(module)
    origin = head(torch.zeros(1, width, dtype=dtype, device=device))
    found = torch.empty(origin.shape[-1], width, dtype=dtype, device=origin.device)
    for first in range(0, width, UNITS_AT_ONCE):
        units = torch.eye(width, dtype=dtype, device=device)[first : first + UNITS_AT_ONCE]
        found[:, first : first + len(units)] = (head(units) - origin).T
    return found


def _inner_width(head: Any) -> int:
    """Return the input width of a head, wrapped by an adapter or not."""
    while not hasattr(head, "in_features"):
        inner = getattr(head, "base_layer", None)
        head = getattr(head, "original_module", None) if inner is None else inner
    return int(head.in_features)


def whitening(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean [width] of rows [V, width], and the matrix [width, rank] that whitens them.

    Axes with next to no variance are left out: whitened, they would be noise. Rows are converted
    to float32 in parts.
    """
    parts = rows.split(max(1, NUMBERS_AT_ONCE // rows.shape[1]))
    mean = torch.stack([part.float().sum(0) for part in parts]).sum(0) / len(rows)
    spread = torch.zeros(rows.shape[1], rows.shape[1], device=rows.device)
    for part in parts:
        centred = part.float() - mean
        spread += centred.T @ centred
    values, axes = torch.linalg.eigh(spread / len(rows))
    kept = values > values.max() * 1e-6
    return mean, axes[:, kept] / values[kept].sqrt()


def _with_component(
    residual: torch.Tensor, unit: torch.Tensor, put: torch.Tensor | None, changed: torch.Tensor
) -> torch.Tensor:
    """Return the residual [texts, tokens, width] with its component along ``unit`` from ``put``."""
    direction = unit.to(residual.device)
    own = residual.float()
    wanted = -own if put is None else put.to(residual.device) - own
    along = (wanted @ direction) * changed.to(residual.device)
    return residual + (along[..., None] * direction).to(residual)


def _losses(logits: torch.Tensor, texts: ScoredBatch) -> Floats:
    """Return summed losses [texts], text by text: one text's logits are float32 at a time."""
    ids = torch.as_tensor(texts.ids, device=logits.device)
    scored = torch.as_tensor(texts.scored, device=logits.device)
    found = []
    for row in range(len(texts)):
        columns = scored[row].nonzero()[:, 0]
        found.append(
            torch.nn.functional.cross_entropy(
                logits[row, columns - 1].float(), ids[row, columns], reduction="sum"
            )
        )
    return torch.stack(found).cpu().numpy()


def _inputs(runs: SideRuns, texts: ScoredBatch) -> dict[str, torch.Tensor]:
    """Return the model's inputs. Padding is on the right, where no scored token attends to it."""
    inputs = {
        "input_ids": torch.as_tensor(texts.ids, device=runs.device),
        "attention_mask": torch.as_tensor(texts.mask, device=runs.device).long(),
        "use_cache": False,
    }
    return runs.structure.taken(inputs)
