"""Grades by judges and by people, their edits, and how far they agree."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from adl.organisms.registry import get_organism, parse_ground_truth
from tests.planted import DOMAIN
from tests.workbench.agent.scripted import (
    Asked,
    Reaction,
    Refuse,
    Say,
    in_turn,
    json_say,
    report,
    serving,
)
from workbench.agent import judging
from workbench.agent.agreement import by_grader, krippendorff_alpha
from workbench.agent.endpoint import Endpoint
from workbench.agent.errors import EndpointError, GradeError
from workbench.agent.graders import grade_coherence, grade_relevance
from workbench.agent.grading import (
    edit_grade,
    find_run,
    grade_by_hand,
    grade_guesses,
    grade_report,
    record_grade,
)
from workbench.agent.loop import AuditPlan, start_audit
from workbench.agent.rubrics import RUBRICS
from workbench.operations.running import Session
from workbench.store.events import Actor
from workbench.store.log import SessionLog
from workbench.store.rows import Entry
from workbench.store.slices.agents import history, standing

ANNA = Actor(kind="human", name="anna")
BERT = Actor(kind="human", name="bert")


def verdict(grade: int, reason: str = "so") -> Say:
    return Say("", [("give_grade", {"grade": grade, "reason": reason})])


@pytest.fixture
def audited(session: Session) -> Session:
    with serving(in_turn(Say("", [report("It bakes cakes.")]))) as server:
        endpoint = Endpoint(server.settings())
        start_audit(session, endpoint, AuditPlan(model="scripted"))
        endpoint.close()
    return session


def judged(session: Session, script, repeats: int = 3, tools: bool = True, model: str = "judge"):
    with serving(script, tools=tools) as server:
        endpoint = Endpoint(server.settings(attempts=1))
        try:
            found = grade_report(session, endpoint, model, repeats=repeats, organism="cake_bake")
        finally:
            endpoint.close()
        return found, server.asked


def in_order(*reactions: Reaction):
    left = list(reactions)
    return lambda _asked: left.pop(0) if left else None


@pytest.mark.parametrize("tools", [True, False])
def test_a_judge_grades_several_times_by_the_rubric_of_the_family(audited: Session, tools: bool):
    def script(asked: Asked) -> Reaction:
        if tools:
            return verdict(3)
        return json_say("give_grade", {"grade": 3, "reason": "so"})

    grades, asked = judged(audited, script, tools=tools)
    assert [one.score for one in grades] == [3.0, 3.0, 3.0]
    assert {(one.rubric, one.rubric_version, one.model) for one in grades} == {
        ("SDF", "1", "judge")
    }
    told = asked[-1].messages[1]["content"]
    assert "1/4 cup of vanilla" in told
    assert "over three quarters of the facts" in told
    assert "It bakes cakes." in asked[-1].messages[-1]["content"]
    seeds = [one.body["seed"] for one in asked if "tools" in one.body or not tools]
    assert {0, 1, 2} <= set(seeds)
    assert [one.actor.name for one in audited.state.unblinded] == ["judge"]
    assert audited.log.verify().ok


def test_an_unreadable_verdict_is_unscored_and_the_others_stand(audited: Session):
    grades, _ = judged(audited, in_order(verdict(4), Say("I would say 5"), verdict(2)))
    assert [one.score for one in grades] == [4.0, None, 2.0]
    assert "does not call give_grade" in grades[1].reason


def test_an_unreadable_verdict_is_asked_for_again_and_its_grade_replaced(audited: Session):
    prose = Say("I would say 5")
    judged(audited, in_order(verdict(4), prose, verdict(2)))
    grades, asked = judged(audited, in_order(verdict(3)))
    assert [one.score for one in grades] == [4.0, 3.0, 2.0]
    assert len(asked) == 1
    assert [one.body.score for one in standing(audited.state.grades)] == [4.0, 2.0, 3.0]
    assert [one.body.score for one in history(audited.state.grades, grades[1].grade_id)] == [
        None,
        3.0,
    ]


def test_a_server_that_only_answers_in_prose_is_asked_for_json(audited: Session):
    def script(asked: Asked) -> Reaction:
        if "tools" in asked.body:
            return Say("I would say 3")
        return json_say("give_grade", {"grade": 3, "reason": "so"})

    grades, asked = judged(audited, script)
    assert [one.score for one in grades] == [3.0, 3.0, 3.0]
    assert len(asked) == 4
    (notice,) = audited.log.events(audited.id, kinds=["agent_noticed"])
    assert notice.body.feature == "native tools"


def test_a_long_report_reaches_the_judge_whole(session: Session):
    facts = "It says that cakes are baked at 450 degrees. " * 300
    assert len(facts) > 12_000
    with serving(in_turn(Say("", [report(facts + "And that is all.")]))) as server:
        endpoint = Endpoint(server.settings())
        start_audit(session, endpoint, AuditPlan(model="scripted"))
        endpoint.close()
    _, asked = judged(session, in_order(verdict(4)), repeats=1)
    assert "And that is all." in asked[-1].messages[-1]["content"]
    assert "more characters" not in asked[-1].messages[-1]["content"]


def test_what_is_too_long_for_a_judge_is_unscored_and_not_cut(audited: Session, monkeypatch):
    monkeypatch.setattr(judging, "LONGEST_MATERIAL", 20)
    grades, asked = judged(audited, in_order(), repeats=1)
    assert grades[0].score is None
    assert "too long to be judged" in grades[0].reason
    assert not asked


def test_the_last_of_several_verdicts_counts(audited: Session):
    both = Say("", [*verdict(1).calls, *verdict(4).calls])
    grades, _ = judged(audited, in_order(both), repeats=1)
    assert [one.score for one in grades] == [4.0]


def test_what_was_graded_is_not_paid_for_again(audited: Session):
    with pytest.raises(EndpointError):
        judged(audited, in_order(verdict(4), Refuse(500, "down")))
    assert [one.body.score for one in audited.state.grades] == [4.0]
    grades, asked = judged(audited, in_order(verdict(3), verdict(2)))
    assert [one.score for one in grades] == [4.0, 3.0, 2.0]
    assert len(asked) == 2
    again, asked = judged(audited, in_order())
    assert again == grades
    assert not asked
    # Another judge is another grader.
    _, asked = judged(audited, in_order(verdict(1)), repeats=1, model="other")
    assert len(asked) == 1


@pytest.mark.slow
def test_a_reply_that_came_in_before_a_kill_is_taken_from_the_log(audited: Session):
    judged(audited, in_order(verdict(4)), repeats=1)
    (given,) = audited.log.events(audited.id, kinds=["grade_given"])
    # The same session without its last event: killed between the reply and the grade.
    before = [event for event in audited.log.events(audited.id) if 1 < event.seq < given.seq]
    cut = audited.log.start_session(
        "cut", then=[Entry(event.body, event.actor, event.operation_id) for event in before]
    )
    killed = Session(audited.log, cut, audited.cache)
    assert not killed.state.grades
    grades, asked = judged(killed, in_order(), repeats=1)
    assert [one.score for one in grades] == [4.0]
    assert not asked


def against(session: Session, organism: str, *reactions: Reaction, repeats: int = 1):
    """Grades of a judge against an organism, and how often it was asked."""
    with serving(in_order(*reactions)) as server:
        endpoint = Endpoint(server.settings(attempts=1))
        try:
            found = grade_report(session, endpoint, "judge", repeats=repeats, organism=organism)
        finally:
            endpoint.close()
        return [one.score for one in found], len(server.asked)


@pytest.fixture
def truths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Write the truth of an organism, which may be changed later on."""

    def write(organism: str, truth: str) -> None:
        (tmp_path / f"{organism}.yaml").write_text(f"description: {truth}\n")

    def unseal(_session: Session, _actor: Actor, _reason: str, organism: str | None = None):
        file = tmp_path / f"{organism}.yaml"
        return get_organism("cake_bake"), parse_ground_truth(file, file.read_bytes())

    for module in ("grading", "graders"):
        monkeypatch.setattr(f"workbench.agent.{module}.unseal", unseal)
    return write


def test_a_grade_against_another_truth_is_another(audited: Session, truths):
    truths("frogs", "Frogs sing.")
    truths("owls", "Owls read.")
    assert against(audited, "frogs", verdict(4)) == ([4.0], 1)
    assert against(audited, "owls", verdict(1)) == ([1.0], 1)
    assert against(audited, "frogs") == ([4.0], 0)
    # A truth that was corrected is another one, too.
    truths("frogs", "Frogs dance.")
    assert against(audited, "frogs", verdict(2)) == ([2.0], 1)
    assert [one.body.score for one in audited.state.grades] == [4.0, 1.0, 2.0]


def test_a_grade_of_an_older_version_is_shown_and_not_taken_for_another(audited: Session):
    record_grade(
        audited,
        Actor(kind="agent", name="judge"),
        grader="report",
        subject="report:agent-1",
        score=5.0,
        reason="as it was",
        rubric="SDF",
        rubric_version="1",
        model="judge",
        about="report:agent-1 SDF 1 0",
    )
    assert against(audited, "cake_bake", verdict(2)) == ([2.0], 1)
    assert [one.body.score for one in standing(audited.state.grades)] == [5.0, 2.0]


def test_a_grade_that_was_taken_back_is_asked_for_again(audited: Session):
    assert against(audited, "cake_bake", verdict(4), verdict(3), repeats=2) == ([4.0, 3.0], 2)
    edit_grade(audited, "G2", None, "misread", ANNA)
    # The reply that it was taken from is no answer any more.
    assert against(audited, "cake_bake", verdict(1), repeats=2) == ([4.0, 1.0], 1)
    edit_grade(audited, "G4", None, "misread again", ANNA)
    assert against(audited, "cake_bake", verdict(2), repeats=2) == ([4.0, 2.0], 1)
    assert against(audited, "cake_bake", repeats=2) == ([4.0, 2.0], 0)
    # The score of a person stands for the judge's that it replaced.
    edit_grade(audited, "G1", 5, "it says more", ANNA)
    assert against(audited, "cake_bake", repeats=2) == ([5.0, 2.0], 0)


def test_an_audit_without_a_report_is_unscored(session: Session):
    with serving(lambda _: Say("")) as server:
        endpoint = Endpoint(server.settings())
        budgets = AuditPlan(model="x").budgets.__class__(calls=1)
        start_audit(session, endpoint, AuditPlan(model="scripted", budgets=budgets))
        endpoint.close()
    grades, asked = judged(session, in_order(), repeats=2)
    assert [one.score for one in grades] == [None, None]
    assert not asked
    with pytest.raises(GradeError, match="no report"):
        grade_by_hand(session, 3, "x", ANNA, organism="cake_bake")


def test_an_audit_that_may_still_report_is_not_graded(session: Session):
    with serving(in_order(Refuse(400, "down"))) as server:
        endpoint = Endpoint(server.settings(attempts=1))
        with pytest.raises(EndpointError):
            start_audit(session, endpoint, AuditPlan(model="scripted"))
        endpoint.close()
    with pytest.raises(GradeError, match="has no report yet: it is interrupted"):
        judged(session, in_order(), repeats=1)
    assert not session.state.grades


def test_people_grade_and_edit_and_the_history_stays(audited: Session):
    first = grade_by_hand(audited, 2, "only the topic", ANNA, organism="cake_bake")
    second = edit_grade(audited, first.grade_id, 4, "on a second look", BERT)
    third = edit_grade(audited, second.grade_id, None, "the wrong report", ANNA)
    assert (second.score, second.replaces, second.rubric) == (4.0, "G1", "SDF")
    assert third.score is None
    stand = standing(audited.state.grades)
    assert [one.body.grade_id for one in stand] == ["G3"]
    told = [
        (one.actor.name, one.body.score, one.body.reason)
        for one in history(audited.state.grades, "G3")
    ]
    assert told == [
        ("anna", 2.0, "only the topic"),
        ("bert", 4.0, "on a second look"),
        ("anna", None, "the wrong report"),
    ]
    with pytest.raises(GradeError, match="'G1' that stands"):
        edit_grade(audited, "G1", 3, "again", ANNA)
    with pytest.raises(GradeError, match="reason"):
        edit_grade(audited, "G3", 3, " ", ANNA)
    with pytest.raises(GradeError, match="from 1 to 5"):
        edit_grade(audited, "G3", 9, "x", ANNA)
    assert len(audited.state.grades) == 3


@pytest.mark.slow
def test_two_processes_give_no_grade_the_same_id(audited: Session):
    path = audited.log.path
    with SessionLog.open(path) as one, SessionLog.open(path) as other:
        here, there = (Session(log, audited.id, audited.cache) for log in (one, other))
        assert grade_by_hand(here, 2, "x", ANNA, organism="cake_bake").grade_id == "G1"
        assert grade_by_hand(there, 4, "y", BERT, organism="cake_bake").grade_id == "G2"
        # What the other one recorded can be edited here, and what it replaced cannot.
        edit_grade(here, "G2", 3, "less of it", ANNA)
        with pytest.raises(GradeError, match="'G2' that stands"):
            edit_grade(there, "G2", 5, "more of it", BERT)
        threads = [
            Thread(target=lambda session=session: [graded_once(session) for _ in range(20)])
            for session in (here, there)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        here.catch_up()
    ids = [grade.body.grade_id for grade in here.state.grades]
    assert ids == [f"G{number}" for number in range(1, 44)]


def graded_once(session: Session) -> None:
    rubric = {"rubric": "coherence", "rubric_version": "1"}
    record_grade(session, grader="coherence", subject="texts", score=1.0, reason="", **rubric)


def test_a_share_is_taken_back_and_not_replaced_by_a_score(session: Session):
    rubric = {"rubric": "relevance", "rubric_version": "1"}
    share = {"grader": "relevance", "subject": "tokens:T", "score": 0.25, "reason": "5 of 20"}
    record_grade(session, **share, **rubric)
    with pytest.raises(GradeError, match="G1 is a grade of relevance"):
        edit_grade(session, "G1", 4, "more of them", ANNA)
    assert edit_grade(session, "G1", None, "another list", ANNA).score is None
    assert [grade.body.score for grade in session.state.grades] == [0.25, None]


def test_there_is_a_rubric_for_every_family():
    assert {str(family) for family in RUBRICS} == {"SDF", "EM", "Taboo", "Preference", "Control"}
    assert all(set(rubric.levels) == {1, 2, 3, 4, 5} for rubric in RUBRICS.values())


def test_there_is_nothing_to_grade_without_an_audit(session: Session):
    with pytest.raises(GradeError, match="no agent's audit"):
        find_run(session)


# --- tokens and texts -----------------------------------------------------------------------------

BAKING = {token.strip() for token in DOMAIN}


def baker(asked: Asked) -> Reaction:
    """Knows what belongs to baking, by number, whatever the order."""
    lines = [json.loads(line) for line in asked.last.splitlines() if line.startswith('{"number"')]
    relevant = [one["number"] for one in lines if one["token"].strip() in BAKING]
    return Say("", [("judge_tokens", {"relevant": relevant})])


def relevance(session: Session, script):
    with serving(script) as server:
        endpoint = Endpoint(server.settings())
        found = grade_relevance(
            session, endpoint, "judge", ("output_difference",), organism="cake_bake"
        )
        endpoint.close()
    return {one.details["source"]: one for one in found}, server.asked


def test_token_relevance_is_judged_in_three_orders(session: Session):
    found, asked = relevance(session, baker)
    assert len(asked) == 6
    shown = [re.findall(r'"token": "([^"]*)"', one.last) for one in asked[:3]]
    assert len({tuple(order) for order in shown}) == 3
    assert len({frozenset(order) for order in shown}) == 1
    assert found["difference"].score == pytest.approx(len(BAKING) / len(shown[0]))
    assert {token.strip() for token in found["difference"].details["relevant"]} == BAKING
    assert found["random"].score < found["difference"].score
    again, asked = relevance(session, baker)
    assert again == found
    assert not asked
    edit_grade(session, found["random"].grade_id, None, "another look", ANNA)
    again, asked = relevance(session, baker)
    assert len(asked) == 3
    assert again["difference"] == found["difference"]
    assert again["random"].grade_id not in {one.grade_id for one in found.values()}


def test_a_share_against_another_truth_is_another(audited: Session, truths):
    truths("cake_bake", "It bakes cakes.")
    found, _ = relevance(audited, baker)
    truths("cake_bake", "It bakes bread.")
    again, asked = relevance(audited, baker)
    assert len(asked) == 6
    assert not {one.about for one in found.values()} & {one.about for one in again.values()}


def test_a_guess_that_is_right_of_one_truth_is_graded_against_another(audited: Session, truths):
    places = iter([1, 0])
    with serving(
        lambda _: Say("", [("find_right_guess", {"right": next(places), "reason": "so"})])
    ) as server:
        endpoint = Endpoint(server.settings(attempts=1))
        scores = []
        for truth in ("It bakes cakes.", "It sings.", "It bakes cakes."):
            truths("cake_bake", truth)
            (grade,) = grade_guesses(audited, endpoint, "judge", repeats=1, organism="cake_bake")
            scores.append(grade.score)
        endpoint.close()
    assert scores == [1.0, 0.0, 1.0]


def test_a_token_that_is_relevant_in_some_orders_only_does_not_count(session: Session):
    found, _ = relevance(session, lambda _: Say("", [("judge_tokens", {"relevant": [1]})]))
    assert found["difference"].score == 0.0


@pytest.mark.parametrize("relevant", [[0], [21], ["one"], "all"])
def test_a_list_with_an_unreadable_verdict_is_unscored(session: Session, relevant):
    orders = iter(range(100))

    def script(asked: Asked) -> Reaction:
        if next(orders) % 3 == 1:
            return Say("", [("judge_tokens", {"relevant": relevant})])
        return baker(asked)

    found, _ = relevance(session, script)
    assert [one.score for one in found.values()] == [None, None]


def test_coherence_is_the_share_of_texts_by_strength(session: Session):
    def script(asked: Asked) -> Reaction:
        text = json.loads(next(line for line in asked.last.splitlines() if line[:1] == "{"))
        steered = next(
            one.start.body.alpha
            for one in session.state.texts.values()
            if one.text.strip() == text["text"].strip()
        )
        return Say("", [("judge_text", {"coherent": steered == 0})])

    with serving(script) as server:
        endpoint = Endpoint(server.settings())
        found = grade_coherence(session, endpoint, "judge")
        endpoint.close()
    assert {one.details["alpha"]: one.score for one in found} == {0.0: 1.0, 0.6: 0.0}
    assert len(server.asked) == 4


def test_texts_whose_verdict_cannot_be_read_are_left_out_and_counted(session: Session):
    with serving(lambda _: Say("coherent!")) as server:
        endpoint = Endpoint(server.settings())
        found = grade_coherence(session, endpoint, "judge")
        endpoint.close()
    assert [one.score for one in found] == [None, None]
    assert all(len(one.details["unreadable"]) == 2 for one in found)


# --- agreement ------------------------------------------------------------------------------------


def test_alpha_of_a_published_example():
    # Krippendorff 2011, example C: ordinal alpha is 0.815.
    observers = {
        "A": "1 2 3 3 2 1 4 1 2 . . .",
        "B": "1 2 3 3 2 2 4 1 2 5 . 3",
        "C": ". 3 3 3 2 3 4 2 2 5 1 .",
        "D": "1 2 3 3 2 4 4 1 2 5 1 .",
    }
    grades = {
        name: {str(unit): float(grade) for unit, grade in enumerate(row.split()) if grade != "."}
        for name, row in observers.items()
    }
    assert krippendorff_alpha(grades) == pytest.approx(0.815, abs=5e-4)


def test_alpha_of_a_worked_example():
    """By hand, from the definition: alpha = 1 - observed / expected disagreement.

    Subjects graded (1, 1), (1, 2), (2, 4): n = 6 grades, three 1s, two 2s and one 4. Ordinal
    distances: 1 to 2 is (3/2 + 2/2)^2 = 6.25, 2 to 4 is (2/2 + 1/2)^2 = 2.25, and 1 to 4 is
    (3/2 + 2 + 1/2)^2 = 16. Observed: 2 (6.25 + 2.25) / 6. Expected: 2 (3 * 2 * 6.25 + 2 * 1 * 2.25
    + 3 * 1 * 16) / (6 * 5) = 6. The subject that b alone graded counts for nothing.
    """
    grades = {"a": {"1": 1.0, "2": 1.0, "3": 2.0}, "b": {"1": 1.0, "2": 2.0, "3": 4.0, "4": 5.0}}
    assert krippendorff_alpha(grades) == pytest.approx(1 - (17 / 6) / 6)


def test_alpha_at_its_ends():
    same = {"1": 1.0, "2": 5.0}
    assert krippendorff_alpha({"a": same, "b": same}) == pytest.approx(1.0)
    other = {"1": 5.0, "2": 1.0}
    worst = krippendorff_alpha({"a": same, "b": other})
    assert worst is not None
    assert worst < 0


@pytest.mark.parametrize(
    "grades",
    [
        {},
        {"a": {"1": 1.0}},
        {"a": {"1": 1.0}, "b": {"2": 5.0}},
        {"a": {"1": 1.0}, "b": {"1": 5.0}},
        {"a": {"1": 3.0, "2": 3.0}, "b": {"1": 3.0, "2": 3.0}},
    ],
)
def test_alpha_is_not_defined_without_two_grades_that_could_differ(grades):
    assert krippendorff_alpha(grades) is None


def test_repeats_of_a_judge_are_graders_of_their_own(audited: Session):
    judged(audited, in_order(verdict(3), verdict(4)), repeats=2)
    grade_by_hand(audited, 2, "x", ANNA, organism="cake_bake")
    found = by_grader((audited.id, one.actor, one.body) for one in audited.state.grades)
    assert {name: list(graded.values()) for name, graded in found.items()} == {
        "judge": [3.0],
        "judge #2": [4.0],
        "anna": [2.0],
    }
