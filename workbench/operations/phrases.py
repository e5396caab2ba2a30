"""Phrases that the finetuned model writes more often than the base model, over the session's texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from adl.errors import PromptError
from adl.measures.phrases import (
    LONGEST,
    Phrase,
    has_words,
    matched_weights,
    null_phrases,
    phrases,
)
from workbench.operations.running import AgentUse, Arguments, Command, Context, Operation, Summary
from workbench.store.measures.phrases import FoundPhrase, PhrasesFound
from workbench.store.state import TextState

Source = Literal["unprompted", "steer", "ask", "scan"]
SOURCES: tuple[Source, ...] = ("unprompted", "steer", "ask", "scan")

#: Steered harder, a model repeats the domain whatever it was asked: the counts would be of the alpha.
STRONGEST_ALPHA = 0.35

NO_HALVES = "no prompt has two different texts of the base model"


class PhrasesArguments(Arguments):
    """The texts of the session to count, and the number of phrases to keep."""

    sources: tuple[Source, ...] = Field(SOURCES, min_length=1, description="Texts to count.")
    strongest_alpha: float = Field(
        STRONGEST_ALPHA, ge=0, description="Steered texts up to this alpha are counted."
    )
    longest: int = Field(LONGEST, ge=1, le=8, description="Words of the longest phrase.")
    top: int = Field(60, ge=1, le=1000, description="Phrases kept.")


def find_phrases(context: Context, arguments: PhrasesArguments) -> Summary:
    """Rank the phrases of the finetuned model's texts by log-odds against the base model's texts.

    Texts of the finetuned model count as finetuned, unsteered or steered towards the difference. The
    base model's texts are its unsteered ones. Copies of a text count once. Texts to a prompt that
    only one of them got are left out, and each prompt weighs the same on both sides.
    """
    finished = [
        text
        for text in context.session.state.texts.values()
        if text.status == "finished" and text.start.body.purpose in arguments.sources
    ]
    counted = [text for text in finished if _counts(text, arguments.strongest_alpha)]
    texts = _without_copies(counted)
    finetuned = [text for text in texts if text.start.body.side == "finetuned"]
    base = [text for text in texts if text.start.body.side == "base"]
    for side, found in (("finetuned", finetuned), ("base", base)):
        if not has_words([text.text for text in found]):
            missing = f"has no text of the {side} model"
            if found:
                missing = f"has no word in its texts of the {side} model"
            raise PromptError(
                f"the session {missing} to count", "Run `unprompted` first, or ask both models."
            )
    prompts = {_prompt_of(text) for text in finetuned} & {_prompt_of(text) for text in base}
    finetuned = [text for text in finetuned if _prompt_of(text) in prompts]
    base = [text for text in base if _prompt_of(text) in prompts]
    if not prompts:
        raise PromptError(
            "the session has no prompt that both models wrote to",
            "Run `unprompted`, or ask both models the same.",
        )
    mine, other = [text.text for text in finetuned], [text.text for text in base]
    prompts_of_base = list(map(_prompt_of, base))
    weights = matched_weights(list(map(_prompt_of, finetuned)), prompts_of_base)
    ranked = phrases(mine, other, weights=weights, top=arguments.top, longest=arguments.longest)
    null = null_phrases(
        other, prompts_of_base, weights=weights[1], top=10, longest=arguments.longest
    )
    n_texts: dict[str, dict[str, int]] = {}
    for text in (*finetuned, *base):
        by_side = n_texts.setdefault(text.start.body.purpose, {})
        by_side[text.start.body.side] = by_side.get(text.start.body.side, 0) + 1
    context.record(
        PhrasesFound(
            phrases=tuple(_found(phrase, finetuned) for phrase in ranked),
            null=tuple(_found(phrase, base) for phrase in null or ()),
            no_null=NO_HALVES if null is None else "",
            n_texts=n_texts,
            n_left_out=len(texts) - len(finetuned) - len(base),
            n_copies=len(counted) - len(texts),
            n_steered=len(finished) - len(counted),
            settings={"longest": arguments.longest},
        )
    )
    return {"phrases": [phrase.words for phrase in ranked[:20]]}


PHRASES = Operation(
    "phrases",
    "Find phrases",
    PhrasesArguments,
    find_phrases,
    needs=("texts",),
    finds=PhrasesFound,
    command=Command("phrases"),
    agent=AgentUse(
        hidden=("strongest_alpha", "longest"),
        most={"top": 100},
    ),
    uses_models=False,
)


def _prompt_of(text: TextState) -> tuple[object, ...]:
    """Return the start or the turns that a text was written to, but for the models' own answers."""
    begun = text.start.body
    if begun.purpose == "unprompted":
        return ("start", begun.start)
    turns = [
        (turn.get("role"), turn.get("content"))
        for turn in begun.messages
        if turn.get("role") != "assistant"
    ]
    return ("prompt", begun.raw_prompt, begun.prefill, *turns)


def _counts(text: TextState, strongest_alpha: float) -> bool:
    """Return True for a text of a side's own: steered away or by a null, it says nothing of finetuned."""
    begun = text.start.body
    if not begun.alpha:
        return True
    towards = begun.source == "difference" and 0 < begun.alpha <= strongest_alpha
    return begun.side == "finetuned" and towards


def _without_copies(texts: Sequence[TextState]) -> list[TextState]:
    """One text of those that a side wrote alike to one prompt: a copy is no further evidence."""
    first: dict[tuple[object, ...], TextState] = {}
    for text in texts:
        first.setdefault((text.start.body.side, _prompt_of(text), text.text), text)
    return list(first.values())


def _found(phrase: Phrase, texts: Sequence[TextState]) -> FoundPhrase:
    return FoundPhrase(
        words=phrase.words,
        z=round(phrase.z, 4),
        log_odds=round(phrase.log_odds, 4),
        finetuned=phrase.finetuned,
        base=phrase.base,
        text_ids=tuple(texts[index].start.body.text_id for index in phrase.texts[:20]),
    )
