"""Weights spread over devices and the disk: the same numbers, and a map that cannot be is refused."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from adl.errors import PairError
from adl.pair.nnsight.device_maps import fitted
from adl.pair.nnsight.loading import load_to_train
from adl.pair.nnsight.pair import NnsightPair
from adl.records import GenerationPlan, GenerationRequest, PairSpec, SideSpec
from adl.text.token_batches import TokenBatch
from tests.plain_torch import PlainModel
from tests.tiny_models import tiny_model, write_family, write_model

IDS = [5, 60, 7, 8, 200, 9]
CPU = {
    "model.embed_tokens": "cpu",
    "model.layers": "cpu",
    "model.norm": "cpu",
    "model.rotary_emb": "cpu",
    "lm_head": "cpu",
}
LAST_ON_DISK = {
    "model.embed_tokens": "cpu",
    "model.layers.0": "cpu",
    "model.layers.1": "cpu",
    "model.layers.2": "disk",
    "model.layers.3": "disk",
    "model.norm": "disk",
    "model.rotary_emb": "cpu",
    "lm_head": "disk",
}
MAPS = {
    "one name": "cpu",
    "auto": "auto",
    "head": CPU | {"lm_head": "disk"},
    "embedding and head": CPU | {"lm_head": "disk", "model.embed_tokens": "disk"},
    "last layers, norm and head": LAST_ON_DISK,
    "a layer within all": {"": "cpu", "model.layers.1": "disk"},
    "a part within a layer": CPU | {"model.layers.2": "disk", "model.layers.2.mlp": "cpu"},
    "all that can wait": {"": "disk", "model.rotary_emb": "cpu"},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_family(tmp_path_factory.mktemp("llama"), "llama")


def written(table) -> str:
    return table if isinstance(table, str) else json.dumps(table)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "adapter"])
@pytest.mark.parametrize("name", MAPS)
def test_every_reading_is_that_of_the_model_in_memory(folders, name, kind, capfd):
    adapter = folders.adapter if kind == "adapter" else None
    other = folders.base if adapter else folders.finetuned
    side = SideSpec(str(other), adapter=str(adapter) if adapter else None)
    spec = PairSpec(SideSpec(str(folders.base)), side, device_map=written(MAPS[name]))
    capfd.readouterr()
    pair = NnsightPair.load(spec)
    assert capfd.readouterr() == ("", "")
    on_disk = "disk" in str(MAPS[name])
    assert pair.provenance.devices == (("cpu", "disk") if on_disk else ("cpu",))
    told = [note for note in pair.provenance.mismatches if "stay on the disk" in note]
    assert len(told) == on_disk
    assert len(pair.provenance.mismatches) == len(told)
    plain = {
        "base": PlainModel(folders.base, "model.layers"),
        "finetuned": PlainModel(other, "model.layers", adapter),
    }
    row = np.asarray([IDS], dtype=np.int64)
    columns = tuple(range(len(IDS)))
    batch = TokenBatch(row, np.ones_like(row, dtype=bool), tuple(map(str, columns)), columns)
    sums = pair.residual_sums(batch, batch, list(range(4)), np.zeros(1, dtype=np.int64))
    vector = np.linspace(-1, 1, 32, dtype=np.float32)
    for which, model in plain.items():
        residuals = model.residuals(IDS)
        found = getattr(sums, which)[0]
        np.testing.assert_allclose(found, residuals, atol=1e-4 * np.abs(residuals).max())
        tokens = len(pair.token_texts(which))
        wanted = model.log_probs(IDS)[:, :tokens]
        np.testing.assert_allclose(pair.unembed(which, residuals[-1]), wanted, atol=1e-4)
        with model.patching_last(1, vector):
            wanted = model.log_probs(IDS)[-1:, :tokens]
        found = pair.patched_log_probs(which, IDS, 1, vector[None])
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        (text,) = pair.generate(
            GenerationPlan(which, None, 0.0, 1), [GenerationRequest(tuple(IDS), 0)]
        )
        assert text.token_ids[0] == model.log_probs(IDS)[-1, :tokens].argmax()
        assert np.isfinite(pair.token_directions(which, [5, 6])).all()


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("{no json", "--device-map is not JSON"),
        ({}, "leaves no module on a device that computes"),
        ({"": "disk"}, "leaves no module on a device that computes"),
        ({"model": "cpu", "lm_hed": "cpu"}, "names what LlamaForCausalLM has not: lm_hed"),
        ({"": "nonsense"}, "'nonsense' of --device-map is no device"),
        ({"": [1]}, "[1] of --device-map is no device"),
        ({"": 99}, "of --device-map"),
        ({"": True}, "True of --device-map is no device"),
        ({"": 1.5}, "1.5 of --device-map is no device"),
        ('{"": "cpu", "lm_head": "disk", "lm_head": "cpu"}', "lm_head is named twice"),
        ('{"": ' * 100_000, "--device-map is not JSON"),
        ({"model": "cpu"}, "no place for 1 parts of LlamaForCausalLM: lm_head"),
        (
            {"model.layers.0": "cpu", "model.layers.2": "disk", "lm_head": "cpu"},
            "no place for 4 parts of LlamaForCausalLM: model.embed_tokens",
        ),
        ({"": "cpu", "model.layers.9": "disk"}, "has not: model.layers.9"),
        ({"": "cpu", "lm_head.weight": "disk"}, "has not: lm_head.weight"),
        ("no_such.json", "'no_such.json' of --device-map is no file"),
        ("meta", "this machine has no meta"),
        ("disk", "'disk' of --device-map is no device"),
        ("cuda:99", "this machine has no cuda:99"),
        ("no_such", "'no_such' of --device-map is no device"),
    ],
)
def test_a_map_that_cannot_be_is_refused(folders, table, told):
    side = SideSpec(str(folders.base))
    with pytest.raises(PairError) as caught:
        NnsightPair.load(
            PairSpec(side, SideSpec(str(folders.finetuned)), device_map=written(table))
        )
    error = caught.value
    assert error.message.startswith(f"base: checkpoint {str(folders.base)!r}")
    assert told in error.message.replace("for --device-map", "of --device-map")
    assert error.hint
    assert error.concerns == "device_map"
    with pytest.raises(PairError) as to_train:
        load_to_train(side, dtype="float32", device_map=written(table))
    assert to_train.value.message == error.message


def test_the_folder_of_what_is_on_the_disk_goes_with_the_model(folders, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    table = written(MAPS["embedding and head"])
    module, _, _ = load_to_train(SideSpec(str(folders.base)), dtype="bfloat16", device_map=table)
    assert list(Path(tmp_path).glob("adl-offload-*"))
    del module
    gc.collect()
    assert not list(Path(tmp_path).glob("adl-offload-*"))
    # Without a map nothing is put there: a process that is killed leaves no empty folder.
    _kept, _, _ = load_to_train(SideSpec(str(folders.base)), dtype="bfloat16")
    assert not list(Path(tmp_path).glob("adl-offload-*"))


# --- a table in a file, and the folder for the disk ---------------------------------------------------


def refused(folders, **options) -> PairError:
    sides = SideSpec(str(folders.base)), SideSpec(str(folders.finetuned))
    with pytest.raises(PairError) as caught:
        NnsightPair.load(PairSpec(*sides, **options))
    return caught.value


def test_a_table_may_be_in_a_file(folders, tmp_path):
    path = tmp_path / "places"
    path.write_text(json.dumps(LAST_ON_DISK))
    sides = SideSpec(str(folders.base)), SideSpec(str(folders.finetuned))
    pair = NnsightPair.load(PairSpec(*sides, device_map=str(path)))
    assert pair.provenance.devices == ("cpu", "disk")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[1, 2]", "no table of modules"),
        (b"\xff\xfe", "cannot be read"),
        (b"", "is not JSON"),
        (b" " * 2_000_000, "larger than 1 MiB"),
        (b'{"lm_hed": "cpu"}', "has not: lm_hed"),
    ],
)
def test_a_file_without_a_table_is_refused(folders, tmp_path, content, told):
    path = tmp_path / "places.json"
    path.write_bytes(content)
    error = refused(folders, device_map=str(path))
    assert told in error.message
    assert error.concerns == "device_map"


def test_weights_on_the_disk_go_to_the_folder_that_is_named(folders, tmp_path):
    # Not stored as safetensors, which are read where they are.
    model = tiny_model("llama", seed=3)
    tuned = write_model(tmp_path / "tuned", model)
    (tuned / "model.safetensors").unlink()
    torch.save(model.state_dict(), tuned / "pytorch_model.bin")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    sides = SideSpec(str(folders.base)), SideSpec(str(tuned))
    table = written(LAST_ON_DISK)
    pair = NnsightPair.load(PairSpec(*sides, device_map=table, offload_folder=str(scratch)))
    assert any("layers.3" in path.name for path in scratch.rglob("*") if path.is_file())
    wanted = PlainModel(tuned, "model.layers").log_probs(IDS)[-1:, : len(pair.token_texts("base"))]
    np.testing.assert_allclose(pair.next_log_probs("finetuned", [IDS]), wanted, atol=1e-4)
    del pair
    gc.collect()
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("name", ["nowhere", "a file", "x" * 300, "a\0b"])
def test_a_folder_that_cannot_be_written_to_is_refused(folders, tmp_path, name):
    (tmp_path / "a file").write_text("")
    error = refused(folders, device_map="cpu", offload_folder=f"{tmp_path}/{name}")
    assert name in error.message or repr(name)[1:-1] in error.message
    assert "--offload-folder" in error.hint
    assert error.concerns == "offload_folder"


# --- fitting a table to a model, on devices that need not be there -----------------------------------


def model_of(kind: str):
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(tiny_model(kind).config)


def test_a_table_names_each_module_once():
    places = {"": 0, "model.layers.1": "cpu", "model.layers.1.mlp": "disk", "lm_head": 1}
    assert fitted("x", places, model_of("llama")) == {
        "model.embed_tokens": 0,
        "model.layers.0": 0,
        "model.layers.1.self_attn": "cpu",
        "model.layers.1.mlp": "disk",
        "model.layers.1.input_layernorm": "cpu",
        "model.layers.1.post_attention_layernorm": "cpu",
        "model.layers.2": 0,
        "model.layers.3": 0,
        "model.norm": 0,
        "model.rotary_emb": 0,
        "lm_head": 1,
    }


def test_what_is_computed_goes_where_it_is_used():
    places = {"model.embed_tokens": "cpu", "model.layers": 1, "model.norm": "disk", "lm_head": 1}
    assert fitted("x", places, model_of("llama"))["model.rotary_emb"] == 1


def test_one_matrix_has_one_place():
    model = model_of("gemma3")
    assert "lm_head" in fitted("x", {"model": 0, "model.norm": "disk"}, model)
    with pytest.raises(PairError, match=r"lm_head on disk and model\.embed_tokens on 0"):
        fitted("x", {"": 0, "lm_head": "disk"}, model)


def test_a_layer_is_computed_on_one_device():
    model = model_of("llama")
    with pytest.raises(PairError, match=r"parts model\.layers\.1 between 0 and 1"):
        fitted("x", {"": 0, "model.layers.1.mlp": 1}, model)
    # Weights that wait elsewhere are brought to it.
    assert fitted("x", {"": 0, "model.layers.1.mlp": "cpu"}, model)["model.layers.1.mlp"] == "cpu"
