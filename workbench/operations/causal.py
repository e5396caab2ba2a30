"""Causal effect: cross-entropy with the difference's component replaced or removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from pydantic import Field

from adl.measures.causal import (
    CHANGES,
    N_RANDOM,
    CausalEffect,
    CausalRequest,
    Corpus,
    causal_effects,
)
from adl.measures.teacher_forcing import ALL_POSITIONS, scored_texts
from adl.pair.protocol import ComponentChange, resolve_layer
from adl.records import DEFAULT_LAYER, POOLED, Site
from adl.text.corpus import CorpusSource
from adl.text.documents import Document
from workbench.operations.documents import DocumentArguments, named_documents
from workbench.operations.recorded_texts import measured_at
from workbench.operations.running import Command, Context, Operation, Summary
from workbench.operations.shared_arguments import (
    CorpusName,
    Layer,
    Position,
    RandomDirections,
    TextBatch,
    TextColumn,
)
from workbench.store.findings import Estimate
from workbench.store.measures.causal import CausalChange, CausalEffectMeasured


class CausalArguments(DocumentArguments):
    """The component to change, where, and the texts to score."""

    layer: Layer = DEFAULT_LAYER
    position: Position = POOLED
    changes: tuple[ComponentChange, ...] = Field(
        CHANGES,
        min_length=1,
        description="replace: by the base model's component; remove: by zero.",
    )
    where: tuple[str, ...] = Field(
        (ALL_POSITIONS,),
        min_length=1,
        description="Tokens to change it at: all, the first five (first), or those after (later).",
    )
    n_random: RandomDirections = Field(N_RANDOM, ge=0)
    n_texts: int = Field(16, ge=1, description="Finetuning texts, and as many unrelated ones.")
    max_tokens: int = Field(64, ge=8, description="Longest text, in tokens.")
    corpus: CorpusName = None
    text_column: TextColumn = None
    batch_size: TextBatch = 8
    seed: int = Field(0, ge=0, description="Random seed for texts, directions and intervals.")


def causal_effect(context: Context, arguments: CausalArguments) -> Summary:
    """Measure what texts cost the finetuned model with the difference's component changed."""
    pair = context.pair
    layer = resolve_layer(arguments.layer, pair.provenance.n_layers)
    difference = measured_at(context, layer, arguments.position)
    request = CausalRequest(
        layer=layer,
        direction=difference.vector(Site(layer, arguments.position)),
        changes=tuple(dict.fromkeys(arguments.changes)),
        positions=tuple(dict.fromkeys(arguments.where)),
        n_random=arguments.n_random,
        seed=arguments.seed,
    )
    named = named_documents(context, arguments, "causal effect")
    source = CorpusSource.parse(arguments.corpus, arguments.text_column)
    unrelated = source.open().texts(
        arguments.seed, arguments.n_texts * 4, should_stop=context.should_stop
    )
    documents: dict[Corpus, Sequence[Document]] = {
        "finetuning": named.documents,
        "unrelated": [Document(text) for text in unrelated],
    }
    texts = {
        corpus: scored_texts(pair, some, limit=arguments.n_texts, max_tokens=arguments.max_tokens)
        for corpus, some in documents.items()
    }
    effects = causal_effects(
        pair,
        texts,
        request,
        batch_size=arguments.batch_size,
        progress=lambda done, total: context.progress("causal effect", done, total),
        should_stop=context.should_stop,
    )
    context.record(
        CausalEffectMeasured(
            against=named.against,
            documents_sha256=named.sha256,
            layer=layer,
            position=arguments.position,
            effects=tuple(_change(effect) for effect in effects),
            n_texts={corpus: len(paired) for corpus, paired in texts.items()},
            n_skipped={corpus: paired.n_skipped for corpus, paired in texts.items()},
            settings={"unrelated": unrelated.sha256, "seed": arguments.seed},
        )
    )
    return {
        "effects": {
            f"{found.corpus} {found.change} {found.positions}": found.effect.value
            for found in effects
        }
    }


CAUSAL_EFFECT = Operation(
    "causal_effect",
    "Measure the causal effect",
    CausalArguments,
    causal_effect,
    needs=("pair", "difference"),
    finds=CausalEffectMeasured,
    # The texts of the measurement have the option --texts.
    command=Command("causal", options={"n_texts": "scored", "max_tokens": "tokens"}),
)


def _change(found: CausalEffect) -> CausalChange:
    return CausalChange(
        corpus=found.corpus,
        change=found.change,
        positions=found.positions,
        base=found.base,
        left=found.left,
        effect=Estimate(**asdict(found.effect)),
        random=found.random,
        p_value=found.p_value,
    )
