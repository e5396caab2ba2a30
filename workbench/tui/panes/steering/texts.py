"""The steered texts of a session by operation, and in pairs with their unsteered twins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from adl.nulls import NULLS
from workbench.display import clean_line, clean_lines, shorten
from workbench.store.state import SessionState, TextState

_ENDS = {"end_of_text": "end of text", "length": "length limit", "stopped": "stopped"}
#: Characters of a text quoted in its mark; the mark names the text, which has the rest.
_EXCERPT = 1000


#: Purposes of the texts that are steered, and the operations that write them.
STEERED = ("steer", "amplify")


def dial(text: TextState) -> float:
    """Return the strength of a text, whatever carries the finetuning; 0 is unchanged."""
    body = text.start.body
    return body.alpha or body.amplified


@dataclass(frozen=True)
class Pair:
    """A steered text and the unsteered one of the same prompt and seed; either may be None.

    ``null`` is the text of the carrier's null at the same strength, where one was written.
    """

    steered: TextState | None
    unsteered: TextState | None
    null: TextState | None = None

    @property
    def any(self) -> TextState:
        """Return either text, for the settings that both share."""
        found = self.steered or self.unsteered
        assert found is not None, "a pair has at least one text"
        return found


class SteerIndex:
    """Index of the steered texts by operation, updated incrementally as the session grows."""

    def __init__(self) -> None:
        self.operations: list[str] = []
        self._texts: dict[str, list[str]] = {}
        self._seen = 0
        self._session = ""
        self._last = ""

    def take(self, state: SessionState, before: SessionState) -> None:
        """Index the new texts and operations."""
        if state.operations is not before.operations:
            self.operations = [
                operation.id for operation in state.operations.values() if operation.name in STEERED
            ]
        if state.texts is before.texts:
            return
        grown = len(state.texts) >= self._seen and (not self._last or self._last in state.texts)
        if not grown or state.session_id != self._session:
            self._texts, self._seen = {}, 0
        self._session = state.session_id
        for text_id, text in islice(state.texts.items(), self._seen, None):
            operation = text.start.operation_id
            if text.start.body.purpose in STEERED and operation is not None:
                self._texts.setdefault(operation, []).append(text_id)
            self._last = text_id
        self._seen = len(state.texts)

    def texts(self, state: SessionState, operation_id: str) -> list[TextState]:
        """Return the operation's texts, in the order they began."""
        return [state.texts[text_id] for text_id in self._texts.get(operation_id, ())]


def alphas_of(texts: Sequence[TextState]) -> list[float]:
    """Return the sorted strengths of an operation's texts; 0 is unsteered."""
    return sorted({dial(text) for text in texts})


def pairs(texts: Sequence[TextState], alpha: float) -> list[Pair]:
    """Pair each text steered with ``alpha`` with the unsteered one of its prompt and seed."""
    steered: dict[tuple[int, int], TextState] = {}
    unsteered: dict[tuple[int, int], TextState] = {}
    nulls: dict[tuple[int, int], TextState] = {}
    for text in texts:
        body = text.start.body
        where = (body.prompt_index, body.seed)
        if dial(text) == 0:
            unsteered[where] = text
        elif dial(text) == alpha:
            (nulls if body.shuffled else steered)[where] = text
    places = dict.fromkeys((*unsteered, *steered))
    if alpha == 0:
        return [Pair(None, unsteered[place]) for place in unsteered]
    return [Pair(steered.get(place), unsteered.get(place), nulls.get(place)) for place in places]


def how_it_ended(text: TextState) -> str:
    """Return why the text ended, or that it is still being written."""
    if text.status == "growing":
        return "writing"
    if text.ended is None:
        return "cut off"
    return _ENDS[text.ended]


def strength(text: TextState) -> str:
    """Return the alpha of the text in short, or "unsteered"."""
    body = text.start.body
    if body.amplified:
        return f"{body.carrier or 'logits'} {body.amplified:.4g}"
    return f"α {body.alpha:.4g}" if body.alpha else "unsteered"


def made_with(text: TextState) -> str:
    """Return the settings the text was generated with, in one clean line."""
    body = text.start.body
    parts = [f"steered, alpha {body.alpha:.4g}" if body.alpha else "unsteered"]
    if body.amplified:
        parts = [f"{body.carrier or 'logits'} at {body.amplified:.4g}"]
    if body.shuffled:
        parts.append("null")
    if body.alpha:
        parts.append(f"{body.source} at layer {body.layer}, position {body.position}")
    parts += [body.side, f"seed {body.seed}"]
    return clean_line(", ".join(parts))


def evidence_label(text: TextState) -> str:
    """Return the label of a marked text: its settings and its prompt, raw."""
    return f"{made_with(text)}, on: {shorten(text.start.body.prompt, 200)}"


def of_null(text: TextState) -> str:
    """Return words for the mark of a text that a null steered, empty for any other text."""
    source = text.start.body.source
    if source not in NULLS:
        return ""
    return f", of a null ({source.replace('_', ' ')}), a vector without finetuning"


def excerpt_of(text: TextState) -> str:
    """Return the excerpt that a mark quotes from the text."""
    return shorten(text.text, _EXCERPT)


def as_text(texts: Sequence[TextState]) -> str:
    """Return the texts with their settings, for the clipboard or a file; controls made visible."""
    blocks = []
    for text in texts:
        body = text.start.body
        head = (
            f"{made_with(text)}, temperature {body.temperature:g},"
            f" at most {body.max_new_tokens} tokens, {how_it_ended(text)}"
        )
        prompt = "".join(f"{clean_line(each)}\n" for each in body.prompting)
        prompt += f"prompt: {clean_lines(body.prompt)}"
        blocks.append(f"# {head}\n{prompt}\n\n{clean_lines(text.text)}\n")
    return "\n".join(blocks)
