"""An experiment as it is sealed: the hypothesis, prompts of each kind with some held out, the judge."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adl.errors import PromptError
from adl.generation.steering import require_draws, require_few_texts, sample_seeds
from adl.measures.control_statements import ANSWERS, FRAMES, STATEMENTS
from adl.records import SIDES
from adl.text.experiment_prompts import (
    filled,
    near_misses,
    neutral_prompts,
    subject_words,
    without_names,
)
from adl.text.files import json_rows
from adl.text.prompts import load_prompts
from workbench.operations.answer_rules import quoted_words
from workbench.operations.experiment_arguments import (
    KINDS,
    N_NEAR,
    N_NEUTRAL,
    N_SHOWS,
    ExperimentArguments,
    ExperimentError,
)
from workbench.operations.hypotheses import HypothesisError, next_hypothesis
from workbench.operations.running import Context
from workbench.store.encoding import canonical_json
from workbench.store.events import EventBody, HypothesisStated
from workbench.store.experiment_events import ExperimentPrompt, ExperimentSealed, JudgeSpec
from workbench.store.measures.tested import PromptKind
from workbench.store.slices.experiments import same_pair
from workbench.store.state import HypothesisState, SessionState, chosen_lists

READING_WORDS = 8
"""Words of readings that templates are filled with."""


def seal_experiment(context: Context, arguments: ExperimentArguments) -> str:
    """Record the experiment, and the hypothesis if it is a new one; return the experiment's id."""
    state = context.session.state
    named = state.hypotheses.get(arguments.hypothesis)
    if named is None and _looks_like_id(arguments.hypothesis):
        raise _no_hypothesis(arguments.hypothesis, list(state.hypotheses))
    text = arguments.hypothesis if named is None else named.text
    judge = _judge(arguments, text)
    seeds: Sequence[int] = ()
    if judge.kind != "likelihood":
        seeds = sample_seeds(arguments.seed, arguments.n_samples, arguments.temperature)
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

    def decide(state: SessionState) -> tuple[str, list[EventBody]]:
        bodies: list[EventBody] = []
        hypothesis_id = named.id if named else next_hypothesis(state)
        if named is None:
            bodies.append(HypothesisStated(hypothesis_id=hypothesis_id, text=text))
        experiment = f"X{len(state.experiments) + 1}"
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
                seeds=tuple(seeds),
                judging_seed=arguments.seed,
                temperature=arguments.temperature,
                max_new_tokens=arguments.max_new_tokens,
                settings=_pair_settings(state),
            )
        )
        return experiment, bodies

    return context.record_decided(decide)


def check_before_the_pair(arguments: ExperimentArguments, *, is_new: bool) -> None:
    """Refuse what no answer could change; ``is_new`` for a session without hypotheses.

    Raises ``HypothesisError`` for an id there, ``ExperimentError`` where nothing judges, and
    ``PromptError`` for samples that would be copies.
    """
    if arguments.resume is not None:
        return
    if arguments.statement is None:
        require_draws(arguments.n_samples, arguments.temperature)
    if not _looks_like_id(arguments.hypothesis):
        _judge(arguments, arguments.hypothesis)
    elif is_new:
        raise _no_hypothesis(arguments.hypothesis, None)


def _no_hypothesis(wanted: str, there: Sequence[str] | None) -> HypothesisError:
    """The error that names the hypotheses ``there`` are; None for a session that begins now."""
    hint = f"There are: {', '.join(there or ()) or 'none yet'}."
    if there is None:
        hint = "There are none in this session, which is new. Name another with `--session last`."
    return HypothesisError(f"there is no hypothesis {wanted!r}", hint)


def _pair_settings(state: SessionState) -> dict[str, str]:
    """The digests that tell an experiment's pair; see ``same_pair``."""
    pair = state.pair or {}
    models = [_model(pair.get(side, {})) for side in SIDES]
    return {
        "pair": _digest(pair),
        "models": _digest({"sides": models, "quantisation": pair.get("quantisation")}),
    }


def _model(side: Mapping[str, Any]) -> list[Any]:
    """The weights, adapter, tokenizer and template of a side: they decide its answers, but for rounding."""
    named = (
        ("content_sha256", "resolved_revision", "checkpoint"),
        ("adapter_sha256", "adapter_revision", "adapter"),
        ("tokenizer_sha256",),
        ("chat_template_sha256",),
    )
    return [next((side[name] for name in names if side.get(name)), None) for names in named]


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def _asked(context: Context, hypothesis: HypothesisState) -> set[str]:
    """The prompts whose answers count: of finished tests of this pair, of the hypothesis as it reads.

    Those of others are as they are shown.
    """
    state = context.session.state
    settings = _pair_settings(state)
    hide = context.session.shown_to(context.actor)
    return {
        prompt.text if found.sealed.actor == context.actor else hide(prompt.text)
        for found in state.concluded()
        if found.wording == (hypothesis.id, hypothesis.text)
        and found.sealed.body.test == "answers"
        and same_pair(found.sealed.body.settings, settings)
        for prompt in found.sealed.body.prompts
    }


def _looks_like_id(text: str) -> bool:
    return text[:1] in {"H", "h"} and text[1:].isdecimal()


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
        written = _written(context, arguments, text)
        given = {kind: given[kind] or written[kind] for kind in KINDS}
        prompts_from = arguments.judge or ""
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
    named = context.session.state.hypotheses.get(arguments.hypothesis)
    asked = set() if named is None else _asked(context, named)
    written = write(arguments.judge, text, asked, context.should_stop)
    return {kind: list(written.get(kind, ())) for kind in KINDS}


def _reading_words(state: SessionState) -> list[str]:
    """The first words of the chosen readings of the difference, each reading in turn."""
    lists = [
        subject_words(*(token.text for token in found.body.tokens[:20]))
        for key, found in chosen_lists(state.readings).items()
        if key.source == "difference"
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
        count = round(len(places) * share)
        if share and len(places) > 1:
            count = max(1, count)
        chosen.update(order.sample(places, count))
    return tuple(
        prompt.model_copy(update={"held_out": index in chosen})
        for index, prompt in enumerate(prompts)
    )
