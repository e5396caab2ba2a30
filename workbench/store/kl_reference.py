"""The KL of the two models on unrelated text, which a KL of answers is compared with."""

from __future__ import annotations

from workbench.store.measures.differing import TextsDiffer
from workbench.store.measures.scanning import PromptsScanned
from workbench.store.state import SessionState

#: What measures it, by the command's name.
MEASURED_BY = "differ"


def kl_reference(state: SessionState) -> float | None:
    """Return the newest mean KL(finetuned || base) on unrelated text, in nats; None if not measured."""
    return next(
        (
            measure.body.reference
            for measure in reversed(state.measures)
            if isinstance(measure.body, TextsDiffer | PromptsScanned)
            and measure.body.reference is not None
        ),
        None,
    )


def beside_reference(mean: float, reference: float | None, digits: int = 2) -> str:
    """Return a mean KL with its reference in brackets, or that there is none."""
    known = "not measured" if reference is None else f"{reference:.{digits}f}"
    return f"{mean:.{digits}f} (on unrelated text: {known})"
