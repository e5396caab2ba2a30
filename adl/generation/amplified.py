"""One dial over four carriers of the finetuning, to make rare behaviour frequent.

    difference   alpha x the activation difference, added to every token's residual (see ``steering``)
    logits       log p + gamma (log p - log p of the base), over the plausible tokens
    adapter      the adapter at so many times its own scale; 1 is the finetuned model, 0 the base
    rank1        the base, with so many times the rank-1 part of every module's update

What finetuning made likelier becomes likelier still. Each has a null of the same size that the base
writes: steered by the difference of its halves; with the differences of its plausible tokens in a random
order; with updates of the same singular values whose directions are shuffled.

Sources: steering as in Minder et al. 2025 (arXiv 2510.13900); logit-diff amplification (Aranguri and
McGrath 2025), whose plausibility cut is that of contrastive decoding (Li et al. 2023, arXiv
2210.15097).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from adl.errors import SiteError
from adl.generation.steering import Sample, row_seed
from adl.pair.protocol import (
    ModelPair,
    Thinking,
    check_layer,
    require_one_vocabulary,
    resolve_layer,
)
from adl.records import SIDES, GenerationRequest
from adl.text.prompts import Prompt

Carrier = Literal["difference", "logits", "adapter", "rank1"]

STRENGTHS: dict[Carrier, tuple[float, ...]] = {
    "difference": (0.1, 0.2, 0.3),
    "logits": (1.0, 2.0, 4.0),
    "adapter": (-1.0, 1.5, 2.0),
    "rank1": (1.0, 2.0, 4.0),
}
"""Strengths where none are asked for: from hardly any effect to noise on small models."""


def why_no_strength(carrier: Carrier, strength: float) -> str | None:
    """Return why a strength amplifies nothing; None if it does."""
    if carrier == "adapter" and strength == 1:
        return "1 is the finetuned model itself, whose texts are always written beside"
    if strength == 0:
        base = carrier in ("adapter", "rank1")
        return "0 is the base model: ask it (ask)" if base else "0 changes nothing"
    if carrier == "logits" and strength < 0:
        return "negative strengths are for the difference, the adapter and its rank-1 part"
    return None


def check_range(text: str) -> None:
    """Raise ``SiteError`` for a text that is a range of layers of no model."""
    for end in _ends_of(text):
        check_layer(end)


def resolve_range(text: str, n_layers: int) -> tuple[int, int]:
    """Return the first and last layer of ``4-12``, ``0.5-1.0`` or ``7``. Raises ``SiteError``."""
    first, last = (resolve_layer(end, n_layers) for end in _ends_of(text))
    if first > last:
        raise SiteError(f"the range of layers {text!r} is empty", "Give the lower one first.")
    return first, last


def _ends_of(text: str) -> tuple[str, str]:
    first, dash, last = text.strip().partition("-")
    return first, last if dash else first


def amplified_requests(
    pair: ModelPair,
    prompts: Sequence[Prompt],
    wanted: Sequence[Sample],
    *,
    shuffled: bool = False,
    thinking: Thinking = "auto",
) -> list[GenerationRequest]:
    """Return requests of the finetuned side, each sample's ``alpha`` being its gamma.

    ``shuffled`` makes those of the null, which are of the base side. Raises ``PairError`` for sides
    with different vocabularies.
    """
    require_one_vocabulary(pair)
    own, other = SIDES if shuffled else SIDES[::-1]
    chats = {
        side: [
            pair.chat(side, prompt.messages, prefill=prompt.prefill, thinking=thinking)
            for prompt in prompts
        ]
        for side in SIDES
    }
    return [
        GenerationRequest(
            prompt_ids=chats[own][sample.prompt_index].ids,
            seed=row_seed(sample.seed, sample.prompt_index),
            notes=chats[own][sample.prompt_index].notes,
            contrast=sample.alpha,
            contrast_ids=chats[other][sample.prompt_index].ids,
            shuffled=shuffled,
        )
        for sample in wanted
    ]
