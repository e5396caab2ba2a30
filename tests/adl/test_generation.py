"""Generation: where a chat's answer ends, who shares a batch, and the random numbers of two sides."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from tokenizers import AddedToken

from adl.pair.nnsight import runs
from adl.pair.nnsight.generation import SeededSampling, end_token_ids, groups_of
from adl.pair.nnsight.pair import NnsightPair
from adl.records import GenerationPlan, GenerationRequest, PairSpec, SideSpec
from adl.text.token_batches import TokenBatch
from tests.tiny_models import SENTENCES, TURN_END, perturb, tiny_model, tiny_tokenizer, write_model


def loaded(tokenizer: Any, ends: Any = None) -> Any:
    config = SimpleNamespace(eos_token_id=ends)
    module = SimpleNamespace(generation_config=config)
    return cast(Any, SimpleNamespace(tokenizer=tokenizer, module=module))


@pytest.mark.parametrize("special", [True, False])
def test_the_end_of_a_turn_need_not_be_listed_as_special(tmp_path, special):
    """Tokenizers keep it among the added tokens, and some list there the end of a text alone."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken("<|turn|>", special=special)])
    tokenizer.chat_template = str(tokenizer.chat_template).replace(TURN_END, "<|turn|>")
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    end = again.convert_tokens_to_ids("<|turn|>")
    assert "<|turn|>" not in again.all_special_tokens
    assert end in end_token_ids(loaded(again))


def test_an_ordinary_word_behind_an_answer_ends_nothing():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = str(tokenizer.chat_template).replace(TURN_END, " over")
    assert end_token_ids(loaded(tokenizer)) == {tokenizer.eos_token_id}


def test_a_model_that_cannot_batch_generates_row_by_row():
    requests = [GenerationRequest((1, 2, 3), seed) for seed in range(3)]
    for alone, groups in ((True, [[0], [1], [2]]), (False, [[0, 1, 2]])):
        side = SimpleNamespace(structure=SimpleNamespace(pads=False, alone=alone))
        assert groups_of(cast(Any, side), requests) == groups


def test_sides_of_other_widths_get_the_same_random_numbers():
    wide, narrow = 152, 128
    zeros = [torch.zeros((1, width)) for width in (wide, narrow)]
    both = [SeededSampling([5], 1.0, wide) for _ in zeros]
    alone = SeededSampling([5], 1.0)
    for _step in range(4):
        first, second = (
            one(cast(Any, None), cast(Any, scores)) for one, scores in zip(both, zeros, strict=True)
        )
        assert torch.equal(first[:, :narrow], second)
        # Numbers of sides of one width are what they were.
        assert torch.equal(first, alone(cast(Any, None), cast(Any, zeros[0])))


def test_a_temperature_next_to_nothing_takes_the_most_probable_token(tmp_path):
    """Over it logits would be infinite, and the first token of the vocabulary the largest."""
    folders = (write_model(tmp_path / str(seed), tiny_model("llama", seed=seed)) for seed in (0, 1))
    pair = NnsightPair.load(PairSpec(*(SideSpec(str(folder)) for folder in folders)))
    request = GenerationRequest(tuple(pair.tokenise("base", SENTENCES[0])[:6]), 1)
    found = [
        pair.generate(GenerationPlan("base", None, temperature, 6), [request])[0].token_ids
        for temperature in (0.0, 1e-44, 1e-5)
    ]
    assert len(found[0]) == 6
    assert len(set(found)) == 1


def test_amplified_logits_of_a_padded_side_are_those_of_the_whole(tmp_path):
    model = tiny_model("llama")
    base = write_model(tmp_path / "base", model)
    perturb(model, 9, 0.05)
    finetuned = write_model(tmp_path / "finetuned", model)
    rows = model.get_output_embeddings().weight.shape[0]
    model.resize_token_embeddings(rows + 32)
    padded = write_model(tmp_path / "padded", model)
    found = []
    for checkpoint in (finetuned, padded):
        pair = NnsightPair.load(PairSpec(SideSpec(str(base)), SideSpec(str(checkpoint))))
        prompt = tuple(pair.tokenise("base", SENTENCES[0])[:6])
        requests = [
            GenerationRequest(prompt, seed, contrast=2.0, contrast_ids=prompt, shuffled=shuffled)
            for seed, shuffled in ((0, False), (1, True))
        ]
        texts = pair.generate(GenerationPlan("finetuned", None, 0.0, 6), requests)
        found.append([text.token_ids for text in texts])
    assert found[0] == found[1]


def test_predictions_of_a_padded_side_are_compared_in_pieces_of_the_same_rows(
    tmp_path, monkeypatch
):
    """However many rows fit: with more logits to a row one side would have fewer in a piece."""
    model = tiny_model("llama")
    base = write_model(tmp_path / "base", model)
    perturb(model, 9, 0.05)
    rows = model.get_output_embeddings().weight.shape[0]
    model.resize_token_embeddings(rows + 64)
    padded = write_model(tmp_path / "padded", model)
    pair = NnsightPair.load(PairSpec(SideSpec(str(base)), SideSpec(str(padded))))
    ids = np.array([pair.tokenise("base", SENTENCES[0])[:6]] * 3)
    batch = TokenBatch(ids, np.ones_like(ids, dtype=bool), ("a", "b", "c"), (3, 4, 5))
    whole = pair.output_shift(batch, batch)
    monkeypatch.setattr(runs, "NUMBERS_AT_ONCE", 4 * rows)
    pieces = pair.output_shift(batch, batch)
    np.testing.assert_allclose(pieces.shift, whole.shift, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(pieces.kl, whole.kl, rtol=1e-4)
