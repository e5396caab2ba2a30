"""Operations without a pair as units of work, each recorded in a session of its own.

What they make is kept in folders, which every worker has to see: whoever goes on looks there.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from adl.callbacks import ShouldStop
from adl.errors import AdlError, Stopped
from workbench.locations import find_locations
from workbench.operations import OPERATIONS
from workbench.operations.pair import environment
from workbench.operations.running import Arguments, Session, run
from workbench.store.events import HUMAN, SessionClosed
from workbench.workers.units import Delivery, Unit, WorkersError, Workshop


@dataclass(frozen=True)
class OperationUnit:
    """An operation, once for each of some arguments, which share what takes long to make.

    ``folder`` is where it keeps what it makes; None for the user's own organisms, wherever the
    worker has them. ``mark`` is a file there by which the worker knows the folder.
    """

    name: str
    operation: str
    arguments: tuple[Arguments, ...]
    folder: str | None = None
    mark: str = ""

    @property
    def near(self) -> str:
        """Its own: there is nothing to share with other units."""
        return self.name

    @property
    def rests_on(self) -> tuple[str, ...]:
        """No session."""
        return ()

    @property
    def place(self) -> Path:
        """The folder on this machine."""
        return Path(self.folder) if self.folder else find_locations().organisms

    def do(self, shop: Workshop, should_stop: ShouldStop) -> None:
        """Run it in a new session. Raises ``WorkersError`` where the folder is another."""
        if not (self.place / self.mark).exists():
            raise WorkersError(
                f"the worker on {platform.node()} does not see the same folder {self.place}",
                "Share it between the machines, and set ADL_WORKBENCH_HOME there as here.",
            )
        session = Session(
            shop.log, shop.log.start_session(self.name, environment(), HUMAN), shop.cache
        )
        shop.begun(session.id)
        try:
            for arguments in self.arguments:
                run(
                    session,
                    OPERATIONS[self.operation],
                    arguments,
                    actor=HUMAN,
                    should_stop=should_stop,
                )
        except Stopped as exc:
            session.record(SessionClosed(outcome="stopped", reason=exc.message))
            raise
        except Exception as exc:
            why = exc.message if isinstance(exc, AdlError) else f"{type(exc).__name__}: {exc}"
            session.record(SessionClosed(outcome="failed", reason=why))
            raise
        session.record(SessionClosed(outcome="completed"))


class OperationUnits:
    """Units of which each is done once; those that are not stay ``left``."""

    def __init__(self, units: Sequence[OperationUnit]) -> None:
        self._left = {unit.name: unit for unit in units}
        self.total = len(self._left)

    def left(self) -> list[Unit]:
        """The units that are not done."""
        return list(self._left.values())

    def took(self, unit: Unit, delivery: Delivery) -> None:
        """Take note of one that is done."""
        if delivery.is_done:
            self._left.pop(unit.name, None)

    @contextmanager
    def marked(self) -> Iterator[None]:
        """While inside, a file in each unit's folder tells it from one of the same name elsewhere."""
        mark = f".workers-{uuid4().hex}"
        with ExitStack() as ends:
            for place in {unit.place for unit in self._left.values()}:
                place.mkdir(parents=True, exist_ok=True)
                (place / mark).touch()
                ends.callback((place / mark).unlink, missing_ok=True)
            self._left = {name: replace(unit, mark=mark) for name, unit in self._left.items()}
            yield
