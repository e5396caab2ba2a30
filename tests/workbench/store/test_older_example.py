"""The example that came with the project before hypotheses were tested: it reads and replays as it did.

A session of an earlier version by a person and a scripted agent, on the real demo pair: lists without
struck words and negatives of predictions, tools with one price for all, a report without tests.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.replay.player import Player
from workbench.replay.recorder import replay_cassette
from workbench.report.content import build_report
from workbench.report.example import opened_example
from workbench.report.html import report_html
from workbench.report.jsonl import export_jsonl
from workbench.store.log import SessionLog
from workbench.store.state import fold

FILE = Path(__file__).with_name("example-before-tests.jsonl.gz")
SESSION = "20261121-6x5bj0"
HEAD = (346, "5d109a423178a152c352909cd65bacad3a8d5e2a158b7c2ad1d2add60709c053")
DIGEST = "1a74becb038a58456d5038277283cf9febbe5f3dca32242027f7757469dae871"
JSONL = "382c986b95555c820a6e0efcf6b7a6855765deb9a3e90627122ef5d169ed21aa"


@pytest.fixture(scope="module")
def old() -> Iterator[SessionLog]:
    with opened_example(FILE) as (log, session):
        assert session == SESSION
        yield log


def test_it_verifies_and_folds_as_it_did(old: SessionLog) -> None:
    report = old.verify()
    assert report.ok, report.problems
    assert report.heads == {SESSION: HEAD}
    assert fold(old.events(SESSION)).digest() == DIGEST
    player = Player.open(old, SESSION)
    assert player.seek(player.length).digest() == DIGEST


def test_its_export_and_its_report_are_what_they_were(old: SessionLog, tmp_path: Path) -> None:
    lines = export_jsonl(old, SESSION, tmp_path / "out.jsonl").read_bytes()
    assert lines == gzip.decompress(FILE.read_bytes())
    assert hashlib.sha256(lines).hexdigest() == JSONL
    made = build_report(old, SESSION)
    assert made.verified
    assert "450F" in report_html(made)


@pytest.mark.slow
def test_its_operations_come_out_of_the_tape_as_they_did() -> None:
    with opened_example(FILE) as (log, session):
        report = replay_cassette(log, session)
    assert report.is_same
    assert report.answered == 9
