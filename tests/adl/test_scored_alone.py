"""A model that reads a text otherwise among others scores each by itself, without padding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adl.measures.teacher_forcing import ScoredText, scored_batch
from adl.pair.nnsight.checks import replaced
from adl.pair.nnsight.pair import NnsightPair
from adl.pair.nnsight.remote_pair import RemotePair
from adl.records import SIDES, PairSpec, SideSpec
from tests.remote_service import LocalPath
from tests.tiny_models import SENTENCES, WIDTH, write_family

LENGTHS = (9, 4, 12)


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    folders = write_family(tmp_path_factory.mktemp("alone"), "llama")
    return PairSpec(SideSpec(str(folders.base)), SideSpec(str(folders.finetuned)))


def losses(pair, batch, vectors):
    return (
        pair.token_losses("base", batch),
        pair.token_log_probs("base", batch),
        *(pair.component_losses(batch, batch, 1, vectors, how) for how in ("replace", "remove")),
    )


@pytest.mark.slow
@pytest.mark.parametrize("where", ["here", "there"])
def test_each_text_is_run_by_itself(spec, where, monkeypatch):
    if where == "here":
        pair = NnsightPair.load(spec)
    else:
        pair = RemotePair.load(replace(spec, remote="ndif"), service=LocalPath())
    ids = [
        tuple(pair.tokenise("base", sentence)[:length])
        for sentence, length in zip(SENTENCES, LENGTHS, strict=False)
    ]
    # The second has nothing to score.
    starts = (1, LENGTHS[1], 6)
    batch = scored_batch([ScoredText(*each) for each in zip(ids, starts, strict=True)])
    vectors = np.random.default_rng(0).standard_normal((2, WIDTH)).astype(np.float32)
    together = losses(pair, batch, vectors)
    seen = []
    for side in SIDES:
        runs = pair._runs[side]
        pair._runs[side] = alone = replaced(runs, replace(runs.structure, alone=True))
        taken = type(alone.structure).taken

        def noted(self, inputs, taken=taken):
            if "input_ids" in inputs:
                seen.append(tuple(inputs["input_ids"].shape))
            return taken(self, inputs)

    monkeypatch.setattr(type(alone.structure), "taken", noted)
    for found, truth in zip(losses(pair, batch, vectors), together, strict=True):
        np.testing.assert_allclose(found, truth, rtol=1e-4, atol=1e-4)
    assert set(seen) <= {(1, length) for length in LENGTHS}
    assert len(seen) > len(LENGTHS)
