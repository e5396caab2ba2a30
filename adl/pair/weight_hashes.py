"""SHA-256 of the content of checkpoints and adapters.

Every file that decides numbers is read in full: two checkpoints may differ in a single matrix. Hashes
are cached under all that the file system knows of a file, so that an unchanged file is read once.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from adl.callbacks import Progress, ShouldStop, ignore_progress, never_stop
from adl.errors import PairError, Stopped, first_line
from adl.pair.checkpoint_files import CONFIG, has_weights
from adl.paths import expanded

CHUNK_BYTES = 1 << 22
WEIGHT_SUFFIXES = {".safetensors", ".bin", ".gguf", ".pt", ".pth"}
# Hashed with the tokenizer: they decide texts, not weights.
TEXT_FILES = {
    "added_tokens.json",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
}
# Training state, and weights in their author's own format: often large, never loaded.
NOT_LOADED = ("optimizer", "scheduler", "rng_state", "training_args", "scaler", "consolidated")
# A file rewritten within the clock's resolution would look unchanged.
SETTLED_SECONDS = 2.0


@dataclass
class FileHashes:
    """Hashes files in parallel, with a cache in ``folder`` (None: no cache).

    ``progress`` is called with bytes done and total. Raises ``Stopped`` once ``should_stop`` returns
    True, and ``PairError`` for a file that changes while it is read.
    """

    folder: Path | None = None
    progress: Progress = ignore_progress
    should_stop: ShouldStop = never_stop

    def of(self, files: Iterable[Path]) -> dict[Path, str]:
        """Return the SHA-256 of each file's content."""
        wanted = list(files)
        found = {path: known for path in wanted if (known := self._remembered(path)) is not None}
        left = [path for path in wanted if path not in found]
        count = _Counter(sum(path.stat().st_size for path in left), self.progress)
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            found |= zip(left, pool.map(lambda path: self._hash(path, count), left), strict=True)
        return found

    def _hash(self, path: Path, count: _Counter) -> str:
        before = _identity(path)
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                if self.should_stop():
                    raise Stopped
                digest.update(chunk)
                count.add(len(chunk))
        if _identity(path) != before:
            raise PairError(
                f"{path.name} changed while it was read",
                "Wait until it is written, and load again.",
            )
        self._remember(path, digest.hexdigest())
        return digest.hexdigest()

    def _remembered(self, path: Path) -> str | None:
        if self.folder is None:
            return None
        try:
            text = self._place(path).read_text("ascii")
        except (OSError, UnicodeError):
            return None
        return text if len(text) == hashlib.sha256().digest_size * 2 else None

    def _remember(self, path: Path, digest: str) -> None:
        """Cache a hash, unless the file is too new; a failure is no error."""
        if self.folder is None or time.time() - _newest(path) < SETTLED_SECONDS:
            return
        place = self._place(path)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False) as file:
                file.write(digest)
            Path(file.name).replace(place)
        except OSError:
            return

    def _place(self, path: Path) -> Path:
        assert self.folder is not None
        name = hashlib.sha256(_identity(path).encode()).hexdigest()
        return self.folder / name[:2] / name


class _Counter:
    """Bytes done by all threads."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._done, self._total, self._progress = 0, total, progress
        self._lock = Lock()

    def add(self, n: int) -> None:
        with self._lock:
            self._done += n
            self._progress(self._done, self._total)


def content_sha256(folder: Path, hashes: FileHashes, code: Iterable[Path] = ()) -> str:
    """Return the SHA-256 over every file of a checkpoint that decides numbers, by name and content.

    ``code`` are files of model code from elsewhere. Raises ``PairError`` for a
    file that cannot be read.
    """
    try:
        files = {path.relative_to(folder).as_posix(): path for path in _deciding(folder)}
        files |= {f"code/{path.name}": path for path in code}
        found = hashes.of(files.values())
    except OSError as exc:
        raise PairError(
            f"{exc.filename or folder} cannot be read: {exc.strerror or first_line(exc)}",
            "Check the file and its permissions.",
        ) from exc
    listed = sorted((name, found[path]) for name, path in files.items())
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def known_content(checkpoint: str, hashes: FileHashes) -> str | None:
    """Return the `content_sha256` that a load of a checkpoint would record; None if only a load tells.

    It tells alone for an id, which may have to be downloaded, for a GGUF file, which is converted
    first, and for a checkpoint with code of its own, part of which may come from elsewhere. Raises
    ``PairError`` for a file that cannot be read.
    """
    folder = expanded(checkpoint)
    try:
        if not folder.is_dir() or not has_weights(path.name for path in folder.iterdir()):
            return None
    except OSError:
        return None
    return None if _runs_code(folder / CONFIG) else content_sha256(folder, hashes)


def sha256_of(*files: Path) -> str:
    """Return the SHA-256 over the concatenated content of files, such as an adapter's."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def _deciding(folder: Path) -> list[Path]:
    """Return the files that decide a checkpoint's numbers: config, weights, indices and code."""
    top = [path for path in folder.iterdir() if path.is_file()]
    found = {path for path in top if path.suffix == ".json" and path.name not in TEXT_FILES}
    weights = {path for path in top if path.suffix in WEIGHT_SUFFIXES}
    found |= {path for path in weights if not path.name.startswith(NOT_LOADED)}
    for index in folder.glob("*.index.json"):
        found |= {folder / name for name in _shards(index)}
    if _runs_code(folder / CONFIG):
        found |= set(folder.rglob("*.py"))
    return sorted(path for path in found if path.is_file())


def _shards(index: Path) -> set[str]:
    """Return the files that an index names, which may be in subfolders."""
    try:
        return set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return set()


def _runs_code(config: Path) -> bool:
    try:
        return "auto_map" in json.loads(config.read_text("utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _identity(path: Path) -> str:
    """Return all that the file system knows that changes with a file's content."""
    real = path.resolve()
    stat = real.stat()
    facts = (stat.st_size, stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
    return json.dumps([str(real), *facts])


def _newest(path: Path) -> float:
    stat = path.stat()
    return max(stat.st_mtime, stat.st_ctime)
