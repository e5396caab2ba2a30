"""A model pair run through nnsight: the one place where numpy becomes torch and back.

    NnsightPair -> nnsight_loading      checkpoints, adapters, hashes
                -> nnsight_text         tokenizers, templates, what the sides share
                -> nnsight_generation   seeded, streamed, stoppable decoding
                -> nnsight_causal       losses of texts, with components of residuals changed
                -> nnsight traces here  residuals read and written at a layer's output

nnsight reads the source of a traced block, so the blocks stand here in full and are not built.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch

from adl.chat_templates import open_chat
from adl.corpus import TokenBatch
from adl.errors import DeviceOutOfMemory, PairError, SiteError, first_line
from adl.load_errors import is_out_of_memory
from adl.nnsight_causal import changed_losses, plain_losses, residuals_at, whitening
from adl.nnsight_generation import end_token_ids, generate_batch
from adl.nnsight_loading import (
    LoadedPair,
    LoadedSide,
    load_pair,
)
from adl.nnsight_text import (
    TokenizerFacts,
    read_tokenizer,
    shared_ids,
    token_ends,
)
from adl.pair import (
    BosFacts,
    ChatPrompt,
    ComponentChange,
    Message,
    ResidualSums,
    ScoredBatch,
    ShiftSums,
    ShouldStop,
    Thinking,
    never_stop,
)
from adl.records import (
    SIDES,
    Floats,
    GeneratedText,
    GenerationPlan,
    GenerationRequest,
    Ids,
    PairProvenance,
    PairSpec,
    Side,
    assert_shape,
)
from adl.weight_hashes import FileHashes

# Rows of [n, V] worked on at a time: bounds the memory of a softmax over a large vocabulary.
SOFTMAX_ROWS = 64


class NnsightPair:
    """A base and a finetuned model loaded with transformers and run under nnsight."""

    def __init__(self, loaded: LoadedPair) -> None:
        self._loaded = loaded
        self._text: dict[Side, TokenizerFacts] = {
            side: read_tokenizer(loaded.side(side).tokenizer) for side in SIDES
        }
        self._ends = {side: end_token_ids(loaded.side(side)) for side in SIDES}
        self._whitening: dict[Side, tuple[torch.Tensor, torch.Tensor]] = {}

    @classmethod
    def load(cls, spec: PairSpec, hashes: FileHashes | None = None) -> NnsightPair:
        """Load the pair ``spec`` asks for. Raises ``PairError`` and ``DeviceOutOfMemory``.

        ``hashes`` keeps the hashes of the files that are read.
        """
        return cls(load_pair(spec, hashes))

    @property
    def provenance(self) -> PairProvenance:
        """What was loaded, on what, with which versions."""
        return self._loaded.provenance

    def memory(self) -> dict[str, int]:
        """Bytes of weights (shared ones once) and, per accelerator, bytes allocated by torch."""
        modules = {id(self._loaded.side(side).module): side for side in SIDES}
        used = {
            "weights": sum(
                self._loaded.side(side).module.get_memory_footprint() for side in modules.values()
            )
        }
        for index in range(torch.cuda.device_count()):
            used[f"cuda:{index}"] = torch.cuda.memory_allocated(index)
        return used

    # --- text ---------------------------------------------------------------------------------

    def tokenise(self, side: Side, text: str) -> list[int]:
        """Plain text to ids, with no special tokens added."""
        return list(self._text[side].tokenizer.encode(text, add_special_tokens=False))

    def token_ends(self, side: Side, text: str) -> list[int]:
        """The character of ``text`` after each token of :meth:`tokenise`; never falls."""
        return token_ends(self._text[side].tokenizer, text)

    def decode(self, side: Side, ids: Sequence[int]) -> str:
        """Ids to text, special tokens written out."""
        decoded = self._text[side].tokenizer.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return str(decoded)

    def bos(self, side: Side) -> BosFacts:
        """How the side begins a text."""
        return self._text[side].bos

    def chat(
        self,
        side: Side,
        messages: Sequence[Message],
        *,
        prefill: str = "",
        thinking: Thinking = "auto",
    ) -> ChatPrompt:
        """A chat through the side's template, up to the start of the assistant's turn.

        A side without a template of its own takes the other's, or else plain ``User:`` and
        ``Assistant:`` lines, which begin as plain text does. ``prefill`` begins the assistant's
        turn; ``start`` is before it.
        """
        other: Side = "finetuned" if side == "base" else "base"
        tokenizers = [self._text[one].tokenizer for one in (side, other)]
        opening = open_chat(tokenizers, messages, prefill=prefill, thinking=thinking)
        begin = list if opening.templated else self._text[side].bos.begun
        start = len(begin(self.tokenise(side, opening.text)))
        ids = begin(self.tokenise(side, opening.text + prefill))
        return ChatPrompt(tuple(ids), start, opening.notes)

    def token_texts(self, side: Side) -> Sequence[str]:
        """The text of every token of the side's vocabulary, spaces and byte fragments kept."""
        return self._text[side].token_texts

    def shared_vocabulary(self) -> tuple[Ids, Ids] | None:
        """Ids of the tokens both sides have ([n] base, [n] finetuned); None: the same vocabulary."""
        return self._shared

    @cached_property
    def _shared(self) -> tuple[Ids, Ids] | None:
        return shared_ids(self._text["base"], self._text["finetuned"])

    # --- reading ------------------------------------------------------------------------------

    def residual_sums(
        self, base: TokenBatch, finetuned: TokenBatch, layers: Sequence[int], groups: Ids
    ) -> ResidualSums:
        """Run both sides on the same texts and sum their residuals; see ``ModelPair``."""
        assert_shape("groups", groups, [base.ids.shape[0]])
        self._check_layers(layers)
        with self._device_errors():
            one = self._residuals("base", base, layers)
            other = self._residuals("finetuned", finetuned, layers).to(one.device)
            change = other - one
            members = torch.as_tensor(groups, device=one.device)
            stacked = {
                "base": one,
                "finetuned": other,
                "base_norm": one.norm(dim=-1),
                "finetuned_norm": other.norm(dim=-1),
                "squared_difference": change.square().sum(dim=-1),
            }
            n_groups = int(groups.max()) + 1
            sums = {
                name: torch.stack([rows[members == group].sum(0) for group in range(n_groups)])
                for name, rows in stacked.items()
            }
        count = np.bincount(groups, minlength=n_groups).astype(np.int64)
        return ResidualSums(
            count=count, **{name: rows.cpu().double().numpy() for name, rows in sums.items()}
        )

    def unembed(self, side: Side, vectors: Floats) -> Floats:
        """Final norm and unembedding applied to ``vectors`` [n, width]: log-probabilities [n, V]."""
        assert_shape("vectors", vectors, [None, self.provenance.width])
        loaded = self._use(side)
        head = loaded.module.get_output_embeddings()
        norm = _final_norm(loaded)
        config = loaded.module.config.get_text_config()
        with self._device_errors(), torch.no_grad():
            rows = _tensor(vectors, head.weight)
            norm_weight = next(norm.parameters(), head.weight)
            logits = head(norm(rows.to(norm_weight.device)).to(head.weight)).float()
            logits = logits * _logit_factor(config)
            cap = getattr(config, "final_logit_softcapping", None)
            if cap:
                logits = torch.tanh(logits / cap) * cap
            return self._log_probs(side, logits).cpu().numpy()

    def patched_log_probs(
        self, side: Side, prompt_ids: Sequence[int], layer: int, vectors: Floats
    ) -> Floats:
        """Log-probabilities [n, V] after a prompt whose last residual is replaced.

        What precedes the patched token cannot see it, so its keys and values are computed once and
        shared by all n rows, and only one token per row is run.
        """
        assert_shape("vectors", vectors, [None, self.provenance.width])
        self._check_layers([layer])
        out = np.empty((len(vectors), len(self._text[side].token_texts)), dtype=np.float32)
        with self._device_errors(), torch.no_grad():
            loaded = self._use(side)
            prefix = self._prefix_cache(loaded, prompt_ids[:-1])
            for first in range(0, len(vectors), SOFTMAX_ROWS):
                chunk = slice(first, first + SOFTMAX_ROWS)
                logits = self._patched_logits(loaded, prompt_ids, prefix, layer, vectors[chunk])
                out[chunk] = self._log_probs(side, logits).cpu().numpy()
        return out

    def steering_shift(
        self, side: Side, contexts: TokenBatch, layer: int, vectors: Floats
    ) -> ShiftSums:
        """Next-token shift at the contexts' columns when each vector is added; see ``ModelPair``."""
        assert_shape("vectors", vectors, [None, self.provenance.width])
        self._check_layers([layer])
        with self._device_errors(), torch.no_grad():
            loaded = self._use(side)
            before = self._log_probs(side, self._column_logits(loaded, contexts, layer, None))
            changes = [
                _change_sums(
                    before,
                    self._log_probs(side, self._column_logits(loaded, contexts, layer, vector)),
                )
                for vector in vectors
            ]
            return _shift_sums(before, changes)

    def output_shift(self, base: TokenBatch, finetuned: TokenBatch) -> ShiftSums:
        """Next-token shift from base to finetuned at the contexts' columns; see ``ModelPair``."""
        with self._device_errors(), torch.no_grad():
            found = {}
            for side, contexts in zip(SIDES, (base, finetuned), strict=True):
                logits = self._column_logits(self._use(side), contexts, None, None)
                found[side] = self._shared_log_probs(side, logits)
            before = found["base"]
            after = found["finetuned"].to(before.device)
            return _shift_sums(before, [_change_sums(before, after)])

    def token_losses(self, side: Side, texts: ScoredBatch) -> Floats:
        """-log p in nats of each text's scored tokens, summed; see ``ModelPair``."""
        with self._device_errors(), torch.no_grad():
            return plain_losses(self._use(side), texts)

    def component_losses(
        self,
        base: ScoredBatch,
        finetuned: ScoredBatch,
        layer: int,
        vectors: Floats,
        change: ComponentChange,
    ) -> Floats:
        """The finetuned side's losses with a component of its residuals changed."""
        assert_shape("vectors", vectors, [None, self.provenance.width])
        self._check_layers([layer])
        with self._device_errors(), torch.no_grad():
            put: torch.Tensor | None = None
            if change == "replace":
                used = self._use("base")
                put = residuals_at(used, _layers(used), layer, base)
            used = self._use("finetuned")
            return changed_losses(used, _layers(used), layer, finetuned, vectors, put)

    def token_directions(self, side: Side, ids: Sequence[int]) -> Floats:
        """Unit rows of the unembedding, whitened over the vocabulary; see ``ModelPair``."""
        with self._device_errors(), torch.no_grad():
            head = self._use(side).module.get_output_embeddings().weight
            if side not in self._whitening:
                self._whitening[side] = whitening(head[: len(self._text[side].token_texts)])
            mean, whiten = self._whitening[side]
            rows = head[torch.as_tensor(list(ids), device=head.device)].float()
            return torch.nn.functional.normalize((rows - mean) @ whiten, dim=-1).cpu().numpy()

    # --- generating ---------------------------------------------------------------------------

    def generate(
        self,
        plan: GenerationPlan,
        requests: Sequence[GenerationRequest],
        *,
        on_text: Callable[[dict[int, str]], None] | None = None,
        should_stop: ShouldStop = never_stop,
    ) -> list[GeneratedText]:
        """Generate for every request in one batch; see ``ModelPair``."""
        if plan.layer is not None:
            self._check_layers([plan.layer])
        loaded = self._use(plan.side)
        with self._device_errors():
            return generate_batch(
                loaded,
                _layers(loaded),
                plan,
                requests,
                ends=self._ends[plan.side],
                decode=lambda ids: self.decode(plan.side, ids),
                on_text=on_text,
                should_stop=should_stop,
            )

    def continuation_kl(
        self, base_ids: Sequence[int], finetuned_ids: Sequence[int], n_continuation: int
    ) -> Floats:
        """KL(finetuned || base) in nats before each of the last ``n_continuation`` tokens."""
        if n_continuation == 0:
            return np.zeros(0, dtype=np.float32)
        with self._device_errors(), torch.no_grad():
            found = {}
            for side, ids in zip(SIDES, (base_ids, finetuned_ids), strict=True):
                row = np.asarray([ids], dtype=np.int64)
                columns = range(len(ids) - n_continuation - 1, len(ids) - 1)
                batch = TokenBatch(
                    ids=row,
                    mask=np.ones_like(row, dtype=bool),
                    positions=tuple(map(str, columns)),
                    columns=tuple(columns),
                )
                found[side] = self._column_logits(self._use(side), batch, None, None)
            out = []
            for first in range(0, n_continuation, SOFTMAX_ROWS):
                rows = slice(first, first + SOFTMAX_ROWS)
                base = self._shared_log_probs("base", found["base"][rows])
                finetuned = self._shared_log_probs("finetuned", found["finetuned"][rows])
                finetuned = finetuned.to(base.device)
                out.append((finetuned.exp() * (finetuned - base)).sum(-1).clamp(min=0))
            return torch.cat(out).cpu().numpy()

    # --- running ------------------------------------------------------------------------------

    def _use(self, side: Side) -> LoadedSide:
        loaded = self._loaded.side(side)
        loaded.use()
        return loaded

    def _residuals(self, side: Side, batch: TokenBatch, layers: Sequence[int]) -> torch.Tensor:
        """[rows, layers, columns, width] float32 residuals on the side's device."""
        loaded = self._use(side)
        stack, model = _layers(loaded), loaded.model
        columns = list(batch.columns)
        inputs = _inputs(loaded, batch, max(columns) + 1)
        saved: dict[int, Any] = {}
        with torch.no_grad(), model.trace(**inputs, use_cache=False) as tracer:
            for layer in sorted(set(layers)):
                saved[layer] = stack[layer].output[:, columns].save()
            tracer.stop()
        device = saved[layers[0]].device
        return torch.stack([saved[layer].to(device).float() for layer in layers], dim=1)

    def _column_logits(
        self, loaded: LoadedSide, batch: TokenBatch, layer: int | None, vector: Floats | None
    ) -> torch.Tensor:
        """[rows x columns, embedding rows] float32 logits; rows of one text stand together."""
        stack, model = _layers(loaded), loaded.model
        columns = torch.as_tensor(batch.columns)
        inputs = _inputs(loaded, batch, int(columns.max()) + 1)
        keep = _logits_to_keep(loaded, columns)
        if vector is None or layer is None:
            logits = loaded.module(**inputs, **keep, use_cache=False).logits
        else:
            added = _tensor(vector, next(loaded.module.parameters()))
            with model.trace(**inputs, **keep, use_cache=False):
                residual = stack[layer].output
                stack[layer].output = residual + added.to(residual)
                logits = model.output.logits.save()
        if not keep:
            logits = logits[:, columns.to(logits.device)]
        rows: torch.Tensor = logits.flatten(0, 1).float()
        return rows

    def _prefix_cache(self, loaded: LoadedSide, ids: Sequence[int]) -> Any:
        if not ids:
            return None
        device = next(loaded.module.parameters()).device
        row = torch.as_tensor([list(ids)], device=device)
        return loaded.module(input_ids=row, use_cache=True).past_key_values

    def _patched_logits(
        self,
        loaded: LoadedSide,
        prompt_ids: Sequence[int],
        prefix: Any,
        layer: int,
        vectors: Floats,
    ) -> torch.Tensor:
        stack, model = _layers(loaded), loaded.model
        rows, length = len(vectors), len(prompt_ids)
        parameter = next(loaded.module.parameters())
        cache = None
        if prefix is not None:
            cache = copy.deepcopy(prefix)
            cache.batch_repeat_interleave(rows)
        inputs = {
            "input_ids": torch.full((rows, 1), prompt_ids[-1], device=parameter.device),
            "attention_mask": torch.ones((rows, length), dtype=torch.long, device=parameter.device),
            "position_ids": torch.full((rows, 1), length - 1, device=parameter.device),
        }
        patch = _tensor(vectors, parameter)[:, None]
        with model.trace(**inputs, past_key_values=cache, use_cache=prefix is not None):
            residual = stack[layer].output
            stack[layer].output = patch.to(residual)
            logits: torch.Tensor = model.output.logits[:, -1].save()
        return logits.float()

    def _log_probs(self, side: Side, logits: torch.Tensor) -> torch.Tensor:
        """Normalised over every row of the unembedding, then cut to the side's tokens."""
        return torch.log_softmax(logits, dim=-1)[:, : len(self._text[side].token_texts)]

    def _shared_log_probs(self, side: Side, logits: torch.Tensor) -> torch.Tensor:
        """Over the tokens both sides have, normalised over those, so that the sides compare."""
        shared = self._shared
        if shared is None:
            return self._log_probs(side, logits)
        ids = torch.as_tensor(shared[SIDES.index(side)], device=logits.device)
        return torch.log_softmax(logits[:, ids], dim=-1)

    def _check_layers(self, layers: Sequence[int]) -> None:
        count = self.provenance.n_layers
        for layer in layers:
            if not 0 <= layer < count:
                raise SiteError(
                    f"layer {layer} is not a layer of this model", f"Use 0 to {count - 1}."
                )

    @contextmanager
    def _device_errors(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as exc:
            if not is_out_of_memory(exc):
                raise
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            raise DeviceOutOfMemory(
                f"the device ran out of memory: {first_line(exc)}",
                "Use a smaller batch or fewer samples, or load with --dtype bfloat16, "
                "--load-in-8bit or --device-map auto.",
            ) from exc


# --- helpers on one loaded side -------------------------------------------------------------------


def _layers(loaded: LoadedSide) -> Any:
    """The envoy of the decoder's layer list: the one ModuleList with a module per layer."""
    count = loaded.module.config.get_text_config().num_hidden_layers
    decoder = loaded.module.get_decoder()
    stack = next(
        child
        for child in decoder.children()
        if isinstance(child, torch.nn.ModuleList) and len(child) == count
    )
    path = next(name for name, module in loaded.module.named_modules() if module is stack)
    envoy: Any = loaded.model
    for part in path.split("."):
        envoy = getattr(envoy, part)
    return envoy


def _final_norm(loaded: LoadedSide) -> torch.nn.Module:
    """The decoder's last direct child that normalises: what stands before the unembedding."""
    norms: list[torch.nn.Module] = [
        child
        for child in loaded.module.get_decoder().children()
        if "norm" in type(child).__name__.lower()
    ]
    if not norms:
        raise PairError(
            f"{type(loaded.module).__name__} has no final norm on its decoder",
            "The logit lens needs one; the other readings do not.",
        )
    return norms[-1]


def _logit_factor(config: Any) -> float:
    """What some architectures multiply (Cohere) or divide (Granite) their logits by."""
    return float(getattr(config, "logit_scale", 1.0) or 1.0) / float(
        getattr(config, "logits_scaling", 1.0) or 1.0
    )


def _inputs(loaded: LoadedSide, batch: TokenBatch, length: int) -> dict[str, torch.Tensor]:
    """The first ``length`` columns of a batch; a padded row's tokens keep their own positions."""
    device = next(loaded.module.parameters()).device
    ids = torch.as_tensor(batch.ids[:, :length], device=device)
    mask = torch.as_tensor(batch.mask[:, :length], device=device).long()
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions}


def _logits_to_keep(loaded: LoadedSide, columns: torch.Tensor) -> dict[str, torch.Tensor]:
    """Ask for the logits of the columns only, where the architecture can leave the rest out."""
    if "logits_to_keep" not in inspect.signature(loaded.module.forward).parameters:
        return {}
    return {"logits_to_keep": columns.to(next(loaded.module.parameters()).device)}


def _tensor(array: Floats, like: torch.Tensor) -> torch.Tensor:
    """On the device of ``like``, in its dtype unless that is no float (quantised weights)."""
    dtype = like.dtype if like.dtype.is_floating_point else torch.float32
    return torch.as_tensor(np.ascontiguousarray(array), device=like.device).to(dtype)


def _summed(rows: torch.Tensor) -> np.ndarray:
    """Sum over rows, as float64 numpy."""
    return rows.sum(0).cpu().double().numpy()


def _change_sums(before: torch.Tensor, after: torch.Tensor) -> tuple[np.ndarray, ...]:
    """Sums over rows [rows, V] of the shift, its square, the probability after, and the KL."""
    shift, prob = after - before, after.exp()
    kl = (prob * shift).sum(-1)
    return _summed(shift), _summed(shift.square_()), _summed(prob), _summed(kl)


def _shift_sums(before: torch.Tensor, changes: Sequence[tuple[np.ndarray, ...]]) -> ShiftSums:
    shift, squared, after, kl = (np.stack(column) for column in zip(*changes, strict=True))
    return ShiftSums(
        count=len(before),
        log_prob_before=_summed(before),
        prob_before=_summed(before.exp()),
        shift=shift,
        squared_shift=squared,
        prob_after=after,
        kl=kl,
    )
