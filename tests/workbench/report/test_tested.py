"""Reports on hypotheses: tested, untested, and confirmed by a person without a passed test."""

from __future__ import annotations

from pathlib import Path

import pytest

from adl.artifacts import ArrayCache
from tests.planted import PlantedPair
from tests.workbench.operations.test_testing import GIVEN, Answering
from workbench.operations.hypotheses import (
    ADD_HYPOTHESIS,
    REVISE,
    SET_VERDICT,
    AddHypothesisArguments,
    ReviseArguments,
    SetVerdictArguments,
)
from workbench.operations.running import Session, run
from workbench.operations.testing import TEST
from workbench.replay.compare import summarise
from workbench.replay.coverage import coverage
from workbench.replay.recompute import recompute
from workbench.replay.recorder import replay_cassette
from workbench.report.content import build_report
from workbench.report.html import report_html
from workbench.report.markdown import report_markdown
from workbench.store.events import HUMAN, HypothesisJudged, HypothesisStated, PairLoaded
from workbench.store.log import SessionLog


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("tested")
    with SessionLog.open(folder / "sessions.db") as log:
        pair: PlantedPair = Answering()
        session = Session(log, log.start_session("an audit"), ArrayCache(folder / "arrays"), pair)
        session.record(PairLoaded(pair=pair.provenance.as_dict()))
        run(session, TEST, GIVEN, actor=HUMAN)
        run(session, ADD_HYPOTHESIS, AddHypothesisArguments(text="Never tested."), actor=HUMAN)
        run(
            session,
            SET_VERDICT,
            SetVerdictArguments(hypothesis="H2", verdict="confirmed", reason="I know."),
            actor=HUMAN,
        )
        session.record(HypothesisStated(hypothesis_id="H3", text="Of old."), actor=HUMAN)
        session.record(HypothesisJudged(hypothesis_id="H3", verdict="confirmed"), actor=HUMAN)
        yield session


def test_a_test_of_earlier_words_is_none_of_todays(tmp_path: Path):
    with SessionLog.open(tmp_path / "sessions.db") as log:
        session = Session(log, log.start_session("x"), ArrayCache(tmp_path), Answering())
        session.record(PairLoaded(pair=Answering().provenance.as_dict()))
        run(session, TEST, GIVEN, actor=HUMAN)
        revised = ReviseArguments(hypothesis="H1", text="It answers with stone.")
        run(session, REVISE, revised, actor=HUMAN)
        report = build_report(log, session.id)
    for page in (report_markdown(report), report_html(report)):
        assert "untested; test X1 was of its earlier words" in page
        assert "of its earlier words: It answers questions with" in page


def test_the_report_has_each_test_with_its_rates(session: Session):
    report = build_report(session.log, session.id)
    markdown, html = report_markdown(report), report_html(report)
    for page in (markdown, html):
        assert "confirmed (by test X1)" in page
        assert "confirmed (by a person, without a passed test)" in page
        assert "confirmed (without test)" in page
        assert "held-out prompts on finetuned" in page
        assert "Untested." in page
        assert "17 of 20" in page
        assert "2 untested hypotheses: H2, H3" in page
    assert html.count('aria-label="17 of 20') == 1


def test_coverage_counts_untested_claims(session: Session):
    assert coverage(session.state).untested == ("H2", "H3")
    assert [claim.status for claim in summarise(session.state).hypotheses] == [
        "confirmed (by test X1)",
        "confirmed (by a person, without a passed test)",
        "confirmed (without test)",
    ]


def test_a_test_is_computed_again_with_the_words_it_was_of(session: Session):
    again = recompute(session.log, session.id, session.pair)
    assert not again.drifted, again.as_dict()
    (operation,) = again.operations
    assert (operation.name, operation.now) == ("test", "finished")


def test_a_test_is_replayed_by_cassette(session: Session):
    replayed = replay_cassette(session.log, session.id)
    assert replayed.left is None, str(replayed.left)
