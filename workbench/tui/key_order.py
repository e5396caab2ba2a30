"""Keys act one after another: the next is taken once the screen shows what the last one did.

Textual sends each key to the widget that has the focus when the key is read. What opens a field
gives it the focus some messages later, so keys that arrive in one read would pass the field by.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from itertools import filterfalse
from typing import Any

from textual import events
from textual.app import App
from textual.message_pump import MessagePump
from textual.widget import Widget
from textual.widgets import Input, TextArea
from textual.worker import Worker

from workbench.tui.widgets.dialog import Dialog, is_typed

#: Events after which the focus, the screen or a field may be another.
_ACTS = (events.Key, events.Paste, events.MouseDown, events.MouseUp)
#: Turns of the event loop without a message after which none is on its way: an answer of a dialog
#: passes a future, a shield and a worker before the next dialog is asked for.
_QUIET_TURNS = 4
#: A widget that hangs must not keep ctrl+q from acting: seconds for one message, and for all.
_PATIENCE, _PATIENCE_IN_ALL = 5.0, 30.0
_LOOK_AGAIN = 0.005


class KeysInOrder(App[Any]):
    """An app that handles keys, pastes and clicks strictly one after another."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._unread: deque[events.Event] = deque()
        self._settling: asyncio.Task[None] | None = None

    def awaits_selection(self) -> bool:
        """True for a short while in which what the last key asked for is still to be selected."""
        return False

    async def on_event(self, event: events.Event) -> None:
        """Handle an event; input waits for the input before it."""
        if not isinstance(event, events.InputEvent | events.Paste) or event.is_forwarded:
            await super().on_event(event)
        elif self._settling is not None:
            self._unread.append(event)
        else:
            await self._take(event)

    async def _take(self, event: events.Event) -> None:
        on_top = self.screen_stack[-1] if self.screen_stack else None
        if isinstance(event, events.Key) and isinstance(on_top, Dialog) and on_top.ignores(event):
            return
        if isinstance(event, _ACTS):
            self._settling = asyncio.create_task(self._settle(event))
        await super().on_event(event)

    async def _settle(self, event: events.Event) -> None:
        field = self.focused if isinstance(self.focused, Input | TextArea) else None
        try:
            async with asyncio.timeout(_PATIENCE_IN_ALL):
                await self._quiet()
                await self._asked()
                await self._selected()
                is_typed = isinstance(event, events.Key) and event.is_printable
                # Text that is typed into a field need not be drawn letter by letter.
                if not (is_typed and field is not None and field is self.focused):
                    await self._drawn()
                    await self._quiet()
        except TimeoutError:
            pass
        # As a message, so that an action that is still being awaited ends before the next begins.
        self.call_later(self._take_next)

    async def _take_next(self) -> None:
        self._settling = None
        while self._unread and self._settling is None:
            await self._take(self._unread.popleft())

    async def _quiet(self) -> None:
        """Wait until no widget has a message to handle."""
        turns = 0
        while turns < _QUIET_TURNS:
            handled = asyncio.Event()
            busy = next(filter(_is_busy, self._pumps()), None)
            # One that closes takes no more messages.
            if busy is not None and busy.call_later(handled.set):
                turns = 0
                await asyncio.wait_for(handled.wait(), _PATIENCE)
            else:
                turns += 1
                await asyncio.sleep(0)

    async def _asked(self) -> None:
        """Wait until what actions began beside their messages has ended, or asks in a dialog.

        It may read something on a thread first, and open its dialog then.
        """
        began = time.monotonic()
        while any(map(self._may_ask, self.workers)):
            if time.monotonic() - began > _PATIENCE:
                # Typed for a dialog that has not come: what lies below would take it for orders.
                self._unread = deque(filterfalse(is_typed, self._unread))
                return
            await asyncio.sleep(_LOOK_AGAIN)
            await self._quiet()

    def _may_ask(self, worker: Worker[Any]) -> bool:
        # Work on a thread of its own opens nothing. Textual tells which that is by no public name.
        if worker.is_finished or worker._thread_worker:
            return False
        return not any(
            isinstance(screen, Dialog) and screen.asked_by is worker for screen in self.screen_stack
        )

    async def _selected(self) -> None:
        """Wait until what was asked for is there: the next key is for it, and not for another."""
        while self.awaits_selection():
            await asyncio.sleep(_LOOK_AGAIN)
            await self._quiet()

    async def _drawn(self) -> None:
        """Wait until the screen is drawn: only then can a pane that was hidden take the focus."""
        drawn = asyncio.Event()
        if self.screen_stack and self.screen.call_after_refresh(drawn.set):
            await asyncio.wait_for(drawn.wait(), _PATIENCE)

    def _pumps(self) -> Iterator[MessagePump]:
        yield self
        for screen in self.screen_stack:
            yield from screen.walk_children(with_self=True)


def _is_busy(pump: MessagePump) -> bool:
    return bool(pump.message_queue_size) or (isinstance(pump, Widget) and not pump.is_mounted)
