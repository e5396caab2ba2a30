"""The operations that compute what an agent with the lens is shown.

difference, readings     the table of tokens
trace                    how strong and how narrow it is
steered texts            everyday prompts at two low alphas, unsteered ones of both sides beside
texts from nothing       and the phrases of all texts
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adl.errors import AdlError, Stopped
from adl.pair.protocol import named_layers, resolve_layers
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import STEER, SteerArguments
from workbench.operations.phrases import PHRASES, PhrasesArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import Arguments, Operation
from workbench.operations.trace import TRACE, TraceArguments
from workbench.operations.unprompted import UNPROMPTED, UnpromptedArguments
from workbench.store.against_nulls import leading_layer
from workbench.store.measures.phrases import PhrasesFound
from workbench.store.measures.trace import TraceMeasured
from workbench.store.measures.unprompted import UnpromptedTexts
from workbench.store.state import SessionState

#: Length of a steered text, and how many prompts are steered at which alphas.
STEERED_TOKENS = 40
STEERED_PROMPTS = 8
STEERED_ALPHAS = (0.0, 0.1, 0.2)
#: Texts from nothing, of finetuned and of base.
N_UNPROMPTED, N_NULL = 32, 16
_DISPENSABLE = (TRACE, STEER, UNPROMPTED, PHRASES)


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
    leading = _leading(state, layers)
    found = {type(known.body) for known in state.measures}
    if TraceMeasured not in found:
        trace = TraceArguments(
            layers=(leading,),
            corpus=measure.corpus,
            text_column=measure.text_column,
            seed=measure.seed,
        )
        wanted.append((TRACE, trace))
    if not any(text.start.body.purpose == "steer" for text in state.texts.values()):
        steer = SteerArguments(
            layer=leading,
            seed=measure.seed,
            n_prompts=n_prompts or STEERED_PROMPTS,
            alphas=STEERED_ALPHAS,
            max_new_tokens=max_new_tokens,
        )
        beside = steer.model_copy(update={"side": "base", "alphas": (0.0,)})
        wanted += [(STEER, steer), (STEER, beside)]
    if UnpromptedTexts not in found:
        texts = UnpromptedArguments(n_samples=N_UNPROMPTED, n_null=N_NULL, seed=measure.seed)
        wanted.append((UNPROMPTED, texts))
    if PhrasesFound not in found:
        wanted.append((PHRASES, PhrasesArguments()))
    return wanted


def compute(
    wanted: Sequence[tuple[Operation[Any], Arguments]],
    run: Callable[[Operation[Any], Arguments], object],
) -> None:
    """Run the operations in order. Raises what they raise, but for those an overview can do without.

    Their failures are in the log, and the overview names what was not computed.
    """
    for operation, arguments in wanted:
        try:
            run(operation, arguments)
        except Stopped:
            raise
        except AdlError:
            if operation not in _DISPENSABLE:
                raise


def _leading(state: SessionState, layers: Sequence[str]) -> str:
    """The layer to steer at; of layers that no pair has numbered yet, the middle one as named."""
    if all(layer.isdecimal() for layer in layers):
        return str(leading_layer(state.readings, list(map(int, layers))))
    return layers[len(layers) // 2]


def _layers(measure: MeasureArguments, n_layers: int | None) -> list[str]:
    """The layers as numbers, each once; as they were asked for while their number is not known."""
    if n_layers is None:
        return list(named_layers(measure.layers))
    return list(map(str, resolve_layers(measure.layers, n_layers)))
