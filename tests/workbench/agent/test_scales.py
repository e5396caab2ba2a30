"""A judge at the endpoint chooses scales and alphas, or visibly does not."""

from __future__ import annotations

import json

import pytest

from adl.readings.reading import BY_JUDGE, NO_VERDICT
from tests.workbench.agent.scripted import Asked, Reaction, Refuse, Say, serving
from workbench.agent.endpoint import Endpoint
from workbench.agent.scales import scale_judge
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.readings import READ, ReadArguments, recorded_judge
from workbench.operations.running import Session, run
from workbench.replay.recompute import recompute
from workbench.store.agent_events import AgentReplied, AgentRequested, ScaleJudged
from workbench.store.events import HUMAN, ReadingTaken

READINGS = ("shift_lens", "patchscope_contrast", "patchscope")
ARGUMENTS = ReadArguments(readings=READINGS, n_texts=16, top=10, judge="judge")


@pytest.fixture
def measured(fresh: Session) -> Session:
    """A session with a difference at two positions, of which each list is judged."""
    run(fresh, MEASURE, MeasureArguments(n_texts=16, positions="2"), actor=HUMAN)
    return fresh


def choosing(arguments: object):
    """A script that knows nothing but the judge's question."""

    def script(asked: Asked) -> Reaction | None:
        if asked.tools != ["choose_list", "read_material"]:
            return None
        written = arguments(asked) if callable(arguments) else arguments
        return Say("", [("choose_list", written)])

    return script


def read(measured: Session, script, arguments: ReadArguments = ARGUMENTS):
    """Read with a judge; returns what was asked, what was judged, and the lists chosen."""
    with serving(script) as server:
        endpoint = Endpoint(server.settings())
        measured.scale_judge = scale_judge(measured, lambda: endpoint)
        before = measured.state.seq
        try:
            run(measured, READ, arguments, actor=HUMAN)
        finally:
            endpoint.close()
    bodies = [event.body for event in measured.log.events(measured.id, after_seq=before)]
    judged = [body for body in bodies if isinstance(body, ScaleJudged)]
    chosen = [
        body
        for body in bodies
        if isinstance(body, ReadingTaken) and body.chosen and body.source == "difference"
    ]
    return server.asked, judged, chosen


@pytest.mark.slow
def test_the_judge_chooses_and_what_it_saw_and_said_is_recorded(measured: Session):
    asked, judged, chosen = read(measured, choosing({"number": 2, "topic": "baking"}))
    assert {one.reading for one in judged} == set(READINGS)
    assert all((one.scale, one.why) == (one.scales[1], "baking") for one in judged)
    assert {one.chosen_by for one in chosen} == {BY_JUDGE}
    assert {one.scale for one in chosen} <= {one.scale for one in judged}
    # What it is shown is numbered lists inside a fence, in the tool role, and no scale.
    material = asked[0].results[0]
    lines = material.splitlines()
    assert lines[0].startswith("audited text begins ")
    assert lines[-1].startswith("audited text ends ")
    shown = [json.loads(line) for line in lines[1:-1]]
    assert [one["list"] for one in shown] == list(range(1, len(judged[0].scales) + 1))
    assert all(set(one) == {"list", "tokens"} for one in shown)
    events = [event.body for event in measured.log.events(measured.id)]
    about = {body.about for body in events if isinstance(body, AgentReplied)}
    assert len(about) == len(asked)
    requests = [body for body in events if isinstance(body, AgentRequested)]
    assert all(body.messages for body in requests)
    # The same lists are judged once.
    again, judged_again, _ = read(measured, choosing({"number": 1}))
    assert not again
    assert [one.scale for one in judged_again] == [one.scale for one in judged]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("written", "why"),
    [
        ({"number": 0, "topic": "none"}, "no list hangs together"),
        ({"number": 999}, "it names list 999"),
        ({"number": "the second"}, "unreadable verdict"),
        ("SCORE: 5", "unreadable verdict"),
    ],
)
def test_without_a_verdict_the_rule_chooses_and_says_so(measured: Session, written, why):
    run(measured, READ, ARGUMENTS.model_copy(update={"judge": None}), actor=HUMAN)
    by_rule = {
        (key.reading, key.side, key.position, key.scale): one.body.chosen_by
        for key, one in measured.state.readings.items()
        if key.source == "difference" and one.body.chosen and key.reading in READINGS
    }
    _, judged, chosen = read(measured, choosing(written))
    assert all(one.scale is None and why in one.why for one in judged)
    assert {(one.reading, one.side, one.position, one.scale): one.chosen_by for one in chosen} == {
        key: rule + NO_VERDICT for key, rule in by_rule.items()
    }


def test_an_endpoint_that_is_down_fails_the_readings_that_ask_it_and_says_why(measured: Session):
    read(measured, lambda _: Refuse(404, "no such model"))
    failed = [recorded.body for recorded in measured.state.failed_readings.values()]
    assert {"shift_lens", "patchscope"} <= {body.reading for body in failed}
    assert all("no such model" in body.message for body in failed)
    done = list(measured.state.operations.values())[-1]
    assert (done.name, done.status) == ("read_tokens", "finished")


@pytest.mark.slow
def test_a_recorded_judge_asks_no_one_and_a_recomputed_session_chooses_alike(measured: Session):
    _, judged, _ = read(measured, choosing({"number": 3}))
    judge = recorded_judge(measured.log, measured.id)
    unknown = judge("judge", "patchscope", {1.0: ["never seen"]}, lambda: False)
    assert unknown.scale is None
    again = recompute(measured.log, measured.id, measured.pair)
    assert not again.drifted, again.as_dict()
    bodies = [one.body for one in measured.log.events(again.session, kinds=["scale_judged"])]
    assert [one.scale for one in bodies] == [one.scale for one in judged]


@pytest.mark.slow
def test_a_reading_that_wants_a_judge_and_has_none_is_by_rule(measured: Session):
    run(measured, READ, ARGUMENTS, actor=HUMAN)
    said = [event.body.why for event in measured.log.events(measured.id, kinds=["scale_judged"])]
    assert set(said) == {"no judge is at hand"}
