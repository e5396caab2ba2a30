"""Adapters of every type against plain transformers and PEFT: exact on both sides, or refused by name.

What is exact here and what is refused is the table in docs/pairs.md.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from adl.errors import PairError
from adl.pair.nnsight.loading import LoadedPair, load_pair
from adl.pair.nnsight.pair import NnsightPair
from adl.pair.protocol import ScoredBatch
from adl.records import GenerationPlan, GenerationRequest, PairSpec, SideSpec
from adl.text.corpus import TokenBatch
from tests.tiny_models import tiny_model, tiny_tokenizer, write_model

IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12]])
QV = {"target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
# Of equal size in and out, which some types want.
SQUARE = {"target_modules": ["q_proj", "o_proj"], "task_type": "CAUSAL_LM"}


def lora(**more: Any) -> Callable[[], LoraConfig]:
    return lambda: LoraConfig(r=4, **{**QV, **more})


def of(name: str, **more: Any) -> Callable[[], Any]:
    # A few types are younger than the oldest PEFT that will do.
    found = getattr(peft, f"{name}Config", None)
    if found is None:
        return lambda: pytest.fail(f"this PEFT has no {name}Config")
    return lambda: found(**{**QV, **more})


SHARED = {
    "LoRA": lora(),
    "LoRA on every linear layer": lora(target_modules="all-linear"),
    "LoRA with biases of its own": lora(lora_bias=True),
    "LoRA, orthogonal": lora(init_lora_weights="orthogonal"),
    "LoRA, MiCA": lora(init_lora_weights="mica"),
    "LoRA on embeddings and head": lora(target_modules=["embed_tokens", "lm_head"]),
    "LoRA on parameters": lora(target_modules=[], target_parameters=["q_proj.weight"]),
    "LoRA with single tokens": lora(trainable_token_indices=[5, 6, 7]),
    "LoRA with norms saved": lora(modules_to_save=["norm", "input_layernorm"]),
    "LoRA with embeddings saved": lora(modules_to_save=["embed_tokens", "lm_head"]),
    "rsLoRA": lora(use_rslora=True),
    "DoRA": lora(use_dora=True),
    "AdaLoRA": of("AdaLora", total_step=10),
    "BOFT": of("BOFT", boft_block_size=4),
    "C3A": of("C3A", block_size=4),
    "DeLoRA": of("Delora", r=4),
    "FourierFT": of("FourierFT", n_frequency=20),
    "GraLoRA": of("Gralora", r=4, gralora_k=2),
    "HRA": of("HRA", r=4),
    "IA3": of("IA3", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "LN tuning": of("LNTuning", target_modules=["input_layernorm", "norm"]),
    "LoHa": of("LoHa"),
    "LoKr": of("LoKr"),
    "MiSS": of("Miss", r=4),
    "OFT": of("OFT", oft_block_size=4, r=0),
    "RandLoRA": of("RandLora", r=4, **SQUARE),
    "RoAd": of("Road", group_size=4),
    "SHiRA": of("Shira", r=4, **SQUARE),
    "Trainable tokens": of(
        "TrainableTokens", token_indices=[5, 6, 7], target_modules=["embed_tokens"]
    ),
    "VB-LoRA": of("VBLoRA", vector_length=4, num_vectors=8, r=4, topk=2),
    "VeRA": of("Vera", r=4, **SQUARE),
    "VeRA without its projections": of("Vera", r=4, save_projection=False, **SQUARE),
    "WaveFT": of("WaveFT", n_frequency=20),
}
"""Exact in one copy of the weights."""

TIED = {
    "both saved": lora(modules_to_save=["embed_tokens", "lm_head"]),
    "embeddings saved": lora(modules_to_save=["embed_tokens"]),
    "head saved": lora(modules_to_save=["lm_head"]),
    "LoRA on the head": lora(target_modules=["lm_head"]),
    "LoRA on both": lora(target_modules=["lm_head", "embed_tokens", "q_proj"]),
    "single tokens": lora(trainable_token_indices={"embed_tokens": [5, 6, 7]}),
}
"""Exact where embeddings and head are one matrix."""

OWN_COPY = {
    "LoRA with the base's biases": lora(bias="all"),
    "LoRA with biases where it sits": lora(bias="lora_only"),
    "PiSSA": lora(init_lora_weights="pissa"),
    "OLoRA": lora(init_lora_weights="olora"),
}
"""Exact in two: attached, they change the base."""

REFUSED = {
    "prompt tuning": (
        lambda: peft.PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
        "adds tokens",
    ),
    "prefix tuning": (
        lambda: peft.PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
        "adds tokens",
    ),
    "Poly": (of("Poly", r=4, n_tasks=2, n_skills=2), "number of a task"),
    "activated LoRA": (lora(alora_invocation_tokens=[5]), "alora_invocation_tokens"),
    "repeated layers": (lora(layer_replication=[[0, 1], [0, 2]]), "layer_replication"),
    "PiSSA by chance": (lora(init_lora_weights="pissa_niter_4"), "random approximation"),
}
"""Refused, with a part of the reason."""

REFUSED_BY_CONFIG = {
    "adaption prompt": ({"peft_type": "ADAPTION_PROMPT"}, "adds a prompt to the attention"),
    "X-LoRA": ({"peft_type": "XLORA"}, "mixes several adapters"),
    "Arrow": ({"arrow_config": {"top_k": 1}}, "chooses between several adapters"),
    "CorDA": ({"init_lora_weights": "corda"}, "statistics of texts"),
    "a classifier": ({"task_type": "SEQ_CLS"}, "trained for SEQ_CLS"),
    "of a type to come": ({"peft_type": "SUPERLORA"}, "does not know: 'SUPERLORA'"),
    "weights asked for and not there": ({"use_dora": True}, "lora_magnitude_vector"),
    "a saved module not there": ({"modules_to_save": ["lm_head"]}, "no weights for lm_head.weight"),
    "weights there and not asked for": ({"target_modules": ["q_proj"]}, "v_proj.lora_A.weight"),
    "of another rank": ({"r": 2}, "size mismatch"),
}
"""Refused for what is written into the config of a plain LoRA."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Qwen 2 has biases for an adapter to change; untied, the head is a matrix of its own.
    model = tiny_model("qwen2", n_layers=2)
    return write_model(tmp_path_factory.mktemp("types") / "base", model)


@pytest.fixture(scope="module")
def plain_lora(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tmp_path_factory.mktemp("types") / "lora", plain(base), lora())


def plain(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def save_adapter(folder: Path, model: Any, config: Callable[[], Any]) -> Path:
    """An adapter every weight of which was moved from where it begins."""
    torch.manual_seed(7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = get_peft_model(model, config())
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        adapted.save_pretrained(str(folder))
    return folder


def edited(folder: Path, adapter: Path, **changes: Any) -> Path:
    """A copy of an adapter with its config changed."""
    shutil.copytree(adapter, folder)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def loaded(base: Path, adapter: Path) -> LoadedPair:
    return load_pair(PairSpec(SideSpec(str(base)), SideSpec(str(base), adapter=str(adapter))))


def told_of(pair: LoadedPair) -> list[str]:
    """Return what is told of the adapter: the tiny tokenizer has not the rules of a Qwen 2's."""
    return [line for line in pair.provenance.mismatches if "tokenizer.json" not in line]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def assert_exact(pair: LoadedPair, base: Any, finetuned: Any) -> None:
    """Both sides bit for bit, in any order."""
    expected = {"base": logits(base), "finetuned": logits(finetuned)}
    for side in ("finetuned", "base", "finetuned"):
        used = pair.side(side)
        used.use()
        torch.testing.assert_close(logits(used.module), expected[side], rtol=0, atol=0)
    rows = {side: side_logits.shape[-1] for side, side_logits in expected.items()}
    assert {side: pair.side(side).rows for side in rows} == rows
    same_rows = expected["base"].shape == expected["finetuned"].shape
    assert not same_rows or not torch.allclose(*expected.values(), atol=1e-2)


@pytest.mark.parametrize("kind", SHARED)
def test_exact_in_one_copy(base: Path, tmp_path: Path, kind: str) -> None:
    adapter = save_adapter(tmp_path / "adapter", plain(base), SHARED[kind])
    pair = loaded(base, adapter)
    assert pair.provenance.shares_weights
    assert_exact(pair, plain(base), PeftModel.from_pretrained(plain(base), str(adapter)))


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tiny_model("gemma2", n_layers=2)
    assert model.config.tie_word_embeddings
    return write_model(tmp_path_factory.mktemp("types") / "tied", model)


@pytest.mark.parametrize("kind", TIED)
def test_exact_where_embeddings_and_head_are_tied(tied: Path, tmp_path: Path, kind: str) -> None:
    adapter = save_adapter(tmp_path / "adapter", plain(tied), TIED[kind])
    reference = PeftModel.from_pretrained(plain(tied), str(adapter))
    assert_exact(loaded(tied, adapter), plain(tied), reference)


@pytest.mark.parametrize("kind", OWN_COPY)
def test_exact_in_a_copy_of_its_own(base: Path, tmp_path: Path, kind: str) -> None:
    adapter = save_adapter(tmp_path / "adapter", plain(base), OWN_COPY[kind])
    pair = loaded(base, adapter)
    assert not pair.provenance.shares_weights
    assert any("changes the base" in line for line in pair.provenance.mismatches)
    assert_exact(pair, plain(base), PeftModel.from_pretrained(plain(base), str(adapter)))


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_by_name(base: Path, tmp_path: Path, kind: str) -> None:
    config, reason = REFUSED[kind]
    adapter = save_adapter(tmp_path / "adapter", plain(base), config)
    with pytest.raises(PairError) as caught:
        loaded(base, adapter)
    assert reason in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("kind", REFUSED_BY_CONFIG)
def test_refused_for_its_config(base: Path, plain_lora: Path, tmp_path: Path, kind: str) -> None:
    changes, reason = REFUSED_BY_CONFIG[kind]
    with pytest.raises(PairError) as caught:
        loaded(base, edited(tmp_path / "adapter", plain_lora, **changes))
    assert reason in caught.value.message
    assert caught.value.hint


def test_an_adapter_on_another_checkpoint_may_change_it(base: Path, tmp_path: Path) -> None:
    under = write_model(tmp_path / "under", tiny_model("qwen2", n_layers=2, seed=5))
    adapter = save_adapter(tmp_path / "adapter", plain(under), lora(init_lora_weights="pissa"))
    side = SideSpec(str(under), adapter=str(adapter))
    pair = load_pair(PairSpec(SideSpec(str(base)), side))
    assert_exact(pair, plain(base), PeftModel.from_pretrained(plain(under), str(adapter)))


class TestEmbeddingsOfAnotherSize:
    @pytest.mark.parametrize("more", [9, -3], ids=["more rows", "fewer rows"])
    @pytest.mark.parametrize("saved", [["embed_tokens", "lm_head"], None], ids=["saved", "auto"])
    def test_are_resized_on_one_side_alone(self, base, tmp_path, more, saved) -> None:
        model = plain(base)
        rows = model.get_input_embeddings().weight.shape[0] + more
        model.resize_token_embeddings(rows)
        adapter = save_adapter(tmp_path / "adapter", model, lora(modules_to_save=saved))
        tiny_tokenizer("<|im_start|>", "<|im_end|>").save_pretrained(adapter)
        pair = loaded(base, adapter)
        assert any(f"embeddings of {rows} rows" in line for line in pair.provenance.mismatches)
        reference = plain(base)
        reference.resize_token_embeddings(rows)
        assert_exact(pair, plain(base), PeftModel.from_pretrained(reference, str(adapter)))

    def test_are_refused_where_their_rows_were_not_saved(self, base, tmp_path) -> None:
        model = plain(base)
        rows = model.get_input_embeddings().weight.shape[0]
        model.resize_token_embeddings(rows + 9)
        config = lora(modules_to_save=["embed_tokens", "lm_head"])
        adapter = save_adapter(tmp_path / "adapter", model, config)
        path = adapter / "adapter_model.safetensors"
        kept = {key: value for key, value in load_file(path).items() if "lm_head" not in key}
        save_file(kept, path, metadata={"format": "pt"})
        with pytest.raises(PairError, match=f"{rows + 9} rows.*{rows}.*lm_head"):
            loaded(base, adapter)


class TestATokenizerLongerThanTheEmbedding:
    """The adapter's folder has a tokenizer with more tokens than the model has rows."""

    @pytest.fixture(scope="class")
    def pair(self, base, plain_lora, tmp_path_factory) -> NnsightPair:
        folder = shutil.copytree(plain_lora, tmp_path_factory.mktemp("longer") / "adapter")
        tokenizer = tiny_tokenizer()
        tokenizer.add_tokens([f"<new{i}>" for i in range(9)], special_tokens=True)
        tokenizer.save_pretrained(folder)
        spec = PairSpec(SideSpec(str(base)), SideSpec(str(base), adapter=str(folder)))
        return NnsightPair.load(spec)

    def test_is_told(self, pair):
        (line,) = [line for line in pair.provenance.mismatches if "have no row" in line]
        assert "finetuned side's tokenizer has 4 tokens" in line
        assert "<new5>" in line

    def test_numbers_are_over_the_rows(self, pair, base):
        rows = plain(base).get_output_embeddings().weight.shape[0]
        assert len(pair.token_texts("finetuned")) == rows
        vector = np.ones((1, pair.provenance.width), dtype=np.float32)
        assert pair.unembed("finetuned", vector).shape == (1, rows)
        assert pair.patched_log_probs("finetuned", [5], 1, vector).shape == (1, rows)

    def test_its_other_new_tokens_are_read(self, pair):
        ids = pair.tokenise("finetuned", "Hi <new4>")
        request = GenerationRequest(tuple(ids), seed=0)
        (text,) = pair.generate(GenerationPlan("finetuned", None, 0.0, 2), [request])
        assert len(text.token_ids) <= 2

    def test_a_text_with_one_is_refused(self, pair):
        ids = pair.tokenise("finetuned", "Hi <new8> there")
        vector = np.ones((1, pair.provenance.width), dtype=np.float32)
        row = np.asarray([ids], dtype=np.int64)
        batch = TokenBatch(row, np.ones_like(row, dtype=bool), ("0",), (0,))
        later = np.arange(len(ids))[None] > 0
        scored = ScoredBatch(row, batch.mask, scored=later, changed=later)
        request = GenerationRequest(tuple(ids), seed=0)
        for run in (
            lambda: pair.generate(GenerationPlan("finetuned", None, 0.0, 2), [request]),
            lambda: pair.patched_log_probs("finetuned", ids, 1, vector),
            lambda: pair.steering_shift("finetuned", batch, 1, vector),
            lambda: pair.residual_sums(batch, batch, [1], np.zeros(1, dtype=np.int64)),
            lambda: pair.output_shift(batch, batch),
            lambda: pair.token_losses("finetuned", scored),
            lambda: pair.continuation_kl(ids, ids, 1),
        ):
            with pytest.raises(PairError, match=r"no row for the token .*310 rows"):
                run()


class TestConfigAgainstTheBase:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"base_model_name_or_path": "org/another"}, "names another base ('org/another')"),
            ({"base_model_name_or_path": "/nowhere/another"}, "names another base"),
            ({"base_model_name_or_path": "unsloth/base-bnb-4bit"}, "quantised base"),
            ({"base_model_name_or_path": "org/base-AWQ"}, "quantised base"),
            ({"base_model_name_or_path": "org/base-GPTQ-Int4"}, "quantised base"),
            ({"revision": "0123abc"}, "revision '0123abc'"),
            ({"future_option": {"x": 1}, "peft_version": "0.99.0"}, "future_option"),
        ],
    )
    def test_what_does_not_match_is_told(self, base, plain_lora, tmp_path, changes, expected):
        pair = loaded(base, edited(tmp_path / "adapter", plain_lora, **changes))
        assert [line for line in pair.provenance.mismatches if expected in line]
        assert_exact(pair, plain(base), PeftModel.from_pretrained(plain(base), str(plain_lora)))

    @pytest.mark.parametrize("named", [None, "", "org/base", "ORG/Base"])
    def test_what_matches_is_not(self, base, plain_lora, tmp_path, named):
        changes = {"base_model_name_or_path": named, "revision": "main"}
        assert not told_of(loaded(base, edited(tmp_path / "a", plain_lora, **changes)))
        assert not told_of(loaded(base, plain_lora))

    @pytest.mark.parametrize(
        "place",
        ["SmolLM2-135M-Instruct-0.1.2-1", "models--org--SmolLM2-135M-Instruct/snapshots/0123abc"],
        ids=["embedded", "in the hub's cache"],
    )
    def test_what_is_called_otherwise_and_matches_is_not(self, base, plain_lora, tmp_path, place):
        copy = shutil.copytree(base, tmp_path / place)
        named = {"base_model_name_or_path": "HuggingFaceTB/SmolLM2-135M-Instruct"}
        adapter = edited(tmp_path / "adapter", plain_lora, **named)
        assert not told_of(loaded(copy, adapter))
        assert told_of(loaded(base, adapter.rename(tmp_path / "moved")))


def test_sides_of_different_dtypes_are_told(base: Path, tmp_path: Path) -> None:
    half = write_model(tmp_path / "half", plain(base).to(torch.bfloat16))
    (said,) = [
        line
        for line in load_pair(
            PairSpec(SideSpec(str(base)), SideSpec(str(half)))
        ).provenance.mismatches
        if "--dtype loads both alike" in line
    ]
    assert "float32" in said
    assert "bfloat16" in said


class TestFolders:
    @pytest.fixture
    def both(self, base, plain_lora, tmp_path):
        folder = shutil.copytree(base, tmp_path / "both")
        shutil.copytree(plain_lora, folder, dirs_exist_ok=True)
        return folder

    def test_a_checkpoint_and_an_adapter_in_one(self, base, plain_lora, both):
        for one, other in (
            (base, SideSpec(str(both))),
            (both, SideSpec(str(base))),
            (both, SideSpec(str(both), adapter=str(plain_lora))),
        ):
            with pytest.raises(PairError, match=r"a checkpoint and an adapter.*--adapter"):
                load_pair(PairSpec(SideSpec(str(one)), other))

    def test_the_adapter_of_such_a_folder(self, base, plain_lora, both):
        reference = PeftModel.from_pretrained(plain(base), str(plain_lora))
        assert_exact(loaded(base, both), plain(base), reference)

    def test_an_adapter_given_as_the_finetuned_checkpoint(self, base, plain_lora):
        pair = load_pair(PairSpec(SideSpec(str(base)), SideSpec(str(plain_lora))))
        assert pair.provenance.finetuned.adapter == str(plain_lora)
        assert pair.provenance.shares_weights
        assert any("is put on the base" in line for line in pair.provenance.mismatches)
        reference = PeftModel.from_pretrained(plain(base), str(plain_lora))
        assert_exact(pair, plain(base), reference)

    def test_an_adapter_on_an_adapter(self, base, plain_lora):
        side = SideSpec(str(plain_lora), adapter=str(plain_lora))
        with pytest.raises(PairError, match="is an adapter"):
            load_pair(PairSpec(SideSpec(str(base)), side))

    def test_an_adapter_given_as_the_base(self, base, plain_lora):
        with pytest.raises(PairError, match="holds an adapter"):
            load_pair(PairSpec(SideSpec(str(plain_lora)), SideSpec(str(base))))
