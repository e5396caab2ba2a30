"""Prompts for steering and asking: everyday prompts, or the user's own file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adl.errors import PromptError
from adl.text.chats import content_text, is_chat
from adl.text.files import json_kind, json_rows, lines, well_formed

EVERYDAY_PROMPTS = Path(__file__).parents[1] / "data" / "prompts.txt"

_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Prompt:
    """A chat to be answered: (role, content) turns, the last of them the user's or a prefill.

    Roles are system (first only), user and assistant. A last turn of the assistant is a prefill,
    which the model's answer goes on from.
    """

    turns: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, text: str) -> Prompt:
        """Return a prompt of one turn of the user."""
        return cls((("user", text),))

    @property
    def text(self) -> str:
        """The user's last turn, to show in a list."""
        return next(content for role, content in reversed(self.turns) if role == "user")

    @property
    def messages(self) -> list[dict[str, str]]:
        """The turns to put through a chat template, without the prefill."""
        turns = self.turns[:-1] if self.turns[-1][0] == "assistant" else self.turns
        return [{"role": role, "content": content} for role, content in turns]

    @property
    def prefill(self) -> str:
        """The start of the assistant's turn that the answer goes on from; empty if there is none."""
        role, content = self.turns[-1]
        return content if role == "assistant" else ""


def load_prompts(path: Path) -> tuple[Prompt, ...]:
    """Read prompts: one a line, or JSONL (by its name) with ``prompt`` or ``messages``.

    Raises ``PromptError``, with the line, for a file that cannot be read, holds no prompt, or has a
    row that is no prompt.
    """
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        prompts = tuple(
            _prompt(row, f"line {number} of {path}") for number, row in json_rows(path, PromptError)
        )
    else:
        prompts = tuple(Prompt.of(text) for _, text in lines(path, PromptError))
    if not prompts:
        raise PromptError(f"There is no prompt in {path}", "Write one prompt a line.")
    return prompts


def _prompt(row: Mapping[str, Any], where: str) -> Prompt:
    if "prompt" in row:
        value = row["prompt"]
        if not isinstance(value, str) or not value.strip():
            what = "empty" if isinstance(value, str) else f"a JSON {json_kind(value)}, not text"
            raise PromptError(f"'prompt' in {where} is {what}", "Give it a text.")
        return Prompt.of(well_formed(value).strip())
    if "messages" not in row:
        raise PromptError(
            f"{where} has no 'prompt' or 'messages'",
            f"Rename the column that holds the prompt; there are: {', '.join(row) or 'none'}.",
        )
    return Prompt(turns_of(row["messages"], where))


def turns_of(messages: Any, where: str) -> tuple[tuple[str, str], ...]:
    """Return the turns of a chat's messages; ``where`` says in errors whose they are.

    Raises ``PromptError`` unless it is a list of messages with a role and a text each, in an order that
    a ``Prompt`` may have.
    """
    if not is_chat(messages):
        raise PromptError(
            f"'messages' in {where} is not a list of messages",
            'Each message is {"role": ..., "content": ...}.',
        )
    turns: list[tuple[str, str]] = []
    for message in messages:
        role, content = message["role"], content_text(message["content"])
        if role not in _ROLES:
            raise PromptError(
                f"There is no role {role!r} (in {where})", f"Roles are: {', '.join(_ROLES)}."
            )
        if content is None:
            raise PromptError(f"A message in {where} has no text", "Give each message a text.")
        if role == "system" and turns:
            raise PromptError(
                f"A system message in {where} comes after another message", "Put it first."
            )
        turns.append((role, well_formed(content)))
    last_two = [role for role, _ in turns[-2:]]
    if last_two[-1] != "user" and last_two != ["user", "assistant"]:
        raise PromptError(
            f"The messages in {where} do not end with a question",
            "End with a user's message; an assistant's may follow it, as the answer's beginning.",
        )
    return tuple(turns)


def everyday_prompts() -> tuple[Prompt, ...]:
    """Return the bundled prompts: ordinary requests, of many kinds, without a common topic."""
    return load_prompts(EVERYDAY_PROMPTS)


N_EVERYDAY = 20
"""How many they are; a test counts them, so that no import has to read the file."""
