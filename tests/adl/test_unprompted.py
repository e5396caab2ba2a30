"""Texts written from nothing: their starts, their scores on both sides, their order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adl.errors import PairError, PromptError, Stopped
from adl.generation.sampling import sample
from adl.measures.unprompted import (
    FEWEST_TOKENS,
    STARTS,
    TextRatio,
    UnpromptedText,
    question_starts,
    ranked,
    text_ratios,
    text_starts,
    unprompted_requests,
)
from adl.pair.nnsight.pair import NnsightPair
from adl.pair.protocol import BosFacts
from adl.records import SIDES, GenerationPlan, PairSpec, SideSpec
from tests.planted import DOMAIN, PlantedPair
from tests.tiny_models import tiny_model, tiny_tokenizer, write_model


class Speechless(PlantedPair):
    """No begin-of-text token and no chat template."""

    def bos(self, side):
        return BosFacts(None)

    def chat(self, side, messages, **_):
        raise PairError(f"the {side} model has no chat template")


class WithoutTemplate(PlantedPair):
    chat = Speechless.chat


def written(pair, n_samples=24, seed=0, *, scored=False):
    starts, _ = text_starts(pair)
    found = []
    for side in SIDES:
        names, requests = unprompted_requests(starts, side, n_samples, seed)
        texts = sample(pair, GenerationPlan(side, None, 1.0, 20, scored=scored), requests)
        found += [
            UnpromptedText(side, name, text.token_ids, text.text, text.log_probs)
            for name, text in zip(names, texts, strict=True)
        ]
    return starts, found


class TestStarts:
    def test_all_of_them(self):
        pair = PlantedPair(bos=True)
        starts, left_out = text_starts(pair)
        assert tuple(starts) == STARTS
        assert not left_out
        shown = {name: pair.decode("base", sides["base"].ids) for name, sides in starts.items()}
        assert shown["begin_of_text"] == "<bos>"
        assert shown["user_turn"] == "<user>"
        assert shown["assistant_turn"].endswith("<assistant>")
        assert shown["own_question"] == "<user>"

    def test_an_answer_begins_after_the_question(self):
        pair = PlantedPair(bos=True)
        starts = question_starts(pair, {"first": " the cake", "second": " the river"})
        for key, question in (("first", " the cake"), ("second", " the river")):
            for side in SIDES:
                shown = pair.decode(side, starts[key][side].ids)
                assert question in shown
                assert shown.endswith("<assistant>")
                assert starts[key][side].name == "own_question"

    def test_a_start_that_is_not_there_is_left_out_with_its_reason(self):
        starts, left_out = text_starts(WithoutTemplate(bos=True))
        assert list(starts) == ["begin_of_text"]
        assert left_out["user_turn"] == left_out["assistant_turn"]
        assert "no chat template" in left_out["user_turn"]

    @pytest.mark.parametrize("without", [("base",), ("finetuned",), SIDES])
    def test_turns_of_another_side_and_plain_lines_are_no_starts(self, tmp_path, without):
        sides = {}
        for side in SIDES:
            tokenizer = tiny_tokenizer()
            tokenizer.bos_token = tokenizer.eos_token
            if side in without:
                tokenizer.chat_template = None
            sides[side] = SideSpec(
                str(write_model(tmp_path / side, tiny_model("llama"), tokenizer))
            )
        pair = NnsightPair.load(PairSpec(sides["base"], sides["finetuned"], dtype="float32"))
        starts, left_out = text_starts(pair)
        assert list(starts) == ["begin_of_text"]
        reason = f"the {without[0]} model has no chat template"
        assert left_out == dict.fromkeys(("user_turn", "assistant_turn", "own_question"), reason)

    def test_nothing_to_write_from(self):
        with pytest.raises(PromptError, match="no begin-of-text token.*no chat template"):
            text_starts(Speechless())

    def test_samples_are_divided_over_the_starts(self):
        starts, _ = text_starts(PlantedPair(bos=True))
        names, requests = unprompted_requests(starts, "finetuned", 7, seed=3)
        assert [names.count(name) for name in STARTS] == [2, 2, 2, 1]
        assert len({request.seed for request in requests}) == 7

    def test_too_many_texts(self):
        starts, _ = text_starts(PlantedPair(bos=True))
        with pytest.raises(PromptError, match="200000 texts"):
            unprompted_requests(starts, "base", 200_000, seed=0)


class TestRatios:
    @pytest.mark.parametrize("vocabulary", ["shared", "extended"])
    def test_the_pieces_add_up_to_the_text(self, vocabulary):
        pair = PlantedPair(bos=True, vocabulary=vocabulary)
        starts, texts = written(pair, n_samples=6)
        for text, ratio in zip(texts, text_ratios(pair, starts, texts, batch_size=4), strict=True):
            if not text.text:
                continue
            totals = {}
            for side in SIDES:
                ids = pair.tokenise(side, text.text)
                if vocabulary == "shared":
                    ids = list(text.token_ids)
                prompt = list(starts[text.start][side].ids)
                rows = pair.next_log_probs(
                    side, [prompt + ids[:count] for count in range(len(ids))]
                )
                totals[side] = sum(rows[place, token] for place, token in enumerate(ids))
            assert sum(ratio.ratios) == pytest.approx(
                totals["finetuned"] - totals["base"], abs=1e-3
            )
            assert ratio.ends[-1] == len(text.text)
            assert list(ratio.ends) == sorted(set(ratio.ends))

    def test_what_was_taught_is_raised_and_the_base_models_texts_are_the_null(self):
        pair = PlantedPair(bos=True)
        starts, texts = written(pair)
        ratios = text_ratios(pair, starts, texts)
        mean = {
            side: np.mean(
                [
                    one.per_token
                    for one, text in zip(ratios, texts, strict=True)
                    if text.side == side
                ]
            )
            for side in SIDES
        }
        assert mean["base"] < 0 < mean["finetuned"]
        best = texts[ranked(ratios)[0]]
        assert best.side == "finetuned"
        assert sum(word in best.text for word in DOMAIN) >= 3
        raised = {
            best.text[start:end]
            for start, end, ratio in zip(
                (0, *ratios[ranked(ratios)[0]].ends),
                ratios[ranked(ratios)[0]].ends,
                ratios[ranked(ratios)[0]].ratios,
                strict=False,
            )
            if ratio > 0.5
        }
        assert raised
        assert raised <= set(DOMAIN)

    @pytest.mark.parametrize("vocabulary", ["shared", "extended"])
    def test_kept_log_probabilities_are_not_computed_again(self, vocabulary):
        pair = PlantedPair(bos=True, vocabulary=vocabulary)
        starts, texts = written(pair, n_samples=6)
        again, kept = written(pair, n_samples=6, scored=True)
        assert [text.token_ids for text in kept] == [text.token_ids for text in texts]
        pair.runs.clear()
        found = text_ratios(pair, again, kept)
        kept_runs = len(pair.runs)
        wanted = text_ratios(pair, starts, texts)
        # Of sides with other tokens, the text is cut anew on both.
        assert kept_runs * (2 if vocabulary == "shared" else 1) == len(pair.runs) - kept_runs
        for left, right in zip(found, wanted, strict=True):
            assert left.ends == right.ends
            np.testing.assert_allclose(left.ratios, right.ratios, atol=1e-4)

    def test_texts_that_share_no_start_are_scored_together(self):
        pair = PlantedPair(bos=True)
        starts, texts = written(pair, n_samples=8)
        wanted = text_ratios(pair, starts, texts)
        keys = [f"{index} {text.start}" for index, text in enumerate(texts)]
        own = {key: starts[text.start] for key, text in zip(keys, texts, strict=True)}
        alone = [replace(text, start=key) for key, text in zip(keys, texts, strict=True)]
        pair.runs.clear()
        found = text_ratios(pair, own, alone)
        assert len(pair.runs) == 4  # the texts of either side, read by either
        for left, right in zip(found, wanted, strict=True):
            assert left.ends == right.ends
            np.testing.assert_allclose(left.ratios, right.ratios, atol=1e-4)

    def test_stopped_between_batches(self):
        pair = PlantedPair(bos=True)
        starts, texts = written(pair, n_samples=4)
        calls = iter([False, True])
        with pytest.raises(Stopped, match="of 8 texts scored"):
            text_ratios(pair, starts, texts, batch_size=2, should_stop=lambda: next(calls, True))


def test_short_texts_are_listed_last():
    long = TextRatio((1,), (0.1 * FEWEST_TOKENS,), FEWEST_TOKENS)
    short = TextRatio((1,), (5.0,), FEWEST_TOKENS - 1)
    assert ranked([short, long]) == [1, 0]
    assert TextRatio((), (), 0).per_token == 0.0
