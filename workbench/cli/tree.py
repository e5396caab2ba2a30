"""Every command of the program. Importing it loads neither torch nor textual."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from workbench.cli import agent, attaching, organisms, outside, replay, report, serving, sessions
from workbench.cli import measure_commands as measures
from workbench.cli import pair_commands as measuring
from workbench.cli.doctor import doctor
from workbench.cli.guard import new_program
from workbench.cli.options import (
    SessionOptions,
    options_from,
    pair_arguments,
    session_options,
)
from workbench.cli.output import EXIT_USAGE, fail, require_screen
from workbench.cli.running import database_path
from workbench.importing import uncollected
from workbench.operations.pair import DemoPair, PairArguments

app = new_program()
app.command()(measuring.audit)
app.command()(measuring.diff)
app.command()(measuring.read)
app.command()(measuring.steer)
app.command()(measuring.ask)
measures.add_commands(app)
app.add_typer(agent.app, name="agent")
app.command()(agent.grade)
app.add_typer(agent.grades, name="grades")
app.command()(agent.evaluate)
app.command()(outside.mcp)
app.command()(serving.serve)
app.add_typer(serving.engines, name="engine")
app.command()(attaching.attach)
app.command()(replay.replay)
app.command()(report.report)
app.command()(report.compare)
app.command()(report.coverage)
app.command()(report.branch)
app.add_typer(report.exports, name="export")
app.command("import")(report.import_file)
app.add_typer(sessions.app, name="sessions")
app.add_typer(organisms.app, name="organisms")
app.command()(doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"adl-workbench {version('adl-workbench')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
@options_from(pair=pair_arguments, where=session_options)
def workbench(
    context: typer.Context,
    pair: PairArguments,
    where: SessionOptions,
    prepare: Annotated[
        bool,
        typer.Option(
            "--prepare/--no-prepare", help="Measure and read the pair as soon as it is loaded."
        ),
    ] = True,
    blind: Annotated[
        bool, typer.Option("--blind", help="Hide every name of the pair from now on.")
    ] = False,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Find out what a finetuned language model was finetuned to do.

    Without a command the workbench opens: on the pair or the session named here, or on its start
    screen.
    """
    named = pair != PairArguments() or where != SessionOptions(None, None, None)
    if context.invoked_subcommand is not None:
        if named:
            fail(
                f"give options after the command {context.invoked_subcommand!r}, not before it",
                EXIT_USAGE,
            )
        return
    require_screen("use a command: `adl-workbench audit`")
    if pair != PairArguments() and where.session is not None:
        fail("a session has its own pair: give a pair or --session, not both", EXIT_USAGE)
    if blind and pair == PairArguments():
        fail("--blind starts a new session: name a pair, for example with --organism", EXIT_USAGE)
    named_pair = pair if pair != PairArguments() else None
    _open_workbench(named_pair, where, prepare, blind=blind or isinstance(pair, DemoPair))


def _open_workbench(
    pair: PairArguments | None, where: SessionOptions, prepare: bool, *, blind: bool
) -> None:
    # Imported here: no other command needs the screen.
    with uncollected():
        from workbench.tui.running import run_workbench
        from workbench.tui.startup import Startup

    startup = Startup(
        database=database_path(where.database),
        pair=pair,
        session=where.session,
        name=where.name,
        prepare=prepare,
        blind=blind,
    )
    raise typer.Exit(run_workbench(startup))
