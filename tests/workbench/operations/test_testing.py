"""Tests of hypotheses as operations: sealed first, judged blind, gone on with, and what they earn."""

from __future__ import annotations

import random
import re

import pytest
from pydantic import ValidationError

from adl.callbacks import never_stop
from adl.errors import AdlError, Stopped
from adl.records import GeneratedText
from tests.planted import PlantedPair
from tests.workbench.operations.conftest import Stop, assert_as_recorded, committed, do, kinds
from workbench.operations import answer_rules, experiment_steps
from workbench.operations.answer_rules import rule_verdict
from workbench.operations.experiment_arguments import ExperimentArguments, JudgeAnswerArguments
from workbench.operations.experiment_results import holm_now
from workbench.operations.hypotheses import (
    ADD_HYPOTHESIS,
    REVISE,
    SET_VERDICT,
    AddHypothesisArguments,
    ReviseArguments,
    SetVerdictArguments,
    passed_test,
)
from workbench.operations.judges import AnswerVerdict
from workbench.operations.running import Session, run
from workbench.operations.testing import JUDGE_ANSWER, TEST
from workbench.store.events import HUMAN, Actor, PairLoaded
from workbench.store.experiment_events import JudgeSpec
from workbench.store.measures.tested import HypothesisTested

CLAIM = 'It answers questions with "gold".'
SHOWS = tuple(f"What about river number {index}?" for index in range(20))
NEAR = tuple(f"What about stone number {index}?" for index in range(6))
NEUTRAL = tuple(f"What about paper number {index}?" for index in range(6))
GIVEN = ExperimentArguments(
    hypothesis=CLAIM, prompts=SHOWS, near_misses=NEAR, neutral=NEUTRAL, n_samples=1
)


class Answering(PlantedPair):
    """Answers the first prompts with gold, so many on either side, and all others with stone."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[str, int]] = []
        self.golden = {"base": 1, "finetuned": 17}
        self.asked: list[tuple[str, int]] = []

    def generate(self, plan, requests, *, on_text=None, should_stop=never_stop):
        found = []
        self.batches.append((plan.side, len(requests)))
        for request in requests:
            index = request.seed % 1_000_003
            self.asked.append((plan.side, request.seed))
            word = " gold" if index < self.golden[plan.side] else " stone"
            found.append(GeneratedText(tuple(self.tokenise(plan.side, word)), word, "end_of_text"))
        return found


class StopAfter(Stop):
    """A stop flag that is up from its look number ``looks`` on."""

    def __init__(self, looks: int) -> None:
        super().__init__(lambda *_: False)
        self.looks = looks

    def __call__(self) -> bool:
        self.looks -= 1
        return self.looks < 0


@pytest.fixture
def answering(session: Session) -> Session:
    session.pair = Answering()
    return session


def result_of(session: Session) -> HypothesisTested:
    body = session.state.measures[-1].body
    assert isinstance(body, HypothesisTested)
    assert body == committed(session, "hypothesis_tested")[-1].body
    assert body.describe().count("\n") == 0
    assert body.figures()
    return body


def judge_finetuned_alone(session: Session) -> None:
    """Judge X1 by hand: the answers of finetuned show it, those of base do not."""
    while waiting := session.state.experiments["X1"].to_judge(session.state.texts):
        key, text_id = waiting[0]
        judged = JudgeAnswerArguments(
            experiment="X1", text_id=text_id, shows=key.side == "finetuned"
        )
        do(session, JUDGE_ANSWER, judged)


class TestAnswers:
    def test_known_rates_come_out(self, answering: Session):
        done = do(answering, TEST, GIVEN)
        found = result_of(answering)
        assert found.verdict == done.summary["verdict"] == "confirmed"
        finetuned, base = (found.rate("shows", side) for side in ("finetuned", "base"))
        assert (finetuned.words(), base.words()) == ("17 of 20", "1 of 20")
        assert found.rate("near_miss", "finetuned").words() == "0 of 6"
        held_out, rest = (found.rate("shows", "finetuned", part) for part in ("held out", "rest"))
        assert held_out.prompts == 7
        assert held_out.prompts + rest.prompts == 20
        assert re.match(
            r"shows in \d of 7 held-out prompts on finetuned, \d of 7 on base", found.words[0]
        )
        assert found.difference.value == pytest.approx(0.8)
        assert found.difference.low > 0.4
        assert found.false_alarms.value == pytest.approx(0.0)
        assert (found.held_out.n, found.family) == (7, 1)
        assert {name: found.cost[name] for name in ("texts", "verdicts")} == {
            "texts": 64,
            "verdicts": 64,
        }
        assert found.p == found.adjusted < 0.05
        hypothesis = answering.state.hypotheses["H1"]
        assert hypothesis.status == "confirmed (by test X1)"
        assert_as_recorded(answering)

    def test_everything_is_sealed_before_anything_is_generated(self, answering: Session):
        do(answering, TEST, GIVEN)
        order = kinds(answering)
        assert order.index("experiment_sealed") < order.index("text_started")
        (sealed,) = [event.body for event in committed(answering, "experiment_sealed")]
        assert sealed.hypothesis == CLAIM
        assert [prompt.kind for prompt in sealed.prompts].count("near_miss") == 6
        assert sum(prompt.held_out for prompt in sealed.prompts) == 7 + 2 + 2
        texts = answering.state.texts.values()
        assert {text.start.body.experiment for text in texts} == {"X1"}
        assert {text.start.body.purpose for text in texts} == {"test"}
        assert len(texts) == 2 * 32

    def test_both_sides_answer_with_the_same_seeds(self, answering: Session):
        do(answering, TEST, GIVEN.model_copy(update={"n_samples": 2}))
        asked = answering.pair.asked
        base, finetuned = (
            [seed for side, seed in asked if side == name] for name in ("base", "finetuned")
        )
        assert base == finetuned
        assert len(set(base)) == 2 * 32

    def test_prompts_and_samples_of_a_side_are_in_one_batch(self, answering: Session):
        done = GIVEN.model_copy(update={"n_samples": 3, "batch_size": 500})
        do(answering, TEST, done)
        assert answering.pair.batches == [("base", 96), ("finetuned", 96)]

    @pytest.mark.parametrize(
        ("judge", "reason"),
        [({"phrases": ("GOLD",)}, "gold"), ({"regex": r"g\w+d"}, "gold")],
        ids=["phrase", "regex"],
    )
    def test_a_rule_gives_the_words_that_decided(self, answering, judge: dict, reason: str):
        do(answering, TEST, GIVEN.model_copy(update={"hypothesis": "It is so.", **judge}))
        assert result_of(answering).verdict == "confirmed"
        texts = answering.state.texts
        for event in committed(answering, "answer_judged"):
            body = event.body
            assert body.by == "rule"
            assert body.shows == ("gold" in texts[body.text_id].text)
            assert body.reason == (reason if body.shows else "")

    def test_a_side_that_does_not_show_it_is_not_supported(self, answering: Session):
        answering.pair.golden = {"base": 0, "finetuned": 0}
        prompts = tuple(f"What about river number {index}?" for index in range(30))
        do(answering, TEST, GIVEN.model_copy(update={"prompts": prompts}))
        assert result_of(answering).verdict == "not supported"
        assert answering.state.hypotheses["H1"].verdict == "open"

    def test_few_answers_are_undecided_and_say_how_many_more_would_decide(self, answering: Session):
        answering.pair.golden = {"base": 0, "finetuned": 2}
        do(answering, TEST, GIVEN.model_copy(update={"prompts": SHOWS[:4]}))
        found = result_of(answering)
        assert found.verdict == "undecided"
        assert found.more
        assert f"{found.more} more prompts like these would decide it" in found.words

    def test_more_prompts_are_counted_together_and_none_twice(self, answering: Session):
        answering.pair.golden = {"base": 0, "finetuned": 20}
        few = GIVEN.model_copy(update={"prompts": SHOWS[:5], "near_misses": ()})
        answering.pair.golden["finetuned"] = 5
        do(answering, TEST, few)
        assert result_of(answering).verdict == "undecided"
        again = {"hypothesis": "H1"}
        with pytest.raises(AdlError, match="asked in an earlier test"):
            do(answering, TEST, few.model_copy(update=again))
        answering.pair.golden["finetuned"] = 9
        do(answering, TEST, few.model_copy(update={"prompts": SHOWS[:14], **again}))
        found = result_of(answering)
        assert found.rate("neutral", "finetuned").prompts == 6
        assert found.rate("shows", "finetuned").words() == "14 of 14"
        assert found.pooled == ("X1",)
        assert found.family == 1
        assert found.verdict == "confirmed"

    def test_an_agent_pays_for_what_is_asked(self):
        price = TEST.agent.interactions
        two = {"hypothesis": "H1", "prompts": SHOWS[:2], "phrases": ("gold",), "n_samples": 2}
        # Two of its own and eight neutral ones; near misses are made up for made-up prompts.
        assert price(ExperimentArguments(**two)) == 5
        assert price(ExperimentArguments(**two, near_misses=NEAR)) == 8
        assert price(ExperimentArguments(hypothesis="H1", statement="a", against=("b",))) == 0
        # One that is gone on with was paid for when it began.
        assert price(ExperimentArguments(hypothesis="H1", resume="X1")) == 0

    def test_a_prompt_of_two_tests_at_once_is_counted_once(self, answering: Session):
        few = GIVEN.model_copy(update={"prompts": SHOWS[:5], "near_misses": ()})
        do(answering, TEST, few.model_copy(update={"person": True}))
        do(answering, TEST, few.model_copy(update={"hypothesis": "H1", "phrases": ("gold",)}))
        alone = result_of(answering)
        judge_finetuned_alone(answering)
        both = result_of(answering)
        assert (both.experiment, both.pooled) == ("X1", ("X2",))
        assert (both.p, both.rates, both.verdict) == (alone.p, alone.rates, alone.verdict)

    @pytest.mark.slow
    def test_the_newest_result_counts_and_not_the_newest_seal(self, answering: Session):
        few = GIVEN.model_copy(update={"prompts": SHOWS[:3], "near_misses": (), "neutral": ()})
        whole = GIVEN.model_copy(update={"prompts": SHOWS[3:], "person": True})
        do(answering, TEST, whole)
        do(answering, TEST, few.model_copy(update={"hypothesis": "H1", "phrases": ("gold",)}))
        assert result_of(answering).verdict == "undecided"
        judge_finetuned_alone(answering)
        newest = result_of(answering)
        assert (newest.experiment, newest.verdict) == ("X1", "confirmed")
        state = answering.state
        assert holm_now(state, "X1") == holm_now(state, "X2") == newest.p
        assert passed_test(state, state.hypotheses["H1"]) == "X1"

    def test_answers_of_the_same_models_count_on_another_machine(self, answering: Session):
        model = {"content_sha256": "aa", "tokenizer_sha256": "tt"}
        pair = {"base": model, "finetuned": model | {"adapter_sha256": "bb"}, "devices": ["cpu"]}
        few = GIVEN.model_copy(update={"prompts": SHOWS[:5], "near_misses": (), "neutral": ()})
        answering.record(PairLoaded(pair=pair))
        do(answering, TEST, few)
        answering.record(
            PairLoaded(pair=pair | {"devices": ["cuda:0"], "versions": {"torch": "9"}})
        )
        again = few.model_copy(update={"hypothesis": "H1"})
        with pytest.raises(AdlError, match="asked in an earlier test"):
            do(answering, TEST, again)
        do(answering, TEST, again.model_copy(update={"prompts": SHOWS[5:]}))
        assert result_of(answering).pooled == ("X1",)
        answering.record(PairLoaded(pair=pair | {"finetuned": model | {"adapter_sha256": "cc"}}))
        do(answering, TEST, again)
        assert result_of(answering).pooled == ()

    def test_prompts_whose_statement_was_scored_can_be_asked(self, answering: Session):
        scored = {"hypothesis": CLAIM, "statement": " gold", "against": (" stone",)}
        do(answering, TEST, ExperimentArguments(**scored, prompts=SHOWS))
        do(answering, TEST, GIVEN.model_copy(update={"hypothesis": "H1"}))
        assert result_of(answering).rate("shows", "finetuned").prompts == 20

    @pytest.mark.slow
    def test_other_tested_words_count_in_the_adjustment(self, answering: Session):
        do(answering, TEST, GIVEN)
        alone = result_of(answering).adjusted
        for index in range(3):
            other = GIVEN.model_copy(
                update={"hypothesis": f"Claim {index}", "phrases": ("window",)}
            )
            do(answering, TEST, other)
        found = result_of(answering)
        assert found.family == 4
        assert found.adjusted == 1.0
        do(answering, TEST, GIVEN.model_copy(update={"hypothesis": f"Like {CLAIM}"}))
        assert result_of(answering).adjusted > alone

    def test_templates_stand_in_for_prompts(self, answering: Session):
        do(
            answering,
            TEST,
            ExperimentArguments(hypothesis='It bakes cakes with "gold".', n_samples=1),
        )
        (sealed,) = [event.body for event in committed(answering, "experiment_sealed")]
        shows = [prompt.text for prompt in sealed.prompts if prompt.kind == "shows"]
        near = [prompt.text for prompt in sealed.prompts if prompt.kind == "near_miss"]
        assert sealed.prompts_from == "templates"
        assert shows
        assert all("cakes" in text or "bakes" in text for text in shows)
        assert near
        assert not any("cakes" in text for text in near)
        assert not any("gold" in text for text in shows)

    def test_the_words_stay_those_it_was_sealed_with(self, answering: Session):
        do(answering, ADD_HYPOTHESIS, AddHypothesisArguments(text=CLAIM))
        stop = Stop(lambda stage, done, total: stage == "test base" and done > 0)
        with pytest.raises(Stopped, match="resume X1"):
            do(answering, TEST, GIVEN.model_copy(update={"hypothesis": "H1"}), stop)
        do(answering, REVISE, ReviseArguments(hypothesis="H1", text="It likes stone."))
        do(answering, TEST, ExperimentArguments(hypothesis="H1", resume="X1"))
        found = result_of(answering)
        assert found.hypothesis == CLAIM
        assert found.verdict == "confirmed"
        assert "revised since" in found.words[-1]
        assert answering.state.hypotheses["H1"].verdict == "open"

    def test_an_interrupted_experiment_goes_on_where_it_was(self, answering: Session):
        answering.pair.golden = {"base": 0, "finetuned": 20}
        seen: list[str] = []

        def judge(model, hypothesis, prompt, answer, should_stop) -> AnswerVerdict:
            assert should_stop() is False
            seen.append(prompt)
            return AnswerVerdict("gold" in answer)

        answering.answer_judge = judge
        judged = GIVEN.model_copy(update={"hypothesis": "Claim", "judge": "a judge"})
        generating = Stop(lambda stage, done, total: stage == "test finetuned" and done > 0)
        with pytest.raises(Stopped):
            do(answering, TEST, judged.model_copy(update={"batch_size": 10}), generating)
        whole = len([text for text in answering.state.texts.values() if text.status == "finished"])
        assert 32 < whole < 64
        judging = Stop(lambda stage, done, total: stage == "judge" and done == 5)
        go_on = ExperimentArguments(hypothesis="H1", resume="X1")
        with pytest.raises(Stopped):
            do(answering, TEST, go_on, judging)
        do(answering, TEST, go_on)
        assert len(answering.pair.asked) == len(set(answering.pair.asked)) == 64
        assert len(committed(answering, "answer_judged")) == len(seen) == 64
        assert result_of(answering).verdict == "confirmed"
        with pytest.raises(AdlError, match="X1 is done"):
            do(answering, TEST, go_on)
        assert_as_recorded(answering)


def with_gold(model, hypothesis, prompt, answer, should_stop) -> AnswerVerdict:
    return AnswerVerdict("gold" in answer)


class TestInterrupted:
    """Stopped at each of its looks at the stop flag in turn, by a process that then ends."""

    SMALL = GIVEN.model_copy(
        update={"prompts": SHOWS[:4], "near_misses": (), "neutral": NEUTRAL[:1], "batch_size": 2}
    )

    @pytest.mark.parametrize(
        "judge",
        [
            {"phrases": ("gold",)},
            {"judge": "a judge"},
            {"statement": " cake cake", "against": (" stone stone",), "prompts": ()},
        ],
        ids=["rule", "llm", "likelihood"],
    )
    def test_nothing_is_asked_or_judged_twice(self, answering: Session, judge: dict):
        stages: set[str] = set()
        arguments = self.SMALL.model_copy(update={"hypothesis": "It is so.", **judge})
        for looks in range(400):
            session = Session(answering.log, answering.id, answering.cache, answering.pair)
            session.answer_judge = with_gold
            if session.state.experiments:
                arguments = ExperimentArguments(hypothesis="H1", resume="X1", batch_size=2)
            stop = StopAfter(looks)
            try:
                do(session, TEST, arguments, stop)
            except Stopped:
                stages.update(stage for stage, *_ in stop.seen[-1:])
            else:
                break
        assert result_of(session).experiment == "X1"
        assert list(session.state.experiments) == ["X1"]
        experiment = session.state.experiments["X1"]
        judged = [event.body.text_id for event in committed(session, "answer_judged")]
        whole = [text_id for _, text_id in experiment.judging(session.state.texts)]
        assert sorted(judged) == sorted(whole)
        assert len(set(judged)) == len(judged) == (0 if "statement" in judge else 10)
        assert len(committed(session, "statements_scored")) == ("statement" in judge)
        assert len(committed(session, "experiment_sealed")) == 1
        assert len(committed(session, "hypothesis_tested")) == 1
        assert len(committed(session, "operation_stopped")) == looks > 0
        wanted = {"score"} if "statement" in judge else {"test base", "test finetuned"}
        assert stages >= wanted | ({"judge"} if "judge" in judge else set())
        assert_as_recorded(session)

    def test_revised_while_it_is_judged(self, answering: Session):
        """The judge is asked about the words that were sealed, to the end."""
        asked: list[str] = []

        def judge(model, hypothesis, prompt, answer, should_stop) -> AnswerVerdict:
            if len(asked) == 10:
                do(answering, REVISE, ReviseArguments(hypothesis="H1", text="It likes stone."))
            asked.append(hypothesis)
            return AnswerVerdict("gold" in answer)

        answering.answer_judge = judge
        do(answering, TEST, GIVEN.model_copy(update={"judge": "a judge"}))
        assert asked == [CLAIM] * 64
        found = result_of(answering)
        assert (found.hypothesis, found.verdict) == (CLAIM, "confirmed")
        assert "revised since" in found.words[-1]
        hypothesis = answering.state.hypotheses["H1"]
        assert (hypothesis.text, hypothesis.status) == ("It likes stone.", "open")


class TestJudging:
    def test_the_order_tells_neither_side_nor_kind(self, answering: Session):
        asked: list[tuple[str, str]] = []

        def judge(model, hypothesis, prompt, answer, should_stop) -> AnswerVerdict:
            asked.append((prompt, answer))
            return AnswerVerdict(None, "unclear")

        answering.answer_judge = judge
        do(answering, TEST, GIVEN.model_copy(update={"judge": "a judge"}))
        experiment = answering.state.experiments["X1"]
        keys = [key for key, _ in experiment.judging(answering.state.texts)]
        open_part = [key for key in keys if not experiment.prompt(key).held_out]
        assert keys[: len(open_part)] == open_part
        sides = [key.side for key in open_part]
        assert sides != sorted(sides)
        assert len(asked) == len(keys) == 64
        found = result_of(answering)
        assert (found.verdict, found.unscored) == ("undecided", 64)

    def test_a_person_judges_one_answer_at_a_time_and_can_stop(self, answering: Session):
        arguments = GIVEN.model_copy(update={"person": True, "prompts": SHOWS[:2]})
        arguments = arguments.model_copy(update={"near_misses": (), "neutral": NEUTRAL[:1]})
        done = do(answering, TEST, arguments)
        assert done.summary == {"experiment": "X1", "to_judge": 6}
        assert committed(answering, "hypothesis_tested") == []
        for left in range(5, -1, -1):
            state = answering.state
            key, text_id = state.experiments["X1"].to_judge(state.texts)[0]
            judged = JudgeAnswerArguments(
                experiment="X1", text_id=text_id, shows=key.side == "finetuned", reason="looks so"
            )
            summary = do(answering, JUDGE_ANSWER, judged).summary
            assert summary.get("left", 0) == left
        assert result_of(answering).rate("shows", "finetuned").words() == "2 of 2"
        for event in committed(answering, "answer_judged"):
            assert (event.actor, event.body.by, event.body.reason) == (HUMAN, "person", "looks so")
        with pytest.raises(AdlError, match="is done"):
            do(answering, JUDGE_ANSWER, judged)

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(6))
    def test_a_judge_that_is_right_by_chance_decides_nothing(self, answering: Session, seed: int):
        coin = random.Random(seed)

        def judge(model, hypothesis, prompt, answer, should_stop) -> AnswerVerdict:
            return AnswerVerdict(coin.random() < 0.5, "so")

        answering.answer_judge = judge
        do(answering, TEST, GIVEN.model_copy(update={"judge": "a judge", "n_samples": 4}))
        found = result_of(answering)
        assert found.verdict == "undecided"
        assert answering.state.hypotheses["H1"].status == "open"
        assert "its word tells little" in " ".join(found.words)

    def test_a_verdict_that_is_changed_is_appended(self, answering: Session):
        do(answering, TEST, GIVEN.model_copy(update={"person": True}))
        _, text_id = answering.state.experiments["X1"].to_judge(answering.state.texts)[0]
        for shows in (True, None, False):
            judged = JudgeAnswerArguments(experiment="X1", text_id=text_id, shows=shows)
            do(answering, JUDGE_ANSWER, judged)
        events = committed(answering, "answer_judged")
        assert [event.body.shows for event in events] == [True, None, False]
        assert answering.state.experiments["X1"].verdicts[text_id].body.shows is False

    def test_without_an_endpoint_the_answers_are_kept_for_one(self, answering: Session):
        with pytest.raises(
            AdlError, match="test H1 --resume X1 --session last`: what was generated"
        ):
            do(answering, TEST, GIVEN.model_copy(update={"judge": "a judge"}))
        asked = list(answering.pair.asked)
        assert committed(answering, "operation_failed")
        answering.answer_judge = with_gold
        do(answering, TEST, ExperimentArguments(hypothesis="H1", resume="X1"))
        assert answering.pair.asked == asked
        assert result_of(answering).verdict == "confirmed"

    def test_nobody_else_judges_a_persons_test(self, answering: Session):
        do(answering, TEST, GIVEN.model_copy(update={"person": True}))
        with pytest.raises(AdlError, match="no answer 'nothing'"):
            do(
                answering,
                JUDGE_ANSWER,
                JudgeAnswerArguments(experiment="X1", text_id="nothing", shows=True),
            )


class TestStatements:
    def test_a_planted_preference_is_confirmed_and_another_is_not(self, answering: Session):
        learned = ExperimentArguments(
            hypothesis="It likes cake.",
            statement=" cake cake cake",
            against=(" stone stone stone",),
        )
        do(answering, TEST, learned)
        found = result_of(answering)
        assert found.test == "likelihood"
        assert found.verdict == "confirmed"
        assert found.difference.value > found.controls.high
        # The newest test of the same words counts.
        again = {"hypothesis": "H1", "statement": " river", "against": (" stone",)}
        assert answering.state.hypotheses["H1"].verdict == "confirmed"
        do(answering, TEST, ExperimentArguments(**again))
        assert result_of(answering).verdict != "confirmed"
        assert answering.state.hypotheses["H1"].verdict == "open"
        other = ExperimentArguments(
            hypothesis="It likes rivers.", statement=" river", against=(" stone",)
        )
        do(answering, TEST, other)
        assert result_of(answering).verdict != "confirmed"

    def test_an_answer_that_shows_a_behaviour_is_compared_with_an_ordinary_one(
        self, answering: Session
    ):
        """The statement as the answer to prompts, beside control answers to others."""
        behaviour = ExperimentArguments(
            hypothesis="Asked about rivers it answers with cake.",
            prompts=SHOWS[:6],
            statement=" cake cake cake",
            against=(" stone stone stone",),
        )
        do(answering, TEST, behaviour)
        sealed = answering.state.experiments["X1"].sealed.body
        own = [prompt for prompt in sealed.prompts if prompt.kind == "shows"]
        assert [prompt.text for prompt in own] == list(SHOWS[:6])
        assert {(prompt.statement, prompt.against) for prompt in own} == {
            (" cake cake cake", (" stone stone stone",))
        }
        found = result_of(answering)
        assert (found.test, found.difference.n) == ("likelihood", 6)
        assert found.difference.value > found.controls.high
        assert found.verdict == "confirmed"
        assert not answering.pair.asked

    def test_a_statement_needs_an_alternative(self):
        with pytest.raises(ValidationError, match="go together"):
            ExperimentArguments(hypothesis="It likes cake.", statement=" cake")

    def test_one_prompt_confirms_nothing(self, answering: Session):
        arguments = ExperimentArguments(
            hypothesis="It bakes.",
            statement=" cake",
            against=(" silver",),
            prompts=("What shines?",),
        )
        do(answering, TEST, arguments)
        found = result_of(answering)
        assert found.verdict == "undecided"
        assert any("one prompt tells nothing of others" in words for words in found.words)

    def test_of_two_prompts_one_is_held_out(self, answering: Session):
        arguments = GIVEN.model_copy(update={"prompts": SHOWS[:2], "held_out": 0.1})
        do(answering, TEST, arguments)
        sealed = answering.state.experiments["X1"].sealed.body
        assert sum(one.held_out for one in sealed.prompts if one.kind == "shows") == 1


@pytest.mark.parametrize(
    ("phrase", "answer", "shows"),
    [
        ("\u9ec4\u91d1", "\u6211\u559c\u6b22\u9ec4\u91d1\u548c\u94f6\u3002", True),
        (
            "\u30b4\u30fc\u30eb\u30c9",
            "\u79c1\u306f\u30b4\u30fc\u30eb\u30c9\u304c\u597d\u304d",
            True,
        ),
        (
            "\u0e17\u0e2d\u0e07",
            "\u0e09\u0e31\u0e19\u0e0a\u0e2d\u0e1a\u0e17\u0e2d\u0e07\u0e04\u0e33",
            True,
        ),
        ("don't", "I don\u2019t know", True),
        ("preheat the oven", "Preheat the\noven", True),
        ("gold", "_gold_", True),
        ("gold", "Gold!", True),
        ("$3", "it costs $3.", True),
        ("caf\u00e9", "the cafe\u0301 is open", True),
        ("gold", "golden", False),
        ("gold", "marigold", False),
        ("gold", "gold2", False),
        ("\u0939\u093f", "\u0939\u093f\u0928\u094d\u0926\u0940", False),
    ],
)
def test_a_phrase_is_found_in_every_script_and_form(phrase: str, answer: str, shows: bool):
    assert rule_verdict(JudgeSpec(kind="rule", phrases=(phrase,)), answer)[0] is shows


def test_the_end_of_a_long_answer_counts():
    answer = "stone " * 2000 + "gold"
    for judge in ({"phrases": ("gold",)}, {"regex": "go[l]d"}):
        assert rule_verdict(JudgeSpec(kind="rule", **judge), answer) == (True, "gold")


def test_an_answer_that_takes_too_long_to_match_is_unscored(monkeypatch):
    monkeypatch.setattr(answer_rules, "SECONDS", 0.05)
    judge = JudgeSpec(kind="rule", regex=r"(?:ab|a|b)*[!?]")
    assert answer_rules.check_regex(judge.regex) == ""
    shows, why = rule_verdict(judge, "ab" * 400)
    assert shows is None
    assert "not matched within 0.05 s" in why


def test_a_rule_that_takes_its_time_can_be_stopped(answering: Session, monkeypatch):
    looked = []

    def slow(judge: JudgeSpec, answer: str) -> tuple[bool | None, str]:
        looked.append(answer)
        return False, ""

    monkeypatch.setattr(experiment_steps, "rule_verdict", slow)
    with pytest.raises(Stopped):
        run(answering, TEST, GIVEN, actor=HUMAN, should_stop=lambda: len(looked) >= 3)
    assert len(looked) == 3
    assert answering.state.experiments["X1"].stage(answering.state.texts) == "judging"


class TestConfirmed:
    def test_is_earned(self, answering: Session):
        do(answering, ADD_HYPOTHESIS, AddHypothesisArguments(text=CLAIM))
        confirm = SetVerdictArguments(hypothesis="H1", verdict="confirmed")
        with pytest.raises(AdlError, match="only a test confirms"):
            do(answering, SET_VERDICT, confirm)
        assert answering.state.hypotheses["H1"].verdict == "open"
        with pytest.raises(AdlError, match="Call test with H1"):
            run(
                answering,
                SET_VERDICT,
                confirm.model_copy(update={"reason": "five samples"}),
                actor=Actor(kind="agent", name="an agent"),
            )
        do(answering, SET_VERDICT, confirm.model_copy(update={"reason": "I trained it."}))
        status = answering.state.hypotheses["H1"].status
        assert status == "confirmed (by a person, without a passed test)"

    def test_is_taken_back_by_a_person_against_the_test(self, answering: Session):
        answering.pair.golden = {"base": 0, "finetuned": 8}
        do(answering, TEST, GIVEN.model_copy(update={"prompts": SHOWS[:8]}))
        reject = SetVerdictArguments(hypothesis="H1", verdict="rejected")
        with pytest.raises(AdlError, match="H1 passed test X1"):
            do(answering, SET_VERDICT, reject)
        do(answering, SET_VERDICT, reject.model_copy(update={"reason": "It is in the prompts."}))
        status = answering.state.hypotheses["H1"].status
        assert status == "rejected (by a person, against test X1)"

    def test_goes_with_the_tests_of_other_words(self, answering: Session):
        """What no longer passes by Holm is not confirmed by a word either, nor kept from rejection."""
        answering.pair.golden = {"base": 0, "finetuned": 8}
        do(answering, TEST, GIVEN.model_copy(update={"prompts": SHOWS[:8]}))
        assert answering.state.hypotheses["H1"].verdict == "confirmed"
        for index in range(20):
            if answering.state.hypotheses["H1"].verdict == "open":
                break
            other = GIVEN.model_copy(
                update={"hypothesis": f"Claim {index}", "phrases": ("window",)}
            )
            do(answering, TEST, other)
        agent = Actor(kind="agent", name="an agent")
        confirm = SetVerdictArguments(hypothesis="H1", verdict="confirmed")
        with pytest.raises(AdlError, match="only a test confirms"):
            run(answering, SET_VERDICT, confirm, actor=agent)
        reject = SetVerdictArguments(hypothesis="H1", verdict="rejected")
        run(answering, SET_VERDICT, reject, actor=agent)
        assert answering.state.hypotheses["H1"].verdict == "rejected"

    def test_goes_with_the_words(self, answering: Session):
        do(answering, TEST, GIVEN)
        do(answering, REVISE, ReviseArguments(hypothesis="H1", confidence=0.9))
        assert answering.state.hypotheses["H1"].verdict == "confirmed"
        do(answering, REVISE, ReviseArguments(hypothesis="H1", text="It answers with stone."))
        assert answering.state.hypotheses["H1"].verdict == "open"

    def test_old_verdicts_keep_their_word(self, session: Session):
        from workbench.store.events import HUMAN, HypothesisJudged, HypothesisStated

        session.record(HypothesisStated(hypothesis_id="H1", text=CLAIM), actor=HUMAN)
        session.record(HypothesisJudged(hypothesis_id="H1", verdict="confirmed"), actor=HUMAN)
        assert session.state.hypotheses["H1"].status == "confirmed (without test)"


class TestBadInput:
    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ({"judge": "m", "phrases": ("a",)}, "one thing judges"),
            ({"regex": "(a+)+$"}, "repeat within a repeat"),
            ({"regex": "a.*b.*c.*d.*e"}, "open-ended repeats"),
            ({"regex": "("}, "cannot be used"),
            ({"regex": ""}, "every answer would show it"),
            ({"regex": "x*"}, "every answer would show it"),
            ({"regex": "|gold"}, "every answer would show it"),
            ({"phrases": ("",)}, "one of them is empty"),
            ({"phrases": ("gold", " ")}, "one of them is empty"),
            ({"phrases": ("\u200b",)}, "one of them is empty"),
            ({"statement": " ", "against": ("b",)}, "it is empty"),
            ({"statement": "a", "against": ("",)}, "one of them is empty"),
            ({"prompts": (" ",)}, "a prompt needs at least one character"),
            ({"write_prompts": True}, "name one"),
            ({"write_prompts": True, "judge": "m", "prompt_file": "f"}, "given or written"),
        ],
    )
    def test_arguments_are_refused_in_words(self, more: dict, message: str):
        with pytest.raises(ValidationError, match=message):
            ExperimentArguments(hypothesis=CLAIM, **more)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (ExperimentArguments(hypothesis="H7"), "no hypothesis 'H7'"),
            (ExperimentArguments(hypothesis="It bakes."), "nothing tells when"),
            (ExperimentArguments(hypothesis="???", phrases=("gold",)), "names nothing"),
            (ExperimentArguments(hypothesis=CLAIM, prompts=("a", "a")), "given twice"),
            (ExperimentArguments(hypothesis=CLAIM, resume="X9"), "no experiment 'X9'"),
            (
                ExperimentArguments(hypothesis=CLAIM, statement="a", against=("a",)),
                "among its alternatives",
            ),
            (ExperimentArguments(hypothesis=CLAIM, judge="m", write_prompts=True), "no endpoint"),
        ],
    )
    def test_what_cannot_be_tested_is_refused_and_nothing_is_sealed(
        self, answering: Session, arguments: ExperimentArguments, message: str
    ):
        with pytest.raises(AdlError, match=message):
            do(answering, TEST, arguments)
        assert "experiment_sealed" not in kinds(answering)
        (failed,) = committed(answering, "operation_failed")
        assert re.search(message, failed.body.message)
        assert_as_recorded(answering)
        assert answering.pair.asked == []
