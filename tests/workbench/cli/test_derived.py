"""Options made from arguments: each is there, is checked by the arguments, and defaults stay theirs."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from workbench.cli import app
from workbench.cli.derived import NAMES, Given, made, merged_options, options_of
from workbench.operations.causal import CausalArguments
from workbench.operations.coherent_alpha import CoherentAlphaArguments
from workbench.operations.difference import MeasureArguments
from workbench.operations.generation import AskArguments, SteerArguments
from workbench.operations.mixing import MixArguments
from workbench.operations.pair import PairArguments
from workbench.operations.relevance import RelevanceArguments, SimilarityArguments
from workbench.operations.running import Arguments
from workbench.operations.trace import TraceArguments
from workbench.operations.training import TrainArguments


class Sample(Arguments):
    """One field of each kind."""

    name: str
    size: int = Field(3, ge=1, le=9, description="How large.")
    share: float = Field(0.5, gt=0, description="Which share.")
    kind: Literal["round", "square"] = Field("round", description="Which shape.")
    maybe: Literal["8", "4"] | None = Field(None, description="How few bits.")
    alphas: tuple[float, ...] = Field((1.0, 2.0), min_length=1, description="Strengths.")
    sides: tuple[Literal["left", "right"], ...] = Field(("left",), description="Which sides.")
    sure: bool = Field(False, description="No question.")
    turns: tuple[dict[str, str], ...] = Field((), description="Turns.")
    hidden: int = 7


@pytest.fixture
def run():
    """Run a command made of ``Sample``; what it got, or the result of the failed run."""
    got: list[Given] = []

    def command(given: Given, own: Annotated[int, typer.Option("--own")] = 0) -> None:
        got.append(given)
        made(Sample, given)

    typer_app = typer.Typer()
    typer_app.command()(
        merged_options(command, {"given": options_of(Sample, leave_out=["hidden"])})
    )

    def run(*arguments: str):
        result = CliRunner().invoke(typer_app, ["--name", "x", *arguments])
        return (got[-1] if got else None), result

    return run


def test_only_what_was_given_is_passed_on(run):
    given, result = run()
    assert result.exit_code == 0, result.output
    assert given == {"name": "x"}


def test_every_kind_of_value_is_read(run):
    given, result = run(
        *("--size", "4", "--share", "0.25", "--kind", "square", "--maybe", "4", "--sure"),
        *("--alpha", "0.5", "--alpha", "3", "--side", "right", "--turns", '{"role": "user"}'),
    )
    assert result.exit_code == 0, result.output
    assert given == {
        "name": "x",
        "size": 4,
        "share": 0.25,
        "kind": "square",
        "maybe": "4",
        "alphas": (0.5, 3.0),
        "sides": ("right",),
        "sure": True,
        "turns": ({"role": "user"},),
    }


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--size", "0"], "--size"),
        (["--size", "10"], "--size"),
        (["--size", "many"], "--size"),
        (["--share", "0"], "--share"),
        (["--kind", "oval"], "--kind"),
        (["--side", "middle"], "--side"),
        (["--turns", "{"], "JSON"),
        (["--hidden", "1"], "--hidden"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_the_option(run, arguments, named):
    _, result = run(*arguments)
    assert result.exit_code == 2
    assert named in result.output


def test_help_shows_defaults_bounds_and_choices(run):
    _, result = run("--help")
    for part in ("How large.", "1<=x<=9", "(3)", "<round|square>", "(1.0, 2.0)", "[left|right]"):
        assert part in result.output, part


#: The command of each operation, and the fields that have no option of their own there.
COMMANDS: dict[str, tuple[type[Arguments], set[str]]] = {
    "diff": (MeasureArguments, set()),
    "steer": (SteerArguments, {"batch_size"}),
    "ask": (AskArguments, {"prompt", "batch_size"}),
    "trace": (TraceArguments, set()),
    "coherent-alpha": (CoherentAlphaArguments, {"batch_size"}),
    "relevance": (RelevanceArguments, {"n_texts"}),
    "similarity": (SimilarityArguments, {"batch_size", "n_texts"}),
    "causal": (CausalArguments, {"batch_size", "n_texts", "max_tokens"}),
    "organisms train": (TrainArguments, {"documents", "max_tokens"}),
    "organisms mix-study": (MixArguments, {"name", "max_tokens", "temperature"}),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_every_option_of_its_operation(command):
    arguments, without = COMMANDS[command]
    fields = set(arguments.model_fields) - without
    if "organisms" not in command:
        fields |= set(PairArguments.model_fields) - {"quantisation"}
    shown = CliRunner().invoke(app, [*command.split(), "--help"]).output
    missing = [
        name for name in fields if f"--{NAMES.get(name, name).replace('_', '-')} " not in shown
    ]
    assert missing == []
