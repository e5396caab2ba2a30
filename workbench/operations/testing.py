"""Tests of hypotheses: an experiment sealed before it begins, judged blind, with a plain verdict.

    hypothesis -> ExperimentSealed -> both sides answer -> AnswerJudged ... -> HypothesisTested
                                   -> statements scored  -------------------^       |
                                                                HypothesisJudged (confirmed)

An experiment that was interrupted is gone on with: what was generated and judged stays.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field, FiniteFloat, model_validator

from adl.callbacks import ShouldStop
from adl.errors import PromptError, Stopped
from adl.generation.asking import Question, question_requests
from adl.generation.steering import require_few_texts, row_seed
from adl.measures.control_statements import ANSWERS, FRAMES, STATEMENTS
from adl.measures.statements import Statement, statement_margins
from adl.records import SIDES, GenerationPlan, GenerationRequest
from adl.text.experiment_prompts import (
    filled,
    near_misses,
    neutral_prompts,
    subject_words,
    without_names,
)
from adl.text.files import json_rows
from adl.text.prompts import Prompt, load_prompts
from workbench.fields import FieldsConflict
from workbench.operations.answer_rules import check_regex, quoted_words, rule_verdict
from workbench.operations.experiment_results import conclude
from workbench.operations.generation import AnnouncedText, Words, generate_texts
from workbench.operations.hypotheses import HypothesisError, Wording, next_hypothesis
from workbench.operations.judges import AnswerJudge, AnswerVerdict, PromptWriter
from workbench.operations.running import (
    AgentUse,
    Arguments,
    Command,
    Context,
    Operation,
    Stage,
    Summary,
)
from workbench.store.encoding import canonical_json
from workbench.store.events import HypothesisStated
from workbench.store.experiment_events import (
    AnswerJudged,
    ExperimentPrompt,
    ExperimentSealed,
    JudgeSpec,
    StatementMargins,
    StatementsScored,
)
from workbench.store.measures.tested import HypothesisTested, PromptKind
from workbench.store.state import ExperimentState, HypothesisState, SessionState

N_SHOWS, N_NEAR, N_NEUTRAL = 24, 8, 8
"""Prompts of each kind where nobody gives them."""

KINDS: tuple[PromptKind, ...] = ("shows", "near_miss", "neutral")
READING_WORDS = 8
"""Words of readings that templates are filled with."""


class ExperimentError(HypothesisError):
    """A hypothesis cannot be tested so, or there is no such experiment."""


class ExperimentArguments(Arguments):
    """The hypothesis, the prompts that would show it, and the judge."""

    hypothesis: Wording = Field(description="Id, such as H1, or the words of a new one.")
    prompts: tuple[Words, ...] = Field(
        (), description="Prompts that would show it; none: templates with its words."
    )
    near_misses: tuple[Words, ...] = Field((), description="Similar ones that should not.")
    neutral: tuple[Words, ...] = Field((), description="Unrelated ones.")
    prompt_file: str | None = Field(
        None, description="File of prompts: lines, or JSONL with prompt and kind."
    )
    phrases: tuple[Words, ...] = Field((), description="An answer with one of these shows it.")
    regex: Words | None = Field(None, description="An answer that this matches shows it.")
    statement: Words | None = Field(
        None,
        description="Without generation: a sentence that became likelier, if it is so; "
        "with prompts, as their answer.",
    )
    against: tuple[Words, ...] = Field(
        (), description="Its negation, or alternatives in the same words."
    )
    judge: str | None = Field(None, description="LLM that judges the answers.")
    write_prompts: bool = Field(False, description="Let that LLM write the prompts, too.")
    person: bool = Field(False, description="A person judges, one answer at a time.")
    n_samples: int = Field(2, ge=1, description="Answers per prompt and side.")
    held_out: FiniteFloat = Field(
        1 / 3, ge=0, le=0.9, description="Share of the prompts held out until the end."
    )
    seed: int = Field(0, ge=0, description="First seed; further answers take the ones after it.")
    temperature: FiniteFloat = Field(0.7, ge=0, description="0 takes the most probable token.")
    max_new_tokens: int = Field(48, ge=1, description="Longest answer, in tokens.")
    batch_size: int = Field(40, ge=1, description="Answers per batch.")
    resume: str | None = Field(None, description="Id of an interrupted test to go on with: X1.")

    @model_validator(mode="after")
    def _one_judge(self) -> ExperimentArguments:
        judges = {
            "judge": self.judge is not None,
            "person": self.person,
            "phrases": bool(self.phrases),
            "regex": self.regex is not None,
            "statement": self.statement is not None,
        }
        given = [name for name, is_given in judges.items() if is_given]
        if len(given) > 1:
            raise FieldsConflict("one thing judges the answers", *given)
        if (self.statement is None) != (not self.against):
            raise FieldsConflict(
                "a statement and what it is compared with go together", "statement", "against"
            )
        if self.write_prompts and self.judge is None:
            raise FieldsConflict(
                "prompts are written by the judge: name one", "write_prompts", "judge"
            )
        if self.regex is not None and (why := check_regex(self.regex)):
            raise FieldsConflict(f"it cannot be used: {why}", "regex")
        return self


class JudgeAnswerArguments(Arguments):
    """A person's verdict on one answer of an experiment."""

    experiment: str = Field(description="Id of the experiment, such as X1.")
    text_id: str = Field(description="Id of the answer's text.")
    shows: bool | None = Field(
        description="True if the answer shows the hypothesis; none leaves it unscored."
    )
    reason: str = Field("", description="Why.")


def test(context: Context, arguments: ExperimentArguments) -> Summary:
    """Test a hypothesis: both models answer prompts that would show it, judged blind to the model."""
    if arguments.resume is not None:
        experiment = _unfinished(context.session.state, arguments.resume).id
    else:
        experiment = _seal(context, arguments)
    try:
        return _go_on(context, experiment, arguments.batch_size)
    except Stopped as exc:
        raise Stopped(f"{exc.message}; go on with resume {experiment}") from None


def judge_answer(context: Context, arguments: JudgeAnswerArguments) -> Summary:
    """Judge one answer of an experiment; the last one ends it."""
    with context.session.deciding:
        state = context.session.state
        found = _unfinished(state, arguments.experiment)
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
        return _ended(conclude(context, found.id))


def interactions(arguments: ExperimentArguments) -> int:
    """Return how many model interactions a test costs an agent."""
    if arguments.statement is not None:
        return 0
    counts = (
        (arguments.prompts, N_SHOWS),
        (arguments.near_misses, N_NEAR),
        (arguments.neutral, N_NEUTRAL),
    )
    answers = sum(len(given) or default for given, default in counts) * arguments.n_samples
    return -(-answers // 4)


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

    def write(model: str, hypothesis: str, _stop: ShouldStop) -> dict[PromptKind, list[str]]:
        for found in state.experiments.values():
            sealed = found.sealed.body
            if (sealed.prompts_from, sealed.hypothesis) == (model, hypothesis):
                return {
                    kind: [prompt.text for prompt in sealed.prompts if prompt.kind == kind]
                    for kind in KINDS
                }
        raise ExperimentError("no prompts of that model are recorded", "Give prompts.")

    return write


def _stages(arguments: ExperimentArguments) -> Sequence[Stage]:
    if arguments.statement is not None:
        return (Stage("score", 20.0),)
    answers = 4 * interactions(arguments)
    seconds = 0.01 * answers * arguments.max_new_tokens
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


# --- sealing --------------------------------------------------------------------------------


def _seal(context: Context, arguments: ExperimentArguments) -> str:
    """Record the experiment, and the hypothesis if it is a new one; return the experiment's id."""
    state = context.session.state
    named = state.hypotheses.get(arguments.hypothesis)
    if named is None and _looks_like_id(arguments.hypothesis):
        there = ", ".join(state.hypotheses) or "none yet"
        raise HypothesisError(
            f"there is no hypothesis {arguments.hypothesis!r}", f"There are: {there}."
        )
    text = arguments.hypothesis if named is None else named.text
    judge = _judge(arguments, text)
    prompts, prompts_from = _prompts(context, arguments, text, judge)
    if judge.kind != "likelihood":
        # Answers to prompts of earlier tests of these words are counted with the new ones.
        asked = set() if named is None else _asked(context, named)
        prompts = [prompt for prompt in prompts if prompt.text not in asked]
        if not any(prompt.kind == "shows" for prompt in prompts):
            raise ExperimentError(
                "every prompt that would show it was asked in an earlier test of these words",
                "Give other prompts: the answers to these are counted already.",
            )
        require_few_texts(len(prompts) * arguments.n_samples * len(SIDES))
    with context.session.deciding:
        bodies: list[Any] = []
        hypothesis_id = named.id if named else next_hypothesis(context.session.state)
        if named is None:
            bodies.append(HypothesisStated(hypothesis_id=hypothesis_id, text=text))
        experiment = f"X{len(context.session.state.experiments) + 1}"
        is_likelihood = judge.kind == "likelihood"
        bodies.append(
            ExperimentSealed(
                experiment=experiment,
                hypothesis_id=hypothesis_id,
                hypothesis=text,
                test="likelihood" if is_likelihood else "answers",
                prompts=_held_out(prompts, arguments.held_out, arguments.seed),
                prompts_from=prompts_from,
                judge=judge,
                seeds=()
                if is_likelihood
                else tuple(range(arguments.seed, arguments.seed + arguments.n_samples)),
                judging_seed=arguments.seed,
                temperature=arguments.temperature,
                max_new_tokens=arguments.max_new_tokens,
                settings={"pair": _pair_digest(context.session.state)},
            )
        )
        context.record_many(bodies)
    return experiment


def _pair_digest(state: SessionState) -> str:
    return hashlib.sha256(canonical_json(state.pair or {}).encode()).hexdigest()[:16]


def _asked(context: Context, hypothesis: HypothesisState) -> set[str]:
    """The prompts of finished tests of the hypothesis as it reads, others' as they are shown."""
    hide = context.session.shown_to(context.actor)
    return {
        prompt.text if found.sealed.actor == context.actor else hide(prompt.text)
        for found in context.session.state.experiments.values()
        if found.wording == (hypothesis.id, hypothesis.text) and found.result is not None
        for prompt in found.sealed.body.prompts
    }


def _looks_like_id(text: str) -> bool:
    return text[:1] in {"H", "h"} and text[1:].isdigit()


def _judge(arguments: ExperimentArguments, text: str) -> JudgeSpec:
    if arguments.statement is not None:
        return JudgeSpec(kind="likelihood")
    if arguments.judge is not None:
        return JudgeSpec(kind="llm", model=arguments.judge)
    if arguments.person:
        return JudgeSpec(kind="person")
    if arguments.regex is not None:
        return JudgeSpec(kind="rule", regex=arguments.regex)
    phrases = arguments.phrases or quoted_words(text)
    if not phrases:
        raise ExperimentError(
            "nothing tells when an answer shows the hypothesis",
            "Name phrases, a regular expression, a judge, or a statement and its alternative; or put "
            "the words that would show it in quotation marks.",
        )
    return JudgeSpec(kind="rule", phrases=phrases)


def _prompts(
    context: Context, arguments: ExperimentArguments, text: str, judge: JudgeSpec
) -> tuple[list[ExperimentPrompt], str]:
    given = _given(arguments)
    if arguments.statement is not None:
        return _statements(arguments, given), "given" if given["shows"] else "templates"
    if given["shows"]:
        prompts_from = "given"
    elif arguments.write_prompts:
        given, prompts_from = _written(context, arguments, text), arguments.judge or ""
    else:
        prompts_from = "templates"
        state = context.session.state
        # Of a hypothesis in a blind session, nothing that may be a name or a part of one is asked.
        is_blind = state.seal is not None and bool(state.seal.body.aliases)
        subjects = without_names(text) if is_blind else text
        words = [*subject_words(subjects), *_reading_words(state)]
        hidden = {word for phrase in judge.phrases for word in subject_words(phrase)}
        words = [word for word in dict.fromkeys(words) if word not in hidden]
        if not words:
            raise ExperimentError(
                f"the hypothesis {text!r} names nothing that could be asked about",
                "Name a subject in it, or give prompts that would show it.",
            )
        named = state.hypotheses.get(arguments.hypothesis)
        given["shows"] = filled(words, N_SHOWS, set() if named is None else _asked(context, named))
        given["near_miss"] = given["near_miss"] or near_misses(words, N_NEAR)
    given["neutral"] = given["neutral"] or neutral_prompts(N_NEUTRAL, given["shows"])
    _check_distinct(given)
    return [
        ExperimentPrompt(text=prompt, kind=kind) for kind in KINDS for prompt in given[kind]
    ], prompts_from


def _given(arguments: ExperimentArguments) -> dict[PromptKind, list[str]]:
    given: dict[PromptKind, list[str]] = {
        "shows": list(arguments.prompts),
        "near_miss": list(arguments.near_misses),
        "neutral": list(arguments.neutral),
    }
    if arguments.prompt_file is None:
        return given
    path = Path(arguments.prompt_file)
    prompts = load_prompts(path)
    kinds: Sequence[Any] = ["shows"] * len(prompts)
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        kinds = [row.get("kind", "shows") for _, row in json_rows(path, PromptError)]
    for prompt, kind in zip(prompts, kinds, strict=True):
        if kind not in KINDS:
            raise PromptError(
                f"a prompt of {path} is of kind {kind!r}", f"There are: {', '.join(KINDS)}."
            )
        if len(prompt.turns) != 1:
            raise PromptError(
                f"a prompt of {path} has several turns", "Give one turn of the user for each."
            )
        given[kind].append(prompt.text)
    return given


def _check_distinct(given: dict[PromptKind, list[str]]) -> None:
    seen: dict[str, PromptKind] = {}
    for kind in KINDS:
        for prompt in given[kind]:
            if not prompt.strip():
                raise ExperimentError("a prompt is empty", "Give every prompt words.")
            if prompt in seen:
                raise ExperimentError(
                    f"the prompt {prompt!r} is given twice",
                    "Give different ones: answers to one prompt resemble each other.",
                )
            seen[prompt] = kind


def _statements(
    arguments: ExperimentArguments, given: dict[PromptKind, list[str]]
) -> list[ExperimentPrompt]:
    """The statement after several phrasings or as the answer to prompts, and control statements."""
    statement, against = arguments.statement or "", arguments.against
    if statement in against:
        raise ExperimentError(
            "the statement is among its alternatives", "Name what would be the case otherwise."
        )
    if given["shows"]:
        _check_distinct(given)
        return [
            ExperimentPrompt(text=text, kind="shows", statement=statement, against=against)
            for text in given["shows"]
        ] + [
            ExperimentPrompt(text=text, kind="neutral", statement=one, against=(other,))
            for text, one, other in ANSWERS
        ]
    return [
        ExperimentPrompt(text=frame, kind="shows", statement=statement, against=against, raw=True)
        for frame in FRAMES
    ] + [
        ExperimentPrompt(text=frame, kind="neutral", statement=one, against=(other,), raw=True)
        for one, other in STATEMENTS
        for frame in FRAMES[:: len(FRAMES) // 2]
    ]


def _written(
    context: Context, arguments: ExperimentArguments, text: str
) -> dict[PromptKind, list[str]]:
    write = context.session.prompt_writer
    if write is None or arguments.judge is None:
        raise ExperimentError(
            "there is no endpoint to write prompts", "Set one, give prompts, or use the templates."
        )
    written = write(arguments.judge, text, context.should_stop)
    return {kind: list(written.get(kind, ())) for kind in KINDS}


def _reading_words(state: SessionState) -> list[str]:
    """The first words of the chosen readings of the difference, each reading in turn."""
    lists = [
        subject_words(*(token.text for token in found.body.tokens[:20]))
        for found in state.readings.values()
        if found.body.chosen and found.body.source == "difference"
    ]
    ranks = range(max(map(len, lists), default=0))
    words = [words[rank] for rank in ranks for words in lists if rank < len(words)]
    return list(dict.fromkeys(words))[:READING_WORDS]


def _held_out(
    prompts: Sequence[ExperimentPrompt], share: float, seed: int
) -> tuple[ExperimentPrompt, ...]:
    """The prompts with a share of each kind held out, drawn with the seed."""
    order = random.Random(seed)
    chosen: set[int] = set()
    for kind in KINDS:
        places = [index for index, prompt in enumerate(prompts) if prompt.kind == kind]
        chosen.update(order.sample(places, round(len(places) * share)))
    return tuple(
        prompt.model_copy(update={"held_out": index in chosen})
        for index, prompt in enumerate(prompts)
    )


# --- going on -------------------------------------------------------------------------------


def _unfinished(state: SessionState, experiment: str) -> ExperimentState:
    found = state.experiments.get(experiment)
    if found is None:
        there = ", ".join(state.experiments) or "none yet"
        raise ExperimentError(f"there is no experiment {experiment!r}", f"There are: {there}.")
    if found.result is not None:
        raise ExperimentError(
            f"{experiment} is done: {found.result.body.short()}", "Begin another test."
        )
    return found


def _go_on(context: Context, experiment: str, batch_size: int) -> Summary:
    sealed = context.session.state.experiments[experiment].sealed.body
    if sealed.test == "likelihood":
        _score(context, sealed)
        return _ended(conclude(context, experiment))
    _ask(context, experiment, batch_size)
    if sealed.judge.kind == "person":
        state = context.session.state
        waiting = len(state.experiments[experiment].to_judge(state.texts))
        if waiting:
            return {"experiment": experiment, "to_judge": waiting}
    _judge_answers(context, experiment)
    return _ended(conclude(context, experiment))


def _ended(result: HypothesisTested) -> Summary:
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
        for _, text_id in waiting:
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
            f"Set one, and go on with resume {experiment}: what was generated is kept.",
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
