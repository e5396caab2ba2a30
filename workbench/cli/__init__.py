"""The command line. Importing it loads neither torch nor textual."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from workbench.cli import measuring, organisms, sessions
from workbench.cli.doctor import doctor

app = typer.Typer(
    name="adl-workbench",
    no_args_is_help=True,
    rich_markup_mode=None,  # "ID[@revision]" is text, not markup
    pretty_exceptions_show_locals=False,  # locals may hold keys and text of models
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(measuring.audit)
app.command()(measuring.diff)
app.command()(measuring.read)
app.command()(measuring.steer)
app.command()(measuring.ask)
app.add_typer(sessions.app, name="sessions")
app.add_typer(organisms.app, name="organisms")
app.command()(doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"adl-workbench {version('adl-workbench')}")
        raise typer.Exit


@app.callback()
def common(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    """Find out what a finetuned language model was finetuned to do."""


def main() -> None:
    """Run the command line."""
    app()
