"""A cache of arrays on disk, keyed by the hash of every input that decides them.

Files are written beside and then renamed, so that none is partial, and their content is checked
when it is read.
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

# Part of every key. Keys of format 1 covered only the ends of checkpoint files: they are not read.
FORMAT = "2"


def key_of(inputs: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the inputs as canonical JSON. Raises ``TypeError`` unless plain data."""
    text = json.dumps({"format": FORMAT, **inputs}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class ArrayCache:
    """A folder of safetensors files named by key. A failure to write is no error."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Return the arrays and facts put under ``key``, or None if missing or damaged."""
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
        """Store arrays (any shapes) and JSON facts under ``key``; return False if that failed."""
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
