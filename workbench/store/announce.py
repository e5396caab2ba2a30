"""Telling subscribers of committed events, in the order of their commits."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable

from workbench.store.events import Event

Subscriber = Callable[[Event], None]

_logger = logging.getLogger(__name__)


class Announcer:
    """Calls every subscriber with every event, one at a time, on a thread that appends.

    Events that are committed while others are being announced, by another thread or by a
    subscriber itself, are announced after those by whoever is at it. So nobody ever waits for a
    subscriber of another thread, which may be waiting for them.
    """

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []
        self._waiting: deque[Event] = deque()
        self._announcing = threading.Lock()

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call ``subscriber`` with every event from now on, until the returned function is called.

        An exception of the subscriber goes to the program's log and nowhere else.
        """

        def call(event: Event) -> None:
            subscriber(event)

        # A new list each time: an announcement under way goes through the one it began with. The
        # wrapper tells apart two subscriptions of one function.
        self._subscribers = [*self._subscribers, call]

        def unsubscribe() -> None:
            self._subscribers = [
                subscriber for subscriber in self._subscribers if subscriber is not call
            ]

        return unsubscribe

    def enqueue(self, events: Iterable[Event]) -> None:
        """Line events up; to be called with the write lock held, so that the order is theirs."""
        self._waiting.extend(events)

    def announce(self) -> None:
        """Announce what is lined up, unless another thread or a caller of ours is at it."""
        # After the release another look: an event may have come between the last look and it.
        while self._waiting and self._announcing.acquire(blocking=False):
            try:
                while self._waiting:
                    self._tell(self._waiting.popleft())
            finally:
                self._announcing.release()

    def _tell(self, event: Event) -> None:
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except Exception:
                # The event is committed, whatever a listener makes of it.
                _logger.exception("a subscriber failed at event %d", event.seq)
