"""Coherent alpha: the strongest steering that leaves texts coherent. Every text is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from pydantic import Field, FiniteFloat

from adl.callbacks import ShouldStop
from adl.generation.steering import STEERING_TEMPERATURE, Sample, sample_seeds
from adl.measures.coherence import CoherenceJudge, JudgedText
from adl.measures.coherent_alpha import (
    FIRST_ALPHAS,
    AlphaSearch,
    CoherentAlpha,
    search_coherent_alpha,
)
from adl.pair.protocol import resolve_layer
from adl.records import DEFAULT_LAYER, POOLED, GeneratedText, GenerationPlan
from workbench.operations.judges import TextJudge
from workbench.operations.recorded_texts import chosen_prompts, generate_steered, steering_vector
from workbench.operations.running import Arguments, Command, Context, Operation, Summary
from workbench.operations.shared_arguments import (
    AlphaSamples,
    FirstPrompts,
    GeneratingSide,
    Layer,
    Position,
    PromptFile,
    SampleSeed,
    SteeredPrompts,
    Temperature,
    TextBatch,
    TextTokens,
)
from workbench.store.events import TextFinished
from workbench.store.log import SessionLog
from workbench.store.measures.coherent_alpha import (
    CoherenceRate,
    CoherenceVerdict,
    CoherentAlphaFound,
)


class CoherentAlphaArguments(Arguments):
    """Prompts, strengths to try first, and the site of the difference."""

    prompts: SteeredPrompts = ()
    prompt_file: PromptFile = None
    n_prompts: FirstPrompts = None
    alphas: tuple[FiniteFloat, ...] = Field(
        FIRST_ALPHAS, min_length=1, description="Strengths of the first round, in residual norms."
    )
    rounds: int = Field(
        2,
        ge=0,
        le=20,
        description="Further rounds, each dividing the step between coherent and incoherent.",
    )
    n_samples: AlphaSamples = 2
    layer: Layer = DEFAULT_LAYER
    position: Position = POOLED
    side: GeneratingSide = "finetuned"
    seed: SampleSeed = 0
    temperature: Temperature = STEERING_TEMPERATURE
    max_new_tokens: TextTokens = 40
    batch_size: TextBatch = 40
    judge: str | None = Field(
        None, description="LLM that judges every text, too; none judges by rules alone."
    )


def coherent_alpha(context: Context, arguments: CoherentAlphaArguments) -> Summary:
    """Search for the strongest steering that leaves texts coherent."""
    pair = context.pair
    seeds = sample_seeds(arguments.seed, arguments.n_samples, arguments.temperature)
    layer = resolve_layer(arguments.layer, pair.provenance.n_layers)
    prompts = chosen_prompts(arguments.prompts, arguments.prompt_file, arguments.n_prompts)
    vector = steering_vector(context, layer, arguments.position, "difference", arguments.seed)
    plan = GenerationPlan(arguments.side, layer, arguments.temperature, arguments.max_new_tokens)
    text_ids: list[str] = []

    def generate(wanted: Sequence[Sample]) -> Sequence[GeneratedText]:
        found = generate_steered(context, plan, prompts, wanted, vector, arguments.batch_size)
        text_ids.extend(text_id for text_id, _ in found)
        return [text for _, text in found]

    search = AlphaSearch(
        alphas=arguments.alphas,
        rounds=arguments.rounds,
        seeds=tuple(seeds),
    )
    found = search_coherent_alpha(
        pair,
        arguments.side,
        prompts,
        generate,
        search,
        llm=_judge(context, arguments.judge),
        should_stop=context.should_stop,
    )
    context.record(
        CoherentAlphaFound(
            side=arguments.side,
            layer=layer,
            position=arguments.position,
            source=vector.source,
            alpha=found.alpha,
            reached_end=found.reached_end,
            prompt_mean=found.prompt_mean,
            by_prompt=found.by_prompt,
            llm_alpha=found.llm_alpha,
            rates=tuple(CoherenceRate(**asdict(rate)) for rate in found.rates),
            limits=asdict(found.limits),
            agreement=asdict(found.agreement),
            texts=_verdicts(found, text_ids),
            judge=arguments.judge or "",
            settings={"residual_norm": float((vector.unit**2).sum() ** 0.5)},
        )
    )
    return {
        "alpha": found.alpha,
        "prompt_mean": found.prompt_mean,
        "llm_alpha": found.llm_alpha,
        "texts": text_ids,
    }


COHERENT_ALPHA = Operation(
    "coherent_alpha",
    "Find the strongest coherent alpha",
    CoherentAlphaArguments,
    coherent_alpha,
    needs=("pair", "difference"),
    finds=CoherentAlphaFound,
    command=Command("coherent-alpha"),
    asks_models=True,
)


def recorded_text_judge(log: SessionLog, session_id: str) -> TextJudge:
    """Return a judge that gives the verdicts recorded in a session; no LLM is asked."""
    texts: dict[str, str] = {}
    known: dict[tuple[str, str], bool | None] = {}
    for event in log.events(session_id, kinds=["text_finished", "coherent_alpha_found"]):
        body = event.body
        if isinstance(body, TextFinished):
            texts[body.text_id] = body.text
        elif isinstance(body, CoherentAlphaFound):
            known |= {(body.judge, texts[verdict.text_id]): verdict.llm for verdict in body.texts}

    def judge(model: str, texts: Sequence[JudgedText], _stop: ShouldStop) -> Sequence[bool | None]:
        return [known.get((model, judged.text)) for judged in texts]

    return judge


def _judge(context: Context, model: str | None) -> CoherenceJudge | None:
    """The judge of one run; without an endpoint it gives no verdicts."""
    if model is None:
        return None
    ask = context.session.coherence_judge
    if ask is None:
        return lambda texts: [None] * len(texts)
    return lambda texts: ask(model, texts, context.should_stop)


def _verdicts(found: CoherentAlpha, text_ids: Sequence[str]) -> tuple[CoherenceVerdict, ...]:
    return tuple(
        CoherenceVerdict(
            text_id=text_id,
            alpha=judged.sample.alpha,
            prompt_index=judged.sample.prompt_index,
            coherent=judged.plain.coherent,
            faults=judged.plain.faults,
            surprise=judged.features.surprise,
            repetition=judged.features.repetition,
            words=judged.features.words,
            llm=judged.llm,
        )
        for text_id, judged in zip(text_ids, found.samples, strict=True)
    )
