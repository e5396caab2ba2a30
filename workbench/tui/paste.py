"""Everything between the marks of a bracketed paste is one paste, whatever bytes it holds.

Textual's parser goes on looking for keys within a paste: at an escape byte, as of a coloured log
line, it takes what follows for key presses. Here a paste is cut out before that parser sees it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textual import events
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.message import Message

#: From here on the beginning of a mark cannot be anything else, and is waited for.
_SURE = len("\x1b[2")


class PasteParser(XTermParser):
    """Textual's parser, except that pastes are parsed here."""

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._matched = 0
        "How many characters of the opening mark have come last."
        self._pasted: list[str] | None = None
        "What has come of the paste under way, the end of it always long enough to hold a mark."

    def feed(self, data: str) -> Iterable[Message]:
        """Parse what was read; yield keys, mouse events and pastes in order."""
        if not data:
            yield from super().feed(data)
        while data:
            if self._pasted is None:
                before, data = self._up_to_opening(data)
                yield from super().feed(before)
            else:
                text, data = self._up_to_closing(data)
                if text is not None:
                    yield from self._end_paste(text)

    def tick(self) -> Iterable[Message]:
        """Give up waiting for the rest of a sequence, but not within a mark or a paste."""
        if self._pasted is None and self._matched < _SURE:
            yield from super().tick()

    def _up_to_opening(self, data: str) -> tuple[str, str]:
        """Split at the end of an opening mark, which may arrive in pieces."""
        for place, character in enumerate(data, start=1):
            if character == BRACKETED_PASTE_START[self._matched]:
                self._matched += 1
            else:
                self._matched = int(character == BRACKETED_PASTE_START[0])
            if self._matched == len(BRACKETED_PASTE_START):
                self._matched, self._pasted = 0, [""]
                return data[:place], data[place:]
        return data, ""

    def _up_to_closing(self, data: str) -> tuple[str | None, str]:
        """Return the paste, None until its closing mark has arrived, and the rest."""
        assert self._pasted is not None
        tail = self._pasted.pop() + data
        text, mark, rest = tail.partition(BRACKETED_PASTE_END)
        if mark:
            pasted = "".join([*self._pasted, text])
            self._pasted = None
            return pasted, rest
        kept = len(tail) - len(BRACKETED_PASTE_END)
        self._pasted += [tail[: max(kept, 0)], tail[max(kept, 0) :]]
        return None, ""

    def _end_paste(self, text: str) -> Iterable[Message]:
        # Textual's parser saw both marks and nothing between; the empty paste it makes is dropped.
        for event in super().feed(BRACKETED_PASTE_END):
            if not isinstance(event, events.Paste):
                yield event
        yield events.Paste(text.replace("\0", ""))


def guard_pastes() -> None:
    """Make the drivers of this platform use `PasteParser`; does nothing on Windows."""
    try:
        from textual.drivers import linux_driver, linux_inline_driver
    except ImportError:
        return
    modules: tuple[Any, ...] = (linux_driver, linux_inline_driver)
    for module in modules:
        module.XTermParser = PasteParser
