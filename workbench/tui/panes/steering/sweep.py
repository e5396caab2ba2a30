"""Statistics of a sweep over alpha that need no model: how much the texts repeat.

    repetition   of one text: the mean of two shares, of words that occurred in the text before and of
                 runs of three words that did; of an alpha: the mean over its texts
    ended        how many texts came to an end by themselves within the tokens they had

Repetition is a property of the letters, not a judgement of coherence: text may be noise and repeat
nothing. The unsteered texts of the same operation are the baseline.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean

from workbench.store.state import TextState
from workbench.tui.panes.steering.texts import dial

#: Words; single marks, so that a run of them counts; single characters where no spaces part words.
_WORDS = re.compile(r"[\u3040-\ud7af]|[^\W\u3040-\ud7af]+|[^\w\s]")

#: Fewer words than this have no repetition score.
FEWEST_WORDS = 5
#: Above the unsteered texts by so much, a text visibly goes in circles.
CIRCLES = 0.2


@dataclass(frozen=True)
class SweepLine:
    """One alpha of a sweep. ``beginning`` is of its first text, raw and untrusted.

    ``repetition`` is None where no text is long enough; ``excess`` is how far it is above that of the
    unsteered texts. ``finished`` of ``begun`` texts are whole, ``ended`` of them by themselves.
    """

    alpha: float
    repetition: float | None
    excess: float | None
    begun: int
    finished: int
    ended: int
    beginning: str

    @property
    def circles(self) -> bool:
        """True if the texts repeat much more than without steering."""
        return self.excess is not None and self.excess >= CIRCLES


@lru_cache(maxsize=1024)
def repetition(text: str) -> float | None:
    """Return the repeated share of ``text``, 0 to 1; None for a text of a few words."""
    words = _WORDS.findall(text.lower())
    if len(words) < FEWEST_WORDS:
        return None
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return (_repeated(words) + _repeated(trigrams)) / 2


def mean_repetition(texts: Sequence[str]) -> float | None:
    """The mean over the texts that are long enough; None if there is none."""
    found = [score for text in texts if (score := repetition(text)) is not None]
    return fmean(found) if found else None


def sweep_lines(texts: Sequence[TextState]) -> list[SweepLine]:
    """One line per alpha of an operation's texts, the unsteered first."""
    by_alpha: dict[float, list[TextState]] = {}
    for text in texts:
        if not text.start.body.shuffled:
            by_alpha.setdefault(dial(text), []).append(text)
    usual = _repetition(by_alpha.get(0.0, ()))
    return [_line(alpha, by_alpha[alpha], usual) for alpha in sorted(by_alpha)]


def _line(alpha: float, texts: Sequence[TextState], usual: float | None) -> SweepLine:
    found = _repetition(texts)
    return SweepLine(
        alpha=alpha,
        repetition=found,
        excess=None if found is None or usual is None else found - usual,
        begun=len(texts),
        finished=sum(text.status == "finished" for text in texts),
        ended=sum(text.ended == "end_of_text" for text in texts),
        beginning=texts[0].text,
    )


def _repetition(texts: Sequence[TextState]) -> float | None:
    return mean_repetition([text.text for text in texts])


def _repeated(items: Sequence[Hashable]) -> float:
    return 1 - len(set(items)) / len(items)
