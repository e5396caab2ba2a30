"""Generated texts, as far as they have come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from adl.records import EndReason
from workbench.store.events import (
    Event,
    OperationFailed,
    OperationFinished,
    OperationStopped,
    SessionClosed,
    SessionContinued,
    TextFinished,
    TextGrew,
    TextStarted,
)
from workbench.store.recorded import Recorded
from workbench.store.slices.slice import Items, on, recorded


@dataclass(frozen=True)
class TextState:
    """A generated text, as far as it has come; ``start`` has everything it was made with.

    ``cut_off`` if its operation ended, or was abandoned, before the text did.
    """

    start: Recorded[TextStarted]
    status: Literal["growing", "finished", "cut_off"] = "growing"
    text: str = ""
    token_ids: tuple[int, ...] = ()
    ended: EndReason | None = None

    @property
    def question(self) -> str:
        """The user's last turn; empty where the prompt has none."""
        asked = [
            turn.get("content", "")
            for turn in self.start.body.messages
            if turn.get("role") == "user"
        ]
        return asked[-1] if asked else ""


class Texts(Items[str, TextState]):
    """The texts by id, in the order they began."""

    def __init__(self) -> None:
        # Of the ends of a session, which are naming, it keeps nothing but that they came.
        super().__init__("items")
        # Pieces of the texts under way, and which of them are not in their TextState yet.
        self._pieces: dict[str, list[str]] = {}
        self._grown: set[str] = set()

    def value(self) -> Mapping[str, TextState]:
        """The texts, with every piece so far."""
        for text_id in self._grown:
            # One piece from here on, so that a long text is not put together again each time.
            pieces = self._pieces[text_id] = ["".join(self._pieces[text_id])]
            self.put(text_id, replace(self.items[text_id], text=pieces[0]))
        self._grown.clear()
        return super().value()

    def copy(self) -> Self:
        """Another with texts and pieces of its own."""
        twin = super().copy()
        twin._pieces = {text_id: list(pieces) for text_id, pieces in self._pieces.items()}
        twin._grown = set(self._grown)
        return twin

    @on(TextStarted)
    def _start(self, event: Event) -> None:
        body: Any = event.body
        self.put(body.text_id, TextState(start=recorded(event)))
        self._pieces[body.text_id] = []

    @on(TextGrew)
    def _grow(self, event: Event) -> None:
        body: Any = event.body
        for text_id, piece in body.pieces.items():
            pieces = self._pieces.get(text_id)
            if pieces is not None:
                pieces.append(piece)
                self._grown.add(text_id)

    @on(TextFinished)
    def _finish(self, event: Event) -> None:
        body: Any = event.body
        text = self.items.get(body.text_id)
        if text is None:
            return
        self._pieces.pop(body.text_id, None)
        self._grown.discard(body.text_id)
        finished = replace(
            text,
            status="finished",
            text=body.text,
            token_ids=body.token_ids,
            ended=body.ended,
        )
        self.put(body.text_id, finished)

    @on(OperationFinished, OperationFailed, OperationStopped)
    def _end_operation(self, event: Event) -> None:
        for text_id in list(self._pieces):
            if event.operation_id and self.items[text_id].start.operation_id == event.operation_id:
                self._cut_off(text_id)

    @on(SessionContinued, SessionClosed)
    def _abandon(self, _event: Event) -> None:
        for text_id in list(self._pieces):
            self._cut_off(text_id)

    def _cut_off(self, text_id: str) -> None:
        text = "".join(self._pieces.pop(text_id))
        self._grown.discard(text_id)
        self.put(text_id, replace(self.items[text_id], status="cut_off", text=text))
