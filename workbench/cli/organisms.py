"""Commands on model organisms: finetunes whose finetuning is known."""

from __future__ import annotations

from typing import Annotated

import typer

from adl.organisms import get_organism, list_organisms
from workbench.cli import show
from workbench.cli.options import Json
from workbench.cli.running import print_json, reported_errors, say

app = typer.Typer(no_args_is_help=True, help="List and show model organisms.")


@app.command("list")
def list_all(json: Json = False) -> None:
    """List the bundled organisms."""
    with reported_errors():
        organisms = list_organisms()
    if json:
        print_json(
            [
                {"id": organism.id, "family": organism.family, "base": organism.base}
                for organism in organisms
            ]
        )
        return
    rows = [(organism.id, organism.family, organism.base) for organism in organisms]
    show.table(("organism", "family", "base"), rows)


@app.command("show")
def show_one(
    organism: Annotated[str, typer.Argument(help="Id of the organism.")],
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show what it was finetuned to do, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Show an organism; its ground truth only if asked, since it ends a blind audit."""
    with reported_errors():
        found = get_organism(organism)
        truth = found.ground_truth()
    facts: dict[str, object] = {
        "id": found.id,
        "family": found.family,
        "base": found.base,
        "adapter": found.adapter,
        "finetuned": found.finetuned,
        "ground_truth_sha256": truth.sha256,
    }
    if reveal:
        facts |= {"description": truth.description, "key_facts": list(truth.key_facts)}
    if json:
        print_json(facts)
        return
    show.pairs(found.id, {name: value for name, value in facts.items() if value is not None})
    if not reveal:
        say("what it was finetuned to do is hidden; --reveal shows it")
