"""Commands by the hundred, of the planted command line, over what is below one folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import forks
from tests.forks import Ended
from tests.workbench.cli.conftest import environment
from workbench.locations import HOME_VARIABLE

#: Enough for the planted pair, and soon used up by a list of everything that was asked for.
MEMORY = 4 << 30


@dataclass(frozen=True)
class ForkedCli:
    """The planted command line without a training, whose own folder is ``home``."""

    home: Path

    def __call__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
        wanted: Mapping[str, Any] | None = None,
        patience: float = 120,
    ) -> Ended:
        """Run a command to its end."""
        changed = {HOME_VARIABLE: str(self.home), **(env or {})}
        return forks.run(
            "tests.planted_cli",
            argv,
            environment({"no_training": True, **(wanted or {})}, **changed),
            cwd=cwd or self.home,
            memory=MEMORY,
            patience=patience,
        )
