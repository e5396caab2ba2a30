"""The session or pair that the screen opens at startup."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workbench.operations.pair import PairArguments
from workbench.tui.messages import AttachSession, ReplaySession


@dataclass(frozen=True)
class Startup:
    """The session or pair to open at startup.

    ``pair`` for a new session (called ``name``), ``session`` for one to continue, neither for the
    start screen. ``prepare`` measures and reads the pair as soon as it is loaded. ``replay`` is a
    session to be replayed instead, ``attach`` one of an engine. A database that is not ``lasting``
    is gone with the program. ``blind`` hides every name of the new session's pair, from before it is
    loaded.
    """

    database: Path
    pair: PairArguments | None = None
    session: str | None = None
    name: str | None = None
    prepare: bool = True
    replay: ReplaySession | None = None
    attach: AttachSession | None = None
    lasting: bool = True
    blind: bool = False
