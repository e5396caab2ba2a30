"""Every way in which a pair cannot be had: one error that names the thing, and the way out."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from adl.errors import AdlError, DeviceOutOfMemory, HubUnreachable, PairError, SiteError
from adl.pair.nnsight.load_errors import is_out_of_memory
from adl.pair.nnsight.pair import NnsightPair
from adl.records import GenerationPlan, GenerationRequest, PairSpec, SideSpec
from adl.text.token_batches import TokenBatch
from tests.tiny_models import tiny_model, write_adapter, write_family, write_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_family(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def pair(folders):
    return NnsightPair.load(PairSpec(SideSpec(str(folders.base)), SideSpec(str(folders.finetuned))))


def refused(base, finetuned=None, adapter=None, **options) -> AdlError:
    side = SideSpec(str(finetuned or base), adapter=None if adapter is None else str(adapter))
    with pytest.raises(AdlError) as caught:
        NnsightPair.load(PairSpec(SideSpec(str(base)), side, **options))
    error = caught.value
    assert isinstance(error, PairError)
    assert error.hint
    assert "\n" not in str(error)
    assert len(error.message) < 500
    return error


class TestMissing:
    def test_base_folder(self, folders, tmp_path):
        error = refused(tmp_path / "nowhere", folders.finetuned)
        assert error.message.startswith("base: model")
        assert str(tmp_path / "nowhere") in error.message
        assert "no such folder" in error.message

    def test_finetuned_folder(self, folders):
        error = refused(folders.base, "./nowhere")
        assert "finetuned: model './nowhere'" in error.message

    def test_adapter_folder(self, folders, tmp_path):
        error = refused(folders.base, adapter=tmp_path / "nowhere")
        assert "finetuned: adapter" in error.message
        assert "no such folder" in error.message

    def test_folder_without_a_model(self, folders, tmp_path):
        error = refused(tmp_path, folders.finetuned)
        assert f"{str(tmp_path)!r} has no config.json" in error.message
        assert "empty" in error.hint

    def test_folder_without_weights(self, folders, tmp_path):
        shutil.copytree(folders.base, tmp_path / "base")
        (tmp_path / "base" / "model.safetensors").unlink()
        error = refused(tmp_path / "base", folders.finetuned)
        assert "has a config.json but no weights" in error.message
        assert "model.safetensors" in error.hint

    def test_adapter_without_weights(self, folders, tmp_path):
        shutil.copytree(folders.adapter, tmp_path / "adapter")
        (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
        error = refused(folders.base, adapter=tmp_path / "adapter")
        assert "has no adapter_model.safetensors" in error.message


class TestMistaken:
    def test_a_checkpoint_given_as_an_adapter(self, folders):
        error = refused(folders.base, adapter=folders.finetuned)
        assert "has no adapter_config.json" in error.message
        assert "--finetuned" in error.hint

    def test_the_same_twice(self, folders):
        error = refused(folders.base)
        assert "no difference" in error.message
        assert str(folders.base) in error.message
        assert "--adapter" in error.hint

    def test_two_adapters_on_one_checkpoint(self, folders):
        sides = [SideSpec(str(folders.base), adapter=str(folders.adapter)) for _ in range(2)]
        spec = PairSpec(sides[0], SideSpec(str(folders.base), adapter="other"))
        with pytest.raises(PairError, match=r"both sides are adapters.*--base"):
            NnsightPair.load(spec)
        with pytest.raises(PairError, match="no difference to measure"):
            NnsightPair.load(PairSpec(*sides))

    @pytest.mark.parametrize("dtype", ["float8", "int8", "", "FLOAT32"])
    def test_unknown_dtype(self, folders, dtype):
        error = refused(folders.base, folders.finetuned, dtype=dtype)
        assert error.message == f"{dtype!r} is not a dtype"
        assert "bfloat16" in error.hint

    def test_unknown_attention(self, folders):
        error = refused(folders.base, folders.finetuned, attn_implementation="no_such_thing")
        assert "no_such_thing" in error.message

    def test_unknown_device(self, folders):
        error = refused(folders.base, folders.finetuned, device_map="no_such_device")
        assert str(folders.base) in error.message


class TestUnfit:
    def test_adapter_for_another_width(self, folders, tmp_path):
        other = write_adapter(tmp_path / "wide", tiny_model("llama", width=64), "llama")
        error = refused(folders.base, adapter=other)
        assert f"adapter {str(other)!r} does not fit the base {str(folders.base)!r}" in (
            error.message
        )
        assert "adapter_config.json" in error.hint

    def test_adapter_for_another_architecture(self, folders, tmp_path):
        other = write_adapter(tmp_path / "gpt2", tiny_model("gpt2"), "gpt2")
        assert "does not fit the base" in refused(folders.base, adapter=other).message

    def test_adapter_for_more_layers(self, folders, tmp_path):
        other = write_adapter(tmp_path / "deep", tiny_model("llama", n_layers=6), "llama")
        assert "does not fit the base" in refused(folders.base, adapter=other).message

    def test_other_number_of_layers(self, folders, tmp_path):
        other = write_model(tmp_path / "deep", tiny_model("llama", n_layers=5))
        error = refused(folders.base, other)
        assert "differ in layers: base has 4, finetuned has 5" in error.message

    def test_other_width(self, folders, tmp_path):
        other = write_model(tmp_path / "wide", tiny_model("llama", width=64))
        error = refused(folders.base, other)
        assert "differ in width: base has 32, finetuned has 64" in error.message

    def test_an_adapter_that_adds_tokens_and_not_weights(self, folders, tmp_path):
        shutil.copytree(folders.adapter, tmp_path / "prompt")
        config = {"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 2}
        (tmp_path / "prompt" / "adapter_config.json").write_text(json.dumps(config))
        error = refused(folders.base, adapter=tmp_path / "prompt")
        assert "PROMPT_TUNING" in error.message
        assert "LoRA" in error.hint


class TestBroken:
    def test_config_is_no_json(self, folders, tmp_path):
        shutil.copytree(folders.base, tmp_path / "base")
        (tmp_path / "base" / "config.json").write_text("{")
        assert str(tmp_path / "base") in refused(tmp_path / "base", folders.finetuned).message

    def test_weights_cut_short(self, folders, tmp_path):
        shutil.copytree(folders.base, tmp_path / "base")
        weights = tmp_path / "base" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        error = refused(tmp_path / "base", folders.finetuned)
        assert "model.safetensors is cut short or damaged" in error.message

    def test_adapter_cut_short(self, folders, tmp_path):
        shutil.copytree(folders.adapter, tmp_path / "adapter")
        weights = tmp_path / "adapter" / "adapter_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:100])
        refused(folders.base, adapter=tmp_path / "adapter")

    def test_adapter_config_is_no_json(self, folders, tmp_path):
        shutil.copytree(folders.adapter, tmp_path / "adapter")
        (tmp_path / "adapter" / "adapter_config.json").write_text("{")
        assert "cannot be loaded" in refused(folders.base, adapter=tmp_path / "adapter").message

    def test_a_model_s_own_code_is_not_run(self, folders, tmp_path):
        folder = tmp_path / "base"
        shutil.copytree(folders.base, folder)
        config = json.loads((folder / "config.json").read_text())
        config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
        error = refused(folder, folders.finetuned)
        assert not (tmp_path / "ran").exists()
        assert "own code" in error.message
        assert "--trust-remote-code" in error.hint


class TestHub:
    """The tests run with HF_HUB_OFFLINE=1, as on a machine without a network."""

    def test_unreachable(self, folders):
        error = refused("somebody/no-such-model", folders.finetuned)
        assert isinstance(error, HubUnreachable)
        assert "base: model 'somebody/no-such-model'" in error.message
        assert "hub cannot be reached" in error.message
        assert "HF_HUB_OFFLINE" in error.hint

    def test_revision_is_named(self, folders):
        side = SideSpec(str(folders.base), adapter="somebody/adapter", adapter_revision="v1")
        with pytest.raises(PairError, match=r"finetuned: adapter 'somebody/adapter'.*'v1'"):
            NnsightPair.load(PairSpec(SideSpec(str(folders.base)), side))

    @pytest.mark.parametrize("name", ["a b", "some--body/model", "name?", "user/" + 100 * "x"])
    def test_not_an_id(self, folders, name):
        error = refused(name, folders.finetuned)
        assert repr(name) in error.message
        assert "neither a folder nor a hub id" in error.message

    def test_a_file(self, folders, tmp_path):
        file = tmp_path / "model.safetensors"
        file.write_bytes(b"x")
        assert str(file) in refused(file, folders.finetuned).message


@pytest.mark.parametrize("layer", [-1, 4, 99])
def test_unknown_layer(pair, layer):
    vector = np.zeros((1, 32), dtype=np.float32)
    ids = np.zeros((1, 2), dtype=np.int64)
    batch = TokenBatch(ids, np.ones_like(ids, dtype=bool), ("1",), (1,))
    request = GenerationRequest((1, 2), 0, vector[0])
    for call in (
        lambda: pair.residual_sums(batch, batch, [0, layer], np.zeros(1, dtype=np.int64)),
        lambda: pair.patched_log_probs("base", [1, 2], layer, vector),
        lambda: pair.steering_shift("base", batch, layer, vector),
        lambda: pair.generate(GenerationPlan("base", layer, 0.0, 1), [request]),
    ):
        with pytest.raises(SiteError, match=f"layer {layer} .*0 to 3"):
            call()


def test_a_vector_of_another_model(pair):
    with pytest.raises(ValueError, match=r"vectors has shape \(1, 31\)"):
        pair.unembed("base", np.zeros((1, 31), dtype=np.float32))


def test_a_conversation_the_template_refuses(folders, tmp_path):
    shutil.copytree(folders.base, tmp_path / "base")
    template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    )
    template += "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
    (tmp_path / "base" / "chat_template.jinja").write_text(template)
    pair = NnsightPair.load(
        PairSpec(SideSpec(str(tmp_path / "base")), SideSpec(str(folders.finetuned)))
    )
    system, user = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}
    chat = pair.chat("base", [system, user])
    assert pair.decode("base", chat.ids) == "[Be brief.\n\nHi]"
    with pytest.raises(PairError, match=r"template cannot render.*no system"):
        pair.chat("base", [system])


class TestOutOfMemory:
    def test_of_the_device(self, pair, monkeypatch):
        def full(*_arguments, **_options):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

        monkeypatch.setattr(pair._loaded.base.module, "forward", full)
        ids = np.zeros((1, 2), dtype=np.int64)
        batch = TokenBatch(ids, np.ones_like(ids, dtype=bool), ("1",), (1,))
        request = GenerationRequest((1, 2), 0)
        for call in (
            lambda: pair.output_shift(batch, batch),
            lambda: pair.patched_log_probs("base", [1, 2], 0, np.zeros((1, 32), np.float32)),
            lambda: pair.generate(GenerationPlan("base", None, 0.0, 1), [request]),
        ):
            with pytest.raises(DeviceOutOfMemory, match=r"Tried to allocate 2 GiB\. Use a smaller"):
                call()

    def test_inside_a_trace(self, pair, monkeypatch):
        def full(*_arguments, **_options):
            raise torch.OutOfMemoryError("CUDA out of memory")

        layer = pair._loaded.base.module.get_decoder().layers[2]
        monkeypatch.setattr(layer.mlp, "forward", full)
        ids = np.zeros((1, 2), dtype=np.int64)
        batch = TokenBatch(ids, np.ones_like(ids, dtype=bool), ("1",), (1,))
        vector = np.ones((1, 32), dtype=np.float32)
        for call in (
            lambda: pair.residual_sums(batch, batch, [3], np.zeros(1, dtype=np.int64)),
            lambda: pair.steering_shift("base", batch, 1, vector),
            lambda: pair.generate(
                GenerationPlan("base", 1, 0.0, 1), [GenerationRequest((1, 2), 0, vector[0])]
            ),
        ):
            with pytest.raises(DeviceOutOfMemory):
                call()

    @pytest.mark.parametrize(
        ("exc", "expected"),
        [
            (torch.OutOfMemoryError("CUDA out of memory"), True),
            (MemoryError(), True),
            (RuntimeError("DefaultCPUAllocator: can't allocate memory: tried 9 bytes"), True),
            (RuntimeError("MPS backend out of memory"), True),
            (RuntimeError("shape mismatch"), False),
            (ValueError("out of memory"), False),
        ],
    )
    def test_is_told_apart(self, exc, expected):
        assert is_out_of_memory(exc) is expected
