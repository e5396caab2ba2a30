"""The check that both sides share a basis: their embeddings of the same tokens, compared.

Without a shared basis residuals of the two sides cannot be subtracted: one side may be rotated, or
its dimensions permuted, or be trained independently.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from adl.pair.nnsight.loading import LoadedPair
from adl.pair.nnsight.runs import SideRuns
from adl.pair.self_checks import BASIS, failed
from adl.records import SIDES, Check, Ids, Side

Runs = dict[Side, SideRuns]

BASIS_TOKENS = 512
FEWEST_TOKENS = 32
LEAST_COSINE = 0.5
LARGEST_RATIO = 2.0
# A change below this share of the rows' squared norm is not tested for a rotation.
SMALL_CHANGE = 1e-4
# The least ``planless`` of a finetuning.
LEAST_PLANLESS = 0.25


@dataclass(frozen=True)
class BasisFigures:
    """Comparison of embedding rows [tokens, width] of the two sides, each less its mean.

    ``cosine``: of all rows as one vector. ``ratio``: of their norms. ``moved``: number of dimensions
    that are permuted or negated. ``planless``: the change of the tokens' inner products, as a share of
    their change if the same changes are dealt to the tokens at random. A rotation keeps inner
    products, which a finetuning does not.
    """

    cosine: float
    ratio: float
    moved: int
    planless: float

    @property
    def shared(self) -> bool:
        """True if the dimensions of both sides mean the same."""
        return (
            self.cosine >= LEAST_COSINE
            and 1 / LARGEST_RATIO <= self.ratio <= LARGEST_RATIO
            and self.moved == 0
            and self.planless >= LEAST_PLANLESS
        )


def basis_figures(base: torch.Tensor, finetuned: torch.Tensor) -> BasisFigures:
    """Compare rows [tokens, width] of the same tokens on both sides."""
    base, finetuned = (rows.float() - rows.float().mean(0) for rows in (base, finetuned))
    lengths = base.norm(), finetuned.norm()
    ratio = float(lengths[1] / lengths[0].clamp(min=1e-12))
    finetuned = finetuned / max(ratio, 1e-12)
    cosine = float((base * finetuned).sum() / lengths[0].square().clamp(min=1e-12))
    return BasisFigures(cosine, ratio, _moved(base, finetuned), _planless(base, finetuned))


def _moved(base: torch.Tensor, finetuned: torch.Tensor) -> int:
    """Return the number of dimensions that match another dimension of base, or their negative."""
    units = [torch.nn.functional.normalize(rows, dim=0) for rows in (base, finetuned)]
    cosines = units[0].T @ units[1]
    own = cosines.diagonal().clone()
    cosines.fill_diagonal_(0)
    best = cosines.abs().amax(0)
    another = (best > 0.9) & (best > own.abs() + 0.3)
    return int((another | (own < -0.5)).sum())


def _planless(base: torch.Tensor, finetuned: torch.Tensor) -> float:
    change = finetuned - base
    if float(change.square().sum() / base.square().sum().clamp(min=1e-12)) < SMALL_CHANGE:
        return 1.0
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(base), generator=generator).to(base.device)

    def of_products(rows: torch.Tensor) -> float:
        products = rows @ rows.T - base @ base.T
        products.fill_diagonal_(0)
        return float(products.square().sum())

    return of_products(finetuned) / max(of_products(base + change[order]), 1e-12)


def basis_check(loaded: LoadedPair, runs: Runs, shared: tuple[Ids, Ids] | None) -> Check:
    """Return the check that both sides share a basis; ``shared`` ids as ``shared_vocabulary`` has them."""
    if loaded.base.model is loaded.finetuned.model:
        return Check(BASIS, "not applicable", "both sides are one copy of the weights")
    rows = {}
    ids = _common_ids(loaded, shared)
    if ids.shape[1] < FEWEST_TOKENS:
        return Check(BASIS, "not applicable", f"the sides share only {ids.shape[1]} tokens")
    for side, side_ids in zip(SIDES, ids, strict=True):
        runs[side].loaded.use()
        rows[side] = runs[side].token_rows(side_ids)
    figures = basis_figures(rows["base"], rows["finetuned"].to(rows["base"].device))
    if figures.shared:
        return Check(BASIS, "passed", "the sides' tokens point the same way", figures.cosine)
    if figures.moved:
        why = f"{figures.moved} of {rows['base'].shape[1]} dimensions are another's or turned round"
    elif figures.cosine < LEAST_COSINE:
        why = "their tokens point elsewhere, as those of models trained apart"
    elif figures.planless < LEAST_PLANLESS:
        why = "the finetuned side's is turned against the base's"
    else:
        why = f"the finetuned side's lengths are {figures.ratio:.3g} of the base's"
    return failed(BASIS, f"the sides do not share a basis: {why}", figures.cosine)


def _common_ids(loaded: LoadedPair, shared: tuple[Ids, Ids] | None) -> Ids:
    """Return ids [sides, tokens] of shared tokens spread over the vocabulary."""
    limits = [
        min(len(loaded.side(side).tokenizer), _rows(loaded.side(side).module)) for side in SIDES
    ]
    if shared is None:
        shared = (np.arange(min(limits)), np.arange(min(limits)))
    within = (shared[0] < limits[0]) & (shared[1] < limits[1])
    both = np.stack(shared)[:, within]
    chosen = np.unique(np.linspace(0, both.shape[1] - 1, BASIS_TOKENS).astype(np.int64))
    return both[:, chosen] if both.shape[1] else both


def _rows(module: torch.nn.Module) -> int:
    return int(module.config.get_text_config().vocab_size)  # type: ignore[union-attr,operator]
