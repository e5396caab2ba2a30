"""Tests; the quick ones do without the extras, in this process and in those that they start."""

import os
import sys
from pathlib import Path

from tests import offline

#: Names in the environment of the packages that are taken for not installed.
LACKING = "ADL_TESTS_LACK"


def take_for_not_installed(packages: str) -> None:
    """What is None there cannot be imported, and is not found."""
    sys.modules.update(dict.fromkeys(packages.split()))  # type: ignore[arg-type]


take_for_not_installed(os.environ.get(LACKING, ""))
if reached := os.environ.get(offline.REACHED):
    offline.listen(Path(reached))
