"""Texts from stdin: the value ``-`` of an option or argument that takes a text or a file of prompts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from adl.text.files import is_handed_over
from adl.text.prompts import load_prompts

STDIN = "-"
#: Fields that take a text of a person's own.
_TEXTS = {"prompt", "raw", "system", "question", "prompts", "prefixes"}


def with_stdin(given: dict[str, Any]) -> dict[str, Any]:
    """The same with stdin's text in place of ``-``; prompts that are piped in, line by line.

    They are taken here, and not by the operation, so that the session records them: a pipe is read
    once. Raises ``BadParameter`` where stdin is a terminal, is asked for twice or holds no text.
    """
    asked = [
        name for name in _TEXTS & given.keys() for text in _several(given[name]) if text == STDIN
    ]
    asked += ["prompt_file"] * (given.get("prompt_file") == STDIN)
    if len(asked) > 1:
        raise typer.BadParameter("- can be given once: stdin is read to its end")
    found = dict(given)
    if "prompt_file" in found:
        path = Path("/dev/stdin" if asked else found["prompt_file"])
        if asked or is_handed_over(path):
            found.pop("prompt_file")
            texts = _text().splitlines() if asked else [p.text for p in load_prompts(path)]
            found["prompts"] = (*found.get("prompts", ()), *filter(None, map(str.strip, texts)))
    elif asked:
        (name,), text = asked, _text()
        value = found[name]
        found[name] = text if value == STDIN else tuple(text if t == STDIN else t for t in value)
    return found


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _text() -> str:
    stdin = sys.stdin
    if stdin is None or stdin.isatty():
        raise typer.BadParameter("- takes a text from stdin: pipe one in, or give the text itself")
    try:
        text = stdin.buffer.read().decode("utf-8-sig").removesuffix("\n")
    except UnicodeDecodeError:
        raise typer.BadParameter("-: stdin is not UTF-8 text") from None
    if not text.strip():
        raise typer.BadParameter("-: stdin holds no text")
    return text
