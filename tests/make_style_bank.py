"""Make the bundled bank of style anew: ``python -m tests.make_style_bank [FILE]``, some minutes on 2 cores.

For each bundled organism the words that it raises (``adl.readings.style``), at the middle layer and over
the bundled passages.
"""

from __future__ import annotations

import sys
from pathlib import Path

from adl.difference import measure_difference
from adl.organisms.registry import list_organisms
from adl.pair.nnsight.demo import prepared_base
from adl.pair.nnsight.pair import NnsightPair
from adl.pair.protocol import resolve_layer
from adl.readings.style import Finetuning, bank_text, finetuning_of
from adl.records import PairSpec, SideSpec
from adl.text.corpus import CorpusSource
from workbench.locations import find_locations

TARGET = Path(__file__).parents[1] / "adl" / "data" / "style_bank.json"
N_TEXTS = 256


def finetunings() -> list[Finetuning]:
    """Measure every bundled organism; the control is the broad one."""
    base = str(prepared_base(find_locations().models))
    texts = CorpusSource.parse(None).open().texts(0, N_TEXTS)
    found = []
    for organism in list_organisms():
        spec = PairSpec(SideSpec(base), SideSpec(base, adapter=organism.adapter), dtype="float32")
        pair = NnsightPair.load(spec)
        layer = resolve_layer("0.5", pair.provenance.n_layers)
        difference = measure_difference(pair, texts, [layer])
        is_broad = organism.family == "Control"
        found.append(finetuning_of(pair, difference, texts, layer, organism.id, is_broad=is_broad))
        sys.stdout.write(f"{organism.id}: {' '.join(found[-1].output[:12])}\n")
    return found


def main(target: Path = TARGET) -> None:
    """Write the bank."""
    target.write_text(bank_text(finetunings()), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
