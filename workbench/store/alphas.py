"""The alphas that the shift lens chose, which steering takes where it is given none."""

from __future__ import annotations

from collections.abc import Iterator

from adl.readings.predictions import SHIFT_LENS
from workbench.store.state import ReadingKey, SessionState, chosen_lists


def chosen_alphas(state: SessionState) -> Iterator[ReadingKey]:
    """Yield the shift lens's chosen lists of the difference; the ``scale`` of each is its alpha."""
    for key in chosen_lists(state.readings):
        if key.reading == SHIFT_LENS.name and key.source == "difference":
            yield key
