"""What the measures say of every bundled organism, with real figures: strength, breadth, coherent
alpha with sample texts, token relevance, steered-text similarity and causal effect.

Everything runs as an operation into a session of its own, so a figure here is one that a person
would see. Run: ``make bench BENCH_ARGS=measures``, or with ids of organisms and names of measures:
``python -m tests.benchmarks.measures cake_bake trace_strength causal_effect``.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adl.artifacts import ArrayCache
from adl.organisms.registry import Organism, list_organisms
from adl.pair.nnsight.demo import prepared_base
from adl.pair.nnsight.pair import NnsightPair
from adl.records import PairSpec, SideSpec
from workbench.locations import find_locations
from workbench.operations.causal import CAUSAL_EFFECT, CausalArguments
from workbench.operations.coherent_alpha import COHERENT_ALPHA, CoherentAlphaArguments
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.relevance import (
    STEERED_SIMILARITY,
    TOKEN_RELEVANCE,
    RelevanceArguments,
    SimilarityArguments,
)
from workbench.operations.running import Arguments, Operation, Session, run
from workbench.operations.trace import TRACE, TraceArguments
from workbench.store.events import HUMAN
from workbench.store.log import SessionLog

N_TEXTS = 256
N_PROMPTS = 6
READ_LISTS = ("consensus", "output_difference", "shift_lens")


def loaded(organism: Organism) -> NnsightPair:
    """The embedded base and the organism's adapter on it."""
    base = str(prepared_base(find_locations().models))
    side = SideSpec(base, adapter=organism.adapter)
    return NnsightPair.load(PairSpec(SideSpec(base), side, dtype="float32"))


class Measured:
    """A session on one organism, and the newest finding of each measure."""

    def __init__(self, organism: Organism, folder: Path) -> None:
        self.organism = organism
        self.log = SessionLog.open(folder / f"{organism.id}.db")
        pair = loaded(organism)
        self.session = Session(
            self.log, self.log.start_session(organism.id), ArrayCache(folder / "arrays"), pair
        )
        self.do(MEASURE, MeasureArguments(n_texts=N_TEXTS))

    def do(self, operation: Operation[Any], arguments: Arguments) -> Any:
        """Run an operation; what it recorded last."""
        began = time.monotonic()
        run(self.session, operation, arguments, actor=HUMAN)
        seconds = time.monotonic() - began
        print(f"{self.organism.id}: {operation.name} in {seconds:.0f} s", file=sys.stderr)
        measures = self.session.state.measures
        return measures[-1].body if measures else None

    def trace(self) -> Any:
        """Strength and breadth."""
        return self.do(TRACE, TraceArguments(n_texts=N_TEXTS))

    def coherent_alpha(self) -> Any:
        """The search without an LLM, six prompts and two samples of each."""
        return self.do(
            COHERENT_ALPHA,
            CoherentAlphaArguments(n_prompts=N_PROMPTS, rounds=1, max_new_tokens=32),
        )

    def relevance(self) -> Any:
        """Against the grader's words where there are some, else those of the documents."""
        self.do(READ, ReadArguments(readings=READ_LISTS, n_texts=N_TEXTS))
        words = self.organism.words()
        if words is None:
            return self.do(TOKEN_RELEVANCE, RelevanceArguments(truth_of=self.organism.id))
        return self.do(TOKEN_RELEVANCE, RelevanceArguments(words=tuple(sorted(words))))

    def similarity(self) -> Any:
        """At the coherent alpha, six prompts."""
        return self.do(
            STEERED_SIMILARITY,
            SimilarityArguments(truth_of=self.organism.id, n_prompts=N_PROMPTS, n_samples=2),
        )

    def causal(self) -> Any:
        """Replaced at all tokens and at the first five, beside 16 random directions."""
        return self.do(
            CAUSAL_EFFECT,
            CausalArguments(
                truth_of=self.organism.id,
                changes=("replace",),
                where=("all",),
                n_texts=12,
                max_tokens=48,
            ),
        )


def trace_rows(found: Any) -> list[str]:
    """Rows of the table of trace strength."""
    rows = []
    for layer in found.layers:
        site = [one for one in found.sites if one.layer == layer.layer][-1]
        effect = layer.effect
        narrow = found.narrowness
        rows.append(
            f"{found.verdict}, {found.breadth} | {site.norm:.3f} [{site.low:.3f}, {site.high:.3f}] | "
            f"{site.consistency:.2f} | {site.p_value:.4f} | "
            f"{effect.alignment:.2f} (random at most {max(effect.random):.2f}, "
            f"p {effect.p_value:.1g}) | "
            + (f"{narrow.index:.1f} [{narrow.low:.1f}, {narrow.high:.1f}]" if narrow else "")
            + f" | {found.output_kl:.2f}"
        )
    return rows


def alpha_rows(measured: Measured, found: Any) -> list[str]:
    """Shares by alpha, and one text for the unsteered, the coherent and the strongest alpha."""
    rates = ", ".join(f"{one.alpha:g}: {one.plain:.2f}" for one in found.rates)
    prompts = ", ".join(f"{alpha:g}" for alpha in found.by_prompt)
    rows = [f"{found.alpha:g} | {found.prompt_mean:.2f} ({prompts}) | {rates}"]
    for alpha in (0.0, found.alpha, found.rates[-1].alpha):
        verdict = next(one for one in found.texts if one.alpha == alpha)
        text = " ".join(measured.session.state.texts[verdict.text_id].text.split())
        faults = ", ".join(verdict.faults) or "coherent"
        rows.append(f"  alpha {alpha:g} ({faults}): {text[:200]}")
    return rows


def relevance_rows(found: Any) -> list[str]:
    """One row a list, pooled over positions."""
    return [
        f"{one.reading} of {one.source} ({one.side}) | "
        f"{one.share.value:.2f} [{one.share.low:.2f}, {one.share.high:.2f}]"
        + (f" | over random {one.over_random.value:+.2f}" if one.over_random else "")
        for one in found.shares
        if one.share and one.position == "1-4"
    ]


def similarity_rows(found: Any) -> list[str]:
    """One row: each kind of text, and how much higher the steered ones are."""
    kinds = ", ".join(f"{kind} {one.value:.3f}" for kind, one in found.by_kind.items())
    over = found.over_unsteered
    row = (
        f"alpha {found.alpha:g} | {kinds} | over unsteered {over.value:+.3f} "
        f"[{over.low:+.3f}, {over.high:+.3f}] | over random {found.over_random.value:+.3f} | "
        f"documents among themselves {found.documents:.3f}"
    )
    return [row]


def causal_rows(found: Any) -> list[str]:
    """One row for each corpus, change and set of positions."""
    return [
        f"{one.corpus}, {one.change}, {one.positions} | base {one.base:.3f}, left {one.left:.3f} | "
        f"{one.effect.value:+.4f} [{one.effect.low:+.4f}, {one.effect.high:+.4f}] | "
        f"random {min(one.random):+.4f} to {max(one.random):+.4f} | p {one.p_value:.3f}"
        for one in found.effects
    ]


def report(measured: Measured, wanted: Sequence[str]) -> None:
    """Print what was asked for of one organism."""
    parts = {
        "trace_strength": lambda: trace_rows(measured.trace()),
        "coherent_alpha": lambda: alpha_rows(measured, measured.coherent_alpha()),
        "token_relevance": lambda: relevance_rows(measured.relevance()),
        "steered_similarity": lambda: similarity_rows(measured.similarity()),
        "causal_effect": lambda: causal_rows(measured.causal()),
    }
    for name, rows in parts.items():
        if not wanted or name in wanted:
            for row in rows():
                print(f"{measured.organism.id} | {name} | {row}", flush=True)


def main(arguments: Sequence[str] = ()) -> int:
    """Print a row for each organism and measure; organisms and measures may be named."""
    known = {organism.id: organism for organism in list_organisms()}
    chosen = [one for one in arguments if one in known] or list(known)
    wanted = [one for one in arguments if one not in known]
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            report(Measured(known[name], Path(folder)), wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
