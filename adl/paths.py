"""Paths and ids on the hub, as users write them."""

from __future__ import annotations

import os
import re
from pathlib import Path

# The hub takes these letters alone.
HUB_ID = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?")
"""An id on the hub: a name, or owner/name."""


def looks_like_path(text: str) -> bool:
    """Return True for what can only be a path, whether or not anything is there."""
    return text.startswith((".", "/", "~"))


def expanded(path: str | Path) -> Path:
    """Return the path with ``~`` replaced by the home folder; unchanged if that is unknown.

    Shells do the same; ``Path.expanduser`` raises.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111 - see above


def written_down(checkpoint: str) -> str:
    """Return a checkpoint as it is written down: a folder or file by its full path, an id unchanged."""
    local = expanded(checkpoint)
    if not local.exists():
        return checkpoint
    # A file may be a link whose own name tells what it is.
    return str(local.resolve() if local.is_dir() else local.absolute())
