"""How readable is each list? Share of its top 20 tokens that belong to the organism's domain.

One rule for all organisms: the words are looked at only after every list has been made. The paper's
patchscope stands beside at its best scale in hindsight, with and without our cut to whole words, and
every reading beside its random direction. Words of style are struck by the bundled bank without the
organism itself, by name and by digest; a second table has the lists with and without them. Run:
``make bench BENCH_ARGS=readability``, or with ids of organisms
``python -m tests.benchmarks.readability cake_bake``.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from adl.difference import measure_difference
from adl.organisms.registry import list_organisms
from adl.pair.nnsight.demo import prepared_base
from adl.pair.nnsight.pair import NnsightPair
from adl.pair.protocol import resolve_layer
from adl.readings import READINGS, FailedReading, ReadingRequest, take_readings
from adl.readings.ranking import is_word
from adl.readings.spelling import other_spellings
from adl.readings.style import bundled, finetuned_digest, style_of
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


def with_style(readout: TokenReadout) -> list[TokenScore]:
    """The list as it was before words of style were struck from it."""
    tokens = list(readout.tokens)
    for struck in readout.struck:
        tokens.insert(struck.rank - 1, struck.token)
    return tokens


def of_style(
    tokens: Sequence[TokenScore], words: frozenset[str], known: Collection[str]
) -> list[str]:
    """Words among the first 20 that have another spelling among the ``known`` and are no domain words."""
    first = [token.text.strip().lower() for token in tokens[:TOP]]
    return [
        word
        for word in first
        if word not in words and any(other in known for other in other_spellings(word))
    ]


def style_rows(
    name: str, readouts: Iterable[TokenReadout], words: frozenset[str], known: Collection[str]
) -> Iterator[str]:
    """Rows of the table of style: each reading of the difference before and after."""
    for readout in readouts:
        if (readout.source, readout.site.position) != ("difference", POOLED) or not readout.chosen:
            continue
        before = with_style(readout)
        spelt = [of_style(tokens, words, known) for tokens in (before, readout.tokens)]
        struck = [each.token.text.strip() for each in readout.struck if each.rank <= TOP]
        yield (
            f"| {name} | {readout.reading.replace('_', ' ')} ({readout.side}) "
            f"| {len(spelt[0])} -> {len(spelt[1])} "
            f"| {share(before, words):.2f} -> {share(readout.tokens, words):.2f} "
            f"| {' '.join(struck)} |"
        )


def main(wanted: Sequence[str] = ()) -> int:
    """Print the tables as Markdown."""
    base = str(prepared_base(find_locations().models))
    texts = CorpusSource.parse(None).open().texts(0, N_TEXTS)
    organisms = [
        organism
        for organism in list_organisms()
        if organism.words() is not None and (not wanted or organism.id in wanted)
    ]
    rows: list[str] = []
    table: dict[Row, dict[str, float]] = defaultdict(dict)
    for organism in organisms:
        spec = PairSpec(SideSpec(base), SideSpec(base, adapter=organism.adapter), dtype="float32")
        pair = NnsightPair.load(spec)
        layer = resolve_layer("0.5", pair.provenance.n_layers)
        difference = measure_difference(pair, texts, [layer])
        began = time.monotonic()
        style = style_of(bundled(), pair, without=[organism.id])
        digest = finetuned_digest(pair.provenance)
        print(f"{organism.id} ({digest[:12]}) against {style.n_others} others", file=sys.stderr)
        request = ReadingRequest(layer, style=style)
        taken = list(take_readings(pair, difference, texts, request))
        for failed in (one for one in taken if isinstance(one, FailedReading)):
            print(f"{organism.id}: {failed.reading}: {failed.message}", file=sys.stderr)
        readouts = [one for one in taken if not isinstance(one, FailedReading)]
        print(f"{organism.id}: read in {time.monotonic() - began:.0f} s", file=sys.stderr)
        words = organism.words() or frozenset()
        for row, value in shares(readouts, words).items():
            table[row][organism.id] = value
        known = {text.strip().lower() for text in pair.token_texts("base") if is_word(text)}
        rows += style_rows(organism.id, readouts, words, known)
    names = [organism.id for organism in organisms]
    print(f"| reading | of | side | {' | '.join(names)} | mean |")
    print("|---|---|---|" + "---|" * (len(names) + 1))
    order = [*READINGS, "patchscope, best scale in hindsight"]
    for row in sorted(table, key=lambda row: order.index(row[0])):
        values = [table[row][name] for name in names]
        cells = " | ".join(f"{value:.2f}" for value in (*values, sum(values) / len(values)))
        print(f"| {row[0].replace('_', ' ')} | {row[1].replace('_', ' ')} | {row[2]} | {cells} |")
    print("\n| organism | reading | spellings in the first 20 | share of domain words | struck |")
    print("|---|---|---|---|---|")
    print("\n".join(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
