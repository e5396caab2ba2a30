"""Download a checkpoint or an adapter from the hub: only the files that are loaded.

A repository may hold the same weights several times: as safetensors and as pickles, in its author's
own format, for other libraries, and at every step of the training.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.constants import HF_HUB_OFFLINE
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm import tqdm

from adl.callbacks import Progress, ShouldStop, ignore_progress, never_stop
from adl.errors import HubUnreachable, PairError, Stopped, first_line
from adl.pair.checkpoint_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CONFIG,
    INDEX,
    first_weights,
    gguf_names,
    gguf_of_repository,
    has_weights,
    shard_names,
)
from adl.paths import looks_like_path
from adl.records import Side

Kind = Literal["model", "adapter"]
# Suffixes of configs, tokenizers, templates and model code.
BESIDE = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".spm", ".vocab", ".codes", ".py")
# Tokenizer tables are smaller; larger files are data.
LARGEST_BESIDE = 200_000_000
_REFUSED_HINT = "Try later, set HF_TOKEN, or give a local folder."
_UNREACHABLE_HINT = "Check the network and HF_HUB_OFFLINE, or give a local folder."
_NETWORK_HINT = "Check the network, the disk's free space and HF_HOME, or give a local folder."


@dataclass(frozen=True)
class Watcher:
    """Callbacks of a download: bytes done and total, and a stop."""

    on_bytes: Progress
    should_stop: ShouldStop


class Located(NamedTuple):
    """Place of a checkpoint or an adapter on this machine: a folder, or a GGUF file.

    ``commit`` is None for what is not from the hub. ``left`` are files of its repository that were
    not downloaded, and ``notes`` what a person should know of where it came from.
    """

    path: Path
    commit: str | None = None
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


_NO_WATCHER = Watcher(ignore_progress, never_stop)
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(on_bytes: Progress, should_stop: ShouldStop) -> Iterator[None]:
    """Report the bytes of downloads in the body, and raise ``Stopped`` in it once asked to."""
    token = _watcher.set(Watcher(on_bytes, should_stop))
    try:
        yield
    finally:
        _watcher.reset(token)


def download(
    name: Side, repository: str, revision: str | None, *, what: Kind, weights: bool = True
) -> Located:
    """Download a repository and return its snapshot; for ``ID/NAME.gguf``, that file.

    Without ``weights`` only configs, tokenizers, templates and code are downloaded. Where the hub
    gives no answer, what the local cache has is taken, with a note.
    Raises ``PairError`` and ``HubUnreachable``.
    """
    shown = f"{name}: {what} {repository!r}" + (f" at revision {revision!r}" if revision else "")
    if "://" in repository:
        raise PairError(
            f"{shown} is an address", "Give the id on the hub, such as owner/name, or a folder."
        )
    gguf = None
    if what == "model" and (found := gguf_of_repository(repository)):
        repository, gguf = found
    looks_local = looks_like_path(repository) or repository.count("/") > 1
    if looks_local:
        raise PairError(f"{shown}: there is no such folder", "Check the path.")
    with _hub_errors(shown):
        listed = _listed(repository, revision)
        if isinstance(listed, str):
            return _cached(shown, repository, revision, gguf, what=what, why=listed)
        if gguf is not None:
            path = hf_hub_download(
                repository, gguf, revision=revision, tqdm_class=_bars(_watcher.get() or _NO_WATCHER)
            )
            left: tuple[str, ...] = ()
        else:
            commit, sizes = listed
            wanted = needed_files(
                shown,
                sizes,
                what,
                lambda file: _one_file(repository, commit, file),
                weights=weights,
            )
            left = tuple(sorted(file for file in sizes if "/" not in file and file not in wanted))
            path = snapshot_download(
                repository,
                # The branch or tag, by which the cache finds the snapshot offline.
                revision=revision,
                allow_patterns=[glob.escape(file) for file in wanted],
                tqdm_class=_bars(_watcher.get() or _NO_WATCHER),
            )
    return Located(Path(path), _commit_of(Path(path), gguf), left)


def _cached(
    shown: str, repository: str, revision: str | None, gguf: str | None, *, what: Kind, why: str
) -> Located:
    """Return what the local cache has, with a note; ``why`` says that the hub gives no answer."""
    try:
        if gguf is not None:
            path = hf_hub_download(repository, gguf, revision=revision, local_files_only=True)
        else:
            path = snapshot_download(
                repository,
                revision=revision,
                local_files_only=True,
                # The cache does not know which other files were left out on purpose.
                allow_patterns=[CONFIG if what == "model" else ADAPTER_CONFIG],
            )
    except LocalEntryNotFoundError as exc:
        raise HubUnreachable(
            f"{shown} is not in the local cache and {why}",
            _REFUSED_HINT if "HTTP" in why else _UNREACHABLE_HINT,
        ) from exc
    commit = _commit_of(Path(path), gguf)
    # What was asked for by its commit is no other, and whoever works offline knows it.
    if HF_HUB_OFFLINE or revision == commit:
        return Located(Path(path), commit)
    note = (
        f"{repository} was taken from the local cache (commit {commit[:12]}), as {why}: the hub may "
        "have a newer one."
    )
    return Located(Path(path), commit, notes=(note,))


def _commit_of(path: Path, gguf: str | None) -> str:
    """The commit of a snapshot's folder, or of a file in it: the folder is named by it."""
    return path.name if gguf is None else path.parents[gguf.count("/")].name


def needed_files(
    shown: str,
    sizes: dict[str, int],
    what: Kind,
    fetch: Callable[[str], Path],
    *,
    weights: bool = True,
) -> list[str]:
    """Return the files of a repository that are loaded, given all files with their sizes in bytes.

    ``fetch`` downloads a file, for an index of shards. Raises ``PairError`` if there are no weights.
    """
    top = [file for file in sizes if "/" not in file]
    beside = [
        file
        for file in sizes
        if file.endswith(BESIDE)
        and sizes[file] <= LARGEST_BESIDE
        and ("/" not in file or file.endswith((".jinja", ".py")))
    ]
    if not weights:
        return beside
    if what == "adapter" or (ADAPTER_CONFIG in top and CONFIG not in top):
        # The first format that exists; the folder is checked after the download.
        return [*beside, *[file for file in ADAPTER_WEIGHTS if file in top][:1]]
    if not has_weights(top):
        files = gguf_names(top)
        if len(files) > 1:
            raise PairError(
                f"{shown} holds several GGUF files: {', '.join(files)}",
                f"Give one of them, as in {files[0]!r} after the id and a slash.",
            )
        if files:
            return [*beside, *files]
    if CONFIG not in top:
        raise PairError(f"{shown} has no {CONFIG}", "Check the id.")
    first, _ = first_weights(shown, sorted(top))
    if not first.endswith(INDEX):
        return [*beside, first]
    return [*beside, *shard_names(shown, fetch(first))]


def _listed(repository: str, revision: str | None) -> tuple[str, dict[str, int]] | str:
    """Return the commit and the files with their sizes, or in words why the hub gives none."""
    try:
        found = HfApi().model_info(repository, revision=revision, files_metadata=True)
    except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
        raise
    except Exception as exc:  # noqa: BLE001 - any error of the hub client's HTTP library
        # Without a network or hub the cache may suffice.
        status = getattr(getattr(exc, "response", None), "status_code", None)
        return "the hub cannot be reached" if status is None else f"the hub answers HTTP {status}"
    return str(found.sha), {file.rfilename: file.size or 0 for file in found.siblings or ()}


def _one_file(repository: str, commit: str, file: str) -> Path:
    return Path(hf_hub_download(repository, file, revision=commit))


def _bars(watcher: Watcher) -> type[tqdm]:
    """Return a progress bar class that draws nothing, calls the watcher and honours its stop."""

    class Reported(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            options.pop("name", None)
            super().__init__(*arguments, **options | {"disable": True})
            self.total = options.get("total")
            self._bytes = options.get("unit") == "B"

        def update(self, n: float | None = 1) -> bool | None:
            if watcher.should_stop():
                raise Stopped
            self.n += n or 0
            if self._bytes and self.total:
                watcher.on_bytes(int(self.n), int(self.total))
            return None

    return Reported


@contextmanager
def _hub_errors(shown: str) -> Iterator[None]:
    """Turn the errors of the hub's client into ``PairError`` and ``HubUnreachable``."""
    try:
        yield
    except GatedRepoError as exc:
        raise PairError(
            f"{shown} is gated", "Accept its licence on the hub and set HF_TOKEN."
        ) from exc
    except RevisionNotFoundError as exc:
        raise PairError(f"{shown}: no such revision", "Check the branch, tag or commit.") from exc
    except RepositoryNotFoundError as exc:
        raise PairError(
            f"{shown} is not on the hub", "Check the id; set HF_TOKEN if it is private."
        ) from exc
    except HFValidationError as exc:
        raise PairError(
            f"{shown}: neither a folder nor a hub id", "Check the path or the id."
        ) from exc
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as exc:
        raise HubUnreachable(
            f"{shown} is not in the local cache and the hub cannot be reached", _UNREACHABLE_HINT
        ) from exc
    except OSError as exc:
        raise HubUnreachable(
            f"{shown} cannot be downloaded: {first_line(exc)}", _NETWORK_HINT
        ) from exc
