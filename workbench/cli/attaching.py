"""The command `attach`: the workbench on a session of an engine."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench.cli.output import reported_errors, require_screen
from workbench.importing import uncollected
from workbench.locations import find_locations


def attach(
    session: Annotated[
        str | None,
        typer.Argument(
            metavar="[SESSION]",
            help="Id or name of a session; without one, the last that the engine opened.",
        ),
    ] = None,
) -> None:
    """Open the workbench on a session of a running engine; leaving it only detaches."""
    with reported_errors():
        require_screen("attach from a terminal, or give an engine's session to a command: --engine")
        with uncollected():
            # Imported here: what it needs takes its time, and --help does not wait for it.
            from workbench.engine.running_engines import choose_engine, running_engines

        locations = find_locations()
        socket, found = choose_engine(running_engines(locations), session)
        with uncollected():
            from workbench.tui.messages import AttachSession
            from workbench.tui.running import run_workbench
            from workbench.tui.startup import Startup

    startup = Startup(database=locations.database, attach=AttachSession(socket, found))
    raise typer.Exit(run_workbench(startup))
