"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path with ``~`` replaced by the home folder; unchanged where that is not known.

    Shells do the same. `Path.expanduser` raises there, in the middle of whatever names the file.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111 - see above
