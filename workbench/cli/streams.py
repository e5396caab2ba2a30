"""Streams that are written to through a change of the text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


class ChangedStream:
    """A stream whose text is changed as it is written; in all else it is the stream."""

    def __init__(self, stream: Any, change: Callable[[str], str]) -> None:
        self._stream = stream
        self._change = change

    def write(self, text: str) -> int:
        """Write the changed text."""
        return int(self._stream.write(self._change(text)) or 0)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write the changed lines."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
