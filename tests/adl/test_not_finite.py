"""Numbers that are no numbers are refused by every method, also where the check at load met none."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from adl.difference import sums_that_fit
from adl.errors import NotFinite
from adl.pair.nnsight.pair import NnsightPair
from adl.records import GenerationPlan, GenerationRequest, PairSpec, SideSpec
from adl.text.token_batches import TokenBatch
from tests.tiny_models import perturb, tiny_model, tiny_tokenizer, write_model

# A letter that no bundled text of the checks at load is likely to have by itself.
RARE = "~"


@pytest.fixture(scope="module", params=[float("nan"), float("inf")])
def pair(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    model = tiny_model("llama")
    base = write_model(folder / "base", model)
    perturb(model, 5, 0.02)
    finetuned = write_model(folder / "finetuned", model)
    path = finetuned / "model.safetensors"
    tensors = load_file(path)
    (rare,) = tiny_tokenizer().encode(RARE, add_special_tokens=False)
    tensors["model.embed_tokens.weight"][rare, 3] = request.param
    save_file(tensors, path, metadata={"format": "pt"})
    return NnsightPair.load(PairSpec(SideSpec(str(base)), SideSpec(str(finetuned))))


def batch(pair: NnsightPair) -> TokenBatch:
    row = np.asarray([pair.tokenise("finetuned", f"a{RARE} b c")], dtype=np.int64)
    columns = tuple(range(row.shape[1]))
    return TokenBatch(row, np.ones_like(row, dtype=bool), tuple(map(str, columns)), columns)


def refuse(pair: NnsightPair, call) -> None:
    with pytest.raises(NotFinite, match="finetuned side") as caught:
        call()
    assert caught.value.hint


def test_residuals(pair):
    rows = batch(pair)
    refuse(pair, lambda: sums_that_fit(pair, rows, rows, (1,), np.zeros(1, dtype=np.int64)))


def test_predictions(pair):
    rows = batch(pair)
    vector = np.ones((1, pair.provenance.width), dtype=np.float32)
    refuse(pair, lambda: pair.output_shift(rows, rows))
    refuse(pair, lambda: pair.steering_shift("finetuned", rows, 1, vector))
    ids = rows.ids[0].tolist()
    refuse(pair, lambda: pair.patched_log_probs("finetuned", ids, 1, vector))
    refuse(pair, lambda: pair.continuation_kl(ids, ids, 2))


def test_texts(pair):
    request = GenerationRequest(tuple(batch(pair).ids[0].tolist()), seed=0)
    plan = GenerationPlan("finetuned", None, 0.0, 3)
    refuse(pair, lambda: pair.generate(plan, [request]))


def test_what_does_not_meet_them_is_right(pair):
    row = np.asarray([pair.tokenise("finetuned", "a b c")], dtype=np.int64)
    columns = tuple(range(row.shape[1]))
    rows = TokenBatch(row, np.ones_like(row, dtype=bool), tuple(map(str, columns)), columns)
    sums = pair.residual_sums(rows, rows, (1,), np.zeros(1, dtype=np.int64))
    assert np.isfinite(sums.finetuned).all()
