"""Causal effect of the difference: loss on texts with the component along it changed.

The finetuned model reads finetuning text and unrelated text. Along one direction its residuals at a
layer become those of the base model (``replace``) or zero (``remove``), at all tokens, the first
five, or the later ones, and its cross-entropy is compared with that of the unchanged model.

If finetuning text then costs more and unrelated text less, the direction carries what was learned
at the price of everything else: the paper's sign of a trace that is an overfit to narrow data. The
null is the same along random directions, where next to no effect is expected.

Source: Minder et al. 2025 (arXiv 2510.13900), section 5 and its appendix on causal effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adl.callbacks import Progress, ShouldStop, ignore_progress, never_stop
from adl.errors import SiteError, Stopped
from adl.measures.intervals import Interval, mean_interval
from adl.measures.teacher_forcing import (
    ALL_POSITIONS,
    POSITION_SETS,
    PairedTexts,
    PositionSet,
    changed_at,
    scored_batches,
)
from adl.nulls import random_direction
from adl.pair.protocol import ComponentChange, ModelPair, ScoredBatch
from adl.records import Floats

N_RANDOM = 16
Corpus = Literal["finetuning", "unrelated"]
CORPORA: tuple[Corpus, Corpus] = ("finetuning", "unrelated")
CHANGES: tuple[ComponentChange, ComponentChange] = ("replace", "remove")

Losses = NDArray[np.float64]


@dataclass(frozen=True)
class CausalRequest:
    """The changes to make: a direction [width] at ``layer``, kinds, positions, and random directions.

    Raises ``SiteError`` for an unknown set of positions and for a zero direction.
    """

    layer: int
    direction: Floats
    changes: tuple[ComponentChange, ...] = CHANGES
    positions: tuple[PositionSet, ...] = (ALL_POSITIONS,)
    n_random: int = N_RANDOM
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.positions if name not in POSITION_SETS]
        if unknown:
            raise SiteError(
                f"{unknown[0]!r} is not a set of positions", f"Use: {', '.join(POSITION_SETS)}."
            )
        if not np.linalg.norm(self.direction) > 0:
            raise SiteError(
                "the difference is zero, so it has no direction to change",
                "Measure it on a pair whose sides differ.",
            )


@dataclass(frozen=True)
class CausalEffect:
    """The rise of cross-entropy by one kind of change, on one corpus, at one set of positions.

    In nats per token: ``left`` of the unchanged finetuned model and ``base`` of the base model,
    ``effect`` the rise along the difference with its 95% interval over texts, and ``random`` the
    rise along each random direction. ``p_value`` is the share of directions, the difference itself
    counted, with an effect at least as large in size; with 16 random ones it is 1/17 at best.
    """

    corpus: Corpus
    change: ComponentChange
    positions: PositionSet
    base: float
    left: float
    effect: Interval
    random: tuple[float, ...]
    p_value: float | None


def causal_effects(
    pair: ModelPair,
    texts: dict[Corpus, PairedTexts],
    request: CausalRequest,
    *,
    batch_size: int = 8,
    progress: Progress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> list[CausalEffect]:
    """Return every effect of the request, finetuning text first.

    Raises ``Stopped`` within one batch along one direction, ``SiteError`` for a layer that does not
    exist.
    """
    directions = np.stack(
        [
            request.direction,
            *(
                random_direction(len(request.direction), seed)
                for seed in _seeds(request.seed, request.n_random)
            ),
        ]
    ).astype(np.float32)
    conditions = [(change, where) for change in request.changes for where in request.positions]
    per_batch = 2 + len(conditions) * len(directions)
    total = per_batch * sum(-(-len(paired) // batch_size) for paired in texts.values())
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, total)
        if should_stop():
            raise Stopped(f"stopped after {done} of {total} runs")

    effects = []
    for corpus in CORPORA:
        if corpus not in texts:
            continue
        paired = texts[corpus]
        found: dict[tuple[ComponentChange, PositionSet], list[Losses]] = {
            condition: [] for condition in conditions
        }
        left, base_losses, counts = [], [], []
        batches = zip(
            scored_batches(paired.base, batch_size),
            scored_batches(paired.finetuned, batch_size),
            strict=True,
        )
        for base, finetuned in batches:
            base_losses.append(pair.token_losses("base", base))
            step()
            left.append(pair.token_losses("finetuned", finetuned))
            step()
            counts.append(finetuned.scored.sum(axis=1))
            for change, where in conditions:
                rows = []
                for direction in directions:
                    rows.append(
                        _changed(pair, base, finetuned, request.layer, direction, change, where)
                    )
                    step()
                found[change, where].append(np.stack(rows))
        tokens = np.concatenate(counts).astype(np.float64)
        own = np.concatenate(left).astype(np.float64)
        other = np.concatenate(base_losses).astype(np.float64)
        for (change, where), parts in found.items():
            rise = (np.concatenate(parts, axis=1) - own) / tokens.mean()
            random = rise[1:].mean(axis=1)
            effects.append(
                CausalEffect(
                    corpus=corpus,
                    change=change,
                    positions=where,
                    base=float(other.sum() / tokens.sum()),
                    left=float(own.sum() / tokens.sum()),
                    effect=mean_interval(rise[0], request.seed),
                    random=tuple(float(rise_along) for rise_along in random),
                    p_value=_p_value(float(rise[0].mean()), random),
                )
            )
    return effects


def _changed(
    pair: ModelPair,
    base: ScoredBatch,
    finetuned: ScoredBatch,
    layer: int,
    direction: Floats,
    change: ComponentChange,
    where: PositionSet,
) -> Losses:
    losses = pair.component_losses(
        changed_at(base, where), changed_at(finetuned, where), layer, direction[None], change
    )
    changed: Losses = losses[0].astype(np.float64)
    return changed


def _seeds(seed: int, count: int) -> Sequence[int]:
    return [int(word) for word in np.random.SeedSequence(seed).generate_state(count)]


def _p_value(effect: float, random: Losses) -> float | None:
    if not len(random):
        return None
    return float((1 + (np.abs(random) >= abs(effect)).sum()) / (1 + len(random)))
