"""The recorded example that comes with the project."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from workbench.replay.player import Player
from workbench.replay.recorder import replay_cassette
from workbench.report.content import build_report
from workbench.report.example import example_file, opened_example
from workbench.report.html import report_html
from workbench.store.log import SessionLog
from workbench.store.state import Fold, SessionState

#: Of the state after its last event: it changes when the fold does, and when the example is remade.
DIGEST = "1cad18dde156b92d152a1cb5a56bb93cd2fd8c75d19193bb2b63bdfa50b149bd"
LARGEST = 1_500_000


@pytest.fixture(scope="module")
def example() -> Iterator[tuple[SessionLog, str]]:
    with opened_example() as opened:
        yield opened


@pytest.fixture(scope="module")
def state(example: tuple[SessionLog, str]) -> SessionState:
    log, session = example
    folding = Fold()
    for event in log.events(session):
        folding.apply(event)
    return folding.state()


def test_it_is_small_and_holds_no_path_of_who_made_it():
    file = example_file()
    assert file.stat().st_size < LARGEST
    plain = gzip.decompress(file.read_bytes())
    for private in (b"/root/", b"/work/", b"/Users/"):
        assert private not in plain


def test_its_fold_is_what_it_was(state: SessionState):
    assert state.digest() == DIGEST


def test_it_is_a_whole_audit_by_a_person_and_an_agent(state: SessionState):
    assert state.outcome == "completed"
    assert {one.name for one in state.operations.values()} >= {
        "load_pair", "measure_difference", "read_tokens", "steer", "ask",
        "add_hypothesis", "mark_evidence", "link_evidence", "rank_hypotheses", "unprompted",
        "phrases", "complete", "amplify", "scan", "said_less", "topics", "test",
    }  # fmt: skip
    assert {one.actor.kind for one in state.operations.values()} == {"human", "agent"}
    assert {one.actor.kind for one in state.hypotheses.values()} == {"human", "agent"}
    (agent,) = state.agents.values()
    assert agent.report is not None
    assert [one.body.score for one in state.grades] == [5.0]
    alphas = {one.start.body.alpha for one in state.texts.values()}
    assert len(alphas) >= 3
    assert {one.status for one in state.texts.values()} == {"finished"}


def test_it_says_that_the_agents_replies_were_written_by_hand(state: SessionState):
    assert "written by hand" in state.name
    assert "written by hand" in state.notes[0].body.text
    assert all("written by hand" in one.model for one in state.agents.values())


@pytest.mark.slow
def test_replayed_state_equals_the_fold_after_every_event(example: tuple[SessionLog, str]):
    log, session = example
    player = Player.open(log, session)
    folding = Fold()
    for event in log.events(session):
        folding.apply(event)
        assert player.step()
        # Digests of the whole state at each of thousands of events would take minutes.
        assert (player.state.seq, player.current) == (event.seq, folding.state().timeline[-1])
        if event.seq % 97 == 0:
            assert player.state == folding.state()
    assert player.at_end
    assert player.state.digest() == DIGEST
    for seq in (player.length // 2, 7, player.length - 1):
        again = Fold()
        for event in log.events(session):
            if event.seq <= seq:
                again.apply(event)
        assert player.seek(seq).digest() == again.state().digest()


def test_its_report_can_be_written(example: tuple[SessionLog, str]):
    made = build_report(*example)
    assert made.verified
    assert "450F" in report_html(made)


@pytest.mark.slow
def test_its_operations_come_out_of_the_tape_as_they_did():
    """Fields that operations got since then are no difference."""
    with opened_example() as (log, session):
        report = replay_cassette(log, session)
    assert report.is_same, (report.left, report.differs)
    assert report.answered == 21
