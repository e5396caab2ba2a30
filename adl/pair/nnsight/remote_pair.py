"""A model pair that a service runs: only configs and tokenizers are loaded here.

RemotePair
-> remote_runs   blocks and functions that are sent, a request each
-> ndif          the request, its waiting, its errors
-> checks        the same checks at load as for a pair that runs here
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from huggingface_hub import HfApi
from transformers import GenerationConfig, LogitsProcessor

from adl.callbacks import ShouldStop, never_stop, stopped_by
from adl.errors import HubUnreachable, NotAvailable, PairError, Stopped, concerning, first_line
from adl.pair.chat_templates import choose_template
from adl.pair.nnsight.checkpoints import find_checkpoint, neutral_generation_config
from adl.pair.nnsight.checks import SideChecks, checked
from adl.pair.nnsight.generation import SeededSampling, WrittenTokens, groups_of
from adl.pair.nnsight.load_errors import loading
from adl.pair.nnsight.loading import (
    LoadedPair,
    LoadedSide,
    check_fit,
    check_spec,
    mismatches_of,
    package_versions,
    template_hash,
    text_facts,
)
from adl.pair.nnsight.ndif import Ndif, Service
from adl.pair.nnsight.pair import NnsightPair, written_length
from adl.pair.nnsight.remote_runs import Generated, RemoteRuns, RemoteSide, remote_probe
from adl.pair.nnsight.runs import SideRuns
from adl.pair.nnsight.structure import Probe, refuse_by_config
from adl.pair.protocol import ComponentChange, ScoredBatch, ShiftSums
from adl.pair.self_checks import STEERING, require
from adl.pair.tokenizer_files import load_tokenizer
from adl.pair.weight_hashes import FileHashes
from adl.paths import expanded, looks_like_path
from adl.records import (
    SIDES,
    EndReason,
    Floats,
    GeneratedText,
    GenerationPlan,
    GenerationRequest,
    PairProvenance,
    PairSpec,
    Side,
    SideProvenance,
    SideSpec,
    UpdateFacts,
    WeightChange,
    assert_shape,
)
from adl.text.corpus import TokenBatch
from adl.text.token_batches import left_padded

_HERE = "Load the pair without --remote."
_LOADS = ("device_map", "offload_folder", "quantisation", "attn_implementation")


class RemotePair(NnsightPair):
    """A base and a finetuned model hosted by a service.

    Readings, steering and asking are those of ``NnsightPair``; sums over the vocabulary are formed at
    the service. What reads or changes weights is refused, and so are amplified logits, which need
    both models at every token.
    """

    _runs: dict[Side, RemoteRuns]  # type: ignore[assignment]

    @classmethod
    def load(
        cls, spec: PairSpec, hashes: FileHashes | None = None, service: Service | None = None
    ) -> RemotePair:
        """Load what of ``spec`` is loaded here, and run the checks at the service.

        No file of weights is read, so ``hashes`` is not used. Raises ``PairError`` for what cannot be
        run there, ``NdifError`` for what the service says, and ``Stopped``.
        """
        loaded, probes = _load(spec, service or Ndif())
        return cls(loaded, lambda pair, shared: _checked(pair, shared, probes))

    def memory(self) -> dict[str, int]:
        """Return no bytes: the weights are at the service."""
        return {"weights": 0}

    def steering_shift(
        self, side: Side, contexts: TokenBatch, layer: int, vectors: Floats
    ) -> ShiftSums:
        """Return next-token shifts by each added vector; see ``ModelPair``."""
        runs = self._use(side, contexts.ids)
        if runs.structure.alone:
            return super().steering_shift(side, contexts, layer, vectors)
        assert_shape("vectors", vectors, [None, self.provenance.width])
        require(self.provenance, STEERING)
        self._check_layers([layer])
        n_tokens = len(self._text[side].token_texts)
        with self._device_errors():
            sums = runs.shift_sums(contexts, layer, vectors, n_tokens)
        for name in ("kl", "log_prob_before"):
            self._finite(side, sums[name])
        return ShiftSums(count=len(contexts) * len(contexts.columns), **sums)

    def token_losses(self, side: Side, texts: ScoredBatch) -> Floats:
        """Return the summed -log p [texts] of each text's scored tokens; see ``ModelPair``."""
        losses: Floats = -self.token_log_probs(side, texts).sum(axis=1, dtype=np.float32)
        return losses

    def token_log_probs(self, side: Side, texts: ScoredBatch) -> Floats:
        """Return log p [texts, tokens] in nats of each scored token; see ``ModelPair``."""
        with self._device_errors():
            found = self._use(side, texts.ids).next_log_probs(texts)
        self._finite(side, found)
        return found

    def component_losses(
        self,
        base: ScoredBatch,
        finetuned: ScoredBatch,
        layer: int,
        vectors: Floats,
        change: ComponentChange,
    ) -> Floats:
        """Return losses [m, texts] of finetuned with a component of its residuals changed.

        Of the base's residuals only the components come here, and go on to the finetuned side.
        """
        assert_shape("vectors", vectors, [None, self.provenance.width])
        require(self.provenance, STEERING)
        self._check_layers([layer])
        units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
        units = units.astype(np.float32)
        with self._device_errors():
            put = np.zeros((*finetuned.ids.shape, len(units)), dtype=np.float32)
            if change == "replace":
                put = self._use("base", base.ids).components(base, layer, units)
            runs = self._use("finetuned", finetuned.ids)
            losses = [
                runs.changed_losses(finetuned, layer, unit, put[..., index])
                for index, unit in enumerate(units)
            ]
        self._finite("finetuned", np.stack(losses))
        return np.stack(losses)

    def token_directions(self, side: Side, ids: Sequence[int]) -> Floats:
        """Return unit rows of the unembedding, whitened over the vocabulary; see ``ModelPair``."""
        with self._device_errors():
            return self._use(side).token_directions(ids, len(self._text[side].token_texts))

    def update_facts(
        self, change: WeightChange, *, should_stop: ShouldStop = never_stop
    ) -> UpdateFacts:
        """Refuse: the weights are at the service."""
        raise _no_weights(change)

    def generate(
        self,
        plan: GenerationPlan,
        requests: Sequence[GenerationRequest],
        *,
        on_text: Callable[[dict[int, str]], None] | None = None,
        should_stop: ShouldStop = never_stop,
    ) -> list[GeneratedText]:
        """Return the generated text of every request; see ``ModelPair``.

        Texts come whole. A stop leaves those that are not there yet empty.
        """
        self._check_generation(plan, requests)
        if plan.weights is not None:
            raise _no_weights(plan.weights)
        if any(request.contrast for request in requests):
            raise NotAvailable(
                "amplified logits: not available at NDIF, which runs one model a job: they need both "
                "at every token",
                f"Use --carrier difference. {_HERE}",
            )
        prompts = [index for request in requests for index in request.prompt_ids]
        length = written_length(plan, [request.prompt_ids for request in requests])
        runs = self._use(plan.side, prompts, length)
        width = max(each.loaded.rows for each in self._runs.values())
        ends, n_tokens = self._ends[plan.side], len(self._text[plan.side].token_texts)
        found: dict[int, GeneratedText] = {}
        for rows in groups_of(runs, requests):
            some = [requests[row] for row in rows]
            try:
                with self._device_errors(), stopped_by(should_stop):
                    generated = _generated(runs, plan, some, ends, width=width, n_tokens=n_tokens)
            except Stopped:
                break
            for index, row in enumerate(rows):
                found[row] = self._text_of(plan, generated, index)
                if on_text is not None and found[row].text:
                    on_text({row: found[row].text})
        stopped = GeneratedText((), "", "stopped")
        return [found.get(row, stopped) for row in range(len(requests))]

    def _text_of(self, plan: GenerationPlan, generated: Generated, row: int) -> GeneratedText:
        ids: list[int] = generated.ids[row].tolist()
        ends = [place for place, token in enumerate(ids) if token in self._ends[plan.side]]
        ended: EndReason = "end_of_text" if ends else "length"
        ids = ids[: ends[0]] if ends else ids
        log_probs: list[float] = []
        if plan.scored and ids:
            log_probs = generated.log_probs[row, : len(ids)].tolist()
        return GeneratedText(tuple(ids), self.decode(plan.side, ids), ended, tuple(log_probs))

    def _use(self, side: Side, ids: Any = (), length: int | None = None) -> RemoteRuns:
        runs = super()._use(side, ids, length)
        assert isinstance(runs, RemoteRuns)
        return runs


def _generated(
    runs: RemoteRuns,
    plan: GenerationPlan,
    requests: Sequence[GenerationRequest],
    ends: frozenset[int],
    *,
    kept: bool = False,
    width: int = 0,
    n_tokens: int | None = None,
) -> Generated:
    processors: list[LogitsProcessor] = []
    if n_tokens is not None:
        processors.append(WrittenTokens(n_tokens, ends))
    if not plan.greedy:
        seeds = [request.seed for request in requests]
        processors.append(SeededSampling(seeds, plan.temperature, width))
    return runs.generated(plan, requests, ends, processors, kept=kept)


def _no_weights(change: WeightChange) -> NotAvailable:
    return NotAvailable(
        f"{change.carrier}: not available at NDIF: the weights of the models are there, and are not "
        "changed",
        f"Use --carrier difference. {_HERE}",
    )


# --- loading --------------------------------------------------------------------------------------


def _load(spec: PairSpec, service: Service) -> tuple[LoadedPair, dict[Side, Any]]:
    """Return both sides without weights, and what a short text gave on each."""
    check_spec(spec)
    _check_options(spec, service)
    service.check()
    base, base_record = _load_side("base", spec.base, spec, service)
    finetuned, finetuned_record = _load_side("finetuned", spec.finetuned, spec, service, base)
    with concerning("finetuned"):
        check_fit(base, finetuned)
    with concerning("chat_template"):
        choose_template([base.tokenizer, finetuned.tokenizer], spec.chat_template)
    probes = {side: remote_probe(each) for side, each in zip(SIDES, (base, finetuned), strict=True)}
    dtypes = [str(probes[side][1].outputs[0].dtype).removeprefix("torch.") for side in SIDES]
    sides = [
        replace(record, dtype=dtype, chat_template_sha256=template_hash(loaded.tokenizer))
        for record, dtype, loaded in zip(
            (base_record, finetuned_record), dtypes, (base, finetuned), strict=True
        )
    ]
    config = base.module.config.get_text_config()
    provenance = PairProvenance(
        base=sides[0],
        finetuned=sides[1],
        n_layers=config.num_hidden_layers,
        width=config.hidden_size,
        dtype=dtypes[0],
        devices=(service.name,),
        attn_implementation=base.model.attn_implementation,
        quantisation=None,
        shares_weights=False,
        versions=package_versions(),
        mismatches=mismatches_of(base, finetuned, spec),
    )
    return LoadedPair(base, finetuned, provenance), probes


def _check_options(spec: PairSpec, service: Service) -> None:
    """Refuse options of loading that the service decides, and names that it cannot know."""
    given = [name for name in _LOADS if getattr(spec, name) is not None]
    if spec.dtype != "auto":
        given.insert(0, "dtype")
    if given:
        option = given[0].replace("_", "-")
        raise PairError(
            f"--{option} is decided by the service that runs the models",
            f"Leave out --{option}, or --remote.",
            concerns=given[0],
        )
    for name, wanted in zip(SIDES, (spec.base, spec.finetuned), strict=True):
        if wanted.adapter_revision is not None:
            raise PairError(
                f"adapter {wanted.adapter!r}: a service loads adapters by their id alone, and not at "
                f"revision {wanted.adapter_revision!r}",
                "Leave out the revision.",
                concerns="adapter",
            )
        folders = [
            (text, field)
            for text, field in ((wanted.checkpoint, name), (wanted.adapter, "adapter"))
            if text is not None and _is_path(text)
        ]
        if folders and service.hub_only:
            raise PairError(
                f"{folders[0][0]!r} is a folder of this machine, which {service.name} does not have",
                "Give the id of a model that it hosts, such as owner/name, or leave out --remote.",
                concerns=folders[0][1],
            )


def _is_path(text: str) -> bool:
    try:
        return looks_like_path(text) or expanded(text).exists()
    except (OSError, RuntimeError, ValueError):
        return False


def _load_side(
    name: Side,
    wanted: SideSpec,
    spec: PairSpec,
    service: Service,
    base: RemoteSide | None = None,
) -> tuple[RemoteSide, SideProvenance]:
    from nnsight.modeling.transformers import TransformersModel

    shown = f"{name}: checkpoint {wanted.checkpoint!r}"
    with concerning(name):
        found = find_checkpoint(name, wanted.checkpoint, wanted.revision, weights=False)
        folder = found.path
        if folder.is_file():
            raise PairError(f"{shown} is a GGUF file, which a service does not run", _HERE)
        with loading(name, wanted.checkpoint):
            tokenizer, notes = load_tokenizer(
                shown,
                folder,
                trust_remote_code=spec.trust_remote_code,
                stand_in=None if base is None else base.tokenizer,
            )
    trust = {"trust_remote_code": True} if spec.trust_remote_code else {}
    with (
        concerning("adapter" if wanted.adapter else name),
        loading(name, wanted.adapter or wanted.checkpoint),
    ):
        model = TransformersModel(
            wanted.checkpoint,
            revision=wanted.revision,
            task="text-generation",
            tokenizer=tokenizer,
            peft=wanted.adapter,
            **trust,
        )
    refuse_by_config(model._module)
    configured = None
    if (folder / "generation_config.json").is_file():
        configured = GenerationConfig.from_pretrained(folder)
    model._module.generation_config = neutral_generation_config(
        configured or model._module.generation_config
    )
    side = RemoteSide(
        model,
        tokenizer,
        adapted=wanted.adapter is not None,
        notes=(*found.notes, *notes),
        service=service,
    )
    return side, SideProvenance(
        checkpoint=wanted.checkpoint,
        revision=wanted.revision,
        resolved_revision=found.commit,
        content_sha256=None,
        adapter=wanted.adapter,
        adapter_revision=_adapter_commit(wanted.adapter),
        adapter_sha256=None,
        architecture=type(side.module).__name__,
        parameters=side.module.num_parameters(),
        **text_facts(tokenizer),
    )


def _adapter_commit(adapter: str | None) -> str | None:
    """Return the commit that the hub has of an adapter; None for a folder."""
    if adapter is None or _is_path(adapter):
        return None
    try:
        return str(HfApi().model_info(adapter).sha)
    except Exception as exc:
        raise HubUnreachable(
            f"adapter {adapter!r} cannot be looked up on the hub: {first_line(exc)}",
            "Check the network.",
            concerns="adapter",
        ) from exc


# --- checks ---------------------------------------------------------------------------------------


def _checked(
    loaded: LoadedPair, shared: Any, probes: dict[Side, Any]
) -> tuple[Any, PairProvenance]:
    def probed(side: LoadedSide) -> tuple[SideRuns, Probe]:
        found: tuple[SideRuns, Probe] = probes["base" if side is loaded.base else "finetuned"]
        return found

    return checked(loaded, shared, probed, RemoteChecks)


class RemoteChecks(SideChecks):
    """The checks of one side at a service, where no plain hook can be set.

    A residual of another text in the place of a token's has to give that text's predictions.
    """

    truth = "in a text that ends in another token"
    runs: RemoteRuns

    def _another(self) -> tuple[np.ndarray, torch.Tensor]:
        ids = self._probe.ids
        last = next(index for index in (*ids, *range(len(ids))) if index != ids[-1])
        other = (*ids[:-1], last)
        batch = left_padded([other], [len(other) - 1])
        residual = self.runs.residuals(batch, [self._layer])[0, 0, 0]
        return residual.numpy(), self.runs.plain_logits(other)[-1]

    def _sharing(self) -> str:
        return "every vector with the whole prompt"

    def _greedy(
        self, plan: GenerationPlan, requests: Sequence[GenerationRequest]
    ) -> list[tuple[tuple[int, ...], list[torch.Tensor]]]:
        found: dict[int, tuple[tuple[int, ...], list[torch.Tensor]]] = {}
        for rows in groups_of(self.runs, requests):
            some = [requests[row] for row in rows]
            texts = _generated(self.runs, plan, some, frozenset(), kept=True)
            for index, row in enumerate(rows):
                found[row] = tuple(texts.ids[index].tolist()), list(texts.logits[index])
        return [found[row] for row in range(len(requests))]
