"""What an agent is shown, made of less, where a test only needs it to be there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from workbench.agent import shown_evidence
from workbench.operations.difference import MeasureArguments
from workbench.operations.readings import ReadArguments

READINGS = ("shift_lens", "patchscope_contrast", "output_difference", "consensus")


def make_it_little(put: Callable[[Any, str, Any], None]) -> None:
    """Of few texts, and of four readings: all of them are hundreds of lists."""
    put(shown_evidence, "MeasureArguments", partial(MeasureArguments, n_texts=32))
    put(shown_evidence, "ReadArguments", partial(ReadArguments, readings=READINGS, n_texts=32))
    put(shown_evidence, "N_UNPROMPTED", 4)
    put(shown_evidence, "N_NULL", 4)
    put(shown_evidence, "STEERED_PROMPTS", 2)
