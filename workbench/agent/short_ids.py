"""Short ids by which an agent names what it was shown.

    T12   the session's 12th generated text, in the order they began
    R3    its 3rd token list
    M2    its 2nd measure: phrases, completions, where the two models differ ...

Marked evidence (E4) and hypotheses (H1) are recorded under such ids. Events keep their order, so an
id means the same in a resumed audit and in a replay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from adl.words import whole_number
from workbench.agent.errors import ToolError
from workbench.blinding.aliases import OPEN, Blinding
from workbench.display import clean_lines
from workbench.store.events import ReadingTaken, ReadToken
from workbench.store.findings import Measure
from workbench.store.recorded import Recorded
from workbench.store.state import SessionState, TextState

Item = TypeVar("Item")

_ID = re.compile(r"([TRM])(\d{1,7})")


def text_id(state: SessionState, recorded_id: str) -> str:
    """The short id of a generated text."""
    return f"T{_place(state.texts, recorded_id)}"


def reading_id(state: SessionState, recorded: Recorded[ReadingTaken]) -> str:
    """The short id of a token list; a later list of the same place and scale has the same."""
    return f"R{_place(state.readings, next(k for k, v in state.readings.items() if v is recorded))}"


def measure_id(state: SessionState, found: Recorded[Measure]) -> str:
    """The short id of a measure."""
    return f"M{_place(state.measures, found)}"


def find_text(state: SessionState, wanted: str) -> TextState:
    """The text of a short or recorded id. Raises ``ToolError``."""
    found = state.texts.get(wanted)
    return found or _at("T", list(state.texts.values()), wanted, "generated text")


def find_reading(state: SessionState, wanted: str) -> Recorded[ReadingTaken]:
    """The token list of a short id. Raises ``ToolError``."""
    return _at("R", list(state.readings.values()), wanted, "token list")


def find_measure(state: SessionState, wanted: str) -> Recorded[Measure]:
    """The measure of a short id. Raises ``ToolError``, also for one that rests on ground truth."""
    found = _at("M", state.measures, wanted, "measure")
    if found.body.of_truth:
        raise ToolError(
            f"{wanted} rests on the finetuning documents, and agents are not shown it",
            "Name another measure, or a text or list.",
        )
    return found


def check_ids(state: SessionState, wanted: Iterable[str]) -> None:
    """Raise ``ToolError`` for an id of this form that names nothing."""
    for name in wanted:
        if re.fullmatch(r"E\d+", name) and name not in state.evidence:
            raise _missing("evidence", name, list(state.evidence))
        if re.fullmatch(r"H\d+", name) and name not in state.hypotheses:
            raise _missing("hypothesis", name, list(state.hypotheses))
        if (found := _ID.fullmatch(name)) is not None:
            {"T": find_text, "R": find_reading, "M": find_measure}[found[1]](state, name)


def check_seen(wanted: Iterable[str]) -> None:
    """Raise ``ToolError`` for the id of a list or a measure: an agent without the lens is shown none."""
    for name in wanted:
        if name[:1] in {"R", "M"}:
            raise ToolError(f"there is no text {name[:60]!r} that you may see")


def passage(text: str, excerpt: str, where: str, blinding: Blinding = OPEN) -> str:
    """The passage as it stands in the text, blanks as there. Raises ``ToolError`` if it is not there.

    An agent quotes what it was shown: controls of a text as visible marks, names hidden, line breaks as
    it likes.
    """
    shown, named = blinding.quotable(clean_lines(text))
    words = [re.escape(word) for word in clean_lines(excerpt).split()]
    found = re.search(r"\s+".join(words), shown) if words else None
    if found is None:
        raise ToolError(
            f"{where} has no passage {excerpt[:80]!r}",
            "Quote it word for word, without ...; show_samples shows a text whole.",
        )
    return named(*found.span())


def token(
    listed: Recorded[ReadingTaken], excerpt: str, where: str, blinding: Blinding = OPEN
) -> tuple[int, ReadToken]:
    """Rank, from 1, and token of a list as it is shown, with or without the rest of its word.

    Raises ``ToolError`` if it is not in the list.
    """
    wanted, body = clean_lines(excerpt).strip(), listed.body

    def shown(text: str) -> str:
        return blinding.hide(clean_lines(text).strip())

    for rank, found in enumerate(body.tokens, start=1):
        if wanted in {shown(found.text), shown(body.word(found))}:
            return rank, found
    # Its tokens are the models' words, which an agent is given in quotes alone.
    raise ToolError(
        f"{where} has no token {wanted[:80]!r}", "Give one token of it; show_reading lists them."
    )


def _place(items: Mapping[Any, Any] | Sequence[Any], wanted: Any) -> int:
    found = (place for place, item in enumerate(items, start=1) if item is wanted or item == wanted)
    return next(found)


def _at(letter: str, items: Sequence[Item], wanted: str, kind: str) -> Item:
    found = _ID.fullmatch(wanted)
    number = (whole_number(found[2]) if found and found[1] == letter else 0) or 0
    if not 1 <= number <= len(items):
        there = f"{letter}1 to {letter}{len(items)}" if items else "none yet"
        raise ToolError(f"there is no {kind} {wanted[:60]!r}", f"There are: {there}.")
    return items[number - 1]


def _missing(kind: str, wanted: str, there: Sequence[str]) -> ToolError:
    return ToolError(
        f"there is no {kind} {wanted!r}", f"There are: {', '.join(there) or 'none yet'}."
    )
