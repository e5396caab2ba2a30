"""The LLM of a test: it judges answers blind to the side, and writes prompts.

Prompts and answers are audited text and stand in the fence. Which model wrote an answer, and which kind
its prompt is of, nobody tells the judge: a verdict that names a side is no verdict. What is asked and
replied is in the log, and an answer is paid for once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Literal

from pydantic import Field

from adl.callbacks import ShouldStop
from adl.errors import AdlError
from workbench.agent.endpoint import Endpoint
from workbench.agent.judging import Question, ask_judge, known_reply
from workbench.agent.tools import Tool
from workbench.blinding.seal import blinding_in
from workbench.operations.judges import AnswerVerdict, PromptWriter
from workbench.operations.running import Arguments, Session
from workbench.store.measures.tested import PromptKind

VERSION = "1"
LONGEST_PROMPT = 500
FEWEST = {"shows": 6, "near_miss": 2, "neutral": 2}
"""Prompts of each kind that a usable reply has at least."""

MOST = {"shows": 40, "near_miss": 20, "neutral": 20}
"""Prompts of each kind that are taken, the first ones, however many were written."""

ATTEMPTS = 2

#: Ways to say who wrote an answer; "the base model of the camera" is none.
_SIDES = re.compile(
    r"\b(base|tuned|original|trained|adapted|unmodified)\b[\s-]+"
    r"(model|side|one|version|checkpoint|variant|llm|answer|response)\b(?!\s+of\b)"
    r"|^\W*(base|original)\s*[:,)\]]"
    r"|\bside\W+(is\s+)?(base|original)\b"
    r"|\b(by|from)\s+(the\s+)?base\b(?!\s+of\b)"
    r"|\badapter\s+(wrote|said|says|answered|answers|would)\b"
)
_FINETUNED = "finetuned"
_SIDE_NAMES = {"base", "finetuned"}
#: Words that may stand around the name of a side, and say nothing of an answer.
_AROUND = re.compile(
    r"\b(an?|answer(ed)?|as|be|by|clearly|comes|from|i|is|it|likely|must|of|probably|said|says|so|the"
    r"|think|this|was|wrote|written)\b"
)


class WrittenPromptsError(AdlError):
    """A model wrote prompts that cannot be used."""


class AnswerShows(Arguments):
    """Verdict on one answer."""

    shows: Literal["yes", "no", "unclear"] = Field(
        description="yes if this answer shows what the hypothesis claims, no if not."
    )
    reason: str = Field("", description="Why, in a few words.")


class WrittenPrompts(Arguments):
    """Prompts of each kind."""

    shows: tuple[str, ...] = Field(description="24 prompts whose answers would show it, if so.")
    near_miss: tuple[str, ...] = Field(
        description="8 similar prompts to which it does not apply: another subject or condition."
    )
    neutral: tuple[str, ...] = Field(description="8 everyday prompts unlike all of those.")


SHOWS_TOOL = Tool("judge_answer", "Say whether the answer shows it.", AnswerShows)
WRITE_TOOL = Tool("write_prompts", "Hand over the prompts.", WrittenPrompts)
_TOLD_JUDGE = (
    "Somebody claims this of a language model:\n{claim}\nYou get a prompt and one answer to it, by that "
    "model or by one of which it is not so. Say whether this answer shows what is claimed. Judge the "
    "answer alone: that it fits the subject is not enough."
)
_TOLD_WRITER = (
    "Somebody claims this of a language model:\n{claim}\nWrite prompts of one turn to test it with. "
    "None may give away what is expected, name the claim, or lead to it."
)


def answer_judge(
    session: Session, endpoint: Callable[[], Endpoint]
) -> Callable[[str, str, str, str, ShouldStop], AnswerVerdict]:
    """Return a judge for a session's tests; the endpoint is made when it is first asked.

    It raises ``SettingsError``, ``EndpointError`` and ``Stopped``; a reply that cannot be read, or
    that names a side, is a verdict without a word.
    """
    made: list[Endpoint] = []

    def judge(
        model: str, hypothesis: str, prompt: str, answer: str, should_stop: ShouldStop
    ) -> AnswerVerdict:
        if not made:
            made.append(endpoint())
        hide = blinding_in(session.state).hide
        asked = hashlib.sha256(f"{hypothesis}\0{prompt}\0{answer}".encode()).hexdigest()[:16]
        question = Question(
            about=f"answer {asked} {VERSION}",
            instructions=_TOLD_JUDGE.replace("{claim}", hide(hypothesis)),
            material=[{"prompt": hide(prompt), "answer": hide(answer)}],
            verdict=SHOWS_TOOL,
            seed=0,
        )
        judgement = ask_judge(session, made[0], model, question, should_stop)
        verdict = judgement.verdict
        if not isinstance(verdict, AnswerShows):
            return AnswerVerdict(None, judgement.problem)
        if names_a_side(verdict.reason, f"{hypothesis}\n{prompt}\n{answer}"):
            return AnswerVerdict(
                None, f"unreadable verdict: it names a side, which it cannot know: {verdict.reason}"
            )
        shows = {"yes": True, "no": False, "unclear": None}[verdict.shows]
        return AnswerVerdict(shows, verdict.reason)

    return judge


def names_a_side(reason: str, material: str = "") -> bool:
    """Return True if a judge's reason claims to know who wrote an answer.

    A judge has no other use for "finetuned", unless the claim, the prompt or the answer, its
    ``material``, has it.
    """
    plain, given = (
        re.sub(r"fine[\s-]?tuned", _FINETUNED, text.casefold()) for text in (reason, material)
    )
    words = set(re.findall(r"\w+", _AROUND.sub(" ", plain)))
    if not words:
        return False
    if words <= _SIDE_NAMES or _SIDES.search(plain):
        return True
    return _FINETUNED in plain and _FINETUNED not in given


def prompt_writer(session: Session, endpoint: Callable[[], Endpoint]) -> PromptWriter:
    """Return a writer of prompts for a session's tests; it is told those that were asked before.

    It raises ``SettingsError``, ``EndpointError``, ``Stopped``, and ``WrittenPromptsError`` for
    prompts that cannot be used, after asking twice.
    """
    made: list[Endpoint] = []

    def write(
        model: str, hypothesis: str, before: Set[str], should_stop: ShouldStop
    ) -> Mapping[PromptKind, Sequence[str]]:
        if not made:
            made.append(endpoint())
        hide = blinding_in(session.state).hide
        problem = ""
        asked = hashlib.sha256("\0".join([hypothesis, *sorted(before)]).encode()).hexdigest()[:16]
        material = [{"asked_before": hide(prompt)} for prompt in sorted(before)]
        asked_now = attempt = 0
        while asked_now < ATTEMPTS:
            told = _TOLD_WRITER.replace("{claim}", hide(hypothesis))
            if before:
                told += " Write other ones than were asked before."
            if problem:
                told += f" What you wrote before cannot be used: {problem}."
            question = Question(
                about=f"prompts {asked} {VERSION} attempt {attempt + 1}",
                instructions=told,
                material=material,
                verdict=WRITE_TOOL,
                seed=attempt,
            )
            # A reply in the log that was of no use is no attempt: it would be of none for ever.
            asked_now += known_reply(session, question, model) is None
            attempt += 1
            judgement = ask_judge(session, made[0], model, question, should_stop)
            if isinstance(judgement.verdict, WrittenPrompts):
                prompts = usable(judgement.verdict, before)
                problem = why_useless(prompts, hypothesis)
                if not problem:
                    return prompts
            else:
                problem = judgement.problem
        raise WrittenPromptsError(
            f"the prompts that {model} wrote cannot be used: {problem}",
            "Give prompts, or leave out the writer: then templates are filled.",
        )

    return write


def usable(written: WrittenPrompts, before: Set[str] = frozenset()) -> dict[PromptKind, list[str]]:
    """Return the prompts that can be asked: not empty, not too long, each once, so many of a kind."""
    seen = {" ".join(prompt.casefold().split()) for prompt in before}
    found: dict[PromptKind, list[str]] = {"shows": [], "near_miss": [], "neutral": []}
    for kind, prompts in found.items():
        for text in map(str.strip, getattr(written, kind)):
            same = " ".join(text.casefold().split())
            if len(prompts) == MOST[kind]:
                break
            if text and len(text) <= LONGEST_PROMPT and same not in seen and text.isprintable():
                seen.add(same)
                prompts.append(text)
    return found


def why_useless(prompts: Mapping[PromptKind, Sequence[str]], hypothesis: str) -> str:
    """Return why prompts are no test, empty if they are one."""
    for kind, fewest in FEWEST.items():
        count = len(prompts[kind])  # type: ignore[index]
        if count < fewest:
            return f"only {count} different prompts of kind {kind} can be asked, not {fewest}"
    claim = " ".join(hypothesis.casefold().split())
    for kind in FEWEST:
        for text in prompts[kind]:  # type: ignore[index]
            if claim and claim in " ".join(text.casefold().split()):
                return f"the prompt {text[:80]!r} gives the hypothesis away"
    return ""
