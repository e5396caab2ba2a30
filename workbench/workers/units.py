"""Many units of work, each done by a worker in a session file of its own, merged into the one.

    spread(many, log, pool)
        many.left()        the units that can be begun now
        pool.give(...)     a unit, with the sessions it rests on, to a worker that is idle
            Workshop.do    in the worker: its own session file, and a session of it to deliver
        merge(...)         the session into the one file, checked as an import is
        many.took(...)     noted there how far the unit has come

A unit whose worker died is begun again. One that fails is named, and the rest goes on.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeVar

from adl.artifacts import ArrayCache
from adl.callbacks import ShouldStop, never_stop
from adl.errors import AdlError, Stopped, first_line
from adl.words import number_of
from workbench.faults import REPORT_BUG, as_error, without_secrets
from workbench.locations import find_locations
from workbench.store.log import SessionLog

#: How often a unit is begun in all if its workers die.
TRIES = 3
#: Seconds that workers have to end within once they are asked to; then they are killed.
GRACE_SECONDS = 60.0
_POLL_SECONDS = 0.2
T = TypeVar("T")


class WorkersError(AdlError):
    """Work cannot be spread over workers."""


class UnitsFailed(AdlError):
    """Some units of work could not be done; all others are."""

    exit_code = 1


class Unit(Protocol):
    """A piece of work for one worker; it is pickled on its way there, and holds no secret."""

    @property
    def name(self) -> str:
        """Its name, as shown."""
        ...

    @property
    def near(self) -> str:
        """The same for units that share what takes long to load."""
        ...

    @property
    def rests_on(self) -> tuple[str, ...]:
        """Ids of sessions that the worker needs copies of."""
        ...

    def do(self, shop: Workshop, should_stop: ShouldStop) -> None:
        """Do it, in the worker. ``shop.begun`` is told the id of the session it is recorded in."""
        ...


@dataclass(frozen=True)
class Delivery:
    """The end of a unit in a worker: its session as a file, and why it is not done, if so."""

    session: str | None
    file: bytes
    problem: str = ""
    stopped: bool = False

    @property
    def is_done(self) -> bool:
        """True if nothing is left to do of it."""
        return not (self.problem or self.stopped)


@dataclass(frozen=True)
class Ended:
    """A worker that is idle again, or dead, in which case nothing was delivered."""

    worker: int
    delivery: Delivery | None


class Many(Protocol):
    """A piece of work that has many units, and its record in the one session file."""

    @property
    def total(self) -> int:
        """Number of units, those done before included."""
        ...

    def left(self) -> Sequence[Unit]:
        """The units that are not done and can be begun now, in order."""
        ...

    def took(self, unit: Unit, delivery: Delivery) -> None:
        """Note how far a unit has come, whose session is in the one file now."""
        ...


class Pool(Protocol):
    """Workers."""

    def idle(self) -> Sequence[int]:
        """Numbers of the workers that wait for a unit; a number is never given twice."""
        ...

    def give(self, worker: int, unit: Unit, sessions: Sequence[bytes]) -> None:
        """Have a worker do a unit, with the session files it lacks."""
        ...

    def wait(self, seconds: float) -> Sequence[Ended]:
        """Wait that long for workers that end, and return those. Raises ``WorkersError``."""
        ...

    def stop(self) -> None:
        """Ask every worker to stop what it does."""
        ...


class Workshop:
    """A worker's own session file, and what it keeps from unit to unit."""

    def __init__(self, folder: Path) -> None:
        # All that it writes, for whoever clears up after one that was killed.
        self._folder = folder
        self.log = SessionLog.open(folder / "sessions.db")
        self.cache = ArrayCache(find_locations().arrays)
        self._ends = ExitStack()
        self._ends.callback(self.log.close)
        self._kept: dict[str, Any] = {}
        self._begun: list[str] = []

    def keep(self, key: str, make: Callable[[], T], end: Callable[[T], object] = bool) -> T:
        """Return what an earlier unit made under the key; otherwise call ``make`` and keep its result.

        ``end`` is called with that when the worker ends.
        """
        if key not in self._kept:
            self._kept[key] = made = make()
            self._ends.callback(end, made)
        found: T = self._kept[key]
        return found

    def begun(self, session_id: str) -> None:
        """Take note of the session that the unit is recorded in."""
        self._begun.append(session_id)

    def do(
        self, unit: Unit, sessions: Sequence[bytes] = (), should_stop: ShouldStop = never_stop
    ) -> Delivery:
        """Do a unit, and return its session however it ended."""
        self._begun.clear()
        problem, stopped = "", False
        try:
            for data in sessions:
                take(self.log, data, self._folder)
            unit.do(self, should_stop)
        except Stopped:
            stopped = True
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is this unit's alone
            error = as_error(exc)
            words = (
                str(error) if error else f"{type(exc).__name__}: {first_line(exc)}. {REPORT_BUG}"
            )
            problem = without_secrets(words)
        if not self._begun:
            return Delivery(None, b"", problem, stopped)
        (session,) = self._begun
        return Delivery(session, session_file(self.log, session, self._folder), problem, stopped)

    def close(self) -> None:
        """Let go of the session file, and of what was kept."""
        self._ends.close()


def session_file(log: SessionLog, session_id: str, scratch: Path | None = None) -> bytes:
    """A session as a file of its own, written below ``scratch``, by default where the system does."""
    with TemporaryDirectory(prefix="adl-session-", dir=scratch) as folder:
        return log.export_session(session_id, Path(folder) / "session.db").read_bytes()


def take(log: SessionLog, data: bytes, scratch: Path | None = None) -> str:
    """Take in a session file; a session that is there gets what it lacks. Raises ``StoreError``."""
    with TemporaryDirectory(prefix="adl-session-", dir=scratch) as folder:
        path = Path(folder) / "session.db"
        path.write_bytes(data)
        return log.import_session(path, continuing=True)


def spread(
    many: Many,
    log: SessionLog,
    pool: Pool,
    say: Callable[[str], None],
    should_stop: ShouldStop = never_stop,
) -> None:
    """Have a pool's workers do every unit that is left.

    Raises ``UnitsFailed`` at the end, with the names of what could not be done, and ``Stopped``;
    what is done then is in ``log``.
    """
    course = _Course(many, log, pool, say)
    stopping: float | None = None
    while True:
        if stopping is None and should_stop():
            stopping = time.monotonic()
            pool.stop()
        if stopping is None:
            course.give_out()
        if course.is_over(stopping is not None):
            break
        for ended in pool.wait(_POLL_SECONDS):
            course.end(ended)
        if stopping is not None and time.monotonic() - stopping > GRACE_SECONDS:
            break
    if stopping is not None:
        raise Stopped(f"{course.done} of {many.total} units of work are done")
    if course.failed:
        shown = "; ".join(f"{name}: {why}" for name, why in course.failed.items())
        raise UnitsFailed(
            f"{number_of(len(course.failed), 'unit')} of {many.total} could not be done: {shown}",
            "The same command goes on with what is not done.",
        )


class _Course:
    """The parts of the work that are done, under way and failed."""

    def __init__(self, many: Many, log: SessionLog, pool: Pool, say: Callable[[str], None]) -> None:
        self.failed: dict[str, str] = {}
        self.done = 0
        self._many = many
        self._log = log
        self._pool = pool
        self._say = say
        self._under_way: dict[int, Unit] = {}
        self._tries: Counter[str] = Counter()
        self._loaded: dict[int, str] = {}
        self._given: set[tuple[int, str]] = set()

    def is_over(self, stopping: bool) -> bool:
        return not self._under_way and (stopping or not self._waiting())

    def give_out(self) -> None:
        """Give every idle worker a unit, if there is one, near to what it has loaded."""
        for worker in self._pool.idle():
            unit = self._next(worker)
            if unit is None:
                return
            self._tries[unit.name] += 1
            self._under_way[worker] = unit
            self._loaded[worker] = unit.near
            lacking = [known for known in unit.rests_on if (worker, known) not in self._given]
            self._given.update((worker, known) for known in lacking)
            self._say(f"begun by worker {worker}: {unit.name}")
            self._pool.give(worker, unit, [session_file(self._log, known) for known in lacking])

    def end(self, ended: Ended) -> None:
        unit = self._under_way.pop(ended.worker)
        delivery = ended.delivery
        if delivery is None:
            self._loaded.pop(ended.worker, None)
            self._say(f"worker {ended.worker} died at: {unit.name}")
            if self._tries[unit.name] >= TRIES:
                self.failed[unit.name] = f"its worker died {TRIES} times"
            return
        if delivery.session is not None:
            take(self._log, delivery.file)
        self._many.took(unit, delivery)
        if delivery.problem:
            self.failed[unit.name] = delivery.problem
            self._say(f"failed: {unit.name}: {delivery.problem}")
        elif delivery.is_done:
            self.done += 1
            self._say(f"done: {unit.name} ({self.done} of {self._many.total} now)")

    def _waiting(self) -> list[Unit]:
        begun = {unit.name for unit in self._under_way.values()}
        return [
            unit
            for unit in self._many.left()
            if unit.name not in begun and unit.name not in self.failed
        ]

    def _next(self, worker: int) -> Unit | None:
        """A unit near to what the worker has; else one that no other worker is near to; else any."""
        waiting = self._waiting()
        own = self._loaded.get(worker)
        others = {near for other, near in self._loaded.items() if other != worker}
        for is_fit in (
            lambda unit: unit.near == own,
            lambda unit: unit.near not in others,
            lambda _: True,
        ):
            for unit in waiting:
                if is_fit(unit):
                    return unit
        return None
