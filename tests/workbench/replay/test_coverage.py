from __future__ import annotations

import json

import pytest

from adl.text.prompts import everyday_prompts
from tests.workbench.replay.audits import Audit
from tests.workbench.store.samples import reading, text_finished, text_started
from workbench.operations import OPERATIONS
from workbench.replay.coverage import Coverage, coverage
from workbench.store.events import (
    HUMAN,
    EventBody,
    EvidenceMarked,
    HypothesisJudged,
    HypothesisRevised,
    HypothesisStated,
    NoteWritten,
    OperationFailed,
    OperationFinished,
    OperationStarted,
    ReadingTaken,
)
from workbench.store.log import SessionLog
from workbench.store.state import fold


@pytest.fixture
def covered(log: SessionLog, recorded: Audit) -> Coverage:
    return coverage(fold(log.events(recorded.session_id)))


def test_top_tokens_that_nobody_named(covered: Coverage) -> None:
    unseen = {token.text for token in covered.tokens}
    # Named in a hypothesis, a prompt and a note of the audit, and as evidence.
    assert not {" cake", " sponge", " flour"} & unseen
    assert {" batter", " frosting", " vanilla"} <= unseen
    assert covered.tokens_seen > 0
    vanilla = next(token for token in covered.tokens if token.text == " vanilla")
    assert vanilla.lists >= 2
    assert "output_difference" in vanilla.readings
    assert 1 <= vanilla.best_rank <= 20


def test_what_failed_without_a_finding_was_not_done(log: SessionLog) -> None:
    session = log.start_session("failures")
    for place in (1, 2):
        log.append(session, HypothesisStated(hypothesis_id=f"H{place}", text=f"claim {place}"))

    def fail(name: str, *found: EventBody) -> Coverage:
        bodies = (
            OperationStarted(operation=name, arguments={}),
            *found,
            OperationFailed(error="DeviceOutOfMemory", message="full", seconds=0.1),
        )
        for body in bodies:
            log.append(session, body, operation_id=name)
        return coverage(fold(log.events(session)))

    empty = fail("scan")
    assert "scan" in empty.operations_unused
    assert [lead.id for lead in empty.dropped] == ["H2"]
    partly = fail("ask", text_started("t"), text_finished("t", "words"))
    assert "ask" not in partly.operations_unused
    assert partly.dropped == ()
    (asked,) = [activity for activity in partly.activities if activity.name == "ask"]
    assert (asked.budget.steered, asked.budget.null_steered) == (1, 0)


def test_each_way_of_naming_a_token(log: SessionLog) -> None:
    session = log.start_session("names")

    def unseen() -> list[str]:
        return [token.text for token in coverage(fold(log.events(session))).tokens]

    words = ["oven", "batter", "frost", "cakes", "tin", "tinfoil"]
    log.append(session, reading(" ".join(words), scale=None))
    assert unseen() == words
    log.append(session, NoteWritten(text="An OVEN?"))
    log.append(session, EvidenceMarked(evidence_id="E1", of_seq=2, excerpt=" batter"))
    log.append(session, HypothesisStated(hypothesis_id="H1", text="frosting"))
    log.append(session, text_started("t", prompt="What cake is that?"))
    # Three letters are too few to be a stem of anything.
    assert unseen() == ["tin", "tinfoil"]
    log.append(session, HypothesisRevised(hypothesis_id="H1", text="of tin"))
    assert unseen() == ["tinfoil"]


def test_controls_and_unchosen_lists_bring_nothing_up(log: SessionLog) -> None:
    session = log.start_session("controls")
    shown = reading("oven hub", scale=None)
    log.append(session, shown)
    log.append(session, shown.model_copy(update={"source": "random", "tokens": shown.tokens[1:]}))
    aside = reading("aside", scale=3.0)
    log.append(session, ReadingTaken.model_validate(aside.model_dump() | {"chosen": False}))
    tokens = coverage(fold(log.events(session))).tokens
    assert [(token.text, token.in_controls) for token in tokens] == [("oven", False), ("hub", True)]


def test_bundled_prompts_name_nothing(log: SessionLog) -> None:
    session = log.start_session("prompts")
    word = everyday_prompts()[0].text.split()[-1].strip("?.")
    log.append(session, reading(word, scale=None))
    log.append(session, text_started("t", prompt=everyday_prompts()[0].text))
    assert [token.text for token in coverage(fold(log.events(session))).tokens] == [word]


def test_what_was_never_used(covered: Coverage) -> None:
    unused = set(covered.operations_unused)
    assert {"load_pair", "unmark_evidence"} <= unused < set(OPERATIONS)
    assert not {"measure_difference", "steer", "ask", "note", "judge_hypothesis"} & unused
    assert set(covered.readings_unused) == {
        "consensus",
        "amplified_difference",
        "patchscope_contrast",
        "patchscope",
    }


def test_hypotheses_dropped_without_a_test(log: SessionLog, covered: Coverage) -> None:
    assert [(one.id, one.how) for one in covered.dropped] == [("H3", "left open")]
    assert covered.evidence_unused == ()
    session = log.start_session("dropped")
    for name in ("H1", "H2"):
        log.append(session, HypothesisStated(hypothesis_id=name, text=name))
    assert [one.id for one in coverage(fold(log.events(session))).dropped] == ["H2"]
    log.append(session, HypothesisJudged(hypothesis_id="H1", verdict="rejected"))
    dropped = coverage(fold(log.events(session))).dropped
    assert [(one.id, one.how) for one in dropped] == [("H1", "rejected"), ("H2", "left open")]
    # A question put to the models after they were stated is a test.
    log.append(
        session, OperationStarted(operation="ask", arguments={}), actor=HUMAN, operation_id="a"
    )
    log.append(session, OperationFinished(seconds=1.0), actor=HUMAN, operation_id="a")
    assert coverage(fold(log.events(session))).dropped == ()


def test_where_the_budget_went(log: SessionLog, recorded: Audit, covered: Coverage) -> None:
    state = fold(log.events(recorded.session_id))
    spent = {activity.name: activity for activity in covered.activities}
    assert sum(activity.share for activity in covered.activities) == pytest.approx(1.0)
    assert spent["steer"].budget.texts == 4
    assert (spent["ask"].budget.texts, spent["ask"].budget.asked) == (2, 2)
    assert sum(activity.budget.tokens for activity in covered.activities) == sum(
        len(text.token_ids) for text in state.texts.values()
    )
    seconds = [activity.budget.seconds for activity in covered.activities]
    assert seconds == sorted(seconds, reverse=True)
    assert covered.turns == {"human": 7, "agent": 7}
    assert json.loads(json.dumps(covered.as_dict()))["turns"] == covered.turns
