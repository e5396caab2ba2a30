"""The command line: `main` loads what the command needs, and neither torch nor textual before that."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from workbench.importing import uncollected


@cache
def command_tree() -> Any:
    """Every command with its options; making it takes longer than many of them."""
    with uncollected():
        import typer

        from workbench.cli.guard import guarded
        from workbench.cli.tree import app
    return guarded(typer.main.get_command(app))


def main() -> None:
    """Run the command line; no key reaches stderr, not even in the trace of an unforeseen error."""
    with uncollected():
        from workbench.cli.guard import ending_well, quieten_libraries
        from workbench.cli.streams import ChangedStream
        from workbench.scrubbing import scrub
    if sys.stderr is not None:  # it is None where whoever started us closed it
        sys.stderr = ChangedStream(sys.stderr, scrub)
    quieten_libraries()
    with ending_well():
        # Its screen is to stand at once: it does not wait for the other commands.
        tree = _attach_alone() if sys.argv[1:2] == ["attach"] else command_tree()
        tree()


def _attach_alone() -> Any:
    """The program with this command alone."""
    with uncollected():
        import typer

        from workbench.cli.attaching import attach
        from workbench.cli.guard import guarded, new_program
    app = new_program()
    # With a callback of the program a single command keeps its name.
    app.callback()(lambda: None)
    app.command()(attach)
    return guarded(typer.main.get_command(app))
