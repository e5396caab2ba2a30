"""LLM judges of operations and their answers; set by the part of the program with an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from adl.callbacks import ShouldStop
from adl.measures.coherence import JudgedText
from workbench.store.measures.tested import PromptKind


@dataclass(frozen=True)
class ScaleVerdict:
    """A judge's choice of a scale with its reason, or None with what went wrong."""

    scale: float | None
    why: str = ""


ScaleJudge = Callable[[str, str, Mapping[float, Sequence[str]], ShouldStop], ScaleVerdict]
"""Chooses a scale from (model, reading, tokens by scale, should_stop)."""

TextJudge = Callable[[str, Sequence[JudgedText], ShouldStop], Sequence[bool | None]]
"""Judges whether texts are coherent from (model, texts, should_stop); None without a verdict."""


@dataclass(frozen=True)
class AnswerVerdict:
    """A judge's word on one answer: True if it shows the hypothesis, None without a readable one."""

    shows: bool | None
    reason: str = ""


AnswerJudge = Callable[[str, str, str, str, ShouldStop], AnswerVerdict]
"""Judges an answer from (model, hypothesis, prompt, answer, should_stop), not knowing who wrote it."""

PromptWriter = Callable[[str, str, Set[str], ShouldStop], Mapping[PromptKind, Sequence[str]]]
"""Writes prompts of each kind from (model, hypothesis, prompts asked before, should_stop)."""
