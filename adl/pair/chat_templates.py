"""Chat templates: the choice of one, the chat it writes, and the start of the answer.

A template is a program that comes with a checkpoint. It is rendered by transformers in the sandbox
of jinja, within a limit of processor time; its errors become a ``PairError``.

    open_chat(tokenizers, turns, prefill=..., thinking=...)   -> Opening
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerBase

from adl.errors import PairError, PromptError, first_line
from adl.pair.protocol import Thinking
from adl.pair.template_limit import TookTooLong, limited
from adl.pair.thinking import (
    OpenThought,
    open_thought,
    tag_at_end,
    thinking_settings,
    without_thought,
)

Turn = Mapping[str, str]

# Processor time. Templates take milliseconds; this ends those with an endless loop.
RENDER_SECONDS = 5.0
LONGEST_CHAT = 4_000_000
"""Characters; more than any model reads."""

_GIVE_ANOTHER = "Give another with --chat-template FILE, or put raw text to the models."


@dataclass(frozen=True)
class Opening:
    """A chat up to the start of the answer.

    ``notes`` describe changes made to write the chat. ``templated`` is False for plain ``User:`` and
    ``Assistant:`` lines, which begin like any plain text.
    """

    text: str
    templated: bool
    notes: tuple[str, ...] = ()


def open_chat(
    tokenizers: Sequence[PreTrainedTokenizerBase],
    turns: Sequence[Turn],
    *,
    prefill: str = "",
    thinking: Thinking = "auto",
) -> Opening:
    """Write a chat for the first of ``tokenizers``, by its own template or the first there is.

    It ends where ``prefill`` goes: not in a thought that the template opens. Special tokens are
    those of the first tokenizer. Raises ``PairError`` for a template that
    cannot write the chat, ``PromptError`` for thinking that none of the templates can switch.
    """
    templates = [template_of(each) for each in tokenizers]
    shared = next((found for found in templates if found is not None), None)
    if shared is None:
        if thinking != "auto":
            raise _no_switch(thinking, "neither side has a chat template")
        return Opening(plain_lines(turns), templated=False)
    writers = [
        _Writer(tokenizer, template or shared)
        for tokenizer, template in zip(tokenizers, templates, strict=True)
    ]
    if thinking != "auto" and not any(writer.thinks(thinking) for writer in writers):
        raise _no_switch(thinking, "the chat template has no setting for it")
    return writers[0].open(turns, prefill, thinking)


def _no_switch(thinking: Thinking, why: str) -> PromptError:
    return PromptError(
        f"thinking cannot be switched {thinking}: {why}", "Leave the setting out (auto)."
    )


def plain_lines(turns: Sequence[Turn]) -> str:
    """Return a chat without a template: a paragraph for each turn, the last one opened."""
    lines = [f"{turn['role'].capitalize()}: {turn['content']}" for turn in turns]
    return "\n\n".join([*lines, "Assistant:"])


def template_of(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the tokenizer's chat template or None; of several, the default.

    Raises ``PairError`` for several without a default.
    """
    template: str | dict[str, str] | None = tokenizer.chat_template
    if not isinstance(template, dict):
        return template
    if not template:
        return None
    if "default" not in template:
        names = sorted(template)
        raise PairError(
            f"there are several chat templates and none is the default: {', '.join(names)}",
            f"Name one of them, for example --chat-template {names[0]}.",
        )
    return str(template["default"])


def choose_template(tokenizers: Sequence[PreTrainedTokenizerBase], wanted: str | None) -> None:
    """Set one template for each tokenizer: ``wanted``, a name or a file, or the default.

    Tokenizers without a template of that name keep their own; a file is for all of them. Raises
    ``PairError`` for a name that none has, a file that cannot be read, and several templates
    without a default.
    """
    if wanted is not None:
        named = [
            each
            for each in tokenizers
            if isinstance(each.chat_template, dict) and wanted in each.chat_template
        ]
        for each in named:
            each.chat_template = each.chat_template[wanted]
        if not named:
            text = _template_file(wanted, tokenizers)
            for each in tokenizers:
                each.chat_template = text
    for each in tokenizers:
        each.chat_template = template_of(each)


def _template_file(wanted: str, tokenizers: Sequence[PreTrainedTokenizerBase]) -> str:
    path = Path(wanted).expanduser()
    try:
        if path.is_file():
            return path.read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError) as exc:
        raise PairError(
            f"the chat template {wanted!r} cannot be read: {first_line(exc)}",
            "Give a file with a Jinja template in UTF-8.",
        ) from exc
    names = {
        name
        for each in tokenizers
        if isinstance(each.chat_template, dict)
        for name in each.chat_template
    }
    known = f"there are: {', '.join(sorted(names))}" if names else "there are no named ones"
    raise PairError(
        f"no chat template is called {wanted!r}, and there is no such file; {known}",
        "Give one of the names, or a file with a Jinja template.",
    )


# --- writing --------------------------------------------------------------------------------------


class _Writer:
    """One template with the special tokens of one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str) -> None:
        self._tokenizer = tokenizer
        self._template = template

    def open(self, turns: Sequence[Turn], prefill: str, thinking: Thinking) -> Opening:
        """Write the chat up to the answer. Raises ``PairError``."""
        notes: list[str] = []
        options: Mapping[str, Any] = {}
        if thinking != "auto":
            options = self._switches().get(thinking, {})
        text, turns = self._written(turns, options, notes)
        answer = self._answer_start(text, turns, options)
        opened = open_thought(answer)
        if thinking == "off" and opened:
            text = self._ended(text, turns, answer, opened)
            notes.append("thinking off: the thought that the chat template opens is ended")
        elif thinking != "auto" and not self.thinks(thinking):
            notes.append(
                f"thinking not switched {thinking}: this side's chat template has no setting for it"
            )
        elif opened and prefill.lstrip().startswith(opened.tag):
            text = text[: len(text) - len(answer) + opened.at]
        elif prefill and opened and opened.end not in prefill:
            text = self._ended(text, turns, answer, opened)
            notes.append("the thought that the chat template opens is ended before the prefill")
        elif prefill and (channel := self._channel(text, turns, options)):
            text += channel
            notes.append(f"the prefill stands after {channel}, where the template puts answers")
        return Opening(text, templated=True, notes=tuple(notes))

    def thinks(self, wanted: Thinking) -> bool:
        """Return True if the template can switch thinking on or off, as ``wanted``."""
        if wanted in self._switches():
            return True
        turns = [{"role": "user", "content": "Hi"}]
        try:
            return open_thought(self._answer_start(self.render(turns), turns, {})) is not None
        except PairError:
            return False

    def _switches(self) -> dict[Thinking, dict[str, Any]]:
        """Return the template's settings for thinking on and off; empty without any."""
        for on, off in thinking_settings(self._template):
            try:
                texts = [
                    self.render([{"role": "user", "content": "Hi"}], **on_or_off)
                    for on_or_off in (on, off)
                ]
            except PairError:
                continue
            if texts[0] != texts[1]:
                return {"on": on, "off": off}
        return {}

    def _ended(self, text: str, turns: Sequence[Any], answer: str, opened: OpenThought) -> str:
        """Return the chat with its thought ended: as the template does, or else by the tag."""
        before = text[: len(text) - len(answer)]
        off = self._switches().get("off")
        if off is not None:
            without = self.render(turns, **off)
            if without.startswith(before) and not open_thought(without[len(before) :]):
                return without
        gap = "\n" if answer.endswith("\n") else "\n\n"
        return f"{text}{gap}{opened.end}\n\n"

    def _answer_start(self, text: str, turns: Sequence[Any], options: Mapping[str, Any]) -> str:
        """Return the generation prompt: the part of a chat that opens the assistant's turn.

        The turns may mention thoughts themselves, so only this part is searched for an open one.
        """
        try:
            without = self.render(turns, answer_next=False, **options)
        except PairError:
            without = text
        if text.startswith(without) and text != without:
            return text[len(without) :]
        return tag_at_end(text)

    def _channel(self, text: str, turns: Sequence[Any], options: Mapping[str, Any]) -> str:
        """Return the header between the generation prompt and an answer, if answers have a channel."""
        if "<|channel|>" not in self._template:
            return ""
        mark = "0-an-answer-0"
        try:
            whole = self.render(
                [*turns, {"role": "assistant", "content": mark}], answer_next=False, **options
            )
        except PairError:
            return ""
        header, found, _ = whole.partition(mark)
        return header[len(text) :] if found and header.startswith(text) else ""

    def _written(
        self, turns: Sequence[Turn], options: Mapping[str, Any], notes: list[str]
    ) -> tuple[str, Sequence[Any]]:
        """Return the chat and the turns it was written from: those given, or the nearest possible."""
        refused: PairError | None = None
        written: tuple[str, Sequence[Any]] | None = None
        shapes = [turns, _in_parts(turns)] if "type" in self._template else [turns]
        for shape in shapes:
            try:
                text = self.render(shape, **options)
            except PairError as exc:
                refused = refused or exc
                continue
            # A template for plain texts writes a list of parts as Python prints it.
            if not _lost(turns, text) and (shape is turns or "{'type': 'text'" not in text):
                return text, shape
            written = written or (text, shape)
        if len(turns) > 1 and turns[0]["role"] == "system":
            merged = _merged(turns)
            try:
                text = self.render(merged, **options)
            except PairError as exc:
                raise refused or exc from None
            if written is None or not _lost(merged, text):
                notes.append(
                    "the chat template takes no system turn: it heads the first turn instead"
                )
                notes += _lost_note(_lost(merged, text))
                return text, merged
        if written is None:
            assert refused is not None
            raise refused
        notes += _lost_note(_lost(turns, written[0]))
        return written

    def render(self, turns: Sequence[Any], *, answer_next: bool = True, **options: Any) -> str:
        """Return the rendered chat. Raises ``PairError``, also beyond the time limit."""
        try:
            with limited(RENDER_SECONDS):
                text = self._tokenizer.apply_chat_template(
                    [dict(turn) for turn in turns],
                    chat_template=self._template,
                    tokenize=False,
                    add_generation_prompt=answer_next,
                    **options,
                )
        except TookTooLong:
            raise _unusable(f"it did not end within {RENDER_SECONDS:g} seconds") from None
        except Exception as exc:
            if type(exc) is not jinja2.TemplateError:
                raise _unusable(f"{type(exc).__name__}: {first_line(exc)}") from exc
            # Raised by the template itself for a conversation that it refuses.
            raise PairError(
                f"the chat template cannot render this conversation: {first_line(exc)}",
                "Begin with a user turn and let user and assistant alternate.",
            ) from exc
        if len(text) > LONGEST_CHAT:
            raise _unusable(f"it wrote {len(text):,} characters")
        return str(text)


def render_chat(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], *, answer_next: bool = True
) -> str:
    """Return a chat as the tokenizer's own template renders it. Raises ``PairError``."""
    template = template_of(tokenizer)
    if template is None:
        raise PairError("there is no chat template", "Give one with --chat-template FILE.")
    return _Writer(tokenizer, template).render(turns, answer_next=answer_next)


def _unusable(why: str) -> PairError:
    return PairError(f"the chat template cannot render a chat: {why}", _GIVE_ANOTHER)


def _in_parts(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """Return turns with contents as lists of parts, as templates of image models take them."""
    return [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]


def _merged(turns: Sequence[Turn]) -> list[Turn]:
    return [
        {**turns[1], "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"},
        *turns[2:],
    ]


def _lost(turns: Sequence[Turn], text: str) -> list[str]:
    """Return the roles of turns whose content is missing from the rendered chat.

    Thoughts of earlier answers may be missing: such models are trained that way.
    """
    return [
        turn["role"]
        for turn in turns
        if turn["content"].strip() not in text
        and not (turn["role"] == "assistant" and without_thought(turn["content"]).strip() in text)
    ]


def _lost_note(roles: Sequence[str]) -> list[str]:
    return (
        [f"the chat template changes or leaves out words of: {', '.join(dict.fromkeys(roles))}"]
        if roles
        else []
    )
