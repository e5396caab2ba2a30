"""Generate text: steered and unsteered samples, and the same question to both models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, FiniteFloat, field_validator, model_validator

from adl.errors import PromptError
from adl.generation.asking import Question, answer_kl, first_divergence, question_requests
from adl.generation.steering import (
    STEERING_TEMPERATURE,
    require_few_texts,
    sample_seeds,
    samples,
)
from adl.pair.protocol import resolve_layer
from adl.records import DEFAULT_LAYER, POOLED, SIDES, GeneratedText, GenerationPlan, Side
from adl.text.prompts import N_EVERYDAY, Prompt, turns_of
from workbench.fields import FieldsConflict
from workbench.operations.recorded_texts import (
    AnnouncedText,
    chosen_prompts,
    generate_steered,
    generate_texts,
    steering_vector,
)
from workbench.operations.running import AgentUse, Arguments, Context, Operation, Stage, Summary
from workbench.operations.shared_arguments import (
    AlphaSamples,
    AnswerBatch,
    AnswerSeed,
    AnswerTokens,
    GeneratingSide,
    Layer,
    Position,
    PromptFile,
    Prompts,
    PromptText,
    SampleSeed,
    Temperature,
    TextBatch,
    TextTokens,
    ThinkingMode,
    Words,
)
from workbench.store.alphas import chosen_alphas
from workbench.store.events import AnswersCompared

# Steers small models and leaves them mostly coherent; used where no reading has chosen better.
DEFAULT_ALPHA = 0.3


class SteerArguments(Arguments):
    """Vector, strengths and prompts of the steering."""

    prompts: Prompts = ()
    prompt_file: PromptFile = None
    n_prompts: int | None = Field(None, ge=1, description="Use only so many, from the first.")
    alphas: tuple[FiniteFloat, ...] = Field(
        (),
        description="Strengths in units of the residual norm; 0 is unsteered. None: 0 and what the "
        "shift lens chose, or 0.3.",
    )
    layer: Layer = DEFAULT_LAYER
    position: Position = POOLED
    side: GeneratingSide = "finetuned"
    source: Literal["difference", "random", "split_half"] = Field(
        "difference", description="What is added; random and split_half are nulls."
    )
    thinking: ThinkingMode = "auto"
    n_samples: AlphaSamples = 1
    seed: SampleSeed = 0
    temperature: Temperature = STEERING_TEMPERATURE
    max_new_tokens: TextTokens = 60
    batch_size: TextBatch = 40

    @model_validator(mode="after")
    def _one_source_of_prompts(self) -> SteerArguments:
        if self.prompts and self.prompt_file is not None:
            raise FieldsConflict(
                "give prompts or a file of prompts, not both", "prompts", "prompt_file"
            )
        return self


class AskArguments(Arguments):
    """The question to both models: a prompt, a whole chat, or raw text."""

    prompt: PromptText | None = Field(
        None, description="The user's turn, put through the chat template."
    )
    messages: tuple[dict[str, Words], ...] = Field(
        (), description="A whole chat: role and content per turn."
    )
    system: Words | None = Field(None, description="System turn before the prompt.")
    prefill: Words = Field("", description="Words the answer begins with.")
    raw: Words | None = Field(None, description="Plain text to continue, with no chat template.")
    thinking: ThinkingMode = "auto"
    sides: tuple[Side, ...] = Field(SIDES, min_length=1, description="Which models to ask.")
    n_samples: int = Field(1, ge=1, description="Answers per model.")
    seed: AnswerSeed = 0
    temperature: Temperature = 1.0
    max_new_tokens: AnswerTokens = 120
    alpha: FiniteFloat = Field(
        0.0, description="Strength of steering, in residual norms; 0 is unsteered."
    )
    layer: str = Field(DEFAULT_LAYER, description="Layer of the difference, when steering.")
    position: str = Field(POOLED, description="Position of the difference, when steering.")
    batch_size: AnswerBatch = 40

    @field_validator("messages")
    @classmethod
    def _is_a_chat(cls, messages: tuple[dict[str, str], ...]) -> tuple[dict[str, str], ...]:
        if messages:
            try:
                turns_of(list(messages), "the question")
            except PromptError as exc:
                raise ValueError(f"{exc.message}. {exc.hint}") from None
            last = messages[-1]
            if last["role"] == "user" and not last["content"].strip():
                raise ValueError("the last turn needs at least one character")
        return messages

    @model_validator(mode="after")
    def _one_question(self) -> AskArguments:
        given = [self.prompt is not None, bool(self.messages), self.raw is not None]
        if sum(given) != 1:
            raise FieldsConflict("give exactly one of them", "prompt", "messages", "raw")
        if self.raw is not None and (self.system or self.prefill):
            raise FieldsConflict(
                "raw text takes no system turn and no prefill", "raw", "system", "prefill"
            )
        if self.raw is not None and self.thinking != "auto":
            raise FieldsConflict(
                "raw text has no chat template to switch thinking by", "raw", "thinking"
            )
        return self

    def question(self) -> Question:
        """Return the question for the models. Raises ``PromptError`` for an empty one."""
        if self.raw is not None:
            if not self.raw:
                raise PromptError("the raw text is empty", "Give at least one character.")
            return Question(raw=self.raw)
        turns = [(turn["role"], turn["content"]) for turn in self.messages]
        if self.prompt is not None:
            turns.append(("user", self.prompt))
        if self.system is not None:
            turns.insert(0, ("system", self.system))
        if self.prefill:
            turns.append(("assistant", self.prefill))
        return Question(prompt=Prompt(tuple(turns)), thinking=self.thinking)


def steer(context: Context, arguments: SteerArguments) -> Summary:
    """Generate steered and unsteered texts to the same prompts with the same seeds."""
    pair = context.pair
    layer = resolve_layer(arguments.layer, pair.provenance.n_layers)
    seeds = sample_seeds(arguments.seed, arguments.n_samples, arguments.temperature)
    prompts = chosen_prompts(arguments.prompts, arguments.prompt_file, arguments.n_prompts)
    vector = steering_vector(context, layer, arguments.position, arguments.source, arguments.seed)
    alphas = tuple(dict.fromkeys(arguments.alphas)) or _chosen_alphas(context, layer)
    wanted = samples(len(prompts), alphas, seeds)
    plan = GenerationPlan(arguments.side, layer, arguments.temperature, arguments.max_new_tokens)
    texts = generate_steered(
        context, plan, prompts, wanted, vector, arguments.batch_size, arguments.thinking
    )
    return {"texts": [text_id for text_id, _ in texts], "alphas": list(alphas)}


def ask(context: Context, arguments: AskArguments) -> Summary:
    """Ask both models the same question, and compare the answers token by token."""
    pair = context.pair
    question = arguments.question()
    require_few_texts(arguments.n_samples * len(arguments.sides))
    seeds = sample_seeds(arguments.seed, arguments.n_samples, arguments.temperature)
    layer = resolve_layer(arguments.layer, pair.provenance.n_layers) if arguments.alpha else None
    vector = (
        None
        if layer is None
        else steering_vector(context, layer, arguments.position, "difference", arguments.seed)
    )
    answers: dict[Side, list[tuple[str, GeneratedText]]] = {}
    for side in dict.fromkeys(arguments.sides):
        requests = question_requests(pair, side, question, seeds, vector, arguments.alpha)
        plan = GenerationPlan(side, layer, arguments.temperature, arguments.max_new_tokens)
        announced = [
            AnnouncedText(
                side=side,
                alpha=arguments.alpha,
                seed=seed,
                prompt=question.prompt,
                raw=question.raw,
                prompt_index=0,
            )
            for seed in seeds
        ]
        answers[side] = generate_texts(
            context,
            "ask",
            plan,
            vector,
            announced,
            requests,
            arguments.batch_size,
            arguments.thinking,
        )
    if set(answers) == set(SIDES):
        _compare(context, question, answers)
    return {"texts": {side: [text_id for text_id, _ in found] for side, found in answers.items()}}


def _steer_stages(arguments: SteerArguments) -> tuple[Stage, ...]:
    # Those of a file, and the alphas that a reading is still to choose, can only be guessed.
    prompts = len(arguments.prompts) or arguments.n_prompts or N_EVERYDAY
    texts = prompts * (len(arguments.alphas) or 3) * arguments.n_samples
    return (Stage("steer", 0.019 * texts * arguments.max_new_tokens),)


def prompts_and_samples(prompts: Sequence[str], n_prompts: int | None, n_samples: int) -> int:
    """Return how many prompts are put to a model, none being the everyday ones, times the samples."""
    count = len(prompts) or N_EVERYDAY
    return min(count, n_prompts or count) * n_samples


INTERACTION = "Costs an interaction per prompt, sample and"
"""An agent's model interaction: one prompt answered once, with the answer to compare it with.

That is base's answer beside finetuned's (`ask`), or the unsteered text beside the one of a strength
(`steer`, `amplify`); the paper counts the questions of its agents so.
"""


def strengths_counted(strengths: Sequence[float]) -> int:
    """Return how many strengths cost an agent something: unsteered texts are there to compare with."""
    return max(1, len({strength for strength in strengths if strength}))


STEER = Operation(
    "steer",
    "Steer with the difference",
    SteerArguments,
    steer,
    needs=("pair", "difference"),
    place="pane",
    agent=AgentUse(
        hidden=("prompt_file", "batch_size"),
        most={
            "prompts": 10,
            "n_prompts": N_EVERYDAY,
            "n_samples": 5,
            "max_new_tokens": 200,
            "alphas": 4,
        },
        interactions=lambda arguments: (
            prompts_and_samples(arguments.prompts, arguments.n_prompts, arguments.n_samples)
            * strengths_counted(arguments.alphas)
        ),
        cost=f"{INTERACTION} alpha other than 0.",
        needed=("alphas",),
    ),
    asks_models=True,
    stages=_steer_stages,
)
ASK = Operation(
    "ask",
    "Ask both models",
    AskArguments,
    ask,
    needs=("pair",),
    place="pane",
    agent=AgentUse(
        hidden=("batch_size",),
        most={
            "n_samples": 5,
            "max_new_tokens": 300,
            "prompt": 8_000,
            "system": 8_000,
            "prefill": 8_000,
            "raw": 8_000,
            "messages": 20,
        },
        black_box=True,
        interactions=lambda arguments: arguments.n_samples,
        cost="Costs an interaction per prompt and sample.",
    ),
    asks_models=True,
)


def _compare(
    context: Context, question: Question, answers: dict[Side, list[tuple[str, GeneratedText]]]
) -> None:
    pairs = list(zip(answers["base"], answers["finetuned"], strict=True))
    for done, ((base_id, base), (finetuned_id, finetuned)) in enumerate(pairs):
        context.check_stop()
        kl = answer_kl(context.pair, question, "finetuned", finetuned)
        context.record(
            AnswersCompared(
                base_text=base_id,
                finetuned_text=finetuned_id,
                first_divergence=first_divergence(context.pair, base, finetuned),
                along=finetuned_id,
                kl=tuple(round(float(value), 6) for value in kl),
            )
        )
        context.progress("compare", done + 1, len(pairs))


def _chosen_alphas(context: Context, layer: int) -> tuple[float, ...]:
    """Zero, and the alphas that the shift lens chose for either side at this layer."""
    chosen = {
        key.scale
        for key in chosen_alphas(context.session.state)
        if key.layer == layer and key.scale is not None
    }
    return (0.0, *sorted(chosen or {DEFAULT_ALPHA}))
