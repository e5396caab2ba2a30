"""NDIF over HTTP: a server on loopback that runs the blocks it is sent, and every way in which it fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adl.callbacks import stopped_by
from adl.errors import AdlError, DeviceOutOfMemory, NdifError, NotAvailable, PairError, Stopped
from adl.pair.nnsight.ndif import PUBLIC, Ndif
from adl.pair.nnsight.pair import NnsightPair
from adl.pair.nnsight.remote_pair import RemotePair
from adl.records import GenerationPlan, GenerationRequest, PairSpec, SideSpec, WeightChange
from adl.text.token_batches import left_padded
from tests.remote_service import KEY, FakeNdif, huggingface, serving
from tests.tiny_models import SENTENCES, WIDTH, TinyFolders, write_family

CLOSE = {"rtol": 1e-3, "atol": 1e-4}


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> TinyFolders:
    return write_family(tmp_path_factory.mktemp("ndif"), "llama")


@pytest.fixture(scope="module")
def spec(family: TinyFolders) -> PairSpec:
    return PairSpec(SideSpec(str(family.base)), SideSpec(str(family.finetuned)), remote="ndif")


@pytest.fixture(autouse=True)
def ids_of_folders(monkeypatch: pytest.MonkeyPatch, family: TinyFolders) -> None:
    """The hub's spelling of an id, which nnsight asks it for: folders are spelled as they are."""
    for folder in (family.base, family.finetuned):
        monkeypatch.setitem(huggingface._ID_CACHE, str(folder), str(folder))


def ndif(server: FakeNdif, **more: Any) -> Ndif:
    return Ndif(**{"host": server.url, "key": KEY, "pause": 0.0, "hub_only": False} | more)


def load(spec: PairSpec, server: FakeNdif, **more: Any) -> RemotePair:
    return RemotePair.load(spec, service=ndif(server, **more))


def failing(spec: PairSpec, server: FakeNdif, **more: Any) -> AdlError:
    """Return the error of loading, which never holds the key."""
    with serving(server), pytest.raises(AdlError) as caught:
        load(spec, server, **more)
    shown = [str(caught.value), repr(caught.value), str(caught.value.__cause__)]
    assert not any(KEY in text for text in shown)
    return caught.value


@pytest.fixture(scope="module")
def loaded(spec: PairSpec, family: TinyFolders) -> Any:
    for folder in (family.base, family.finetuned):
        huggingface._ID_CACHE[str(folder)] = str(folder)
    with serving(FakeNdif(hosted=(family.base, family.finetuned))) as server:
        return load(spec, server), NnsightPair.load(replace(spec, remote=None)), server


@pytest.fixture
def pairs(loaded: Any) -> Any:
    """The pair over HTTP, the pair loaded here, and the server."""
    with serving(loaded[2]):
        yield loaded


@pytest.mark.slow
def test_a_pair_over_http_has_the_numbers_of_one_here(pairs):
    there, here, server = pairs
    assert set(server.keys) == {KEY}
    assert not [check for check in there.provenance.checks if check.outcome == "failed"]
    ids = here.tokenise("base", SENTENCES[0])[:9]
    vectors = np.random.default_rng(0).standard_normal((3, WIDTH)).astype(np.float32)
    batch = left_padded([ids, ids[:5]], (-2, -1))
    for asked in (
        lambda pair: pair.residual_sums(batch, batch, (1, 2), np.array([0, 1])).finetuned,
        lambda pair: pair.unembed("finetuned", vectors),
        lambda pair: pair.patched_log_probs("base", ids, 2, vectors),
        lambda pair: pair.steering_shift("finetuned", batch, 2, vectors).shift,
        lambda pair: pair.output_shift(batch, batch).shift,
    ):
        np.testing.assert_allclose(asked(there), asked(here), **CLOSE)
    for temperature in (0.0, 0.8):
        plan = GenerationPlan("finetuned", 2, temperature, 6, scored=True)
        requests = [
            GenerationRequest(tuple(ids), seed=1, added=vectors[0]),
            GenerationRequest(tuple(ids[:5]), seed=2),
        ]
        found, truth = there.generate(plan, requests), here.generate(plan, requests)
        assert [text.token_ids for text in found] == [text.token_ids for text in truth]
        plain = [replace(request, added=None) for request in requests]
        found, truth = there.generate(plan, plain), here.generate(plan, plain)
        assert [text.token_ids for text in found] == [text.token_ids for text in truth]


def test_sums_come_back_and_no_rows_of_the_vocabulary(pairs):
    there, _, server = pairs
    ids = there.tokenise("base", SENTENCES[0])[:9]
    vector = np.ones((1, WIDTH), dtype=np.float32)
    sizes = []
    for rows in (1, 8):
        batch = left_padded([ids] * rows, range(-5, 0))
        there.steering_shift("base", batch, 2, vector)
        sizes.append(server.sent[-1])
    # Eight times the contexts: not even twice the bytes.
    assert sizes[1] < 2 * sizes[0]


def test_a_penalty_of_the_hosted_checkpoint_changes_no_text(pairs, family):
    there, here, server = pairs
    config = server.model(str(family.finetuned))._module.generation_config
    config.repetition_penalty, config.top_k, config.suppress_tokens = 1.9, 1, list(range(20, 200))
    try:
        plan = GenerationPlan("finetuned", None, 0.0, 12)
        request = GenerationRequest(tuple(here.tokenise("base", SENTENCES[1])[:8]), seed=0)
        (found,), (truth,) = there.generate(plan, [request]), here.generate(plan, [request])
    finally:
        config.repetition_penalty, config.top_k, config.suppress_tokens = 1.0, 50, None
    assert found.token_ids == truth.token_ids


@pytest.mark.parametrize(
    "change",
    [WeightChange("adapter", 2.0), WeightChange("rank1", 1.0)],
    ids=lambda change: change.carrier,
)
def test_weights_cannot_be_changed_there(pairs, change):
    there, _, server = pairs
    asked = len(server.received)
    request = GenerationRequest((1, 2, 3), seed=0)
    contrasted = replace(request, contrast=1.0, contrast_ids=(1, 2))
    with pytest.raises(
        NotAvailable, match=f"{change.carrier}: not available at NDIF.*carrier diff"
    ):
        there.update_facts(change)
    with pytest.raises(NotAvailable, match=f"{change.carrier}: not available at NDIF"):
        there.generate(GenerationPlan("finetuned", None, 0.0, 2, weights=change), [request])
    with pytest.raises(NotAvailable, match=r"amplified logits: .* Use --carrier difference"):
        there.generate(GenerationPlan("base", None, 0.0, 2), [contrasted])
    assert len(server.received) == asked


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (401, r"refuses the key \(HTTP 401\)\. Set NDIF_API_KEY"),
        (403, r"refuses the key \(HTTP 403\)"),
        (429, r"too many requests of yours: .*Try again later"),
        (404, r"answers HTTP 404: refused \[key\]"),
        (500, r"answers HTTP 500: refused \[key\]\. Try again later"),
        (503, r"answers HTTP 503"),
    ],
)
def test_a_refusing_service(spec, family, answer, words):
    error = failing(spec, FakeNdif(hosted=(family.base, family.finetuned), answer=answer))
    assert isinstance(error, NdifError)
    with pytest.raises(NdifError, match=words):
        raise error


def test_no_key_where_one_is_asked_for(spec, family):
    error = failing(spec, FakeNdif(answer=401), key="")
    assert "asks for a key, and none is set" in str(error)
    assert "NDIF_API_KEY" in error.hint


def test_the_public_service_is_not_asked_without_a_key(spec):
    with pytest.raises(NdifError, match="asks for a key, and none is set"):
        RemotePair.load(spec, service=Ndif(host=PUBLIC, key="", hub_only=False))


@pytest.mark.parametrize("key", ["a b", "a\nb", "k\u00e9y"])
def test_a_key_that_is_none(spec, key):
    with pytest.raises(NdifError, match="a character that no key has") as caught:
        RemotePair.load(spec, service=Ndif(host=PUBLIC, key=key, hub_only=False))
    assert key not in str(caught.value)


@pytest.mark.parametrize("host", ["api.ndif.us", "ftp://me:secret@ndif", ""])
def test_an_address_that_is_none(spec, host):
    with pytest.raises(NdifError, match="is no address of NDIF.*NDIF_HOST") as caught:
        RemotePair.load(spec, service=Ndif(host=host, key=KEY, hub_only=False))
    assert "secret" not in str(caught.value)


def test_an_unreachable_service(spec):
    with serving(FakeNdif()) as gone:
        pass
    with pytest.raises(NdifError, match="does not answer: .*Check the network, and NDIF_HOST"):
        load(spec, gone)


def test_a_server_that_is_no_ndif(spec, family, monkeypatch):
    server = FakeNdif(hosted=(family.base,))
    monkeypatch.setattr(server, "take", lambda *_: {"hello": "world"})
    error = failing(spec, server)
    assert "answers with something that nnsight" in str(error)


def test_a_result_with_code_in_it_is_not_run(spec, family, monkeypatch, tmp_path):
    import io

    import torch
    import zstandard

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    packed = io.BytesIO()
    torch.save({"found": Evil()}, packed)
    server = FakeNdif(hosted=(family.base, family.finetuned))
    content = zstandard.ZstdCompressor().compress(packed.getvalue())
    monkeypatch.setattr(server, "run", lambda *_: content)
    assert "answers with something that nnsight" in str(failing(spec, server))
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_a_model_that_is_not_hosted(spec, family):
    error = failing(spec, FakeNdif(hosted=(family.base,)))
    assert f"does not host {str(family.finetuned)!r}: no such deployment" in str(error)
    assert "nnsight.status()" in error.hint


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("Traceback (most recent call last):\n  x\nKeyError: 'h'", NdifError, "KeyError: 'h'"),
        ("CUDA out of memory. Tried to allocate 2 GiB", DeviceOutOfMemory, "smaller batch"),
        (f"bad key {KEY}", NdifError, r"\[key\]"),
    ],
)
def test_a_job_that_fails(spec, family, text, kind, words):
    hosted = (family.base, family.finetuned)
    error = failing(spec, FakeNdif(hosted=hosted, fails=text))
    assert type(error) is kind
    assert words.replace("\\", "") in str(error)
    assert repr(str(family.base)) in str(error)


def test_a_job_that_does_not_end(spec, family):
    error = failing(spec, FakeNdif(endless=True), patience=0.3)
    assert "has not finished job" in str(error)
    assert isinstance(error, NdifError)


def test_a_stop_while_waiting(spec):
    server = FakeNdif(endless=True)
    with (
        serving(server),
        stopped_by(server.asked.is_set),
        pytest.raises(Stopped, match="while waiting for NDIF; job job-1 may go on there"),
    ):
        load(spec, server)


def test_a_stop_while_a_text_is_waited_for(pairs):
    there, _, server = pairs
    server.endless = True
    server.asked.clear()
    try:
        plan, request = GenerationPlan("base", None, 0.0, 3), GenerationRequest((1, 2), seed=0)
        (text,) = there.generate(plan, [request], should_stop=server.asked.is_set)
    finally:
        server.endless = False
    assert (text.token_ids, text.ended) == ((), "stopped")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("dtype", "bfloat16"),
        ("device_map", "auto"),
        ("offload_folder", "x"),
        ("quantisation", "8bit"),
        ("attn_implementation", "eager"),
    ],
)
def test_what_the_service_decides_is_no_option(spec, option, value):
    with pytest.raises(PairError, match=f"--{option.replace('_', '-')} is decided") as caught:
        RemotePair.load(replace(spec, **{option: value}), service=Ndif(key=KEY))
    assert caught.value.concerns == option


def test_folders_and_revisions_of_adapters_are_not_hosted(spec, family):
    with pytest.raises(PairError, match="is a folder of this machine, which ndif does not have"):
        RemotePair.load(spec, service=Ndif(key=KEY))
    adapted = SideSpec("org/base", adapter=str(family.adapter))
    with pytest.raises(PairError, match="is a folder of this machine") as caught:
        RemotePair.load(
            replace(spec, base=SideSpec("org/base"), finetuned=adapted), service=Ndif(key=KEY)
        )
    assert caught.value.concerns == "adapter"
    adapted = SideSpec("org/base", adapter="org/adapter", adapter_revision="v2")
    with pytest.raises(PairError, match="not at revision 'v2'"):
        RemotePair.load(
            replace(spec, base=SideSpec("org/base"), finetuned=adapted), service=Ndif(key=KEY)
        )


def test_the_key_is_in_no_description_of_the_service():
    assert KEY not in repr(Ndif(key=KEY))
