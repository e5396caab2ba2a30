"""Losses with a component changed: the same numbers as plain PyTorch hooks, one text at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Qwen2Config

from adl.errors import SiteError
from adl.measures.teacher_forcing import (
    FIRST_POSITIONS,
    LATER_POSITIONS,
    ScoredText,
    changed_at,
    scored_batch,
)
from adl.pair.nnsight import ablation as nnsight_causal
from adl.pair.nnsight import pair as nnsight_pair
from adl.pair.nnsight.ablation import whitening
from adl.pair.nnsight.pair import NnsightPair
from adl.pair.protocol import ScoredBatch
from adl.records import SIDES, PairSpec, SideSpec
from tests.adl.tiny_pairs import adapted_pair
from tests.tiny_models import (
    N_LAYERS,
    SENTENCES,
    WIDTH,
    tiny_tokenizer,
    write_model,
)

CLOSE = {"rtol": 1e-3, "atol": 1e-3}


@pytest.fixture(scope="module", params=["llama", "gemma2", "gpt2"])
def loaded(request, tmp_path_factory):
    return adapted_pair(tmp_path_factory.mktemp(request.param), request.param)


def texts_of(pair):
    """Texts of different lengths, so that two of them are padded, scored from different tokens."""
    ids = [
        pair.tokenise("base", SENTENCES[number])[:length]
        for number, length in enumerate((14, 9, 12))
    ]
    return [ScoredText(tuple(row), start) for row, start in zip(ids, (1, 4, 6), strict=True)]


def loss(plain, text):
    rows = plain.log_probs(text.ids)
    return -sum(rows[place - 1, text.ids[place]] for place in range(text.start, len(text.ids)))


@pytest.mark.parametrize("side", SIDES)
def test_a_text_costs_what_it_costs_alone(loaded, side):
    pair, plain = loaded
    texts = texts_of(pair)
    found = pair.token_losses(side, scored_batch(texts))
    np.testing.assert_allclose(found, [loss(plain[side], text) for text in texts], **CLOSE)


@pytest.mark.parametrize("side", SIDES)
def test_each_scored_token_has_its_own_log_probability(loaded, side):
    pair, plain = loaded
    texts = texts_of(pair)
    batch = scored_batch(texts)
    found = pair.token_log_probs(side, batch)
    assert found.shape == batch.ids.shape
    assert not found[~batch.scored].any()
    for row, text in enumerate(texts):
        rows = plain[side].log_probs(text.ids)
        for place in range(text.start, len(text.ids)):
            np.testing.assert_allclose(found[row, place], rows[place - 1, text.ids[place]], **CLOSE)


@pytest.mark.parametrize("side", SIDES)
def test_the_token_after_prompts_of_different_lengths(loaded, side):
    pair, plain = loaded
    prompts = [text.ids for text in texts_of(pair)]
    found = pair.next_log_probs(side, prompts)
    for row, prompt in zip(found, prompts, strict=True):
        expected = plain[side].log_probs(prompt)[-1, : found.shape[1]]
        np.testing.assert_allclose(row, expected, **CLOSE)


def test_a_prefix_is_run_once_for_all_its_endings(loaded):
    pair, _ = loaded
    prefix, *endings = (text.ids for text in texts_of(pair))
    endings = [endings[0][:3]] * 70
    pair.log_probs_after("base", prefix, endings)  # tries whether the cache can be shared
    n_tokens = 0

    def count(_module, _inputs, named):
        nonlocal n_tokens
        n_tokens += named["input_ids"].numel()

    hook = pair._runs["base"].loaded.module.register_forward_pre_hook(count, with_kwargs=True)
    pair.log_probs_after("base", prefix, endings)
    hook.remove()
    assert n_tokens == 3 * len(endings)


@pytest.mark.parametrize("change", ["replace", "remove"])
@pytest.mark.parametrize("where", ["all", FIRST_POSITIONS, LATER_POSITIONS])
def test_a_component_is_that_of_a_hook(loaded, change, where):
    pair, plain = loaded
    texts = texts_of(pair)
    vectors = np.random.default_rng(1).standard_normal((2, WIDTH)).astype(np.float32)
    batch = changed_at(scored_batch(texts), where)
    layer = N_LAYERS - 2
    found = pair.component_losses(batch, batch, layer, vectors, change)
    assert found.shape == (2, len(texts))
    for row, vector in enumerate(vectors):
        for column, text in enumerate(texts):
            put = plain["base"].residuals(text.ids)[layer] if change == "replace" else None
            tokens = np.flatnonzero(batch.changed[column])
            with plain["finetuned"].changing_component(layer, vector, put, tokens):
                expected = loss(plain["finetuned"], text)
            np.testing.assert_allclose(found[row, column], expected, **CLOSE)
    assert np.abs(found - pair.token_losses("finetuned", batch)).max() > 0.01


def test_base_is_run_once_for_one_vector_after_another(loaded, monkeypatch):
    pair, _ = loaded
    batch, other = scored_batch(texts_of(pair)), scored_batch(texts_of(pair)[1:])
    vectors = np.random.default_rng(3).standard_normal((2, WIDTH)).astype(np.float32)
    together = pair.component_losses(batch, batch, 1, vectors, "replace")
    monkeypatch.setattr(pair, "_put", None)
    run: list[int] = []
    take = nnsight_pair.residuals_at

    def counted(runs, layer, texts):
        run.append(layer)
        return take(runs, layer, texts)

    monkeypatch.setattr(nnsight_pair, "residuals_at", counted)
    apart = [
        pair.component_losses(batch, batch, 1, vector[None], "replace")[0] for vector in vectors
    ]
    assert run == [1]
    np.testing.assert_array_equal(together, apart)
    pair.component_losses(batch, batch, 2, vectors, "replace")
    pair.component_losses(other, other, 2, vectors, "replace")
    assert run == [1, 2, 2]


def test_the_length_of_a_vector_does_not_count(loaded):
    pair, _ = loaded
    batch = scored_batch(texts_of(pair))
    vector = np.random.default_rng(2).standard_normal((1, WIDTH)).astype(np.float32)
    found = [pair.component_losses(batch, batch, 1, scale * vector, "remove") for scale in (1, -7)]
    np.testing.assert_allclose(found[0], found[1], **CLOSE)


def test_token_directions_are_white(loaded):
    pair, plain = loaded
    everything = range(len(pair.token_texts("base")))
    rows = pair.token_directions("base", everything)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-4)
    weights = plain["base"].model.get_output_embeddings().weight.detach().numpy()[: len(rows)]
    centred = weights - weights.mean(0)
    values, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    white = (
        centred
        @ axes[:, values > values.max() * 1e-6]
        / np.sqrt(values[values > values.max() * 1e-6])
    )
    white /= np.linalg.norm(white, axis=1, keepdims=True)
    np.testing.assert_allclose(rows @ rows.T, white @ white.T, atol=2e-3)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("targets", [["lm_head"], ["lm_head", "embed_tokens", "q_proj"]])
def test_token_directions_are_those_of_the_head_with_its_adapter(tmp_path, tied, targets):
    config = Qwen2Config(
        vocab_size=len(tiny_tokenizer()), hidden_size=WIDTH, intermediate_size=2 * WIDTH,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2,
        tie_word_embeddings=tied, bos_token_id=None, eos_token_id=0,
    )  # fmt: skip
    base = write_model(tmp_path / "base", AutoModelForCausalLM.from_config(config))
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    lora = LoraConfig(target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM")
    adapted = get_peft_model(plain, lora)
    adapted.save_pretrained(str(tmp_path / "adapter"))
    side = SideSpec(str(base), adapter=str(tmp_path / "adapter"))
    pair = NnsightPair.load(PairSpec(SideSpec(str(base)), side, dtype="float32"))
    head = adapted.get_base_model().lm_head
    found = {}
    for name in SIDES:
        weight = head.weight.detach().float()
        if name == "finetuned":
            weight = weight + head.get_delta_weight("default").detach()
        mean, white = whitening(weight)
        truth = torch.nn.functional.normalize((weight[[5, 6, 7]] - mean) @ white, dim=-1)
        found[name] = pair.token_directions(name, [5, 6, 7])
        np.testing.assert_allclose(found[name], truth.numpy(), atol=2e-3)
    assert np.abs(found["base"] - found["finetuned"]).max() > 0.05


def test_whitening_a_few_rows_at_a_time_is_whitening_them_all(monkeypatch):
    rows = torch.randn(300, 16, generator=torch.Generator().manual_seed(0)) + 2.0
    mean, white = whitening(rows)
    monkeypatch.setattr(nnsight_causal, "NUMBERS_AT_ONCE", 16 * 7)
    in_parts = whitening(rows)
    np.testing.assert_allclose(mean, in_parts[0], atol=1e-5)
    whitened = (rows - mean) @ white
    np.testing.assert_allclose(whitened.T @ whitened / 300, np.eye(16), atol=1e-3)
    np.testing.assert_allclose(white @ white.T, in_parts[1] @ in_parts[1].T, atol=1e-3)


def test_losses_of_texts_taken_apart_are_those_of_the_batch(loaded, monkeypatch):
    pair, _ = loaded
    batch = scored_batch(texts_of(pair))
    vectors = np.random.default_rng(1).standard_normal((1, WIDTH)).astype(np.float32)

    def losses():
        changed = pair.component_losses(batch, batch, 1, vectors, "replace")
        return pair.token_losses("base", batch), changed

    together = losses()
    monkeypatch.setattr(nnsight_causal, "LOGITS_AT_ONCE", 1)
    monkeypatch.setattr(pair, "_put", None)
    for one, other in zip(together, losses(), strict=True):
        np.testing.assert_allclose(one, other, **CLOSE)


def test_log_probs_after_a_shared_start_are_those_of_whole_texts(loaded):
    pair, plain = loaded
    start = texts_of(pair)[0].ids[:5]
    ends = [text.ids[5 : 9 + 4 * place] for place, text in enumerate(texts_of(pair))]
    batch = scored_batch([ScoredText((*start, *end), len(start)) for end in ends])
    for side in SIDES:
        found = pair.token_log_probs(side, batch)
        assert pair._runs[side].shared_up_to(start[:-1])
        for row, end in enumerate(ends):
            rows = plain[side].log_probs((*start, *end))
            wanted = [rows[len(start) - 1 + place, token] for place, token in enumerate(end)]
            np.testing.assert_allclose(
                found[row, len(start) : len(start) + len(end)], wanted, **CLOSE
            )


def test_a_start_that_cannot_be_shared_is_run_with_every_text(loaded, monkeypatch):
    pair, _ = loaded
    text = texts_of(pair)[0]
    batch = scored_batch([ScoredText(text.ids[:length], 4) for length in (9, 11)])
    whole = pair.token_log_probs("base", batch)
    monkeypatch.setattr(pair._runs["base"], "_shared_up_to", {})
    wrong = type(pair._runs["base"]).after_start
    monkeypatch.setattr(type(pair._runs["base"]), "after_start", lambda *given: 2 * wrong(*given))
    np.testing.assert_allclose(pair.token_log_probs("base", batch), whole, **CLOSE)
    assert not pair._runs["base"].may_share(text.ids[:3])


def test_what_is_not_there_is_named(loaded):
    pair, _ = loaded
    batch = scored_batch(texts_of(pair))
    with pytest.raises(SiteError, match=f"layer {N_LAYERS}"):
        pair.component_losses(batch, batch, N_LAYERS, np.ones((1, WIDTH), np.float32), "remove")


def test_a_batch_that_scores_padding_is_refused():
    ids = np.ones((1, 3), dtype=np.int64)
    mask = np.array([[True, True, False]])
    with pytest.raises(ValueError, match="scored is set on padding"):
        ScoredBatch(ids, mask, ~mask, mask)
    with pytest.raises(ValueError, match="first token"):
        ScoredBatch(ids, mask, mask, mask)
