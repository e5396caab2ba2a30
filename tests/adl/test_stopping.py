"""A stop acts within the pass over a long prompt, which is one step of minutes."""

from __future__ import annotations

import numpy as np
import pytest

from adl.pair.nnsight.pair import NnsightPair
from adl.records import GenerationPlan, GenerationRequest, PairSpec, SideSpec
from tests.tiny_models import SENTENCES, write_family


@pytest.mark.parametrize("steered", [False, True])
def test_a_stop_acts_between_the_layers_of_the_prompts_pass(tmp_path, steered):
    folders = write_family(tmp_path, "llama")
    finetuned = SideSpec(str(folders.base), adapter=str(folders.adapter))
    pair = NnsightPair.load(PairSpec(SideSpec(str(folders.base)), finetuned))
    prompt = tuple(pair.tokenise("base", SENTENCES[0]))
    plan = GenerationPlan("finetuned", 1 if steered else None, 0.0, 6)
    added = np.ones(pair.provenance.width, dtype=np.float32) if steered else None
    request = GenerationRequest(prompt, 0, added)
    whole = pair.generate(plan, [request])
    asked = []

    def should_stop() -> bool:
        asked.append(None)
        return len(asked) == 2

    (text,) = pair.generate(plan, [request], should_stop=should_stop)
    # Before the second layer: not a token came of it.
    assert len(asked) == 2
    assert (text.token_ids, text.ended) == ((), "stopped")
    assert pair.generate(plan, [request]) == whole
