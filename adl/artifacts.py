"""Arrays kept on disk under the hash of every input that decides them.

A file is whole or not there (written beside, then renamed), and its content is checked when it is
read: an array cache that returns something else than was put in is worse than none.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

# Of the keys: "1" knew of checkpoints no more than the ends of their files, and is never served.
FORMAT = "2"


def key_of(inputs: Mapping[str, Any]) -> str:
    """SHA-256 over the inputs as canonical JSON; raises TypeError for what is not plain data."""
    text = json.dumps({"format": FORMAT, **inputs}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class ArrayCache:
    """A folder of safetensors files named by key. Failing to write is no error: it is a cache."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """The arrays and facts put under ``key``, or None if there are none that are intact."""
        try:
            with safe_open(self._path(key), framework="numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                metadata = file.metadata() or {}
        except (OSError, SafetensorError):
            return None
        facts = metadata.get("facts", "{}")
        if metadata.get("sha256") != _digest(arrays, facts):
            return None
        return arrays, json.loads(facts)

    def put(self, key: str, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> bool:
        """Keep arrays (any shapes) and JSON facts under ``key``; False if the disk refused."""
        written = json.dumps(facts, sort_keys=True)
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        metadata = {"facts": written, "sha256": _digest(contiguous, written)}
        data = save(contiguous, metadata=metadata)
        path = self._path(key)
        scratch = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                scratch = file.name
                file.write(data)
            Path(scratch).replace(path)
        except OSError:
            if scratch is not None:
                Path(scratch).unlink(missing_ok=True)
            return False
        return True

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.safetensors"


def _digest(arrays: Mapping[str, np.ndarray], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].dtype.str}{arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
