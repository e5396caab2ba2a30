"""The sessions that are open in an engine: who looks at each, who has its keys, and news for them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from adl.errors import AdlError
from workbench.engine import protocol as p
from workbench.engine.keyring import Keyring
from workbench.engine.live_session import LiveSession

Tell = Callable[[int, p.Notice], None]


class EngineRefusal(AdlError):
    """An order that this engine cannot follow."""


class Held:
    """An open session, with its readers; ``owner`` began it for as long as it is there."""

    def __init__(self, live: LiveSession, owner: int | None = None) -> None:
        self.live = live
        self.keys = Keyring()
        self.owner = owner
        self.is_left = False
        "True if it is to be closed once its jobs are over."
        self.is_closing = False


class HeldSessions:
    """Open sessions by id. Its methods may be called from any thread."""

    def __init__(self) -> None:
        self.tell: Tell = lambda _client, _notice: None
        "Takes the number of a client and news for it."
        self._lock = threading.RLock()
        self._held: dict[str, Held] = {}

    def add(self, live: LiveSession, owner: int | None) -> None:
        """Hold a session from here on."""
        with self._lock:
            self._held[live.session.id] = Held(live, owner)

    def get(self, session_id: str) -> Held | None:
        """Return a session, None if it is not open here."""
        with self._lock:
            return self._held.get(session_id)

    def find(self, session_id: str) -> Held:
        """Return a session. Raises `EngineRefusal` if it is not open here."""
        held = self.get(session_id)
        if held is None:
            raise EngineRefusal(
                f"session {session_id!r} is not open in this engine", "Open it here first."
            )
        return held

    def all(self) -> list[Held]:
        """Return all sessions, in the order in which they were opened."""
        with self._lock:
            return list(self._held.values())

    def begin_closing(self, session_id: str) -> Held | None:
        """Return a session for whoever is the first to close it, None for all others."""
        with self._lock:
            held = self._held.get(session_id)
            if held is None or held.is_closing:
                return None
            held.is_closing = True
            return held

    def remove(self, session_id: str) -> None:
        """Forget a session, once it is closed."""
        with self._lock:
            del self._held[session_id]

    # --- readers and keys -------------------------------------------------------------------------

    def join(self, held: Held, client: p.ClientData, *, keys: bool) -> None:
        """Let a client look at a session; a screen gets the keys if it wants them and they are free."""
        with self._lock:
            held.keys.join(client, keys=keys)
            if client.role == "screen" and held.owner != client.number:
                # Somebody looks at it now, so it is theirs to close.
                held.owner, held.is_left = None, False
        self._tell_of_keys(held.live.session.id)

    def leave(self, session_id: str, number: int) -> None:
        """Let a client look no longer, and free its keys."""
        with self._lock:
            held = self._held.get(session_id)
            was_there = held is not None and held.keys.leave(number)
        if was_there:
            self._tell_of_keys(session_id)

    def check_keys(self, session_id: str, client: p.ClientData) -> None:
        """Raise `NotTheHolder` for a screen while another one holds the keys."""
        with self._lock:
            self.find(session_id).keys.check(client)

    def take_keys(self, session_id: str, client: p.ClientData, *, by_force: bool) -> bool:
        """Give a screen the keys, if they are free or ``by_force``; True if it has them."""
        with self._lock:
            has_them = self.find(session_id).keys.take(client, by_force=by_force)
        self._tell_of_keys(session_id)
        return has_them

    def ask_keys(self, session_id: str, client: p.ClientData) -> None:
        """Tell whoever looks at a session that a client asks for its keys."""
        self.find(session_id)
        self._tell_of_keys(session_id, asking=client)

    def give_keys(self, session_id: str, client: p.ClientData, to: int | None) -> None:
        """Hand the keys on, or let them go. Raises `NotTheHolder`."""
        with self._lock:
            self.find(session_id).keys.give(client, to)
        self._tell_of_keys(session_id)

    # --- news -------------------------------------------------------------------------------------

    def tell_all(self, session_id: str, notice: p.Notice) -> None:
        """Tell every client that looks at a session."""
        with self._lock:
            held = self._held.get(session_id)
            numbers = [] if held is None else list(held.keys.clients)
        for number in numbers:
            self.tell(number, notice)

    def _tell_of_keys(self, session_id: str, asking: p.ClientData | None = None) -> None:
        with self._lock:
            held = self._held.get(session_id)
            if held is None:
                return
            notice = p.HolderNotice(
                session=session_id,
                holder=held.keys.holder,
                screens=held.keys.screens,
                asking=asking,
            )
        self.tell_all(session_id, notice)
