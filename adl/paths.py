"""Paths as users write them."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """Return the path with ``~`` replaced by the home folder; unchanged if that is unknown.

    Shells do the same; ``Path.expanduser`` raises.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111 - see above
