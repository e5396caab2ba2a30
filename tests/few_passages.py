"""Unrelated text of which little is read: ``--texts`` does not limit the contexts of readings."""

from __future__ import annotations

from pathlib import Path

from adl.text.corpus import BUNDLED_PASSAGES


def write_few_passages(folder: Path) -> Path:
    """Write the first sixteen bundled passages to a file of the folder, for ``--corpus``."""
    path = folder / "corpus.txt"
    passages = BUNDLED_PASSAGES.read_text(encoding="utf-8").splitlines()[:16]
    path.write_text("\n".join(passages), encoding="utf-8")
    return path
