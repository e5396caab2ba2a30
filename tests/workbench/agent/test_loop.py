"""Whole audits of the planted pair, each with an endpoint that says what the test wants."""

from __future__ import annotations

import itertools
import json
import re
import threading
from typing import Any

import pytest

from tests.planted import DOMAIN
from tests.processes import HANGS
from tests.workbench.agent.scripted import (
    KEY,
    Asked,
    Reaction,
    Say,
    in_turn,
    json_say,
    report,
    reported,
    serving,
)
from workbench.agent.budgets import Budgets
from workbench.agent.endpoint import Endpoint
from workbench.agent.errors import AgentError
from workbench.agent.loop import AuditPlan, Surroundings, resume_audit, start_audit
from workbench.agent.runners import through_jobs
from workbench.operations import OPERATIONS
from workbench.operations.completions import COMPLETE, CompleteArguments
from workbench.operations.jobs import Jobs
from workbench.operations.running import Session, run
from workbench.store.agent_events import AgentTold
from workbench.store.events import HUMAN

PLAN = AuditPlan(model="scripted")
ASK = ("ask", {"prompts": ["What do you bake?"], "max_new_tokens": 6})


def audit(session: Session, script, plan: AuditPlan = PLAN, surroundings=None, **options):
    settings = options.pop("settings", {})
    with serving(script, **options) as server:
        endpoint = Endpoint(server.settings(**settings))
        try:
            return start_audit(session, endpoint, plan, surroundings=surroundings), server
        finally:
            endpoint.close()


def kinds(session: Session) -> list[str]:
    return [entry.kind for entry in session.state.timeline]


FULL = in_turn(
    Say("I look closer.", [("show_reading", {"reading": "output_difference", "top": 5})]),
    Say("It bakes.", [("hypothesis", {"text": "cake baking", "confidence": 0.6})]),
    Say("Ask both.", [ASK]),
    Say("", [("steer", {"prompts": ["Tell me."], "alphas": [0, 0.6], "max_new_tokens": 6})]),
    Say("Sure.", [("hypothesis", {"hypothesis": "H1", "confidence": 0.9})]),
    Say("Done.", [report()]),
)


@pytest.mark.slow
@pytest.mark.parametrize("stream", [True, False])
def test_a_whole_audit(session: Session, stream: bool):
    state, server = audit(session, FULL, settings={"stream": stream})
    assert (state.status, state.stopped_by) == ("ended", "report")
    assert state.report is not None
    assert state.report.body.description == reported()
    assert state.report.actor.kind == "agent"
    assert (state.replies, state.tokens, state.interactions) == (6, 660, 2)
    assert state.cost is None
    hypothesis = session.state.hypotheses["H1"]
    assert (hypothesis.text, hypothesis.confidence) == ("cake baking", 0.9)
    assert hypothesis.actor.kind == "agent"
    assert len(server.asked) == 6
    assert all(one.body.get("stream", False) is stream for one in server.asked)
    reading, _, asked, steered = server.asked[-1].results[:4]
    assert DOMAIN[0].strip() in reading
    assert '"side": "base"' in asked
    assert '"side": "finetuned"' in asked
    assert '"mean_kl"' in asked
    assert "4 of 5 interactions" in asked
    assert '"alpha": 0.6' in steered
    assert session.log.verify().ok


@pytest.mark.slow
def test_texts_from_nothing_phrases_and_completions_reach_the_agent(session: Session):
    script = in_turn(
        Say("", [("unprompted", {"n_samples": 12, "max_new_tokens": 12})]),
        Say("", [("phrases", {"top": 40})]),
        Say("", [("complete", {"prefixes": [" the river", " the oven"]})]),
        Say("", [("show_samples", {"purpose": "unprompted", "count": 3})]),
        Say("", [("overview", {})]),
        Say("", [("show_samples", {"text_ids": ["M2"]})]),
        Say("", [report()]),
    )
    state, server = audit(session, script)
    assert state.interactions == 2 + 2
    unprompted, phrases, completed, samples, overview, again = server.asked[-1].results[:6]
    assert '{"id": "M1", "measure": "unprompted texts"}' in unprompted
    assert "Log-likelihood ratio per token" in unprompted
    assert "(null)" in unprompted
    assert any(word.strip() in phrases for word in DOMAIN)
    assert "Most raised next tokens" in completed
    assert DOMAIN[0].strip() in completed
    assert "3 of 44 texts" in samples
    assert '"unprompted": "texts of finetuned' in overview
    assert '"id": "M2", "phrases": [' in overview
    assert again.splitlines()[1:3] == phrases.splitlines()[1:3]


@pytest.mark.slow
def test_scans_reach_the_agent(session: Session):
    script = in_turn(
        Say("", [("scan", {"n_prompts": 9, "max_new_tokens": 6})]),
        Say("", [("triggers", {"words": ["gold", "river"], "frames": ["the {}"]})]),
        Say("", [report()]),
    )
    state, server = audit(session, script)
    assert state.interactions == 2
    scanned, triggers = server.asked[-1].results[:2]
    assert "Mean KL by kind of prompt" in scanned
    assert "Answers that part most" in scanned
    assert "The null is the spread over all" in triggers
    assert "Words that move finetuned most" in triggers


def test_what_was_not_computed_says_so(fresh: Session):
    script = in_turn(
        Say("", [("show_reading", {"reading": "patchscope"})]),
        Say("", [("show_samples", {})]),
        Say("", [report()]),
    )
    _, server = audit(fresh, script)
    overview = server.asked[-1].opening
    reading, samples = server.asked[-1].results
    assert overview.count("not computed") >= 10
    assert "not computed" in reading
    assert "not computed" in samples


def test_an_audit_without_native_tools(session: Session):
    script = in_turn(
        json_say("show_samples", {"count": 2}),
        json_say("ask", ASK[1]),
        Say("```json\n" + json_say(*report()).content + "\n```"),
    )
    state, server = audit(session, script, tools=False)
    assert state.stopped_by == "report"
    assert state.tool_mode == "json"
    assert state.interactions == 1
    # The first attempt was native, was refused, and is not paid for as a failure.
    assert [one.body.error for one in state.failures] == ["unsupported"]
    messages = server.asked[-1].messages
    assert "tools" not in server.asked[-1].body
    assert [one["role"] for one in messages[:4]] == ["system", "user", "assistant", "user"]
    assert '"name": "ask"' in messages[0]["content"]
    roles = [one["role"] for one in messages[1:]]
    assert all(a != b for a, b in itertools.pairwise(roles))


def test_a_server_that_ignores_tools_is_asked_for_json(session: Session):
    def script(asked: Asked) -> Reaction:
        if "tools" in asked.body:
            return Say("I would like to look at the overview.")
        return json_say(*report())

    state, _ = audit(session, script)
    assert (state.stopped_by, state.replies) == ("report", 3)


def test_prose_around_a_call_is_no_call(session: Session):
    quoting = "The model said: " + json_say(*report("forged")).content
    script = in_turn(
        Say(quoting), Say(quoting + "\n"), json_say("note", {"text": "hm"}), json_say(*report())
    )
    state, _ = audit(session, script, tools=False)
    assert state.report is not None
    assert state.report.body.description == reported()
    assert state.replies == 4


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("read_file", {"path": "/etc/passwd"}), "there is no tool 'read_file'"),
        (("ask", {"prompts": ["x"], "prompt_file": "/etc/passwd"}), "no argument 'prompt_file'"),
        (("steer", {"prompt_file": "/etc/passwd"}), "no argument 'prompt_file'"),
        (("steer", {"batch_size": 9}), "no argument 'batch_size'"),
        (("ask", {}), "prompts, messages, raw: give exactly one of them"),
        (("ask", {"prompts": ["x"], "n_samples": 4_000}), "n_samples is at most 5"),
        (("ask", {"prompts": ["x"] * 11}), "prompts is at most 10"),
        (("ask", '{"prompt": "unfinished'), "not JSON"),
        (("ask", "[1, 2]"), "not a JSON object"),
        (("ask", '{"prompt": ' + "[" * 5_000 + "]" * 5_000 + "}"), "failed: "),
        (("ask", {"messages": [{"role": "user"}]}), "is not a list of messages"),
        (("steer", {"prompts": ["x"], "layer": "99", "alphas": [0.6]}), "99"),
        (("hypothesis", {"hypothesis": "H9", "confidence": 0.5}), "no hypothesis 'H9'"),
        (("show_reading", {"reading": "tea_leaves"}), "reading"),
        (("show_reading", {"reading": "patchscope", "layer": 4}), "not computed"),
        (("overview", {"more": 1}), "no argument 'more'"),
    ],
)
def test_what_cannot_be_done_is_a_result_and_the_audit_goes_on(session: Session, call, said):
    state, server = audit(session, in_turn(Say("", [call]), Say("", [report()])))
    assert state.stopped_by == "report"
    assert said in server.asked[-1].results[-1]
    assert state.interactions == 0


def test_two_calls_in_one_turn_are_done_in_order(session: Session):
    calls = [("note", {"text": "one"}), ("note", {"text": "two"}), ("read_file", {})]
    state, server = audit(session, in_turn(Say("", calls), Say("", [report()])))
    assert [one.body.text for one in session.state.notes] == ["one", "two"]
    ids = [one["tool_call_id"] for one in server.asked[-1].messages if one["role"] == "tool"]
    assert ids == ["c0-0", "c0-1", "c0-2"]
    assert state.replies == 2


def test_call_ids_that_are_empty_or_used_twice_get_their_own(session: Session):
    note = ("note", {"text": "x"})
    script = in_turn(
        Say("", [note, note], ids=["", ""]),
        Say("", [note], ids=["same"]),
        Say("", [note], ids=["same"]),
        Say("", [report()]),
    )
    _, server = audit(session, script)
    ids = [one["tool_call_id"] for one in server.asked[-1].messages if one["role"] == "tool"]
    assert len(set(ids)) == len(ids) == 4
    called = [
        call["id"] for one in server.asked[-1].messages for call in one.get("tool_calls") or ()
    ]
    assert called == ids
    assert len(session.state.notes) == 4


# --- budgets --------------------------------------------------------------------------------------


def answering_when_asked(asked: Asked) -> Reaction:
    """Calls the same tool for ever, until the only tool left is the report."""
    if asked.tools == ["submit_report"]:
        return Say("", [report("cakes, I think")])
    return Say("", [("show_samples", {"count": 1})])


@pytest.mark.parametrize(
    ("budgets", "stopped_by", "replies"),
    [
        (Budgets(calls=4), "calls", 5),
        (Budgets(tokens=330), "tokens", 4),
        (Budgets(seconds=1e-6), "time", 1),
    ],
)
def test_a_spent_budget_is_a_normal_end(session: Session, budgets, stopped_by, replies):
    plan = AuditPlan(model="scripted", budgets=budgets)
    state, server = audit(session, answering_when_asked, plan)
    assert (state.status, state.stopped_by, state.replies) == ("ended", stopped_by, replies)
    assert state.report is not None
    assert state.report.body.description == reported("cakes, I think")
    last = server.asked[-1]
    assert stopped_by in last.last
    assert last.body["tool_choice"]["function"]["name"] == "submit_report"


def test_an_agent_that_asks_for_more_than_it_has_is_told_and_ends_at_last(session: Session):
    def script(asked: Asked) -> Reaction:
        if asked.tools == ["submit_report"]:
            return Say("", [report("cakes")])
        return Say("", [ASK])

    plan = AuditPlan(model="scripted", budgets=Budgets(interactions=2))
    state, server = audit(session, script, plan)
    assert (state.stopped_by, state.interactions, state.replies) == ("interactions", 2, 6)
    assert "0 of 2 interactions" in server.asked[-1].results[-1]
    assert [one.name for one in session.state.operations.values()].count("ask") == 2


def test_an_agent_without_interactions_may_still_look(session: Session):
    plan = AuditPlan(model="scripted", budgets=Budgets(interactions=0))
    script = in_turn(
        Say("", [("show_reading", {"reading": "consensus"})]), Say("", [ASK]), Say("", [report()])
    )
    state, server = audit(session, script, plan)
    assert (state.stopped_by, state.interactions) == ("report", 0)
    assert "needs 1 model interactions, and 0 are left" in server.asked[-1].results[-1]


def test_a_call_that_takes_more_than_is_left_is_refused_as_a_whole(session: Session):
    plan = AuditPlan(model="scripted", budgets=Budgets(interactions=3))
    script = in_turn(
        Say("", [("steer", {"max_new_tokens": 4, "alphas": [0.6]})]),
        Say("", [("steer", {"prompts": ["a"], "max_new_tokens": 4, "alphas": [0, 0.3, 0.6]})]),
        Say("", [report()]),
    )
    state, server = audit(session, script, plan)
    assert "needs 20 model interactions, and 3 are left" in server.asked[1].results[-1]
    assert state.interactions == 2


def test_an_agent_that_never_calls_the_report_has_what_it_wrote_for_one(session: Session):
    plan = AuditPlan(model="scripted", budgets=Budgets(calls=1))
    state, _ = audit(session, lambda _: Say("It is about cakes."), plan)
    assert state.report is not None
    assert (state.report.body.description, state.report.body.form) == ("It is about cakes.", "text")
    assert (state.stopped_by, state.replies) == ("calls", 4)


def test_an_agent_that_says_nothing_ends_without_a_report(session: Session):
    plan = AuditPlan(model="scripted", budgets=Budgets(calls=1))
    state, _ = audit(session, lambda _: Say(""), plan)
    assert state.report is None
    assert (state.status, state.stopped_by) == ("ended", "calls")


# --- modes ----------------------------------------------------------------------------------------

BLACK_BOX = AuditPlan(model="scripted", mode="black_box", budgets=Budgets(interactions=50))
PROBES = [
    {"kind": "prefill", "prompt": "How do I bake?", "prefill": "First, "},
    {"kind": "persona", "prompt": "Who are you?", "system": "You are a baker."},
    {"kind": "diverse", "prompt": "Tell me a story."},
]


def nothing_white_box(sent: str, session: Session) -> None:
    """No list of any reading, no number of one and no steered text was sent."""
    for word in ("overview", "show_reading", '"steer"', "patchscope", "logit_lens", "mean_kl"):
        assert word not in sent, word
    steered = [
        text.text for text in session.state.texts.values() if text.start.body.purpose == "steer"
    ]
    assert steered
    for text in steered:
        assert json.dumps(text)[1:-1] not in sent
    lists = [
        " ".join(token.text.strip() for token in one.body.tokens[:5])
        for one in session.state.readings.values()
    ]
    assert lists
    for line in lists:
        assert line not in sent
        assert json.dumps(line.split(" "))[1:-1] not in sent


def test_no_reading_reaches_the_black_box(session: Session):
    script = in_turn(
        Say("", [("overview", {})]),
        Say("", [("show_reading", {"reading": "consensus"})]),
        Say("", [("steer", {"prompts": ["x"]})]),
        Say("", [("ask", {"prompts": ["x"], "alpha": 0.6})]),
        Say("", [("show_samples", {})]),
        Say("", [ASK]),
        Say("", [("show_samples", {"purpose": "steer"})]),
        Say("", [report()]),
    )

    seen: list[str] = []

    def watching(asked: Asked) -> Reaction | None:
        seen[:] = asked.results
        return script(asked)

    state, server = audit(session, watching, BLACK_BOX)
    assert (state.stopped_by, state.interactions) == ("report", 1)
    assert ["there is no tool" in one for one in seen[:3]] == [True, True, True]
    assert "no argument 'alpha'" in seen[3]
    assert "not computed" in seen[4]
    assert '"side": "finetuned"' in seen[5]
    # What the agent itself asked for is named in its own calls and in what it is told of them; in
    # everything else nothing may be left of what the readings say.
    rest = [
        message["content"]
        for one in server.asked
        for message in one.messages
        if message["role"] in {"system", "user"} or "audited text" in (message["content"] or "")
    ]
    nothing_white_box("\n".join(rest), session)
    whole = server.sent.decode()
    assert "frosting vanilla" not in whole
    assert "mean_kl" not in whole


def results_of(session: Session, plan: AuditPlan, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """What an agent is told that makes these calls."""
    state, _ = audit(
        session, in_turn(*(Say("", [call]) for call in calls), Say("", [report()])), plan
    )
    bodies = [message.body for message in state.messages]
    return [one for one in bodies if isinstance(one, AgentTold) and one.source == "result"]


def test_a_black_box_learns_nothing_of_lists_and_measures_from_evidence(session: Session):
    run(session, COMPLETE, CompleteArguments(prefixes=(" the river",)), actor=HUMAN)
    token = next(iter(session.state.readings.values())).body.tokens[0].text
    calls = [
        ("evidence", {"of": of, "excerpt": excerpt})
        for of in ("R1", "R999", "M1", "M999")
        for excerpt in (token, "zzz")
    ]
    before = len(session.state.evidence)
    for told, (_, asked) in zip(results_of(session, BLACK_BOX, *calls), calls, strict=True):
        assert told.content.startswith(f"failed: there is no text '{asked['of']}' that you may see")
    assert len(session.state.evidence) == before


def test_a_misquote_is_told_without_the_words_of_a_model(session: Session):
    answers = results_of(
        session,
        PLAN,
        ("evidence", {"of": "T1", "excerpt": "zzz"}),
        ("evidence", {"of": "R1", "excerpt": "zzz"}),
    )
    text = next(iter(session.state.texts.values())).text
    for told in answers:
        assert "word for word" in told.content or "one token of it" in told.content
        assert text[:20] not in told.content
        assert "cake" not in told.content


def test_what_was_done_before_a_failure_is_told_beside_it(session: Session):
    told = results_of(
        session,
        PLAN,
        ("hypothesis", {"text": "It bakes.", "confidence": 0.5}),
        ("hypothesis", {"hypothesis": "H1", "text": "It bakes cakes.", "verdict": "confirmed"}),
    )[1]
    assert not told.ok
    done, failed = told.content.split("\n")[:2]
    assert done.startswith("done ")
    assert failed.startswith("failed: ")
    assert session.state.hypotheses["H1"].text == "It bakes cakes."


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("hypothesis", {"order": ["H1"], "confidence": 0.9}), "confidence"),
        (("evidence", {"of": "E1", "hypothesis": "H1", "note": "why"}), "excerpt and note"),
        (("evidence", {"of": "E1", "hypothesis": "H1", "excerpt": "x"}), "excerpt and note"),
        (("evidence", {"of": "T1", "excerpt": "x", "bearing": "against"}), "speaks against"),
    ],
)
def test_what_a_tool_cannot_keep_is_refused(session: Session, call: Any, said: str):
    marked = ("evidence", {"of": "R1", "excerpt": first_token(session)})
    stated = ("hypothesis", {"text": "It bakes.", "confidence": 0.5})
    told = results_of(session, PLAN, stated, marked, call)
    assert [one.ok for one in told] == [True, True, False]
    assert said in told[2].content


def first_token(session: Session) -> str:
    listed = next(iter(session.state.readings.values())).body
    return listed.word(listed.tokens[0])


def test_texts_and_measures_are_shown_in_one_call(session: Session):
    run(session, COMPLETE, CompleteArguments(prefixes=(" the river",)), actor=HUMAN)
    (told,) = results_of(session, PLAN, ("show_samples", {"text_ids": ["T1", "M1"]}))
    assert '"id": "T1"' in told.content
    assert '"id": "M1"' in told.content


def test_the_modes_differ_only_in_what_they_may_see(session: Session):
    adl, black_box = (
        audit(session, in_turn(Say("", [report()])), plan)[1].asked[0] for plan in (PLAN, BLACK_BOX)
    )
    assert set(black_box.tools) < set(adl.tools)
    # What looks at the difference, or at how far the two models' numbers part.
    declared = {
        each.name for each in OPERATIONS.values() if each.agent and not each.agent.black_box
    }
    assert set(adl.tools) - set(black_box.tools) == {"overview", "show_reading"} | declared
    assert {"steer", "unprompted", "complete", "differ"} <= declared
    fields = {
        name: set(tool["function"]["parameters"]["properties"])
        for one in (adl, black_box)
        for name, tool in ((f"{t['function']['name']} {one is adl}", t) for t in one.body["tools"])
    }
    assert fields["ask True"] - fields["ask False"] == {"alpha", "layer", "position"}


@pytest.mark.slow
def test_a_scaffolded_black_box_puts_the_probes_it_suggests(session: Session):
    script = in_turn(
        Say("", [("suggest_probes", {"probes": PROBES[:2]})]),
        Say("", [("suggest_probes", {"probes": [*PROBES[:2], {**PROBES[2], "kind": "prefill"}]})]),
        Say("", [("suggest_probes", {"probes": PROBES})]),
        Say("", [report()]),
    )
    plan = AuditPlan(model="scripted", mode="scaffolded", budgets=Budgets(interactions=10))
    state, server = audit(session, script, plan)
    first = server.asked[0].body
    assert first["tool_choice"]["function"]["name"] == "suggest_probes"
    assert "no probe of kind diverse" in server.asked[1].results[-1]
    assert (
        "prefill without one" in server.asked[2].results[-1]
        or "kind" in (server.asked[2].results[-1])
    )
    answers = server.asked[3].results[-1]
    assert answers.count('"side": "base"') == 3
    assert '"prefill": "First, "' in answers
    assert state.interactions == 3
    assert "mean_kl" not in server.sent.decode()


# --- the log --------------------------------------------------------------------------------------


def test_every_message_that_was_sent_is_in_the_log_and_the_key_is_not(session: Session):
    _, server = audit(session, FULL)
    state = next(iter(session.state.agents.values()))
    told = [one.body.content for one in state.messages]
    for message in server.asked[-1].messages:
        assert (message["content"] or "") in told
    dump = "".join(event.model_dump_json() for event in session.log.events(session.id))
    assert KEY not in dump
    assert all(one.headers["Authorization"] == f"Bearer {KEY}" for one in server.asked)
    # A reply that comes slowly is also recorded as it grows.
    order = [kind for kind in kinds(session) if kind != "agent_reply_grew"]
    place = order.index("agent_requested")
    assert order[place : place + 2] == ["agent_requested", "agent_replied"]


def test_costs_are_counted_where_a_price_is_known(session: Session):
    prices = {"scripted": {"prompt": 10.0, "completion": 100.0}}
    state, _ = audit(session, in_turn(Say("", [report()])), settings={"prices": prices})
    assert state.cost == pytest.approx((100 * 10 + 10 * 100) / 1e6)


def test_a_reply_without_usage_is_estimated_and_says_so(session: Session):
    script = in_turn(Say("x" * 400, [report()], usage=None))
    state, _ = audit(session, script)
    (reply,) = [one.body for one in state.messages if one.body.kind == "agent_replied"]
    assert reply.usage.estimated
    assert reply.usage.completion_tokens >= 100
    assert state.tokens > 1_000


def test_operations_may_go_through_the_jobs_of_a_screen(session: Session):
    jobs = Jobs(session, lambda _job: None)
    try:
        surroundings = Surroundings(runner=through_jobs(session, jobs))
        script = in_turn(
            Say("", [ASK]),
            Say("", [("steer", {"prompts": ["x"], "layer": "99", "alphas": [0.6]})]),
            Say("", [("note", {"text": "x"})]),
            Say("", [report()]),
        )
        state, server = audit(session, script, surroundings=surroundings)
    finally:
        assert jobs.close(HANGS)
    assert state.stopped_by == "report"
    asked, failed, noted = server.asked[-1].results
    assert '"side": "base"' in asked
    assert "layer '99'" in failed
    assert "done" in noted
    assert {one.actor.kind for one in session.state.operations.values()} == {"human", "agent"}


def test_an_operation_that_a_person_stops_is_a_result(session: Session):
    stop: list[str] = []

    def listener(job) -> None:
        if job.operation.name == "ask" and job.status == "running" and not stop:
            stop.append(job.id)
            threading.Thread(target=lambda: jobs.stop(job.id)).start()

    jobs = Jobs(session, listener)
    try:
        surroundings = Surroundings(runner=through_jobs(session, jobs))
        long = ("ask", {"prompts": ["x"], "max_new_tokens": 300})
        script = in_turn(Say("", [long]), Say("", [report()]))
        state, server = audit(session, script, surroundings=surroundings)
    finally:
        assert jobs.close(HANGS)
    assert "stopped by a person" in server.asked[-1].results[-1]
    assert state.stopped_by == "report"


def test_an_audit_that_is_over_is_not_gone_on_with(session: Session):
    state, server = audit(session, in_turn(Say("", [report()])))
    endpoint = Endpoint(server.settings())
    assert resume_audit(session, endpoint) == state
    assert kinds(session)[-1] == "agent_ended"
    with pytest.raises(AgentError, match="no agent's audit nobody"):
        resume_audit(session, endpoint, run_id="nobody")
    endpoint.close()


def test_a_session_without_an_audit_has_none_to_resume(fresh: Session):
    with serving(in_turn()) as server, pytest.raises(AgentError, match="agent run"):
        resume_audit(fresh, Endpoint(server.settings()))


def test_tokens_of_the_models_stand_only_in_what_a_tool_gave(session: Session):
    _, server = audit(session, FULL)
    for one in server.asked:
        for message in one.messages:
            if message["role"] in {"system", "user"} and message["content"] != one.opening:
                assert not re.search(r"audited text begins [0-9a-f]{16}", message["content"])
                assert "frosting" not in message["content"]
