"""Unprompted texts: both models write from nothing, and both score every text."""

from __future__ import annotations

from pydantic import Field, FiniteFloat

from adl.measures.unprompted import (
    STARTS,
    StartName,
    UnpromptedText,
    ranked,
    text_ratios,
    text_starts,
    unprompted_requests,
)
from adl.records import SIDES, GenerationPlan
from workbench.operations.generation import AnnouncedText, generate_texts
from workbench.operations.running import (
    AgentUse,
    Arguments,
    Command,
    Context,
    Operation,
    Stage,
    Summary,
)
from workbench.store.measures.unprompted import ScoredUnprompted, UnpromptedTexts


class UnpromptedArguments(Arguments):
    """How many texts to write from nothing, and from which starts."""

    n_samples: int = Field(64, ge=1, description="Texts of the finetuned model, over all starts.")
    n_null: int = Field(
        32, ge=0, description="Texts of the base model, scored alike: the null. 0 writes none."
    )
    starts: tuple[StartName, ...] = Field(
        STARTS,
        min_length=1,
        description="Beginnings; assistant_turn is an opened answer to a greeting.",
    )
    temperature: FiniteFloat = Field(0.7, ge=0, description="0 takes the most probable token.")
    max_new_tokens: int = Field(60, ge=1, description="Longest text, in tokens.")
    seed: int = Field(0, ge=0, description="First seed; samples take the ones after it.")
    batch_size: int = Field(64, ge=1, description="Texts per batch.")


def unprompted(context: Context, arguments: UnpromptedArguments) -> Summary:
    """Let both models write from nothing and rank the texts by how much likelier finetuning made them."""
    pair = context.pair
    starts, left_out = text_starts(pair, arguments.starts)
    texts: list[UnpromptedText] = []
    ids: list[str] = []
    for side, count in zip(SIDES[::-1], (arguments.n_samples, arguments.n_null), strict=True):
        if not count:
            continue
        names, requests = unprompted_requests(starts, side, count, arguments.seed)
        announced = [
            AnnouncedText(
                side=side,
                alpha=0.0,
                seed=arguments.seed + index,
                prompt=None,
                raw=None,
                prompt_index=index,
                start=name,
            )
            for index, name in enumerate(names)
        ]
        plan = GenerationPlan(
            side, None, arguments.temperature, arguments.max_new_tokens, scored=True
        )
        written = generate_texts(
            context, "unprompted", plan, None, announced, requests, arguments.batch_size
        )
        for name, (text_id, text) in zip(names, written, strict=True):
            ids.append(text_id)
            texts.append(UnpromptedText(side, name, text.token_ids, text.text, text.log_probs))
    context.progress("score", 0, len(texts))
    ratios = text_ratios(
        pair,
        starts,
        texts,
        progress=lambda done, total: context.progress("score", done, total),
        should_stop=context.should_stop,
    )
    found = [
        ScoredUnprompted(
            text_id=ids[index],
            side=texts[index].side,
            start=texts[index].start,
            per_token=round(ratios[index].per_token, 4),
            ends=ratios[index].ends,
            ratios=tuple(round(ratio, 3) for ratio in ratios[index].ratios),
            n_tokens=ratios[index].n_tokens,
        )
        for index in ranked(ratios)
    ]
    context.record(
        UnpromptedTexts(
            texts=tuple(found),
            left_out=dict(left_out),
            settings={"seed": arguments.seed, "temperature": arguments.temperature},
        )
    )
    return {
        "texts": len(texts),
        "highest": [text.text_id for text in found if text.side == "finetuned"][:5],
    }


TEXTS_OF_AN_INTERACTION = 8
"""Unprompted texts that count as one model interaction of an agent."""

UNPROMPTED = Operation(
    "unprompted",
    "Write from nothing",
    UnpromptedArguments,
    unprompted,
    needs=("pair",),
    finds=UnpromptedTexts,
    command=Command("unprompted"),
    agent=AgentUse(
        hidden=("n_null", "temperature", "batch_size"),
        most={"n_samples": 64, "max_new_tokens": 120},
        interactions=lambda arguments: -(-arguments.n_samples // TEXTS_OF_AN_INTERACTION),
        cost="Costs an interaction per eight texts.",
    ),
    asks_models=True,
    stages=lambda arguments: (
        Stage("unprompted finetuned", 0.01 * arguments.n_samples * arguments.max_new_tokens),
        Stage("unprompted base", 0.01 * arguments.n_null * arguments.max_new_tokens),
        Stage("score", 0.003 * (arguments.n_samples + arguments.n_null) * arguments.max_new_tokens),
    ),
)
