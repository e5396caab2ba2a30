"""Tiny pairs beside the same models in plain transformers and PEFT."""

from __future__ import annotations

from pathlib import Path

from adl.pair.nnsight.pair import NnsightPair
from adl.records import PairSpec, Side, SideSpec
from tests.plain_torch import PlainModel
from tests.tiny_models import ARCHITECTURES, write_family


def adapted_pair(folder: Path, name: str) -> tuple[NnsightPair, dict[Side, PlainModel]]:
    """A tiny base of an architecture with an adapter, written into the folder, and its plain sides."""
    folders = write_family(folder, name)
    layers = ARCHITECTURES[name].layers
    finetuned = SideSpec(str(folders.base), adapter=str(folders.adapter))
    pair = NnsightPair.load(PairSpec(SideSpec(str(folders.base)), finetuned))
    return pair, {
        "base": PlainModel(folders.base, layers),
        "finetuned": PlainModel(folders.base, layers, folders.adapter),
    }
