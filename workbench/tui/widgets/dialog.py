"""The base of every dialog: one is open at a time, and it answers once."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from textual import events
from textual._context import active_message_pump
from textual.app import App
from textual.await_complete import AwaitComplete
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen
from textual.timer import Timer
from textual.worker import NoActiveWorker, Worker, get_current_worker

Answer = TypeVar("Answer")

#: Classes of forms and dialogs by the columns and the rows of the terminal, see app.tcss: with few
#: columns a field goes below its label, and with few rows all that is not needed goes.
CRAMPED = [(0, "-cramped"), (50, "-ample")]
LOW = [(0, "-low"), (14, "-high")]
#: A dialog that no key opened takes keys once none has come for so many seconds: whoever is typing
#: when it comes up means what lies below it.
UNTOUCHED = 0.7


class Dialog(ModalScreen[Answer]):
    """A modal screen with one answer.

    Keys come faster than screens go: a second Enter may reach a dialog that is already answered, or
    that another was opened over. Textual would then close whichever screen is on top.
    """

    asked_by: Worker[Any] | None = None
    "The worker that waits for the answer, if one does."
    is_unasked = False
    "True if no key opens it. Its answers, of class ``answers``, are shown once it takes keys."
    _listening_soon: Timer | None = None
    _listens = False

    HORIZONTAL_BREAKPOINTS = CRAMPED
    VERTICAL_BREAKPOINTS = LOW

    def on_mount(self) -> None:
        """Take no keys at first if none opened it."""
        if self.is_unasked:
            self.add_class("-deaf")
            self._listening_soon = self.set_timer(UNTOUCHED, self._listen)

    def _listen(self) -> None:
        self._listens = True
        self.remove_class("-deaf")

    def ignores(self, key: events.Key) -> bool:
        """True for a key that was meant for what lies below; the wait begins anew with it."""
        if not self.is_unasked or self._listens or not is_typed(key):
            return False
        if self._listening_soon is not None:
            self._listening_soon.reset()
        return True

    def on_resize(self, event: events.Resize) -> None:
        """Keep the field that has the focus in sight."""
        self.call_after_refresh(show_focus, self)

    def dismiss(self, result: Answer | None = None) -> AwaitComplete:
        """Give the answer and close; does nothing unless the dialog is on top."""
        if self.app.screen is not self:
            return AwaitComplete()
        return super().dismiss(result)


def is_typed(event: events.Event) -> bool:
    """True for text, and for the keys that send it or leave it."""
    if isinstance(event, events.Key):
        return event.is_printable or event.key in {"enter", "escape"}
    return isinstance(event, events.Paste)


def show_focus(screen: Screen[Any]) -> None:
    """Scroll to what has the focus, which it may have got before it had a place."""
    if screen.focused is not None:
        screen.focused.scroll_visible(animate=False)


def _opener() -> Any:
    """Return the widget whose worker or message opens a screen."""
    try:
        return get_current_worker().node
    except NoActiveWorker:
        return active_message_pump.get(None)


class OneDialog(App[Any]):
    """An app in which nothing under a dialog opens another.

    The key that opens a dialog may come twice before the dialog is there. The second is answered as
    if it had been left at once, with None.
    """

    def push_screen(self, screen: Any, *args: Any, **options: Any) -> Any:
        """Show a screen, unless it is a dialog that something under a dialog opens."""
        if not (isinstance(screen, Dialog) and self._is_covered(_opener())):
            if isinstance(screen, Dialog) and options.get("wait_for_dismiss"):
                screen.asked_by = get_current_worker()
            return super().push_screen(screen, *args, **options)
        if not options.get("wait_for_dismiss"):
            callback = args[0] if args else options.get("callback")
            if callback is not None:
                callback(None)
            return AwaitComplete()
        left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        left.set_result(None)
        return left

    def _is_covered(self, opener: Any) -> bool:
        on_top = self.screen_stack[-1] if self.screen_stack else None
        if not isinstance(on_top, Dialog) or not isinstance(opener, DOMNode):
            return False
        # What the app itself asks, such as whether to leave, it may ask over a dialog.
        return opener is not self and on_top not in opener.ancestors_with_self
