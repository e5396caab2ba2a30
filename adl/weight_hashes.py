"""Hashes of the files that were loaded, to tell checkpoints and adapters apart."""

from __future__ import annotations

import hashlib
from pathlib import Path

# The weights themselves can be hundreds of gigabytes. Their ends, their sizes and the whole config
# tell two checkpoints apart: a safetensors file begins with the table of its tensors.
FINGERPRINT_BYTES = 1 << 20
CHUNK_BYTES = 1 << 20
WEIGHT_SUFFIXES = {".safetensors", ".bin", ".gguf", ".pt"}


def sha256_of(*files: Path) -> str:
    """SHA-256 over the content of files, one after the other."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


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
