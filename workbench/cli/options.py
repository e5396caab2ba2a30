"""Options that several commands share, each spelled once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from adl.corpus import BosPolicy
from workbench.cli.running import reported_errors
from workbench.operations.measuring import MeasureArguments
from workbench.operations.pairs import DEMO_ORGANISM, PairArguments

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class SessionOptions:
    """Where a command records: a session to go on with or the name of a new one, and the file."""

    session: str | None
    name: str | None
    database: Path | None


_PAIR = "Pair"
_LOADING = "Loading"
_OUTPUT = "Output"

Json = Annotated[bool, typer.Option("--json", help="Print data as JSON.", rich_help_panel=_OUTPUT)]
Database = Annotated[
    Path | None,
    typer.Option(
        "--database", help="Session database.", rich_help_panel=_OUTPUT, show_default=False
    ),
]
SessionName = Annotated[
    str | None,
    typer.Option(
        "--session", help="Go on with this session (id, name or last).", rich_help_panel=_OUTPUT
    ),
]
NewName = Annotated[
    str | None, typer.Option("--name", help="Name of the new session.", rich_help_panel=_OUTPUT)
]

Demo = Annotated[
    bool,
    typer.Option(
        "--demo",
        help="The embedded pair: a small model and its cake organism.",
        rich_help_panel=_PAIR,
    ),
]
OrganismId = Annotated[
    str | None,
    typer.Option("--organism", help="A bundled model organism.", rich_help_panel=_PAIR),
]
Base = Annotated[
    str | None, typer.Option("--base", help="Base: ID[@revision] or folder.", rich_help_panel=_PAIR)
]
Adapter = Annotated[
    str | None,
    typer.Option("--adapter", help="LoRA adapter: ID[@revision] or folder.", rich_help_panel=_PAIR),
]
Finetuned = Annotated[
    str | None,
    typer.Option(
        "--finetuned",
        help="Finetuned: ID[@revision] or folder; with --adapter, what that is on.",
        rich_help_panel=_PAIR,
    ),
]
Dtype = Annotated[
    str,
    typer.Option("--dtype", help="auto, float32, float16 or bfloat16.", rich_help_panel=_LOADING),
]
DeviceMap = Annotated[
    str | None,
    typer.Option("--device-map", help="auto, cpu, cuda:0 ...", rich_help_panel=_LOADING),
]
Attention = Annotated[
    str | None,
    typer.Option("--attn-implementation", help="eager, sdpa ...", rich_help_panel=_LOADING),
]
In8Bit = Annotated[
    bool, typer.Option("--load-in-8bit", help="Quantise to 8 bits.", rich_help_panel=_LOADING)
]
In4Bit = Annotated[
    bool, typer.Option("--load-in-4bit", help="Quantise to 4 bits.", rich_help_panel=_LOADING)
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run code that comes with a checkpoint.",
        rich_help_panel=_LOADING,
    ),
]

Layers = Annotated[
    list[str],
    typer.Option("--layer", help="Share of the depth (0.5) or number (15); may be repeated."),
]
Layer = Annotated[str, typer.Option("--layer", help="Share of the depth (0.5) or number (15).")]
Positions = Annotated[
    str, typer.Option("--positions", help="First tokens (5), or around the turn (chat:-3..1).")
]
Position = Annotated[
    str, typer.Option("--position", help="Where the vector is taken; 1-4 is their mean.")
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Texts per batch.")]
Bos = Annotated[BosPolicy, typer.Option("--bos", help="Begin-of-text token before plain text.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of texts, directions and samples.")]
NTexts = Annotated[int, typer.Option("--texts", min=1, help="Unrelated texts to average over.")]
CorpusOption = Annotated[
    str | None,
    typer.Option("--corpus", help="Unrelated text: file, JSONL, hf:NAME; none is the bundled."),
]
TextColumn = Annotated[
    str | None, typer.Option("--text-column", help="Column of the text in JSONL or a data set.")
]


def pair_arguments(
    *,
    demo: Demo = False,
    organism: OrganismId = None,
    base: Base = None,
    adapter: Adapter = None,
    finetuned: Finetuned = None,
    dtype: Dtype = "auto",
    device_map: DeviceMap = None,
    attn_implementation: Attention = None,
    load_in_8bit: In8Bit = False,
    load_in_4bit: In4Bit = False,
    trust_remote_code: TrustRemoteCode = False,
) -> PairArguments:
    """The pair options as an operation's arguments. Raises ``BadParameter``."""
    if load_in_8bit and load_in_4bit:
        raise typer.BadParameter("give one of --load-in-8bit and --load-in-4bit")
    if demo:
        if organism or base or adapter or finetuned:
            raise typer.BadParameter("--demo is a whole pair: name no other beside it")
        organism = DEMO_ORGANISM
    fields: dict[str, Any] = {
        "organism": organism,
        "base": base,
        "adapter": adapter,
        "finetuned": finetuned,
        "dtype": dtype,
        "device_map": device_map,
        "attn_implementation": attn_implementation,
        "quantisation": "8bit" if load_in_8bit else "4bit" if load_in_4bit else None,
        "trust_remote_code": trust_remote_code,
    }
    return PairArguments(**fields)


def measure_arguments(
    *,
    layer: Layers = ["0.5"],  # noqa: B006 - typer copies it
    positions: Positions = "5",
    texts: NTexts = 1000,
    corpus: CorpusOption = None,
    text_column: TextColumn = None,
    bos: Bos = BosPolicy.AUTO,
    batch_size: BatchSize = 64,
    seed: Seed = 0,
) -> MeasureArguments:
    """The options of a measurement as an operation's arguments."""
    return MeasureArguments(
        layers=tuple(layer),
        positions=positions,
        n_texts=texts,
        corpus=corpus,
        text_column=text_column,
        bos=bos,
        batch_size=batch_size,
        seed=seed,
    )


def session_options(
    *, session: SessionName = None, name: NewName = None, database: Database = None
) -> SessionOptions:
    """Where a command records what it does. Raises ``BadParameter``."""
    if session is not None and name is not None:
        raise typer.BadParameter(
            "--name is for a new session: leave it out, or leave out --session"
        )
    return SessionOptions(session, name, database)


def options_from(**builders: Callable[..., Any]) -> Callable[[Command], Command]:
    """Give a command the options of each builder, and call it with what the builder makes of them.

    ``@options_from(pair=pair_arguments)`` replaces the command's parameter ``pair`` by all of
    ``pair_arguments``' own, so that a group of options is spelled once and typer sees each of them.
    """

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True).parameters
        groups = {
            name: inspect.signature(builder, eval_str=True).parameters
            for name, builder in builders.items()
        }
        merged = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            if parameter.default is not inspect.Parameter.empty
            else parameter
            for name, parameter in own.items()
            if name not in builders
        ]
        merged += [parameter for group in groups.values() for parameter in group.values()]

        @functools.wraps(command)
        def expanded(**given: Any) -> Any:
            with reported_errors():
                built = {
                    name: builders[name](**{option: given.pop(option) for option in group})
                    for name, group in groups.items()
                }
                return command(**built, **given)

        expanded.__signature__ = inspect.Signature(merged)  # type: ignore[attr-defined]
        expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in merged}
        return expanded  # type: ignore[return-value]

    return decorate
