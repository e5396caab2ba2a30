"""The operations that compute what an agent with the lens is shown: difference, readings, steered texts."""

from __future__ import annotations

from typing import Any

from adl.pair.protocol import named_layers, resolve_layers
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import STEER, SteerArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import Arguments, Operation
from workbench.store.state import SessionState

#: Length of a steered text.
STEERED_TOKENS = 40


def missing_evidence(
    state: SessionState,
    n_layers: int | None,
    measure: MeasureArguments | None = None,
    *,
    n_prompts: int | None = None,
    max_new_tokens: int = STEERED_TOKENS,
) -> list[tuple[Operation[Any], Arguments]]:
    """Operations that compute what the session lacks of the evidence, in the order to run them.

    ``measure`` has the layers and the text to read; without it the layers measured so far are taken,
    and the default one where there are none. ``n_layers`` is None before a pair is loaded.
    """
    measured = list(
        dict.fromkeys(
            n for difference in state.differences.values() for n in difference.body.layers
        )
    )
    if measure is None:
        measure = (
            MeasureArguments(layers=tuple(map(str, measured))) if measured else MeasureArguments()
        )
    layers = _layers(measure, n_layers)
    wanted: list[tuple[Operation[Any], Arguments]] = []
    if not set(layers) <= set(map(str, measured)):
        wanted.append((MEASURE, measure))
    read = {str(key.layer) for key in state.readings}
    wanted += [
        (
            READ,
            ReadArguments(
                layer=layer,
                corpus=measure.corpus,
                text_column=measure.text_column,
                seed=measure.seed,
            ),
        )
        for layer in layers
        if layer not in read
    ]
    if not any(text.start.body.purpose == "steer" for text in state.texts.values()):
        steer = SteerArguments(
            layer=layers[0],
            seed=measure.seed,
            n_prompts=n_prompts,
            max_new_tokens=max_new_tokens,
        )
        wanted.append((STEER, steer))
    return wanted


def _layers(measure: MeasureArguments, n_layers: int | None) -> list[str]:
    """The layers as numbers, each once; as they were asked for while their number is not known."""
    if n_layers is None:
        return list(named_layers(measure.layers))
    return list(map(str, resolve_layers(measure.layers, n_layers)))
