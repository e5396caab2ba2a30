"""The activation difference: measured, or taken from the cache if every input is the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from pydantic import Field

from adl.artifacts import key_of
from adl.difference import FirstTokens, Reach, measure_difference, parse_positions
from adl.errors import CorpusError
from adl.pair.protocol import ModelPair, resolve_layers
from adl.records import DEFAULT_LAYER, SIDES, ActivationDifference
from adl.text.corpus import BosPolicy, ChosenTexts, CorpusSource
from workbench.operations.running import Arguments, Context, Operation, Stage, Summary
from workbench.operations.shared_arguments import Bos, Layers, TextBatch, TextColumn
from workbench.store.arrays import ArrayRef
from workbench.store.events import DifferenceMeasured


class MeasureArguments(Arguments):
    """Layers and positions to measure, and the unrelated text."""

    layers: Layers = (DEFAULT_LAYER,)
    positions: str = Field(
        "5", description="First tokens to read (5), or offsets around the turn (chat:-3..1)."
    )
    n_texts: int = Field(1000, ge=1, description="Unrelated texts to average over.")
    corpus: str | None = Field(
        None, description="Unrelated text: a file, hf:NAME, or none for the bundled passages."
    )
    text_column: TextColumn = None
    bos: Bos = BosPolicy.AUTO
    batch_size: TextBatch = 64
    seed: int = Field(0, ge=0, description="Random seed for the choice of texts.")


def measure(context: Context, arguments: MeasureArguments) -> Summary:
    """Measure the mean activation difference between finetuned and base on unrelated text."""
    pair = context.pair
    n_layers = pair.provenance.n_layers
    # 0.5 and 15 may be one layer: it is measured once.
    layers = resolve_layers(arguments.layers, n_layers)
    reach = _reach(arguments)
    texts = _texts(context, arguments)
    key = difference_key(pair, texts, layers, reach)
    cached = _from_cache(context, key, layers)
    difference = cached or measure_difference(
        pair,
        texts,
        layers,
        reach=reach,
        batch_size=arguments.batch_size,
        progress=lambda done, total: context.progress("difference", done, total),
        should_stop=context.should_stop,
    )
    if cached is None:
        facts = {
            "positions": difference.positions,
            "n_texts": difference.n_texts,
            "n_skipped": difference.n_skipped,
            "n_unaligned": difference.n_unaligned,
        }
        context.session.cache.put(key, difference.arrays(), facts)
    arrays = difference.arrays()
    unaligned = {"unaligned": difference.n_unaligned} if difference.n_unaligned else {}
    context.record(
        DifferenceMeasured(
            key=key,
            corpus={
                "description": texts.description,
                "sha256": texts.sha256,
                "seed": texts.seed,
                "asked": arguments.n_texts,
                "chosen": len(texts),
                **unaligned,
            },
            layers=layers,
            positions=difference.positions,
            n_texts=difference.n_texts,
            n_skipped=difference.n_skipped,
            from_cache=cached is not None,
            content_hashed=True,
            residual_norm={str(layer): difference.residual_norm(layer) for layer in layers},
            arrays={name: ArrayRef.of(array) for name, array in arrays.items()},
        ),
        arrays=list(arrays.values()),
    )
    return {
        "key": key,
        "layers": list(layers),
        "n_texts": difference.n_texts,
        "n_skipped": difference.n_skipped,
        "n_unaligned": difference.n_unaligned,
        "from_cache": cached is not None,
    }


MEASURE = Operation(
    "measure_difference",
    "Measure the difference",
    MeasureArguments,
    measure,
    needs=("pair",),
    place="both",
    stages=lambda arguments: (Stage("difference", 0.016 * arguments.n_texts),),
)


def difference_key(pair: ModelPair, texts: ChosenTexts, layers: Sequence[int], reach: Reach) -> str:
    """Return the SHA-256 of everything that decides the numbers of a difference."""
    # Sides that begin a text otherwise, or cut it into other tokens, are lined up by characters.
    same_start = len({len(pair.bos(side).before_text) for side in SIDES}) == 1
    same = pair.shared_vocabulary() is None and same_start
    aligned = {} if same else {"aligned": "characters"}
    return key_of(
        {
            "what": "difference",
            **aligned,
            "pair": pair.provenance.identity(),
            "texts": texts.sha256,
            "layers": list(layers),
            "reach": {"kind": type(reach).__name__, **asdict(reach)},
        }
    )


def _reach(arguments: MeasureArguments) -> Reach:
    reach = parse_positions(arguments.positions)
    return FirstTokens(reach.k, arguments.bos) if isinstance(reach, FirstTokens) else reach


def _texts(context: Context, arguments: MeasureArguments) -> ChosenTexts:
    source = CorpusSource.parse(arguments.corpus, arguments.text_column)
    return source.open().texts(arguments.seed, arguments.n_texts, should_stop=context.should_stop)


def _from_cache(context: Context, key: str, layers: tuple[int, ...]) -> ActivationDifference | None:
    found = context.session.cache.get(key)
    if found is None:
        return None
    arrays, facts = found
    try:
        return ActivationDifference(
            layers=layers,
            positions=tuple(facts["positions"]),
            n_texts=facts["n_texts"],
            n_skipped=facts["n_skipped"],
            n_unaligned=facts.get("n_unaligned", 0),
            **arrays,
        )
    except (KeyError, TypeError, ValueError) as exc:
        # Intact, yet not a difference: written by other code under the same key, which is a bug.
        raise CorpusError(
            f"the cached difference {key[:12]} cannot be read: {exc}", "Delete the cache folder."
        ) from exc
