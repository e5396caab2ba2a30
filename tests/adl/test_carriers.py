"""The update scaled, cut to rank 1 and shuffled: against PEFT and transformers with weights made by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from adl.errors import PairError, Stopped
from adl.pair.nnsight.factors import Factors, rank1_of_difference
from adl.pair.nnsight.pair import NnsightPair
from adl.records import GenerationPlan, GenerationRequest, PairSpec, SideSpec, WeightChange
from tests.adl.test_adapter_types import OWN_COPY, SHARED, save_adapter
from tests.adl.test_adapter_types import plain as plain_model
from tests.plain_torch import PlainModel
from tests.tiny_models import ARCHITECTURES, SENTENCES, tiny_model, write_family, write_model

N_TOKENS = 5


def load_pair(base, adapter) -> NnsightPair:
    return NnsightPair.load(
        PairSpec(SideSpec(str(base)), SideSpec(str(base), adapter=str(adapter)))
    )


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def family(request, tmp_path_factory):
    folders = write_family(tmp_path_factory.mktemp(request.param), request.param)
    return folders, request.param, load_pair(folders.base, folders.adapter)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folders = write_family(tmp_path_factory.mktemp("two"), "gemma3")
    return folders, NnsightPair.load(
        PairSpec(*(SideSpec(str(each)) for each in (folders.base, folders.finetuned)))
    )


def prompts_of(pair):
    return [tuple(pair.tokenise("base", SENTENCES[i])[:length]) for i, length in ((0, 7), (1, 4))]


def logits_of(pair, change, ids):
    pair._use("finetuned")
    with torch.no_grad(), pair._update.applied(change):
        return pair._runs[pair._update.side].plain_logits(ids).numpy()


def assert_as_plain(pair, change, plain):
    """Logits of a text, and greedy tokens of a padded batch, are those of a plain model."""
    prompts = prompts_of(pair)
    found = logits_of(pair, change, prompts[0])
    found = found - np.log(np.exp(found).sum(-1, keepdims=True))
    np.testing.assert_allclose(found, plain.log_probs(prompts[0]), atol=2e-3)
    plan = GenerationPlan("finetuned", None, 0.0, N_TOKENS, change)
    texts = pair.generate(plan, [GenerationRequest(prompt, 0) for prompt in prompts])
    n_tokens = len(pair.token_texts("finetuned"))
    for prompt, text in zip(prompts, texts, strict=True):
        rows = plain.log_probs((*prompt, *text.token_ids))[:, :n_tokens]
        for place, token in enumerate(text.token_ids, len(prompt) - 1):
            assert rows[place, token] > rows[place].max() - 1e-2


def scaled_adapter(folder, adapter, factor, chosen):
    """The adapter with B of the chosen modules times a factor, as another folder."""
    folder.mkdir()
    weights = load_file(adapter / "adapter_model.safetensors")
    for key in weights:
        if re.search("lora_(embedding_)?B", key) and chosen(key):
            weights[key] = weights[key] * factor
    save_file(weights, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text())
    return folder


@pytest.mark.parametrize(
    ("change", "chosen"),
    [
        (WeightChange("adapter", 2.0), lambda key: True),
        (WeightChange("adapter", -1.5), lambda key: True),
        (WeightChange("adapter", 3.0, layers=(1, 2)), lambda key: ".1." in key or ".2." in key),
        (WeightChange("adapter", -2.0, part="attention"), lambda key: "attn" in key),
        (WeightChange("adapter", 4.0, layers=(3, 3), part="mlp"), lambda key: ".3.mlp" in key),
    ],
)
def test_the_adapters_scale_is_that_of_a_copy_scaled_by_hand(family, change, chosen, tmp_path):
    folders, name, pair = family
    scaled = scaled_adapter(tmp_path / "scaled", folders.adapter, change.scale, chosen)
    plain = PlainModel(folders.base, ARCHITECTURES[name].layers, scaled)
    assert_as_plain(pair, change, plain)
    facts = pair.update_facts(change)
    keys = load_file(folders.adapter / "adapter_model.safetensors")
    assert len(facts.modules) == sum("lora_B" in key and chosen(key) for key in keys)


def updates_by_hand(folders):
    """Scale x B A [out, in] of each module, from the adapter's file."""
    weights = load_file(folders.adapter / "adapter_model.safetensors")
    found = {}
    for key, right in weights.items():
        if "lora_A" in key:
            left = weights[key.replace("lora_A", "lora_B")]
            path = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            found[path] = 2.0 * left @ right  # lora_alpha / r
    return found


def with_updates(folder, base, updates):
    """A checkpoint of the base with updates [out, in] added to its weights."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        for path, update in updates.items():
            weight = model.get_submodule(path).weight
            weight += update if weight.shape == update.shape and "c_" not in path else update.T
    return write_model(folder, model)


def rank1(matrix):
    u, sigma, vt = torch.linalg.svd(matrix.float(), full_matrices=False)
    return sigma[0] * torch.outer(u[:, 0], vt[0]), float(sigma[0] ** 2), float(sigma.square().sum())


def test_the_rank_1_part_of_a_lora_is_that_of_its_whole_update(family, tmp_path):
    folders, name, pair = family
    cut = {path: rank1(update) for path, update in updates_by_hand(folders).items()}
    change = WeightChange("rank1", 1.5)
    plain = PlainModel(
        with_updates(tmp_path / "cut", folders.base, {p: 1.5 * c[0] for p, c in cut.items()}),
        ARCHITECTURES[name].layers,
    )
    assert_as_plain(pair, change, plain)
    share = sum(c[1] for c in cut.values()) / sum(c[2] for c in cut.values())
    assert pair.update_facts(change).rank1_share == pytest.approx(share, rel=1e-3)


def test_the_rank_1_part_of_two_checkpoints_is_that_of_their_weights(checkpoints, tmp_path):
    folders, pair = checkpoints
    both = [
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        for folder in (folders.base, folders.finetuned)
    ]
    updates = {
        path: rank1(both[1].get_submodule(path).weight - part.weight)[0]
        for path, part in both[0].named_modules()
        if isinstance(part, torch.nn.Linear | torch.nn.Embedding) and path != "lm_head"
    }
    tied = both[0].lm_head.weight is both[0].model.embed_tokens.weight
    assert tied
    plain = PlainModel(
        with_updates(tmp_path / "cut", folders.base, {p: -u for p, u in updates.items()}),
        ARCHITECTURES["gemma3"].layers,
    )
    change = WeightChange("rank1", -1.0)
    assert_as_plain(pair, change, plain)
    facts = pair.update_facts(change)
    assert len(facts.modules) == len(updates) + 1  # the head has the embeddings' weights
    assert any("norm" in name for name in facts.left_out)


@pytest.mark.parametrize("kind", ["adapter", "rank1"])
def test_the_null_is_the_base_with_an_update_of_the_same_singular_values(family, kind):
    _, _, pair = family
    ids = prompts_of(pair)[0]
    nulls = [logits_of(pair, WeightChange(kind, 1.0, null=seed), ids) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(nulls[0], nulls[1])
    assert np.abs(nulls[0] - nulls[2]).max() > 1e-2
    base = logits_of(pair, WeightChange("adapter", 0.0), ids)
    np.testing.assert_allclose(
        logits_of(pair, WeightChange(kind, 0.0, null=1), ids), base, atol=1e-5
    )
    left, right = torch.randn(9, 3), torch.randn(3, 7)
    shuffled = Factors(left, right, 1.0).shuffled(5)
    before, after = left @ right, shuffled.left @ shuffled.right
    torch.testing.assert_close(torch.linalg.svdvals(after), torch.linalg.svdvals(before))
    assert float((before * after).sum() / before.square().sum()) < 0.9


def test_a_large_difference_is_decomposed_in_parts(monkeypatch):
    monkeypatch.setattr("adl.pair.nnsight.factors.EXACT_SIDE", 8)
    monkeypatch.setattr("adl.pair.nnsight.factors.ROWS_AT_ONCE", 50)
    generator = torch.Generator().manual_seed(3)
    before = torch.randn(230, 120, generator=generator)
    update = 0.1 * torch.randn(230, 120, generator=generator)
    found = rank1_of_difference(before, before + update)
    wanted, _, squared = rank1(update)
    assert float((found.left @ found.right - wanted).norm() / wanted.norm()) < 0.02
    assert found.squared == pytest.approx(squared, rel=1e-4)


def is_lora(part):
    return isinstance(part, LoraLayer)


class Interrupted(BaseException):
    """As a second Ctrl-C is: no exception that anything may catch."""


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, Interrupted])
@pytest.mark.parametrize(
    "change",
    [
        WeightChange("adapter", -3.0),
        WeightChange("rank1", 2.0),
        WeightChange("adapter", 2.0, null=4),
    ],
)
def test_all_is_as_before_however_it_ends(family, change, error):
    _, _, pair = family
    module = pair._loaded.finetuned.module
    prompt = prompts_of(pair)[0]

    def state():
        return (
            pair.next_log_probs("base", [prompt]),
            pair.next_log_probs("finetuned", [prompt]),
            np.array([part.scaling["default"] for part in module.modules() if is_lora(part)]),
            np.array([len(part._forward_hooks) for part in module.modules()]),
        )

    def fail(_pieces):
        raise error("while it writes")

    before = state()
    plan = GenerationPlan("finetuned", None, 0.0, N_TOKENS, change)
    with pytest.raises(error):
        pair.generate(plan, [GenerationRequest(prompt, 0)], on_text=fail)
    for left, right in zip(before, state(), strict=True):
        np.testing.assert_array_equal(left, right)
    (text,) = pair.generate(plan, [GenerationRequest(prompt, 0)], should_stop=lambda: True)
    assert text.ended == "stopped"
    assert len(text.token_ids) <= 1
    for left, right in zip(before, state(), strict=True):
        np.testing.assert_array_equal(left, right)


#: The adapter's own scale can be changed; the others have none, or it is not all of their effect.
SCALED = {
    "LoRA",
    "LoRA on every linear layer",
    "LoRA, orthogonal",
    "LoRA, MiCA",
    "LoRA on embeddings and head",
    "LoRA with single tokens",
    "LoRA with norms saved",
    "LoRA with embeddings saved",
    "rsLoRA",
}
#: Updates that are no matrix.
UNKNOWN = {"LN tuning"}
QUICK = (
    "LoRA on embeddings and head",
    "rsLoRA",
    "LoRA with norms saved",
    "DoRA",
    "IA3",
    "LN tuning",
)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    model = tiny_model("qwen2", n_layers=2)
    return write_model(tmp_path_factory.mktemp("kinds") / "base", model)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in SHARED],
)
def test_every_kind_of_adapter_is_changed_right_or_refused_by_name(qwen, tmp_path, kind):
    adapter = save_adapter(tmp_path / "adapter", plain_model(qwen), SHARED[kind])
    pair = load_pair(qwen, adapter)
    scaled = WeightChange("adapter", -1.5)
    if kind in SCALED:
        pair.update_facts(scaled)
        by_hand = scaled_adapter(tmp_path / "scaled", adapter, -1.5, lambda key: True)
        assert_as_plain(pair, scaled, PlainModel(qwen, "model.layers", by_hand))
    else:
        with pytest.raises(PairError, match="(?s)scale.*rank1, logits or difference"):
            pair.update_facts(scaled)
    change = WeightChange("rank1", 2.0)
    if kind in UNKNOWN:
        with pytest.raises(PairError, match="logits"):
            pair.update_facts(change)
        return
    facts = pair.update_facts(change)
    merged = PeftModel.from_pretrained(plain_model(qwen), str(adapter)).merge_and_unload()
    base = plain_model(qwen)
    updates = {}
    for path in facts.modules:
        before, after = (model.get_submodule(path).weight for model in (base, merged))
        updates[path] = 2.0 * rank1(after - before)[0]
    cut = with_updates(tmp_path / "cut", qwen, updates)
    assert_as_plain(pair, change, PlainModel(cut, "model.layers"))


def test_a_checkpoint_without_an_adapter_has_no_scale(checkpoints):
    _, pair = checkpoints
    with pytest.raises(PairError, match="without an adapter.*rank1, logits or difference"):
        pair.update_facts(WeightChange("adapter", 2.0))


def test_an_adapter_that_changes_the_base_is_refused(qwen, tmp_path):
    pair = load_pair(qwen, save_adapter(tmp_path / "adapter", plain_model(qwen), OWN_COPY["PiSSA"]))
    for carrier in ("adapter", "rank1"):
        with pytest.raises(PairError, match="weights of its own"):
            pair.update_facts(WeightChange(carrier, 2.0))


def test_modules_that_finetuning_did_not_change_are_refused(family, checkpoints):
    _, _, pair = family
    with pytest.raises(PairError, match="changed no module in these layers.*layers 0 to 3"):
        pair.update_facts(WeightChange("adapter", 2.0, layers=(7, 9)))
    with pytest.raises(Stopped):
        checkpoints[1].update_facts(
            WeightChange("rank1", 1.0, part="mlp"), should_stop=lambda: True
        )


def test_the_base_has_no_update():
    with pytest.raises(ValueError, match="only the finetuned side"):
        GenerationPlan("base", None, 0.0, 1, WeightChange("adapter", 2.0))
