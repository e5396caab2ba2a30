"""The engines that run, and which of them is meant."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from adl.errors import AdlError
from adl.words import number_of
from workbench.engine import protocol as p
from workbench.engine.client import EngineClient
from workbench.engine.sockets import EngineGone, find_engines
from workbench.locations import Locations

#: How long an engine may take to tell of itself for the list of engines, in seconds.
LISTING = 2.0


class UnclearEngine(AdlError):
    """No one engine is meant."""


@dataclass(frozen=True)
class RunningEngine:
    """An engine that answers, with its status."""

    socket: Path
    status: p.StatusData


def running_engines(locations: Locations) -> tuple[RunningEngine, ...]:
    """Return the engines of this user that answer, the newest first."""
    found = []
    for path in find_engines(locations):
        # One that ends just now, hangs, or is of another version is none to attach to.
        with (
            suppress(AdlError),
            EngineClient.connect(path, role="command", timeout=LISTING) as client,
        ):
            found.append(RunningEngine(path, client.call(p.Status(), timeout=LISTING)))
    return tuple(found)


def choose_engine(
    engines: Sequence[RunningEngine], wanted: str | None = None
) -> tuple[Path, str | None]:
    """Return the socket and the session to attach to; None for the session that was opened last.

    ``wanted`` is a session's id, the start of one, or a name; one that no engine has open is for the
    only engine to open. Raises `EngineGone` where none runs, and `UnclearEngine`.
    """
    if not engines:
        raise EngineGone("no engine runs", "`adl-workbench serve` starts one.")
    if wanted is not None:
        found = [
            (engine.socket, session.id)
            for engine in engines
            for session in engine.status.sessions
            if session.id.startswith(wanted) or session.name == wanted
        ]
        if len(found) == 1:
            return found[0]
        if not found and len(engines) == 1:
            return engines[0].socket, wanted
        several = "several engines have" if found else "no engine has"
        raise UnclearEngine(f"{several} a session {wanted!r} open", _listed(engines))
    busy = [engine for engine in engines if engine.status.sessions]
    if len(engines) == 1 or len(busy) == 1:
        return (busy or list(engines))[0].socket, None
    raise UnclearEngine(f"there are {number_of(len(engines), 'engine')}", _listed(engines))


def _listed(engines: Sequence[RunningEngine]) -> str:
    told = []
    for engine in engines:
        sessions = [f"{session.id} ({session.name})" for session in engine.status.sessions]
        told.append(
            f"process {engine.status.pid} with {engine.status.pair}: "
            + (", ".join(sessions) or "no session")
        )
    return f"Name one of these sessions: {'; '.join(told)}."
