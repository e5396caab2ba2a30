from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.planted import DOMAIN
from tests.workbench.replay.audits import Audit
from tests.workbench.store.samples import text_started
from workbench.replay.compare import (
    UNSCORED,
    compare,
    grade_rows,
    rows,
    summarise,
)
from workbench.store.agent_events import AgentReplied, AgentStarted, GradeGiven, Usage
from workbench.store.events import EvidenceMarked, TextFinished
from workbench.store.log import SessionLog
from workbench.store.slices.agents import cost_of, whole_sum
from workbench.store.state import SessionState, fold


@pytest.fixture
def state(log: SessionLog, recorded: Audit) -> SessionState:
    return fold(log.events(recorded.session_id))


def grade(grade_id: str, score: float | None, replaces: str | None = None) -> GradeGiven:
    return GradeGiven(
        grade_id=grade_id,
        grader="report",
        subject="report:run",
        score=score,
        reason="why",
        rubric="cakes",
        rubric_version="1",
        replaces=replaces,
    )


def test_a_session_in_numbers(log: SessionLog, state: SessionState) -> None:
    summary = summarise(state)
    events = list(log.events(state.session_id))
    texts = [event.body for event in events if isinstance(event.body, TextFinished)]
    assert summary.budget.texts == len(texts) == 6
    assert summary.budget.asked == 2
    assert summary.budget.steered == 2
    assert summary.budget.tokens == sum(len(text.token_ids) for text in texts) > 0
    assert summary.budget.operations == sum(e.body.kind == "operation_started" for e in events)
    assert summary.operations["add_hypothesis"] == 3
    assert summary.budget.seconds == pytest.approx(
        sum(e.body.seconds for e in events if e.body.kind == "operation_finished"), abs=0.001
    )
    assert summary.seconds == (events[-1].at - events[0].at).total_seconds() > 0
    assert (summary.base, summary.finetuned) == ("planted-base", "planted-finetuned")
    assert summary.actors == ("human", "agent a model")
    assert summary.outcome == "completed"
    assert json.loads(json.dumps(summary.as_dict()))["started_at"].endswith("+00:00")


def test_a_text_with_a_null_s_vector_has_no_difference_added(log: SessionLog) -> None:
    session = log.start_session("nulls")
    for source in ("difference", "random", "split_half"):
        log.append(session, text_started(source).model_copy(update={"source": source}))
    found = summarise(fold(log.events(session))).budget
    assert (found.texts, found.steered, found.null_steered) == (3, 1, 2)


def test_hypotheses_come_ranked_and_with_their_evidence(state: SessionState) -> None:
    first, second, third = summarise(state).hypotheses
    assert (first.id, first.confidence, first.verdict) == ("H1", 0.9, "open")
    assert first.supported_by[0] in DOMAIN
    assert (first.opposed_by, first.changes) == ((), 2)
    assert (second.id, second.verdict, len(second.opposed_by)) == ("H2", "rejected", 1)
    assert (third.id, third.supported_by, third.by) == ("H3", (), "a model")


def test_side_by_side(log: SessionLog, state: SessionState) -> None:
    other = log.start_session("another")
    excerpt = state.evidence["E1"].body.excerpt
    log.append(other, EvidenceMarked(evidence_id="E1", of_seq=1, excerpt=f" {excerpt.upper()} "))
    comparison = compare([state, fold(log.events(other))])
    table = {measure: values for measure, *values in rows(comparison)}
    assert table["session"] == [state.session_id, other]
    assert table["texts generated"] == ["6", "0"]
    assert table["outcome"] == ["completed", "open"]
    assert table["hypothesis, rank 1"][0].startswith("It was finetuned on baking cake. (open, 90%")
    assert table["hypothesis, rank 1"][1] == ""
    assert {len(values) for values in table.values()} == {2}
    assert comparison.shared_evidence == (excerpt.strip(),)
    assert len(comparison.as_dict()["sessions"]) == 2


def test_grades_stand_apart_and_edits_replace(log: SessionLog) -> None:
    one, other = log.start_session("one"), log.start_session("other")
    log.append(one, grade("G1", 2.0))
    log.append(one, grade("G2", 4.0, replaces="G1"))
    log.append(other, grade("G1", None))
    third = log.start_session("third")
    comparison = compare([fold(log.events(session)) for session in (one, other, third)])
    assert grade_rows(comparison) == [("report of report", "4", UNSCORED, "not graded")]
    assert not any("grade" in measure or "score" in measure for measure, *_ in rows(comparison))
    assert grade_rows(compare([fold(log.events(third))])) == []


def test_what_an_agent_used(log: SessionLog) -> None:
    session = log.start_session("by an agent")
    log.append(
        session,
        AgentStarted(run_id="r", mode="black_box", model="m", endpoint="e", budgets={}),
    )
    for exchange, cost in (("a", None), ("b", 0.25)):
        log.append(
            session,
            AgentReplied(
                exchange_id=exchange,
                run_id="r",
                model="m",
                content="",
                finish_reason="stop",
                usage=Usage(prompt_tokens=30, completion_tokens=12, cost=cost),
                seconds=1.0,
            ),
        )
    comparison = compare([fold(log.events(session))])
    (summary,) = comparison.sessions
    assert summary.agents == ("black-box: m",)
    budget = summary.budget
    # A sum over the replies with a price would be shown as the cost of all.
    assert (budget.agent_replies, budget.agent_tokens, budget.cost) == (2, 84, None)
    assert ("agent's cost, US dollars", "not known") in rows(comparison)


def test_a_cost_is_known_where_that_of_every_agent_is() -> None:
    assert whole_sum([0.25, 0.5]) == 0.75
    assert whole_sum([0.25, None]) is None
    assert whole_sum([]) is None
    free = Usage(prompt_tokens=0, completion_tokens=0)
    paid = Usage(prompt_tokens=30, completion_tokens=12, cost=0.25)
    assert cost_of([free, paid]) == 0.25
    assert cost_of([paid, paid.model_copy(update={"cost": None})]) is None


def test_a_clock_that_was_set_back_gives_no_negative_time(state: SessionState) -> None:
    assert state.last_at is not None
    back = replace(state, started_at=state.last_at + timedelta(seconds=65))
    assert summarise(back).seconds == 0
    (began,) = (values for name, *values in rows(compare([back])) if name.startswith("time, first"))
    assert began == ["0.0 s"]
