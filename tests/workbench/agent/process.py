"""The agent's commands over a planted pair: `python -m tests.workbench.agent.process agent run ...`.

See ``tests.planted_cli``: everything is as for a person but what would load torch.
"""

from __future__ import annotations

import typer

from tests.planted_cli import stand_in_for_torch
from tests.workbench.little_evidence import make_it_little
from workbench.cli import agent


def commands() -> typer.Typer:
    """The commands of the agent and nothing else."""
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_show_locals=False)
    app.add_typer(agent.app, name="agent")
    app.add_typer(agent.grades, name="grades")
    app.command()(agent.grade)
    app.command()(agent.evaluate)
    return app


def main() -> None:
    stand_in_for_torch({})
    make_it_little(setattr)
    commands()()


if __name__ == "__main__":
    main()
