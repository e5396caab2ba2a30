"""Find and load the checkpoint of one side: from a folder or the hub to a model ready to run.

Every way in which that fails becomes a ``PairError`` that names the side, the value and the way out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from adl.errors import PairError
from adl.hub_download import download
from adl.load_errors import loading
from adl.nnsight_adapters import ADAPTER_CONFIG
from adl.records import PairSpec, Side, SideSpec

DTYPES = {
    "auto": "auto",
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint loaded for one side, before any adapter.

    ``folder`` is what was read, ``resolved_revision`` the commit it is (None for a local folder),
    ``notes`` what a person should know of how it was loaded.
    """

    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path
    resolved_revision: str | None
    notes: tuple[str, ...] = ()


def load_checkpoint(name: Side, wanted: SideSpec, spec: PairSpec) -> Checkpoint:
    """Load the checkpoint of one side as ``spec`` asks; its adapter is not looked at.

    Raises ``PairError`` for what cannot be found or read, ``DeviceOutOfMemory`` where the weights do
    not fit the device.
    """
    # Bars and advice of the library would be written over whatever is on the terminal.
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    folder, resolved = find_checkpoint(name, wanted.checkpoint, wanted.revision)
    with loading(name, wanted.checkpoint):
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
    return Checkpoint(module, tokenizer, folder, resolved)


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


def find_checkpoint(name: Side, checkpoint: str, revision: str | None) -> tuple[Path, str | None]:
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
    return download(name, checkpoint, revision, what="model")


# --- options ----------------------------------------------------------------------------------


def _default_device() -> str | None:
    """All accelerators if there are any; None leaves the weights on the CPU."""
    if torch.cuda.is_available():
        return "auto"
    return "mps" if torch.backends.mps.is_available() else None


def _quantisation(spec: PairSpec) -> BitsAndBytesConfig | None:
    if spec.quantisation is None:
        return None
    return BitsAndBytesConfig(
        load_in_8bit=spec.quantisation == "8bit", load_in_4bit=spec.quantisation == "4bit"
    )
