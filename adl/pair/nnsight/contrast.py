"""Logits amplified by what parts two models: the other side runs along with every token.

Source of the plausibility cut: Li et al. 2023, "Contrastive Decoding" (arXiv 2210.15097), section 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor

from adl.errors import NotAvailable
from adl.pair.nnsight.runs import SideRuns, distance
from adl.pair.nnsight.structure import NAMES_OF_THE_CACHE
from adl.records import PLAUSIBLE, GenerationRequest
from adl.text.token_batches import left_padded


class AmplifiedLogits(LogitsProcessor):
    """log p + gamma (log p - log p of the other side), over the side's own plausible tokens.

    Rows whose ``contrast`` gamma is 0 stay as they are. A row that is ``shuffled`` gets the
    differences of its plausible tokens in an order drawn from its seed: a null of the same size.
    """

    def __init__(
        self,
        own: SideRuns,
        other: SideRuns,
        requests: Sequence[GenerationRequest],
        max_new_tokens: int,
    ) -> None:
        self._own, self._other = own, other
        self._checked_at = {1, max_new_tokens // 2, max_new_tokens - 1}
        self._prompts = [request.contrast_ids or request.prompt_ids for request in requests]
        self._gammas = torch.tensor([request.contrast for request in requests])
        self._orders = [
            torch.Generator().manual_seed(request.seed) if request.shuffled else None
            for request in requests
        ]
        self._begun = max(len(request.prompt_ids) for request in requests)
        self._cache: Any = None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> Any:
        """Amplify ``scores`` [rows, V]; ``input_ids`` [rows, tokens] are the side's own."""
        written = input_ids[:, self._begun :]
        self._other.loaded.use()
        try:
            other = self._next_logits(written)
            if written.shape[1] in self._checked_at:
                self._check(written, other)
        finally:
            self._own.loaded.use()
        own = torch.log_softmax(scores.float(), dim=-1)
        # The rows of one side may be padded: no token is there, and none of it is written.
        width = min(own.shape[-1], other.shape[-1])
        compared = torch.log_softmax(other.float(), dim=-1).to(own.device)[:, :width]
        difference = torch.zeros_like(own)
        difference[:, :width] = own[:, :width] - compared
        gammas = self._gammas.to(own.device)[:, None]
        implausible = own < own.amax(-1, keepdim=True) + np.log(PLAUSIBLE)
        implausible[:, width:] = True
        for row, order in enumerate(self._orders):
            if order is not None:
                places = (~implausible[row]).nonzero()[:, 0]
                places_of = torch.randperm(len(places), generator=order).to(places.device)
                difference[row, places] = difference[row, places[places_of]]
        amplified = (own + gammas * difference).masked_fill(implausible, -torch.inf)
        return torch.where(gammas == 0, scores.float(), amplified)

    def _next_logits(self, written: torch.Tensor) -> torch.Tensor:
        """Logits [rows, V] of the other side after its own prompts and what was written."""
        runs = self._other
        prompts = left_padded(self._prompts)
        ids, mask = torch.as_tensor(prompts.ids), torch.as_tensor(prompts.mask).long()
        ids = torch.cat([ids.to(runs.device), written.to(runs.device)], dim=1)
        ones = torch.ones(written.shape, dtype=torch.long)
        mask = torch.cat([mask, ones], dim=1).to(runs.device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        name = runs.structure.cache_name
        inputs: dict[str, Any] = {"use_cache": name is not None}
        if not bool(mask.all()):
            inputs["attention_mask"] = mask
        if self._cache is not None and name is not None:
            ids, positions = ids[:, -1:], positions[:, -1:]
            inputs |= {name: self._cache, "attention_mask": mask}
        inputs |= {"input_ids": ids}
        if "attention_mask" in inputs:
            inputs["position_ids"] = positions
        output = runs.loaded.module(**runs.structure.taken(inputs))
        if name is not None:
            self._cache = next(
                (output[known] for known in NAMES_OF_THE_CACHE if output.get(known) is not None),
                None,
            )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _check(self, written: torch.Tensor, logits: torch.Tensor) -> None:
        """Compare two rows of ``logits`` with a run of the whole text alone, without a cache.

        They are the rows of the longest and the shortest prompt: one is the first to leave a window,
        the other is padded most. Done once for each length. Raises ``NotAvailable``.
        """
        runs = self._other
        by_length = sorted(range(len(self._prompts)), key=lambda row: len(self._prompts[row]))
        length = len(self._prompts[by_length[-1]]) + written.shape[1]
        if length <= runs.contrasted_up_to:
            return
        for row in {by_length[0], by_length[-1]}:
            whole = runs.plain_logits((*self._prompts[row], *written[row].tolist()))[-1:]
            figure = distance(logits[row : row + 1], whole)
            if not figure <= runs.structure.tolerance:
                raise NotAvailable(
                    f"amplified logits: not available for this pair: {type(runs.loaded.module).__name__} "
                    f"with its cache does not predict what it predicts of the whole text ({figure:.2g} "
                    f"of the spread, after {written.shape[1]} tokens)",
                    "Use --carrier difference, adapter or rank1.",
                )
        runs.contrasted_up_to = length
