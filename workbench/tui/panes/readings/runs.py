"""The operations that a request to read takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from pydantic import ValidationError

from adl.readings.registry import READINGS
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import Arguments, Operation
from workbench.store.state import OperationState
from workbench.tui.panes.readings.form import ReadRequest

A = TypeVar("A", bound=Arguments)


def runs_of(
    request: ReadRequest, earlier: Iterable[OperationState], *, is_measured: bool
) -> Iterator[tuple[Operation[Any], Arguments]]:
    """Yield what to run: a measurement unless there is one, then the reading.

    Each is as its last run in ``earlier``, so on the same texts.
    """
    runs = list(earlier)
    if not is_measured:
        yield MEASURE, _as_before(runs, MEASURE, MeasureArguments, layers=(request.typed,))
    readings = tuple(READINGS) if request.only is None else (request.only,)
    yield READ, _as_before(runs, READ, ReadArguments, layer=request.typed, readings=readings)


def _as_before(
    runs: list[OperationState], operation: Operation[A], arguments: type[A], **changed: object
) -> A:
    """Return the arguments of the last run with some of them changed."""
    for run in reversed(runs):
        if run.name == operation.name and run.status == "finished":
            try:
                return arguments.model_validate({**run.arguments, **changed})
            except ValidationError:
                break
    return arguments.model_validate(changed)
