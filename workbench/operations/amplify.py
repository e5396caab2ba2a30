"""Amplify: one dial over four carriers of the finetuning, beside unchanged texts and a null of equal size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from adl.errors import SiteError
from adl.generation.amplified import (
    STRENGTHS,
    Carrier,
    amplified_requests,
    check_range,
    resolve_range,
    why_no_strength,
)
from adl.generation.steering import Sample, SteeringVector, sample_seeds, samples, steering_requests
from adl.measures.coherence import (
    FEWEST_CALIBRATING,
    TextFeatures,
    calibrate,
    judge,
    text_features,
)
from adl.nulls import RANDOM, SPLIT_HALF
from adl.pair.protocol import resolve_layer
from adl.records import (
    DEFAULT_LAYER,
    POOLED,
    GeneratedText,
    GenerationPlan,
    GenerationRequest,
    Part,
    Side,
    UpdateFacts,
    WeightChange,
)
from adl.text.prompts import Prompt
from workbench.operations.generation import INTERACTION, prompts_and_samples, strengths_counted
from workbench.operations.recorded_texts import (
    AnnouncedText,
    chosen_prompts,
    generate_texts,
    steering_vector,
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
from workbench.operations.shared_arguments import (
    Layer,
    PromptFile,
    Prompts,
    SampleSeed,
    Temperature,
    TextBatch,
    TextTokens,
    ThinkingMode,
)
from workbench.store.measures.amplified import AmplifiedText, TextsAmplified

#: Beyond it texts are noise, whatever carries the finetuning.
STRONGEST = 20.0
#: Bundled prompts that are used unless more are asked for.
N_BUNDLED = 6
Strength = Annotated[float, Field(ge=-STRONGEST, le=STRONGEST, allow_inf_nan=False)]


class AmplifyArguments(Arguments):
    """The carrier of the finetuning, the strengths to amplify it by, and the prompts."""

    carrier: Carrier = Field(
        "logits",
        description="difference: added to the residuals. logits: pushed away from base. "
        "adapter: its own scale. rank1: base with the rank-1 part of each update.",
    )
    prompts: Prompts = ()
    prompt_file: PromptFile = None
    n_prompts: int | None = Field(
        None,
        ge=1,
        description="Use only the first prompts, this many; none: all of yours, six bundled ones.",
    )
    strengths: tuple[Strength, ...] = Field(
        (),
        description="Alpha, gamma or scale (adapter: 1 is finetuned, -1 its opposite); none: the "
        "carrier's own. Unchanged texts come beside.",
    )
    layer: Layer = DEFAULT_LAYER
    position: str = Field(POOLED, description="Position of the difference.")
    layer_range: str | None = Field(
        None, description="Layers of adapter or rank1: 4-12 or 0.5-1.0."
    )
    part: Part = Field("all", description="Modules of adapter or rank1.")
    null: bool = Field(True, description="Also write texts of a null of the same size.")
    n_samples: int = Field(1, ge=1, description="Samples per prompt and strength.")
    seed: SampleSeed = 0
    temperature: Temperature = 1.0
    max_new_tokens: TextTokens = 60
    thinking: ThinkingMode = "auto"
    batch_size: TextBatch = 40

    @field_validator("strengths")
    @classmethod
    def _strengths_of_the_carrier(
        cls, strengths: tuple[float, ...], info: ValidationInfo
    ) -> tuple[float, ...]:
        for strength in strengths:
            why = why_no_strength(info.data.get("carrier", "logits"), strength)
            if why is not None:
                raise ValueError(f"{strength:g} amplifies nothing: {why}")
        return strengths

    @field_validator("layer_range")
    @classmethod
    def _range_of_layers(cls, text: str | None) -> str | None:
        if text is not None:
            try:
                check_range(text)
            except SiteError as exc:
                raise ValueError(str(exc)) from None
        return text

    @property
    def first_prompts(self) -> int | None:
        """The number of prompts used, None for all."""
        own = self.prompts or self.prompt_file
        return self.n_prompts if self.n_prompts or own else N_BUNDLED

    @property
    def in_order(self) -> tuple[float, ...]:
        """The strengths, the lowest first, those of the carrier if none were asked for."""
        return tuple(sorted(set(self.strengths or STRENGTHS[self.carrier])))


@dataclass(frozen=True)
class _Batch:
    """Texts that are written under one plan: unchanged, amplified, or of the null."""

    samples: Sequence[Sample]
    null: bool
    plan: GenerationPlan
    requests: Sequence[GenerationRequest]
    vector: SteeringVector | None = None


def amplify(context: Context, arguments: AmplifyArguments) -> Summary:
    """Write with the finetuning amplified: added difference, logits, adapter scale, or rank-1 update.

    What finetuning made likelier becomes likelier still. Texts stand beside unchanged ones and a null
    of the same size, from the same prompts and seeds. Only `difference` needs a measured difference.
    """
    prompts = chosen_prompts(arguments.prompts, arguments.prompt_file, arguments.first_prompts)
    facts, change = _weights(context, arguments)
    wanted: list[tuple[Sample, _Batch]] = []
    ids: list[str] = []
    texts: list[GeneratedText] = []
    for batch in _batches(context, arguments, prompts, change):
        announced = [_announced(arguments.carrier, batch, each, prompts) for each in batch.samples]
        written = generate_texts(
            context,
            "amplify",
            batch.plan,
            batch.vector,
            announced,
            batch.requests,
            arguments.batch_size,
            arguments.thinking,
        )
        wanted += [(each, batch) for each in batch.samples]
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
                    null=batch.null,
                    prompt_index=each.prompt_index,
                    faults=found,
                )
                for text_id, (each, batch), found in zip(ids, wanted, faults, strict=True)
            ),
            carrier="" if arguments.carrier == "logits" else arguments.carrier,
            place=_place(arguments, change),
            n_modules=len(facts.modules) if facts else 0,
            left_out=facts.left_out if facts else (),
            rank1_share=None
            if facts is None or facts.rank1_share is None
            else round(facts.rank1_share, 4),
            settings={"seed": arguments.seed, "temperature": arguments.temperature},
        )
    )
    return {"texts": ids, "strengths": list(arguments.in_order)}


def _weights(
    context: Context, arguments: AmplifyArguments
) -> tuple[UpdateFacts | None, WeightChange | None]:
    """The change of the weights and the modules it acts on, refused before any text is begun."""
    if arguments.carrier not in ("adapter", "rank1"):
        return None, None
    layers = None
    if arguments.layer_range is not None:
        layers = resolve_range(arguments.layer_range, context.pair.provenance.n_layers)
    change = WeightChange(arguments.carrier, 1.0, layers, arguments.part)
    return context.pair.update_facts(change, should_stop=context.should_stop), change


def _batches(
    context: Context,
    arguments: AmplifyArguments,
    prompts: Sequence[Prompt],
    change: WeightChange | None,
) -> Iterator[_Batch]:
    pair, strengths, thinking = context.pair, arguments.in_order, arguments.thinking
    seeds = sample_seeds(arguments.seed, arguments.n_samples, arguments.temperature)
    some = {
        null: samples(len(prompts), strengths if null else (0.0, *strengths), seeds)
        for null in ((False, True) if arguments.null else (False,))
    }
    layer = None
    if arguments.carrier == "difference":
        layer = resolve_layer(arguments.layer, pair.provenance.n_layers)
    for null, of_it in some.items():
        # Base writes the null; where weights are changed, that is the finetuned side without its update.
        side: Side = "base" if null and change is None else "finetuned"
        plan = GenerationPlan(side, layer, arguments.temperature, arguments.max_new_tokens)
        if arguments.carrier == "logits":
            asked = amplified_requests(pair, prompts, of_it, shuffled=null, thinking=thinking)
            yield _Batch(of_it, null, plan, asked)
        elif layer is not None:
            vector = _vector(context, arguments, layer, null=null)
            asked = steering_requests(pair, side, prompts, of_it, vector, thinking)
            yield _Batch(of_it, null, plan, asked, vector)
        elif change is not None:
            # Weights are changed for a batch as a whole: one for each strength.
            for strength in dict.fromkeys(each.alpha for each in of_it):
                at_it = [each for each in of_it if each.alpha == strength]
                asked = steering_requests(pair, side, prompts, at_it, None, thinking)
                seed = arguments.seed if null else None
                changed = replace(change, scale=strength, null=seed) if strength else None
                yield _Batch(at_it, null, replace(plan, weights=changed), asked)


def _vector(
    context: Context, arguments: AmplifyArguments, layer: int, *, null: bool
) -> SteeringVector:
    """The difference; of the null the base's halves, or a random direction where there are none."""
    place = (context, layer, arguments.position)
    if not null:
        return steering_vector(*place, "difference", arguments.seed)
    try:
        return steering_vector(*place, SPLIT_HALF, arguments.seed)
    except SiteError:
        return steering_vector(*place, RANDOM, arguments.seed)


def _announced(
    carrier: Carrier, batch: _Batch, each: Sample, prompts: Sequence[Prompt]
) -> AnnouncedText:
    steered = carrier == "difference"
    return AnnouncedText(
        side=batch.plan.side,
        alpha=each.alpha if steered else 0.0,
        seed=each.seed,
        prompt=prompts[each.prompt_index],
        raw=None,
        prompt_index=each.prompt_index,
        amplified=0.0 if steered else each.alpha,
        shuffled=batch.null,
        carrier="" if carrier == "logits" else carrier,
    )


def _place(arguments: AmplifyArguments, change: WeightChange | None) -> str:
    """The part of the model that the carrier acts on, in words."""
    if arguments.carrier == "difference":
        return f"layer {arguments.layer}, position {arguments.position}"
    if change is None:
        return ""
    layers = "all layers" if change.layers is None else "layers {} to {}".format(*change.layers)
    return layers if change.part == "all" else f"{change.part}, {layers}"


def _stages(arguments: AmplifyArguments) -> tuple[Stage, ...]:
    """A stage for each batch: all strengths in one, or one for each where weights are changed."""
    prompts = prompts_and_samples(arguments.prompts, arguments.first_prompts, 1)
    seconds = 0.02 * prompts * arguments.n_samples * arguments.max_new_tokens
    strengths = len(arguments.in_order)
    if arguments.carrier in ("adapter", "rank1"):
        batches = 1 + strengths * (1 + arguments.null)
        return (Stage("amplify finetuned", seconds),) * batches
    stage = Stage("amplify finetuned", seconds * (strengths + 1))
    return (stage, stage) if arguments.null else (stage,)


AMPLIFY = Operation(
    "amplify",
    "Amplify",
    AmplifyArguments,
    amplify,
    needs=("pair",),
    finds=TextsAmplified,
    place="both",
    command=Command("amplify"),
    agent=AgentUse(
        hidden=("prompt_file", "n_prompts", "null", "temperature", "thinking", "batch_size"),
        most={"prompts": 10, "n_samples": 5, "max_new_tokens": 200, "strengths": 4},
        interactions=lambda arguments: (
            prompts_and_samples(arguments.prompts, arguments.first_prompts, arguments.n_samples)
            * strengths_counted(arguments.in_order)
        ),
        cost=f"{INTERACTION} strength.",
    ),
    asks_models=True,
    stages=_stages,
)


def _faults(
    context: Context, wanted: Sequence[tuple[Sample, _Batch]], texts: Sequence[GeneratedText]
) -> list[tuple[str, ...] | None]:
    """Each text's faults against the unchanged texts; None where those are too few.

    A text is as surprising as the side that wrote it finds it.
    """
    features: list[TextFeatures] = []
    for side, of_side in groupby(zip(wanted, texts, strict=True), lambda one: one[0][1].plan.side):
        some = [text for _, text in of_side]
        features += text_features(context.pair, side, some, should_stop=context.should_stop)
    unchanged = [found for found, (each, _) in zip(features, wanted, strict=True) if not each.alpha]
    if sum(found.surprise is not None for found in unchanged) < FEWEST_CALIBRATING:
        return [None] * len(texts)
    limits = calibrate(unchanged)
    return [judge(found, limits).faults for found in features]
