"""The same numbers by the plainest means: transformers, PEFT and PyTorch hooks, one text at a time.

Nothing here pads, caches, batches or shares weights: it is slow and easy to believe.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


class PlainModel:
    """One side of a pair, loaded by itself; ``layers`` is the dotted path of its decoder layers."""

    def __init__(self, folder: Path, layers: str, adapter: Path | None = None) -> None:
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self._layers = model.get_submodule(layers)
        self.model: Any = model
        if adapter is not None:
            self.model = PeftModel.from_pretrained(model, str(adapter))
        self.model.eval()

    def run(self, ids: Sequence[int]) -> Any:
        """The model's output for one text, with every hidden state."""
        with torch.no_grad():
            row = torch.tensor([list(ids)])
            return self.model(input_ids=row, output_hidden_states=True, use_cache=False)

    def residuals(self, ids: Sequence[int]) -> np.ndarray:
        """Outputs of every layer [layers, tokens, width], as hooks see them."""
        seen: list[torch.Tensor] = []
        hooks = [
            layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output[0]))
            for layer in self._layers
        ]
        try:
            self.run(ids)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack(seen).numpy()

    def log_probs(self, ids: Sequence[int]) -> np.ndarray:
        """Next-token log-probabilities [tokens, embedding rows]."""
        logits: torch.Tensor = self.run(ids).logits[0]
        return torch.log_softmax(logits.float(), dim=-1).numpy()

    @contextmanager
    def adding(self, layer: int, vector: np.ndarray) -> Iterator[None]:
        """Within: ``vector`` [width] is added to every token's residual at ``layer``."""
        added = torch.as_tensor(vector)
        hook = self._layers[layer].register_forward_hook(
            lambda _module, _inputs, output: output + added
        )
        try:
            yield
        finally:
            hook.remove()

    @contextmanager
    def patching_last(self, layer: int, vector: np.ndarray) -> Iterator[None]:
        """Within: the last token's residual at ``layer`` is ``vector`` [width]."""

        def patch(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
            output = output.clone()
            output[:, -1] = torch.as_tensor(vector)
            return output

        hook = self._layers[layer].register_forward_hook(patch)
        try:
            yield
        finally:
            hook.remove()

    @contextmanager
    def changing_component(
        self, layer: int, vector: np.ndarray, put: np.ndarray | None, tokens: Sequence[int]
    ) -> Iterator[None]:
        """Within: at ``tokens`` the part along ``vector`` is that of ``put`` [tokens, width], or 0."""
        unit = torch.as_tensor(vector / np.linalg.norm(vector), dtype=torch.float32)

        def change(_module: Any, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
            output = output.clone()
            for token in tokens:
                wanted = 0.0 if put is None else float(torch.as_tensor(put[token]) @ unit)
                own = float(output[0, token] @ unit)
                output[0, token] += (wanted - own) * unit
            return output

        hook = self._layers[layer].register_forward_hook(change)
        try:
            yield
        finally:
            hook.remove()

    def greedy(
        self, ids: Sequence[int], max_new_tokens: int, ends: Sequence[int], n_tokens: int
    ) -> list[int]:
        """transformers' own greedy generation, cut before the token that ends the text.

        Rows of the embeddings past ``n_tokens`` are ruled out.
        """
        row = torch.tensor([list(ids)])
        rows = self.model.get_output_embeddings().weight.shape[0]
        with torch.no_grad():
            out = self.model.generate(
                input_ids=row,
                attention_mask=torch.ones_like(row),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                eos_token_id=list(ends),
                pad_token_id=ends[0],
                suppress_tokens=list(range(n_tokens, rows)),
            )
        new: list[int] = out[0, len(ids) :].tolist()
        cut = next((place for place, token in enumerate(new) if token in ends), len(new))
        return new[:cut]
