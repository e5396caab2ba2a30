"""What the self-checks let pass, what they switch off by name, and what they refuse."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from adl.difference import measure_difference
from adl.errors import NotAvailable, NotFinite, PairError
from adl.pair.nnsight.basis import basis_figures
from adl.pair.nnsight.pair import NnsightPair
from adl.pair.self_checks import (
    BASIS,
    DIFFERENCE,
    FINITE,
    LENS,
    NEEDED_BY,
    check_line,
    failed,
    require,
)
from adl.readings import READINGS, FailedReading, ReadingRequest, take_readings
from adl.records import (
    Check,
    GenerationPlan,
    GenerationRequest,
    PairSpec,
    SideSpec,
    WeightChange,
)
from tests.adl.test_architectures import padded
from tests.tiny_models import SENTENCES, perturb, tiny_model, write_family, write_model


def load(base, finetuned, **options):
    return NnsightPair.load(PairSpec(SideSpec(str(base)), SideSpec(str(finetuned)), **options))


def outcomes(pair):
    return {check.name: check.outcome for check in pair.provenance.checks}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_family(tmp_path_factory.mktemp("checks"), "llama")


@pytest.mark.parametrize("kind", ["adapter", "full"])
def test_a_sound_pair_passes_every_check_that_applies(folders, kind):
    side = SideSpec(str(folders.finetuned))
    if kind == "adapter":
        side = SideSpec(str(folders.base), adapter=str(folders.adapter))
    pair = NnsightPair.load(PairSpec(SideSpec(str(folders.base)), side))
    found = outcomes(pair)
    skipped = {name for name, outcome in found.items() if outcome == "not applicable"}
    assert skipped == ({BASIS} if kind == "adapter" else {"adapter off is the base"})
    assert set(found.values()) == {"passed", "not applicable"}
    assert set(NEEDED_BY) <= set(found)
    assert pair.provenance.mismatches == ()
    for check in pair.provenance.checks:
        assert check.tolerance is None or check.figure <= check.tolerance / 10, check
    # As the log keeps it.
    plain = json.loads(json.dumps(pair.provenance.as_dict()))["checks"]
    assert [check["name"] for check in plain] == list(found)
    assert check_line(plain[-1]) == check_line(pair.provenance.checks[-1])


def test_an_adapter_that_does_nothing_is_said(folders, tmp_path):
    path = tmp_path / "idle"
    path.mkdir()
    from safetensors.torch import load_file, save_file

    weights = load_file(folders.adapter / "adapter_model.safetensors")
    idle = {name: torch.zeros_like(w) if "lora_B" in name else w for name, w in weights.items()}
    save_file(idle, path / "adapter_model.safetensors")
    config = (folders.adapter / "adapter_config.json").read_text()
    (path / "adapter_config.json").write_text(config)
    side = SideSpec(str(folders.base), adapter=str(path))
    pair = NnsightPair.load(PairSpec(SideSpec(str(folders.base)), side))
    assert outcomes(pair)["the sides differ"] == "failed"
    assert any("exactly the same" in line for line in pair.provenance.mismatches)


# --- numbers out of range ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory):
    """A pair whose residuals are larger than float16 can hold."""
    folder = tmp_path_factory.mktemp("overflow")
    model = tiny_model("gemma3")
    with torch.no_grad():
        for layer in model.model.layers:
            layer.post_feedforward_layernorm.weight.fill_(30_000)
    base = write_model(folder / "base", model)
    perturb(model, 9, 0.05)
    return load(base, write_model(folder / "finetuned", model), dtype="float16")


def test_float16_that_overflows_names_bfloat16_and_no_number_comes_out(overflowing):
    pair = overflowing
    assert outcomes(pair)[FINITE] == "failed"
    assert any("--dtype bfloat16" in line for line in pair.provenance.mismatches)
    ids = pair.tokenise("base", SENTENCES[1])[:7]
    batch, vector = padded([ids], (-2, -1)), np.ones((1, 32), np.float32)
    with pytest.raises(NotFinite, match="float16.*--dtype bfloat16"):
        measure_difference(pair, SENTENCES, [2])
    with pytest.raises(NotFinite, match="--dtype bfloat16"):
        pair.output_shift(batch, batch)
    request = [GenerationRequest(tuple(ids), 0)]
    for ask in (
        lambda: pair.unembed("base", vector),
        lambda: pair.patched_log_probs("base", ids, 1, vector),
        lambda: pair.steering_shift("base", batch, 1, vector),
        lambda: pair.generate(GenerationPlan("base", None, 0.0, 2), request),
    ):
        with pytest.raises(NotAvailable, match="--dtype bfloat16"):
            ask()


def test_numbers_that_overflow_after_loading_are_no_tokens(folders):
    pair = load(folders.base, folders.finetuned)
    ids = pair.tokenise("base", SENTENCES[1])[:7]
    huge = np.full((1, 32), np.nan, np.float32)
    with pytest.raises(NotFinite):
        pair.steering_shift("base", padded([ids], (-1,)), 1, huge)
    with pytest.raises(NotFinite):
        pair.patched_log_probs("base", ids, 1, huge)
    request = GenerationRequest(tuple(ids), 0, added=huge[0])
    with pytest.raises(NotFinite):
        pair.generate(GenerationPlan("base", 1, 0.0, 2), [request])


# --- the basis --------------------------------------------------------------------------------


def turned(model, change):
    """The model with the basis of its residual stream changed by an orthogonal matrix [new, old]."""
    with torch.no_grad():
        norms = [model.model.norm]
        for layer in model.model.layers:
            norms += [layer.input_layernorm, layer.post_attention_layernorm]
        readers = [model.lm_head]
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            readers += [attention.q_proj, attention.k_proj, attention.v_proj]
            readers += [mlp.gate_proj, mlp.up_proj]
        # Gains are put into what reads the norm, so that any rotation keeps the outputs.
        for norm, reading in [
            (model.model.norm, [model.lm_head]),
            *(
                pair
                for layer in model.model.layers
                for pair in (
                    (
                        layer.input_layernorm,
                        [getattr(layer.self_attn, f"{name}_proj") for name in "qkv"],
                    ),
                    (layer.post_attention_layernorm, [layer.mlp.gate_proj, layer.mlp.up_proj]),
                )
            ),
        ]:
            for reader in reading:
                reader.weight.mul_(norm.weight)
            norm.weight.fill_(1.0)
        for reader in [model.model.embed_tokens, *readers]:
            reader.weight.copy_(reader.weight @ change.T)
        for layer in model.model.layers:
            for writer in (layer.self_attn.o_proj, layer.mlp.down_proj):
                writer.weight.copy_(change @ writer.weight)
    return model


def permutation(moved, signs=False):
    generator = torch.Generator().manual_seed(0)
    order = torch.arange(32)
    order[:moved] = torch.randperm(moved, generator=generator).roll(1)
    matrix = torch.eye(32)[order]
    if signs:
        matrix[:moved] *= -1
    return matrix


def rotation(share=1.0):
    generator = torch.Generator().manual_seed(0)
    skew = torch.randn(32, 32, generator=generator)
    return torch.matrix_exp(share * (skew - skew.T) / 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        permutation(32, signs=True),
        permutation(32),
        permutation(4),
        torch.diag(torch.tensor([-1.0] * 3 + [1.0] * 29)),
        rotation(),
        rotation(0.02),
    ],
    ids=["signed permutation", "permutation", "few moved", "signs", "rotation", "small rotation"],
)
def test_another_basis_is_said_and_what_is_said_can_still_be_compared(folders, tmp_path, change):
    model = AutoModelForCausalLM.from_pretrained(folders.base, dtype=torch.float32)
    perturb(model, 5, 0.002)
    same = load(folders.base, write_model(tmp_path / "same", model))
    pair = load(folders.base, write_model(tmp_path / "turned", turned(model, change)))
    assert outcomes(same)[BASIS] == "passed"
    assert outcomes(pair)[BASIS] == "failed"
    assert any("do not share a basis" in line for line in pair.provenance.mismatches)
    with pytest.raises(NotAvailable, match="basis.*output difference"):
        require(pair.provenance, DIFFERENCE)
    ids = pair.tokenise("base", SENTENCES[0])[:12]
    batch = padded([ids], (-2, -1))
    shifts = [one.output_shift(batch, batch).shift for one in (same, pair)]
    np.testing.assert_allclose(*shifts, atol=2e-3)


@pytest.mark.parametrize("size", [0.002, 0.05, 0.2])
def test_a_finetuning_however_large_keeps_the_basis(folders, tmp_path, size):
    model = AutoModelForCausalLM.from_pretrained(folders.base, dtype=torch.float32)
    perturb(model, 5, size)
    pair = load(folders.base, write_model(tmp_path / "tuned", model))
    assert outcomes(pair)[BASIS] == "passed"


def test_changes_of_embeddings_that_trainings_make_keep_the_basis():
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(512, 64, generator=generator)
    # A few directions hold most of the length, as in real models.
    rows = rows * torch.logspace(1, -1, 64)
    direction = torch.randn(64, generator=generator)
    some = (torch.rand(512, 1, generator=generator) < 0.1).float()
    for changed in (
        rows + 0.5 * direction,
        rows + some * direction,
        1.1 * rows,
        rows + 0.3 * torch.randn(512, 64, generator=generator),
        rows + (rows @ torch.randn(64, 4, generator=generator)) @ (0.02 * torch.randn(4, 64)),
    ):
        assert basis_figures(rows, changed).shared, basis_figures(rows, changed)


def test_models_trained_apart_do_not_share_a_basis(tmp_path):
    sides = [write_model(tmp_path / str(seed), tiny_model("llama", seed=seed)) for seed in (0, 7)]
    pair = load(*sides)
    assert outcomes(pair)[BASIS] == "failed"
    assert any("trained apart" in line for line in pair.provenance.mismatches)


def test_readings_of_another_basis_fail_by_name_and_the_output_difference_is_read(
    folders, tmp_path
):
    model = AutoModelForCausalLM.from_pretrained(folders.base, dtype=torch.float32)
    perturb(model, 5, 0.002)
    pair = load(folders.base, write_model(tmp_path / "turned", turned(model, rotation())))
    texts = [text * 3 for text in SENTENCES]
    difference = measure_difference(pair, texts, [2])
    found = list(take_readings(pair, difference, texts, ReadingRequest(2)))
    failed_ones = {one.reading: one for one in found if isinstance(one, FailedReading)}
    assert set(failed_ones) == set(READINGS) - {"output_difference"}
    assert all("do not share a basis" in one.message for one in failed_ones.values())
    lists = {one.reading for one in found if not isinstance(one, FailedReading)}
    assert lists == {"output_difference"}
    # Weights of another basis have no difference to amplify; what the two predict has.
    with pytest.raises(PairError, match="(?s)cannot be compared: .*basis.*carrier logits"):
        pair.update_facts(WeightChange("rank1", 2.0))
    ids = tuple(pair.tokenise("finetuned", SENTENCES[0])[:6])
    request = GenerationRequest(ids, 0, contrast=1.0, contrast_ids=ids)
    (text,) = pair.generate(GenerationPlan("finetuned", None, 0.0, 3), [request])
    assert len(text.token_ids) >= 1


# --- what is off ------------------------------------------------------------------------------


def test_what_failed_is_off_by_name_and_the_rest_is_not(folders):
    pair = load(folders.base, folders.finetuned)
    off = failed(LENS, "the last residuals do not give the model's own predictions", 4.2, 1e-3)
    checks = (*(check for check in pair.provenance.checks if check.name != LENS), off)
    object.__setattr__(pair._provenance, "checks", checks)
    vector = np.ones((1, 32), np.float32)
    with pytest.raises(NotAvailable, match="logit lens: not available"):
        pair.unembed("base", vector)
    assert pair.patched_log_probs("base", [5, 6, 7], 1, vector).shape[0] == 1
    assert check_line(off).endswith("(4.2, at most 0.001); off: logit lens")


def test_an_encoder_is_refused_by_name(tmp_path):
    from transformers import BertConfig

    config = BertConfig(
        vocab_size=310, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, pad_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    base = write_model(tmp_path / "base", model)
    perturb(model, 3, 0.05)
    with pytest.raises(PairError, match="looks ahead"):
        load(base, write_model(tmp_path / "finetuned", model))


def test_a_check_without_a_number_reads_well():
    assert check_line(Check("x", "passed", "both are")) == "both are"
    assert check_line(Check("x", "passed", "close", 0.5)) == "close (0.5)"


def test_figures_of_checks_are_no_difference_between_sessions():
    from workbench.replay.drift import changed

    check = {"name": "patchscope", "outcome": "passed", "found": "close", "figure": 1e-7}
    pair = {"dtype": "float32", "checks": [check]}
    assert not changed(pair, {**pair, "checks": [{**check, "figure": 2e-7}]})
    assert not changed({"dtype": "float32"}, pair)
    said = ["logit lens: not its own"]
    assert [one.name for one in changed(pair, {**pair, "mismatches": said})] == ["mismatches"]
