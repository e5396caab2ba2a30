"""The steps of a sealed experiment: both sides answer or score, and the answers are judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from adl.generation.asking import Question, question_requests
from adl.generation.steering import row_seed
from adl.measures.statements import Statement, statement_margins
from adl.records import SIDES, GenerationPlan, GenerationRequest
from adl.text.prompts import Prompt
from workbench.operations.answer_rules import rule_verdict
from workbench.operations.experiment_arguments import ExperimentError
from workbench.operations.experiment_results import conclude
from workbench.operations.recorded_texts import AnnouncedText, generate_texts
from workbench.operations.running import Context, Summary
from workbench.store.experiment_events import (
    AnswerJudged,
    ExperimentPrompt,
    ExperimentSealed,
    StatementMargins,
    StatementsScored,
)
from workbench.store.measures.tested import HypothesisTested
from workbench.store.state import ExperimentState, SessionState


def unfinished(state: SessionState, experiment: str) -> ExperimentState:
    """Return an experiment without a result. Raises ``ExperimentError`` if there is no such one."""
    found = state.experiments.get(experiment)
    if found is None:
        there = ", ".join(state.experiments) or "none yet"
        raise ExperimentError(f"there is no experiment {experiment!r}", f"There are: {there}.")
    if found.result is not None:
        raise ExperimentError(
            f"{experiment} is done: {found.result.body.short()}", "Begin another test."
        )
    return found


def resuming(found: ExperimentState) -> str:
    """Return the command that goes on with an experiment."""
    return f"`adl-workbench test {found.hypothesis_id} --resume {found.id} --session last`"


def go_on(context: Context, experiment: str, batch_size: int) -> Summary:
    """Do what is left of a sealed experiment; a person's verdicts are waited for.

    Raises ``Stopped``, ``ExperimentError`` without an endpoint, and what the models raise.
    """
    sealed = context.session.state.experiments[experiment].sealed.body
    if sealed.test == "likelihood":
        _score(context, sealed)
        return ended(conclude(context, experiment))
    _ask(context, experiment, batch_size)
    if sealed.judge.kind == "person":
        state = context.session.state
        waiting = len(state.experiments[experiment].to_judge(state.texts))
        if waiting:
            return {"experiment": experiment, "to_judge": waiting}
    _judge_answers(context, experiment)
    return ended(conclude(context, experiment))


def ended(result: HypothesisTested) -> Summary:
    """Return the result in short."""
    return {
        "experiment": result.experiment,
        "hypothesis": result.hypothesis_id,
        "verdict": result.verdict,
        "words": list(result.words),
    }


def _score(context: Context, sealed: ExperimentSealed) -> None:
    """Score the statements, but for those that an earlier test of the same pair scored."""
    state = context.session.state
    if state.experiments[sealed.experiment].scored is not None:
        return
    known = _known_margins(state, sealed)
    wanted = [prompt for prompt in sealed.prompts if _scored_as(prompt) not in known]
    margins = statement_margins(
        context.pair,
        [Statement(prompt.text, prompt.statement, prompt.against, prompt.raw) for prompt in wanted],
        progress=lambda done, total: context.progress("score", done, total),
        should_stop=context.should_stop,
    )
    for prompt, found in zip(wanted, margins, strict=True):
        known[_scored_as(prompt)] = (
            None
            if found is None
            else StatementMargins(
                base=round(found.base, 4), finetuned=round(found.finetuned, 4), tokens=found.tokens
            )
        )
    context.record(
        StatementsScored(
            experiment=sealed.experiment,
            margins=tuple(known[_scored_as(prompt)] for prompt in sealed.prompts),
        )
    )


def _known_margins(
    state: SessionState, sealed: ExperimentSealed
) -> dict[tuple[Any, ...], StatementMargins | None]:
    return {
        _scored_as(prompt): margin
        for found in state.experiments.values()
        if found.scored is not None
        and found.sealed.body.settings.get("pair") == sealed.settings.get("pair")
        for prompt, margin in zip(found.sealed.body.prompts, found.scored.body.margins, strict=True)
    }


def _scored_as(prompt: ExperimentPrompt) -> tuple[Any, ...]:
    return prompt.text, prompt.statement, prompt.against, prompt.raw


def _ask(context: Context, experiment: str, batch_size: int) -> None:
    """Generate the answers that are missing, all of one side in batches."""
    state = context.session.state
    found = state.experiments[experiment]
    sealed = found.sealed.body
    missing = found.missing(state.texts)
    for side in SIDES:
        keys = [key for key in missing if key.side == side]
        if not keys:
            continue
        asked: dict[int, GenerationRequest] = {}
        for index in dict.fromkeys(key.prompt_index for key in keys):
            question = Question(prompt=Prompt.of(sealed.prompts[index].text))
            (asked[index],) = question_requests(context.pair, side, question, [0])
        generate_texts(
            context,
            "test",
            GenerationPlan(side, None, sealed.temperature, sealed.max_new_tokens),
            None,
            [
                AnnouncedText(
                    side=side,
                    alpha=0.0,
                    seed=key.seed,
                    prompt=Prompt.of(sealed.prompts[key.prompt_index].text),
                    raw=None,
                    prompt_index=key.prompt_index,
                    experiment=experiment,
                )
                for key in keys
            ],
            [
                replace(asked[key.prompt_index], seed=row_seed(key.seed, key.prompt_index))
                for key in keys
            ],
            batch_size,
        )


def _judge_answers(context: Context, experiment: str) -> None:
    """Judge the answers that have no verdict, in the shuffled order."""
    state = context.session.state
    found = state.experiments[experiment]
    sealed = found.sealed.body
    waiting = found.to_judge(state.texts)
    if sealed.judge.kind == "rule":
        judged = []
        shown = context.session.shown_to(found.sealed.actor)
        for done, (_, text_id) in enumerate(waiting):
            context.progress("judge", done, len(waiting))
            # An expression may take its time on each answer.
            context.check_stop()
            shows, reason = rule_verdict(sealed.judge, shown(state.texts[text_id].text))
            judged.append(
                AnswerJudged(
                    experiment=experiment, text_id=text_id, shows=shows, by="rule", reason=reason
                )
            )
        context.record_many(judged)
        return
    ask = context.session.answer_judge
    if ask is None and waiting:
        raise ExperimentError(
            f"there is no endpoint to ask {sealed.judge.model} at",
            f"Set one, and go on with {resuming(found)}: what was generated is kept.",
        )
    for done, (key, text_id) in enumerate(waiting):
        context.progress("judge", done, len(waiting))
        context.check_stop()
        assert ask is not None
        verdict = ask(
            sealed.judge.model,
            sealed.hypothesis,
            found.prompt(key).text,
            state.texts[text_id].text,
            context.should_stop,
        )
        context.record(
            AnswerJudged(
                experiment=experiment,
                text_id=text_id,
                shows=verdict.shows,
                by="llm",
                reason=verdict.reason,
            )
        )
    context.progress("judge", len(waiting), len(waiting))
