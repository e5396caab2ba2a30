"""Completions: likeliest next tokens, words and continuations of prefixes, on both sides."""

from __future__ import annotations

from pydantic import Field, model_validator

from adl.generation.asking import Question
from adl.generation.completions import Completion, complete
from adl.text.prompts import Prompt
from workbench.fields import FieldsConflict
from workbench.operations.running import (
    AgentUse,
    Arguments,
    Command,
    Context,
    Operation,
    Stage,
    Summary,
)
from workbench.operations.shared_arguments import PromptText, Words
from workbench.store.measures.completions import (
    CompletedPrefix,
    CompletionsFound,
    FoundCompletion,
)


class CompleteArguments(Arguments):
    """The prefixes to complete: raw text, or the start of the assistant's answer to a question."""

    prefixes: tuple[Words, ...] = Field(
        min_length=1, description="Texts that leave one thing open."
    )
    question: PromptText | None = Field(
        None, description="The user's turn that the prefixes begin an answer to; none: raw text."
    )
    top: int = Field(20, ge=1, le=500, description="Next tokens kept.")
    beams: int = Field(8, ge=1, le=64, description="Words and continuations kept.")

    @model_validator(mode="after")
    def _not_empty(self) -> CompleteArguments:
        if self.question is None and not all(self.prefixes):
            raise FieldsConflict("a raw prefix needs at least one character", "prefixes")
        return self


def complete_prefixes(context: Context, arguments: CompleteArguments) -> Summary:
    """Complete prefixes with the finetuned model, every completion scored by both models."""
    found = []
    for done, prefix in enumerate(arguments.prefixes):
        context.progress("complete", done, len(arguments.prefixes))
        context.check_stop()
        question = _question(prefix, arguments.question)
        completions = complete(
            context.pair,
            question,
            top=arguments.top,
            beams=arguments.beams,
            should_stop=context.should_stop,
        )
        chat = (
            () if arguments.question is None else ({"role": "user", "content": arguments.question},)
        )
        found.append(
            CompletedPrefix(
                prefix=prefix,
                chat=chat,
                tokens=tuple(map(_found, completions.tokens)),
                raised=tuple(map(_found, completions.raised)),
                words=tuple(map(_found, completions.words)),
                continuations=tuple(map(_found, completions.continuations)),
            )
        )
    context.progress("complete", len(arguments.prefixes), len(arguments.prefixes))
    context.record(CompletionsFound(prefixes=tuple(found)))
    return {
        "completions": {prefix.prefix: [word.text for word in prefix.words[:3]] for prefix in found}
    }


COMPLETE = Operation(
    "complete",
    "Complete prefixes",
    CompleteArguments,
    complete_prefixes,
    needs=("pair",),
    finds=CompletionsFound,
    command=Command("complete", positional="prefixes"),
    agent=AgentUse(
        hidden=("top", "beams"),
        most={"prefixes": 20, "question": 8_000},
        interactions=lambda arguments: len(arguments.prefixes),
        cost="Costs an interaction per prefix.",
    ),
    asks_models=True,
    stages=lambda arguments: (Stage("complete", 4.0 * len(arguments.prefixes)),),
)


def _question(prefix: str, asked: str | None) -> Question:
    if asked is None:
        return Question(raw=prefix)
    return Question(Prompt((("user", asked), ("assistant", prefix))))


def _found(completion: Completion) -> FoundCompletion:
    base = None if completion.base is None else round(completion.base, 4)
    return FoundCompletion(
        text=completion.text, finetuned=round(completion.finetuned, 4), base=base
    )
