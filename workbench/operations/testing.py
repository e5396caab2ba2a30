"""Tests of hypotheses: an experiment sealed before it begins, judged blind, with a plain verdict.

    hypothesis -> ExperimentSealed -> both sides answer -> AnswerJudged ... -> HypothesisTested
                                   -> statements scored  -------------------^       |
                                                                HypothesisJudged (confirmed)

An experiment that was interrupted is gone on with: what was generated and judged stays.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from adl.callbacks import ShouldStop
from adl.errors import Stopped
from workbench.operations.experiment_arguments import (
    KINDS,
    N_NEAR,
    N_NEUTRAL,
    N_SHOWS,
    ExperimentArguments,
    ExperimentError,
    JudgeAnswerArguments,
)
from workbench.operations.experiment_results import conclude
from workbench.operations.experiment_sealing import seal_experiment
from workbench.operations.experiment_steps import ended, go_on, resuming, unfinished
from workbench.operations.judges import AnswerJudge, AnswerVerdict, PromptWriter
from workbench.operations.running import (
    AgentUse,
    Command,
    Context,
    Operation,
    Stage,
    Summary,
)
from workbench.store.experiment_events import AnswerJudged
from workbench.store.measures.tested import HypothesisTested, PromptKind
from workbench.store.state import SessionState


def test(context: Context, arguments: ExperimentArguments) -> Summary:
    """Test a hypothesis: both models answer prompts that would show it, judged blind to the model."""
    if arguments.resume is not None:
        experiment = unfinished(context.session.state, arguments.resume).id
    else:
        experiment = seal_experiment(context, arguments)
    try:
        return go_on(context, experiment, arguments.batch_size)
    except Stopped as exc:
        found = context.session.state.experiments[experiment]
        raise Stopped(f"{exc.message}; go on with {resuming(found)}") from None


def judge_answer(context: Context, arguments: JudgeAnswerArguments) -> Summary:
    """Judge one answer of an experiment; the last one ends it."""
    with context.session.deciding:
        state = context.session.state
        found = unfinished(state, arguments.experiment)
        if found.sealed.body.judge.kind != "person":
            raise ExperimentError(
                f"{found.id} is judged by {found.sealed.body.judge.words()}",
                "Begin another test that a person judges.",
            )
        if arguments.text_id not in {text_id for _, text_id in found.judging(state.texts)}:
            raise ExperimentError(
                f"{found.id} has no answer {arguments.text_id!r}",
                "Take the answers in the order in which they are shown.",
            )
        context.record(
            AnswerJudged(
                experiment=found.id,
                text_id=arguments.text_id,
                shows=arguments.shows,
                by="person",
                reason=arguments.reason,
            )
        )
        state = context.session.state
        found = state.experiments[found.id]
        left = len(found.missing(state.texts)) + len(found.to_judge(state.texts))
        if left:
            return {"experiment": found.id, "left": left}
        return ended(conclude(context, found.id))


def interactions(arguments: ExperimentArguments) -> int:
    """Return how many model interactions a test costs an agent."""
    # One that is gone on with was paid for when it began, and a likelihood writes nothing.
    if arguments.resume is not None or arguments.statement is not None:
        return 0
    return -(-_n_answers(arguments) // 4)


def _n_answers(arguments: ExperimentArguments) -> int:
    """Return how many answers a side is to write at the most."""
    # Near misses are made up for prompts that are made up.
    near = 0 if arguments.prompts else N_NEAR
    counts = (
        (arguments.prompts, N_SHOWS),
        (arguments.near_misses, near),
        (arguments.neutral, N_NEUTRAL),
    )
    return sum(len(given) or default for given, default in counts) * arguments.n_samples


def recorded_answer_judge(state: SessionState) -> AnswerJudge:
    """Return a judge that gives the verdicts recorded in a session; no LLM is asked."""
    known: dict[tuple[str, str, str, str], AnswerVerdict] = {}
    for found in state.experiments.values():
        sealed = found.sealed.body
        for key, text_id in found.judging(state.texts):
            if (verdict := found.verdicts.get(text_id)) is not None:
                prompt, answer = found.prompt(key).text, state.texts[text_id].text
                known[sealed.judge.model, sealed.hypothesis, prompt, answer] = AnswerVerdict(
                    verdict.body.shows, verdict.body.reason
                )

    def judge(
        model: str, hypothesis: str, prompt: str, answer: str, _stop: ShouldStop
    ) -> AnswerVerdict:
        unknown = AnswerVerdict(None, "another answer than the recorded one")
        return known.get((model, hypothesis, prompt, answer), unknown)

    return judge


def recorded_prompts(state: SessionState) -> PromptWriter:
    """Return a writer that gives the prompts recorded in a session; no LLM is asked."""

    def write(
        model: str, hypothesis: str, asked: Set[str], _stop: ShouldStop
    ) -> dict[PromptKind, list[str]]:
        for found in state.experiments.values():
            sealed = found.sealed.body
            is_new = not asked & {prompt.text for prompt in sealed.prompts}
            if is_new and (sealed.prompts_from, sealed.hypothesis) == (model, hypothesis):
                return {
                    kind: [prompt.text for prompt in sealed.prompts if prompt.kind == kind]
                    for kind in KINDS
                }
        raise ExperimentError("no prompts of that model are recorded", "Give prompts.")

    return write


def _stages(arguments: ExperimentArguments) -> Sequence[Stage]:
    if arguments.statement is not None:
        return (Stage("score", 20.0),)
    seconds = 0.01 * _n_answers(arguments) * arguments.max_new_tokens
    return (Stage("test base", seconds), Stage("test finetuned", seconds), Stage("judge", 1.0))


TEST = Operation(
    "test",
    "Test a hypothesis",
    ExperimentArguments,
    test,
    needs=("pair",),
    finds=HypothesisTested,
    place="both",
    command=Command(
        "test",
        positional="hypothesis",
        options={"near_misses": "near_miss", "phrases": "phrase"},
    ),
    agent=AgentUse(
        hidden=(
            "prompt_file",
            "regex",
            "person",
            "judge",
            "write_prompts",
            "held_out",
            "temperature",
            "batch_size",
        ),
        most={
            "prompts": 40,
            "near_misses": 20,
            "neutral": 20,
            "phrases": 20,
            "against": 8,
            "n_samples": 4,
            "max_new_tokens": 120,
            "hypothesis": 2_000,
            "statement": 1_000,
        },
        interactions=interactions,
        cost="Costs an interaction per four answers of a model, none for a statement.",
    ),
    asks_models=True,
    stages=_stages,
)
JUDGE_ANSWER = Operation(
    "judge_answer",
    "Judge an answer of a test",
    JudgeAnswerArguments,
    judge_answer,
    place="pane",
    uses_models=False,
)
