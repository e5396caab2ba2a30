"""Null pairs: pairs without a finetuning, whose audits show how often one is found where there is none.

    null_same     the base against itself: an adapter that is not trained yet, which adds nothing
    null_random   an adapter of random weights, each module's update as large as the organism's own

Each is an organism of the family Control, so it is loaded, sealed and graded like any other.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from adl.errors import OrganismError
from adl.organisms.registry import Family, Organism, load_organism
from adl.pair.checkpoint_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from adl.paths import expanded
from adl.words import number_of

NullKind = Literal["same", "random"]
NULL_KINDS: tuple[NullKind, ...] = ("same", "random")

_TRUTHS = {
    "same": "Nothing: both sides are the base model, one with an adapter that adds zero.",
    "random": "Nothing: the adapter holds random numbers, as large as those of a finetuning.",
}
_WEIGHTS = ADAPTER_WEIGHTS[0]


def null_id(kind: NullKind, organism_id: str) -> str:
    """The id of a null pair made like an organism."""
    return f"null_{kind}_{organism_id}"


def make_null_pair(kind: NullKind, like: Organism, organisms: Path, base: str) -> Organism:
    """Make a null pair on a ``base`` in a folder of organisms, or take the one that is there.

    Raises ``OrganismError`` for one like an organism without an adapter in a folder.
    """
    folder = organisms / null_id(kind, like.id)
    # Earlier ones of the base against itself had no adapter, and no such pair can be loaded.
    if (folder / "organism.yaml").is_file() and (found := load_organism(folder)).adapter:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    data = {
        "name": folder.name,
        "family": str(Family.CONTROL),
        "base": base,
        "description": _TRUTHS[kind],
    }
    _write_adapter(kind, like, folder)
    # The description last: a folder without one is no organism.
    (folder / "organism.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    return load_organism(folder)


def random_update(
    a: np.ndarray, b: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Random factors A [rank, in] and B [out, rank] with the Frobenius norm of the product B A."""
    random_a, random_b = (rng.standard_normal(matrix.shape) for matrix in (a, b))
    size = _product_norm(random_a, random_b)
    wanted = _product_norm(a.astype(np.float64), b.astype(np.float64))
    scale = np.sqrt(wanted / size) if size else 0.0
    return (random_a * scale).astype(a.dtype), (random_b * scale).astype(b.dtype)


def _product_norm(a: np.ndarray, b: np.ndarray) -> float:
    # Of the rank's size, not of the weights': |B A|^2 = tr(B'B A A').
    return float(np.sqrt(max(0.0, np.trace((b.T @ b) @ (a @ a.T)))))


def _trained_besides(weights: Mapping[str, np.ndarray], config: Path) -> str:
    """Name what an adapter trained besides its factors A and B; empty if nothing."""
    others = [name for name in weights if not name.endswith((".lora_A.weight", ".lora_B.weight"))]
    if others:
        return f"{number_of(len(others), 'tensor')} such as {others[0]}"
    try:
        start = json.loads(config.read_text(encoding="utf-8")).get("init_lora_weights", True)
    except (OSError, ValueError, AttributeError) as exc:
        raise OrganismError(
            f"{config} is no configuration of an adapter: {exc}", "Copy the adapter again."
        ) from exc
    if isinstance(start, str) and start != "gaussian":
        # These take a part of the base's weights away, which the factors give back.
        return f"init_lora_weights={start}"
    return ""


def _write_adapter(kind: NullKind, like: Organism, folder: Path) -> None:
    source = expanded(like.adapter) if like.adapter else None
    if source is None or not (source / _WEIGHTS).is_file():
        raise OrganismError(
            f"organism {like.id!r} has no adapter in a folder to make a null pair like",
            "Name first an organism with a LoRA adapter of its own, such as cake_bake.",
        )
    try:
        weights = load_file(source / _WEIGHTS)
    except (SafetensorError, TypeError, KeyError) as exc:
        raise OrganismError(
            f"the weights of {like.id!r} cannot be read: {exc}", "Save the adapter in float32."
        ) from exc
    trained = _trained_besides(weights, source / ADAPTER_CONFIG)
    if trained:
        raise OrganismError(
            f"no null pair can be made like {like.id!r}: its adapter has {trained} besides LoRA factors, "
            "which would stay as they were trained",
            "Name first an organism with a plain LoRA adapter, such as cake_bake.",
        )
    rng = np.random.default_rng(0)
    made = dict(weights)
    for name in sorted(weights):
        if ".lora_A." in name:
            other = name.replace(".lora_A.", ".lora_B.")
            if kind == "same":
                made[other] = np.zeros_like(weights[other])
            else:
                made[name], made[other] = random_update(weights[name], weights[other], rng)
    if all(made[name] is weights[name] for name in weights):
        raise OrganismError(
            f"the adapter of {like.id!r} is no LoRA", "Name first an organism with a LoRA adapter."
        )
    shutil.copy(source / ADAPTER_CONFIG, folder / ADAPTER_CONFIG)
    save_file(made, folder / _WEIGHTS)
