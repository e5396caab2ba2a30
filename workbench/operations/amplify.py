"""Amplify: the finetuned model's logits pushed away from the base model's while it writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from adl.generation.amplified import amplified_requests
from adl.generation.steering import Sample, samples
from adl.measures.coherence import FEWEST_CALIBRATING, calibrate, judge, text_features
from adl.pair.protocol import Thinking
from adl.records import GeneratedText, GenerationPlan
from workbench.operations.generation import (
    THINKING,
    AnnouncedText,
    Words,
    chosen_prompts,
    generate_texts,
    prompts_and_samples,
)
from workbench.operations.running import (
    AgentUse,
    Arguments,
    Command,
    Context,
    Operation,
    Stage,
    Summary,
)
from workbench.store.measures.amplified import AmplifiedText, TextsAmplified

#: Beyond it every token but the one that finetuning raised most is as good as impossible.
STRONGEST = 20.0
Strength = Annotated[float, Field(gt=0, le=STRONGEST, allow_inf_nan=False)]


class AmplifyArguments(Arguments):
    """How strongly to amplify, and on which prompts."""

    prompts: tuple[Words, ...] = Field(
        (), description="User prompts; none means the bundled everyday prompts."
    )
    prompt_file: str | None = Field(None, description="File of prompts: text lines or JSONL.")
    n_prompts: int | None = Field(6, ge=1, description="Use only the first prompts, this many.")
    strengths: tuple[Strength, ...] = Field(
        (1.0, 2.0, 4.0),
        min_length=1,
        description="Strengths gamma; unchanged texts (0) are always written beside.",
    )
    null: bool = Field(
        True, description="Also write texts with the differences of the tokens shuffled."
    )
    n_samples: int = Field(1, ge=1, description="Samples per prompt and strength.")
    seed: int = Field(0, ge=0, description="First seed; samples take the ones after it.")
    temperature: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="0 takes the most probable token."
    )
    max_new_tokens: int = Field(60, ge=1, description="Longest text, in tokens.")
    thinking: Thinking = Field("auto", description=THINKING)
    batch_size: int = Field(40, ge=1, description="Texts per batch.")


def amplify(context: Context, arguments: AmplifyArguments) -> Summary:
    """Write with the finetuned model's logits amplified against the base model's.

    What finetuning made likelier becomes likelier still. Needs no measured difference; texts stand
    beside unchanged ones and a null from the same prompts and seeds.
    """
    prompts = chosen_prompts(arguments.prompts, arguments.prompt_file, arguments.n_prompts)
    seeds = range(arguments.seed, arguments.seed + arguments.n_samples)
    strengths = tuple(sorted(set(arguments.strengths)))
    plan = GenerationPlan("finetuned", None, arguments.temperature, arguments.max_new_tokens)
    wanted = [(each, False) for each in samples(len(prompts), (0.0, *strengths), seeds)]
    if arguments.null:
        wanted += [(each, True) for each in samples(len(prompts), strengths, seeds)]
    ids: list[str] = []
    texts: list[GeneratedText] = []
    for null in (False, True):
        some = [each for each, is_null in wanted if is_null == null]
        if not some:
            continue
        requests = amplified_requests(
            context.pair, prompts, some, shuffled=null, thinking=arguments.thinking
        )
        announced = [
            AnnouncedText(
                side="finetuned",
                alpha=0.0,
                seed=each.seed,
                prompt=prompts[each.prompt_index],
                raw=None,
                prompt_index=each.prompt_index,
                amplified=each.alpha,
                shuffled=null,
            )
            for each in some
        ]
        written = generate_texts(
            context,
            "amplify",
            plan,
            None,
            announced,
            requests,
            arguments.batch_size,
            arguments.thinking,
        )
        ids += [text_id for text_id, _ in written]
        texts += [text for _, text in written]
    faults = _faults(context, wanted, texts)
    context.record(
        TextsAmplified(
            prompts=tuple(prompt.text for prompt in prompts),
            texts=tuple(
                AmplifiedText(
                    text_id=text_id,
                    strength=each.alpha,
                    null=null,
                    prompt_index=each.prompt_index,
                    faults=found,
                )
                for text_id, (each, null), found in zip(ids, wanted, faults, strict=True)
            ),
            settings={"seed": arguments.seed, "temperature": arguments.temperature},
        )
    )
    return {"texts": ids, "strengths": list(strengths)}


def _stages(arguments: AmplifyArguments) -> tuple[Stage, ...]:
    """The batch of amplified and unchanged texts, then that of the null."""
    prompts = len(arguments.prompts) or arguments.n_prompts or 20
    texts = prompts * (len(arguments.strengths) + 1) * arguments.n_samples
    stage = Stage("amplify finetuned", 0.02 * texts * arguments.max_new_tokens)
    return (stage, stage) if arguments.null else (stage,)


AMPLIFY = Operation(
    "amplify",
    "Amplify the logits",
    AmplifyArguments,
    amplify,
    needs=("pair",),
    finds=TextsAmplified,
    command=Command("amplify"),
    agent=AgentUse(
        hidden=("prompt_file", "n_prompts", "null", "temperature", "thinking", "batch_size"),
        most={"prompts": 10, "n_samples": 5, "max_new_tokens": 200, "strengths": 4},
        interactions=lambda arguments: prompts_and_samples(
            arguments.prompts, arguments.n_prompts, arguments.n_samples
        ),
        cost="Costs one model interaction for each prompt and sample, however many strengths.",
    ),
    asks_models=True,
    stages=_stages,
)


def _faults(
    context: Context, wanted: Sequence[tuple[Sample, bool]], texts: Sequence[GeneratedText]
) -> list[tuple[str, ...] | None]:
    """Each text's faults against the unchanged texts; None where those are too few."""
    features = text_features(context.pair, "finetuned", texts, should_stop=context.should_stop)
    unchanged = [found for found, (each, _) in zip(features, wanted, strict=True) if not each.alpha]
    if sum(found.surprise is not None for found in unchanged) < FEWEST_CALIBRATING:
        return [None] * len(texts)
    limits = calibrate(unchanged)
    return [judge(found, limits).faults for found in features]
