"""The body of a reply, from its bytes: one JSON value, or the JSON values of an event stream.

Servers choose the form regardless of the request, so it is detected from the first byte that is not
blank. Of an event stream are taken: any line end, ``data:`` with and without a space, comments in
between, events with no empty line after them, and a last line with no end.
"""

from __future__ import annotations

import re
from typing import Any

from workbench.agent.nesting import read_json
from workbench.agent.refusals import plain_text

_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
_DONE = "[DONE]"
_MARK = b"\xef\xbb\xbf"
# Of a body that is nothing of this: bytes that are kept, and characters of its words that are told.
_LONGEST_START = 4_000
_LONGEST_WORDS = 200


class Body:
    """Takes bytes as they come. ``done`` once the stream signalled its end, or one value was whole."""

    def __init__(self) -> None:
        self.done = False
        self._is_stream: bool | None = None
        self._rest = bytearray()
        self._start = bytearray()
        self._searched = 0
        self._lines: list[str] = []
        self._events = 0
        self._is_error = False
        "True within an event that is named so."

    def feed(self, data: bytes) -> list[Any]:
        """Take more bytes; returns the values that are complete. Raises ``ValueError``."""
        self._rest += data
        if self._is_stream is None:
            # Servers that take their time keep the connection open with blank lines.
            start = bytes(self._rest).lstrip()
            if start and _MARK.startswith(start):
                return []
            self._rest = bytearray(start.removeprefix(_MARK).lstrip())
            if not self._rest:
                return []
            self._is_stream = self._rest[:1] not in b"{["
        self._start += data[: _LONGEST_START - len(self._start)]
        return self._take_lines() if self._is_stream else []

    def close(self) -> list[Any]:
        """The values that the end of the body completes. Raises ``ValueError``."""
        rest = bytes(self._rest).removeprefix(_MARK)
        self._rest.clear()
        if self._is_stream is False:
            whole = read_json(rest.decode("utf-8", "replace"))
            # One value is all of it, and one that was cut off is none.
            self.done = True
            return [whole]
        found: list[Any] = []
        # A line that was cut off in the middle is no value; that the reply is not whole shows
        # in what it lacks.
        for line in (rest.rstrip(b"\r"), b""):
            try:
                found += self._take(line)
            except ValueError:
                self._lines.clear()
        if self._is_stream and not (self.done or self._events):
            text = plain_text(self._start.decode("utf-8", "replace"))
            raise ValueError(f"neither JSON nor an event stream: {text[:_LONGEST_WORDS]!r}")
        return found

    def _take_lines(self) -> list[Any]:
        found: list[Any] = []
        start = 0
        # A carriage return at the end may be half of a line end.
        for end in _LINE_END.finditer(self._rest, max(0, self._searched - 1)):
            if self.done:
                break
            found += self._take(bytes(self._rest[start : end.start()]))
            start = end.end()
        del self._rest[:start]
        self._searched = len(self._rest)
        return found

    def _take(self, line: bytes) -> list[Any]:
        if self.done:
            return []
        if not line:
            text, self._lines = "\n".join(self._lines), []
            found = [self._value(text)] if text else []
            self._is_error = False
            return found
        name, colon, value = line.removeprefix(_MARK).partition(b":")
        if name != b"data" or not colon:
            self._events += not name or name in {b"event", b"id", b"retry"}
            if name == b"event":
                self._is_error = value.strip() == b"error"
            return []
        self._events += 1
        text = value.removeprefix(b" ").decode("utf-8", "replace")
        if text.strip().startswith(_DONE):
            self.done = True
            return []
        if not self._lines:
            # Some servers leave out the empty line that ends an event.
            try:
                return [self._value(text, is_whole=False)]
            except ValueError:
                pass
        self._lines.append(text)
        return []

    def _value(self, text: str, *, is_whole: bool = True) -> Any:
        """The value of an event's data; of an error that does not say that it is one, so named.

        Raises ``ValueError``.
        """
        try:
            value = read_json(text)
        except ValueError:
            if not (self._is_error and is_whole):
                raise
            value = text
        if self._is_error and not (isinstance(value, dict) and value.get("error")):
            return {"error": value}
        return value
