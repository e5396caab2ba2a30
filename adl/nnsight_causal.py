"""What texts cost a model, as it is and with a component of its residual stream changed.

nnsight reads the source of a traced block, so the blocks stand here in full and are not built.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from adl.nnsight_loading import LoadedSide
from adl.pair import ScoredBatch
from adl.records import Floats


def plain_losses(loaded: LoadedSide, texts: ScoredBatch) -> Floats:
    """-log p in nats of each text's scored tokens, summed [texts]."""
    return _losses(loaded.module(**_inputs(loaded, texts), use_cache=False).logits, texts)


def residuals_at(loaded: LoadedSide, layers: Any, layer: int, texts: ScoredBatch) -> torch.Tensor:
    """Residuals [texts, tokens, width] at a layer's output, in float32 on its device."""
    with loaded.model.trace(**_inputs(loaded, texts), use_cache=False) as tracer:
        residual = layers[layer].output.save()
        tracer.stop()
    found: torch.Tensor = residual.float()
    return found


def changed_losses(
    loaded: LoadedSide,
    layers: Any,
    layer: int,
    texts: ScoredBatch,
    vectors: Floats,
    put: torch.Tensor | None,
) -> Floats:
    """Losses [m, texts] with the component along each vector alone changed at the changed tokens.

    It becomes that of ``put`` [texts, tokens, width], or nothing where that is None.
    """
    model, inputs = loaded.model, _inputs(loaded, texts)
    found = []
    for vector in vectors:
        unit = torch.nn.functional.normalize(torch.as_tensor(vector, dtype=torch.float32), dim=-1)
        changed = torch.as_tensor(texts.changed)
        with model.trace(**inputs, use_cache=False):
            residual = layers[layer].output
            layers[layer].output = _with_component(residual, unit, put, changed)
            logits = model.output.logits.save()
        found.append(_losses(logits, texts))
    return np.stack(found)


def whitening(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean [width] of rows [V, width], and the matrix [width, rank] that whitens them.

    Axes along which the rows hardly differ are left out: whitened, they would be noise.
    """
    single = rows.float()
    mean = single.mean(0)
    centred = single - mean
    values, axes = torch.linalg.eigh(centred.T @ centred / len(single))
    kept = values > values.max() * 1e-6
    return mean, axes[:, kept] / values[kept].sqrt()


def _with_component(
    residual: torch.Tensor, unit: torch.Tensor, put: torch.Tensor | None, changed: torch.Tensor
) -> torch.Tensor:
    """The residual [texts, tokens, width] with its part along ``unit`` that of ``put``."""
    direction = unit.to(residual.device)
    own = residual.float()
    wanted = -own if put is None else put.to(residual.device) - own
    along = (wanted @ direction) * changed.to(residual.device)
    return residual + (along[..., None] * direction).to(residual)


def _losses(logits: torch.Tensor, texts: ScoredBatch) -> Floats:
    """Text by text, so that no more than one text's log-probabilities are held in float32."""
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


def _inputs(loaded: LoadedSide, texts: ScoredBatch) -> dict[str, torch.Tensor]:
    device = next(loaded.module.parameters()).device
    return {
        "input_ids": torch.as_tensor(texts.ids, device=device),
        "attention_mask": torch.as_tensor(texts.mask, device=device).long(),
    }
