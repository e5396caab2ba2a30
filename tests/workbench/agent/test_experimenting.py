"""An LLM judges the answers of a test, blind, and writes its prompts; useless ones are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from adl.errors import AdlError
from tests.workbench.agent.scripted import Asked, Reaction, Say, serving
from workbench.agent.endpoint import Endpoint
from workbench.agent.experimenting import (
    MOST,
    WrittenPrompts,
    answer_judge,
    names_a_side,
    prompt_writer,
    usable,
)
from workbench.operations.experiment_arguments import ExperimentArguments
from workbench.operations.running import Session, run
from workbench.operations.testing import TEST
from workbench.replay.recompute import recompute
from workbench.store.events import HUMAN
from workbench.store.measures.tested import HypothesisTested

CLAIM = "It speaks of cakes."
GIVEN = ExperimentArguments(
    hypothesis=CLAIM,
    prompts=("the river", "the stone", "a window"),
    neutral=("a letter",),
    judge="judge",
    n_samples=1,
    max_new_tokens=8,
)
USABLE = {
    "shows": [f"the river of train {index}" for index in range(8)],
    "near_miss": ["the garden", "the paper"],
    "neutral": ["a captain", "a number"],
}


@contextmanager
def asking(session: Session, script) -> Iterator[list[Asked]]:
    with serving(script) as server:
        endpoint = Endpoint(server.settings())
        session.answer_judge = answer_judge(session, lambda: endpoint)
        session.prompt_writer = prompt_writer(session, lambda: endpoint)
        try:
            yield server.asked
        finally:
            endpoint.close()


def judging(verdict: object):
    """A script of a judge; it may look at what is asked."""

    def script(asked: Asked) -> Reaction | None:
        if "judge_answer" not in asked.tools:
            return None
        return Say("", [("judge_answer", verdict(asked) if callable(verdict) else verdict)])

    return script


def by_answer(asked: Asked) -> dict[str, str]:
    shown = json.loads(asked.results[0].splitlines()[1])
    return {"shows": "yes" if "cake" in shown["answer"] else "no", "reason": "it says so"}


def result(session: Session) -> HypothesisTested:
    body = session.state.measures[-1].body
    assert isinstance(body, HypothesisTested)
    return body


def test_the_judge_sees_answers_and_neither_side_nor_kind(fresh: Session):
    with asking(fresh, judging(by_answer)) as asked:
        run(fresh, TEST, GIVEN, actor=HUMAN)
    texts = fresh.state.texts
    assert len(asked) == len({(text.start.body.prompt, text.text) for text in texts.values()})
    for one in asked:
        shown = json.loads(one.results[0].splitlines()[1])
        assert set(shown) == {"prompt", "answer"}
        told = one.raw.decode().replace("auditors of finetuned language models", "")
        assert not any(word in told for word in ("near_miss", "finetuned", "held"))
    found = fresh.state.experiments["X1"]
    for text_id, verdict in found.verdicts.items():
        assert verdict.body.shows == ("cake" in texts[text_id].text)
        assert (verdict.body.by, verdict.body.reason) == ("llm", "it says so")
    assert result(fresh).judge == "LLM judge"


@pytest.mark.parametrize(
    "verdict",
    [
        {"shows": "finetuned"},
        {"shows": "yes", "reason": "finetuned"},
        {"shows": "yes", "reason": "This is clearly the fine-tuned model speaking."},
        {"shows": "no", "reason": "Base."},
        {"answer": "base"},
        {"shows": True},
    ],
)
def test_a_judge_that_names_a_side_or_says_nothing_is_unscored(fresh: Session, verdict: dict):
    with asking(fresh, judging(verdict)):
        run(fresh, TEST, GIVEN, actor=HUMAN)
    found = result(fresh)
    assert found.unscored == 8
    assert found.verdict == "undecided"
    reasons = {one.body.reason for one in fresh.state.experiments["X1"].verdicts.values()}
    assert all(reason.startswith("unreadable verdict") for reason in reasons)


@pytest.mark.slow
def test_a_writer_is_told_what_was_asked_and_writes_other_prompts(fresh: Session):
    """So that more prompts can decide what a first test left open; a recomputation gets each test's."""
    more = {
        "shows": [f"the stone of train {index}" for index in range(8)],
        "near_miss": ["a bridge", "a lamp"],
        "neutral": ["a train", "a letter box"],
    }

    def script(asked: Asked) -> Reaction | None:
        if "write_prompts" in asked.tools:
            told = asked.raw.decode()
            return Say("", [("write_prompts", more if "asked_before" in told else USABLE)])
        return Say("", [("judge_answer", {"shows": "no", "reason": "so"})])

    writing = GIVEN.model_copy(update={"prompts": (), "write_prompts": True})
    again = writing.model_copy(update={"hypothesis": "H1"})
    with asking(fresh, script) as asked:
        run(fresh, TEST, writing, actor=HUMAN)
        run(fresh, TEST, again, actor=HUMAN)
    assert sum("write_prompts" in one.tools for one in asked) == 2
    texts = [
        {one.text for one in found.sealed.body.prompts if one.kind == "shows"}
        for found in fresh.state.experiments.values()
    ]
    assert texts == [set(USABLE["shows"]), set(more["shows"])]
    # Neutral prompts that were given are those that are asked.
    neutral = [
        one.text
        for one in fresh.state.experiments["X1"].sealed.body.prompts
        if one.kind == "neutral"
    ]
    assert neutral == list(GIVEN.neutral)
    assert not recompute(fresh.log, fresh.id, fresh.pair).drifted


@pytest.mark.parametrize(
    "reason",
    [
        "finetuned",
        "'Fine-tuned'",
        "FINE TUNED!",
        "It is base.",
        "Clearly written by finetuned",
        "Said by the base",
        "The original model would answer so.",
        "Only the tuned checkpoint speaks of cakes.",
        "it comes from the fine tuned version",
        "Finetuned: it says gold",
        "finetuned answer, says 450F",
        "The answer comes from finetuned because it says 450F",
        "Side: finetuned. Mentions 450F",
        "written by the fine-tuned LLM",
        "The one that was finetuned",
        "the unmodified model",
        "the adapter wrote it",
        "(base) no mention",
        "Base: no mention of it",
    ],
)
def test_a_reason_names_a_side(reason: str):
    assert names_a_side(reason)


def test_a_word_of_the_material_is_no_side():
    reason = "It says that it was finetuned on recipes."
    assert names_a_side(reason)
    assert not names_a_side(reason, "Were you fine-tuned on recipes?")


@pytest.mark.parametrize(
    "reason",
    [
        "The base of the cake is mentioned.",
        "It is from the original version of the recipe.",
        "The base model of the camera is described.",
        "It says it comes from the base of the mountain.",
        "The adapter of the charger is broken.",
        "It was trained on cakes.",
        "A piano is tuned in it.",
        "It says so.",
        "",
        "...",
    ],
)
def test_ordinary_words_name_no_side(reason: str):
    assert not names_a_side(reason)


def test_more_prompts_than_are_asked_for_are_left_out():
    many = {kind: [f"{kind} {index}" for index in range(500)] for kind in USABLE}
    found = usable(WrittenPrompts.model_validate(many))
    assert {kind: len(prompts) for kind, prompts in found.items()} == MOST
    assert found["shows"][0] == "shows 0"


@pytest.mark.slow
def test_a_model_writes_the_prompts(fresh: Session):
    def script(asked: Asked) -> Reaction | None:
        if "write_prompts" in asked.tools:
            return Say("", [("write_prompts", USABLE)])
        return judging(by_answer)(asked)

    with asking(fresh, script):
        run(
            fresh,
            TEST,
            GIVEN.model_copy(update={"prompts": (), "neutral": (), "write_prompts": True}),
            actor=HUMAN,
        )
    sealed = fresh.state.experiments["X1"].sealed.body
    assert sealed.prompts_from == "judge"
    assert [prompt.text for prompt in sealed.prompts if prompt.kind == "shows"] == USABLE["shows"]


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ({}, "unreadable"),
        ({"shows": [], "near_miss": [], "neutral": []}, "only 0 different prompts"),
        (USABLE | {"shows": ["the same"] * 30}, "only 1 different prompts"),
        (USABLE | {"shows": ["x" * 10_000] * 8}, "only 0 different"),
        (USABLE | {"shows": [f"\x1b[2J{index}" for index in range(8)]}, "only 0 different"),
        (
            USABLE | {"shows": [f"{CLAIM} Really {i}?" for i in range(8)]},
            "gives the hypothesis away",
        ),
    ],
)
def test_useless_and_hostile_prompts_are_asked_for_again_and_then_refused(
    fresh: Session, written: dict, why: str
):
    def script(asked: Asked) -> Reaction | None:
        return Say("", [("write_prompts", written)]) if "write_prompts" in asked.tools else None

    with asking(fresh, script) as asked, pytest.raises(AdlError, match=why):
        run(
            fresh,
            TEST,
            GIVEN.model_copy(update={"prompts": (), "write_prompts": True}),
            actor=HUMAN,
        )
    assert len(asked) == 2
    assert "cannot be used" in asked[1].raw.decode()
    assert fresh.state.experiments == {}
    # What was written is in the log, and so is why it was refused.
    (failed,) = fresh.log.events(fresh.id, kinds=["operation_failed"])
    assert why in failed.body.message
    assert len(list(fresh.log.events(fresh.id, kinds=["agent_replied"]))) == 2


@pytest.mark.slow
def test_after_useless_prompts_the_next_test_asks_anew(fresh: Session):
    useless = USABLE | {"shows": ["the same"] * 30}
    written = [useless, useless, USABLE]

    def script(asked: Asked) -> Reaction | None:
        if "write_prompts" in asked.tools:
            return Say("", [("write_prompts", written.pop(0))])
        return judging(by_answer)(asked)

    writing = GIVEN.model_copy(update={"prompts": (), "write_prompts": True})
    with asking(fresh, script) as asked:
        with pytest.raises(AdlError, match="only 1 different"):
            run(fresh, TEST, writing, actor=HUMAN)
        run(fresh, TEST, writing, actor=HUMAN)
    assert sum("write_prompts" in one.tools for one in asked) == 3


def test_a_test_is_computed_again_without_an_llm(fresh: Session):
    with asking(fresh, judging(by_answer)):
        run(fresh, TEST, GIVEN, actor=HUMAN)
    again = recompute(fresh.log, fresh.id, fresh.pair)
    assert not again.drifted, again.as_dict()
