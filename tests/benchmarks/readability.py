"""How readable is each list? Share of its top 20 tokens that belong to the organism's domain.

One rule for all organisms: the words are looked at only after every list has been made. The paper's
patchscope stands beside at its best scale in hindsight, with and without our cut to whole words, and
every reading beside its random direction. Run: ``make bench BENCH_ARGS=readability``.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

from adl.difference import measure_difference
from adl.organisms.registry import list_organisms
from adl.pair.nnsight.demo import prepared_base
from adl.pair.nnsight.pair import NnsightPair
from adl.pair.protocol import resolve_layer
from adl.readings import READINGS, FailedReading, ReadingRequest, take_readings
from adl.records import POOLED, PairSpec, SideSpec, TokenReadout, TokenScore
from adl.text.corpus import CorpusSource
from workbench.locations import find_locations

TOP = 20
N_TEXTS = 1000
Row = tuple[str, str, str]


def share(tokens: Sequence[TokenScore], words: frozenset[str]) -> float:
    """Share of the first 20 tokens that are domain words."""
    return sum(token.text.strip().lower() in words for token in tokens[:TOP]) / TOP


def shares(readouts: Iterable[TokenReadout], words: frozenset[str]) -> dict[Row, float]:
    """Every automatic pooled list of one organism, and the paper's patchscope in hindsight."""
    found: dict[Row, float] = {}
    hindsight: dict[Row, list[float]] = defaultdict(list)
    for readout in readouts:
        if readout.site.position != POOLED:
            continue
        if readout.reading == "patchscope" and readout.source == "difference":
            raw = share(readout.unfiltered, words)
            hindsight["patchscope, best scale in hindsight", "as in the paper", ""].append(raw)
            cut = share(readout.tokens, words)
            hindsight["patchscope, best scale in hindsight", "whole words", ""].append(cut)
        if readout.chosen:
            found[readout.reading, readout.source, readout.side] = share(readout.tokens, words)
    return found | {row: max(values) for row, values in hindsight.items()}


def main() -> int:
    """Print the table as Markdown."""
    base = str(prepared_base(find_locations().models))
    texts = CorpusSource.parse(None).open().texts(0, N_TEXTS)
    organisms = [organism for organism in list_organisms() if organism.words() is not None]
    table: dict[Row, dict[str, float]] = defaultdict(dict)
    for organism in organisms:
        spec = PairSpec(SideSpec(base), SideSpec(base, adapter=organism.adapter), dtype="float32")
        pair = NnsightPair.load(spec)
        layer = resolve_layer("0.5", pair.provenance.n_layers)
        difference = measure_difference(pair, texts, [layer])
        began = time.monotonic()
        taken = list(take_readings(pair, difference, texts, ReadingRequest(layer)))
        for failed in (one for one in taken if isinstance(one, FailedReading)):
            print(f"{organism.id}: {failed.reading}: {failed.message}", file=sys.stderr)
        readouts = [one for one in taken if not isinstance(one, FailedReading)]
        print(f"{organism.id}: read in {time.monotonic() - began:.0f} s", file=sys.stderr)
        words = organism.words() or frozenset()
        for row, value in shares(readouts, words).items():
            table[row][organism.id] = value
    names = [organism.id for organism in organisms]
    print(f"| reading | of | side | {' | '.join(names)} | mean |")
    print("|---|---|---|" + "---|" * (len(names) + 1))
    order = [*READINGS, "patchscope, best scale in hindsight"]
    for row in sorted(table, key=lambda row: order.index(row[0])):
        values = [table[row][name] for name in names]
        cells = " | ".join(f"{value:.2f}" for value in (*values, sum(values) / len(values)))
        print(f"| {row[0].replace('_', ' ')} | {row[1].replace('_', ' ')} | {row[2]} | {cells} |")
    return 0
