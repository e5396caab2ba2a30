"""One recorded audit of the planted pair, with a person's and an agent's turns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workbench.replay.audits import Audit, record_audit
from workbench.store.log import SessionLog


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """Recorded once; tests read it, or record sessions of their own beside it."""
    return record_audit(tmp_path_factory.mktemp("recorded") / "sessions.db")


@pytest.fixture
def log(recorded: Audit, tmp_path: Path) -> Iterator[SessionLog]:
    """A file of the test's own with the audit in it."""
    with SessionLog.open(tmp_path / "sessions.db") as log:
        log.import_session(recorded.path, recorded.session_id)
        yield log
