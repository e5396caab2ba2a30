"""Load the sides of a pair: checkpoints, adapters and tokenizers, with hashes of what was loaded.

An adapter is attached to its checkpoint in place, so that one copy of the weights serves as base
(adapter off) and as finetuned model (adapter on). Every failure to load becomes a ``PairError``
that names the side, the value and a remedy.
"""

from __future__ import annotations

import adl.pair.nnsight.anyio_guard  # isort: skip  # noqa: F401 - before anything of nnsight

import hashlib
import json
import sys
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from nnsight.modeling.transformers import TransformersModel
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from adl.errors import PairError, concerning
from adl.pair.chat_templates import choose_template
from adl.pair.checkpoint_files import is_adapter_alone
from adl.pair.mismatch import (
    mismatches_of_kinds,
    mismatches_of_numbers,
    mismatches_of_rows,
    mismatches_of_settings,
)
from adl.pair.nnsight.adapters import (
    Adapter,
    attach,
    config_notes,
    find_adapter,
    own_copy,
)
from adl.pair.nnsight.base_state import BaseState, adapter_layers, switch_adapters
from adl.pair.nnsight.checkpoints import DTYPES, Checkpoint, find_checkpoint, load_checkpoint
from adl.pair.nnsight.load_errors import loading
from adl.pair.nnsight.offloading import weight_places
from adl.pair.nnsight.structure import check_ids, input_device, plain_logits, refuse_by_config
from adl.pair.nnsight.tokenizers import (
    TokenizerFacts,
    read_tokenizer,
    template_text,
    tokens_without_rows,
    what_differs,
)
from adl.pair.tokenizer_files import TOKENIZER_FILES, load_tokenizer
from adl.pair.weight_hashes import FileHashes, content_sha256
from adl.records import SIDES, PairProvenance, PairSpec, Side, SideProvenance, SideSpec

RECORDED_PACKAGES = (
    "torch",
    "transformers",
    "nnsight",
    "peft",
    "tokenizers",
    "numpy",
    "accelerate",
    "bitsandbytes",
)


@dataclass(frozen=True)
class LoadedSide:
    """One side, ready to run once ``use`` has switched its adapter.

    ``notes`` are sentences on how it was loaded; they join the pair's mismatches.
    """

    model: TransformersModel
    tokenizer: PreTrainedTokenizerBase
    adapted: bool
    notes: tuple[str, ...] = ()

    @property
    def module(self) -> PreTrainedModel:
        """The transformers model under the traces."""
        module: PreTrainedModel = self.model._module
        return module

    @property
    def rows(self) -> int:
        """Number of tokens with rows in both the embeddings and the unembedding."""
        embedding: Any = self.module.get_input_embeddings()
        head: Any = self.module.get_output_embeddings()
        rows = int(embedding.weight.shape[0])
        if head is None:
            return rows
        # A quantised matrix is stored in another shape.
        return min(rows, int(getattr(head, "out_features", None) or head.weight.shape[0]))

    def use(self) -> None:
        """Switch the adapter on or off for this side."""
        switch_adapters(self._adapter_layers, on=self.adapted)

    @cached_property
    def _adapter_layers(self) -> list[Any]:
        """The layers that hold the adapter, of this side or of the other; first asked for in a run."""
        return adapter_layers(self.module)


@dataclass(frozen=True)
class LoadedPair:
    """Both sides and their record; equal ``model`` means shared weights.

    ``untouched`` are then the base's logits [tokens, V] on the text of the self-checks, before the
    adapter was attached.
    """

    base: LoadedSide
    finetuned: LoadedSide
    provenance: PairProvenance
    untouched: torch.Tensor | None = None

    def side(self, side: Side) -> LoadedSide:
        """Return a side by name."""
        return self.base if side == "base" else self.finetuned


def load_pair(spec: PairSpec, hashes: FileHashes | None = None) -> LoadedPair:
    """Load both sides, sharing the weights if the checkpoint is the same.

    ``hashes`` caches hashes of files and reports progress. Raises ``PairError`` for anything that
    cannot be found, read or combined, and ``DeviceOutOfMemory`` if the weights do not fit.
    """
    check_spec(spec)
    # The base first: an error in it concerns everything on it.
    with concerning("base"):
        find_checkpoint("base", spec.base.checkpoint, spec.base.revision)
    spec, moved = _adapter_as_finetuned(spec)
    hashes = hashes or FileHashes()
    untouched = None
    if spec.shares_weights:
        (base, base_record), (finetuned, finetuned_record), untouched = _load_adapted(spec, hashes)
    else:
        base, base_record = _load_side("base", spec.base, spec, hashes)
        finetuned, finetuned_record = _load_side(
            "finetuned", spec.finetuned, spec, hashes, base.tokenizer
        )
    finetuned = replace(finetuned, notes=(*moved, *finetuned.notes))
    with concerning("finetuned"):
        check_fit(base, finetuned)
    with concerning("chat_template"):
        choose_template([base.tokenizer, finetuned.tokenizer], spec.chat_template)
    provenance = PairProvenance(
        base=replace(base_record, chat_template_sha256=template_hash(base.tokenizer)),
        finetuned=replace(
            finetuned_record, chat_template_sha256=template_hash(finetuned.tokenizer)
        ),
        n_layers=base.module.config.get_text_config().num_hidden_layers,
        width=base.module.config.get_text_config().hidden_size,
        dtype=dtype_name(base.module),
        devices=_devices(base.module, finetuned.module),
        attn_implementation=base.model.attn_implementation,
        quantisation=spec.quantisation,
        shares_weights=base.model is finetuned.model,
        versions=package_versions(),
        mismatches=mismatches_of(base, finetuned, spec),
    )
    return LoadedPair(base, finetuned, provenance, untouched)


def _adapter_as_finetuned(spec: PairSpec) -> tuple[PairSpec, tuple[str, ...]]:
    """Return the spec with an adapter given as a checkpoint put on the base, and a note."""
    wanted = spec.finetuned
    if spec.shares_weights:
        return spec, ()
    with concerning("finetuned"):
        folder = find_checkpoint("finetuned", wanted.checkpoint, wanted.revision).path
    if not is_adapter_alone(folder):
        return spec, ()
    if wanted.adapter:
        raise PairError(
            f"finetuned: {wanted.checkpoint!r} is an adapter, and {wanted.adapter!r} would go on it",
            "Give one of them, as --adapter, with the checkpoint it sits on.",
            concerns="finetuned",
        )
    side = SideSpec(spec.base.checkpoint, spec.base.revision, wanted.checkpoint, wanted.revision)
    note = f"{wanted.checkpoint!r} is an adapter and no checkpoint: it is put on the base."
    return replace(spec, finetuned=side), (note,)


def load_to_train(
    wanted: SideSpec,
    *,
    dtype: str,
    device_map: str | None = None,
    trust_remote_code: bool = False,
    hashes: FileHashes | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, SideProvenance]:
    """Load a single checkpoint for training. ``hashes`` and what is raised are those of `load_pair`."""
    spec = PairSpec(
        wanted,
        wanted,
        dtype=dtype,
        device_map=device_map,
        trust_remote_code=trust_remote_code,
    )
    side, record = _load_side("base", wanted, spec, hashes or FileHashes())
    return side.module, side.tokenizer, record


def check_spec(spec: PairSpec) -> None:
    """Raise ``PairError`` for a spec that makes no pair."""
    if spec.dtype not in DTYPES:
        raise PairError(f"{spec.dtype!r} is not a dtype", f"Use one of: {', '.join(DTYPES)}.")
    if spec.finetuned == spec.base:
        raise PairError(
            f"both sides are {spec.base.checkpoint!r}: there is no difference to measure",
            "Give --adapter, or --finetuned with another checkpoint.",
            concerns="finetuned",
        )
    if spec.base.adapter and spec.shares_weights:
        raise PairError(
            "both sides are adapters on the same checkpoint, which cannot share its weights yet",
            "Merge the base side's adapter into a checkpoint and give that as --base.",
        )


def _load_side(
    name: Side,
    wanted: SideSpec,
    spec: PairSpec,
    hashes: FileHashes,
    stand_in: PreTrainedTokenizerBase | None = None,
) -> tuple[LoadedSide, SideProvenance]:
    adapter = _find_adapter(name, wanted) if wanted.adapter else None
    with concerning(name):
        found = load_checkpoint(name, wanted, spec, stand_in)
    record = _side_record(found, wanted, hashes)
    if adapter is None:
        return _plain_side(found), record
    with concerning("adapter"), loading(name, adapter.name, base_name=wanted.checkpoint):
        notes = attach(name, adapter, found.module)
    notes = (*config_notes(adapter, wanted, found.folder, found.resolved_revision), *notes)
    model = wrap(found.module, found.tokenizer)
    return _adapted_side(adapter, model, found, record, notes)


def _find_adapter(name: Side, wanted: SideSpec) -> Adapter:
    with concerning("adapter"):
        return find_adapter(name, wanted)


def _load_adapted(
    spec: PairSpec, hashes: FileHashes
) -> tuple[tuple[LoadedSide, SideProvenance], tuple[LoadedSide, SideProvenance], torch.Tensor]:
    """Load a base and an adapter on it, in one copy if the adapter leaves the weights unchanged.

    And the logits of the base before the adapter, for the self-checks.
    """
    wanted = spec.finetuned
    adapter = _find_adapter("finetuned", wanted)
    with concerning("base"):
        found = load_checkpoint("base", spec.base, spec)
    record = _side_record(found, spec.base, hashes)
    with concerning("base"), loading("base", spec.base.checkpoint):
        before = BaseState(found.module)
        refuse_by_config(found.module)
        untouched = plain_logits(found.module, check_ids(found.module, found.tokenizer))
    with concerning("adapter"), loading("finetuned", adapter.name, base_name=wanted.checkpoint):
        notes = attach("finetuned", adapter, found.module)
        changes = before.changes()
    del before
    notes = (*config_notes(adapter, wanted, found.folder, found.resolved_revision), *notes)
    model = wrap(found.module, found.tokenizer)
    if changes:
        notes = (*notes, own_copy(changes))
        base = _plain_side(load_checkpoint("base", spec.base, spec))
    else:
        base = LoadedSide(model, found.tokenizer, adapted=False, notes=found.notes)
    adapted = _adapted_side(adapter, model, found, record, notes)
    base.use()
    return (base, record), adapted, untouched


def _side_record(found: Checkpoint, wanted: SideSpec, hashes: FileHashes) -> SideProvenance:
    """Return the record of a side, before any adapter."""
    return SideProvenance(
        checkpoint=wanted.checkpoint,
        revision=wanted.revision,
        resolved_revision=found.resolved_revision,
        content_sha256=content_sha256(found.folder, hashes, _code_files(found.module)),
        adapter=None,
        adapter_revision=None,
        adapter_sha256=None,
        architecture=type(found.module).__name__,
        parameters=found.module.num_parameters(),
        dtype=dtype_name(found.module),
        **text_facts(found.tokenizer),
    )


def _plain_side(found: Checkpoint) -> LoadedSide:
    model = wrap(found.module, found.tokenizer)
    return LoadedSide(model, found.tokenizer, adapted=False, notes=found.notes)


def _adapted_side(
    adapter: Adapter,
    model: TransformersModel,
    found: Checkpoint,
    record: SideProvenance,
    notes: tuple[str, ...],
) -> tuple[LoadedSide, SideProvenance]:
    tokenizer, text_notes = _adapter_tokenizer(adapter, found.tokenizer, found.module.config)
    side = LoadedSide(model, tokenizer, adapted=True, notes=(*found.notes, *notes, *text_notes))
    # Of a large vocabulary, hashing takes seconds.
    own = {} if tokenizer is found.tokenizer else text_facts(tokenizer)
    return side, replace(record, **adapter.record, **own)


class _Traced(TransformersModel):  # type: ignore[misc]
    """A model whose inputs go to the input embedding: nnsight uses the first weight, perhaps on disk."""

    @property
    def device(self) -> torch.device:
        """The device of the input embedding."""
        return input_device(self._module)


def wrap(module: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> TransformersModel:
    """Return the model under nnsight, unchanged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _Traced(module, task="text-generation", tokenizer=tokenizer)


def _adapter_tokenizer(
    adapter: Adapter, base: PreTrainedTokenizerBase, config: PreTrainedConfig
) -> tuple[PreTrainedTokenizerBase, tuple[str, ...]]:
    """Return the adapter's own tokenizer, which may have another chat template, or the base's."""
    if not any((adapter.folder / file).is_file() for file in TOKENIZER_FILES):
        return base, ()
    shown = f"finetuned: adapter {adapter.name!r}"
    with loading("finetuned", adapter.name):
        # The folder has no config of a model, by which transformers chooses the tokenizer's class.
        return load_tokenizer(shown, adapter.folder, stand_in=base, config=config)


def read_sides(base: LoadedSide, finetuned: LoadedSide) -> tuple[TokenizerFacts, TokenizerFacts]:
    """Return the facts of both sides' tokenizers; of one that both have, they are read once."""
    first = read_tokenizer(base.tokenizer, base.rows)
    if finetuned.tokenizer is base.tokenizer and finetuned.rows == base.rows:
        return first, first
    return first, read_tokenizer(finetuned.tokenizer, finetuned.rows)


# --- checking ---------------------------------------------------------------------------------


def check_fit(base: LoadedSide, finetuned: LoadedSide) -> None:
    """Raise ``PairError`` for sides of other depths or widths."""
    if base.model is finetuned.model:
        return
    facts = {
        "layers": lambda config: config.num_hidden_layers,
        "width": lambda config: config.hidden_size,
    }
    for what, read in facts.items():
        left, right = (read(side.module.config.get_text_config()) for side in (base, finetuned))
        if left != right:
            raise PairError(
                f"the sides differ in {what}: base has {left}, finetuned has {right}",
                "The finetuned model must come from this base: check both names.",
            )


def mismatches_of(base: LoadedSide, finetuned: LoadedSide, spec: PairSpec) -> tuple[str, ...]:
    """Return sentences on what differs between the sides and should not, and on how they were loaded."""
    moved = bool(spec.finetuned.adapter) and not spec.shares_weights
    facts = read_sides(base, finetuned)
    rows = [
        line
        for name, read in zip(SIDES, facts, strict=True)
        for line in mismatches_of_rows(name, tokens_without_rows(read))
    ]
    texts = what_differs(*facts, moved=moved)
    numbers = mismatches_of_numbers(*(dtype_name(side.module) for side in (base, finetuned)))
    kinds = mismatches_of_kinds(*(type(side.module).__name__ for side in (base, finetuned)))
    settings: tuple[str, ...] = ()
    if base.module is not finetuned.module and not kinds:
        settings = mismatches_of_settings(
            *(side.module.config.get_text_config().to_dict() for side in (base, finetuned))
        )
    notes = _by_side(base.notes, finetuned.notes)
    return (*notes, *kinds, *settings, *numbers, *rows, *texts)


def _by_side(base: tuple[str, ...], finetuned: tuple[str, ...]) -> list[str]:
    """Return notes headed by the side they are about."""
    found = []
    for note in dict.fromkeys((*base, *finetuned)):
        sides = [
            name for name, notes in (("Base", base), ("Finetuned", finetuned)) if note in notes
        ]
        found.append(f"{sides[0] if len(sides) == 1 else 'Both sides'}: {note}")
    return found


# --- recording --------------------------------------------------------------------------------


def _code_files(module: PreTrainedModel) -> list[Path]:
    """Return the code files that came with the checkpoint, from its repository or another."""
    names = {type(part).__module__ for part in module.modules()}
    own = (sys.modules[name] for name in names if name.startswith("transformers_modules."))
    return sorted(Path(found.__file__) for found in own if found.__file__)


def text_facts(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return the fields of ``SideProvenance`` that follow from a side's tokenizer."""
    return {
        "tokenizer_sha256": _tokenizer_hash(tokenizer),
        "chat_template_sha256": template_hash(tokenizer),
        "vocabulary_size": len(tokenizer),
    }


def _tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()), ensure_ascii=True)
    digest = hashlib.sha256(vocabulary.encode())
    digest.update(json.dumps(sorted(map(str, tokenizer.all_special_tokens))).encode())
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        # Merges, normaliser and pre-tokeniser: one vocabulary may cut a text in several ways.
        whole = json.loads(backend.to_str())
        rules = {name: whole[name] for name in whole.keys() - {"padding", "truncation"}}
        digest.update(json.dumps(rules, sort_keys=True).encode())
    return digest.hexdigest()


def template_hash(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the hash of a tokenizer's chat template; None without one."""
    text = template_text(tokenizer)
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()


def dtype_name(module: PreTrainedModel) -> str:
    """Return the number format of a model, such as ``bfloat16``."""
    return str(module.dtype).removeprefix("torch.")


def _devices(*modules: PreTrainedModel) -> tuple[str, ...]:
    return tuple(sorted(set().union(*map(weight_places, modules))))


def package_versions() -> dict[str, str]:
    """Return the versions of the libraries that decide numbers."""
    found = {}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
