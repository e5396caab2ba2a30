"""Weights spread over devices and the disk: the same numbers, and a map that cannot be is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from adl.errors import PairError
from adl.pair.nnsight.loading import load_to_train
from adl.pair.nnsight.pair import NnsightPair
from adl.records import GenerationPlan, GenerationRequest, PairSpec, SideSpec
from adl.text.token_batches import TokenBatch
from tests.plain_torch import PlainModel
from tests.tiny_models import write_family

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
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_family(tmp_path_factory.mktemp("llama"), "llama")


def written(table) -> str:
    return table if isinstance(table, str) else json.dumps(table)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "full") for name in MAPS),
        *((name, "adapter") for name in MAPS if "layers" not in name),
    ],
)
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


def test_an_adapter_on_weights_that_are_on_the_disk_is_refused(folders):
    side = SideSpec(str(folders.base), adapter=str(folders.adapter))
    table = written(LAST_ON_DISK)
    with pytest.raises(PairError, match=str(folders.adapter)) as caught:
        NnsightPair.load(PairSpec(SideSpec(str(folders.base)), side, device_map=table))
    assert "model.layers.2.mlp.down_proj" in caught.value.message
    assert "--device-map" in caught.value.hint


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
    with pytest.raises(PairError) as to_train:
        load_to_train(side, dtype="float32", device_map=written(table))
    assert to_train.value.message == error.message


def test_the_folder_of_what_is_on_the_disk_goes_with_the_model(folders, tmp_path, monkeypatch):
    import gc
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    table = written(MAPS["embedding and head"])
    module, _, _ = load_to_train(SideSpec(str(folders.base)), dtype="bfloat16", device_map=table)
    assert list(Path(tmp_path).glob("adl-offload-*"))
    del module
    gc.collect()
    assert not list(Path(tmp_path).glob("adl-offload-*"))
