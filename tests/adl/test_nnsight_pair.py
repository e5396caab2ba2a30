"""The default pair, against the same computed with plain transformers, PEFT and PyTorch hooks."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import psutil
import pytest

from adl.difference import ChatPositions, measure_difference
from adl.organisms.registry import get_organism
from adl.pair.nnsight.pair import NnsightPair
from adl.pair.protocol import resolve_layer
from adl.records import (
    SIDES,
    GenerationPlan,
    GenerationRequest,
    PairSpec,
    SideSpec,
    Site,
    rescale,
)
from adl.text.corpus import CorpusSource, TokenBatch
from tests.adl.differences import check_difference
from tests.plain_torch import PlainModel
from tests.tiny_models import tiny_model, tiny_tokenizer, write_model

pytestmark = pytest.mark.slow
LAYERS = (14, 29)
K = 5
# Float32 through thirty layers, in batches of other shapes. Residuals grow to 1e4 at position 0.
CLOSE = {"rtol": 2e-3, "atol": 2e-3}
ERROR_CLOSE = {"rtol": 1e-2, "atol": 2e-3}


@pytest.fixture(scope="module")
def texts():
    return CorpusSource.parse().open().texts(seed=0, limit=6)


class PlainPair:
    """The default pair loaded by PEFT itself: the adapter is left out by its own context manager."""

    def __init__(self, base, adapter):
        self._finetuned = PlainModel(base, "model.layers", adapter)

    def at(self, side):
        return nullcontext() if side == "finetuned" else self._finetuned.model.disable_adapter()

    def __call__(self, side, method, *arguments):
        with self.at(side):
            return getattr(self._finetuned, method)(*arguments)

    @property
    def model(self):
        return self._finetuned


@pytest.fixture(scope="module")
def plain(default_base):
    return PlainPair(default_base, get_organism("cake_bake").adapter)


@pytest.fixture(scope="module")
def merged_pair(default_base, tmp_path_factory, real_pair):
    """The adapter merged into the weights and saved, as a finetuned checkpoint of its own."""
    folder = tmp_path_factory.mktemp("merged")
    peft_model = PlainModel(default_base, "model.layers", get_organism("cake_bake").adapter).model
    peft_model.merge_and_unload().save_pretrained(folder)
    for file in default_base.glob("*token*"):
        (folder / file.name).write_bytes(file.read_bytes())
    for file in default_base.glob("chat_template*"):
        (folder / file.name).write_bytes(file.read_bytes())
    return NnsightPair.load(
        PairSpec(SideSpec(str(default_base)), SideSpec(str(folder)), dtype="float32")
    )


@pytest.fixture(scope="module")
def truth(plain, real_pair, texts):
    """Difference and mean norms by ``hidden_states`` of one text after the other."""
    rows = [real_pair.tokenise("base", text)[:K] for text in texts]
    found = {}
    for side in SIDES:
        states = [plain(side, "run", ids).hidden_states for ids in rows]
        hooked = np.stack([plain(side, "residuals", ids)[-1] for ids in rows])
        # The last hidden state that transformers hands out stands after the final norm.
        middle = np.stack([state[LAYERS[0] + 1][0].numpy() for state in states])
        found[side] = np.stack([middle, hooked], axis=1)
    return found


def test_the_difference_of_an_adapter(real_pair, texts, truth):
    check_difference(
        measure_difference(real_pair, texts, LAYERS, batch_size=4), truth, CLOSE, ERROR_CLOSE
    )


def test_the_difference_of_a_merged_checkpoint(merged_pair, texts, truth):
    assert not merged_pair.provenance.shares_weights
    check_difference(
        measure_difference(merged_pair, texts, LAYERS, batch_size=4), truth, CLOSE, ERROR_CLOSE
    )


def test_the_difference_at_chat_positions(real_pair, plain, texts):
    found = measure_difference(real_pair, texts[:3], [14], reach=ChatPositions((-2, -1, 0)))
    assert found.positions == ("chat-2", "chat-1", "chat+0")
    columns = []
    for text in texts[:3]:
        chat = real_pair.chat("base", [{"role": "user", "content": text}], prefill=text)
        one = [plain(side, "residuals", chat.ids)[14] for side in SIDES]
        columns.append((one[1] - one[0])[chat.start - 2 : chat.start + 1])
    np.testing.assert_allclose(found.difference[0], np.mean(columns, axis=0), **CLOSE)


@pytest.mark.parametrize("side", SIDES)
def test_patchscope_is_a_hook_on_the_prompt(real_pair, plain, texts, side):
    difference = measure_difference(real_pair, texts, [14])
    unit = rescale(difference.vector(Site(14, "1-4")), difference.residual_norm(14))
    patches = np.stack([unit * scale for scale in (0.5, 1.0, 4.0)])
    ids = real_pair.tokenise(side, "man -> man\n1135 -> 1135\nhello -> hello\n?")
    found = real_pair.patched_log_probs(side, ids, 14, patches)
    for vector, row in zip(patches, found, strict=True):
        with plain.model.patching_last(14, vector):
            expected = plain(side, "log_probs", ids)[-1]
        np.testing.assert_allclose(row, expected, **CLOSE)


@pytest.mark.parametrize("side", SIDES)
def test_steering_shift_is_a_hook_that_adds(real_pair, plain, texts, side):
    rows = np.asarray([real_pair.tokenise(side, text)[:8] for text in texts[:2]])
    batch = TokenBatch(rows, np.ones_like(rows, dtype=bool), ("6", "7"), (6, 7))
    vector = rescale(np.random.default_rng(0).standard_normal(576), 20.0)
    found = real_pair.steering_shift(side, batch, 14, vector[None])
    expected = 0
    for ids in rows:
        before = plain(side, "log_probs", ids)[6:]
        with plain.model.adding(14, vector):
            expected = expected + (plain(side, "log_probs", ids)[6:] - before).sum(0)
    np.testing.assert_allclose(found.shift[0], expected, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("side", SIDES)
def test_steered_texts_are_those_of_transformers(real_pair, plain, side):
    chats = [
        real_pair.chat(side, [{"role": "user", "content": text}]).ids
        for text in ("Say hello.", "Name three rivers in Europe, and what is special about them.")
    ]
    vector = rescale(np.random.default_rng(1).standard_normal(576), 15.0)
    requests = [GenerationRequest(ids, 0, added) for ids in chats for added in (None, vector)]
    found = real_pair.generate(GenerationPlan(side, 14, 0.0, 6), requests)
    ends = sorted(real_pair._ends[side])
    for request, text in zip(requests, found, strict=True):
        hook = plain.model.adding(14, vector) if request.added is not None else nullcontext()
        with hook:
            n_tokens = len(real_pair.token_texts(side))
            expected = plain(side, "greedy", request.prompt_ids, 6, ends, n_tokens)
        assert list(text.token_ids) == expected


def test_unembedding_is_the_model_s_own_head(real_pair, plain):
    ids = real_pair.tokenise("base", "The captain counted the windows twice.")
    for side in SIDES:
        found = real_pair.unembed(side, plain(side, "residuals", ids)[-1])
        np.testing.assert_allclose(found, plain(side, "log_probs", ids), **CLOSE)


def test_one_copy_of_the_weights(real_pair, plain):
    one_model = sum(p.nbytes for p in plain.model.model.get_base_model().parameters())
    weights = real_pair.memory()["weights"]
    assert weights <= 1.15 * one_model


def test_an_adapter_pair_takes_the_memory_of_one_model(real_spec):
    """Of a whole process, in resident bytes: with the adapter and without."""
    code = (
        "import ctypes, gc, sys, psutil, torch\n"
        "from adl.pair.nnsight.pair import NnsightPair\n"
        "from adl.records import PairSpec, SideSpec\n"
        "from transformers import AutoModelForCausalLM\n"
        "base, adapter = sys.argv[1:]\n"
        "before = psutil.Process().memory_info().rss\n"
        "if adapter:\n"
        "    side = SideSpec(base, adapter=adapter)\n"
        "    kept = NnsightPair.load(PairSpec(SideSpec(base), side, dtype='float32'))\n"
        "else:\n"
        "    kept = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)\n"
        "    sum(p.sum().item() for p in kept.parameters())\n"
        # A pair has run a short text when it is loaded.
        "    kept(input_ids=torch.arange(8)[None])\n"
        # What is held, not what the allocator keeps of what was.
        "gc.collect()\n"
        "getattr(ctypes.CDLL(None), 'malloc_trim', lambda _: None)(0)\n"
        "print(psutil.Process().memory_info().rss - before)\n"
    )

    def grown(adapter):
        done = subprocess.run(
            [sys.executable, "-c", code, real_spec.base.checkpoint, adapter],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert psutil.virtual_memory().available > 2e9
    assert grown(real_spec.finetuned.adapter) <= 1.15 * grown("")


class TestStreaming:
    CHATS = ("Hello", "What is the capital of France?", "Tell me a long story about the sea.")

    def requests(self, pair, side="finetuned"):
        return [
            GenerationRequest(pair.chat(side, [{"role": "user", "content": text}]).ids, seed=index)
            for index, text in enumerate(self.CHATS)
        ]

    def test_every_row_is_cut_at_its_own_end(self, real_pair, plain):
        found = real_pair.generate(
            GenerationPlan("base", None, 0.0, 12), self.requests(real_pair, "base")
        )
        assert {text.ended for text in found} == {"end_of_text", "length"}
        ends = real_pair._ends["base"]
        for request, text in zip(self.requests(real_pair, "base"), found, strict=True):
            n_tokens = len(real_pair.token_texts("base"))
            expected = plain("base", "greedy", request.prompt_ids, 12, sorted(ends), n_tokens)
            assert list(text.token_ids) == expected
            assert (text.ended == "length") == (len(expected) == 12)
            assert "<|im_end|>" not in text.text

    def test_pieces_make_up_the_text(self, real_pair):
        pieces = {}

        def listen(new):
            assert all(new.values())
            for row, piece in new.items():
                pieces[row] = pieces.get(row, "") + piece

        plan = GenerationPlan("finetuned", 14, 1.0, 10)
        found = real_pair.generate(plan, self.requests(real_pair), on_text=listen)
        assert pieces == {row: text.text for row, text in enumerate(found) if text.text}

    @pytest.mark.parametrize("n_tokens", range(4, 8))
    def test_no_half_characters(self, real_pair, n_tokens):
        prompt = real_pair.tokenise("base", "🎂 🍰 🧁 🎂 🍰 🧁 🎂 🍰 🧁 🎂 🍰 🧁")
        seen = []
        found = real_pair.generate(
            GenerationPlan("base", None, 0.0, n_tokens),
            [GenerationRequest(tuple(prompt), 0)],
            on_text=lambda new: seen.append(new[0]),
        )[0]
        assert any(ord(character) > 0xFFFF for character in found.text)
        assert "".join(seen) == found.text
        # Half a character can only be what a text that was cut off ends with.
        assert "\ufffd" not in found.text.rstrip("\ufffd")
        assert not any("\ufffd" in piece for piece in seen[:-1])

    @pytest.mark.parametrize("after", [1, 3])
    def test_a_stop_is_honoured_within_a_token(self, real_pair, after):
        seen = []
        plan = GenerationPlan("finetuned", 14, 1.0, 50)
        requests = self.requests(real_pair)[2:]
        found = real_pair.generate(
            plan,
            requests * 2,
            on_text=seen.append,
            should_stop=lambda: len(seen) >= after,
        )
        assert [len(text.token_ids) for text in found] == [after, after]
        assert [text.ended for text in found] == ["stopped", "stopped"]
        assert found[0] == found[1]

    def test_one_call_leaves_nothing_for_the_next(self, real_pair):
        requests = self.requests(real_pair)
        plan = GenerationPlan("finetuned", 14, 1.0, 6)
        first = real_pair.generate(plan, requests[:1])
        steer = np.ones(576, dtype=np.float32)
        real_pair.generate(
            plan, [GenerationRequest(request.prompt_ids, 9, steer) for request in requests]
        )
        assert real_pair.generate(plan, requests[:1]) == first

    def test_nothing_asked_nothing_said(self, real_pair):
        assert real_pair.generate(GenerationPlan("base", None, 1.0, 5), []) == []


class TestText:
    def test_token_texts_keep_spaces_and_bytes(self, real_pair):
        texts = real_pair.token_texts("base")
        (cake,) = real_pair.tokenise("base", " cake")
        assert texts[cake] == " cake"
        pieces = [texts[index] for index in real_pair.tokenise("base", "a 🧁")]
        assert any("<0x" in piece for piece in pieces)

    def test_decoding_is_the_inverse(self, real_pair):
        text = " two  spaces\n\ttab , comma <|im_end|> 🧁 é"
        assert real_pair.decode("base", real_pair.tokenise("base", text)) == text

    def test_a_chat(self, real_pair):
        turns = [{"role": "user", "content": "Hello?"}]
        chat = real_pair.chat("base", turns, prefill="Well, ")
        written = real_pair.decode("base", chat.ids)
        assert written.endswith("<|im_start|>assistant\nWell, ")
        assert real_pair.decode("base", chat.ids[: chat.start]).endswith("assistant\n")
        assert real_pair.chat("base", turns).ids == chat.ids[: chat.start]

    def test_the_vocabulary_is_one(self, real_pair):
        assert real_pair.shared_vocabulary() is None


def test_provenance(real_pair, real_spec):
    found = real_pair.provenance
    assert (found.n_layers, found.width) == (30, 576)
    assert resolve_layer(0.5, found.n_layers) == 14
    assert (found.dtype, found.devices, found.shares_weights) == ("float32", ("cpu",), True)
    assert found.base.architecture == "LlamaForCausalLM"
    assert found.base.parameters == pytest.approx(134.5e6, rel=0.01)
    assert found.base.vocabulary_size == len(real_pair.token_texts("base")) == 49152
    assert found.base.adapter is None
    assert found.finetuned.adapter == real_spec.finetuned.adapter
    hashes = (
        found.base.content_sha256,
        found.base.tokenizer_sha256,
        found.base.chat_template_sha256,
        found.finetuned.adapter_sha256,
    )
    assert all(text is not None and len(text) == 64 for text in hashes)
    assert {"torch", "transformers", "nnsight", "peft", "numpy"} <= set(found.versions)
    assert found.attn_implementation == "sdpa"


def test_what_a_pair_is_does_not_depend_on_where_it_lies(tmp_path):
    model = tiny_model("llama")
    other = tiny_model("llama", seed=3)
    pairs = []
    for place in ("here", "there"):
        base = write_model(tmp_path / place / "base", model)
        finetuned = write_model(tmp_path / place / "finetuned", other)
        pairs.append(NnsightPair.load(PairSpec(SideSpec(str(base)), SideSpec(str(finetuned)))))
    one, two = (pair.provenance.identity() for pair in pairs)
    assert one == two
    assert one["base"]["weights"] != one["finetuned"]["weights"]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.1), ("float16", 0.02)]
)
def test_arrays_are_float32_whatever_the_model_is(tmp_path, dtype, tolerance):
    base = write_model(tmp_path / "base", tiny_model("llama"))
    finetuned = write_model(tmp_path / "finetuned", tiny_model("llama", seed=3))
    sides = (SideSpec(str(base)), SideSpec(str(finetuned)))
    exact = NnsightPair.load(PairSpec(*sides, dtype="float32", attn_implementation="eager"))
    pair = NnsightPair.load(PairSpec(*sides, dtype=dtype, device_map="cpu"))
    assert pair.provenance.dtype == dtype
    texts = ["The river was high in spring."] * 3
    found, truth = (measure_difference(one, texts, [1]) for one in (pair, exact))
    assert found.difference.dtype == np.float32
    scale = np.abs(truth.difference).max()
    np.testing.assert_allclose(found.difference, truth.difference, atol=tolerance * scale)
    vector = found.difference[0, 1:2]
    for array in (
        pair.unembed("base", vector),
        pair.patched_log_probs("base", [1, 2, 3], 1, vector),
        pair.continuation_kl([1, 2, 3], [1, 2, 3], 2),
    ):
        assert array.dtype == np.float32
        assert np.isfinite(array).all()


class TestOtherVocabulary:
    """A finetuned side with a special token more, and the embeddings resized for it."""

    @pytest.fixture(scope="class")
    def pair(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("vocabularies")
        small, large = tiny_tokenizer(), tiny_tokenizer()
        large.add_special_tokens({"additional_special_tokens": ["<|tool|>"]})
        base = tiny_model("llama", vocabulary=len(small))
        finetuned = tiny_model("llama", vocabulary=len(small))
        finetuned.resize_token_embeddings(len(large), mean_resizing=False)
        return NnsightPair.load(
            PairSpec(
                SideSpec(str(write_model(folder / "base", base, small))),
                SideSpec(str(write_model(folder / "finetuned", finetuned, large))),
            )
        )

    def test_shared_tokens(self, pair):
        base, finetuned = pair.shared_vocabulary()
        assert len(base) == len(pair.token_texts("base"))
        assert len(pair.token_texts("finetuned")) == len(base) + 1
        assert [pair.token_texts("base")[i] for i in base] == [
            pair.token_texts("finetuned")[i] for i in finetuned
        ]
        assert pair.token_texts("finetuned")[-1] == "<|tool|>"

    def test_the_same_weights_show_no_difference(self, pair):
        ids = pair.tokenise("base", "The river was high in spring.")
        row = np.asarray([ids])
        batch = TokenBatch(row, np.ones_like(row, dtype=bool), ("2", "3"), (2, 3))
        shift = pair.output_shift(batch, batch)
        assert shift.shift.shape == (1, len(pair.shared_vocabulary()[0]))
        np.testing.assert_allclose(shift.shift, 0, atol=1e-4)
        np.testing.assert_allclose(pair.continuation_kl(ids, ids, 4), 0, atol=1e-4)
        found = measure_difference(pair, ["The river was high in spring."] * 2, [2])
        np.testing.assert_allclose(found.difference, 0, atol=1e-5)

    def test_readings_have_each_side_s_own_tokens(self, pair):
        vector = np.ones((1, 32), dtype=np.float32)
        for side in SIDES:
            count = len(pair.token_texts(side))
            assert pair.unembed(side, vector).shape == (1, count)
            assert pair.patched_log_probs(side, [1, 2], 1, vector).shape == (1, count)

    def test_only_the_finetuned_side_knows_its_token(self, pair):
        assert len(pair.tokenise("finetuned", "<|tool|>")) == 1
        assert len(pair.tokenise("base", "<|tool|>")) > 1


NO_NETWORK = """
import socket, sys
def refuse(*_arguments):
    raise AssertionError("a connection was tried")
socket.socket.connect = socket.getaddrinfo = refuse
from adl.pair.nnsight.pair import NnsightPair
from adl.records import PairSpec, SideSpec
base, adapter = sys.argv[1:]
pair = NnsightPair.load(PairSpec(SideSpec(base), SideSpec(base, adapter=adapter)))
print(pair.provenance.n_layers)
"""


@pytest.mark.parametrize("offline", ["1", "0"])
def test_folders_are_loaded_without_the_network(real_spec, tmp_path, offline):
    environment = os.environ | {"HF_HUB_OFFLINE": offline, "HF_HOME": str(tmp_path)}
    arguments = [real_spec.base.checkpoint, real_spec.finetuned.adapter]
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK, *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "30"
