from __future__ import annotations

import sqlite3

import pytest

from tests.workbench.replay.audits import Audit
from tests.workbench.replay.test_compare import grade
from tests.workbench.store.samples import ARRAYS, difference, reading, text_started
from workbench.report.content import build_report
from workbench.report.limits import METHOD, Measured, limits
from workbench.store.events import HypothesisStated, PairLoaded
from workbench.store.log import SessionLog
from workbench.store.schema import create_guards, drop_guards
from workbench.store.state import fold


@pytest.fixture
def session(log: SessionLog) -> str:
    return log.start_session("limits")


def said(log: SessionLog, session: str, *measured: Measured, nulls: bool = True) -> list[str]:
    found = list(limits(fold(log.events(session)), measured, has_nulls=nulls))
    assert found[: len(METHOD)] == list(METHOD)
    return found[len(METHOD) :]


def test_a_good_measurement_has_nothing_said_against_it(log: SessionLog, session: str) -> None:
    good = Measured(2, "1", n_texts=1000, error_share=0.1, half_cosine=0.99)
    noisy_sink = Measured(2, "0", n_texts=1000, error_share=0.9, half_cosine=0.1)
    lines = said(log, session, good, noisy_sink)
    assert not any("texts" in line or "noise" in line or "cosine" in line for line in lines)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ((2, "1", 20, 0.1, 0.99), "no more than 20 texts"),
        ((2, "1", 1000, 0.6, 0.99), "1 of 1 site the standard error is more than 25%"),
        ((2, "1", 1000, None, 0.99), "mostly noise"),
        ((2, "1", 1000, 0.1, 0.4), "cosine below 0.9"),
    ],
)
def test_a_poor_measurement_is_named(
    log: SessionLog,
    session: str,
    measured: tuple[int, str, int, float | None, float],
    expected: str,
) -> None:
    assert any(expected in line for line in said(log, session, Measured(*measured)))


def test_a_difference_from_an_old_cache_is_in_doubt(log: SessionLog, session: str) -> None:
    measured = Measured(14, "1", 1000, 0.1, 0.99)
    for facts, doubted in (
        ({"from_cache": False}, False),
        ({"from_cache": True, "content_hashed": True}, False),
        ({"from_cache": True}, True),
    ):
        body = difference(ARRAYS).model_copy(update=facts)
        log.append(session, body, arrays=ARRAYS.values())
        found = [line for line in said(log, session, measured) if "another checkpoint" in line]
        assert bool(found) is doubted
        assert ("another checkpoint" in body.describe()) is doubted


def test_a_fingerprint_of_an_old_session_is_called_one(log: SessionLog, session: str) -> None:
    sides = {"base": {"weights_sha256": "0" * 64}, "finetuned": {"content_sha256": "1" * 64}}
    log.append(session, PairLoaded(pair=sides))
    rows = build_report(log, session).provenance
    assert ("fingerprint of sizes and ends of files (no content hash)", "0" * 64, "none") in rows
    assert ("content sha256", "none", "1" * 64) in rows


def test_what_was_left_out_is_named(log: SessionLog, session: str) -> None:
    log.append(session, reading())
    lines = said(log, session, nulls=False)
    assert "No difference was measured in this session." in lines
    assert any("No null was read" in line for line in lines)
    assert any("No text was generated" in line for line in lines)
    assert any("still open" in line for line in lines)
    log.append(session, text_started("t"))
    log.append(session, HypothesisStated(hypothesis_id="H1", text="x"))
    lines = said(log, session)
    assert not any("control" in line or "No text" in line for line in lines)
    assert "Without linked evidence: 1 of 1 hypothesis." in lines


def test_a_grade_that_was_replaced_is_not_unscored(log: SessionLog, session: str) -> None:
    for grade_id, score, replaces in (("G1", None, None), ("G2", 5.0, "G1")):
        log.append(session, grade(grade_id, score, replaces))
        unscored = any("unscored" in line for line in said(log, session))
        assert unscored == (score is None)


def test_a_damaged_session_is_reported_as_one(log: SessionLog, recorded: Audit) -> None:
    with sqlite3.connect(log.path, isolation_level=None) as connection:
        drop_guards(connection)
        connection.execute(
            "UPDATE events SET body = replace(body, 'Sponge', 'Mould') WHERE seq > 90"
        )
        create_guards(connection)
    report = build_report(log, recorded.session_id)
    assert not report.verified
    assert any("does not match its hash" in problem for problem in report.problems)
