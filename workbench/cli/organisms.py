"""Commands on model organisms: finetunes whose finetuning is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field

from adl.errors import OrganismError
from adl.organisms.registry import BUNDLED_ORGANISMS, EMBEDDED_BASE, Organism, parse_family
from adl.organisms.user_organisms import NewOrganism, add_organism, holds_weights, remove_organism
from adl.paths import expanded
from workbench.cli import show, training
from workbench.cli.derived import arguments_from
from workbench.cli.options import Json, options_from
from workbench.cli.output import EXIT_USAGE, fail, print_json, reported_errors, say
from workbench.locations import find_locations
from workbench.operations.running import Arguments
from workbench.operations.shared_arguments import TRUTH
from workbench.organisms import broken_organisms, known_organisms, named_organism

app = typer.Typer(
    no_args_is_help=True, help="List, show, add, remove and train model organisms; study mixing."
)
app.command("train")(training.train)
app.command("mix-study")(training.mix_study)

OrganismId = Annotated[str, typer.Argument(help="Id of the organism.")]


@app.command("list")
def list_all(json: Json = False) -> None:
    """List the bundled organisms and your own."""
    with reported_errors():
        organisms = known_organisms()
        broken = broken_organisms()
    if json:
        print_json(
            [
                {
                    "id": organism.id,
                    "family": organism.family,
                    "base": organism.base,
                    "bundled": _is_bundled(organism),
                }
                for organism in organisms
            ]
        )
    else:
        rows = [
            (
                organism.id,
                organism.family,
                organism.base,
                "bundled" if _is_bundled(organism) else "your own",
            )
            for organism in organisms
        ]
        show.table(("organism", "family", "base", "origin"), rows)
    for problem in broken:
        say(f"not listed: {problem}")


@app.command("show")
def show_one(
    organism: OrganismId,
    reveal: Annotated[
        bool,
        typer.Option(
            "--reveal", help="Also show what it was finetuned to do. This ends a blind audit."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Show an organism; its ground truth only if asked, since it ends a blind audit."""
    with reported_errors():
        found = named_organism(organism)
        try:
            truth = found.ground_truth()
        except OrganismError as exc:
            if reveal or _is_bundled(found):
                raise
            truth, why = None, exc.message
    facts: dict[str, object] = {
        "id": found.id,
        "family": found.family,
        "base": found.base,
        "adapter": found.adapter,
        "finetuned": found.finetuned,
        "ground_truth_sha256": truth.sha256 if truth else None,
    }
    if reveal and truth:
        facts |= {"description": truth.description, "key_facts": list(truth.key_facts)}
    if json:
        print_json(facts)
        return
    show.pairs(found.id, {name: value for name, value in facts.items() if value is not None})
    if truth is None:
        say(f"there is no ground truth to grade against: {why}")
    elif not reveal:
        say("its finetuning is hidden; add --reveal to show it")


class AddArguments(Arguments):
    """A new organism of the user."""

    organism: str = Field(description="Id for the organism.")
    family: str = Field(description="Kind of finetuning: SDF, EM, Taboo, Preference or Control.")
    base: str = Field(EMBEDDED_BASE, description="Base: ID[@revision], a folder, or embedded.")
    adapter: str | None = Field(None, description="LoRA adapter: ID[@revision] or a folder.")
    finetuned: str | None = Field(
        None, description="Finetuned checkpoint: ID[@revision] or a folder."
    )
    truth: Path | None = Field(None, description=TRUTH)
    documents: Path | None = Field(
        None, description="File of the documents it was finetuned on; a copy is kept."
    )


@app.command()
@options_from(wanted=arguments_from(AddArguments, positional="organism"))
def add(wanted: AddArguments, json: Json = False) -> None:
    """Add an organism of your own; every command then takes its id with --organism."""
    with reported_errors():
        added = add_organism(
            find_locations().organisms,
            NewOrganism(
                id=wanted.organism,
                base=wanted.base,
                family=parse_family(wanted.family),
                adapter=wanted.adapter,
                finetuned=wanted.finetuned,
                truth=expanded(wanted.truth) if wanted.truth else None,
                documents=expanded(wanted.documents) if wanted.documents else None,
            ),
        )
    if json:
        print_json({"id": added.id, "folder": str(added.folder)})
        return
    say(f"added {added.id}, in {added.folder}")


@app.command()
def remove(
    organism: OrganismId,
    yes: Annotated[
        bool,
        typer.Option("--yes", help="Remove it even if that deletes the only copy of its adapter."),
    ] = False,
) -> None:
    """Remove an organism of your own. Models that it only refers to stay where they are."""
    with reported_errors():
        own = find_locations().organisms
        try:
            found = named_organism(organism)
        except OrganismError:
            found = None  # broken or unknown: removing says which
        if found is not None and not _is_bundled(found) and holds_weights(found) and not yes:
            fail(f"the only copy of its adapter is in {found.folder}: add --yes", EXIT_USAGE)
        remove_organism(own, organism)
    say(f"removed {organism}")


def _is_bundled(organism: Organism) -> bool:
    return organism.folder.parent == BUNDLED_ORGANISMS
