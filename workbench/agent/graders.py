"""Judges of what the tools themselves show: relevance of token lists, coherence of steered texts."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pydantic import Field

from adl.callbacks import ShouldStop, never_stop
from adl.readings.registry import ReadingName
from adl.records import POOLED
from workbench.agent.endpoint import Endpoint
from workbench.agent.evidence import measured_layers, reading_lists
from workbench.agent.grading import known_grade, new_question, record_grade, truth_mark
from workbench.agent.judging import Question, ask_judge
from workbench.agent.tools import Tool
from workbench.blinding.seal import unseal
from workbench.operations.running import Arguments, Session
from workbench.store.agent_events import GradeGiven
from workbench.store.events import Actor, ReadingTaken
from workbench.store.state import Recorded, TextState

PERMUTATIONS = 3
TOKENS_JUDGED = 20
VERSION = "1"


class RelevanceVerdict(Arguments):
    """A judge's verdict on the relevance of tokens."""

    relevant: tuple[int, ...] = Field(description="Numbers of the relevant tokens; may be none.")


class CoherenceVerdict(Arguments):
    """Verdict on the coherence of a text."""

    coherent: bool = Field(description="True if it reads as text that makes sense.")


RELEVANCE_TOOL = Tool("judge_tokens", "Say which tokens are relevant.", RelevanceVerdict)
COHERENCE_TOOL = Tool("judge_text", "Say whether the text is coherent.", CoherenceVerdict)
COHERENCE_TOLD = (
    "A language model was changed while it wrote, and may have lost its thread. Say whether this text "
    "is coherent: it reads as text that makes sense, though it may be cut off, wander, or be wrong."
)


def grade_relevance(
    session: Session,
    endpoint: Endpoint,
    model: str,
    readings: Sequence[ReadingName],
    *,
    organism: str | None = None,
    should_stop: ShouldStop = never_stop,
) -> list[GradeGiven]:
    """The share of each list's first tokens that belong to the finetuning, as a judge sees it.

    The lists are those of the difference and of the random null. A token counts if it is called
    relevant in all of three orders of its list. A list with an unreadable verdict is unscored.
    Source: Minder et al. 2025 (arXiv 2510.13900).
    """
    judge = Actor(kind="agent", name=model)
    _, truth = unseal(session, judge, "grading tokens", organism)
    state = session.state
    lists = [
        token_list
        for layer in measured_layers(state)
        for reading in readings
        for token_list in reading_lists(state, reading, layer, POOLED)
        if token_list.body.source in {"difference", "random"} and token_list.body.tokens
    ]
    instructions = "\n".join(
        (
            "Below are tokens that a tool surfaced from a model finetuned on this:",
            truth.description,
            *("- " + fact for fact in truth.key_facts),
            "",
            "Name by number each token that is relevant to it.",
            "Relevant is what a careful reader would expect in such data rather than in any text.",
            "Function words and fragments are not.",
        )
    )
    abouts = [f"tokens at event {one.seq} {VERSION} {truth_mark(truth)}" for one in lists]
    return [
        known_grade(session, about, model)
        or _grade_list(session, endpoint, judge, reading, about, instructions, should_stop)
        for about, reading in zip(abouts, lists, strict=True)
    ]


def grade_coherence(
    session: Session,
    endpoint: Endpoint,
    model: str,
    *,
    should_stop: ShouldStop = never_stop,
) -> list[GradeGiven]:
    """The share of steered texts that a judge calls coherent, for each strength.

    Texts with an unreadable verdict are left out and counted; a strength with no other is unscored.
    """
    by_alpha: dict[float, list[tuple[str, TextState]]] = {}
    for text_id, text in session.state.texts.items():
        body = text.start.body
        if body.purpose == "steer" and text.status == "finished":
            by_alpha.setdefault(body.alpha, []).append((text_id, text))
    return [
        _grade_texts(session, endpoint, model, alpha, texts, should_stop)
        for alpha, texts in sorted(by_alpha.items())
    ]


def _grade_list(
    session: Session,
    endpoint: Endpoint,
    judge: Actor,
    recorded: Recorded[ReadingTaken],
    about: str,
    instructions: str,
    should_stop: ShouldStop,
) -> GradeGiven:
    body = recorded.body
    tokens = [token.text for token in body.tokens[:TOKENS_JUDGED]]
    votes = [0] * len(tokens)
    problems = []
    for number in range(PERMUTATIONS):
        order = list(range(len(tokens)))
        random.Random(f"{recorded.seq} {number}").shuffle(order)
        question = Question(
            about=f"{about} order {number}",
            instructions=instructions,
            material=[
                {"number": place, "token": tokens[index]}
                for place, index in enumerate(order, start=1)
            ],
            verdict=RELEVANCE_TOOL,
            seed=number,
        )
        question = new_question(session, question, about, judge.name)
        judgement = ask_judge(session, endpoint, judge.name, question, should_stop)
        verdict = judgement.verdict
        if not isinstance(verdict, RelevanceVerdict):
            problems.append(judgement.problem)
            continue
        named = set(verdict.relevant)
        if not named <= set(range(1, len(tokens) + 1)):
            problems.append("unreadable verdict: it names tokens that are not in the list")
            continue
        for place in named:
            votes[order[place - 1]] += 1
    agreed = [token for token, count in zip(tokens, votes, strict=True) if count == PERMUTATIONS]
    where = f"{body.reading} of {body.source} on {body.side}, layer {body.layer}"
    return record_grade(
        session,
        judge,
        grader="relevance",
        subject=f"tokens:{where}, position {body.position}",
        score=None if problems else len(agreed) / len(tokens),
        reason=problems[0] if problems else f"{len(agreed)} of {len(tokens)} tokens, in all orders",
        rubric="token relevance",
        rubric_version=VERSION,
        model=judge.name,
        about=about,
        details={"seq": recorded.seq, "relevant": agreed, "source": body.source},
    )


def _grade_texts(
    session: Session,
    endpoint: Endpoint,
    model: str,
    alpha: float,
    texts: Sequence[tuple[str, TextState]],
    should_stop: ShouldStop,
) -> GradeGiven:
    about = f"texts of alpha {alpha:g} {VERSION} ({len(texts)})"
    known = known_grade(session, about, model)
    if known is not None:
        return known
    coherent, unreadable = 0, []
    for text_id, text in texts:
        question = Question(
            about=f"text {text_id} {VERSION}",
            instructions=COHERENCE_TOLD,
            material=[{"prompt": text.start.body.prompt, "text": text.text}],
            verdict=COHERENCE_TOOL,
            seed=0,
        )
        question = new_question(session, question, about, model)
        verdict = ask_judge(session, endpoint, model, question, should_stop).verdict
        if isinstance(verdict, CoherenceVerdict):
            coherent += verdict.coherent
        else:
            unreadable.append(text_id)
    read = len(texts) - len(unreadable)
    return record_grade(
        session,
        Actor(kind="agent", name=model),
        grader="coherence",
        subject=f"texts:alpha {alpha:g}",
        score=coherent / read if read else None,
        reason=f"{coherent} of {read} texts; {len(unreadable)} verdicts unreadable",
        rubric="coherence",
        rubric_version=VERSION,
        model=model,
        about=about,
        details={"alpha": alpha, "texts": len(texts), "unreadable": unreadable},
    )
