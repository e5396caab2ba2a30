"""Checkpoints as people have them: all of the weights come from them, or they are refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from adl.errors import PairError
from adl.pair.nnsight.checks import HALF_TOLERANCE, TOLERANCE
from adl.pair.nnsight.loading import load_to_train
from adl.pair.nnsight.pair import NnsightPair
from adl.records import PairSpec, SideSpec
from tests.plain_torch import PlainModel
from tests.tiny_models import perturb, tiny_model, write_family, write_model

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_family(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture
def folder(folders, tmp_path) -> Path:
    """A copy of the finetuned checkpoint, for a fault."""
    return Path(shutil.copytree(folders.finetuned, tmp_path / "faulty"))


def refused(folders, folder: Path) -> PairError:
    """The error, which must be the same for both sides and for a training."""
    side, sound = SideSpec(str(folder)), SideSpec(str(folders.base))
    with pytest.raises(PairError) as caught:
        NnsightPair.load(PairSpec(sound, side))
    with pytest.raises(PairError) as as_base:
        NnsightPair.load(PairSpec(side, sound))
    with pytest.raises(PairError) as to_train:
        load_to_train(side, dtype="float32")
    error = caught.value
    assert error.message.startswith(f"finetuned: checkpoint {str(folder)!r}")
    for other in (as_base.value, to_train.value):
        assert other.message == error.message.replace("finetuned:", "base:", 1)
    assert error.hint
    assert "\n" not in str(error)
    return error


def notes_of(base: Path, finetuned: Path, **options) -> list[str]:
    pair = NnsightPair.load(PairSpec(SideSpec(str(base)), SideSpec(str(finetuned)), **options))
    return list(pair.provenance.mismatches)


def rewrite(folder: Path, change: Callable[[dict], dict]) -> None:
    """Change the tensors of a checkpoint's one file."""
    tensors = load_file(folder / WEIGHTS)
    save_file(change(tensors), folder / WEIGHTS, metadata={"format": "pt"})


def reconfigure(folder: Path, **settings) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))


def shard(folder: Path) -> None:
    """Two shards of one checkpoint, as a large one has."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder, max_shard_size="60KB")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 1


def to_pickle(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


class TestWeightsThatDidNotLoad:
    LAYER = "model.layers.2.mlp.down_proj.weight"

    @pytest.mark.parametrize("form", ["safetensors", "pickle", "shards"])
    def test_one_is_missing(self, folders, folder, form):
        rewrite(folder, lambda found: {k: v for k, v in found.items() if k != self.LAYER})
        if form == "pickle":
            to_pickle(folder)
        if form == "shards":
            table = dict.fromkeys(load_file(folder / WEIGHTS), WEIGHTS)
            index = folder / "model.safetensors.index.json"
            (folder / WEIGHTS).rename(folder / "part.safetensors")
            table = dict.fromkeys(table, "part.safetensors")
            index.write_text(json.dumps({"metadata": {}, "weight_map": table}))
        error = refused(folders, folder)
        assert (
            f"lacks 1 of the weights of LlamaForCausalLM, which would be random: {self.LAYER}"
            in (error.message)
        )
        assert "in full" in error.hint

    def test_three_are_named_of_many(self, folders, folder):
        rewrite(folder, lambda found: {k: v for k, v in found.items() if "norm" not in k})
        error = refused(folders, folder)
        assert "lacks 9 of the weights" in error.message
        assert error.message.count("layernorm") == 3
        assert error.message.endswith("and 6 more")

    def test_the_names_have_a_prefix(self, folders, folder):
        rewrite(folder, lambda found: {f"wrapped.{k}": v for k, v in found.items()})
        error = refused(folders, folder)
        assert "of the weights of LlamaForCausalLM" in error.message
        assert "wrapped.lm_head.weight" in error.hint

    def test_a_model_saved_with_an_adapter_in_it(self, folders, folder):
        def wrap(found):
            return {
                k.replace("q_proj.weight", "q_proj.base_layer.weight"): v for k, v in found.items()
            } | {"model.layers.0.self_attn.q_proj.lora_A.default.weight": torch.zeros(4, 32)}

        rewrite(folder, wrap)
        error = refused(folders, folder)
        assert "lacks 4 of the weights" in error.message
        assert "merge_and_unload" in error.hint

    @pytest.mark.parametrize("form", ["safetensors", "pickle"])
    def test_another_shape(self, folders, folder, form):
        rewrite(
            folder, lambda found: found | {"lm_head.weight": found["lm_head.weight"][:100].clone()}
        )
        if form == "pickle":
            to_pickle(folder)
        error = refused(folders, folder)
        assert "lm_head.weight is [100, 32] in the checkpoint and [310, 32] by its config.json" in (
            error.message
        )
        assert "vocab_size" in error.hint

    def test_another_shape_everywhere(self, folders, folder):
        reconfigure(folder, intermediate_size=48)
        error = refused(folders, folder)
        assert "[32, 64] in the checkpoint and [32, 48]" in error.message
        assert "and 11 more" in error.message

    def test_a_tied_head_is_not_missing(self, folders, tmp_path):
        made = []
        model = tiny_model("gemma2")
        assert model.config.tie_word_embeddings
        for name in ("one", "other"):
            perturb(model, 5, 0.01)
            made.append(write_model(tmp_path / name, model))
            assert "lm_head.weight" not in load_file(made[-1] / WEIGHTS)
        assert notes_of(*made) == []

    def test_an_untied_head_is(self, folders, folder):
        rewrite(folder, lambda found: {k: v for k, v in found.items() if k != "lm_head.weight"})
        assert "random: lm_head.weight" in refused(folders, folder).message

    def test_scales_of_quantised_weights_without_their_config(self, folders, folder):
        scale = {"model.layers.0.mlp.down_proj.weight_scale_inv": torch.ones(1, 1)}
        rewrite(folder, lambda found: found | scale)
        error = refused(folders, folder)
        assert "quantised weights (model.layers.0.mlp.down_proj.weight_scale_inv)" in error.message
        assert "quantization_config" in error.message

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("model.layers.0.self_attn.q_proj.bias", "the architecture does not know"),
            ("model.layers.9.mlp.up_proj.weight", "the architecture does not know"),
            ("model.layers.0.self_attn.rotary_emb.inv_freq", "the model computes itself"),
            ("mtp.layers.0.mlp.up_proj.weight", "heads that predict further tokens"),
            ("vision_tower.layers.0.mlp.up_proj.weight", "for images or sound"),
        ],
    )
    def test_what_is_left_out_is_told(self, folders, folder, name, told):
        rewrite(folder, lambda found: found | {name: torch.zeros(32)})
        (note,) = notes_of(folders.base, folder)
        assert note.startswith("Finetuned: 1 tensors of the checkpoint are not loaded (")
        assert told in note
        (note,) = notes_of(folder, folders.base)
        assert note.startswith("Base: 1 tensors")

    def test_nothing_is_told_of_a_sound_pair(self, folders):
        assert notes_of(folders.base, folders.finetuned) == []


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])


def _pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")


def _no_shard(folder: Path) -> None:
    shard(folder)
    sorted(folder.glob("model-*-of-*.safetensors"))[1].unlink()


def _shards_without_index(folder: Path) -> None:
    shard(folder)
    (folder / "model.safetensors.index.json").unlink()


def _bad_index(folder: Path) -> None:
    shard(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": ')


def _index_without_map(folder: Path) -> None:
    shard(folder)
    (folder / "model.safetensors.index.json").write_text("{}")


def _shard_is_a_pointer(folder: Path) -> None:
    shard(folder)
    _pointer(sorted(folder.glob("model-*-of-*.safetensors"))[1])


def _two_variants(folder: Path) -> None:
    shutil.copy(folder / WEIGHTS, folder / "model.fp16.safetensors")
    (folder / WEIGHTS).rename(folder / "model.bf16.safetensors")


def _only_below(folder: Path) -> None:
    (folder / "checkpoint-500").mkdir()
    for path in list(folder.iterdir()):
        if path.is_file():
            path.rename(folder / "checkpoint-500" / path.name)


def _emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _own_format(folder: Path) -> None:
    _emptied(folder)
    (folder / "params.json").write_text("{}")
    (folder / "consolidated.00.pth").write_bytes(b"x")


def _pickle_cut(folder: Path) -> None:
    to_pickle(folder)
    _truncated(folder / "pytorch_model.bin")


def _whole_pickle(folder: Path) -> None:
    torch.save(AutoModelForCausalLM.from_pretrained(folder), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def _loop(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(folder / WEIGHTS)


def _folder_loop(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to(folder)


def _a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("x")


def _weights_are_a_folder(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()


def _config_lists(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


FAULTS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "weights cut short": (
        lambda folder: _truncated(folder / WEIGHTS),
        "model.safetensors is cut short or damaged",
        "Download or copy it again",
    ),
    "weights are noise": (
        lambda folder: (folder / WEIGHTS).write_bytes(b"\x07" * 5000),
        "model.safetensors is cut short or damaged",
        "again",
    ),
    "weights are empty": (
        lambda folder: (folder / WEIGHTS).write_bytes(b""),
        "model.safetensors is empty",
        "again",
    ),
    "weights are a pointer": (
        lambda folder: _pointer(folder / WEIGHTS),
        "model.safetensors is a git-lfs pointer",
        "git lfs pull",
    ),
    "a shard is a pointer": (_shard_is_a_pointer, "is a git-lfs pointer", "git lfs pull"),
    "a shard is missing": (
        _no_shard,
        "model.safetensors.index.json names: model-00002-of-",
        "rest",
    ),
    "no index": (_shards_without_index, "no index that lists them", "index.json"),
    "the index is cut": (_bad_index, "model.safetensors.index.json is not JSON", "again"),
    "the index has no map": (_index_without_map, "has no weight_map", "again"),
    "no weights": (
        lambda folder: (folder / WEIGHTS).unlink(),
        "has a config.json but no weights",
        "model.safetensors",
    ),
    "weights of another library": (
        lambda folder: (folder / WEIGHTS).rename(folder / "tf_model.h5"),
        "no weights; it holds tf_model.h5, which transformers does not load",
        "model.safetensors",
    ),
    "pickle cut short": (_pickle_cut, "pytorch_model.bin is cut short or damaged", "again"),
    "a whole model pickled": (_whole_pickle, "something else than tensors", "safetensors"),
    "two variants": (
        _two_variants,
        "several variants of its weights and no plain one: bf16, fp16",
        "one",
    ),
    "config cut short": (
        lambda folder: (folder / "config.json").write_text('{"model_type": "llama", '),
        "config.json is not JSON",
        "again",
    ),
    "config is no table": (_config_lists, "config.json is JSON but no object", "again"),
    "config is a pointer": (
        lambda folder: _pointer(folder / "config.json"),
        "config.json is a git-lfs pointer",
        "git lfs pull",
    ),
    "config names no type": (
        lambda folder: (folder / "config.json").write_text('{"hidden_size": 3}'),
        "config.json names no model_type",
        "save_pretrained",
    ),
    "config is binary": (
        lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe\x00"),
        "config.json is not JSON",
        "again",
    ),
    "checkpoint below": (_only_below, "has no config.json", "checkpoint-500"),
    "empty folder": (_emptied, "has no config.json", "empty"),
    "the maker's own format": (_own_format, "has no config.json", "maker's own format"),
    "a diffusion pipeline": (
        lambda folder: (folder / "config.json").rename(folder / "model_index.json"),
        "has no config.json",
        "diffusion",
    ),
    "weights link to themselves": (_loop, "cannot be read: Too many levels", "path"),
    "the folder links to itself": (_folder_loop, "cannot be read: Too many levels", "path"),
    "a file": (_a_file, "is a file", "folder it is in"),
    "weights are a folder": (_weights_are_a_folder, "cannot be read: Is a directory", "path"),
    "an encoder and decoder": (
        lambda folder: reconfigure(folder, model_type="t5"),
        "is a t5 model, which is no causal language model",
        "Llama",
    ),
    "a vision model": (
        lambda folder: reconfigure(folder, model_type="vit"),
        "is a vit model, which is no causal language model",
        "Llama",
    ),
    "a type nobody knows": (
        lambda folder: reconfigure(folder, model_type="nobody"),
        "does not take its config.json: The checkpoint you are trying to load has model type `nobody`",
        "newer transformers",
    ),
    "sizes that are no numbers": (
        lambda folder: reconfigure(folder, hidden_size="large"),
        "Field 'hidden_size' expected int, got str (value: 'large')",
        "Check the file",
    ),
    "heads that do not divide": (
        lambda folder: reconfigure(folder, num_attention_heads=5),
        "does not take its config.json",
        "",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_checkpoint_is_refused(folders, folder, fault):
    spoil, message, hint = FAULTS[fault]
    spoil(folder)
    error = refused(folders, folder)
    assert message in error.message
    assert hint in error.hint


def test_a_folder_that_may_not_be_read(folders, folder, monkeypatch):
    # Tests may run as root, whom nothing is forbidden.
    read = Path.iterdir

    def forbidden(self):
        if self == folder:
            raise PermissionError(13, "Permission denied", str(self))
        return read(self)

    monkeypatch.setattr(Path, "iterdir", forbidden)
    error = refused(folders, folder)
    assert "cannot be read: Permission denied" in error.message
    assert "permissions" in error.hint


class TestForms:
    """The same weights in other files give the same numbers."""

    @pytest.fixture
    def truth(self, folders) -> np.ndarray:
        return PlainModel(folders.finetuned, "model.layers").log_probs([5, 6, 7, 8])

    @pytest.mark.parametrize("form", ["shards", "pickle", "both", "variant", "old names"])
    def test_it_is_read(self, folders, folder, truth, form):
        if form == "shards":
            shard(folder)
        elif form == "pickle":
            to_pickle(folder)
        elif form == "both":
            # transformers takes safetensors; the pickle is stale.
            torch.save({}, folder / "pytorch_model.bin")
        elif form == "variant":
            (folder / WEIGHTS).rename(folder / "model.fp16.safetensors")
        pair = NnsightPair.load(PairSpec(SideSpec(str(folders.base)), SideSpec(str(folder))))
        assert pair.provenance.mismatches == ()
        module = pair._loaded.finetuned.module
        with torch.no_grad():
            logits = module(input_ids=torch.tensor([[5, 6, 7, 8]]), use_cache=False).logits[0]
        found = torch.log_softmax(logits.float(), -1).numpy()
        np.testing.assert_array_equal(found, truth)

    def test_one_file_and_shards_in_one_folder_are_told(self, folders, folder):
        whole = (folder / WEIGHTS).read_bytes()
        shard(folder)
        (folder / WEIGHTS).write_bytes(whole)
        (note,) = notes_of(folders.base, folder)
        assert "two sets of weights: model.safetensors was loaded" in note


class TestQuantised:
    @pytest.mark.parametrize(
        ("method", "package"),
        [
            ({"quant_method": "gptq", "bits": 4, "group_size": 32}, "optimum"),
            ({"quant_method": "awq", "bits": 4, "group_size": 32}, "gptqmodel"),
            ({"quant_method": "compressed-tensors", "config_groups": {}}, "compressed-tensors"),
            ({"quant_method": "hqq"}, "HQQ"),
            ({"quant_method": "aqlm"}, "aqlm"),
            ({"quant_method": "quanto", "weights": "int8"}, "quanto"),
        ],
    )
    def test_the_package_that_is_missing_is_named(self, folders, folder, method, package):
        reconfigure(folder, quantization_config=method)
        error = refused(folders, folder)
        assert (
            f"is quantised ({method['quant_method']}), and its package is missing" in error.message
        )
        assert package in error.message
        assert "quantised from" in error.hint

    def test_whole_numbers_without_a_config_for_them(self, folders, folder):
        rewrite(folder, lambda found: {k: (10 * v).to(torch.int8) for k, v in found.items()})
        error = refused(folders, folder)
        assert "holds whole numbers for weights (lm_head.weight, " in error.message

    @pytest.mark.slow
    def test_a_config_that_does_not_fit_the_weights(self, folders, folder):
        reconfigure(folder, quantization_config={"quant_method": "bitnet"})
        assert "in the checkpoint and" in refused(folders, folder).message

    @pytest.mark.parametrize("quantisation", ["8bit", "4bit"])
    def test_it_is_not_quantised_twice(self, folders, folder, quantisation):
        reconfigure(folder, quantization_config={"quant_method": "gptq", "bits": 4})
        side = SideSpec(str(folder))
        with pytest.raises(PairError, match=r"quantised already \(gptq\)") as caught:
            NnsightPair.load(PairSpec(side, SideSpec(str(folders.base)), quantisation=quantisation))
        assert "--load-in-4bit" in caught.value.hint

    def test_eight_bit_floats_are_read_as_what_they_stand_for(self, folders, folder):
        """Without a device that computes with them, transformers multiplies them out."""
        block = 16

        def to_fp8(found):
            out = {}
            for name, weight in found.items():
                if "_proj" not in name:
                    out[name] = weight
                    continue
                rows, columns = weight.shape
                parts = weight.reshape(rows // block, block, columns // block, block)
                scale = parts.abs().amax(dim=(1, 3)) / 448
                low = (parts / scale[:, None, :, None]).reshape(rows, columns)
                out[name] = low.to(torch.float8_e4m3fn)
                out[f"{name}_scale_inv"] = scale
            return out

        rewrite(folder, to_fp8)
        quantised = load_file(folder / WEIGHTS)
        reconfigure(
            folder,
            quantization_config={"quant_method": "fp8", "weight_block_size": [block, block]},
        )
        pair = NnsightPair.load(PairSpec(SideSpec(str(folders.base)), SideSpec(str(folder))))
        (note,) = [note for note in pair.provenance.mismatches if "quantised" in note]
        assert "(fp8)" in note
        held = pair._loaded.finetuned.module.state_dict()
        name = "model.layers.1.mlp.up_proj.weight"
        scale = quantised[f"{name}_scale_inv"].repeat_interleave(block, 0)
        truth = quantised[name].float() * scale.repeat_interleave(block, 1)
        torch.testing.assert_close(held[name].float(), truth)


class TestKinds:
    def test_other_numbers_are_told(self, folders, tmp_path):
        model = tiny_model("llama").to(torch.bfloat16)
        half = write_model(tmp_path / "half", model)
        (note,) = [note for note in notes_of(folders.base, half) if "rounds off" in note]
        assert "base was loaded as float32 and the finetuned side as bfloat16" in note
        assert "--dtype" in note
        assert not [n for n in notes_of(folders.base, half, dtype="float32") if "rounds off" in n]

    def test_each_side_is_checked_as_exactly_as_its_numbers_are(self, folders, tmp_path):
        """How half-precision sums are rounded differs by the length of a text on some processors."""
        half = write_model(tmp_path / "half", tiny_model("llama").to(torch.bfloat16))
        for base, finetuned in ((folders.base, half), (half, folders.base)):
            pair = NnsightPair.load(PairSpec(SideSpec(str(base)), SideSpec(str(finetuned))))
            tolerances = {side: runs.structure.tolerance for side, runs in pair._runs.items()}
            assert tolerances["base" if base == half else "finetuned"] == HALF_TOLERANCE
            assert tolerances["finetuned" if base == half else "base"] == TOLERANCE["float32"]

    def test_numbers_other_than_those_stored_are_told(self, folders, folder):
        reconfigure(folder, dtype="float16")
        (note,) = [note for note in notes_of(folders.base, folder) if "stored" in note]
        assert note.startswith("Finetuned: The weights are stored as float32")
        assert "were loaded as float16, as config.json asks" in note

    def test_settings_that_differ_are_told(self, folders, folder):
        reconfigure(folder, rms_norm_eps=0.001, use_cache=False, attention_dropout=0.3)
        (note,) = [note for note in notes_of(folders.base, folder) if "configs" in note]
        assert note == (
            "The configs of base and finetuned side differ: rms_norm_eps is 1e-06 and 0.001."
        )

    def test_settings_that_nobody_knows_are_told(self, folders, folder):
        reconfigure(folder, logit_scaling=3.0, use_mrope=False, _unsloth="x", torch_dtype="float32")
        notes = [note for note in notes_of(folders.base, folder) if "config.json sets" in note]
        assert notes == [
            "Finetuned: LlamaForCausalLM knows no logit_scaling, which config.json sets."
        ]

    def test_other_architectures_of_one_size_are_told(self, folders, tmp_path):
        other = write_model(tmp_path / "mistral", tiny_model("mistral"))
        notes = [note for note in notes_of(folders.base, other) if "architectures" in note]
        assert len(notes) == 1
        assert "LlamaForCausalLM (base) and MistralForCausalLM (finetuned)" in notes[0]
