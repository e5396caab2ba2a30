"""Adapters: find one, check it, and switch it on and off on the weights it sits on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper

from adl.errors import PairError
from adl.hub_download import download
from adl.load_errors import loading
from adl.records import Side, SideSpec

ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
ADAPTER_CONFIG = "adapter_config.json"


def switch_adapters(module: torch.nn.Module, *, on: bool) -> None:
    """Switch every adapter in ``module`` on or off."""
    for layer in module.modules():
        if isinstance(layer, BaseTunerLayer | AuxiliaryTrainingWrapper):
            layer.enable_adapters(on)


def find_adapter(name: Side, wanted: SideSpec) -> tuple[Path, dict[str, Any]]:
    """The folder of a side's adapter and the fields of the record that name it.

    Raises ``PairError`` where the folder holds no adapter, or one that cannot be switched.
    """
    assert wanted.adapter is not None
    local = Path(wanted.adapter).expanduser()
    resolved: str | None = wanted.adapter_revision
    if local.is_dir():
        folder = local
    else:
        folder, resolved = download(name, wanted.adapter, wanted.adapter_revision, what="adapter")
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
    with loading(name, wanted.adapter):
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
