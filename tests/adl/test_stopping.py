"""A stop acts within the pass over a long prompt, which is one step of minutes."""

from __future__ import annotations

import sys
import threading
import time

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


def test_a_stop_acts_between_the_layers_of_the_other_model_that_runs_along(tmp_path):
    folders = write_family(tmp_path, "llama")
    # Two models, each with layers of its own.
    finetuned = SideSpec(str(folders.finetuned))
    pair = NnsightPair.load(PairSpec(SideSpec(str(folders.base)), finetuned))
    prompt = tuple(pair.tokenise("base", SENTENCES[0]))
    request = GenerationRequest(prompt, 0, contrast=1.0, contrast_ids=prompt)
    plan = GenerationPlan("finetuned", None, 0.0, 6)
    whole = pair.generate(plan, [request])
    n_layers, asked = pair.provenance.n_layers, []

    def should_stop() -> bool:
        asked.append(None)
        return len(asked) == n_layers + 2

    (text,) = pair.generate(plan, [request], should_stop=should_stop)
    # All layers of the first model, and one of the other.
    assert len(asked) == n_layers + 2
    assert (text.token_ids, text.ended) == ((), "stopped")
    assert pair.generate(plan, [request]) == whole


@pytest.mark.slow
def test_a_stop_acts_within_a_layer_of_a_prompt_of_5000_tokens(real_pair, capsys):
    prompt = tuple(real_pair.tokenise("base", " word" * 5_000))
    assert len(prompt) == 5_000
    begun, wanted, third = [], [], threading.Event()

    def should_stop() -> bool:
        begun.append(time.monotonic())
        if len(begun) == 3:
            third.set()
        return bool(wanted)

    def ask_to_stop() -> None:
        # While the third layer is at work.
        third.wait()
        wanted.append(time.monotonic())

    person = threading.Thread(target=ask_to_stop)
    person.start()
    (text,) = real_pair.generate(
        GenerationPlan("finetuned", None, 0.0, 4),
        [GenerationRequest(prompt, 0)],
        should_stop=should_stop,
    )
    over = time.monotonic()
    person.join()
    assert (text.token_ids, text.ended) == ((), "stopped")
    # It was looked at before each layer, and only once after it was asked for.
    assert len([at for at in begun if at > wanted[0]]) == 1
    assert len(begun) < real_pair.provenance.n_layers
    with capsys.disabled():
        sys.stdout.write(
            f"\nstopped {over - wanted[0]:.2f} s after it was asked for, of a layer of "
            f"{begun[2] - begun[1]:.2f} s and {real_pair.provenance.n_layers} layers\n"
        )
