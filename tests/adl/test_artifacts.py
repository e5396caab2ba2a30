"""A cache that returns what was put in, or nothing."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from adl.artifacts import ArrayCache, key_of

KEY = key_of({"layer": 3})
ARRAYS = {
    "difference": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
    "counts": np.array([1, 2**40]),
    "turned": np.arange(6, dtype=np.float64).reshape(2, 3).T,
    "none": np.zeros((0, 4), dtype=np.float32),
    "one": np.array(2.5, dtype=np.float32),
}
FACTS = {"n_texts": 3, "positions": ["0", "1"], "corpus": "é\n", "nested": {"a": None}}


@pytest.fixture
def cache(tmp_path):
    return ArrayCache(tmp_path / "arrays")


def only_file(tmp_path):
    (file,) = (path for path in (tmp_path / "arrays").rglob("*") if path.is_file())
    return file


def test_round_trip(cache, tmp_path):
    assert cache.get(KEY) is None
    assert cache.put(KEY, ARRAYS, FACTS)
    arrays, facts = cache.get(KEY)
    assert facts == FACTS
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    assert only_file(tmp_path).name == f"{KEY}.safetensors"


def test_putting_again_replaces(cache, tmp_path):
    cache.put(KEY, ARRAYS, FACTS)
    cache.put(KEY, {"a": np.ones(2)}, {})
    arrays, facts = cache.get(KEY)
    assert (list(arrays), facts) == (["a"], {})
    assert only_file(tmp_path)


def test_another_process_finds_it(cache, tmp_path):
    cache.put(KEY, ARRAYS, FACTS)
    assert ArrayCache(tmp_path / "arrays").get(KEY) is not None
    assert cache.get(key_of({"layer": 4})) is None


def test_no_changed_byte_goes_unnoticed(cache, tmp_path):
    cache.put(KEY, {"a": np.arange(3, dtype=np.float32)}, {"n": 1})
    file = only_file(tmp_path)
    whole = file.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        file.write_bytes(changed)
        found = cache.get(KEY)
        if found is not None:  # a byte of padding, or a name that nothing is read from
            np.testing.assert_array_equal(found[0]["a"], np.arange(3))
            assert found[1] == {"n": 1}


@pytest.mark.parametrize("size", [0, 1, 8, 50, -1])
def test_a_file_cut_short_is_none(cache, tmp_path, size):
    cache.put(KEY, ARRAYS, FACTS)
    file = only_file(tmp_path)
    file.write_bytes(file.read_bytes()[:size])
    assert cache.get(KEY) is None
    assert cache.put(KEY, ARRAYS, FACTS)
    assert cache.get(KEY) is not None


def test_someone_else_s_file_is_none(cache, tmp_path):
    from safetensors.numpy import save_file

    cache.put(KEY, ARRAYS, FACTS)
    save_file({"a": np.ones(3)}, only_file(tmp_path))
    assert cache.get(KEY) is None


def test_a_disk_that_refuses_is_no_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = ArrayCache(tmp_path / "file")
    assert cache.put(KEY, ARRAYS, FACTS) is False
    assert cache.get(KEY) is None


def test_a_write_that_fails_leaves_nothing(cache, tmp_path, monkeypatch):
    from pathlib import Path

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert cache.put(KEY, ARRAYS, FACTS) is False
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


class TestKeys:
    def test_order_does_not_matter(self):
        assert key_of({"a": 1, "b": [2, {"c": 3, "d": 4}]}) == key_of(
            {"b": [2, {"d": 4, "c": 3}], "a": 1}
        )

    @pytest.mark.parametrize(
        "other", [{"a": 2}, {"a": "1"}, {"a": 1.5}, {"b": 1}, {"a": 1, "b": None}, {}]
    )
    def test_every_input_matters(self, other):
        assert key_of(other) != key_of({"a": 1})

    def test_only_plain_data(self):
        with pytest.raises(TypeError):
            key_of({"a": np.ones(2)})


def test_keys_of_the_first_format_are_not_found_again():
    inputs = {"layer": 3}
    old = json.dumps({"format": "1", **inputs}, sort_keys=True, separators=(",", ":"))
    assert key_of(inputs) != hashlib.sha256(old.encode()).hexdigest()
