"""Fetch a checkpoint or an adapter from the hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from adl.errors import HubUnreachable, PairError, first_line
from adl.records import Side

_NETWORK_HINT = "Check the network, the disk's free space and HF_HOME, or give a local folder."


def download(
    name: Side, repository: str, revision: str | None, *, what: str
) -> tuple[Path, str | None]:
    """The folder of a repository's snapshot and the commit it resolved to.

    ``what`` names the kind of thing in errors: a model, an adapter. Raises ``PairError`` and
    ``HubUnreachable``.
    """
    shown = f"{name}: {what} {repository!r}" + (f" at revision {revision!r}" if revision else "")
    looks_local = repository.startswith((".", "/", "~")) or repository.count("/") > 1
    if looks_local:
        raise PairError(f"{shown}: there is no such folder", "Check the path.")
    try:
        folder = snapshot_download(
            repository, revision=revision, ignore_patterns=["*.onnx", "*.h5", "*.msgpack", "*.ot"]
        )
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
            f"{shown} is not in the local cache and the hub cannot be reached",
            "Check the network and HF_HUB_OFFLINE, or give a local folder.",
        ) from exc
    except OSError as exc:
        raise HubUnreachable(
            f"{shown} cannot be downloaded: {first_line(exc)}", _NETWORK_HINT
        ) from exc
    # A snapshot's folder is named by its commit.
    return Path(folder), Path(folder).name
