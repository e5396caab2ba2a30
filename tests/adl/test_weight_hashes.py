"""Hashes of whole files: no two checkpoints have one, and no file that changed keeps its own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest
from safetensors.torch import load_file, save_file

from adl.errors import PairError, Stopped
from adl.pair import weight_hashes
from adl.pair.weight_hashes import FileHashes, content_sha256, known_content
from tests.tiny_models import tiny_model, write_model


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    # More than a few MiB, so that there is a middle far from both ends.
    model = tiny_model("llama", vocabulary=12_000, width=64)
    return write_model(tmp_path_factory.mktemp("hashes") / "base", model)


@pytest.fixture
def copied(base, tmp_path):
    return shutil.copytree(base, tmp_path / "copy")


@pytest.fixture
def settled(monkeypatch):
    """Files count as settled at once."""
    monkeypatch.setattr(weight_hashes, "SETTLED_SECONDS", 0.0)


def hash_of(checkpoint, **more):
    return content_sha256(checkpoint, FileHashes(**more))


def test_one_value_in_the_middle_of_the_weights(base, copied):
    assert hash_of(copied) == hash_of(base)
    path = copied / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert hash_of(copied) != hash_of(base)


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_files_beside_the_weights(base, copied, file):
    settings = json.loads((copied / file).read_text())
    (copied / file).write_text(json.dumps(settings | {"rms_norm_eps": 0.5}))
    assert hash_of(copied) != hash_of(base)


def test_a_tokenizer_and_an_optimizer_beside_them_do_not_count(base, copied):
    (copied / "tokenizer_config.json").write_text("{}")
    (copied / "optimizer.pt").write_bytes(b"0")
    (copied / "consolidated.safetensors").write_bytes(b"0")
    assert hash_of(copied) == hash_of(base)


def test_a_shard_in_a_folder_below(copied):
    tensors = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    (copied / "part").mkdir()
    save_file(tensors, copied / "part" / "model-00001-of-00001.safetensors")
    index = {"weight_map": dict.fromkeys(tensors, "part/model-00001-of-00001.safetensors")}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    before = hash_of(copied)
    tensors["model.norm.weight"] += 1
    save_file(tensors, copied / "part" / "model-00001-of-00001.safetensors")
    assert hash_of(copied) != before


def test_code_of_the_checkpoint_and_from_elsewhere(copied, tmp_path):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "m.M"}}))
    (copied / "m").mkdir()
    hashes = []
    for text in ("a = 1", "a = 2"):
        (copied / "m" / "inner.py").write_text(text)
        hashes.append(hash_of(copied))
    assert hashes[0] != hashes[1]
    elsewhere = tmp_path / "other.py"
    elsewhere.write_text("b = 1")
    assert content_sha256(copied, FileHashes(), [elsewhere]) != hashes[1]


def test_links_into_a_cache_of_blobs(base, tmp_path):
    linked = tmp_path / "snapshot"
    linked.mkdir()
    for path in base.iterdir():
        (linked / path.name).symlink_to(path)
    assert hash_of(linked) == hash_of(base)


def test_a_file_is_read_once(copied, tmp_path, settled):
    kept, heard = tmp_path / "hashes", []
    first = hash_of(copied, folder=kept, progress=lambda done, total: heard.append((done, total)))
    assert heard[-1][0] == heard[-1][1] > (copied / "model.safetensors").stat().st_size
    heard.clear()
    again = hash_of(copied, folder=kept, progress=lambda done, total: heard.append((done, total)))
    assert (again, heard) == (first, [])


def test_a_file_replaced_with_its_size_and_time_kept(copied, tmp_path, settled):
    kept = tmp_path / "hashes"
    path = copied / "model.safetensors"
    before, stat = hash_of(copied, folder=kept), path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    # Both ways to change a file and leave no trace in its size and time of writing.
    for replace in (True, False):
        data[len(data) // 2 + 8] ^= 1
        target = tmp_path / "new" if replace else path
        target.write_bytes(data)
        if replace:
            target.replace(path)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
        now = hash_of(copied, folder=kept)
        assert now == hash_of(copied) != before
        before = now


def test_a_file_written_just_now_is_not_kept(copied, tmp_path):
    kept = tmp_path / "hashes"
    hash_of(copied, folder=kept)
    assert not kept.exists()


def test_a_damaged_memory_is_read_as_none(copied, tmp_path, settled):
    kept = tmp_path / "hashes"
    expected = hash_of(copied, folder=kept)
    for path in [path for path in kept.rglob("*") if path.is_file()]:
        path.write_bytes(b"\xff")
    assert hash_of(copied, folder=kept) == expected


def test_the_hash_of_a_file_is_that_of_its_content(base):
    path = base / "model.safetensors"
    assert FileHashes().of([path]) == {path: hashlib.sha256(path.read_bytes()).hexdigest()}


def test_hashing_can_be_stopped(base):
    with pytest.raises(Stopped):
        hash_of(base, should_stop=lambda: True)


def test_a_file_that_grows_while_it_is_read(copied):
    path = copied / "model.safetensors"

    def grow(done, total):
        if done == total:
            with path.open("ab") as file:
                file.write(b"0")

    with pytest.raises(PairError, match="changed while it was read"):
        FileHashes(progress=grow).of([path])


def test_a_file_that_cannot_be_read_is_named(base, monkeypatch):
    def refuse(path, *args, **options):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(weight_hashes.Path, "open", refuse)
    with pytest.raises(PairError, match=r"config.json cannot be read: Permission denied"):
        content_sha256(base, FileHashes())


def test_a_folder_has_its_content_without_a_load(copied, tmp_path):
    hashes = FileHashes(tmp_path / "hashes")
    assert known_content(str(copied), hashes) == content_sha256(copied, hashes)
    for unknown in ("owner/model", str(tmp_path / "nowhere"), str(tmp_path / "model.gguf")):
        assert known_content(unknown, hashes) is None
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "model.gguf").write_bytes(b"GGUF")
    assert known_content(str(empty), hashes) is None
    (copied / "config.json").write_text('{"auto_map": {"AutoModel": "other--code.Model"}}')
    assert known_content(str(copied), hashes) is None
