"""Unprompted texts: both models write from nothing, and both score every text."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from adl.generation.steering import require_draws, require_few_texts, row_seed
from adl.measures.unprompted import (
    STARTS,
    Start,
    StartName,
    UnpromptedText,
    first_turn,
    n_written,
    question_starts,
    ranked,
    text_ratios,
    text_starts,
    unprompted_requests,
)
from adl.records import SIDES, GenerationPlan, GenerationRequest, Side
from adl.text.prompts import Prompt
from workbench.operations.recorded_texts import AnnouncedText, generate_texts
from workbench.operations.running import (
    AgentUse,
    Arguments,
    Command,
    Context,
    Operation,
    Stage,
    Summary,
)
from workbench.operations.shared_arguments import SampleSeed, Temperature, TextBatch, TextTokens
from workbench.store.measures.unprompted import ScoredUnprompted, UnpromptedTexts


class UnpromptedArguments(Arguments):
    """The number of texts to write from nothing, and their starts."""

    n_samples: int = Field(64, ge=1, description="Texts of the finetuned model, over all starts.")
    n_null: int = Field(
        32, ge=0, description="Texts of the base model, scored alike: the null. 0 writes none."
    )
    starts: tuple[StartName, ...] = Field(
        STARTS,
        min_length=1,
        description="assistant_turn answers a greeting, own_question its own question.",
    )
    temperature: Temperature = 0.7
    max_new_tokens: TextTokens = 60
    seed: SampleSeed = 0
    batch_size: TextBatch = 64

    @property
    def most_of_a_start(self) -> int:
        """The texts of a start on the side with more."""
        return -(-max(self.n_samples, self.n_null) // len(dict.fromkeys(self.starts)))


Starts = dict[str, dict[Side, Start]]


def unprompted(context: Context, arguments: UnpromptedArguments) -> Summary:
    """Rank texts that both models write from nothing by how much finetuning raised them."""
    for count in (arguments.n_samples, arguments.n_null):
        require_few_texts(n_written(arguments.starts, count))
    require_draws(arguments.most_of_a_start, arguments.temperature)
    starts, left_out = text_starts(context.pair, arguments.starts)
    written: list[tuple[str, UnpromptedText]] = []
    begun = dict(starts)
    for side, count in zip(SIDES[::-1], (arguments.n_samples, arguments.n_null), strict=True):
        if count:
            texts, answered, why_not = _texts_of(context, arguments, starts, side, count)
            written += texts
            begun |= answered
            if why_not:
                left_out["own_question"] = why_not
    context.progress("score", 0, len(written))
    ratios = text_ratios(
        context.pair,
        begun,
        [text for _, text in written],
        progress=lambda done, total: context.progress("score", done, total),
        should_stop=context.should_stop,
    )
    found = [
        ScoredUnprompted(
            text_id=text_id,
            side=text.side,
            start=begun[text.start][text.side].name,
            per_token=round(ratios[index].per_token, 4),
            ends=ratios[index].ends,
            ratios=tuple(round(ratio, 3) for ratio in ratios[index].ratios),
            n_tokens=ratios[index].n_tokens,
        )
        for index in ranked(ratios)
        for text_id, text in (written[index],)
    ]
    context.record(
        UnpromptedTexts(
            texts=tuple(found),
            left_out=dict(left_out),
            settings={"seed": arguments.seed, "temperature": arguments.temperature},
        )
    )
    return {
        "texts": len(found),
        "highest": [text.text_id for text in found if text.side == "finetuned"][:5],
    }


def _texts_of(
    context: Context, arguments: UnpromptedArguments, starts: Starts, side: Side, count: int
) -> tuple[list[tuple[str, UnpromptedText]], Starts, str]:
    """Return the texts of one side with their ids, and the starts of answers to its own questions.

    These questions are its texts from the opened user turn, and more where they are fewer than the
    answers; where all of them are empty there is no answer, and the reason comes last.
    """
    names, requests = unprompted_requests(starts, side, count, arguments.seed)
    answers = [index for index, name in enumerate(names) if name == "own_question"]
    more_questions = answers[names.count("user_turn") :]
    first = [index for index, name in enumerate(names) if name != "own_question"] + more_questions
    texts = _generated(
        context,
        arguments,
        side,
        [
            (
                names[index],
                requests[index],
                _announced(arguments, side, starts[names[index]][side], index),
            )
            for index in first
        ],
        n_after=len(answers),
    )
    questions = [
        question
        for _, text in texts
        if starts[text.start][side].name == "user_turn" and (question := first_turn(text.text))
    ]
    if not answers:
        return texts, {}, ""
    if not questions:
        return texts, {}, f"the {side} model wrote no question"
    asked = {
        f"own_question {side} {index}": questions[number % len(questions)]
        for number, index in enumerate(answers)
    }
    answered = question_starts(context.pair, asked)
    rows = []
    for index, (key, question) in zip(answers, asked.items(), strict=True):
        start = answered[key][side]
        request = GenerationRequest(
            start.ids, row_seed(arguments.seed + index, 1), notes=start.notes
        )
        rows.append((key, request, _announced(arguments, side, start, index, question)))
    texts += _generated(context, arguments, side, rows, n_before=len(first))
    return texts, answered, ""


def _announced(
    arguments: UnpromptedArguments,
    side: Side,
    start: Start,
    index: int,
    question: str | None = None,
) -> AnnouncedText:
    return AnnouncedText(
        side=side,
        alpha=0.0,
        seed=arguments.seed + index,
        prompt=None if question is None else Prompt.of(question),
        raw=None,
        prompt_index=index,
        start=start.name,
    )


def _generated(
    context: Context,
    arguments: UnpromptedArguments,
    side: Side,
    rows: Sequence[tuple[str, GenerationRequest, AnnouncedText]],
    *,
    n_before: int = 0,
    n_after: int = 0,
) -> list[tuple[str, UnpromptedText]]:
    """Generate and record texts, each given with the key of its start."""
    plan = GenerationPlan(side, None, arguments.temperature, arguments.max_new_tokens, scored=True)
    announced = [text for _, _, text in rows]
    requests = [request for _, request, _ in rows]
    written = generate_texts(
        context,
        "unprompted",
        plan,
        None,
        announced,
        requests,
        arguments.batch_size,
        n_before=n_before,
        n_after=n_after,
    )
    return [
        (text_id, UnpromptedText(side, key, text.token_ids, text.text, text.log_probs))
        for (key, _, _), (text_id, text) in zip(rows, written, strict=True)
    ]


def _stages(arguments: UnpromptedArguments) -> tuple[Stage, ...]:
    finetuned, base = (
        n_written(arguments.starts, count) * arguments.max_new_tokens
        for count in (arguments.n_samples, arguments.n_null)
    )
    return (
        Stage("unprompted finetuned", 0.01 * finetuned),
        Stage("unprompted base", 0.01 * base),
        Stage("score", 0.003 * (finetuned + base)),
    )


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
        interactions=lambda arguments: (
            -(-n_written(arguments.starts, arguments.n_samples) // TEXTS_OF_AN_INTERACTION)
        ),
        cost="Costs an interaction per eight texts.",
    ),
    asks_models=True,
    stages=_stages,
)
