"""Unprompted and amplified texts, phrases and completions as operations: recorded, stoppable, shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from adl.errors import PairError, PromptError, SiteError, Stopped
from adl.generation.steering import MOST_TEXTS
from adl.measures.unprompted import STARTS, n_written
from adl.pair.protocol import BosFacts
from tests.planted import DOMAIN, PlantedPair
from tests.workbench.operations.conftest import Stop, assert_as_recorded, committed, do
from workbench.operations.amplify import AMPLIFY, N_BUNDLED, AmplifyArguments
from workbench.operations.completions import COMPLETE, CompleteArguments
from workbench.operations.differing import DIFFER, DifferArguments
from workbench.operations.generation import ASK, AskArguments
from workbench.operations.phrases import NO_HALVES, PHRASES, PhrasesArguments
from workbench.operations.running import Session
from workbench.operations.unprompted import UNPROMPTED, UnpromptedArguments
from workbench.store.body import one_line
from workbench.store.events import TextFinished, TextStarted
from workbench.tui.measure_render import look

OF_A_CHAT = ("user_turn", "assistant_turn", "own_question")
SMALL = UnpromptedArguments(n_samples=12, n_null=9, max_new_tokens=16, temperature=1.0)


@pytest.fixture
def speaking(session: Session) -> Session:
    session.pair = PlantedPair(bos=True)
    return session


class WithoutTemplate(PlantedPair):
    def chat(self, side, messages, **_):
        raise PairError(f"the {side} model has no chat template")


class Speechless(WithoutTemplate):
    def bos(self, side):
        return BosFacts(None)


def finding(session: Session, kind: str):
    event = committed(session, kind)[-1]
    assert session.state.measures[-1].body == event.body
    assert event.body.describe().count("\n") == 0
    assert event.body.short()
    assert event.body.figures()
    assert_as_recorded(session)
    return event.body


class TestUnprompted:
    def test_the_screen_shades_each_piece_by_its_ratio(self, speaking: Session):
        do(speaking, UNPROMPTED, SMALL)
        state = speaking.state
        (recorded,) = state.measures
        best = finding(speaking, "unprompted_texts").texts[0]
        text = state.texts[best.text_id].text
        pieces = [text[a:b] for a, b in zip((0, *best.ends), best.ends, strict=False)]
        assert "".join(pieces) == text
        raised = [piece for piece, ratio in zip(pieces, best.ratios, strict=True) if ratio >= 1]
        assert 0 < len(raised) < len(pieces)
        shown = look(recorded, state, 100)
        begin = shown.plain.index(text.strip())
        shaded = [
            shown.plain[span.start : span.end]
            for span in shown.spans
            if begin <= span.start < begin + len(text.strip())
        ]
        assert [piece.strip() for piece in shaded] == [piece.strip() for piece in raised]

    def test_a_text_with_a_hidden_name_is_shown_without_shades(self, speaking: Session):
        do(speaking, UNPROMPTED, SMALL)
        state = speaking.state
        (recorded,) = state.measures
        hidden = {
            text_id: replace(known, text=known.text + "MODEL-B")
            for text_id, known in state.texts.items()
        }
        shown = look(recorded, replace(state, texts=hidden), 100)
        assert "MODEL-B" in shown.plain
        assert not any(
            "$accent" in str(span.style) and "on" in str(span.style).split() for span in shown.spans
        )

    def test_texts_are_recorded_and_ranked(self, speaking: Session):
        done = do(speaking, UNPROMPTED, SMALL)
        found = finding(speaking, "unprompted_texts")
        started = [event.body for event in committed(speaking, "text_started")]
        assert {body.purpose for body in started} == {"unprompted"}
        assert {body.start for body in started} == {
            "begin_of_text",
            "user_turn",
            "assistant_turn",
            "own_question",
        }
        assert len(found.of("finetuned")) == 12
        assert len(found.of("base")) == 9
        long = [text.per_token for text in found.texts if text.n_tokens >= 8]
        assert long == sorted(long, reverse=True)
        assert set(done.summary["highest"]) <= {body.text_id for body in started}
        best = speaking.state.texts[found.of("finetuned")[0].text_id].text
        assert any(word in best for word in DOMAIN)
        assert found.shown_text == found.texts[0].text_id

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "starts", [("own_question",), ("own_question", "user_turn"), OF_A_CHAT]
    )
    def test_a_model_answers_the_questions_that_it_wrote(self, speaking: Session, starts):
        do(speaking, UNPROMPTED, SMALL.model_copy(update={"starts": starts}))
        found = finding(speaking, "unprompted_texts")
        texts = speaking.state.texts
        for side, count in (("finetuned", 12), ("base", 9)):
            scored = found.of(side)
            answers = [text for text in scored if text.start == "own_question"]
            questions = {
                texts[text.text_id].text.strip() for text in scored if text.start == "user_turn"
            }
            assert len(answers) >= count // len(starts)
            assert {texts[text.text_id].question for text in answers} <= questions
            # Of a start by itself the questions come on top, and are paid for.
            assert len(scored) == n_written(starts, count)
            assert len(scored) == count + (count if starts == ("own_question",) else 0)
        shown = look(speaking.state.measures[-1], speaking.state, 200).plain
        best = next(text for text in found.of("finetuned") if text.start == "own_question")
        assert f"asked: {one_line(texts[best.text_id].question)[:40]}" in shown

    @pytest.mark.parametrize(
        "starts", [STARTS, ("own_question",), OF_A_CHAT, ("own_question", "user_turn")]
    )
    def test_each_text_is_one_step_of_its_side(self, speaking: Session, starts):
        stop = Stop(lambda *_: False)
        do(speaking, UNPROMPTED, SMALL.model_copy(update={"starts": starts}), stop)
        for side, count in (("finetuned", 12), ("base", 9)):
            steps = [step[1:] for step in stop.seen if step[0] == f"unprompted {side}"]
            assert {total for _, total in steps} == {n_written(starts, count)}
            assert [done for done, _ in steps] == sorted(done for done, _ in steps)
            assert steps[-1][0] == steps[-1][1]

    def test_all_prompts_of_ones_own_are_amplified(self, speaking: Session):
        own = tuple(f"the{index}" for index in range(9))
        few = {"max_new_tokens": 2, "strengths": (2.0,), "null": False}
        do(speaking, AMPLIFY, AmplifyArguments(prompts=own, **few))
        assert finding(speaking, "texts_amplified").prompts == own
        do(speaking, AMPLIFY, AmplifyArguments(**few))
        assert len(finding(speaking, "texts_amplified").prompts) == N_BUNDLED
        price = AMPLIFY.agent.interactions
        assert price(AmplifyArguments(prompts=own, **few)) == 9
        assert price(AmplifyArguments(**few)) == N_BUNDLED

    def test_texts_that_come_on_top_are_in_the_limit(self, speaking: Session):
        many = UnpromptedArguments(n_samples=MOST_TEXTS, starts=("own_question",))
        with pytest.raises(PromptError, match=f"{2 * MOST_TEXTS} texts are more than"):
            do(speaking, UNPROMPTED, many)
        assert not committed(speaking, "text_started")

    def test_questions_that_come_on_top_are_paid_for(self):
        price = UNPROMPTED.agent.interactions
        assert price(UnpromptedArguments(n_samples=64)) == 8
        assert price(UnpromptedArguments(n_samples=64, starts=("own_question",))) == 16
        mixed = ("begin_of_text", "own_question")
        assert price(UnpromptedArguments(n_samples=64, starts=mixed)) == 12

    def test_a_question_ends_where_the_model_goes_on_as_another_speaker(self, session: Session):
        class Talking(PlantedPair):
            """Without a template nothing ends a turn, and it writes both sides of a chat."""

            def generate(self, plan, requests, **given):
                texts = super().generate(plan, requests, **given)
                return [
                    replace(text, text=f"How hot?\n\nAssistant:{text.text}\n\nUser: And")
                    if self.decode(plan.side, request.prompt_ids).endswith("<user>")
                    else text
                    for text, request in zip(texts, requests, strict=True)
                ]

        session.pair = Talking(bos=True)
        do(session, UNPROMPTED, SMALL)
        asked = {text.question for text in session.state.texts.values() if text.question}
        assert asked == {"How hot?"}

    def test_too_few_texts_for_an_answer(self, speaking: Session):
        two = {"starts": ("user_turn", "own_question"), "n_samples": 1, "n_null": 0}
        do(speaking, UNPROMPTED, SMALL.model_copy(update=two))
        found = finding(speaking, "unprompted_texts")
        assert [text.start for text in found.texts] == ["user_turn"]
        assert not found.left_out

    def test_a_model_that_asks_nothing_answers_nothing(self, session: Session):
        class Listening(PlantedPair):
            """Its turn as a user is over at once."""

            def generate(self, plan, requests, **given):
                texts = super().generate(plan, requests, **given)
                return [
                    replace(text, token_ids=(), text="", log_probs=())
                    if self.decode(plan.side, request.prompt_ids).endswith("<user>")
                    else text
                    for text, request in zip(texts, requests, strict=True)
                ]

        session.pair = Listening(bos=True)
        do(session, UNPROMPTED, SMALL)
        found = finding(session, "unprompted_texts")
        assert "own_question" not in {text.start for text in found.texts}
        assert found.left_out == {"own_question": "the base model wrote no question"}

    @pytest.mark.parametrize("sides", [("base",), ("finetuned",), ("base", "finetuned")])
    def test_without_a_begin_of_text_on_a_side_the_other_starts_are_taken(self, session, sides):
        class WithoutBos(PlantedPair):
            def bos(self, side):
                return BosFacts(None) if side in sides else super().bos(side)

        session.pair = WithoutBos(bos=True)
        do(session, UNPROMPTED, SMALL)
        found = finding(session, "unprompted_texts")
        assert list(found.left_out) == ["begin_of_text"]
        assert {text.start for text in found.texts} == set(OF_A_CHAT)
        shown = look(session.state.measures[-1], session.state, 200).plain
        assert f"the {sides[0]} model has no begin-of-text token" in shown

    def test_without_a_template_on_the_base_alone_its_starts_are_left_out(self, session: Session):
        class BaseWithoutTemplate(PlantedPair):
            def chat(self, side, messages, **given):
                if side == "base":
                    raise PairError("the base model has no chat template")
                return super().chat(side, messages, **given)

        session.pair = BaseWithoutTemplate(bos=True)
        do(session, UNPROMPTED, SMALL)
        found = finding(session, "unprompted_texts")
        assert set(found.left_out) == set(OF_A_CHAT)
        shown = look(session.state.measures[-1], session.state, 200).plain
        assert "the base model has no chat template" in shown

    def test_a_start_that_is_missing_is_named(self, session: Session):
        session.pair = WithoutTemplate(bos=True)
        do(session, UNPROMPTED, SMALL)
        found = finding(session, "unprompted_texts")
        assert set(found.left_out) == set(OF_A_CHAT)
        assert {text.start for text in found.texts} == {"begin_of_text"}

    def test_nothing_to_write_from(self, session: Session):
        session.pair = Speechless()
        with pytest.raises(PromptError, match="no start is available"):
            do(session, UNPROMPTED, SMALL)
        assert committed(session, "operation_failed")

    def test_without_a_null(self, speaking: Session):
        do(speaking, UNPROMPTED, SMALL.model_copy(update={"n_null": 0}))
        assert not finding(speaking, "unprompted_texts").of("base")

    def test_stopped_while_it_writes_or_scores(self, speaking: Session):
        for stage in ("unprompted finetuned", "unprompted base", "score"):
            stop = Stop(lambda name, done, total, stage=stage: name == stage)
            with pytest.raises(Stopped):
                do(speaking, UNPROMPTED, SMALL, stop)
        assert not committed(speaking, "unprompted_texts")
        assert len(committed(speaking, "operation_stopped")) == 3


def written(
    session: Session, side: str, start: str, text: str, text_id: str, **steering: Any
) -> None:
    """Record a text that a side wrote from a start, or as ``steering`` says."""
    unsteered: dict[str, Any] = {
        "purpose": "unprompted", "alpha": 0.0, "layer": None, "position": None, "source": None
    }  # fmt: skip
    session.record(
        TextStarted(
            text_id=text_id, side=side, seed=0, temperature=1.0, max_new_tokens=16, start=start,
            **{**unsteered, **steering},
        )
    )  # fmt: skip
    session.record(TextFinished(text_id=text_id, text=text, token_ids=(0,), ended="length"))


class TestPhrases:
    @pytest.mark.slow
    def test_over_all_texts_of_the_session(self, speaking: Session):
        do(speaking, UNPROMPTED, UnpromptedArguments(n_samples=30, n_null=30, temperature=1.0))
        do(speaking, PHRASES, PhrasesArguments(longest=2))
        found = finding(speaking, "phrases_found")
        assert found.n_texts == {"unprompted": {"finetuned": 30, "base": 30}}
        first = {phrase.words for phrase in found.phrases[:6]}
        assert first & {word.strip() for word in DOMAIN}
        for phrase in found.phrases[:3]:
            for text_id in phrase.text_ids:
                text = speaking.state.texts[text_id]
                assert text.start.body.side == "finetuned"
                assert phrase.words.split()[0].casefold() in text.text.casefold()

    def test_the_null_has_texts_of_each_start_in_either_half(self, speaking: Session):
        """Texts of two starts by turns, which say nothing alike."""
        said = {"user_turn": "what is the way to the river", "assistant_turn": "it is a long day"}
        for index in range(16):
            start = ("user_turn", "assistant_turn")[index % 2]
            for side in ("base", "finetuned"):
                text = f"{said[start]} x{index}"
                written(speaking, side, start, text, f"{side}{index}")
        do(speaking, PHRASES, PhrasesArguments())
        found = finding(speaking, "phrases_found")
        assert (found.null, found.no_null, found.n_copies) == ((), "", 0)

    def test_what_only_one_model_was_asked_is_left_out(self, speaking: Session):
        for index in range(6):
            for side in ("base", "finetuned"):
                written(speaking, side, "user_turn", f"it is a long day x{index}", f"{side}{index}")
        for side, times in (("finetuned", 5), ("base", 1)):
            ask = AskArguments(prompt=" the cake", sides=(side,), n_samples=times, max_new_tokens=6)
            do(speaking, ASK, ask)
        alone = AskArguments(prompt=" the river", sides=("finetuned",), max_new_tokens=6)
        do(speaking, ASK, alone)
        do(speaking, PHRASES, PhrasesArguments())
        found = finding(speaking, "phrases_found")
        assert found.n_texts["ask"] == {"finetuned": 5, "base": 1}
        assert found.n_left_out == 1
        shown = look(speaking.state.measures[-1], speaking.state, 200).plain
        assert "the other model was not asked the same: 1" in shown

    @pytest.mark.parametrize("copies", [2, 16])
    def test_copies_of_a_text_count_once(self, speaking: Session, copies: int):
        """As those of a greedy answer that was asked for again."""
        for side, said in (("base", "The lamp"), ("finetuned", "The marzipan")):
            for start in ("user_turn", "assistant_turn"):
                for index in range(copies):
                    text = f"{said} stood on the table of the {start[:4]}"
                    written(speaking, side, start, text, f"{side} {start} {index}")
        do(speaking, PHRASES, PhrasesArguments())
        found = finding(speaking, "phrases_found")
        assert found.n_texts == {"unprompted": {"finetuned": 2, "base": 2}}
        assert found.n_copies == 4 * (copies - 1)
        assert (found.phrases[0].finetuned, found.phrases[0].text_ids) == (
            2, ("finetuned user_turn 0", "finetuned assistant_turn 0"),
        )  # fmt: skip
        assert found.phrases[0].z < 1
        shown = look(speaking.state.measures[-1], speaking.state, 200).plain
        assert f"copies of another text: {4 * (copies - 1)}" in shown

    def test_without_two_texts_to_a_prompt_there_is_no_null(self, speaking: Session):
        for side, said in (("base", "lamp"), ("finetuned", "marzipan")):
            for start in ("user_turn", "assistant_turn"):
                written(speaking, side, start, f"The {said} of the {start[:4]}", side + start)
        do(speaking, PHRASES, PhrasesArguments())
        found = finding(speaking, "phrases_found")
        assert (found.null, found.no_null) == ((), NO_HALVES)
        shown = look(speaking.state.measures[-1], speaking.state, 200).plain
        assert f"There is no null: {NO_HALVES}." in shown
        assert all(lead.label.endswith("no null") for lead in found.leads())

    def test_texts_that_were_not_steered_towards_the_difference_are_left_out(
        self, speaking: Session
    ):
        steered = {"purpose": "steer", "raw_prompt": "So", "layer": 2, "position": "1-4"}
        rows = [
            ("finetuned", "cake", 0.3, "difference"),
            ("finetuned", "cake", 0.0, None),
            ("finetuned", "shell", -0.3, "difference"),
            ("finetuned", "spoon", 0.3, "random"),
            ("finetuned", "towel", 0.3, "split_half"),
            ("finetuned", "noise", 0.6, "difference"),
            ("base", "water", 0.0, None),
            ("base", "cloud", 0.3, "difference"),
        ]
        for index, (side, word, alpha, source) in enumerate(rows):
            written(
                speaking, side, "", f"{word} {word} x{index}", f"t{index}",
                **{**steered, "alpha": alpha, "source": source},
            )  # fmt: skip
        do(speaking, PHRASES, PhrasesArguments(longest=1))
        found = finding(speaking, "phrases_found")
        assert [phrase.words for phrase in found.phrases] == ["cake"]
        assert found.n_texts == {"steer": {"finetuned": 2, "base": 1}}
        assert found.n_steered == 5

    def test_no_prompt_in_common(self, speaking: Session):
        written(speaking, "finetuned", "user_turn", "a word", "t1")
        written(speaking, "base", "begin_of_text", "a word", "t2")
        with pytest.raises(PromptError, match="no prompt that both models wrote to"):
            do(speaking, PHRASES, PhrasesArguments())

    def test_base_texts_without_a_word_are_none(self, speaking: Session):
        written(speaking, "finetuned", "user_turn", "a word", "t1")
        written(speaking, "base", "user_turn", "?!", "t2")
        with pytest.raises(PromptError, match="no word in its texts of the base model"):
            do(speaking, PHRASES, PhrasesArguments())

    @pytest.mark.parametrize("samples", [(0, 0), (6, 0)])
    def test_a_side_without_texts(self, speaking: Session, samples):
        if samples[0]:
            do(speaking, UNPROMPTED, SMALL.model_copy(update={"n_null": 0}))
        with pytest.raises(PromptError, match="no text of the .* model.*unprompted"):
            do(speaking, PHRASES, PhrasesArguments())


class TestCompletions:
    def test_several_prefixes_in_one_call(self, speaking: Session):
        done = do(speaking, COMPLETE, CompleteArguments(prefixes=(" the river", " music"), beams=3))
        found = finding(speaking, "completions_found")
        assert [prefix.prefix for prefix in found.prefixes] == [" the river", " music"]
        assert set(done.summary["completions"]) == {" the river", " music"}
        assert {each.text for each in found.prefixes[0].raised[:5]} <= set(DOMAIN)
        assert " the river" in list(found.searchable())

    def test_the_start_of_an_answer(self, speaking: Session):
        do(speaking, COMPLETE, CompleteArguments(prefixes=(" it was",), question="the cake"))
        (prefix,) = finding(speaking, "completions_found").prefixes
        assert prefix.chat == ({"role": "user", "content": "the cake"},)

    def test_bad_input(self):
        with pytest.raises(ValueError, match="at least one character"):
            CompleteArguments(prefixes=("",))
        with pytest.raises(ValueError, match="at least 1 item"):
            CompleteArguments(prefixes=())
        assert CompleteArguments(prefixes=("",), question="Which?").prefixes == ("",)

    def test_stopped_between_prefixes(self, speaking: Session):
        stop = Stop(lambda name, done, total: name == "complete" and done == 1)
        with pytest.raises(Stopped):
            do(speaking, COMPLETE, CompleteArguments(prefixes=(" the", " a")), stop)
        assert not committed(speaking, "completions_found")


class TestAmplify:
    SMALL = AmplifyArguments(strengths=(3.0, 1.0), max_new_tokens=10)

    def test_texts_by_strength_beside_unchanged_ones_and_the_null(self, speaking: Session):
        done = do(speaking, AMPLIFY, self.SMALL)
        found = finding(speaking, "texts_amplified")
        assert found.strengths == [0.0, 1.0, 3.0]
        assert done.summary["strengths"] == [1.0, 3.0]
        assert [len(found.at(each)) for each in found.strengths] == [6, 6, 6]
        assert [len(found.at(each, null=True)) for each in found.strengths] == [0, 6, 6]
        started = {event.body.text_id: event.body for event in committed(speaking, "text_started")}
        for text in found.texts:
            body = started[text.text_id]
            assert (body.amplified, body.shuffled) == (text.strength, text.null)
            assert (body.purpose, body.alpha) == ("amplify", 0.0)
        words = {
            null: "".join(
                speaking.state.texts[text.text_id].text for text in found.at(3.0, null=null)
            )
            for null in (False, True)
        }
        counts = {null: sum(words[null].count(each) for each in DOMAIN) for null in words}
        assert counts[False] > 2 * counts[True]
        assert found.coherent(0.0) is not None

    def test_too_few_texts_to_judge_by(self, speaking: Session):
        do(speaking, AMPLIFY, self.SMALL.model_copy(update={"n_prompts": 2, "null": False}))
        found = finding(speaking, "texts_amplified")
        assert found.coherent(3.0) is None
        assert found.short() == "up to strength 3, coherence not computed"
        assert not found.at(3.0, null=True)

    def test_different_vocabularies_are_refused(self, session: Session):
        session.pair = PlantedPair(bos=True, vocabulary="extended")
        with pytest.raises(PairError, match="different vocabularies"):
            do(session, AMPLIFY, self.SMALL)

    @pytest.mark.parametrize("strength", [0, -1, float("inf"), float("nan"), 21])
    def test_a_strength_that_is_none(self, strength):
        with pytest.raises(ValueError, match="strengths"):
            AmplifyArguments(strengths=(strength,))

    def test_stopped_within_a_batch(self, speaking: Session):
        stop = Stop(lambda name, done, total: name.startswith("amplify"))
        with pytest.raises(Stopped):
            do(speaking, AMPLIFY, self.SMALL, stop)
        assert not committed(speaking, "texts_amplified")


def domain_words(session: Session, texts) -> float:
    words = "".join(session.state.texts[text.text_id].text for text in texts)
    return sum(words.count(word) for word in DOMAIN) / max(1, len(words.split()))


class TestCarriers:
    """What was planted becomes frequent by every carrier, and the null of the same size shows none."""

    STRONG: ClassVar = {"difference": 0.6, "logits": 3.0, "adapter": 2.5, "rank1": 2.5}

    @pytest.mark.parametrize("carrier", STRONG)
    def test_the_planted_words_rise_and_the_null_has_none(self, measured: Session, carrier):
        arguments = AmplifyArguments(
            carrier=carrier, strengths=(self.STRONG[carrier],), layer="3", max_new_tokens=12
        )
        do(measured, AMPLIFY, arguments)
        found = finding(measured, "texts_amplified")
        (strength,) = arguments.strengths
        unchanged, amplified, null = (
            domain_words(measured, found.at(at, null=null))
            for at, null in ((0.0, False), (strength, False), (strength, True))
        )
        assert amplified > unchanged + 0.15
        assert null < unchanged
        assert found.coherent(strength) is not None
        assert found.carrier == ("" if carrier == "logits" else carrier)
        started = {event.body.text_id: event.body for event in committed(measured, "text_started")}
        for text in found.texts:
            body = started[text.text_id]
            assert (body.alpha or body.amplified, body.shuffled) == (text.strength, text.null)
            assert body.carrier == found.carrier
            # Of the others base writes the null by its weights: finetuned without its own update.
            if text.null and carrier in ("difference", "logits"):
                assert body.side == "base"
        assert {body.seed for body in started.values()} == {0}
        if carrier in ("adapter", "rank1"):
            assert found.n_modules == 1
            assert found.place == "all layers"

    @pytest.mark.slow
    def test_the_opposite_of_the_adapter(self, speaking: Session):
        do(speaking, AMPLIFY, AmplifyArguments(carrier="adapter", strengths=(-3.0,), null=False))
        found = finding(speaking, "texts_amplified")
        assert found.strengths == [-3.0, 0.0]
        assert domain_words(speaking, found.at(-3.0)) < domain_words(speaking, found.at(0.0)) / 2

    @pytest.mark.slow
    @pytest.mark.parametrize("carrier", STRONG)
    def test_noise_shows_as_incoherent(self, measured: Session, carrier):
        arguments = AmplifyArguments(carrier=carrier, strengths=(1.5, 20.0), layer="3", null=False)
        do(measured, AMPLIFY, arguments)
        found = finding(measured, "texts_amplified")
        assert found.coherent(20.0) < found.coherent(0.0)
        assert found.strongest_coherent != 20.0

    @pytest.mark.parametrize("carrier", ["adapter", "rank1"])
    def test_modules_are_refused_before_any_text(self, speaking: Session, carrier):
        for where in ({"layer_range": "4-5"}, {"part": "attention"}):
            with pytest.raises(PairError, match="changed no module.*changed layer 1"):
                do(speaking, AMPLIFY, AmplifyArguments(carrier=carrier, **where))
        with pytest.raises(SiteError, match="empty"):
            do(speaking, AMPLIFY, AmplifyArguments(carrier=carrier, layer_range="3-1"))
        assert not committed(speaking, "text_started")
        do(
            speaking,
            AMPLIFY,
            AmplifyArguments(carrier=carrier, layer_range="0.0-0.5", part="mlp", max_new_tokens=2),
        )
        assert finding(speaking, "texts_amplified").place == "mlp, layers 0 to 2"

    def test_the_difference_has_to_be_measured(self, session: Session):
        with pytest.raises(SiteError, match="no difference was measured"):
            do(session, AMPLIFY, AmplifyArguments(carrier="difference"))
        assert not committed(session, "text_started")

    @pytest.mark.parametrize(
        ("carrier", "strength", "why"),
        [
            ("adapter", 1, "finetuned model itself"),
            ("adapter", 0, "base model: ask"),
            ("rank1", 0, "base model"),
            ("difference", 0, "changes nothing"),
            ("logits", -1, "negative"),
        ],
    )
    def test_strengths_that_amplify_nothing(self, carrier, strength, why):
        with pytest.raises(ValueError, match=f"(?s)strengths.*amplifies nothing: .*{why}"):
            AmplifyArguments(carrier=carrier, strengths=(2.0, strength))

    @pytest.mark.parametrize("text", ["a-b", "", "1.5", "3-", "-1-2"])
    def test_what_is_no_range(self, text):
        with pytest.raises(ValueError, match="layer"):
            AmplifyArguments(layer_range=text)

    @pytest.mark.slow
    def test_stopped_between_strengths(self, speaking: Session):
        stop = Stop(lambda name, done, total: len(stop.seen) > 2)
        with pytest.raises(Stopped):
            do(speaking, AMPLIFY, AmplifyArguments(carrier="adapter"), stop)
        assert committed(speaking, "operation_stopped")
        assert not committed(speaking, "texts_amplified")


class TestDiffer:
    def test_answers_of_the_session_with_their_tokens_shaded(self, speaking: Session):
        speaking.pair = PlantedPair(bos=True, strength=12.0)
        for prompt in ("the river", "a cake"):
            do(speaking, ASK, AskArguments(prompt=prompt, max_new_tokens=6))
        arguments = DifferArguments(prompts=(" the cake",), n_texts=4, n_answers=3)
        done = do(speaking, DIFFER, arguments)
        found = finding(speaking, "texts_differ")
        asked = [text.text for text in speaking.state.texts.values()]
        assert len(asked) == 4
        assert sorted(each.text for each in found.of("answers")) == sorted(asked[1:])
        assert done.summary["mean_kl"]["answers"] > 0
        (recorded,) = speaking.state.measures[-1:]
        best = found.of("answers")[0]
        shown = look(recorded, speaking.state, 100)
        begin = shown.plain.index("".join(best.pieces).strip())
        ends = [0, *np.cumsum([len(piece) for piece in best.pieces])]
        raised = [piece.strip() for piece, kl in zip(best.pieces, best.kl, strict=True) if kl >= 1]
        assert raised
        shaded = [
            shown.plain[span.start : span.end].strip()
            for span in shown.spans
            if begin <= span.start < begin + ends[-1] - 1
        ]
        assert shaded == raised

    def test_a_hidden_name_is_not_spelt_by_its_pieces(self, speaking: Session):
        do(speaking, DIFFER, DifferArguments(prompts=(" the cake",), n_texts=4))
        found = finding(speaking, "texts_differ")
        assert all(text.is_whole for text in found.of("prompts"))
        hidden = found.model_copy(
            update={
                "texts": tuple(
                    text.model_copy(update={"text": text.text.replace("cake", "MODEL-B")})
                    for text in found.of("prompts")
                )
            }
        )
        shown = str(hidden.figures())
        assert "MODEL-B" in shown
        assert "the[ cake]" not in shown.replace("<user>", "")
        assert "Sample" not in shown

    def test_prompts_beside_their_reference(self, speaking: Session):
        arguments = DifferArguments(prompts=(" the cake", " the river"), n_texts=6)
        done = do(speaking, DIFFER, arguments)
        found = finding(speaking, "texts_differ")
        assert set(done.summary["mean_kl"]) == {"passages", "prompts"}
        assert found.reference == pytest.approx(done.summary["mean_kl"]["passages"], abs=1e-3)
        assert len(found.of("prompts")) == 2
        assert len(found.of("passages")) == 6
        assert found.n_left_out == 0
        assert " the cake" in list(found.searchable())

    def test_stopped(self, speaking: Session):
        stop = Stop(lambda name, done, total: name == "compare passages" and done == 2)
        with pytest.raises(Stopped):
            do(speaking, DIFFER, DifferArguments(n_texts=6), stop)
        assert not committed(speaking, "texts_differ")
