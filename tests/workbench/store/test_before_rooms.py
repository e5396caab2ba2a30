"""A database written before the program had rooms: everything in it reads as it did.

``before-rooms.db.gz`` was recorded by the code of commit 4bb0d59, with the planted pair of its tests:

    everything measured   difference, readings, steering, a probe, every measure (on documents of
                          `DOCUMENTS`), hypotheses with evidence, an operation that failed and one that
                          was stopped, a saved view, and an agent's audit by the scripted endpoint
    a blind look          sealed before a pair that says its own names was loaded; a probe, a note and
                          an agent's black-box audit
    cakes                 the samples of the store's tests: one of every kind of event that is left

The digests below are those that the same code gave.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.planted import DOMAIN, FILLER, PlantedPair
from tests.workbench.agent.test_blinding import NAMES, NamedPair
from workbench.blinding.sessions import redactor_for
from workbench.replay.recompute import recompute
from workbench.report.content import build_report
from workbench.report.jsonl import export_jsonl, import_jsonl
from workbench.report.markdown import report_markdown
from workbench.store.body import KINDS
from workbench.store.log import SessionLog
from workbench.store.state import Fold, fold

FILE = Path(__file__).with_name("before-rooms.db.gz")
DOCUMENTS = [f"the{filler} and{''.join(DOMAIN)} of the{filler}" for filler in FILLER[:6]]


@dataclass(frozen=True)
class Recorded:
    """A session of the file: its head, and the digests of its state and of its export as JSONL."""

    id: str
    name: str
    head: tuple[int, str]
    state: str
    jsonl: str


MEASURED = Recorded(
    "20261128-h6cemd",
    "everything measured",
    (178, "e34e326dbaa61e240a280953c48dda62494847f8fae182f4d0159f8e9189f847"),
    "6342e0abeb8d580c6b8b6bea2d4df59916cb6ca58143905f97dfc506ebf39309",
    "574b7887a20205d3a05e3e4c4e4a4be2317026a969e4b39720cab523a5b9b304",
)
BLIND = Recorded(
    "20261128-eh2xtr",
    "a blind look",
    (42, "5a437b4911046df99ba765845f899f1a42b3190f38f285b30a59017ce814bd66"),
    "ef76a2abf31433a01ea0d8dfb9181a6d0899cc39a250e1072de24b1b7cd79aae",
    "6c7c3882378b04ae7c5a7f2efe626f75b70073fe12923a2531725ca442fc1c38",
)
SAMPLES = Recorded(
    "20261128-7raj3x",
    "cakes",
    (66, "7d3a1a7031270d9051246ea2154b4f500e3808c80330454261ab4d3bcfb05d16"),
    "ff5ef150cc2d9cbaf97435913d7174a6867b6a8cf1bc761af061c1dd0e8d7d8f",
    "69facba5d9db4503be8c51d3238d48a09775e65f677e91432f17cfb3c1e6b1f8",
)
SESSIONS = (MEASURED, BLIND, SAMPLES)
#: Findings that an operation has today and had not then. Since then the readings of predictions have
#: the negative, too: of those the session asked for one. A recomputation names it, and finds all that
#: was recorded again.
FOUND_LATER = {
    "read_tokens": ["reading output_difference negative finetuned 3 1-4: not found before"],
}
#: Intervals of fewer than 20 values are by Student's t since: their ends are others, by up to so much
#: relative to the finding's numbers.
OTHER_INTERVALS = {"causal_effect": 2e-2, "steered_similarity": 0.5}
#: Kinds of event that there were.
N_KINDS = 58


@pytest.fixture
def old(tmp_path: Path) -> Iterator[SessionLog]:
    path = tmp_path / "old.db"
    path.write_bytes(gzip.decompress(FILE.read_bytes()))
    with SessionLog.open(path) as log:
        yield log


def test_it_is_small_and_holds_every_kind_of_event_of_its_time(old: SessionLog) -> None:
    assert FILE.stat().st_size < 150_000
    kinds = {event.body.kind for one in SESSIONS for event in old.events(one.id)}
    assert len(kinds) == N_KINDS
    assert kinds <= set(KINDS)


def test_it_verifies_with_the_heads_it_had(old: SessionLog) -> None:
    report = old.verify()
    assert report.ok, report.problems
    assert report.heads == {one.id: one.head for one in SESSIONS}
    assert {(found.id, found.name) for found in old.sessions()} == {
        (one.id, one.name) for one in SESSIONS
    }


@pytest.mark.parametrize("session", SESSIONS, ids=lambda one: one.name)
def test_its_state_is_what_it_was(old: SessionLog, session: Recorded) -> None:
    assert fold(old.events(session.id)).digest() == session.state
    # One event after the other too, with a look at each state on the way.
    folding = Fold()
    for event in old.events(session.id):
        folding.apply(event)
        assert folding.state().timeline[-1].seq == event.seq
    assert folding.state().digest() == session.state


@pytest.mark.parametrize("session", SESSIONS, ids=lambda one: one.name)
def test_its_exports_are_what_they_were(old: SessionLog, session: Recorded, tmp_path: Path) -> None:
    lines = export_jsonl(old, session.id, tmp_path / "out.jsonl")
    assert hashlib.sha256(lines.read_bytes()).hexdigest() == session.jsonl
    copied = old.export_session(session.id, tmp_path / "copied.db")
    with SessionLog.open(copied, read_only=True) as log:
        assert log.verify().heads == {session.id: session.head}
    with SessionLog.open(tmp_path / "imported.db") as log:
        import_jsonl(log, lines)
        assert log.verify().heads == {session.id: session.head}
        assert fold(log.events(session.id)).digest() == session.state


def test_its_report_has_what_was_found(old: SessionLog) -> None:
    text = report_markdown(build_report(old, MEASURED.id))
    for found in ("It was finetuned on baking cake.", "Sponge, or flour?", "strong"):
        assert found in text


def test_its_blind_session_is_still_blind(old: SessionLog) -> None:
    shown = redactor_for(old, BLIND.id).state(fold(old.events(BLIND.id)))
    said = repr(list(shown.timeline)) + repr(shown)
    assert "MODEL-B" in said
    for name in NAMES:
        assert name.lower() not in said.lower(), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("session", "pair", "ran", "failed"),
    [(MEASURED, PlantedPair, 12, 2), (BLIND, NamedPair, 3, 0)],
    ids=["everything measured", "a blind look"],
)
def test_its_operations_give_the_same_again(
    old: SessionLog,
    session: Recorded,
    pair: type[PlantedPair],
    ran: int,
    failed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("documents.txt").write_text("\n".join(DOCUMENTS))
    report = recompute(old, session.id, pair())
    again = [one for one in report.operations if one.now != "not run"]
    assert len(again) == ran
    assert sum(one.now == "failed" for one in again) == failed
    for one in again:
        assert one.now == one.then, one
        later = FOUND_LATER.get(one.name, [])
        assert (one.drift.missing, one.drift.extra) == (0, len(later)), one
        assert [line for line in one.drift.lines if ": not found" in line] == later
        # Another processor rounds otherwise, and that may reorder tokens of equal rank.
        assert one.drift.relative < OTHER_INTERVALS.get(one.name, 1e-3), one
        assert one.drift.same_texts == one.drift.texts, one
    assert old.verify().ok
