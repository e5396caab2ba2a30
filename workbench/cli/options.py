"""Options that several commands share, each spelled once."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from adl.pair.protocol import ALL_LAYERS, named_layers
from adl.readings.registry import READINGS, ReadingName
from workbench.cli.derived import Given, made, merged_options, options_of
from workbench.cli.output import reported_errors
from workbench.operations.difference import MeasureArguments
from workbench.operations.pair import DEMO_ORGANISM, PAIR_NAMES, DemoPair, PairArguments
from workbench.operations.running import Arguments

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class SessionOptions:
    """The session a command records to: one to go on with or the name of a new one, and the file."""

    session: str | None
    name: str | None
    database: Path | None
    engine: str = "never"
    "A running engine to work at: ``auto``, ``never`` or its socket."


_PAIR = "Pair"
_LOADING = "Loading"
_OUTPUT = "Output"

Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel=_OUTPUT)
]
Database = Annotated[
    Path | None,
    typer.Option(
        "--database",
        help="Session database, if not your own.",
        rich_help_panel=_OUTPUT,
        show_default=False,
    ),
]
SessionName = Annotated[
    str | None,
    typer.Option(
        "--session",
        help="Continue this session (id, name or last) with its own pair.",
        rich_help_panel=_OUTPUT,
    ),
]
NewName = Annotated[
    str | None, typer.Option("--name", help="Name of the new session.", rich_help_panel=_OUTPUT)
]

Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="auto|never|SOCKET",
        help="Work at a running engine that has the pair; see `serve`.",
        rich_help_panel=_LOADING,
    ),
]

WantedSession = Annotated[
    str,
    typer.Argument(
        metavar="SESSION", help="Session: its id or the start of it, its name, or last."
    ),
]
NewFile = Annotated[Path, typer.Argument(metavar="FILE", help="New file to write.")]

Demo = Annotated[
    bool,
    typer.Option(
        "--demo",
        help="Use the demo pair: a small bundled model and a finetune of it. Its names, which tell "
        "the answer, are hidden until revealed.",
        rich_help_panel=_PAIR,
    ),
]
CheckPair = Annotated[
    bool,
    typer.Option(
        "--pair", help="Also load the pair and run its self-checks.", rich_help_panel=_PAIR
    ),
]
In8Bit = Annotated[
    bool,
    typer.Option("--load-in-8bit", help="Load the weights in 8 bits.", rich_help_panel=_LOADING),
]
In4Bit = Annotated[
    bool,
    typer.Option("--load-in-4bit", help="Load the weights in 4 bits.", rich_help_panel=_LOADING),
]


Position = Annotated[
    str,
    typer.Option(
        "--position", help="Position whose lists are shown; 1-4 is the mean of those positions."
    ),
]

_named = options_of(
    PairArguments,
    leave_out=("quantisation",),
    panels={name: _PAIR if name in PAIR_NAMES else _LOADING for name in PairArguments.model_fields},
)
for _option in inspect.signature(_named).parameters.values():
    if _option.name in PAIR_NAMES:
        # Arguments are seen by whoever runs ps.
        _option.annotation.__metadata__[
            0
        ].help += " @FILE takes the value from a file, env:NAME from a variable."
_measured = options_of(MeasureArguments)


def named_readings(names: Iterable[str]) -> tuple[ReadingName, ...]:
    """Return the named readings in their order. Raises ``BadParameter`` for a name that is none."""
    given = [name.replace("-", "_") for name in names]
    unknown = [name for name in given if name not in READINGS]
    if unknown:
        raise typer.BadParameter(
            f"{unknown[0]!r} is not a reading; there are: {', '.join(READINGS)}"
        )
    return tuple(reading for reading in READINGS if reading in given)


def named_elsewhere(given: str, option: str) -> str:
    """The value of an option, read from the file or the environment where it says so.

    Raises ``BadParameter`` that names the file or the variable.
    """
    if given.startswith("@"):
        path = Path(given[1:]).expanduser()
        try:
            found = path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as exc:
            why = getattr(exc, "strerror", None) or "it is not text"
            raise typer.BadParameter(f"{option}: {path} cannot be read: {why}") from None
    elif given.startswith("env:"):
        found = os.environ.get(given.removeprefix("env:"), "").strip()
    else:
        return given
    if not found or "\n" in found:
        raise typer.BadParameter(f"{option}: {given} must hold one name")
    return found


def _pair_arguments(
    *, named: Given, demo: Demo = False, load_in_8bit: In8Bit = False, load_in_4bit: In4Bit = False
) -> PairArguments:
    if load_in_8bit and load_in_4bit:
        raise typer.BadParameter("give --load-in-8bit or --load-in-4bit, not both")
    if demo:
        if named.keys() & set(PAIR_NAMES):
            raise typer.BadParameter(
                "--demo is a whole pair: leave out --organism, --base, --adapter and --finetuned"
            )
        named["organism"] = DEMO_ORGANISM
    for name in named.keys() & set(PAIR_NAMES):
        named[name] = named_elsewhere(named[name], f"--{name}")
    if load_in_8bit or load_in_4bit:
        named["quantisation"] = "8bit" if load_in_8bit else "4bit"
    return made(DemoPair if demo else PairArguments, named)


pair_arguments = merged_options(_pair_arguments, {"named": _named})
"""The pair options as an operation's arguments. Raises ``BadParameter``."""


def _measure_arguments(*, measured: Given) -> MeasureArguments:
    return made(MeasureArguments, measured)


measure_arguments = merged_options(_measure_arguments, {"measured": _measured})
"""The options of a measurement as an operation's arguments. Raises ``BadParameter``."""

#: Fields that a command takes from the options of the measurement, which name them already.
SHARED = ("corpus", "layer", "seed", "text_column")


def one_layer(measure: MeasureArguments) -> str:
    """The one layer that is measured. Raises ``BadParameter`` for several."""
    layers = named_layers(measure.layers)
    if len(layers) > 1 or ALL_LAYERS in layers:
        raise typer.BadParameter("--layer: this command works at one layer; give it once")
    return layers[0]


def shared_with(arguments: type[Arguments], measure: MeasureArguments) -> Given:
    """The fields of an operation that the options of the measurement give.

    Raises ``BadParameter`` for several layers where the operation works at one.
    """
    found: Given = {name: getattr(measure, name) for name in SHARED if name != "layer"}
    if "layer" in arguments.model_fields:
        found["layer"] = one_layer(measure)
    return {name: value for name, value in found.items() if name in arguments.model_fields}


def session_options(
    *, session: SessionName = None, name: NewName = None, database: Database = None
) -> SessionOptions:
    """Return the session a command records to. Raises ``BadParameter``."""
    if session is not None and name is not None:
        raise typer.BadParameter(
            "--name is for a new session: leave it out, or leave out --session"
        )
    return SessionOptions(session, name, database)


def _working_options(*, where: SessionOptions, engine: Engine = "auto") -> SessionOptions:
    return replace(where, engine=engine)


working_options = merged_options(_working_options, {"where": session_options})
"""Where a command with a pair records, and the engine it may work at. Raises ``BadParameter``."""


def options_from(**builders: Callable[..., Any]) -> Callable[[Command], Command]:
    """Give a command the options of each builder, and call it with what the builder makes of them.

    ``@options_from(pair=pair_arguments)`` replaces the command's parameter ``pair`` by all of
    ``pair_arguments``' own, so that a group of options is spelled once and typer sees each of them.
    """

    def decorate(command: Command) -> Command:
        merged = merged_options(command, builders)

        @functools.wraps(merged)
        def expanded(**given: Any) -> Any:
            with reported_errors():
                return merged(**given)

        expanded.__signature__ = inspect.signature(merged)  # type: ignore[attr-defined]
        return expanded  # type: ignore[return-value]

    return decorate
