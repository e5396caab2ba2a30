"""Downloads over HTTP from a hub on loopback: what is loaded is fetched, and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fake_hub import COMMIT, FakeHub, serving

SCRIPT = """
import json, sys
from adl.errors import AdlError, Stopped
from adl.pair.hub_download import download, watched
answers = []
for repository, revision, what in json.loads(sys.argv[1]):
    told = []
    def stop():
        return "stop" in repository and bool(told)
    try:
        with watched(lambda done, total: told.append((done, total)), stop):
            found = download("base", repository, revision, what=what)
        answers.append({**found._asdict(), "folder": str(found.path), "told": told[-1:]})
    except AdlError as exc:
        answers.append({"error": type(exc).__name__, "message": exc.message, "hint": exc.hint})
print(json.dumps(answers, default=str))
"""
TEXT = {
    "config.json": b'{"model_type": "llama"}',
    "generation_config.json": b"{}",
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
    "chat_template.jinja": b"x",
    "vocab.txt": b"x",
    "tokenizer.model": b"x",
    "additional_chat_templates/tool_use.jinja": b"x",
    "modeling_own.py": b"x",
}
INDEX = json.dumps(
    {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "odd.safetensors"}}
)
SAFETENSORS = {
    "model.safetensors.index.json": INDEX.encode(),
    "model-00001-of-00002.safetensors": b"1" * 7000,
    "odd.safetensors": b"2" * 7000,
}
# Small, and known by its name no better than a vocabulary is.
SPARE = {"pytorch_model.bin.index.json": b"{}"}
# What a repository holds besides, by its kind (huggingface_hub issue 2597 and others).
BESIDES = {
    "pytorch_model-00001-of-00002.bin": b"3" * 7000,
    "original/consolidated.00.pth": b"4" * 14000,
    "original/model.safetensors": b"5" * 13000,
    "original/params.json": b"{}",
    "original/tokenizer.model": b"x",
    "metal/model.bin": b"6" * 14000,
    "consolidated.safetensors": b"7" * 14000,
    "consolidated.00.pth": b"8" * 14000,
    "model-q4.gguf": b"9" * 4000,
    "model.fp16.safetensors": b"0" * 7000,
    "flax_model.msgpack": b"a" * 14000,
    "tf_model.h5": b"b" * 14000,
    "rust_model.ot": b"b" * 14000,
    "model.onnx": b"c" * 14000,
    "onnx/model.onnx_data": b"d" * 14000,
    "openvino/openvino_model.bin": b"d" * 14000,
    "coreml/model.mlpackage/weight.bin": b"d" * 14000,
    "checkpoint-500/optimizer.pt": b"e" * 28000,
    "checkpoint-500/model.safetensors": b"e" * 28000,
    "checkpoint-500/config.json": b"{}",
    "training_args.bin": b"f",
    "optimizer.pt": b"f" * 14000,
    "README.md": b"g",
    "figure.png": b"h" * 9000,
    "adapter_model.safetensors": b"i" * 100,
}


def ask(hub: FakeHub, home: Path, *questions, offline: bool = False) -> list[dict]:
    """Download in a process of its own, whose hub is the one on loopback."""
    environment = os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_XET": "1",
    }
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(questions)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    answers: list[dict] = json.loads(found.stdout)
    return answers


@pytest.mark.slow
def test_of_a_full_repository_what_is_loaded_is_fetched(tmp_path):
    files = {**TEXT, **SAFETENSORS, **SPARE, **BESIDES}
    with serving(FakeHub({"org/model": files})) as hub:
        (answer,) = ask(hub, tmp_path, ["org/model", None, "model"])
        assert answer["commit"] == COMMIT
        assert set(hub.fetched) == {*TEXT, *SAFETENSORS, *SPARE}
        assert len(hub.fetched) == len(set(hub.fetched))
        folder = Path(answer["folder"])
        for name in (*TEXT, *SAFETENSORS):
            assert (folder / name).read_bytes() == files[name]
        # Once more: from the cache.
        hub.fetched.clear()
        ask(hub, tmp_path, ["org/model", COMMIT, "model"])
        assert hub.fetched == []
    (answer,) = ask(hub, tmp_path, ["org/model", None, "model"], offline=True)
    assert answer["folder"] == str(folder)
    # And where the hub has gone away.
    (answer,) = ask(hub, tmp_path, ["org/model", None, "model"])
    assert answer["folder"] == str(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "fetched"),
    [
        (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (["pytorch_model.bin", "model-q4.gguf"], ["pytorch_model.bin"]),
        (["model.fp16.safetensors", "consolidated.safetensors"], ["model.fp16.safetensors"]),
        (["model-q4.gguf", "mmproj-f16.gguf", "consolidated.00.pth"], ["model-q4.gguf"]),
    ],
)
def test_the_form_of_the_weights_that_is_taken(tmp_path, weights, fetched):
    files = TEXT | dict.fromkeys(weights, b"1" * 500)
    with serving(FakeHub({"org/model": files})) as hub:
        ask(hub, tmp_path, ["org/model", None, "model"])
        assert set(hub.fetched) == {*TEXT, *fetched}


@pytest.mark.slow
def test_an_adapter_is_fetched_without_the_model_beside_it(tmp_path):
    adapter = {
        "adapter_config.json": b"{}",
        "adapter_model.safetensors": b"1" * 300,
    }
    files = {**TEXT, **SAFETENSORS, **BESIDES, **adapter, "adapter_model.bin": b"2" * 300}
    with serving(FakeHub({"org/adapter": files})) as hub:
        ask(hub, tmp_path, ["org/adapter", None, "adapter"])
        assert set(hub.fetched) == {*TEXT, *adapter, "model.safetensors.index.json"}


@pytest.mark.slow
def test_weights_beside_an_adapter_are_left_and_named(tmp_path):
    files = {
        "adapter_config.json": b"{}",
        "adapter_model.safetensors": b"1",
        "trainable_params.bin": b"2",
    }
    with serving(FakeHub({"org/adapter": files})) as hub:
        (answer,) = ask(hub, tmp_path, ["org/adapter", None, "adapter"])
    assert answer["left"] == ["trainable_params.bin"]


@pytest.mark.slow
def test_an_adapter_asked_for_as_a_model_is_fetched_as_what_it_is(tmp_path):
    files = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"1"}
    with serving(FakeHub({"org/adapter": files})) as hub:
        ask(hub, tmp_path, ["org/adapter", None, "model"])
        assert set(hub.fetched) == set(files)


@pytest.mark.slow
def test_one_gguf_file_of_several(tmp_path):
    files = {"a-q4.gguf": b"1", "below/a-q8.gguf": b"22", "config.json": b"{}"}
    with serving(FakeHub({"org/model": files})) as hub:
        top, below = ask(
            hub,
            tmp_path,
            ["org/model/a-q4.gguf", None, "model"],
            ["org/model/below/a-q8.gguf", "main", "model"],
        )
        assert hub.fetched == ["a-q4.gguf", "below/a-q8.gguf"]
    assert (top["commit"], below["commit"]) == (COMMIT, COMMIT)
    assert Path(below["folder"]).read_bytes() == b"22"


def test_data_beside_a_model_is_left(tmp_path):
    from adl.pair.hub_download import LARGEST_BESIDE, needed_files

    sizes = {
        "config.json": 1,
        "train.json": LARGEST_BESIDE + 1,
        "model.safetensors": 10**12,
        "a [1].json": 3,
    }
    found = needed_files("base", sizes, "model", Path)
    # A service that runs the model needs no weights here.
    beside = needed_files("base", sizes, "model", Path, weights=False)
    assert not [file for file in beside if "safetensors" in file and not file.endswith(".json")]
    assert set(beside) < set(found)
    assert sorted(found) == ["a [1].json", "config.json", "model.safetensors"]


@pytest.mark.slow
def test_what_cannot_be_had_is_refused(tmp_path):
    repositories = {
        "org/ggufs": {"q4.gguf": b"1", "q8.gguf": b"1"},
        "org/empty": {"README.md": b"1"},
        "org/flax": TEXT | {"flax_model.msgpack": b"1"},
        "org/gated": TEXT,
    }
    with serving(FakeHub(repositories, gated=frozenset({"org/gated"}))) as hub:
        answers = ask(
            hub,
            tmp_path,
            ["org/ggufs", None, "model"],
            ["org/empty", None, "model"],
            ["org/flax", None, "model"],
            ["org/gated", None, "model"],
            ["org/nobody", None, "model"],
            ["org/flax", "v2", "model"],
        )
        assert [name for name in hub.fetched if "README" not in name] == []
    told = [(answer["message"], answer["hint"]) for answer in answers]
    for (message, hint), (in_message, in_way_out) in zip(
        told,
        [
            ("several GGUF files: q4.gguf, q8.gguf", "'q4.gguf' after the id"),
            ("has no config.json", "id"),
            ("no weights; it holds flax_model.msgpack", "model.safetensors"),
            ("is gated", "HF_TOKEN"),
            ("is not on the hub", "id"),
            ("at revision 'v2': no such revision", "commit"),
        ],
        strict=True,
    ):
        assert in_message in message
        assert in_way_out in hint
    assert {answer["error"] for answer in answers} == {"PairError"}


@pytest.mark.slow
def test_a_download_tells_of_its_bytes_and_stops(tmp_path):
    weights = {"model.safetensors": b"1" * 50_000_000}
    files = TEXT | weights
    with serving(FakeHub({"org/model": files, "org/stop": files})) as hub:
        done, stopped = ask(
            hub, tmp_path, ["org/model", None, "model"], ["org/stop", None, "model"]
        )
    total = sum(map(len, files.values()))
    assert done["told"] == [[total, total]]
    assert stopped["error"] == "Stopped"


@pytest.mark.slow
def test_a_hub_that_refuses_is_told_from_one_that_is_not_there(tmp_path):
    with serving(FakeHub({"org/busy": TEXT}, busy=frozenset({"org/busy"}))) as hub:
        (answer,) = ask(hub, tmp_path, ["org/busy", None, "model"])
    assert answer["error"] == "HubUnreachable"
    assert "not in the local cache and the hub answers HTTP 429" in answer["message"]


@pytest.mark.slow
def test_what_the_cache_has_is_noted_where_the_hub_refuses(tmp_path):
    files = {**TEXT, "model.safetensors": b"1" * 300, "a.gguf": b"2" * 300}
    asked = [["org/model", None, "model"], ["org/model/a.gguf", None, "model"]]
    with serving(FakeHub({"org/model": files})) as hub:
        (refused, _) = ask(hub, tmp_path / "none", ["org/model/b.gguf", None, "model"], asked[0])
        assert "error" in refused
        fresh = ask(hub, tmp_path, *asked)
        assert [answer["notes"] for answer in fresh] == [[], []]
    busy = FakeHub({"org/model": files}, busy=frozenset({"org/model"}))
    with serving(busy) as hub:
        cached = ask(hub, tmp_path, *asked, ["org/model", COMMIT, "model"])
        (absent,) = ask(hub, tmp_path / "empty", asked[1])
        offline = ask(hub, tmp_path, *asked, offline=True)
    assert [answer["folder"] for answer in cached[:2]] == [answer["folder"] for answer in fresh]
    for answer in cached[:2]:
        (note,) = answer["notes"]
        assert f"commit {COMMIT[:12]}" in note
        assert "HTTP 429" in note
    # What was asked for by its commit is no other, and whoever works offline knows it.
    assert cached[2]["notes"] == []
    assert [answer["notes"] for answer in offline] == [[], []]
    assert "the hub answers HTTP 429" in absent["message"]
