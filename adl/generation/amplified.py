"""Amplified logits: the finetuned model, pushed further away from the base model at every token.

    log p(token) + gamma (log p(token) - log p_base(token)), over the plausible tokens

What finetuning made likelier becomes likelier still, so that rare behaviour becomes frequent. Unlike
steering it needs no measured difference and no layer, and it follows the prompt. The null takes the
differences of the tokens in a random order: as large a push, without the finetuning in it.

Sources: logit-diff amplification (Aranguri and McGrath 2025); the plausibility cut is that of
contrastive decoding (Li et al. 2023, arXiv 2210.15097).
"""

from __future__ import annotations

from collections.abc import Sequence

from adl.generation.steering import Sample, row_seed
from adl.pair.protocol import ModelPair, Thinking, require_one_vocabulary
from adl.records import SIDES, GenerationRequest
from adl.text.prompts import Prompt


def amplified_requests(
    pair: ModelPair,
    prompts: Sequence[Prompt],
    wanted: Sequence[Sample],
    *,
    shuffled: bool = False,
    thinking: Thinking = "auto",
) -> list[GenerationRequest]:
    """Return requests of the finetuned side, each sample's ``alpha`` being its gamma.

    ``shuffled`` makes the null. Raises ``PairError`` for sides with different vocabularies.
    """
    require_one_vocabulary(pair)
    chats = {
        side: [
            pair.chat(side, prompt.messages, prefill=prompt.prefill, thinking=thinking)
            for prompt in prompts
        ]
        for side in SIDES
    }
    return [
        GenerationRequest(
            prompt_ids=chats["finetuned"][sample.prompt_index].ids,
            seed=row_seed(sample.seed, sample.prompt_index),
            notes=chats["finetuned"][sample.prompt_index].notes,
            contrast=sample.alpha,
            contrast_ids=chats["base"][sample.prompt_index].ids,
            shuffled=shuffled,
        )
        for sample in wanted
    ]
