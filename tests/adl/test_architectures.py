"""Every architecture, adapter and full finetune: the same numbers as plain transformers and hooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from adl.pair.nnsight.pair import NnsightPair
from adl.pair.nnsight.runs import ROWS_AT_ONCE
from adl.records import SIDES, GenerationPlan, GenerationRequest, PairSpec, Side, SideSpec
from adl.text.token_batches import TokenBatch
from tests.plain_torch import PlainModel
from tests.tiny_models import (
    ARCHITECTURES,
    N_LAYERS,
    SENTENCES,
    SPARE_ROWS,
    WIDTH,
    TinyFolders,
    write_family,
)

LAYERS = tuple(range(N_LAYERS))
# Float32 through four layers of random weights, in batches of other shapes.
CLOSE = {"rtol": 1e-3, "atol": 1e-4}


@dataclass(frozen=True)
class Case:
    """A pair, and its sides loaded once more by themselves."""

    pair: NnsightPair
    plain: dict[Side, PlainModel]

    def ids(self, sentence: int, length: int | None = None) -> list[int]:
        return self.pair.tokenise("base", SENTENCES[sentence])[:length]

    @property
    def n_tokens(self) -> int:
        return len(self.pair.token_texts("base"))


@dataclass(frozen=True)
class Family:
    """The pairs of one architecture, each loaded once, and its base loaded once more by itself."""

    name: str
    folders: TinyFolders
    adapter: NnsightPair
    full: NnsightPair
    base: PlainModel


@pytest.fixture(scope="module", params=ARCHITECTURES)
def family(request, tmp_path_factory):
    folders = write_family(tmp_path_factory.mktemp(request.param), request.param)
    base = SideSpec(str(folders.base))
    adapter, full = (
        NnsightPair.load(PairSpec(base, finetuned))
        for finetuned in (
            SideSpec(str(folders.base), adapter=str(folders.adapter)),
            SideSpec(str(folders.finetuned)),
        )
    )
    plain = PlainModel(folders.base, ARCHITECTURES[request.param].layers)
    return Family(request.param, folders, adapter, full, plain)


@pytest.fixture(scope="module", params=["adapter", "full"])
def case(request, family):
    folders, layers = family.folders, ARCHITECTURES[family.name].layers
    if request.param == "adapter":
        other = PlainModel(folders.base, layers, folders.adapter)
    else:
        other = PlainModel(folders.finetuned, layers)
    return Case(getattr(family, request.param), {"base": family.base, "finetuned": other})


def padded(rows: Sequence[Sequence[int]], from_end: Sequence[int]) -> TokenBatch:
    """Rows with padding on the left, read at columns counted from the end."""
    width = max(map(len, rows))
    ids = np.zeros((len(rows), width), dtype=np.int64)
    mask = np.zeros_like(ids, dtype=bool)
    for row, tokens in enumerate(rows):
        ids[row, width - len(tokens) :] = tokens
        mask[row, width - len(tokens) :] = True
    columns = tuple(width + offset for offset in from_end)
    return TokenBatch(ids, mask, tuple(map(str, from_end)), columns)


def vectors(n: int, seed: int = 0) -> np.ndarray:
    return 3 * np.random.default_rng(seed).standard_normal((n, WIDTH)).astype(np.float32)


def test_residuals_are_those_of_transformers(case):
    rows = [case.ids(0, 12), case.ids(1, 12)]
    batch = padded(rows, range(-12, -4))
    sums = case.pair.residual_sums(batch, batch, LAYERS, np.arange(2))
    for side in SIDES:
        for row, ids in enumerate(rows):
            truth = case.plain[side].residuals(ids)[:, :8]
            np.testing.assert_allclose(getattr(sums, side)[row], truth, **CLOSE)
            norms = getattr(sums, f"{side}_norm")[row]
            np.testing.assert_allclose(norms, np.linalg.norm(truth, axis=-1), **CLOSE)
            # A layer's output is the next layer's hidden state; the last one stands after the norm.
            hidden = case.plain[side].run(ids).hidden_states[1:-1]
            for layer, state in enumerate(hidden):
                np.testing.assert_allclose(getattr(sums, side)[row, layer], state[0, :8], **CLOSE)
    change = sums.finetuned - sums.base
    assert np.abs(change).max() > 0.1
    np.testing.assert_allclose(sums.squared_difference, (change**2).sum(-1), **CLOSE)


def test_layers_come_in_the_order_asked_for(case):
    batch = padded([case.ids(0, 6)], (-1,))
    forwards = case.pair.residual_sums(batch, batch, (1, 3), np.zeros(1, dtype=np.int64))
    backwards = case.pair.residual_sums(batch, batch, (3, 1), np.zeros(1, dtype=np.int64))
    np.testing.assert_array_equal(forwards.finetuned[:, ::-1], backwards.finetuned)


def test_a_padded_row_is_the_row_alone(case):
    rows = [case.ids(0, 5), case.ids(1, 14), case.ids(2, 9)]
    together = padded(rows, (-3, -1))
    sums = case.pair.residual_sums(together, together, LAYERS, np.arange(3))
    for row, ids in enumerate(rows):
        alone = padded([ids], (-3, -1))
        one = case.pair.residual_sums(alone, alone, LAYERS, np.zeros(1, dtype=np.int64))
        np.testing.assert_allclose(sums.base[row], one.base[0], **CLOSE)
        np.testing.assert_allclose(sums.finetuned[row], one.finetuned[0], **CLOSE)


@pytest.mark.parametrize("side", SIDES)
def test_unembedding_is_the_model_s_own_head(case, side):
    ids = case.ids(3)
    last = case.plain[side].residuals(ids)[-1]
    truth = case.plain[side].log_probs(ids)
    assert truth.shape[1] == case.n_tokens + SPARE_ROWS
    found = case.pair.unembed(side, last)
    assert found.shape == (len(ids), case.n_tokens)
    np.testing.assert_allclose(found, truth[:, : case.n_tokens], **CLOSE)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("before", [0, 1, 11])
def test_endings_of_a_prefix_are_the_whole_prompts(case, side, before):
    prefix = case.ids(1, 11)[:before]
    ids = case.ids(0, 12)
    endings = [ids[row : row + 1 + row % 4] for row in range(9)]
    found = case.pair.log_probs_after(side, prefix, endings)
    for row, ending in zip(found, endings, strict=True):
        truth = case.plain[side].log_probs([*prefix, *ending])[-1, : case.n_tokens]
        np.testing.assert_allclose(row, truth, **CLOSE)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("layer", [0, 2, N_LAYERS - 1])
def test_patching_is_a_hook_on_the_whole_prompt(case, side, layer):
    ids, patches = case.ids(1, 11), vectors(3)
    found = case.pair.patched_log_probs(side, ids, layer, patches)
    for vector, row in zip(patches, found, strict=True):
        with case.plain[side].patching_last(layer, vector):
            truth = case.plain[side].log_probs(ids)[-1, : case.n_tokens]
        np.testing.assert_allclose(row, truth, **CLOSE)


def test_patching_more_vectors_than_are_run_at_once(case):
    ids, patches = case.ids(1, 11), vectors(2 * ROWS_AT_ONCE + 3)
    found = case.pair.patched_log_probs("finetuned", ids, 1, patches)
    for row in (0, ROWS_AT_ONCE, len(patches) - 1):
        alone = case.pair.patched_log_probs("finetuned", ids, 1, patches[row : row + 1])
        np.testing.assert_allclose(found[row], alone[0], **CLOSE)


def test_patching_a_prompt_of_one_token(case):
    ids, patches = case.ids(0, 1), vectors(2)
    found = case.pair.patched_log_probs("finetuned", ids, 1, patches)
    with case.plain["finetuned"].patching_last(1, patches[1]):
        truth = case.plain["finetuned"].log_probs(ids)[-1, : case.n_tokens]
    np.testing.assert_allclose(found[1], truth, **CLOSE)


@pytest.mark.parametrize("side", SIDES)
def test_steering_shift_is_a_hook_that_adds(case, side):
    rows = [case.ids(0, 7), case.ids(1, 12)]
    added = vectors(2, seed=1)
    found = case.pair.steering_shift(side, padded(rows, (-2, -1)), 1, added)
    plain, columns = case.plain[side], slice(-2, None)
    before = np.concatenate([plain.log_probs(ids)[columns] for ids in rows])[:, : case.n_tokens]
    assert found.count == 4
    np.testing.assert_allclose(found.log_prob_before, before.sum(0), **CLOSE)
    np.testing.assert_allclose(found.prob_before, np.exp(before).sum(0), **CLOSE)
    for change, vector in enumerate(added):
        with plain.adding(1, vector):
            after = np.concatenate([plain.log_probs(ids)[columns] for ids in rows])
        after = after[:, : case.n_tokens]
        shift = after - before
        np.testing.assert_allclose(found.shift[change], shift.sum(0), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(found.prob_after[change], np.exp(after).sum(0), **CLOSE)
        kl = (np.exp(after) * shift).sum()
        np.testing.assert_allclose(found.kl[change], kl, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("side", SIDES)
def test_steering_shift_of_even_rows_is_the_same_hook(case, side):
    """Rows without padding share the layers below the vector, where the model allows."""
    rows = [case.ids(0, 9), case.ids(1, 9), case.ids(2, 9)]
    added = vectors(3, seed=2)
    found = case.pair.steering_shift(side, padded(rows, (-2, -1)), 1, added)
    plain, columns = case.plain[side], slice(-2, None)
    before = np.concatenate([plain.log_probs(ids)[columns] for ids in rows])[:, : case.n_tokens]
    np.testing.assert_allclose(found.log_prob_before, before.sum(0), **CLOSE)
    for change, vector in enumerate(added):
        with plain.adding(1, vector):
            after = np.concatenate([plain.log_probs(ids)[columns] for ids in rows])
        after = after[:, : case.n_tokens]
        np.testing.assert_allclose(
            found.shift[change], (after - before).sum(0), rtol=1e-3, atol=2e-3
        )
        np.testing.assert_allclose(found.prob_after[change], np.exp(after).sum(0), **CLOSE)


def test_output_shift_is_one_model_minus_the_other(case):
    rows = [case.ids(0, 7), case.ids(1, 12)]
    batch = padded(rows, (-2, -1))
    found = case.pair.output_shift(batch, batch)
    of = {
        side: np.concatenate([case.plain[side].log_probs(ids)[-2:] for ids in rows])
        for side in SIDES
    }
    shift = (of["finetuned"] - of["base"]).sum(0)[: case.n_tokens]
    np.testing.assert_allclose(found.shift[0], shift, rtol=1e-3, atol=1e-3)
    assert case.pair.shared_vocabulary() is None


def test_divergence_before_each_token_of_a_continuation(case):
    ids = case.ids(2, 15)
    found = case.pair.continuation_kl(ids, ids, 6)
    base, finetuned = (case.plain[side].log_probs(ids)[8:14, : case.n_tokens] for side in SIDES)
    truth = (np.exp(finetuned) * (finetuned - base)).sum(-1)
    np.testing.assert_allclose(found, truth, rtol=1e-2, atol=1e-4)
    assert found.min() > 0


@pytest.mark.parametrize("side", SIDES)
def test_greedy_texts_are_those_of_transformers(case, side):
    prompts = [case.ids(0, 4), case.ids(1, 10), case.ids(2, 7)]
    steer = vectors(1, seed=2)[0]
    requests = [
        GenerationRequest(tuple(ids), seed=0, added=steer if row == 1 else None)
        for row, ids in enumerate(prompts)
    ]
    found = case.pair.generate(GenerationPlan(side, 2, 0.0, 8), requests)
    ends = sorted(case.pair._ends[side])
    plain = case.plain[side]
    for row, ids in enumerate(prompts):
        if row == 1:
            with plain.adding(2, steer):
                truth = plain.greedy(ids, 8, ends, case.n_tokens)
        else:
            truth = plain.greedy(ids, 8, ends, case.n_tokens)
        assert list(found[row].token_ids) == truth
        assert found[row].text == case.pair.decode(side, truth)
    unsteered = case.pair.generate(
        GenerationPlan(side, None, 0.0, 8), [GenerationRequest(tuple(prompts[1]), seed=0)]
    )
    assert list(unsteered[0].token_ids) == plain.greedy(prompts[1], 8, ends, case.n_tokens)


def test_a_sample_depends_on_its_seed_alone(case):
    plan = GenerationPlan("finetuned", 1, 1.0, 8)
    steer = vectors(1, seed=3)[0]
    wanted = GenerationRequest(tuple(case.ids(0, 6)), seed=5, added=steer)
    others = [GenerationRequest(tuple(case.ids(i, 3 + 4 * i)), seed=i) for i in range(3)]
    alone = case.pair.generate(plan, [wanted])[0]
    among = case.pair.generate(plan, [*others, wanted])[-1]
    assert alone == among
    assert alone == case.pair.generate(plan, [wanted, others[2]])[0]
    elsewhere = GenerationRequest(wanted.prompt_ids, seed=6, added=steer)
    assert case.pair.generate(plan, [elsewhere])[0] != alone


@pytest.mark.slow
def test_an_adapter_switched_off_is_the_base(family):
    one_copy, two_copies = family.adapter, family.full
    assert one_copy.provenance.shares_weights
    assert not two_copies.provenance.shares_weights
    assert one_copy.provenance.base.content_sha256 == two_copies.provenance.base.content_sha256
    assert one_copy.memory()["weights"] < 0.75 * two_copies.memory()["weights"]
    ids = one_copy.tokenise("base", SENTENCES[0])
    batch = padded([ids], (-2, -1))
    # The finetuned side first: what it leaves switched on would show.
    one_copy.patched_log_probs("finetuned", ids, 1, vectors(1))
    found = one_copy.residual_sums(batch, batch, LAYERS, np.zeros(1, dtype=np.int64))
    truth = two_copies.residual_sums(batch, batch, LAYERS, np.zeros(1, dtype=np.int64))
    np.testing.assert_array_equal(found.base, truth.base)
    for method in ("unembed", "patched_log_probs"):
        arguments = (vectors(2),) if method == "unembed" else (ids, 1, vectors(2))
        one_copy.generate(
            GenerationPlan("finetuned", None, 0.0, 1), [GenerationRequest(tuple(ids), 0)]
        )
        np.testing.assert_array_equal(
            getattr(one_copy, method)("base", *arguments),
            getattr(two_copies, method)("base", *arguments),
        )


def test_a_pair_of_folders_needs_no_network(family):
    assert family.full.provenance.n_layers == N_LAYERS
    assert family.full.provenance.width == WIDTH
    name = family.name.replace("_", "")
    assert name in family.full.provenance.base.architecture.lower()
