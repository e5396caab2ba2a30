"""Judges an operation may ask, and the shape of their answers. Whoever has an endpoint sets them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from adl.callbacks import ShouldStop
from adl.measures.coherence import JudgedText


@dataclass(frozen=True)
class ScaleVerdict:
    """A judge's choice of a scale with why, or None with what is wrong."""

    scale: float | None
    why: str = ""


ScaleJudge = Callable[[str, str, Mapping[float, Sequence[str]], ShouldStop], ScaleVerdict]
"""Chooses a scale: given (model, reading, tokens by scale, when to stop)."""

TextJudge = Callable[[str, Sequence[JudgedText], ShouldStop], Sequence[bool | None]]
"""Whether texts are coherent: given (model, texts, when to stop); None without a verdict."""
