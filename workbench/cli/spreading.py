"""The options `--ray` and `--workers`: many units of work, spread over workers."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from pydantic import Field, field_validator, model_validator

from adl.errors import AdlError, install_extra
from workbench.cli.derived import arguments_from
from workbench.cli.output import say
from workbench.fields import FieldsConflict
from workbench.operations.running import Arguments

if TYPE_CHECKING:
    from workbench.workers.units import Pool

PANEL = "Several workers"
_ADDRESS = re.compile(r"[^\s/:@\[\]]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", re.ASCII)


class RayMissing(AdlError):
    """Ray is not installed."""


class SpreadArguments(Arguments):
    """The cluster on which many units of work are done."""

    ray: str | None = Field(
        None,
        min_length=1,
        description="Spread the work over workers of Ray: auto starts it here, HOST:PORT is a "
        "cluster; none does it in this process.",
    )
    workers: int | None = Field(
        None,
        ge=1,
        description="With --ray: workers; none takes one per GPU, or one for four processors.",
    )

    @field_validator("ray")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value not in {None, "auto"} and not _ADDRESS.fullmatch(str(value)):
            raise ValueError(
                "must be auto, which starts Ray here, or HOST:PORT as `ray start --head` prints it"
            )
        return value

    @model_validator(mode="after")
    def _workers_of_ray(self) -> SpreadArguments:
        if self.workers is not None and self.ray is None:
            raise FieldsConflict("only workers of Ray are counted: add the last", "workers", "ray")
        return self


spread_arguments = arguments_from(
    SpreadArguments, panels=dict.fromkeys(SpreadArguments.model_fields, PANEL)
)


def pool_for(wanted: SpreadArguments, most: int) -> AbstractContextManager[Pool | None]:
    """The workers asked for, no more than ``most``; None without `--ray`.

    None, too, if nothing is left to do. Raises ``RayMissing``, and ``WorkersError`` for a cluster
    that does not answer.
    """
    if wanted.ray is None or not most:
        return nullcontext()
    try:
        from workbench.workers.ray_pool import ray_pool
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.split(".")[0] != "ray":
            raise
        raise RayMissing(
            "--ray needs the package `ray`", f"Install it: {install_extra('ray')}."
        ) from None
    return ray_pool(wanted.ray, wanted.workers, most, say)
