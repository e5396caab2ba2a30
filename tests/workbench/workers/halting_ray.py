"""A worker of Ray that halts in its training, so that it can be killed there: the first one alone.

``HALTING_RAY`` in the environment is a pipe that its process id is written to.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from workbench.operations.running import Context

PIPE = "HALTING_RAY"


def begin() -> None:
    """Halt before the first losses are recorded."""
    pipe = Path(os.environ[PIPE])
    record = Context.record

    def recorded(self: Context, body: Any, *more: Any) -> Any:
        if body.kind == "training_advanced" and _is_first(pipe.with_suffix(".taken")):
            pipe.write_text(f"{os.getpid()}\n")
            threading.Event().wait()
        return record(self, body, *more)

    Context.record = recorded  # type: ignore[method-assign]


def _is_first(taken: Path) -> bool:
    try:
        taken.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
