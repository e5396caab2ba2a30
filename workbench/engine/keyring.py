"""The holder of a session's keys: one screen has them, the others watch and may ask for them."""

from __future__ import annotations

from dataclasses import dataclass, field

from adl.errors import AdlError
from workbench.engine.protocol import ClientData


class NotTheHolder(AdlError):
    """Another screen holds the keys of the session."""


@dataclass
class Keyring:
    """The clients that look at a session, by number, and who of the screens holds its keys.

    Not for several threads. Commands are here, too, since they get the news; they need no keys.
    """

    clients: dict[int, ClientData] = field(default_factory=dict)
    _holder: int | None = None

    @property
    def holder(self) -> ClientData | None:
        """The screen with the keys."""
        return None if self._holder is None else self.clients[self._holder]

    @property
    def screens(self) -> tuple[ClientData, ...]:
        """The screens that look at the session, in the order in which they came."""
        return tuple(client for client in self.clients.values() if client.role == "screen")

    def join(self, client: ClientData, *, keys: bool) -> None:
        """Let a client look; a screen gets the keys if it wants them and nobody has them."""
        self.clients[client.number] = client
        if keys and client.role == "screen" and self._holder is None:
            self._holder = client.number

    def leave(self, number: int) -> bool:
        """Forget a client; True if it was there."""
        if self._holder == number:
            self._holder = None
        return self.clients.pop(number, None) is not None

    def take(self, client: ClientData, *, by_force: bool) -> bool:
        """Give a screen the keys, if they are free or ``by_force``."""
        if self._holder in {None, client.number} or by_force:
            self._require_screen(client.number)
            self._holder = client.number
            return True
        return False

    def give(self, client: ClientData, to: int | None) -> None:
        """Hand the keys on, or let them go. Raises `NotTheHolder`."""
        if self._holder != client.number:
            raise NotTheHolder("only who holds the keys can give them", "Take them first.")
        if to is not None:
            self._require_screen(to)
        self._holder = to

    def check(self, client: ClientData) -> None:
        """Raise `NotTheHolder` for a screen while another one holds the keys."""
        if client.role == "screen" and self._holder not in {None, client.number}:
            holder = self.clients[self._holder]
            raise NotTheHolder(
                f"the keys of this session are with {holder.name or f'screen {holder.number}'}",
                "Ask for them, or watch.",
            )

    def _require_screen(self, number: int) -> None:
        found = self.clients.get(number)
        if found is None or found.role != "screen":
            raise NotTheHolder(f"client {number} is no screen of this session", "Open it first.")
