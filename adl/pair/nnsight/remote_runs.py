"""One side of a pair that a service runs: blocks that are sent to it, and functions that they call.

What travels is a block's source, the values that it names, and the functions of this module; what
comes back is what it saves. So a block never names ``self``, reduces before it saves, and saves on
the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessor

from adl.errors import NotAvailable, not_finite
from adl.pair.nnsight.ablation import scored_parts, whitening
from adl.pair.nnsight.loading import LoadedSide
from adl.pair.nnsight.ndif import Service
from adl.pair.nnsight.runs import SideRuns
from adl.pair.nnsight.structure import (
    Probe,
    Structure,
    accepted,
    check_ids,
    layer_lists,
    refuse_by_config,
    refused,
    residual_of,
    with_residual,
)
from adl.pair.protocol import ScoredBatch
from adl.records import Floats, GenerationPlan, GenerationRequest
from adl.text.corpus import TokenBatch
from adl.text.token_batches import left_padded

# Logits of one run at the service.
LOGITS_AT_ONCE = 1 << 27
# What a checkpoint's own generation config might change of the model's distribution.
_NEUTRAL = {
    "do_sample": False,
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "min_length": 0,
    "min_new_tokens": None,
    "bad_words_ids": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "guidance_scale": None,
}


@dataclass(frozen=True)
class RemoteSide(LoadedSide):
    """One side at a service: ``model`` has the modules without their weights."""

    service: Service | None = None

    def use(self) -> None:
        """Do nothing: every request names its adapter."""

    def backend(self) -> Any:
        """Return the backend of one trace."""
        assert self.service is not None
        return self.service.backend(self.model)


@dataclass(frozen=True)
class Generated:
    """Tokens that a service generated [rows, steps], padded after a text's end.

    ``log_probs`` [rows, steps] of them, ``logits`` [rows, steps, V]; each empty unless asked for.
    """

    ids: torch.Tensor
    log_probs: torch.Tensor
    logits: torch.Tensor


# --- functions that run at the service ------------------------------------------------------------


class StepLogits(LogitsProcessor):
    """Keeps of every step that its logits are finite, and what else is asked for."""

    def __init__(self, scored: bool, kept: bool) -> None:
        self.scored, self.kept = scored, kept
        self.finite = True
        self.steps: list[torch.Tensor] = []
        self.log_probs: list[torch.Tensor] = []
        self.last: Any = None

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> Any:
        """Return ``scores`` [rows, V] unchanged; the last token is that of the step before."""
        self.finite = self.finite and bool(torch.isfinite(scores.amax(-1)).all())
        self.note(input_ids)
        if self.scored:
            self.last = scores.clone()
        if self.kept:
            self.steps.append(scores.float().cpu())
        return scores

    def note(self, input_ids: torch.Tensor) -> None:
        """Take log p of the token that was chosen last."""
        if self.last is not None:
            logits = self.last.float()
            own = logits.gather(-1, input_ids[:, -1:].to(logits.device))[:, 0]
            self.log_probs.append((own - logits.logsumexp(-1)).cpu())
            self.last = None

    def found(self, sequences: torch.Tensor, length: int) -> dict[str, torch.Tensor]:
        """Return what was generated after prompts of ``length`` tokens, with what was kept."""
        self.note(sequences)
        nothing = torch.zeros(0)
        return {
            "ids": sequences[:, length:].cpu(),
            "finite": torch.tensor(self.finite),
            "log_probs": torch.stack(self.log_probs, 1) if self.log_probs else nothing,
            "logits": torch.stack(self.steps, 1) if self.steps else nothing,
        }


def shift_sums(logits: torch.Tensor, n_tokens: int) -> dict[str, torch.Tensor]:
    """Return the sums of ``ShiftSums`` of logits [1 + changes, rows, V], the first unchanged."""
    before = torch.log_softmax(logits[0].float(), dim=-1)[:, :n_tokens]
    sums: dict[str, list[torch.Tensor]] = {"shift": [], "prob_after": [], "kl": []}
    for rows in logits[1:]:
        after = torch.log_softmax(rows.float(), dim=-1)[:, :n_tokens]
        shift, prob = after - before, after.exp()
        sums["kl"].append((prob * shift).sum(-1).sum(0))
        sums["shift"].append(shift.sum(0))
        sums["prob_after"].append(prob.sum(0))
    found = {name: torch.stack(parts).cpu() for name, parts in sums.items()}
    found["log_prob_before"] = before.sum(0).cpu()
    found["prob_before"] = before.exp().sum(0).cpu()
    return found


def next_log_probs(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return log p [rows, tokens - 1] of each token after the first, a text's logits at a time."""
    found = []
    for row, row_ids in zip(logits, ids.to(logits.device), strict=True):
        normalised = torch.log_softmax(row[:-1].float(), dim=-1)
        found.append(normalised.gather(-1, row_ids[1:, None])[:, 0].cpu())
    return torch.stack(found)


def at_columns(logits: torch.Tensor, columns: Sequence[int], whole: bool) -> torch.Tensor:
    """Return logits [rows, columns, V] of a run that gave only these columns, or all of them."""
    if whole or logits.shape[1] != len(columns):
        logits = logits[:, columns]
    return logits


def whitened_rows(weight: torch.Tensor, n_tokens: int, ids: torch.Tensor) -> torch.Tensor:
    """Return unit rows [n, width] of an unembedding, whitened over its tokens."""
    mean, whiten = whitening(weight[:n_tokens])
    rows = weight[ids.to(weight.device)].float()
    return torch.nn.functional.normalize((rows - mean) @ whiten, dim=-1)


# --- what asks the service ------------------------------------------------------------------------


def remote_probe(side: RemoteSide) -> tuple[RemoteRuns, Probe]:
    """Run a short text, and return the runs of the side with what they are compared with.

    Raises ``PairError`` for a model whose layers are not found.
    """
    module = side.module
    refuse_by_config(module)
    ids = check_ids(module, side.tokenizer)
    path, layers = next(iter(layer_lists(module).items()))
    names = accepted(module)
    structure = Structure(path, len(layers), 0, names, repeats_cache=False)
    found = RemoteRuns(side, structure, ids[0]).probed(ids)
    outputs = found["outputs"]
    if outputs.dim() != 4 or outputs.shape[1:3] != (1, len(ids)):
        shape = ", ".join(map(str, outputs.shape[1:]))
        raise refused(module, f"hands on [{shape}] and not one residual a token")
    structure = Structure(path, len(layers), int(outputs.shape[-1]), names, repeats_cache=False)
    probe = Probe(
        ids,
        found["logits"],
        list(outputs[:, 0]),
        list(found["inputs"][:, 0]),
        tuple(found["hidden_states"]),
    )
    return RemoteRuns(side, structure, ids[0]), probe


class RemoteRuns(SideRuns):
    """Runs of one side at a service. Its caches stay there, so no prompt's start is shared."""

    loaded: RemoteSide

    @property
    def device(self) -> torch.device:
        """The device of token ids: they are sent from here."""
        return torch.device("cpu")

    def probed(self, ids: Sequence[int]) -> dict[str, Any]:
        """Return residuals before and after every layer, hidden states and logits of one text."""
        stack, model, count = self.layers, self.loaded.model, self.structure.n_layers
        inputs = {"input_ids": torch.tensor([list(ids)]), "output_hidden_states": True}
        inputs |= self.structure.taken({"use_cache": False})
        backend = self.loaded.backend()
        with torch.no_grad(), model.trace(**inputs, backend=backend):
            given, outputs = [], []
            for layer in range(count):
                given.append(stack[layer].input.clone().cpu())
                outputs.append(residual_of(stack[layer].output).clone().cpu())
            output = model.output
            states = getattr(output, "hidden_states", None) or ()
            found = {
                "inputs": torch.stack(given),
                "outputs": torch.stack(outputs),
                "logits": output.logits[0].cpu(),
                "hidden_states": [state[0].cpu() for state in states],
            }.save()  # type: ignore[attr-defined]
        result: dict[str, Any] = found
        return result

    def plain_logits(self, ids: Sequence[int]) -> torch.Tensor:
        """Return logits [tokens, V] of one text by the model alone."""
        return self.column_logits(left_padded([ids], range(len(ids))))

    def token_rows(self, ids: np.ndarray) -> torch.Tensor:
        """Return rows [n, width] of single tokens, in the basis of the residual stream."""
        embedding, model = self._envoy(self.loaded.module.get_input_embeddings()), self.loaded.model
        inputs = {"input_ids": torch.as_tensor(ids)[:, None]}
        backend = self.loaded.backend()
        with torch.no_grad(), model.trace(**inputs, backend=backend) as tracer:
            rows = embedding.output[:, 0].float().cpu().save()
            tracer.stop()
        found: torch.Tensor = rows
        if found.shape[-1] == self.structure.width:
            return found
        single = np.asarray(ids, dtype=np.int64)[:, None]
        batch = TokenBatch(single, np.ones_like(single, dtype=bool), ("0",), (0,))
        return self.residuals(batch, [0])[:, 0, 0]

    def shift_sums(
        self, batch: TokenBatch, layer: int, vectors: Floats, n_tokens: int
    ) -> dict[str, np.ndarray]:
        """Return the sums of ``ShiftSums`` over a batch, summed at the service."""
        total: dict[str, np.ndarray] = {}
        for _, part in self.parts(batch):
            rows = len(part) * len(part.columns) * self.loaded.rows
            at_once = max(1, LOGITS_AT_ONCE // rows - 1)
            found = [
                self._shift_sums(part, layer, vectors[first : first + at_once], n_tokens)
                for first in range(0, len(vectors), at_once)
            ]
            for name in found[0]:
                sums = [each[name].double().numpy() for each in found]
                whole = sums[0] if name.endswith("_before") else np.concatenate(sums)
                total[name] = total[name] + whole if name in total else whole
        return total

    def next_log_probs(self, texts: ScoredBatch) -> Floats:
        """Return log p [texts, tokens] in nats of each scored token; 0 at other tokens."""
        found = np.zeros(texts.ids.shape, dtype=np.float32)
        for rows, part in scored_parts(self, texts):
            found[rows, 1 : part.ids.shape[1]] = self._next_log_probs(part)
        return np.where(texts.scored, found, np.float32(0))

    def components(self, texts: ScoredBatch, layer: int, units: Floats) -> Floats:
        """Return components [texts, tokens, m] of residuals along each of ``units`` [m, width]."""
        found = np.zeros((*texts.ids.shape, len(units)), dtype=np.float32)
        for rows, part in scored_parts(self, texts):
            found[rows, : part.ids.shape[1]] = self._components(part, layer, units)
        return found

    def _components(self, texts: ScoredBatch, layer: int, units: Floats) -> Floats:
        stack, model = self.layers, self.loaded.model
        inputs, along = self._right_padded(texts), torch.as_tensor(units.T.copy())
        backend = self.loaded.backend()
        with torch.no_grad(), model.trace(**inputs, backend=backend) as tracer:
            residual = residual_of(stack[layer].output).float()
            found = (residual @ along.to(residual.device)).cpu().save()  # type: ignore[attr-defined]
            tracer.stop()
        return np.asarray(found.numpy(), dtype=np.float32)

    def changed_losses(self, texts: ScoredBatch, layer: int, unit: Floats, put: Floats) -> Floats:
        """Return losses [texts] with components along ``unit`` changed.

        At changed tokens they become ``put`` [texts, tokens].
        """
        found = []
        for rows, part in scored_parts(self, texts):
            there = put[rows, : part.ids.shape[1]]
            log_probs = self._changed_log_probs(part, layer, unit, there)
            found.append(-np.where(part.scored[:, 1:], log_probs, 0).sum(axis=1))
        return np.concatenate(found).astype(np.float32)

    def token_directions(self, ids: Sequence[int], n_tokens: int) -> Floats:
        """Return unit rows [n, width] of the unembedding, whitened over ``n_tokens`` at the service.

        Raises ``NotAvailable`` for a head that is more than a matrix.
        """
        head_module, model = self.loaded.module.get_output_embeddings(), self.loaded.model
        if type(head_module) is not torch.nn.Linear:
            raise NotAvailable(
                "directions of tokens: not available at NDIF: the head of "
                f"{type(self.loaded.module).__name__} is more than one matrix",
                "Load the pair without --remote.",
            )
        head, chosen = self._envoy(head_module), torch.as_tensor(list(ids))
        inputs = {"input_ids": torch.tensor([[self.any_token]])}
        backend = self.loaded.backend()
        with torch.no_grad(), model.trace(**inputs, backend=backend):
            found = whitened_rows(head.weight, n_tokens, chosen).cpu().save()  # type: ignore[attr-defined]
        return np.asarray(found.numpy(), dtype=np.float32)

    def generated(
        self,
        plan: GenerationPlan,
        requests: Sequence[GenerationRequest],
        ends: frozenset[int],
        processors: Sequence[LogitsProcessor],
        *,
        kept: bool = False,
    ) -> Generated:
        """Generate texts of requests that can be run together. Raises ``NotFinite``."""
        prompts = left_padded([request.prompt_ids for request in requests])
        length = prompts.ids.shape[1]
        steps = StepLogits(plan.scored, kept)
        inputs = {
            "input_ids": torch.as_tensor(prompts.ids),
            "attention_mask": torch.as_tensor(prompts.mask).long(),
        }
        options = _NEUTRAL | {
            "logits_processor": [steps, *processors],
            "max_new_tokens": plan.max_new_tokens,
            "eos_token_id": sorted(ends) or None,
            "pad_token_id": min(ends, default=0),
        }
        added = _added(requests, plan)
        if added is None:
            found = self._generated(inputs, options, steps, length)
        else:
            assert plan.layer is not None
            found = self._generated_steered(inputs, options, steps, length, plan.layer, added)
        if not bool(found["finite"]):
            raise not_finite(f"the {plan.side} side", str(self.loaded.module.dtype))
        return Generated(found["ids"], found["log_probs"], found["logits"])

    # --- single requests ----------------------------------------------------------------------

    def _envoy(self, module: Any) -> Any:
        """Return the nnsight envoy of a module."""
        path = next(path for path, part in self.loaded.module.named_modules() if part is module)
        envoy: Any = self.loaded.model
        for part in path.split("."):
            envoy = getattr(envoy, part)
        return envoy

    def _residuals(self, batch: TokenBatch, layers: Sequence[int]) -> torch.Tensor:
        stack, model = self.layers, self.loaded.model
        columns, wanted = list(batch.columns), sorted(set(layers))
        length = max(columns) + 1
        inputs = self.inputs(batch.ids[:, :length], batch.mask[:, :length])
        inputs |= self.structure.taken({"use_cache": False})
        backend = self.loaded.backend()
        with torch.no_grad(), model.trace(**inputs, backend=backend) as tracer:
            parts = [residual_of(stack[layer].output)[:, columns].cpu() for layer in wanted]
            found = torch.stack(parts, dim=1).save()  # type: ignore[attr-defined]
            tracer.stop()
        residuals: torch.Tensor = found[:, [wanted.index(layer) for layer in layers]].float()
        return residuals

    def _column_logits(
        self, batch: TokenBatch, layer: int | None, vector: Floats | None
    ) -> torch.Tensor:
        if layer is None or vector is None:
            return self._plain_columns(batch)
        rows = np.broadcast_to(vector, (len(batch), len(vector)))
        return self._steered_columns(batch, layer, rows)

    def _columns_inputs(self, batch: TokenBatch) -> tuple[dict[str, Any], list[int], bool]:
        """Return inputs, columns, and True if the model gives the logits of all of them."""
        columns = list(batch.columns)
        length = max(columns) + 1
        inputs = self.inputs(batch.ids[:, :length], batch.mask[:, :length])
        keep = self.structure.taken({"logits_to_keep": torch.tensor(columns)})
        return inputs | self.structure.taken({"use_cache": False}) | keep, columns, not keep

    def _plain_columns(self, batch: TokenBatch) -> torch.Tensor:
        model = self.loaded.model
        inputs, columns, whole = self._columns_inputs(batch)
        backend = self.loaded.backend()
        with torch.no_grad(), model.trace(**inputs, backend=backend):
            logits = at_columns(model.output.logits, columns, whole).cpu().save()  # type: ignore[attr-defined]
        found: torch.Tensor = logits
        return found

    def _steered_columns(self, batch: TokenBatch, layer: int, vectors: Floats) -> torch.Tensor:
        """Return logits [rows, columns, V] with each row's own vector added."""
        stack, model = self.layers, self.loaded.model
        inputs, columns, whole = self._columns_inputs(batch)
        added = torch.tensor(vectors)[:, None]
        backend = self.loaded.backend()
        with torch.no_grad(), model.trace(**inputs, backend=backend):
            output = stack[layer].output
            residual = residual_of(output)
            stack[layer].output = with_residual(output, residual + added.to(residual))
            logits = at_columns(model.output.logits, columns, whole).cpu().save()  # type: ignore[attr-defined]
        found: torch.Tensor = logits
        return found

    def _shift_sums(
        self, batch: TokenBatch, layer: int, vectors: Floats, n_tokens: int
    ) -> dict[str, torch.Tensor]:
        stack, model = self.layers, self.loaded.model
        changes = 1 + len(vectors)
        repeated = TokenBatch(
            np.tile(batch.ids, (changes, 1)),
            np.tile(batch.mask, (changes, 1)),
            batch.positions,
            batch.columns,
        )
        inputs, columns, whole = self._columns_inputs(repeated)
        each = np.concatenate([np.zeros_like(vectors[:1]), vectors])
        added = torch.as_tensor(np.repeat(each, len(batch), axis=0))[:, None]
        backend = self.loaded.backend()
        with torch.no_grad(), model.trace(**inputs, backend=backend):
            output = stack[layer].output
            residual = residual_of(output)
            stack[layer].output = with_residual(output, residual + added.to(residual))
            logits = at_columns(model.output.logits, columns, whole)
            rows = logits.reshape(changes, -1, logits.shape[-1])
            found = shift_sums(rows, n_tokens).save()  # type: ignore[attr-defined]
        sums: dict[str, torch.Tensor] = found
        return sums

    def _patched_whole(
        self, prompt_ids: Sequence[int], layer: int, vectors: Floats
    ) -> torch.Tensor:
        stack, model = self.layers, self.loaded.model
        inputs = {"input_ids": torch.tensor([list(prompt_ids)]).expand(len(vectors), -1)}
        inputs |= self.structure.taken({"use_cache": False, "logits_to_keep": 1})
        patch = torch.as_tensor(np.ascontiguousarray(vectors))
        backend = self.loaded.backend()
        with torch.no_grad(), model.trace(**inputs, backend=backend):
            output = stack[layer].output
            residual = residual_of(output).clone()
            residual[:, -1] = patch.to(residual)
            stack[layer].output = with_residual(output, residual)
            logits = model.output.logits[:, -1].cpu().save()
        found: torch.Tensor = logits
        return found

    def _right_padded(self, texts: ScoredBatch) -> dict[str, Any]:
        inputs = {
            "input_ids": torch.as_tensor(texts.ids),
            "attention_mask": torch.as_tensor(texts.mask).long(),
            "use_cache": False,
        }
        return self.structure.taken(inputs)

    def _next_log_probs(self, texts: ScoredBatch) -> Floats:
        model, inputs, ids = (
            self.loaded.model,
            self._right_padded(texts),
            torch.as_tensor(texts.ids),
        )
        backend = self.loaded.backend()
        with torch.no_grad(), model.trace(**inputs, backend=backend):
            found = next_log_probs(model.output.logits, ids).save()  # type: ignore[attr-defined]
        return np.asarray(found.numpy(), dtype=np.float32)

    def _changed_log_probs(
        self, texts: ScoredBatch, layer: int, unit: Floats, put: Floats
    ) -> Floats:
        stack, model = self.layers, self.loaded.model
        inputs, ids = self._right_padded(texts), torch.as_tensor(texts.ids)
        direction, wanted = torch.as_tensor(unit), torch.as_tensor(put)
        changed = torch.as_tensor(texts.changed)
        backend = self.loaded.backend()
        with torch.no_grad(), model.trace(**inputs, backend=backend):
            output = stack[layer].output
            residual = residual_of(output)
            along = direction.to(residual.device)
            own = residual.float() @ along
            step = (wanted.to(residual.device) - own) * changed.to(residual.device)
            moved = residual + (step[..., None] * along).to(residual)
            stack[layer].output = with_residual(output, moved)
            found = next_log_probs(model.output.logits, ids).save()  # type: ignore[attr-defined]
        return np.asarray(found.numpy(), dtype=np.float32)

    def _generated(
        self, inputs: dict[str, Any], options: dict[str, Any], steps: StepLogits, length: int
    ) -> dict[str, torch.Tensor]:
        model = self.loaded.model
        backend = self.loaded.backend()
        with torch.no_grad(), model.generate(**inputs, **options, backend=backend) as tracer:
            found = steps.found(tracer.result, length).save()  # type: ignore[attr-defined]
        texts: dict[str, torch.Tensor] = found
        return texts

    def _generated_steered(
        self,
        inputs: dict[str, Any],
        options: dict[str, Any],
        steps: StepLogits,
        length: int,
        layer: int,
        added: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        stack, model = self.layers, self.loaded.model
        backend = self.loaded.backend()
        with torch.no_grad(), model.generate(**options, backend=backend) as tracer:
            # The loop is open-ended, so that what follows it has to be an invocation of its own.
            with tracer.invoke(**inputs):
                for _step in tracer.iter[:]:
                    output = stack[layer].output
                    residual = residual_of(output)
                    stack[layer].output = with_residual(output, residual + added.to(residual))
            with tracer.invoke():
                found = steps.found(tracer.result, length).save()  # type: ignore[attr-defined]
        texts: dict[str, torch.Tensor] = found
        return texts


def _added(requests: Sequence[GenerationRequest], plan: GenerationPlan) -> torch.Tensor | None:
    """Return vectors [rows, 1, width] to be added; None if no row is steered."""
    vectors = [request.added for request in requests]
    given = next((vector for vector in vectors if vector is not None), None)
    if given is None or plan.layer is None:
        return None
    rows = [np.zeros_like(given) if vector is None else vector for vector in vectors]
    return torch.as_tensor(np.stack(rows))[:, None]
