"""Replay by eye: any moment of a recorded session, as the state that its screen showed.

    Player.open(log, session)       nothing is read yet
        prepare(seconds)            reads on, and keeps a checkpoint every `EVENTS_APART` events
        seek, step, next_change     the nearest checkpoint, and the few events after it
        advance(seconds)            what a running clock brings; the caller owns the clock

Turns, times and kinds of all events are kept, the events themselves are not: they are read again
where they are needed, so a long session needs little memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal, Self, get_args

from workbench.replay.errors import ReplayError
from workbench.store.events import Event, OperationStarted
from workbench.store.log import SessionLog
from workbench.store.state import Fold, SessionState, TimelineEntry

#: Events between two checkpoints: a seek folds at most so many, in a few milliseconds.
EVENTS_APART = 250
#: Longest pause shown between two events, in seconds at speed 1: people think, and that is dull.
LONGEST_PAUSE = 2.0
SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0)

Turns = Literal["all", "human", "agent"]
CHANGES = frozenset(
    {
        "hypothesis_stated",
        "hypothesis_revised",
        "hypotheses_ranked",
        "hypothesis_judged",
        "evidence_linked",
    }
)
"""The kinds of event that change a hypothesis."""


class Player:
    """Goes through one recorded session; `state` is the fold of its first `position` events.

    A session that is still being recorded is played as far as it had come when it was opened. Not
    for use by two threads at once; the states are.
    """

    def __init__(self, log: SessionLog, session_id: str, length: int) -> None:
        self.session_id = session_id
        self.length = length
        self.playing = False
        self.turns: Turns = "all"
        self._log = log
        self._speed = SPEEDS.index(1.0)
        self._waited = 0.0
        # Read so far, as one fold that only goes forward, and its copies on the way.
        self._frontier = Fold()
        self._ahead = log.events(session_id)
        # By event: in lists of their own, because 50,000 objects more would slow every collection.
        self._times: list[float] = []
        self._kinds: list[str] = []
        self._turns: list[str] = []
        self._checkpoints = [Fold()]
        self._operations: dict[str, str] = {}
        # Where we are, and the events from here on.
        self._fold = Fold()
        self._next: Iterator[Event] = iter(())
        self._next_seq = 0

    @classmethod
    def open(cls, log: SessionLog, session_id: str) -> Self:
        """A player before the first event of the session. Raises `StoreError` if there is none."""
        found = log.find_session(session_id)
        return cls(log, found.id, found.events)

    # --- where we are -----------------------------------------------------------------------

    @property
    def position(self) -> int:
        """The number of events shown: the seq of the last of them, 0 before the first."""
        return self._fold.version

    @property
    def state(self) -> SessionState:
        """The session as it stood after the event at `position`."""
        return self._fold.state()

    @property
    def current(self) -> TimelineEntry | None:
        """The event at `position` in one line; None before the first."""
        timeline = self.state.timeline
        return timeline[-1] if timeline else None

    @property
    def at_end(self) -> bool:
        """True if no event of the shown turns is left."""
        return self._next_shown(self.position) is None

    @property
    def speed(self) -> float:
        """The number of recorded seconds that pass in one second."""
        return SPEEDS[self._speed]

    @property
    def read(self) -> int:
        """The number of events read; a seek up to there is quick."""
        return self._frontier.version

    # --- reading ahead ----------------------------------------------------------------------

    def prepare(self, seconds: float) -> bool:
        """Read on for about so many seconds; return True once all is read and every seek is quick."""
        until = time.monotonic() + seconds
        while self._frontier.version < self.length and time.monotonic() < until:
            self._read_to(min(self._frontier.version + EVENTS_APART, self.length))
        return self._frontier.version >= self.length

    # --- going somewhere --------------------------------------------------------------------

    def seek(self, seq: int) -> SessionState:
        """Go to just after event ``seq``; 0 is before the first. Raises `ReplayError`."""
        if not 0 <= seq <= self.length:
            raise ReplayError(
                f"session {self.session_id} has no event {seq}", f"Give 0 to {self.length}."
            )
        self._waited = 0.0
        self._go(seq)
        return self.state

    def step(self, events: int = 1) -> bool:
        """Go on by so many shown events, or back if negative; return False if there was none to go to."""
        before = self.position
        for _ in range(abs(events)):
            place = (
                self._next_shown(self.position)
                if events > 0
                else self._previous_shown(self.position)
            )
            if place is None:
                break
            self.seek(place)
        return self.position != before

    def next_change(self) -> bool:
        """Go on to the next change of a hypothesis; whether there is one."""
        for seq in range(self.position + 1, self.length + 1):
            if self._is_shown(seq) and self._kinds[seq - 1] in CHANGES:
                self.seek(seq)
                return True
        return False

    def previous_change(self) -> bool:
        """Go back to the change of a hypothesis before this event; whether there is one."""
        for seq in range(self.position - 1, 0, -1):
            if self._is_shown(seq) and self._kinds[seq - 1] in CHANGES:
                self.seek(seq)
                return True
        return False

    # --- playing ----------------------------------------------------------------------------

    def play(self) -> None:
        """Let `advance` go on; from the start again if nothing is left."""
        if self.at_end:
            self.seek(0)
        self.playing = True

    def pause(self) -> None:
        """Let `advance` do nothing."""
        self.playing = False

    def faster(self) -> float:
        """The next higher of `SPEEDS`, from now on."""
        self._speed = min(self._speed + 1, len(SPEEDS) - 1)
        return self.speed

    def slower(self) -> float:
        """The next lower of `SPEEDS`, from now on."""
        self._speed = max(self._speed - 1, 0)
        return self.speed

    def show_turns(self, turns: Turns) -> None:
        """Stop only at events of these turns; the others happen without being stopped at.

        Raises `ReplayError` for anything that is not `Turns`.
        """
        if turns not in get_args(Turns):
            raise ReplayError(
                f"{turns!r} does not say whose turns", f"Use one of: {', '.join(get_args(Turns))}."
            )
        self.turns = turns
        self._waited = 0.0

    def advance(self, seconds: float) -> bool:
        """Let ``seconds`` of the caller's clock pass; whether any event came due.

        Events come as they were recorded, except that no pause is longer than `LONGEST_PAUSE`.
        """
        if not self.playing:
            return False
        before = self.position
        self._waited += seconds * self.speed
        while (place := self._next_shown(self.position)) is not None:
            pause = self._pause_before(place)
            if self._waited < pause:
                break
            self._waited -= pause
            self._go(place)
        else:
            self.playing = False
            self._waited = 0.0
        return self.position != before

    # --- inside -----------------------------------------------------------------------------

    def _pause_before(self, seq: int) -> float:
        if seq == 1:
            return 0.0
        self._read_to(seq)
        gap = self._times[seq - 1] - self._times[seq - 2]
        # A clock that was set back between two processes gives a negative gap.
        return min(max(gap, 0.0), LONGEST_PAUSE)

    def _is_shown(self, seq: int) -> bool:
        self._read_to(seq)
        return self.turns in {"all", self._turns[seq - 1]}

    def _next_shown(self, after: int) -> int | None:
        return next((s for s in range(after + 1, self.length + 1) if self._is_shown(s)), None)

    def _previous_shown(self, before: int) -> int | None:
        """The shown event before; 0, before the first, if there is none and we are not there."""
        shown = next((seq for seq in range(before - 1, 0, -1) if self._is_shown(seq)), None)
        return 0 if shown is None and before > 0 else shown

    def _read_to(self, seq: int) -> None:
        """Read and fold as far as event ``seq``, keeping times, kinds, turns and checkpoints."""
        while self._frontier.version < seq:
            event = next(self._ahead, None)
            if event is None:
                raise ReplayError(
                    f"session {self.session_id} lost its events from {self._frontier.version + 1} on",
                    "It was deleted while it was replayed.",
                )
            self._frontier.apply(event)
            self._times.append(event.at.timestamp())
            self._kinds.append(event.body.kind)
            self._turns.append(self._turn(event))
            if event.seq % EVENTS_APART == 0:
                self._checkpoints.append(self._frontier.copy())

    def _turn(self, event: Event) -> str:
        """Whose turn an event belongs to: of what an operation records, that of who asked for it."""
        operation = event.operation_id or ""
        if isinstance(event.body, OperationStarted):
            self._operations[operation] = event.actor.kind
        if event.actor.kind == "system":
            return self._operations.get(operation, "system")
        return event.actor.kind

    def _go(self, seq: int) -> None:
        self._read_to(seq)
        here = self._fold.version
        checkpoint = seq // EVENTS_APART
        if not checkpoint * EVENTS_APART <= here <= seq:
            self._fold = self._checkpoints[checkpoint].copy()
        while self._fold.version < seq:
            if self._next_seq != self._fold.version + 1:
                self._next = self._log.events(self.session_id, after_seq=self._fold.version)
            event = next(self._next)
            self._fold.apply(event)
            self._next_seq = event.seq + 1
