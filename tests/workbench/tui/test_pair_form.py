"""What the form says of a pair before anything is loaded."""

from __future__ import annotations

import pytest

from workbench.operations.pair import PairArguments
from workbench.tui.pair_form import ON, as_fields, check_pair


def problems(**fields: str) -> dict[str, str]:
    checked = check_pair(as_fields(PairArguments()) | fields)
    assert (checked.arguments is None) == bool(checked.problems)
    return dict(checked.problems)


def test_what_is_typed_becomes_arguments():
    fields = as_fields(PairArguments()) | {
        "base": " acme/base@v1 ",
        "adapter": "acme/adapter",
        "dtype": "bfloat16",
        "device_map": "auto",
        "offload_folder": " /scratch ",
        "attn_implementation": "sdpa",
        "trust_remote_code": ON,
    }
    assert check_pair(fields).arguments == PairArguments(
        base="acme/base@v1",
        adapter="acme/adapter",
        dtype="bfloat16",
        device_map="auto",
        offload_folder="/scratch",
        attn_implementation="sdpa",
        trust_remote_code=True,
    )


def test_a_pair_comes_back_from_the_form_as_it_went_in():
    pair = PairArguments(base="a/b", finetuned="c/d@main", device_map="cpu", dtype="float16")
    assert check_pair(as_fields(pair)).arguments == pair
    moved = PairArguments(base="a/b", finetuned="c/d", adapter="e/f")
    assert check_pair(as_fields(moved)).arguments == moved


@pytest.mark.parametrize(
    ("fields", "at", "said"),
    [
        ({}, "base", "name the base model"),
        ({}, "adapter", "or a finetuned checkpoint"),
        ({"base": "a/b", "adapter": "c/d", "finetuned": "no id"}, "finetuned", "neither a folder"),
        ({"base": "a/b", "finetuned": "a/b"}, "finetuned", "no difference"),
        ({"base": "/nowhere/model", "adapter": "c/d"}, "base", "no such folder"),
        ({"base": "~nobody-here/model", "adapter": "c/d"}, "base", "no such folder"),
        ({"base": "one/two/three", "adapter": "c/d"}, "base", "no such folder"),
        ({"base": "./nowhere.gguf", "adapter": "c/d"}, "base", "no such file"),
        ({"base": "one/two/three.gguf/four", "adapter": "c/d"}, "base", "no such folder"),
        ({"base": "one/t wo/three.gguf", "adapter": "c/d"}, "base", "neither a folder"),
        ({"base": "one/two/three.gguf@", "adapter": "c/d"}, "base", "the revision after @"),
        ({"base": "a/b", "adapter": "one/two/three.gguf"}, "adapter", "no such file"),
        ({"base": "a/b", "adapter": "not an id"}, "adapter", "neither a folder nor an id"),
        ({"base": "акме/модель", "adapter": "c/d"}, "base", "neither a folder nor an id"),
        ({"base": "a/b", "adapter": "\x1b[2J"}, "adapter", "neither a folder nor an id"),
        ({"base": "a\0b", "adapter": "c/d"}, "base", "neither a folder nor an id"),
        ({"base": "x" * 5000, "adapter": "c/d@"}, "adapter", "the revision after @ is empty"),
        ({"base": "a/b", "adapter": "c/d", "dtype": "float8"}, "dtype", "float32"),
    ],
)
def test_what_is_wrong_is_said_of_its_field(fields, at, said):
    assert said in problems(**fields)[at]


def test_folders_are_looked_into(tmp_path):
    adapter, model, empty = (tmp_path / name for name in ("adapter", "model", "empty"))
    for folder in (adapter, model, empty):
        folder.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (model / "config.json").write_text("{}")
    file = model / "config.json"
    assert problems(base=str(model), adapter=str(adapter)) == {}
    assert problems(base=str(model), finetuned=str(model) + "/") == {}
    assert "holds an adapter" in problems(base=str(adapter), adapter="a/b")["base"]
    assert "whole checkpoint" in problems(base="a/b", adapter=str(model))["adapter"]
    assert "no config.json" in problems(base=str(empty), adapter="a/b")["base"]
    assert "no adapter_config.json" in problems(base="a/b", adapter=str(empty))["adapter"]
    assert "is a file" in problems(base=str(file), adapter="a/b")["base"]
    assert "no revisions" in problems(base=f"{model}@v2", adapter="a/b")["base"]


def test_gguf_files_are_checkpoints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    several = tmp_path / "several"
    several.mkdir()
    for file in (tmp_path / "model.gguf", several / "a.gguf"):
        file.write_bytes(b"GGUF")
    assert problems(base="./model.gguf", finetuned="owner/name/MODEL-Q4.gguf@v1") == {}
    assert problems(base="owner/name/folder/MODEL.gguf", finetuned="model.gguf") == {}
    assert problems(base=str(several), adapter="a/b") == {}
    (several / "b.gguf").write_bytes(b"GGUF")
    assert "a.gguf, b.gguf" in problems(base=str(several), adapter="a/b")["base"]
    assert "is a file" in problems(base="a/b", adapter="./model.gguf")["adapter"]
    assert "no revisions" in problems(base="./model.gguf@v2", adapter="a/b")["base"]


def test_an_adapter_may_be_given_as_finetuned(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    assert problems(base="a/b", finetuned=str(tmp_path)) == {}
    said = problems(base="a/b", finetuned=str(tmp_path), adapter="c/d")
    assert "holds an adapter" in said["finetuned"]


def test_quantisation_says_what_it_needs(monkeypatch):
    monkeypatch.setattr("workbench.tui.pair_form.find_spec", lambda _name: None)
    said = problems(base="a/b", adapter="c/d", quantisation="8bit")
    assert ".[quantised]" in said["quantisation"]
