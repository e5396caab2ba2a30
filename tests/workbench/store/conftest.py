from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.store.log import SessionLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def log(path: Path) -> Iterator[SessionLog]:
    with SessionLog.open(path) as log:
        yield log


@pytest.fixture
def session(log: SessionLog) -> str:
    return log.start_session("a session")
