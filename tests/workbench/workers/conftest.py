"""What tests with real workers of Ray share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """For temporary files; its path is short, as those of sockets have to be. Nothing stays in it."""
    folder = Path(tempfile.mkdtemp(prefix="r-", dir="/tmp"))
    yield folder
    left = [path.name for path in folder.iterdir()]
    shutil.rmtree(folder)
    assert left == []
