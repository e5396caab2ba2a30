"""How long amplified logits and unprompted texts take, over bare generation of the same tokens.

Bare generation is that of transformers alone, in a padded batch of the same prompts for as many steps:
greedy beside amplified logits, which are, and sampled at the same temperature beside unprompted texts,
which are. All are run alternately and the median ratio is taken. Processor time, which other programs on
the machine disturb less than the clock.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from adl.generation.amplified import amplified_requests
from adl.generation.steering import samples
from adl.measures.unprompted import UnpromptedText, text_ratios, text_starts, unprompted_requests
from adl.organisms.registry import get_organism
from adl.pair.nnsight.demo import prepared_base
from adl.pair.nnsight.pair import NnsightPair
from adl.records import SIDES, GenerationPlan, GenerationRequest, PairSpec, Side, SideSpec
from adl.text.prompts import everyday_prompts
from adl.text.token_batches import left_padded
from workbench.locations import find_locations

ROUNDS = 3
NEW_TOKENS = 40
TEMPERATURE = 0.7
N_PROMPTS = 8
N_SAMPLES = {"finetuned": 48, "base": 24}


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def bare(
    pair: NnsightPair,
    side: Side,
    requests: Sequence[GenerationRequest],
    steps: int,
    temperature: float | None = None,
) -> None:
    """Generate with transformers alone, greedily or at a temperature."""
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    batch = left_padded([request.prompt_ids for request in requests])
    loaded = pair._loaded.side(side)
    loaded.use()
    with torch.no_grad():
        loaded.module.generate(  # type: ignore[operator]
            input_ids=torch.as_tensor(batch.ids),
            attention_mask=torch.as_tensor(batch.mask).long(),
            max_new_tokens=steps,
            min_new_tokens=steps,
            pad_token_id=2,
            **({"do_sample": False} if temperature is None else sampling),
        )


def logits(pair: NnsightPair) -> float:
    """Amplified logits over bare generation."""
    prompts = everyday_prompts()[:N_PROMPTS]
    requests = amplified_requests(pair, prompts, samples(len(prompts), (2.0,), range(1)))
    plan = GenerationPlan("finetuned", None, 1.0, NEW_TOKENS)
    steps = max(len(text.token_ids) for text in pair.generate(plan, requests))
    ratios = []
    for _round in range(ROUNDS):
        ours = seconds(lambda: pair.generate(plan, requests))
        ratios.append(ours / seconds(lambda: bare(pair, "finetuned", requests, steps)))
    return statistics.median(ratios)


def unprompted(pair: NnsightPair, *, scored: bool) -> float:
    """Unprompted texts with their scores, or without, over bare generation."""
    starts, _ = text_starts(pair)
    asked = {side: unprompted_requests(starts, side, N_SAMPLES[side], 0) for side in SIDES}
    steps: dict[Side, int] = {}

    def ours() -> None:
        texts: list[UnpromptedText] = []
        for side, (names, requests) in asked.items():
            plan = GenerationPlan(side, None, TEMPERATURE, NEW_TOKENS, scored=scored)
            written = pair.generate(plan, requests)
            steps[side] = max(len(text.token_ids) for text in written)
            texts += [
                UnpromptedText(side, name, text.token_ids, text.text, text.log_probs)
                for name, text in zip(names, written, strict=True)
            ]
        if scored:
            text_ratios(pair, starts, texts)

    ours()
    ratios = []
    for _round in range(ROUNDS):
        taken = seconds(ours)
        plain = sum(
            seconds(
                lambda side=side, requests=requests: bare(
                    pair, side, requests, steps[side], TEMPERATURE
                )
            )
            for side, (_names, requests) in asked.items()
        )
        ratios.append(taken / plain)
    return statistics.median(ratios)


def main() -> int:
    """Print the table as Markdown."""
    base = str(prepared_base(find_locations().models))
    adapter = get_organism("cake_bake").adapter
    pair = NnsightPair.load(PairSpec(SideSpec(base), SideSpec(base, adapter=str(adapter))))
    print("| over bare generation of the same tokens | ratio | aim |")
    print("|---|---|---|")
    print(f"| amplified logits | {logits(pair):.2f} | 2.2 |", flush=True)
    print(f"| unprompted texts, not scored | {unprompted(pair, scored=False):.2f} | |", flush=True)
    print(
        f"| unprompted texts, scored by both models | {unprompted(pair, scored=True):.2f} | 1.2 |"
    )
    return 0
