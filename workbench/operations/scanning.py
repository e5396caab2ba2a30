"""Scan: both models answer prompts of many kinds, ranked by how far the answers part."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import Field, model_validator

from adl.errors import PromptError
from adl.generation.asking import Question, question_requests
from adl.generation.steering import require_few_texts
from adl.measures.differing import read_passages, text_differences
from adl.measures.scanning import (
    OWN,
    AnswerCluster,
    AnswerDifference,
    ScanPrompt,
    answer_clusters,
    answer_differences,
    bundled_prompts,
    by_kind,
    chosen_kinds,
)
from adl.measures.spread import centre
from adl.measures.triggers import spread_out
from adl.records import SIDES, GeneratedText, GenerationPlan, Side
from adl.text.corpus import CorpusSource
from adl.text.prompts import Prompt, load_prompts
from workbench.fields import FieldsConflict
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
from workbench.operations.shared_arguments import AnswerBatch, AnswerTokens, PromptText, Temperature
from workbench.store.findings import Estimate
from workbench.store.measures.scanning import (
    FoundCluster,
    KindDifference,
    PromptsScanned,
    ScannedPrompt,
)

#: Unrelated passages whose mean KL stands beside that of the answers.
_PASSAGES, _PASSAGE_TOKENS = 16, 48


class ScanArguments(Arguments):
    """The prompts that both models answer, and the length of the answers."""

    kinds: tuple[str, ...] = Field(
        (), description="Kinds of bundled prompts, such as advice or self-knowledge; none: all."
    )
    prompts: tuple[PromptText, ...] = Field(
        (), description="Prompts to ask instead of the bundled ones."
    )
    prompt_file: str | None = Field(
        None, description="File of prompts instead: text lines or JSONL."
    )
    n_prompts: int | None = Field(None, ge=1, description="Use so many of them, evenly spread.")
    temperature: Temperature = 0.0
    max_new_tokens: AnswerTokens = 32
    seed: int = Field(0, ge=0, description="Random seed of the answers and of the passages.")
    batch_size: AnswerBatch = 48

    @model_validator(mode="after")
    def _one_source_of_prompts(self) -> ScanArguments:
        if sum(map(bool, (self.kinds, self.prompts, self.prompt_file))) > 1:
            raise FieldsConflict("give one of them", "kinds", "prompts", "prompt_file")
        return self


def scan(context: Context, arguments: ScanArguments) -> Summary:
    """Let both models answer prompts of many kinds, rank and cluster them by how far the answers part.

    Needs no hypothesis: its clusters are candidates for one.
    """
    prompts = _chosen(arguments)
    require_few_texts(len(prompts) * len(SIDES))
    answers: dict[Side, list[GeneratedText]] = {}
    ids: dict[Side, list[str]] = {}
    for side in SIDES:
        requests = [
            request
            for index, each in enumerate(prompts)
            for request in question_requests(
                context.pair, side, Question(prompt=each.prompt), [arguments.seed + index]
            )
        ]
        announced = [
            AnnouncedText(
                side=side,
                alpha=0.0,
                seed=arguments.seed + index,
                prompt=each.prompt,
                raw=None,
                prompt_index=index,
            )
            for index, each in enumerate(prompts)
        ]
        plan = GenerationPlan(side, None, arguments.temperature, arguments.max_new_tokens)
        written = generate_texts(
            context, "scan", plan, None, announced, requests, arguments.batch_size
        )
        ids[side] = [text_id for text_id, _ in written]
        answers[side] = [text for _, text in written]

    def progress(done: int, total: int) -> None:
        context.progress("compare answers", done, total)

    ranked = answer_differences(
        context.pair,
        [each.prompt for each in prompts],
        answers,
        progress=progress,
        should_stop=context.should_stop,
    )
    texts = {side: [answer.text for answer in answers[side]] for side in SIDES}
    clusters = answer_clusters(prompts, texts, ranked)
    kinds = by_kind([each.kind for each in prompts], ranked)
    place = {row.index: place for place, row in enumerate(ranked)}
    found = PromptsScanned(
        prompts=tuple(_recorded(prompts, ids, row) for row in ranked),
        clusters=tuple(_cluster(each, place) for each in clusters),
        kinds=tuple(
            KindDifference(
                name=kind,
                kl=Estimate(
                    value=round(mean.value, 5),
                    low=round(mean.low, 5),
                    high=round(mean.high, 5),
                    n=mean.n,
                ),
            )
            for kind, mean in kinds
        ),
        median=round(centre([row.difference.mean for row in ranked])[0], 5),
        reference=_reference(context, arguments.seed),
        settings={"seed": arguments.seed, "temperature": arguments.temperature},
    )
    context.record(found)
    return {
        "candidates": found.candidates(),
        "highest": [prompt.prompt for prompt in found.prompts[:5]],
    }


ANSWERS_OF_AN_INTERACTION = 8
"""Prompts of a scan that count as one model interaction of an agent."""


def _count(arguments: ScanArguments) -> int:
    count = len(arguments.prompts)
    if not count:
        prompts: Sequence[ScanPrompt] = bundled_prompts()
        # A kind that there is not is refused before anything is asked.
        with suppress(PromptError):
            prompts = chosen_kinds(prompts, arguments.kinds)
        count = len(prompts)
    return min(count, arguments.n_prompts or count)


def _stages(arguments: ScanArguments) -> tuple[Stage, ...]:
    answers = Stage("scan", 0.012 * _count(arguments) * arguments.max_new_tokens)
    return (
        *(Stage(f"scan {side}", answers.seconds) for side in SIDES),
        Stage("compare answers", 0.4 * _count(arguments)),
    )


SCAN = Operation(
    "scan",
    "Scan prompts of many kinds",
    ScanArguments,
    scan,
    needs=("pair",),
    finds=PromptsScanned,
    command=Command("scan"),
    agent=AgentUse(
        hidden=("prompt_file", "temperature", "seed", "batch_size"),
        most={"prompts": 100, "max_new_tokens": 64},
        interactions=lambda arguments: -(-_count(arguments) // ANSWERS_OF_AN_INTERACTION),
        cost="Costs an interaction per eight prompts.",
    ),
    asks_models=True,
    stages=_stages,
)


def _chosen(arguments: ScanArguments) -> list[ScanPrompt]:
    if arguments.prompts:
        prompts = [ScanPrompt(OWN, Prompt.of(text)) for text in arguments.prompts]
    elif arguments.prompt_file:
        prompts = [ScanPrompt(OWN, each) for each in load_prompts(Path(arguments.prompt_file))]
    else:
        prompts = chosen_kinds(bundled_prompts(), arguments.kinds)
    return spread_out(prompts, arguments.n_prompts)


def _reference(context: Context, seed: int) -> float | None:
    """The mean KL on unrelated passages; None where the sides write none of them alike."""
    context.check_stop()
    texts = CorpusSource.parse(None, None).open().texts(seed, _PASSAGES)
    read = read_passages(context.pair, list(texts), _PASSAGE_TOKENS)
    compared = text_differences(context.pair, read, should_stop=context.should_stop)
    if not compared:
        return None
    return round(sum(each.mean for each in compared) / len(compared), 5)


def _recorded(
    prompts: list[ScanPrompt], ids: dict[Side, list[str]], row: AnswerDifference
) -> ScannedPrompt:
    asked = prompts[row.index]
    return ScannedPrompt(
        prompt_kind=asked.kind,
        prompt=asked.prompt.text,
        divergence=None if row.divergence is None else round(row.divergence, 3),
        kl=round(row.difference.mean, 5),
        ratio=round(row.ratio, 4),
        base_ratio=round(row.base_ratio, 4),
        raised=row.difference.raised,
        probability=round(row.difference.probability, 5),
        texts={side: ids[side][row.index] for side in SIDES},
    )


def _cluster(found: AnswerCluster, place: dict[int, int]) -> FoundCluster:
    return FoundCluster(
        prompts=tuple(place[index] for index in found.members),
        phrases=found.phrases,
        prompt_kinds=dict(found.kinds),
    )
