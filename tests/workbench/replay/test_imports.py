"""What replaying and reporting load: a session opens with the light part of the package alone."""

from __future__ import annotations

import pytest

from tests.test_import_hygiene import (
    CLIENT_LIBRARIES,
    MODEL_LIBRARIES,
    SCREEN_LIBRARIES,
    loaded_by,
)

ALL = (
    "workbench.replay.player",
    "workbench.replay.branch",
    "workbench.replay.compare",
    "workbench.replay.coverage",
    "workbench.replay.recompute",
    "workbench.replay.recorder",
    "workbench.report.content",
    "workbench.report.html",
    "workbench.report.markdown",
    "workbench.report.jsonl",
    "workbench.report.inspect_log",
    "workbench.report.vectors",
    "workbench.report.example",
    "workbench.cli.replay",
    "workbench.cli.report",
)
HEAVY = MODEL_LIBRARIES | SCREEN_LIBRARIES | CLIENT_LIBRARIES | {"inspect_ai"}


@pytest.mark.slow
def test_nothing_of_replay_and_report_needs_models_screens_or_clients() -> None:
    assert not loaded_by(f"import {', '.join(ALL)}") & HEAVY


@pytest.mark.slow
@pytest.mark.parametrize("module", ["workbench.replay.player", "workbench.cli.replay"])
def test_a_replay_by_eye_starts_with_little(module: str) -> None:
    assert not loaded_by(f"import {module}") & (HEAVY | {"jinja2", "sqlite_utils"})


USING = """
import sys, tempfile
from pathlib import Path
from workbench.replay.player import Player
from workbench.report.content import build_report
from workbench.report.html import report_html
from workbench.report.jsonl import export_jsonl, import_jsonl
from workbench.replay.recorder import replay_cassette
from workbench.store.events import HypothesisStated
from workbench.store.log import SessionLog
with tempfile.TemporaryDirectory() as folder, SessionLog.open(Path(folder) / "a.db") as log:
    session = log.start_session("light")
    log.append(session, HypothesisStated(hypothesis_id="H1", text="of cakes"))
    assert Player.open(log, session).seek(2).hypotheses
    assert "of cakes" in report_html(build_report(log, session))
    file = export_jsonl(log, session, Path(folder) / "a.jsonl")
    with SessionLog.open(Path(folder) / "b.db") as other:
        import_jsonl(other, file)
        assert replay_cassette(other, session).is_same
"""


@pytest.mark.slow
def test_using_them_loads_no_more() -> None:
    assert not loaded_by(USING) & HEAVY
