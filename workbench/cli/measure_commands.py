"""Commands that run one operation and print its finding, one for each operation that declares one.

    Operation (command, needs, arguments, finds)  -->  a command: pair, measurement, its own options

A command loads the pair, measures and reads what its operation needs, and runs it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import typer

from workbench.cli import show
from workbench.cli.derived import NAMES, Given, made, options_of
from workbench.cli.judging import JudgeOption, judge_at_hand
from workbench.cli.mismatch import say_mismatches
from workbench.cli.options import (
    Json,
    SessionOptions,
    measure_arguments,
    one_layer,
    options_from,
    pair_arguments,
    shared_with,
    working_options,
)
from workbench.cli.output import print_json, say
from workbench.cli.running import Work, default_name, working_session
from workbench.operations import OPERATIONS
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.inputs import check_inputs
from workbench.operations.pair import PairArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import Arguments, Command, Operation
from workbench.store.findings import Finding


def add_commands(app: typer.Typer) -> None:
    """Add a command for every operation that declares one."""
    for operation in OPERATIONS.values():
        if operation.command is not None:
            app.command(operation.command.name)(command_of(operation, operation.command))


def command_of(operation: Operation[Any], declared: Command) -> Callable[..., None]:
    """Return the command of an operation, its options made of the operation's arguments."""
    builders: dict[str, Callable[..., Any]] = {}
    # What looks at texts alone takes a session that has some, and no pair.
    if operation.needs != ("texts",):
        builders["pair"] = pair_arguments
    builders["where"] = working_options
    # Options that the command has anyway, and what only fits the machine.
    taken = {"judge", "batch_size"}
    if {"difference", "readings"} & set(operation.needs):
        builders["measure"] = measure_arguments
        taken |= {NAMES.get(name, name) for name in MeasureArguments.model_fields}
    fields = operation.arguments.model_fields
    builders["given"] = options_of(
        operation.arguments,
        leave_out=[
            name for name in fields if declared.options.get(name, NAMES.get(name, name)) in taken
        ],
        names=declared.options,
        positional=declared.positional,
    )
    if "judge" in fields:
        builders["judge"] = _judge

    def command(**options: Any) -> None:
        _perform(operation, declared, **options)

    command.__doc__ = operation.description
    by_name = inspect.Parameter.KEYWORD_ONLY
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            *(inspect.Parameter(name, by_name) for name in builders),
            inspect.Parameter("json", by_name, default=False, annotation=Json),
        ]
    )
    return options_from(**builders)(command)


# --- parts ----------------------------------------------------------------------------------------


def _judge(*, judge: JudgeOption = None) -> str | None:
    return judge


def _perform(
    operation: Operation[Any],
    declared: Command,
    *,
    where: SessionOptions,
    given: Given,
    pair: PairArguments | None = None,
    measure: MeasureArguments | None = None,
    judge: str | None = None,
    json: bool = False,
) -> None:
    """Check the arguments before anything is loaded, then run the operation."""
    first = () if measure is None else (measure,)
    shared = {} if measure is None else shared_with(operation.arguments, measure)
    judged = {} if judge is None else {"judge": judge}
    arguments = made(operation.arguments, {**given, **shared, **judged}, **declared.options)
    check_inputs(arguments, *first, is_new=pair is not None and where.session is None)
    readings = _readings(operation, measure)
    layers = getattr(arguments, "layers", ()) if measure is None else measure.layers
    with judge_at_hand(judge) as at_hand, _working(where, declared.name, pair, layers) as work:
        at_hand.attend(work.session)
        if at_hand.model is not None:
            arguments = arguments.model_copy(update={"judge": at_hand.model})
        if measure is not None:
            work.run(MEASURE, measure)
        if readings is not None:
            work.run(READ, readings)
        found = _run(work, operation, arguments)
        if found is None:
            _present_waiting(work, json=json)
        else:
            _present(work, found, json=json)


def _readings(operation: Operation[Any], measure: MeasureArguments | None) -> ReadArguments | None:
    """Return the reading to take first, for an operation that needs token lists."""
    if measure is None or "readings" not in operation.needs:
        return None
    return ReadArguments(
        layer=one_layer(measure),
        corpus=measure.corpus,
        text_column=measure.text_column,
        seed=measure.seed,
    )


@contextmanager
def _working(
    where: SessionOptions, command: str, pair: PairArguments | None, layers: tuple[str, ...]
) -> Iterator[Work]:
    if pair is None:
        with working_session(replace(where, session=where.session or "last"), command) as work:
            work.begin()
            yield work
        return
    with working_session(where, default_name(command, pair)) as work:
        work.load(pair, layers)
        say_mismatches(work)
        yield work


def _run(work: Work, operation: Operation[Any], arguments: Arguments) -> Finding | None:
    """Run a measure and return its finding as it may be seen; None if it waits for a person."""
    assert operation.finds is not None, f"{operation.name} does not declare what it finds"
    done = work.run(operation, arguments)
    found = (
        recorded.body
        for recorded in reversed(list(work.shown.measures))
        if recorded.operation_id == done.operation_id and isinstance(recorded.body, operation.finds)
    )
    return next(found, None)


def _present_waiting(work: Work, *, json: bool) -> None:
    """Name the experiment whose answers a person is still to judge."""
    summary = list(work.shown.operations.values())[-1].summary
    if json:
        where = {"session": work.session.id, "database": str(work.session.log.path)}
        print_json({**where, **summary})
        return
    say(
        f"{summary['to_judge']} answers of {summary['experiment']} wait to be judged: open the session, "
        "and judge them from its hypothesis."
    )
    say(f"session {work.session.id} in {work.session.log.path}")


def _present(work: Work, found: Finding, *, json: bool) -> None:
    if json:
        where = {"session": work.session.id, "database": str(work.session.log.path)}
        print_json({**where, **found.model_dump(mode="json")})
        return
    show.finding(work.shown, found)
    say(f"session {work.session.id} in {work.session.log.path}")
