"""The same question to both sides, and where their answers part."""

from __future__ import annotations

import numpy as np
import pytest

from adl.errors import PromptError
from adl.generation.asking import (
    Question,
    answer_kl,
    first_divergence,
    question_ids,
    question_requests,
)
from adl.generation.steering import SteeringVector
from adl.records import SIDES, GeneratedText, GenerationPlan, Site
from adl.text.prompts import Prompt
from tests.planted import PlantedPair

QUESTION = Question(Prompt.of("Tell me about the river"))


def said(pair: PlantedPair, side, text: str) -> GeneratedText:
    return GeneratedText(tuple(pair.tokenise(side, text)), text, "length")


class TestIds:
    def test_a_chat(self, planted):
        turns = (("system", "Be brief."), ("user", "Why?"), ("assistant", " the"))
        ids = question_ids(planted, "base", Question(Prompt(turns)))
        assert planted.decode("base", ids).startswith("<system>")
        assert planted.decode("base", ids).endswith("<assistant> the")

    @pytest.mark.parametrize("bos", [True, False])
    def test_raw_text_begins_as_plain_text_does(self, bos):
        pair = PlantedPair(bos=bos)
        ids = question_ids(pair, "base", Question(raw=" the river"))
        assert pair.decode("base", ids) == ("<bos> the river" if bos else " the river")

    def test_nothing_to_ask(self, planted):
        with pytest.raises(PromptError, match="no tokens.*at least one character"):
            question_ids(planted, "base", Question(raw=""))
        assert question_ids(PlantedPair(bos=True), "base", Question(raw=""))

    @pytest.mark.parametrize(
        "options", [{}, {"prompt": Prompt.of("a"), "raw": "b"}], ids=["neither", "both"]
    )
    def test_a_question_is_one_of_two(self, options):
        with pytest.raises(ValueError, match="either a chat or raw text"):
            Question(**options)


class TestRequests:
    def test_both_sides_have_the_same_random_numbers(self, planted):
        asked = {side: question_requests(planted, side, QUESTION, [0, 1, 2]) for side in SIDES}
        seeds = {side: [request.seed for request in asked[side]] for side in SIDES}
        assert seeds["base"] == seeds["finetuned"]
        assert len(set(seeds["base"])) == 3
        assert all(request.added is None for request in asked["base"])

    def test_steered(self, planted):
        vector = SteeringVector(Site(3, "1-4"), "difference", np.ones(128, dtype=np.float32))
        (request,) = question_requests(planted, "base", QUESTION, [0], vector, 0.5)
        np.testing.assert_array_equal(request.added, np.full(128, 0.5))
        (request,) = question_requests(planted, "base", QUESTION, [0], vector)
        assert request.added is None


class TestDivergence:
    @pytest.mark.parametrize(
        ("base", "finetuned", "expected"),
        [
            (" the river was", " the river was", None),
            (" the river was", " the cake was", 1),
            (" the river", " the river was", 2),
            ("", " the", 0),
            ("", "", None),
        ],
    )
    @pytest.mark.parametrize("vocabulary", ["shared", "permuted"])
    def test_first_token_that_differs(self, vocabulary, base, finetuned, expected):
        pair = PlantedPair(vocabulary=vocabulary)
        answers = said(pair, "base", base), said(pair, "finetuned", finetuned)
        assert first_divergence(pair, *answers) == expected

    def test_answers_of_the_same_seed_part_at_the_domain(self, planted):
        answers = []
        for side in SIDES:
            requests = question_requests(planted, side, QUESTION, [3])
            answers += planted.generate(GenerationPlan(side, None, 0.7, 20), requests)
        place = first_divergence(planted, *answers)
        assert place is not None
        assert answers[0].token_ids[:place] == answers[1].token_ids[:place]


class TestKl:
    def truth(self, pair, answer: str) -> np.ndarray:
        """Computed from residuals, over whole sequences."""
        log_probs = {}
        for side in SIDES:
            ids = [*question_ids(pair, side, QUESTION), *pair.tokenise(side, answer)]
            residuals = pair.residuals(side, np.asarray([ids]))[0, -1]
            log_probs[side] = pair.unembed(side, residuals)
        base, finetuned = log_probs["base"], log_probs["finetuned"]
        n = len(pair.tokenise("base", answer))
        return (np.exp(finetuned) * (finetuned - base)).sum(-1)[-n - 1 : -1]

    @pytest.mark.parametrize("along", SIDES)
    def test_per_token(self, planted, along):
        text = " the oven was cake"
        found = answer_kl(planted, QUESTION, along, said(planted, along, text))
        np.testing.assert_allclose(found, self.truth(planted, text), rtol=1e-4)
        assert found.min() > 0.01

    @pytest.mark.parametrize("along", SIDES)
    def test_ids_are_translated(self, planted, along):
        text = " the oven was cake"
        pair = PlantedPair(vocabulary="permuted")
        found = answer_kl(pair, QUESTION, along, said(pair, along, text))
        np.testing.assert_allclose(found, self.truth(planted, text), rtol=1e-4)

    def test_up_to_the_first_token_that_one_side_lacks(self):
        pair = PlantedPair(vocabulary="extended")
        answer = said(pair, "finetuned", " the oven tiramisu was")
        found = answer_kl(pair, QUESTION, "finetuned", answer)
        assert len(found) == 2
        alone = said(pair, "finetuned", " tiramisu")
        assert answer_kl(pair, QUESTION, "finetuned", alone).shape == (0,)

    def test_an_empty_answer(self, planted):
        assert answer_kl(planted, QUESTION, "base", said(planted, "base", "")).shape == (0,)
