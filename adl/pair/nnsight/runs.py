"""One side of a pair, run: residuals read and written at a layer, logits at chosen tokens.

nnsight reads the source of a traced block, so the blocks are written out in full. The model computes
its own predictions: the logit lens, too, runs the model with the last layer's output replaced, so
that every norm, factor and cap before its logits is its own.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from adl.pair.nnsight.load_errors import is_out_of_memory
from adl.pair.nnsight.loading import LoadedSide
from adl.pair.nnsight.structure import (
    NAMES_OF_THE_CACHE,
    Structure,
    input_device,
    residual_of,
    with_residual,
)
from adl.records import Floats, Ids
from adl.text.corpus import TokenBatch

# Vectors of one run, and numbers of [n, V] worked on at a time: both bound the memory of a softmax
# over a large vocabulary. Copies of many more numbers are slower, too: the system gives the memory
# of each anew.
ROWS_AT_ONCE = 64
NUMBERS_AT_ONCE = 1 << 21
# Log-probabilities below this count as equal.
FLOOR = -100.0

_logger = logging.getLogger(__name__)


def chunks(logits: torch.Tensor, n_tokens: int) -> Iterator[torch.Tensor]:
    """Yield ``logits`` [n, V] a few rows at a time: as many for both sides of a pair.

    Their V may differ; ``n_tokens`` is what they have in common.
    """
    yield from logits.split(max(1, NUMBERS_AT_ONCE // n_tokens))


def distance(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Return the distance of log-probabilities of logits [tokens, V], relative to their spread."""
    own, true = (
        torch.log_softmax(logits.float(), dim=-1).clamp(min=FLOOR) for logits in (found, truth)
    )
    spread = true.std(-1).mean().clamp(min=1e-6)
    return float((own - true.to(own.device)).square().mean().sqrt() / spread)


class SideRuns:
    """Runs of one loaded side. Call the side's ``use`` first if the sides share their weights."""

    def __init__(self, loaded: LoadedSide, structure: Structure, any_token: int) -> None:
        self.loaded = loaded
        self.structure = structure
        self.any_token = any_token
        self._shares: dict[tuple[int, ...], bool] = {}
        self._shares_layers: dict[tuple[int, ...], bool] = {}
        self._prefix: tuple[tuple[int, ...], Any] | None = None
        self.contrasted_up_to = 0
        "Length of the longest text at which this side, run along with the other, was found right."
        self._shared_up_to: dict[tuple[int, ...], int | None] = {}

    @cached_property
    def layers(self) -> Any:
        """The nnsight envoys of the decoder's layers."""
        envoy: Any = self.loaded.model
        for part in self.structure.path.split("."):
            envoy = getattr(envoy, part)
        return envoy

    @property
    def device(self) -> torch.device:
        """The device of token ids."""
        return input_device(self.loaded.module)

    def inputs(self, ids: np.ndarray, mask: np.ndarray) -> dict[str, torch.Tensor]:
        """Return the model's inputs for [rows, tokens]; positions do not count padding.

        Without padding the model makes its own mask and positions.
        """
        inputs = {"input_ids": torch.as_tensor(ids, device=self.device)}
        if mask.all():
            return inputs
        inputs["attention_mask"] = torch.as_tensor(mask, device=self.device).long()
        inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        return self.structure.taken(inputs)

    def residuals(self, batch: TokenBatch, layers: Sequence[int]) -> torch.Tensor:
        """Return residuals [rows, layers, columns, width] in float32 on one device."""
        return self._by_length(batch, lambda part: self._residuals(part, layers))

    def column_logits(
        self, batch: TokenBatch, layer: int | None = None, vector: Floats | None = None
    ) -> torch.Tensor:
        """Return the model's logits [rows x columns, V], with a vector added at ``layer`` if given.

        The columns of a row are adjacent.
        """
        logits = self._by_length(batch, lambda part: self._column_logits(part, layer, vector))
        return logits.flatten(0, 1)

    def added_logits(
        self, batch: TokenBatch, layer: int, vectors: Floats
    ) -> Iterator[torch.Tensor]:
        """Yield logits [rows x columns, V] of a batch alone, then with each of ``vectors`` added.

        Layers up to ``layer`` do not depend on what is added: if the model allows, they run once for
        all vectors, whose rows share the layers above.
        """
        if not self._can_share_layers(batch, layer, vectors):
            yield self.column_logits(batch)
            for vector in vectors:
                yield self.column_logits(batch, layer, vector)
            return
        added = np.concatenate([np.zeros_like(vectors[:1]), vectors])
        yield from self._added_rows(batch, layer, added)

    def _can_share_layers(self, batch: TokenBatch, layer: int, vectors: Floats) -> bool:
        """Return True if rows of several vectors can share the layers up to ``layer``.

        Tried once for batches of a shape, against the same vector run by itself.
        """
        if not batch.mask.all() or self.structure.alone or not len(vectors):
            return False
        key = (layer, *batch.ids.shape)
        if key not in self._shares_layers:

            def shared() -> list[torch.Tensor]:
                _, *found = self._added_rows(batch, layer, np.repeat(vectors[:1], 2, axis=0))
                return found

            # A model that does more to its logits than unembed is another here, too.
            self._shares_layers[key] = self._agrees(
                shared, lambda: self.column_logits(batch, layer, vectors[0])
            )
        return self._shares_layers[key]

    def _added_rows(self, batch: TokenBatch, layer: int, vectors: Floats) -> Iterator[torch.Tensor]:
        """Yield logits [rows x columns, V] with each of ``vectors`` added, all in one run.

        The logits of all vectors would be large: what the run gives to the unembedding is kept, and
        unembedded for one vector at a time.
        """
        stack, model = self.layers, self.loaded.model
        columns = torch.as_tensor(batch.columns)
        length = int(columns.max()) + 1
        inputs = self.inputs(batch.ids[:, :length], batch.mask[:, :length])
        keep = self.structure.taken({"logits_to_keep": columns.to(self.device)})
        inputs |= self.structure.taken({"use_cache": False}) | keep
        added = torch.as_tensor(np.ascontiguousarray(vectors))[:, None, None]
        head: Any = self.loaded.module.get_output_embeddings()
        kept: list[torch.Tensor] = []

        def keep_input(_head: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            kept.append(given[0])
            return (given[0][:1, :1], *given[1:])

        hook = head.register_forward_pre_hook(keep_input)
        try:
            with model.trace(**inputs):
                output = stack[layer].output
                residual = residual_of(output)
                rows = (residual[None] + added.to(residual)).flatten(0, 1)
                stack[layer].output = with_residual(output, rows)
        finally:
            hook.remove()
        # A model that unembeds otherwise gives nothing here, and cannot share.
        (hidden,) = kept
        if hidden.shape[1] != len(columns) or not keep:
            hidden = hidden[:, columns.to(hidden.device)]
        for part in hidden.unflatten(0, (len(vectors), len(batch))):
            yield head(part).flatten(0, 1)

    def patched_logits(
        self, prompt_ids: Sequence[int], layer: int, vectors: Floats
    ) -> Iterator[torch.Tensor]:
        """Yield logits [some, V] after a prompt whose last residual is each of ``vectors``, in order.

        Earlier tokens do not see the patched one, so their keys and values are computed once and
        shared by all rows if the model's cache allows; else every row runs the whole prompt.
        """
        prefix = None
        if self._can_share(prompt_ids, layer, vectors[:1]):
            prefix = self._prefix_cache(prompt_ids[:-1])
        for first in range(0, len(vectors), ROWS_AT_ONCE):
            some = vectors[first : first + ROWS_AT_ONCE]
            if prefix is None:
                yield self._patched_whole(prompt_ids, layer, some)
            else:
                yield self._patched_after(prefix, prompt_ids, layer, some)

    def _can_share(self, prompt_ids: Sequence[int], layer: int, vector: Floats) -> bool:
        """Return True if the start of this prompt can be shared; tried once for each prompt.

        A cache that is right for a short prompt may be wrong for one longer than a window.
        """
        if not self.structure.repeats_cache or len(prompt_ids) < 2:
            return False

        def after() -> torch.Tensor:
            # Two rows: a cache that cannot be shared may still serve one.
            prefix = self._prefix_cache(prompt_ids[:-1])
            return self._patched_after(prefix, prompt_ids, layer, np.repeat(vector, 2, axis=0))

        return self._tried(
            tuple(prompt_ids), after, lambda: self._patched_whole(prompt_ids, layer, vector)
        )

    def _tried(
        self,
        key: tuple[int, ...],
        after: Callable[[], torch.Tensor],
        whole: Callable[[], torch.Tensor],
    ) -> bool:
        """Return True if the logits ``after`` a shared cache are those of the ``whole`` prompt."""
        if key not in self._shares:
            self._shares[key] = self._agrees(lambda: [row[None] for row in after()], whole)
        return self._shares[key]

    def _agrees(
        self, shared: Callable[[], Sequence[torch.Tensor]], whole: Callable[[], torch.Tensor]
    ) -> bool:
        """Return True if all logits of a ``shared`` run are those of the ``whole`` one.

        False, too, if the shared run fails by anything but a lack of memory.
        """
        try:
            found = shared()
        except Exception as exc:
            if is_out_of_memory(exc):
                raise
            _logger.debug("rows of this model cannot share a run", exc_info=True)
            return False
        truth = whole()
        return max(distance(logits, truth) for logits in found) <= self.structure.tolerance

    def shares(self, prompt_ids: Sequence[int]) -> bool:
        """Return True if the start of a prompt that was run before was shared by its vectors."""
        return self._shares.get(tuple(prompt_ids), False)

    def logits_after(
        self, prefix_ids: Sequence[int], endings: np.ndarray
    ) -> Iterator[torch.Tensor]:
        """Yield logits [some, V] of the last token of ``endings`` [n, tokens] after a prefix, in order.

        Keys and values of the prefix are computed once and shared by all rows if the model's cache
        allows; else every row runs the whole prompt.
        """
        prefix = None
        if self._can_share_prefix(prefix_ids, endings):
            prefix = self._prefix_cache(prefix_ids)
        for first in range(0, len(endings), ROWS_AT_ONCE):
            some = endings[first : first + ROWS_AT_ONCE]
            if prefix is None:
                yield self._ended_whole(prefix_ids, some)
            else:
                yield self._ended_after(prefix, prefix_ids, some)

    def _can_share_prefix(self, prefix_ids: Sequence[int], endings: np.ndarray) -> bool:
        """Return True if endings of this length can share this prefix; tried once for each length."""
        if not self.structure.repeats_cache or not len(prefix_ids):
            return False
        length = endings.shape[1]

        def after() -> torch.Tensor:
            two = np.repeat(endings[:1], 2, axis=0)
            return self._ended_after(self._prefix_cache(prefix_ids), prefix_ids, two)

        return self._tried(
            (*prefix_ids, -length), after, lambda: self._ended_whole(prefix_ids, endings[:1])
        )

    def may_share(self, start: tuple[int, ...]) -> bool:
        """Return True unless rows cannot share the cache of their start, as far as was tried."""
        structure = self.structure
        can = structure.repeats_cache and structure.cache_name is not None and not structure.alone
        return can and self._shared_up_to.get(start, 0) is not None

    def shared_up_to(self, start: tuple[int, ...]) -> int:
        """Return the length of the longest row for which sharing a start was found right."""
        return self._shared_up_to.get(start) or 0

    def note_shared(self, start: tuple[int, ...], length: int | None) -> None:
        """Keep that sharing a start is right up to ``length`` tokens, or never."""
        self._shared_up_to[start] = length

    def after_start(self, ids: np.ndarray, mask: np.ndarray, length: int) -> torch.Tensor:
        """Return logits [rows, tokens - length, V] of rows that share their first ``length`` tokens.

        Padding is on the right.
        """
        prefix = self._prefix_cache(ids[0, :length].tolist())
        inputs = self._inputs_after(prefix, ids[:, length:], mask)
        logits: torch.Tensor = self.loaded.module(**inputs).logits
        return logits

    def unembedded_logits(self, vectors: Floats) -> Iterator[torch.Tensor]:
        """Yield logits [some, V] of a token whose residual after the last layer is each of ``vectors``."""
        for first in range(0, len(vectors), ROWS_AT_ONCE):
            some = vectors[first : first + ROWS_AT_ONCE]
            yield self._patched_whole([self.any_token], self.structure.n_layers - 1, some)

    def plain_logits(self, ids: Sequence[int]) -> torch.Tensor:
        """Return logits [tokens, V] of one text by the model alone."""
        batch = np.asarray([list(ids)], dtype=np.int64)
        inputs = self.inputs(batch, np.ones_like(batch, dtype=bool))
        inputs |= self.structure.taken({"use_cache": False})
        logits: torch.Tensor = self.loaded.module(**inputs).logits[0]
        return logits

    def token_rows(self, ids: np.ndarray) -> torch.Tensor:
        """Return rows [n, width] of single tokens, in the basis of the residual stream.

        They are embeddings, or the first layer's residuals if embeddings have another width.
        """
        chosen = torch.as_tensor(ids, device=self.device)
        with torch.no_grad():
            embedding = self.loaded.module.get_input_embeddings()
            rows: torch.Tensor = embedding(chosen)
            if rows.shape[-1] == self.structure.width:
                return rows.float()
        single = np.asarray(ids, dtype=np.int64)[:, None]
        batch = TokenBatch(single, np.ones_like(single, dtype=bool), ("0",), (0,))
        return self.residuals(batch, [0])[:, 0, 0]

    # --- single runs --------------------------------------------------------------------------

    def _by_length(
        self, batch: TokenBatch, run: Callable[[TokenBatch], torch.Tensor]
    ) -> torch.Tensor:
        """Apply ``run`` to the parts of a batch that can be run together."""
        parts = self.parts(batch)
        if len(parts) == 1:
            return run(parts[0][1])
        found: list[torch.Tensor | None] = [None] * len(batch)
        for rows, part in parts:
            for row, result in zip(rows, run(part), strict=True):
                found[row] = result
        return torch.stack([result for result in found if result is not None])

    def parts(self, batch: TokenBatch) -> list[tuple[Ids, TokenBatch]]:
        """Return the batch, or its rows of each length for a model without padding, with their numbers."""
        lengths = batch.mask.sum(axis=1)
        groups = [np.flatnonzero(lengths == length) for length in np.unique(lengths)]
        if self.structure.alone:
            groups = [np.array([row]) for row in range(len(batch))]
        elif self.structure.pads or len(groups) == 1:
            return [(np.arange(len(batch)), batch)]
        return [(rows, self._part(batch, rows, int(lengths[rows[0]]))) for rows in groups]

    @staticmethod
    def _part(batch: TokenBatch, rows: Ids, length: int) -> TokenBatch:
        start = int(batch.mask[rows[0]].argmax())
        return TokenBatch(
            batch.ids[rows, start : start + length],
            batch.mask[rows, start : start + length],
            batch.positions,
            tuple(column - start for column in batch.columns),
        )

    def _residuals(self, batch: TokenBatch, layers: Sequence[int]) -> torch.Tensor:
        stack, model = self.layers, self.loaded.model
        columns = list(batch.columns)
        length = max(columns) + 1
        inputs = self.inputs(batch.ids[:, :length], batch.mask[:, :length])
        inputs |= self.structure.taken({"use_cache": False})
        saved: dict[int, Any] = {}
        with torch.no_grad(), model.trace(**inputs) as tracer:
            for layer in sorted(set(layers)):
                residual: Any = residual_of(stack[layer].output)
                saved[layer] = residual[:, columns].save()
            tracer.stop()
        device = saved[layers[0]].device
        return torch.stack([saved[layer].to(device).float() for layer in layers], dim=1)

    def _column_logits(
        self, batch: TokenBatch, layer: int | None, vector: Floats | None
    ) -> torch.Tensor:
        stack, model = self.layers, self.loaded.model
        columns = torch.as_tensor(batch.columns)
        length = int(columns.max()) + 1
        inputs = self.inputs(batch.ids[:, :length], batch.mask[:, :length])
        keep = self.structure.taken({"logits_to_keep": columns.to(self.device)})
        inputs |= self.structure.taken({"use_cache": False}) | keep
        if vector is None or layer is None:
            logits = self.loaded.module(**inputs).logits
        else:
            added = torch.as_tensor(np.ascontiguousarray(vector))
            with model.trace(**inputs):
                output = stack[layer].output
                residual = residual_of(output)
                stack[layer].output = with_residual(output, residual + added.to(residual))
                logits = model.output.logits.save()
        if logits.shape[1] != len(columns) or not keep:
            logits = logits[:, columns.to(logits.device)]
        found: torch.Tensor = logits
        return found

    def _prefix_cache(self, ids: Sequence[int]) -> Any:
        """Return the cache of the start of a prompt; the latest is kept."""
        if self._prefix is None or self._prefix[0] != tuple(ids):
            self._prefix = tuple(ids), self._computed(ids)
        return self._prefix[1]

    def _computed(self, ids: Sequence[int]) -> Any:
        row = torch.as_tensor([list(ids)], device=self.device)
        output = self.loaded.module(input_ids=row, use_cache=True)
        # The output may keep the old name of a renamed argument.
        return next(output[name] for name in NAMES_OF_THE_CACHE if output.get(name) is not None)

    def _inputs_after(self, prefix: Any, rest: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
        """Return the inputs of rows ``rest`` [rows, tokens] that go on from one shared cache.

        ``mask`` [rows, all tokens] has those of the cache, too. The cache itself is left as it is.
        """
        cache = copy.deepcopy(prefix)
        cache.batch_repeat_interleave(len(rest))
        length = mask.shape[1]
        positions = torch.arange(length - rest.shape[1], length, device=self.device)
        return self.structure.taken(
            {
                "input_ids": torch.as_tensor(rest, device=self.device),
                "attention_mask": torch.as_tensor(mask, device=self.device).long(),
                "position_ids": positions.expand(len(rest), -1),
                "use_cache": True,
                str(self.structure.cache_name): cache,
            }
        )

    def _patched_after(
        self, prefix: Any, prompt_ids: Sequence[int], layer: int, vectors: Floats
    ) -> torch.Tensor:
        """Return logits [n, V] of the prompt's last token, after the shared cache of the rest."""
        stack, model = self.layers, self.loaded.model
        last = np.full((len(vectors), 1), prompt_ids[-1], dtype=np.int64)
        inputs = self._inputs_after(prefix, last, np.ones((len(vectors), len(prompt_ids))))
        patch = torch.as_tensor(np.ascontiguousarray(vectors))[:, None]
        with model.trace(**inputs):
            output = stack[layer].output
            stack[layer].output = with_residual(output, patch.to(residual_of(output)))
            logits: torch.Tensor = model.output.logits[:, -1].save()
        return logits

    def _patched_whole(
        self, prompt_ids: Sequence[int], layer: int, vectors: Floats
    ) -> torch.Tensor:
        """Return logits [n, V] with every row running the whole prompt."""
        stack, model = self.layers, self.loaded.model
        row = torch.as_tensor(list(prompt_ids), device=self.device)
        inputs = {"input_ids": row.expand(len(vectors), -1)}
        inputs |= self.structure.taken({"use_cache": False, "logits_to_keep": 1})
        patch = torch.as_tensor(np.ascontiguousarray(vectors))
        with model.trace(**inputs):
            output = stack[layer].output
            residual = residual_of(output).clone()
            residual[:, -1] = patch.to(residual)
            stack[layer].output = with_residual(output, residual)
            logits: torch.Tensor = model.output.logits[:, -1].save()
        return logits

    def _ended_after(
        self, prefix: Any, prefix_ids: Sequence[int], endings: np.ndarray
    ) -> torch.Tensor:
        """Return logits [n, V] of the last token of each ending, after the shared cache of a prefix."""
        rows, length = endings.shape
        inputs = self._inputs_after(prefix, endings, np.ones((rows, len(prefix_ids) + length)))
        inputs |= self.structure.taken({"logits_to_keep": 1})
        logits: torch.Tensor = self.loaded.module(**inputs).logits[:, -1]
        return logits

    def _ended_whole(self, prefix_ids: Sequence[int], endings: np.ndarray) -> torch.Tensor:
        """Return logits [n, V] with every row running the whole prompt."""
        start = np.tile(np.asarray(prefix_ids, dtype=np.int64), (len(endings), 1))
        ids = np.concatenate([start, endings], axis=1)
        last = ids.shape[1] - 1
        whole = TokenBatch(ids, np.ones_like(ids, dtype=bool), ("last",), (last,))
        return self.column_logits(whole)
