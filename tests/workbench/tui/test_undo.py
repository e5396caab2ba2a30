"""One key takes back the last decision by its opposite; the log keeps both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Static

from tests.workbench.tui.waiting import until
from workbench.operations.hypotheses import (
    ADD_HYPOTHESIS,
    LINK,
    MARK,
    RANK,
    REVISE,
    SET_VERDICT,
    UNMARK,
    AddHypothesisArguments,
    LinkArguments,
    MarkArguments,
    RankArguments,
    ReviseArguments,
    SetVerdictArguments,
    UnmarkArguments,
)
from workbench.operations.notes import NOTE, NoteArguments
from workbench.store.events import (
    HUMAN,
    Actor,
    Event,
    EventBody,
    EvidenceLinked,
    HypothesesRanked,
    HypothesisJudged,
    HypothesisRevised,
    HypothesisStated,
)
from workbench.store.log import SessionLog
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.screens.audit import AuditScreen
from workbench.tui.undo import KINDS, undoing

#: Each with the words in which its undoing is told.
DECISIONS: dict[str, tuple[Any, Any, str]] = {
    "mark": (MARK, MarkArguments(seq=1, excerpt="other"), "the mark E2 is taken back"),
    "link": (
        LINK,
        LinkArguments(hypothesis="H1", evidence="E1", bearing="against"),
        "E1 bears on H1 as before: for",
    ),
    "verdict": (
        SET_VERDICT,
        SetVerdictArguments(hypothesis="H1", verdict="confirmed", reason="known"),
        "H1 is open again",
    ),
    "revise": (
        REVISE,
        ReviseArguments(hypothesis="H1", text="another wording"),
        "H1 reads as before",
    ),
    "rank": (RANK, RankArguments(order=("H2", "H1")), "the order is as before: H1, H2"),
    # The last: what is marked again has another id.
    "unmark": (UNMARK, UnmarkArguments(evidence="E1"), "what was E1 is marked again"),
}


def decided(state) -> tuple[object, ...]:
    hypotheses = [
        (each.id, each.text, each.verdict, sorted(each.evidence.values()))
        for each in state.ranked()
    ]
    return hypotheses, sorted(mark.body.excerpt for mark in state.evidence.values())


async def run(app, pilot, operation, arguments) -> None:
    job = app.opened.submit(operation, arguments)
    await until(pilot, lambda: job.id in app.opened.state.operations, "the operation")
    await until(pilot, lambda: not app.opened.jobs(), "its end")


@pytest.fixture
def set_up():
    async def make(app, pilot) -> None:
        await until(
            pilot,
            lambda: isinstance(app.screen, AuditScreen) and app.screen.is_mounted,
            "the audit",
        )
        await until(pilot, lambda: app.opened.pair and not app.opened.jobs(), "the pair")
        for text in ("one", "two"):
            await run(app, pilot, ADD_HYPOTHESIS, AddHypothesisArguments(text=text))
        await run(app, pilot, MARK, MarkArguments(seq=1, excerpt="cake", hypothesis="H1"))

    return make


@pytest.mark.slow
async def test_each_decision_is_taken_back_by_its_opposite(workbench, set_up, monkeypatch):
    app = workbench()
    told: list[str] = []
    monkeypatch.setattr(app, "notify", lambda message, **_how: told.append(message))
    async with app.run_test(size=(120, 40)) as pilot:
        await set_up(app, pilot)
        before, length = decided(app.opened.state), app.opened.state.seq
        for operation, arguments, words in DECISIONS.values():
            await run(app, pilot, operation, arguments)
            assert decided(app.opened.state) != before, operation.name
            await pilot.press("u")
            await until(pilot, lambda: decided(app.opened.state) == before, operation.name)
            assert told.pop() == f"Undone: {words}."
        assert app.opened.state.seq > length


@pytest.mark.slow
async def test_undoing_again_takes_back_the_decision_before(workbench, set_up):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await set_up(app, pilot)
        for excerpt in ("first", "second"):
            await run(app, pilot, MARK, MarkArguments(seq=1, excerpt=excerpt))
        for left in (["cake", "first"], ["cake"]):
            await pilot.press("u")
            await until(pilot, lambda: decided(app.opened.state)[1] == left, "the undo")  # noqa: B023
        assert all(each.status == "finished" for each in app.opened.state.operations.values())


@pytest.mark.slow
async def test_undo_of_a_note_is_a_note(workbench, set_up):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await set_up(app, pilot)
        await run(app, pilot, NOTE, NoteArguments(text="a slip"))
        (note,) = app.opened.state.notes
        await pilot.press("u")
        await until(pilot, lambda: len(app.opened.state.notes) == 2, "the second note")
        assert f"#{note.seq}" in app.opened.state.notes[-1].body.text


@pytest.mark.slow
async def test_an_audit_is_not_begun_again_without_being_asked(workbench):
    app = workbench(prepare=True)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(
            pilot,
            lambda: isinstance(app.screen, AuditScreen) and app.screen.is_mounted,
            "the audit",
        )
        await until(pilot, lambda: app.opened.state.readings, "the readings")
        await until(pilot, lambda: not app.opened.jobs(), "the end of the reading")
        begun = len(app.opened.state.operations)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question", within=30)
        assert "already" in str(app.screen.query_one("#question", Static).render())
        await pilot.press("n")
        assert len(app.opened.state.operations) == begun


# --- what is taken back, by the events ------------------------------------------------------


AGENT = Actor(kind="agent", name="an agent")


def recorded(path: Path, *bodies: tuple[EventBody, Actor, str]) -> list[Event]:
    """Events in a log, each with its actor and its operation."""
    with SessionLog.open(path) as log:
        session = log.start_session("undo")
        for body, actor, operation in bodies:
            log.append(session, body, actor=actor, operation_id=operation)
        return list(log.events(session, kinds=KINDS))


def stated(text: str = "A") -> tuple[EventBody, Actor, str]:
    return HypothesisStated(hypothesis_id="H1", text=text, confidence=0.5), HUMAN, "add"


def revised(text: str, actor: Actor = HUMAN) -> tuple[EventBody, Actor, str]:
    return HypothesisRevised(hypothesis_id="H1", text=text, confidence=0.5), actor, f"to {text}"


def judged(
    verdict: Any, operation: str, actor: Actor = HUMAN, reason: str = "so"
) -> tuple[EventBody, Actor, str]:
    return HypothesisJudged(hypothesis_id="H1", verdict=verdict, reason=reason), actor, operation


def test_the_verdict_that_a_revision_took_back_comes_back_after_its_words(tmp_path: Path):
    """On words that nobody tested it would overrule the test that it rests on."""
    events = recorded(
        tmp_path / "a.db",
        stated(),
        judged("confirmed", "test"),
        revised("B"),
        judged("open", "to B"),
    )
    words = undoing(events, (), (), ())
    assert words is not None
    assert words.operation is REVISE
    assert words.arguments.text == "A"
    assert words.words == "H1 reads as before; undo again for its verdict"
    verdict = undoing(events, [words.seq], (), ())
    assert verdict is not None
    assert verdict.operation is SET_VERDICT
    assert verdict.arguments.verdict == "confirmed"
    # A verdict of the person's own is the last decision, as ever.
    own = recorded(tmp_path / "b.db", stated(), revised("B"), judged("rejected", "own"))
    assert undoing(own, (), (), ()).operation is SET_VERDICT


def test_a_verdict_comes_back_with_its_reason(tmp_path: Path):
    events = recorded(
        tmp_path / "a.db",
        stated(),
        judged("confirmed", "own", reason="three answers agree"),
        judged("rejected", "slip", reason=""),
        judged("open", "another", reason=""),
    )
    # Back to the one without a reason, and to that with one.
    found = undoing(events, (), (), ())
    assert (found.arguments.verdict, found.arguments.reason) == ("rejected", "undone")
    found = undoing(events, [found.seq], (), ())
    assert found.arguments.verdict == "confirmed"
    assert found.arguments.reason == f"three answers agree (undone: #{found.seq})"


@pytest.mark.parametrize(
    "later",
    [
        (revised("B"), revised("C", AGENT)),
        (judged("rejected", "own"), judged("confirmed", "its", AGENT)),
        (
            (HypothesesRanked(order=("H1",)), HUMAN, "own"),
            (HypothesesRanked(order=("H1",)), AGENT, "its"),
        ),
        (
            (EvidenceLinked(hypothesis_id="H1", evidence_id="E1", bearing="for"), HUMAN, "own"),
            (EvidenceLinked(hypothesis_id="H1", evidence_id="E1", bearing="none"), AGENT, "its"),
        ),
    ],
)
def test_what_somebody_else_decided_since_is_not_overwritten(tmp_path: Path, later: Any):
    events = recorded(tmp_path / "a.db", stated(), *later)
    assert undoing(events, (), (), ("E1",)) is None
    # Without that, it is.
    assert undoing(events[:-1], (), (), ("E1",)) is not None
