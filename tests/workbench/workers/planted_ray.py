"""Commands over planted pairs, in this process and on workers of Ray.

    python -m tests.workbench.workers.planted_ray evaluate --ray auto ...

Workers are processes that Ray starts: what stands in for torch comes to them by a `sitecustomize`
on ``PYTHONPATH``, in a folder that `write_site` makes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.planted_cli import stand_in_for_torch
from tests.workbench.agent.process import commands
from workbench.agent import evaluation
from workbench.agent.shown_evidence import missing_evidence

# Only the processes that work get it: Ray's own would only wait for it.
_SITE = """
import sys
if any("default_worker.py" in argument for argument in sys.orig_argv):
    from {module} import begin
    begin()
"""


def begin() -> None:
    """Planted pairs, and a measurement as all the evidence there is."""
    stand_in_for_torch({})

    def measurement(*wanted: Any, **more: Any) -> Any:
        return missing_evidence(*wanted, **more)[:1]

    evaluation.missing_evidence = measurement


def write_site(folder: Path, module: str = "tests.workbench.workers.planted_ray") -> Path:
    """A folder that, on ``PYTHONPATH``, has the workers call ``begin`` of a module: of planted pairs."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_SITE.format(module=module), encoding="utf-8")
    return folder


if __name__ == "__main__":
    begin()
    commands()()
