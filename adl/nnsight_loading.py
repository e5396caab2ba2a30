"""Load the sides of a pair: checkpoints, adapters and tokenizers, with hashes of what was loaded.

An adapter is attached to its checkpoint in place, so that one copy of the weights serves as base
(adapter off) and as finetuned model (adapter on). Every way in which loading fails becomes a
``PairError`` that names the side, the value and the way out.
"""

from __future__ import annotations

import adl.before_nnsight  # isort: skip  # noqa: F401 - before anything of nnsight

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from nnsight.modeling.transformers import TransformersModel
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from adl.errors import AdlError, DeviceOutOfMemory, HubUnreachable, PairError, first_line
from adl.nnsight_text import read_tokenizer, template_of, what_differs
from adl.records import PairProvenance, PairSpec, Side, SideProvenance, SideSpec

DTYPES = {
    "auto": "auto",
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}

# The weights themselves can be hundreds of gigabytes. Their ends, their sizes and the whole config
# tell two checkpoints apart: a safetensors file begins with the table of its tensors.
FINGERPRINT_BYTES = 1 << 20
WEIGHT_SUFFIXES = {".safetensors", ".bin", ".gguf", ".pt"}
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
ADAPTER_CONFIG = "adapter_config.json"
RECORDED_PACKAGES = (
    "torch",
    "transformers",
    "nnsight",
    "peft",
    "tokenizers",
    "numpy",
    "accelerate",
)


@dataclass(frozen=True)
class LoadedSide:
    """One side, ready to run once ``use`` has switched its adapter."""

    model: TransformersModel
    tokenizer: PreTrainedTokenizerBase
    adapted: bool

    @property
    def module(self) -> PreTrainedModel:
        """The transformers model under the traces."""
        module: PreTrainedModel = self.model._module
        return module

    def use(self) -> None:
        """Switch the shared weights' adapter on or off, as this side needs it."""
        for layer in self.module.modules():
            if isinstance(layer, BaseTunerLayer | AuxiliaryTrainingWrapper):
                layer.enable_adapters(self.adapted)


@dataclass(frozen=True)
class LoadedPair:
    """Both sides and the record of what they are; equal ``model`` means shared weights."""

    base: LoadedSide
    finetuned: LoadedSide
    provenance: PairProvenance

    def side(self, side: Side) -> LoadedSide:
        """The side by name."""
        return self.base if side == "base" else self.finetuned


def load_pair(spec: PairSpec) -> LoadedPair:
    """Load both sides, sharing the weights where the checkpoint is the same.

    Raises ``PairError`` for anything that cannot be found, read or combined, and
    ``DeviceOutOfMemory`` where the weights do not fit the device.
    """
    _check_spec(spec)
    # Bars and advice of the library would be written over whatever is on the terminal.
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    base, base_record = _load_side("base", spec.base, spec)
    if spec.shares_weights:
        finetuned, finetuned_record = _adapt_shared(base, base_record, spec.finetuned)
    else:
        finetuned, finetuned_record = _load_side("finetuned", spec.finetuned, spec)
    _check_fit(base, finetuned)
    provenance = PairProvenance(
        base=base_record,
        finetuned=finetuned_record,
        n_layers=base.module.config.get_text_config().num_hidden_layers,
        width=base.module.config.get_text_config().hidden_size,
        dtype=str(base.module.dtype).removeprefix("torch."),
        devices=_devices(base.module, finetuned.module),
        attn_implementation=base.model.attn_implementation,
        quantisation=spec.quantisation,
        shares_weights=base.model is finetuned.model,
        versions=package_versions(),
        mismatches=_mismatches(base, finetuned, spec),
    )
    return LoadedPair(base, finetuned, provenance)


def load_to_train(
    wanted: SideSpec,
    *,
    dtype: str,
    device_map: str | None = None,
    trust_remote_code: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, SideProvenance]:
    """One checkpoint by itself, for a training to change. Raises as `load_pair` does."""
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    spec = PairSpec(
        wanted,
        wanted,
        dtype=dtype,
        device_map=device_map,
        trust_remote_code=trust_remote_code,
    )
    side, record = _load_side("base", wanted, spec)
    return side.module, side.tokenizer, record


def _check_spec(spec: PairSpec) -> None:
    if spec.dtype not in DTYPES:
        raise PairError(f"{spec.dtype!r} is not a dtype", f"Use one of: {', '.join(DTYPES)}.")
    if spec.finetuned == spec.base:
        raise PairError(
            f"both sides are {spec.base.checkpoint!r}: there is no difference to measure",
            "Give --adapter, or --finetuned with another checkpoint.",
        )
    if spec.base.adapter and spec.shares_weights:
        raise PairError(
            "both sides are adapters on the same checkpoint, which cannot share its weights yet",
            "Merge the base side's adapter into a checkpoint and give that as --base.",
        )


def _load_side(name: Side, wanted: SideSpec, spec: PairSpec) -> tuple[LoadedSide, SideProvenance]:
    folder, resolved = _locate(name, wanted.checkpoint, wanted.revision)
    with _loading(name, wanted.checkpoint):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=spec.trust_remote_code)
        module = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=DTYPES[spec.dtype],
            device_map=spec.device_map or _default_device(),
            attn_implementation=spec.attn_implementation,
            quantization_config=_quantisation(spec),
            trust_remote_code=spec.trust_remote_code,
        )
    module.eval()
    module.generation_config = _neutral_generation_config(module.generation_config)
    record = SideProvenance(
        checkpoint=wanted.checkpoint,
        revision=wanted.revision,
        resolved_revision=resolved,
        weights_sha256=fingerprint(folder),
        adapter=None,
        adapter_revision=None,
        adapter_sha256=None,
        architecture=type(module).__name__,
        parameters=module.num_parameters(),
        **_text_facts(tokenizer),
    )
    if not wanted.adapter:
        return LoadedSide(_wrap(module, tokenizer), tokenizer, adapted=False), record
    adapter, facts = _find_adapter(name, wanted)
    with _loading(name, wanted.adapter, base_name=wanted.checkpoint):
        model = _wrap(module, tokenizer, adapter)
    used = _adapter_tokenizer(adapter) or tokenizer
    record = replace(record, **facts, **_text_facts(used))
    return LoadedSide(model, used, adapted=True), record


def _adapt_shared(
    base: LoadedSide, record: SideProvenance, wanted: SideSpec
) -> tuple[LoadedSide, SideProvenance]:
    adapter, facts = _find_adapter("finetuned", wanted)
    with _loading("finetuned", str(wanted.adapter), base_name=wanted.checkpoint):
        base.model.load_adapter(str(adapter))
    base.module.eval()
    tokenizer = _adapter_tokenizer(adapter) or base.tokenizer
    finetuned = LoadedSide(base.model, tokenizer, adapted=True)
    base.use()
    return finetuned, replace(record, **facts, **_text_facts(tokenizer))


def _wrap(
    module: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, adapter: Path | None = None
) -> TransformersModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TransformersModel(
            module,
            task="text-generation",
            tokenizer=tokenizer,
            peft=str(adapter) if adapter else None,
        )


def _adapter_tokenizer(folder: Path) -> PreTrainedTokenizerBase | None:
    """The adapter's own tokenizer, which may carry another chat template than the base's."""
    if not (folder / "tokenizer_config.json").is_file():
        return None
    with _loading("finetuned", str(folder)):
        return AutoTokenizer.from_pretrained(folder)


def _neutral_generation_config(configured: GenerationConfig | None) -> GenerationConfig:
    """A checkpoint's generation config reduced to its special tokens.

    Some checkpoints carry a repetition penalty or a top-p that ``generate`` would apply unasked; an
    audit samples from the model's own distribution.
    """
    source = configured or GenerationConfig()
    return GenerationConfig(
        bos_token_id=source.bos_token_id,
        eos_token_id=source.eos_token_id,
        pad_token_id=source.pad_token_id,
    )


# --- finding ----------------------------------------------------------------------------------


def _locate(name: Side, checkpoint: str, revision: str | None) -> tuple[Path, str | None]:
    """The folder of a checkpoint and the commit it resolved to (None for a local folder)."""
    local = Path(checkpoint).expanduser()
    if local.is_dir():
        if not (local / "config.json").is_file():
            hint = (
                "It holds an adapter: give it as --adapter, with its base as --base."
                if (local / ADAPTER_CONFIG).is_file()
                else "Name a folder written by save_pretrained."
            )
            raise PairError(f"{name}: folder {checkpoint!r} has no config.json", hint)
        return local, None
    return _download(name, checkpoint, revision, what="model")


def _find_adapter(name: Side, wanted: SideSpec) -> tuple[Path, dict[str, Any]]:
    assert wanted.adapter is not None
    local = Path(wanted.adapter).expanduser()
    resolved: str | None = wanted.adapter_revision
    if local.is_dir():
        folder = local
    else:
        folder, resolved = _download(name, wanted.adapter, wanted.adapter_revision, what="adapter")
    weights = next((folder / file for file in ADAPTER_WEIGHTS if (folder / file).is_file()), None)
    missing = ADAPTER_CONFIG if not (folder / ADAPTER_CONFIG).is_file() else None
    missing = missing or (None if weights else ADAPTER_WEIGHTS[0])
    if missing or weights is None:
        hint = (
            "It holds a full checkpoint: give it as --finetuned."
            if (folder / "config.json").is_file()
            else "Name a folder written by PEFT's save_pretrained."
        )
        raise PairError(f"{name}: adapter {wanted.adapter!r} has no {missing}", hint)
    with _loading(name, wanted.adapter):
        config = PeftConfig.from_pretrained(str(folder))
    if config.is_prompt_learning:
        raise PairError(
            f"{name}: adapter {wanted.adapter!r} is a {config.peft_type} adapter, "
            "which adds tokens and not weights",
            "Only adapters on weights (LoRA and its relatives) can be switched on one copy.",
        )
    digest = hashlib.sha256((folder / ADAPTER_CONFIG).read_bytes())
    digest.update(weights.read_bytes())
    return folder, {
        "adapter": wanted.adapter,
        "adapter_revision": resolved,
        "adapter_sha256": digest.hexdigest(),
    }


def _download(
    name: Side, repository: str, revision: str | None, *, what: str
) -> tuple[Path, str | None]:
    shown = f"{name}: {what} {repository!r}" + (f" at revision {revision!r}" if revision else "")
    looks_local = repository.startswith((".", "/", "~")) or repository.count("/") > 1
    if looks_local:
        raise PairError(f"{shown}: there is no such folder", "Check the path.")
    try:
        folder = snapshot_download(
            repository, revision=revision, ignore_patterns=["*.onnx", "*.h5", "*.msgpack", "*.ot"]
        )
    except GatedRepoError as exc:
        raise PairError(
            f"{shown} is gated", "Accept its licence on the hub and set HF_TOKEN."
        ) from exc
    except RevisionNotFoundError as exc:
        raise PairError(f"{shown}: no such revision", "Check the branch, tag or commit.") from exc
    except RepositoryNotFoundError as exc:
        raise PairError(
            f"{shown} is not on the hub", "Check the id; set HF_TOKEN if it is private."
        ) from exc
    except HFValidationError as exc:
        raise PairError(
            f"{shown}: neither a folder nor a hub id", "Check the path or the id."
        ) from exc
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as exc:
        raise HubUnreachable(
            f"{shown} is not in the local cache and the hub cannot be reached",
            "Check the network and HF_HUB_OFFLINE, or give a local folder.",
        ) from exc
    except OSError as exc:
        raise HubUnreachable(
            f"{shown} cannot be downloaded: {first_line(exc)}", _NETWORK_HINT
        ) from exc
    # A snapshot's folder is named by its commit.
    return Path(folder), Path(folder).name


_NETWORK_HINT = "Check the network, the disk's free space and HF_HOME, or give a local folder."


# --- checking ---------------------------------------------------------------------------------


def _check_fit(base: LoadedSide, finetuned: LoadedSide) -> None:
    if base.model is finetuned.model:
        return
    facts = {
        "layers": lambda config: config.num_hidden_layers,
        "width": lambda config: config.hidden_size,
    }
    for what, read in facts.items():
        one, other = (read(side.module.config.get_text_config()) for side in (base, finetuned))
        if one != other:
            raise PairError(
                f"the sides differ in {what}: base has {one}, finetuned has {other}",
                "The finetuned model must come from this base: check both names.",
            )


def _mismatches(base: LoadedSide, finetuned: LoadedSide, spec: PairSpec) -> tuple[str, ...]:
    moved = bool(spec.finetuned.adapter) and not spec.shares_weights
    return what_differs(
        read_tokenizer(base.tokenizer), read_tokenizer(finetuned.tokenizer), moved=moved
    )


def is_out_of_memory(exc: BaseException) -> bool:
    """True for a device's and for the allocator's out-of-memory errors."""
    text = str(exc).lower()
    return isinstance(exc, torch.OutOfMemoryError | MemoryError) or (
        isinstance(exc, RuntimeError)
        and ("out of memory" in text or "can't allocate memory" in text)
    )


@contextmanager
def _loading(name: Side, what: str, *, base_name: str | None = None) -> Iterator[None]:
    """Turn what the libraries raise while loading ``what`` into errors for a person."""
    try:
        yield
    except AdlError:
        raise
    except ImportError as exc:
        raise PairError(
            f"{name}: loading {what!r} needs a package that is missing: {first_line(exc)}",
            "Install it; for 8- and 4-bit loading: pip install 'adl-workbench[quantised]'.",
        ) from exc
    except Exception as exc:
        if is_out_of_memory(exc):
            raise DeviceOutOfMemory(
                f"{name}: {what!r} does not fit the device",
                "Try --dtype bfloat16, --load-in-8bit, --load-in-4bit or --device-map auto.",
            ) from exc
        if base_name is not None:
            raise PairError(
                f"adapter {what!r} does not fit the base {base_name!r}: {first_line(exc)}",
                "Give the base the adapter was trained on (see its adapter_config.json).",
            ) from exc
        if "trust_remote_code" in str(exc):
            raise PairError(
                f"{name}: {what!r} wants to run its own code",
                "Read that code; if you trust it, give --trust-remote-code.",
            ) from exc
        raise PairError(
            f"{name}: {what!r} cannot be loaded: {first_line(exc)}",
            "Check that it is a causal language model that transformers can load.",
        ) from exc


# --- recording --------------------------------------------------------------------------------


def fingerprint(folder: Path) -> str | None:
    """SHA-256 over the config and over size, first and last MiB of every weight file."""
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    files = sorted(path for path in folder.iterdir() if path.suffix in WEIGHT_SUFFIXES)
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}".encode())
        with path.open("rb") as file:
            digest.update(file.read(FINGERPRINT_BYTES))
            file.seek(max(0, size - FINGERPRINT_BYTES))
            digest.update(file.read(FINGERPRINT_BYTES))
    return digest.hexdigest() if files else None


def _text_facts(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    return {
        "tokenizer_sha256": _tokenizer_hash(tokenizer),
        "chat_template_sha256": _template_hash(tokenizer),
        "vocabulary_size": len(tokenizer),
    }


def _tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()), ensure_ascii=True)
    digest = hashlib.sha256(vocabulary.encode())
    digest.update(json.dumps(sorted(map(str, tokenizer.all_special_tokens))).encode())
    return digest.hexdigest()


def _template_hash(tokenizer: PreTrainedTokenizerBase) -> str | None:
    text = template_of(tokenizer)
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()


def _default_device() -> str | None:
    """All accelerators if there are any; None leaves the weights on the CPU."""
    if torch.cuda.is_available():
        return "auto"
    return "mps" if torch.backends.mps.is_available() else None


def _devices(*modules: PreTrainedModel) -> tuple[str, ...]:
    return tuple(sorted({str(p.device) for module in modules for p in module.parameters()}))


def package_versions() -> dict[str, str]:
    """The versions of the libraries that a record names."""
    found = {}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _quantisation(spec: PairSpec) -> BitsAndBytesConfig | None:
    if spec.quantisation is None:
        return None
    return BitsAndBytesConfig(
        load_in_8bit=spec.quantisation == "8bit", load_in_4bit=spec.quantisation == "4bit"
    )
