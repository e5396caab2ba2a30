"""Rows of the embeddings that stand for no token: none is written, and one that was is read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adl.generation.asking import Question, answer_kl, first_divergence
from adl.measures.differing import Answer, read_answers, text_difference
from adl.pair.nnsight.pair import NnsightPair
from adl.pair.nnsight.remote_pair import RemotePair
from adl.records import SIDES, GeneratedText, GenerationPlan, GenerationRequest, PairSpec, SideSpec
from adl.text.prompts import Prompt
from tests.plain_torch import PlainModel
from tests.remote_service import LocalPath
from tests.tiny_models import (
    ARCHITECTURES,
    SENTENCES,
    perturb,
    tiny_model,
    tiny_tokenizer,
    write_model,
)

PROMPT = 6


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Models that predict a row without a token above all others, after the prompt."""
    folder = tmp_path_factory.mktemp("rows")
    model = tiny_model("llama")
    ids = tiny_tokenizer()(SENTENCES[0], return_tensors="pt").input_ids[:, :PROMPT]
    for side in SIDES:
        with torch.no_grad():
            after = model(ids, output_hidden_states=True).hidden_states[-1][0, -1]
            model.get_output_embeddings().weight[-1] = 30 * after / after.square().sum()
        write_model(folder / side, model)
        perturb(model, 9, 0.05)
    return folder


@pytest.fixture(scope="module")
def spec(folders):
    return PairSpec(*(SideSpec(str(folders / side)) for side in SIDES))


@pytest.fixture(scope="module")
def pair(spec):
    return NnsightPair.load(spec)


@pytest.fixture(params=["here", "there"])
def writer(request, spec, pair):
    if request.param == "here":
        return pair
    return RemotePair.load(PairSpec(spec.base, spec.finetuned, remote="ndif"), service=LocalPath())


def prompt_ids(pair):
    return tuple(pair.tokenise("base", SENTENCES[0])[:PROMPT])


@pytest.mark.parametrize("temperature", [0.0, 4.0])
def test_only_tokens_are_written(writer, folders, temperature):
    """Their log-probabilities are those of plain transformers, over every row."""
    n_tokens, ids = len(writer.token_texts("base")), prompt_ids(writer)
    plan = GenerationPlan("base", None, temperature, 8, scored=True)
    texts = writer.generate(plan, [GenerationRequest(ids, seed) for seed in range(4)])
    plain = PlainModel(folders / "base", ARCHITECTURES["llama"].layers)
    rows = plain.log_probs(ids)
    assert rows.shape[1] > n_tokens
    assert temperature or rows[-1].argmax() >= n_tokens
    for text in texts:
        assert all(index < n_tokens for index in text.token_ids)
        whole = plain.log_probs((*ids, *text.token_ids))[len(ids) - 1 :]
        own = [float(row[index]) for row, index in zip(whole, text.token_ids, strict=False)]
        np.testing.assert_allclose(text.log_probs, own, atol=1e-3)


@pytest.mark.parametrize("gamma", [2.0, -0.5])
def test_amplified_logits_write_tokens_alone(pair, gamma):
    n_tokens, ids = len(pair.token_texts("base")), prompt_ids(pair)
    plan = GenerationPlan("finetuned", None, 2.0, 8)
    requests = [GenerationRequest(ids, seed, contrast=gamma, contrast_ids=ids) for seed in range(4)]
    texts = pair.generate(plan, requests)
    assert all(index < n_tokens for text in texts for index in text.token_ids)
    # Where no token was left, each would be the first of the vocabulary.
    assert len({text.token_ids for text in texts}) > 1


def test_texts_of_older_sessions_that_hold_one_are_compared(pair):
    spare = len(pair.token_texts("base"))
    said = (*pair.tokenise("base", " the river"), spare)
    question = Question(Prompt.of("How do you keep a garden?"))
    texts = {
        side: GeneratedText(ids, pair.decode(side, ids), "length")
        for side, ids in (("base", said[:-1]), ("finetuned", said))
    }
    assert first_divergence(pair, texts["base"], texts["finetuned"]) == len(said) - 1
    assert len(answer_kl(pair, question, "finetuned", texts["finetuned"])) == len(said)
    answer = Answer(
        "finetuned", tuple(question.prompt.messages), None, "", "auto", said, texts["base"].text
    )
    (read,) = read_answers(pair, [answer], 40)
    assert text_difference(pair, read).pieces[-1] == ""
