"""The engine of a session on a screen of another process: orders in turn, the link to it, the keys."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from adl.errors import AdlError
from workbench.engine import protocol as p
from workbench.engine.client import EngineClient, EngineSlow
from workbench.engine.opened_session import Link
from workbench.engine.sockets import EngineGone

Order = p.Order[Any]

#: How long an order waits for its answer, in seconds.
REPLY = 60.0


class Watching(AdlError):
    """The screen watches: it does not have the keys of the session."""


class KeysNotWanted(AdlError):
    """The screen that asked for the keys does not ask any more."""


@dataclass(frozen=True)
class _Given:
    order: Order
    failed: Callable[[AdlError], object] | None
    answered: Callable[[p.Wire], object]


class AttachedEngine:
    """The engine of an attached session: orders to it one after the other, and the link to it."""

    def __init__(self, client: EngineClient, session_id: str) -> None:
        self.socket = client.path
        self.link = Link()
        self._client = client
        self.session = session_id
        self._asking: dict[int, str] = {}
        "The screens that ask for the keys, by their numbers, in the order in which they asked."
        self._link_changed: Callable[[], object] = lambda: None
        self._refused: Callable[[AdlError], object] = lambda _error: None
        self._orders: queue.SimpleQueue[_Given | None] = queue.SimpleQueue()
        self._sender = threading.Thread(target=self._send, daemon=True, name="orders")

    def listen(
        self, link_changed: Callable[[], object], refused: Callable[[AdlError], object]
    ) -> None:
        """Call back, on other threads, when the link changes and when an order is refused."""
        self._link_changed = link_changed
        self._refused = refused

    def tell_refused(self, error: AdlError) -> None:
        """Call back with what could not be done."""
        self._refused(error)

    # --- orders -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise `EngineGone` or `Watching` if the screen cannot give orders."""
        if self.link.kind == "gone":
            raise EngineGone(
                f"the engine is gone: {self.link.why}", "Attach again, or go on in this program."
            )
        if self.link.kind == "watching":
            who = self.link.holder or "nobody"
            raise Watching(
                f"you watch this session: {who} has its keys",
                "Ask for the keys first." if self.link.holder else "Take the keys first.",
            )

    def call(self, order: Order) -> None:
        """Give an order and wait until it is taken; not on the screen's thread. Raises `AdlError`."""
        self.check()
        self._client.call(order, timeout=REPLY)

    def order(
        self,
        order: Order,
        failed: Callable[[AdlError], object] | None = None,
        answered: Callable[[p.Wire], object] = lambda _answer: None,
    ) -> None:
        """Give an order in its turn; ``failed`` is called if it is refused, else `listen`'s is."""
        self._orders.put(_Given(order, failed, answered))

    def _send(self) -> None:
        while (given := self._orders.get()) is not None:
            try:
                answer = self._client.call(given.order, timeout=REPLY)
            except AdlError as exc:
                if given.failed is None or isinstance(exc, EngineSlow):
                    self._refused(exc)
                else:
                    given.failed(exc)
            else:
                given.answered(answer)

    def start(self) -> None:
        """Begin to send orders."""
        self._sender.start()

    def finish(self, timeout: float) -> None:
        """Wait for the orders that were given."""
        self._orders.put(None)
        self._sender.join(timeout)

    def leave(self) -> None:
        """End the connection."""
        self._client.close()

    # --- the keys ---------------------------------------------------------------------------------

    def ask_for_keys(self) -> bool:
        """Take the keys if nobody has them, else ask for them. Return True if they are taken."""
        if self._client.call(p.TakeKeys(session=self.session), timeout=REPLY).yes:
            return True
        self._client.call(p.AskKeys(session=self.session), timeout=REPLY)
        return False

    def answer_keys(self, number: int, gives: bool) -> None:
        """Give the keys to the screen with this number that asks for them, or keep them."""
        asked_by = self._asking.pop(number, None)
        self._become(replace(self.link, **self._first_asking()))
        if gives and asked_by is None:
            raise KeysNotWanted("the screen that asked for the keys is gone", "You keep them.")
        if gives:
            self._client.call(p.GiveKeys(session=self.session, to=number), timeout=REPLY)

    def _first_asking(self) -> dict[str, Any]:
        number, name = next(iter(self._asking.items()), (0, ""))
        return {"asking": number, "asked_by": name}

    def stop(self) -> None:
        """Stop the engine with all that it runs. Raises `AdlError`."""
        self.check()
        with suppress(EngineGone):
            # It may end before it answers.
            self._client.call(p.ShutDown(), timeout=REPLY)

    def take_holder(
        self,
        holder: p.ClientData | None,
        asking: p.ClientData | None,
        screens: Iterable[p.ClientData] | None = None,
    ) -> None:
        """Take who has the keys, who asks for them, and, if told, which screens there are."""
        if holder is not None and holder.number == self._client.welcome.client:
            if asking is not None and asking.number != holder.number:
                self._asking[asking.number] = _name(asking)
            if screens is not None:
                there = {screen.number for screen in screens}
                self._asking = {
                    number: name for number, name in self._asking.items() if number in there
                }
            self._become(Link("keys", _name(holder), **self._first_asking()))
        else:
            self._asking = {}
            self._become(Link("watching", "" if holder is None else _name(holder)))

    def lose(self, why: str) -> None:
        """Take that the engine is gone."""
        self._become(Link("gone", why=why))

    def _become(self, link: Link) -> None:
        if link != self.link and self.link.kind != "gone":
            self.link = link
            self._link_changed()


def _name(client: p.ClientData) -> str:
    return client.name or f"screen {client.number}"
