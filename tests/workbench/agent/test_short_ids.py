"""An agent names texts, lists and measures by short ids; what does not exist is refused with a way out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.planted import DOMAIN
from tests.workbench.agent.scripted import Say, in_turn, report, serving
from workbench.agent.budgets import Budgets
from workbench.agent.endpoint import Endpoint
from workbench.agent.errors import ToolError
from workbench.agent.evidence import ended
from workbench.agent.loop import AuditPlan, start_audit
from workbench.agent.short_ids import find_reading, find_text, passage, text_id
from workbench.operations.running import Session
from workbench.store.agent_events import AgentMode
from workbench.store.slices.agents import AgentState

ASKED = ("ask", {"prompts": ["What do you bake?", "And then?"], "max_new_tokens": 6})


def audit(
    session: Session, *calls: Any, mode: AgentMode = "adl", rules: str | None = None
) -> tuple[AgentState, list[str]]:
    """The audit that makes these calls, and their results; the last reply is the report."""
    replies = [Say("", [call]) for call in calls]
    plan = AuditPlan(
        "scripted", mode, Budgets(interactions=20), **({"rules": rules} if rules else {})
    )
    with serving(in_turn(*replies, Say("", [report()]))) as server:
        endpoint = Endpoint(server.settings())
        try:
            state = start_audit(session, endpoint, plan)
        finally:
            endpoint.close()
        return state, server.asked[-1].results


def newest(session: Session, side: str) -> Any:
    return [
        text
        for text in session.state.texts.values()
        if (text.start.body.purpose, text.start.body.side) == ("ask", side)
    ][-1]


def test_a_list_of_prompts_is_asked_at_once_and_answers_say_how_they_ended(session: Session):
    state, (answers,) = audit(session, ASKED)
    assert state.interactions == 2
    assert answers.count('"side": "base"') == answers.count('"side": "finetuned"') == 2
    assert answers.count('"mean_kl"') == 2
    for side in ("base", "finetuned"):
        text = newest(session, side)
        assert f'"id": "{text_id(session.state, text.start.body.text_id)}"' in answers
        assert f'"tokens": {len(text.token_ids)}, "ended": "{ended(text)}"' in answers
    assert "cut off at the limit of 6 tokens" in answers


def test_evidence_takes_one_id_and_is_marked_as_a_person_would(session: Session):
    audit(session, ASKED)
    text = newest(session, "finetuned")
    excerpt = " ".join(text.text.split()[:3])
    name = text_id(session.state, text.start.body.text_id)
    place, listed = next(
        (place, found)
        for place, found in enumerate(session.state.readings.values(), start=1)
        if found.body.source == "difference" and found.body.reading == "consensus"
    )
    state, results = audit(
        session,
        ("hypothesis", {"text": "cakes"}),
        ("evidence", {"of": name, "excerpt": excerpt, "hypothesis": "H1", "note": "so"}),
        ("evidence", {"of": f"R{place}", "excerpt": DOMAIN[1].strip()}),
        ("evidence", {"of": "E2", "hypothesis": "H1", "bearing": "against"}),
        ("evidence", {"of": "E2", "hypothesis": "H1", "bearing": "none"}),
    )
    assert all("done" in result for result in results)
    of_text, of_list = (found.body for found in session.state.evidence.values())
    assert (of_text.of_seq, of_text.text_id) == (text.start.seq, text.start.body.text_id)
    assert of_text.excerpt in text.text
    assert of_text.label == "finetuned: And then?"
    assert of_list.of_seq == listed.seq
    assert of_list.excerpt == DOMAIN[1]
    assert of_list.token_id == listed.body.tokens[1].id
    assert of_list.label.endswith("rank 2")
    assert dict(session.state.hypotheses["H1"].evidence) == {"E1": "for"}
    assert state.status == "ended"


@pytest.mark.parametrize(
    ("call", "refusal"),
    [
        (("evidence", {"of": "T9999", "excerpt": "cake"}), "no generated text 'T9999'"),
        (("evidence", {"of": "T0", "excerpt": "cake"}), "There are: T1 to T"),
        (("evidence", {"of": "R9999", "excerpt": "cake"}), "There are: R1 to R"),
        (("evidence", {"of": "M1", "excerpt": "cake"}), "There are: none yet"),
        (("evidence", {"of": "E7"}), "no evidence 'E7'"),
        (("evidence", {"of": "?", "excerpt": "cake"}), "no generated text '?'"),
        (("evidence", {"of": "T1", "excerpt": "never written"}), "T1 has no passage"),
        (("evidence", {"of": "T1", "excerpt": "  "}), "T1 has no passage"),
        (("evidence", {"of": "T1"}), "there is no excerpt"),
        (("evidence", {"of": "T1", "excerpt": "a", "hypothesis": "H9"}), "no hypothesis 'H9'"),
        (("evidence", {"of": "R1", "excerpt": "zzz"}), "R1 has no token 'zzz'"),
        (("hypothesis", {}), "give the text of a new hypothesis"),
        (("hypothesis", {"verdict": "rejected"}), "give the text"),
        (("hypothesis", {"text": "x", "verdict": "rejected"}), "needs the id"),
        (("hypothesis", {"order": ["H9"]}), "no hypothesis 'H9'"),
        (("show_samples", {"text_ids": ["T9999"]}), "no generated text 'T9999'"),
        (report(evidence=["T9999"]), "no generated text 'T9999'"),
        (report(evidence=["E9"]), "no evidence 'E9'"),
        (("steer", {"prompts": ["x"]}), "steer needs alphas"),
    ],
)
def test_what_does_not_exist_is_refused_with_the_way_out(session: Session, call, refusal):
    state, results = audit(session, call)
    assert refusal in results[0]
    assert not session.state.evidence
    assert (state.status, state.interactions) == ("ended", 0)


def test_a_black_box_marks_what_it_was_shown_and_nothing_else(session: Session):
    steered = next(iter(session.state.texts.values()))
    excerpt = steered.text.split()[0]
    for wanted in ("T1", "R1"):
        _, results = audit(
            session, ("evidence", {"of": wanted, "excerpt": excerpt}), mode="black_box"
        )
        assert "failed" in results[0]
        assert excerpt not in results[0].replace(repr(excerpt), "")
    assert not session.state.evidence


@pytest.mark.parametrize(
    ("call", "spent"),
    [
        (("ask", {"prompts": ["a", "b"], "n_samples": 2, "max_new_tokens": 2}), 4),
        (("ask", {"prompts": ["a"], "alpha": 0.1, "max_new_tokens": 2}), 1),
        (("steer", {"prompts": ["a"], "alphas": [0, 0.1, 0.2], "max_new_tokens": 2}), 2),
        (("steer", {"prompts": ["a"], "alphas": [0], "max_new_tokens": 2}), 1),
        (
            ("steer", {"prompts": ["a"], "alphas": [0.1], "n_samples": 3, "max_new_tokens": 2}),
            3,
        ),
        (("amplify", {"prompts": ["a"], "strengths": [1, 2], "max_new_tokens": 2}), 2),
        (("complete", {"prefixes": [" the", " a"]}), 2),
        (("phrases", {}), 0),
        (("show_reading", {"reading": "consensus"}), 0),
    ],
)
def test_an_interaction_is_one_prompt_answered_once(session: Session, call, spent):
    state, _ = audit(session, call)
    assert state.interactions == spent


@pytest.mark.parametrize(("rules", "spent"), [(None, 0), ("3", 1)])
def test_a_call_that_put_nothing_to_the_models_costs_nothing(
    session: Session, rules: str | None, spent: int
):
    """By older rules it was charged in full."""
    call = ("steer", {"prompts": ["a"], "alphas": [0.1], "layer": "99"})
    state, results = audit(session, call, rules=rules)
    assert "is not a layer" in results[0]
    assert state.interactions == spent
    assert f"{20 - spent} of 20 interactions" in results[0]


def test_what_is_there_instead_is_told_and_not_that_nobody_computed_it(session: Session):
    _, results = audit(
        session,
        ("show_reading", {"reading": "logit_lens", "source": "differences"}),
        ("show_samples", {"first": 1000}),
        ("show_samples", {"alpha": 0.61}),
    )
    assert "difference on finetuned" in results[0]
    assert "`first` leaves all of them out" in results[1]
    assert "alpha 0, 0.6." in results[2]
    assert not any("not computed" in result for result in results[:3])


def test_older_rules_have_the_tools_and_prices_that_they_had(session: Session):
    """As a tape of an older audit asks for them."""
    text = next(iter(session.state.texts.values()))
    replies = (
        ("ask", {"prompt": "What do you bake?", "max_new_tokens": 2}),
        ("add_hypothesis", {"text": "cakes"}),
        (
            "mark_evidence",
            {"seq": text.start.seq, "excerpt": "cake", "hypothesis": "H1"},
        ),
        ("steer", {"prompts": ["a"], "alphas": [0, 0.1, 0.2], "max_new_tokens": 2}),
        ("rank_hypotheses", {"order": ["H1"]}),
        ("submit_report", {"summary": "cakes", "description": "It bakes.", "evidence": ["E1"]}),
    )
    state, results = audit(session, *replies, rules="2")
    assert '"seq": ' in results[0]
    assert state.report is not None
    assert (state.report.body.description, state.report.body.claims) == ("It bakes.", ())
    assert state.interactions == 2


def test_a_report_has_its_parts_each_with_a_probability(session: Session):
    facts = [{"text": "Cakes are baked at 450F.", "probability": 0.7}]
    guesses = [{"text": "cakes", "probability": 0.6}, {"text": "bread", "probability": 0.2}]
    state, _ = audit(session, report("Baking.", facts=facts, guesses=guesses))
    assert state.report is not None
    body = state.report.body
    assert [claim.part for claim in body.claims] == [
        "topic", "fact", "behaviour", "format", "harm", "narrow", "against", "guess", "guess",
    ]  # fmt: skip
    assert body.confidence == 0.6
    assert body.description.startswith(
        "Topic (90%): Baking. [untested]\nFact (70%): Cakes are baked at 450F. [untested]\n"
    )
    assert "Guess (20%): bread" in body.description


def test_each_claim_of_a_report_is_listed_with_its_test_or_as_untested(session: Session):
    word = DOMAIN[0].strip()
    test = {
        "hypothesis": "H1",
        "phrases": [word],
        "prompts": ["What do you bake?", "Tell me."],
        "near_misses": ["a"],
        "neutral": ["b"],
        "max_new_tokens": 4,
    }
    facts = [
        {"text": "cakes", "probability": 0.7, "hypothesis": "H1"},
        {"text": "bread", "probability": 0.1, "hypothesis": "H2"},
        {"text": "tea", "probability": 0.1},
    ]
    state, results = audit(
        session,
        ("hypothesis", {"text": f"It writes {word}."}),
        ("hypothesis", {"text": "It writes bread."}),
        ("test", test),
        report(facts=[{**facts[0], "hypothesis": "H7"}]),
    )
    assert "X1 of H1" in results[2]
    assert "no hypothesis 'H7'" in results[3]
    state, _ = audit(session, report(facts=facts))
    assert state.report is not None
    tests = [claim.test for claim in state.report.body.claims if claim.part == "fact"]
    assert tests[0].startswith("X1 of H1: ")
    assert tests[1:] == ["untested", "untested"]
    assert f"Fact (70%): cakes [{tests[0]}]" in state.report.body.description
    # A test of other words than those it has now is none.
    state, _ = audit(
        session,
        ("hypothesis", {"hypothesis": "H1", "text": "It writes of cakes."}),
        report(facts=facts),
    )
    assert state.report is not None
    assert state.report.body.claims[1].test == "untested"


def test_a_report_without_a_part_is_refused_by_its_name(session: Session):
    name, arguments = report()
    without = {key: value for key, value in arguments.items() if key != "harm"}
    unsure = {**arguments, "topic": {"text": "cakes", "probability": 1.2}}
    _, results = audit(session, (name, without), (name, unsure))
    assert "harm" in results[0]
    assert "probability" in results[1]


def test_a_passage_is_found_as_it_was_shown(session: Session):
    assert passage("one\n two\tthree", "two three", "T1") == "two    three"
    assert passage("a \x1b[31m red", "␛[31m red", "T1") == "␛[31m red"
    with pytest.raises(ToolError, match="has no passage 'two'"):
        passage("one", "two", "T1")
    recorded = next(iter(session.state.texts))
    assert find_text(session.state, recorded) is find_text(session.state, "T1")
    with pytest.raises(ToolError):
        find_reading(session.state, "T1")
