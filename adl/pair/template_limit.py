"""A limit of processor time for rendering a chat template, which may hold an endless loop."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class TookTooLong(BaseException):
    """A ``BaseException``, so that neither a template nor transformers catches it."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise :class:`TookTooLong` in the body after ``seconds`` of this thread's processor time.

    A template is compiled to Python, so every line of it comes by a trace function.
    """
    last = time.thread_time() + seconds
    before = sys.gettrace()

    def watch(frame: FrameType, _event: str, _argument: Any) -> Callable[..., Any] | None:
        if time.thread_time() > last:
            raise TookTooLong
        return watch if frame.f_code.co_filename == "<template>" else None

    sys.settrace(watch)
    try:
        yield
    finally:
        sys.settrace(before)
