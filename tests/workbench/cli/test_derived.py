"""Options made from arguments: each is there, is checked by the arguments, and defaults stay theirs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from workbench import cli
from workbench.cli.derived import NAMES, Given, made, merged_options, options_of
from workbench.cli.tree import app
from workbench.operations import OPERATIONS
from workbench.operations.running import Arguments


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


#: The command of each operation that has one written by hand, and fields called otherwise there.
COMMANDS: dict[str, tuple[str, Mapping[str, str]]] = {
    "load_pair": ("diff", {}),
    "measure_difference": ("diff", {}),
    "read_tokens": ("read", {"readings": "reading"}),
    "steer": ("steer", {}),
    "ask": ("ask", {"prompt": "question"}),
    "train_organism": ("organisms train", {"max_tokens": "max-tokens"}),
    "mix_study": ("organisms mix-study", {"max_tokens": "max-tokens", "name": "study"}),
} | {
    operation.name: (operation.command.name, operation.command.options)
    for operation in OPERATIONS.values()
    if operation.command is not None
}
#: Operations that a person does while looking at a session: by keys, or an agent by its tools.
BY_HAND = {
    "note",
    "mark_evidence",
    "unmark_evidence",
    "add_hypothesis",
    "revise_hypothesis",
    "rank_hypotheses",
    "judge_hypothesis",
    "judge_answer",
    "link_evidence",
}
_OF_CONTEXTS = "the texts of the measurement are --texts; these are enough for the contexts"
#: Fields that no option of the command gives, each with the reason.
WITHOUT: dict[tuple[str, str], str] = {
    ("load_pair", "quantisation"): "--load-in-8bit and --load-in-4bit",
    ("read_tokens", "n_texts"): _OF_CONTEXTS,
    (
        "token_relevance",
        "n_texts",
    ): "--texts is that of the measurement; the default is enough to weigh words",
    (
        "steered_similarity",
        "n_texts",
    ): "--texts is that of the measurement; the default is enough to weigh words",
    ("mix_study", "part"): "each worker of --ray does a ratio, and the command all of them",
    ("mix_study", "temperature"): "a study is compared with others at the same temperature",
}


def parameters_of(command: str) -> set[str]:
    """The options and arguments of a command, by the names that a person gives."""
    found = typer.main.get_command(app)
    for name in command.split():
        found = found.commands[name]
    return {name.removeprefix("--") for param in found.params for name in param.opts}


def test_every_operation_has_a_command_or_is_done_by_hand():
    assert set(COMMANDS) | BY_HAND == set(OPERATIONS)


@pytest.mark.parametrize("operation", COMMANDS)
def test_every_argument_of_an_operation_can_be_given_to_its_command(operation):
    command, names = COMMANDS[operation]
    there = parameters_of(command)
    missing = {
        field
        for field in OPERATIONS[operation].arguments.model_fields
        if {**NAMES, **names}.get(field, field).replace("_", "-") not in there
        and {**NAMES, **names}.get(field, field) not in there
    }
    # How many texts go through a model at once changes no number and is halved where they do not fit.
    assert missing - {"batch_size"} <= {field for name, field in WITHOUT if name == operation}
    if operation in {"steer", "ask", "coherent_alpha", "steered_similarity", "causal_effect"}:
        assert there >= {"texts", "batch-size", "corpus", "layer"}  # those of the measurement


def test_the_command_line_is_declared_once():
    """Options of commands come from the arguments' models: only few are written by hand."""
    sources = Path(cli.__file__).parent.rglob("*.py")
    written = sum(
        len(re.findall(r"typer\.(?:Option|Argument)\(", path.read_text())) for path in sources
    )
    assert written <= 40


def test_the_gaps_of_drift_are_closed():
    assert {"side", "message"} <= parameters_of("ask")
    assert "side" in parameters_of("coherent-alpha")


def test_a_default_is_shown_as_a_person_writes_it():
    shown = CliRunner().invoke(app, ["test", "--help"], env={"COLUMNS": "160"}).output
    assert "0.333)" in shown
    assert "0.3333" not in shown
