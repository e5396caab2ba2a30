"""Up to ten ranked guesses of a report: counted once each, graded in their order, lost never."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.workbench.agent.scripted import Asked, Reaction, Say, in_turn, report, serving
from workbench.agent.endpoint import Endpoint
from workbench.agent.grading import grade_guesses
from workbench.agent.loop import AuditPlan, start_audit
from workbench.agent.tools import REPORT_TOOL
from workbench.operations.running import Session
from workbench.store.agent_events import GradeGiven

MANY = tuple(f"It likes number {index}." for index in range(25))


def audited(session: Session, *guesses: str) -> None:
    given = [{"text": text, "probability": 0.4} for text in guesses]
    with serving(in_turn(Say("", [report("It bakes cakes.", guesses=given)]))) as server:
        endpoint = Endpoint(server.settings())
        state = start_audit(session, endpoint, AuditPlan(model="scripted"))
        endpoint.close()
    assert state.stopped_by == "report"


def graded(
    session: Session, right: str | int, repeats: int = 1
) -> tuple[list[GradeGiven], list[str]]:
    """The grades by a judge to whom the guess with the words ``right`` is right, and what it saw."""
    seen: list[str] = []

    def judge(asked: Asked) -> Reaction:
        material = [json.loads(line) for line in asked.last.splitlines() if line.startswith("{")]
        seen[:] = [guess["guess"] for guess in material]
        numbers = [guess["number"] for guess in material if str(right) in guess["guess"]]
        found = right if isinstance(right, int) else next(iter(numbers), 0)
        return Say("", [("find_right_guess", {"right": found, "reason": "so"})])

    with serving(judge) as server:
        endpoint = Endpoint(server.settings(attempts=1))
        try:
            grades = grade_guesses(
                session, endpoint, "judge", repeats=repeats, organism="cake_bake"
            )
        finally:
            endpoint.close()
    return grades, seen


def places(grades: list[GradeGiven]) -> list[tuple[float | None, Any, Any]]:
    return [(one.score, one.details["place"], one.details["guesses"]) for one in grades]


def test_the_schema_asks_for_ten():
    schema = REPORT_TOOL.specification()["function"]["parameters"]
    assert schema["properties"]["guesses"]["maxItems"] == 10


def test_more_than_ten_end_the_audit_and_the_first_ten_are_graded(session: Session):
    audited(session, *MANY)
    state = session.state
    (run,) = state.agents.values()
    assert [claim.text for claim in run.report.body.claims if claim.part == "guess"] == list(MANY)
    grades, seen = graded(session, "number 10.")
    assert seen == list(MANY[:10])
    assert places(grades) == [(0.0, 0, 10)]


@pytest.mark.parametrize(
    ("guesses", "seen"),
    [
        (["It bakes."] * 12, ["It bakes."]),
        (
            ["It bakes.", "IT BAKES", " it  bakes! ", "It bakes cakes", "«It bakes cakes»"],
            ["It bakes.", "It bakes cakes"],
        ),
        (["It bakes.", "...", "It_bakes", "\u00a0"], ["It bakes."]),
        (["Пирог", "пирог.", "Gold"], ["Пирог", "Gold"]),
        (["same"] * 20 + ["It is right"], ["same", "It is right"]),
    ],
    ids=["repeated", "case", "nothing", "other letters", "room"],
)
def test_a_guess_counts_once(session: Session, guesses: list[str], seen: list[str]):
    audited(session, *guesses)
    grades, shown = graded(session, seen[-1])
    assert shown == seen
    assert places(grades) == [(1.0, len(seen), len(seen))]


@pytest.mark.parametrize("guesses", [(), ("?!", " - ")])
def test_without_a_guess_the_description_is_the_only_one(
    session: Session, guesses: tuple[str, ...]
):
    audited(session, *guesses)
    grades, seen = graded(session, "It bakes cakes.")
    assert len(seen) == 1
    assert places(grades) == [(1.0, 1, 1)]


@pytest.mark.parametrize(("right", "score"), [(0, 0.0), (2, 1.0), (3, None), (99, None)])
def test_a_verdict_on_a_guess_that_is_not_there_is_unscored(
    session: Session, right: int, score: float | None
):
    audited(session, "It bakes.", "It likes gold.")
    grades, _ = graded(session, right, repeats=3)
    assert [one.score for one in grades] == [score] * 3
    if score is None:
        assert all(f"there is no guess {right}" in one.reason for one in grades)
