"""Add a hypothesis, or revise one: its wording, the confidence in it, and why it changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from pydantic import ValidationError
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Label, Static, TextArea

from workbench.fields import in_words
from workbench.operations.hypotheses import AddHypothesisArguments, ReviseArguments
from workbench.operations.running import Arguments
from workbench.store.state import HypothesisState
from workbench.tui import text
from workbench.tui.widgets.bars import bar
from workbench.tui.widgets.dialog import Dialog

Draft = Mapping[str, str]
"""The texts of the fields: ``text``, ``confidence`` and ``reason``."""

_BAR_CELLS = 10


class _Words(TextArea):
    """A field of several lines, where Enter goes to the next field as in a one-line field."""

    class Entered(Message):
        """Enter was pressed."""

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.post_message(self.Entered())


class HypothesisForm(Dialog[Arguments | None]):
    """A small form; returns the arguments that ``make`` builds from its fields, None if it is left.

    ``make`` raises `ValueError` (pydantic's too) with what is wrong. ``keep`` is called with
    the draft on every change, so that it outlives the form.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", tooltip="Leave; what was written is kept"),
        Binding("ctrl+j,f5", "save", "Save", tooltip="Save from any field", priority=True),
    ]
    DEFAULT_CSS = """
    HypothesisForm Label { color: $text-muted; }
    HypothesisForm #words, HypothesisForm Input { background: $boost; margin-bottom: 1;
        border: none; border-left: outer $panel-lighten-2; padding: 0 1; }
    HypothesisForm #words:focus, HypothesisForm Input:focus { border: none;
        border-left: outer $accent; }
    HypothesisForm #words { height: 4; }
    HypothesisForm Input { height: 1; }
    HypothesisForm Horizontal { height: 2; }
    HypothesisForm #confidence { width: 16; }
    HypothesisForm #sure { width: 1fr; padding: 0 2; }
    HypothesisForm #wrong { color: $text-error; height: auto; }
    HypothesisForm #keys { color: $text-muted; }
    """

    def __init__(
        self,
        title: str,
        draft: Draft,
        make: Callable[[Draft], Arguments],
        keep: Callable[[Draft], None],
        *,
        asks_why: bool,
    ) -> None:
        super().__init__(classes="dialog")
        self._title = title
        self._draft = dict(draft)
        self._make = make
        self._keep = keep
        self._asks_why = asks_why
        self._saved = False

    def compose(self) -> ComposeResult:
        """Wording, confidence, and the reason if it is a revision."""
        with Vertical() as box:
            box.border_title = self._title
            yield Label("What the model was finetuned to do")
            yield _Words(self._draft.get("text", ""), id="words", soft_wrap=True, compact=True)
            yield Label("Confidence, in percent or as 0 to 1; may be left empty")
            with Horizontal():
                yield Input(self._draft.get("confidence", ""), id="confidence")
                yield Static(id="sure")
            if self._asks_why:
                yield Label("What changed your mind; may be left empty")
                yield Input(self._draft.get("reason", ""), id="reason")
            yield Static(id="wrong")
            yield Static(
                "Enter next, then save \u00b7 ctrl+j save \u00b7 Esc close, keep text", id="keys"
            )

    def on_mount(self) -> None:
        """Start in the wording, at its end."""
        words = self.query_one("#words", _Words)
        words.focus()
        words.move_cursor(words.document.end)
        self._show_confidence()

    @on(TextArea.Changed)
    @on(Input.Changed)
    def _changed(self) -> None:
        if self._saved:
            # A change that was under way when it was saved: no draft any more.
            return
        self._draft = self._fields()
        self._keep(self._draft)
        self.query_one("#wrong", Static).update("")
        self._show_confidence()

    @on(_Words.Entered)
    @on(Input.Submitted)
    def _next(self) -> None:
        last = "reason" if self._asks_why else "confidence"
        if self.focused is not None and self.focused.id == last:
            self.action_save()
        else:
            self.focus_next()

    def action_save(self) -> None:
        """Return the arguments, or show the problem."""
        try:
            arguments = self._make(self._fields())
        except ValueError as exc:
            problem = in_words(exc) if isinstance(exc, ValidationError) else str(exc)
            self.query_one("#wrong", Static).update(text.block(problem))
        else:
            self._saved = True
            self.dismiss(arguments)

    def action_leave(self) -> None:
        """Return None."""
        self.dismiss(None)

    def _fields(self) -> dict[str, str]:
        fields = {
            "text": self.query_one("#words", _Words).text,
            "confidence": self.query_one("#confidence", Input).value,
        }
        if self._asks_why:
            fields["reason"] = self.query_one("#reason", Input).value
        return fields

    def _show_confidence(self) -> None:
        """Show the parsed confidence while it is typed."""
        try:
            confidence = parse_confidence(self.query_one("#confidence", Input).value)
        except ValueError:
            shown = Content.styled("? give 0 to 100 percent", "$text-error")
        else:
            shown = (
                Content.styled("not given", "$foreground-muted")
                if confidence is None
                else Content.assemble(
                    (bar(confidence, _BAR_CELLS), "$accent on $panel"), f" {confidence:.0%}"
                )
            )
        self.query_one("#sure", Static).update(shown)


def parse_confidence(written: str) -> float | None:
    """A probability as people write it: ``70``, ``70%`` and ``0.7`` are the same; empty is None.

    Up to 1 it is a probability, above that or with a percent sign it is percent. Raises
    `ValueError`, in words.
    """
    plain = written.strip().replace(",", ".")
    if not plain:
        return None
    try:
        number = float(plain.removesuffix("%"))
    except ValueError:
        raise ValueError("confidence must be a number, 0 to 100 percent") from None
    if plain.endswith("%") or number > 1:
        number /= 100
    if not 0 <= number <= 1:
        raise ValueError("the confidence is not between 0 and 100 percent")
    return number


def stated(draft: Draft) -> AddHypothesisArguments:
    """Return the arguments of a new hypothesis. Raises `ValueError` (pydantic's too), in words."""
    confidence = parse_confidence(draft["confidence"])
    return AddHypothesisArguments(text=_wording(draft), confidence=confidence)


def revised(hypothesis: HypothesisState, draft: Draft) -> ReviseArguments:
    """Return the arguments of a revision. Raises `ValueError` (pydantic's too), in words."""
    text, confidence = _wording(draft), parse_confidence(draft["confidence"])
    if confidence is None and hypothesis.confidence is not None:
        raise ValueError("a confidence that was given cannot be left empty again: change it")
    reason = draft.get("reason", "").strip()
    text_now = None if text == hypothesis.text else text
    confidence_now = None if confidence == hypothesis.confidence else confidence
    if text_now is None and confidence_now is None and not reason:
        raise ValueError(
            "nothing is changed: change the wording or the confidence, or give a reason"
        )
    return ReviseArguments(
        hypothesis=hypothesis.id, text=text_now, confidence=confidence_now, reason=reason
    )


def _wording(draft: Draft) -> str:
    if not (words := draft["text"].strip()):
        raise ValueError(
            "the wording is empty: describe what the model may have been finetuned to do"
        )
    return words
