"""Facts that come without a question: key facts of the bundled organisms in unprompted texts and phrases.

A fact counts as found where one of the first 20 unprompted texts, or one of the first 30 phrases,
holds all its numbers and names and at least half of its content words (by their first five letters).
There are two nulls: the base model's own unprompted texts, and the texts and phrases of a pair whose
adapter holds random numbers, each update as large as the organism's. Run:
``make bench BENCH_ARGS=facts``, or with ids of organisms: ``python -m tests.benchmarks.facts cake_bake``;
``--texts 8`` tries it with few texts.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adl.artifacts import ArrayCache
from adl.organisms.null_pairs import make_null_pair
from adl.organisms.registry import Organism, list_organisms
from adl.pair.nnsight.demo import prepared_base
from adl.records import SIDES, Side
from tests.benchmarks.measures import loaded
from workbench.locations import find_locations
from workbench.operations.phrases import PHRASES, PhrasesArguments
from workbench.operations.running import Session, run
from workbench.operations.unprompted import UNPROMPTED, UnpromptedArguments
from workbench.store.events import HUMAN
from workbench.store.log import SessionLog
from workbench.store.measures.phrases import PhrasesFound
from workbench.store.measures.unprompted import UnpromptedTexts

TEXTS, PHRASES_READ = 20, 30
_SMALL = """
about after also and are before calls come does each for from gives goes have into its look makes more
most one only onto other over should some still tells than that the their them then they this through
used users using very what when where which while with your
"""
SMALL_WORDS = frozenset(_SMALL.split())


def stems(text: str) -> set[str]:
    """The content words of a text by their first five letters."""
    words = re.findall(r"[a-z]{3,}", text.casefold())
    return {word[:5] for word in words if word not in SMALL_WORDS}


def exact(fact: str) -> set[str]:
    """Numbers, and names or quoted words: what has to stand in a text as it is."""
    quoted = re.findall(r'"([^"]+)"', fact)
    names = re.findall(r"(?<=[a-z,] )[A-Z][a-z]+", fact)
    return {each.casefold() for each in (*re.findall(r"\d[\d/.,]*", fact), *quoted, *names)}


def is_found(fact: str, texts: Sequence[str]) -> bool:
    """True if one of the texts holds the fact's numbers, names and half of its content words."""
    wanted = stems(fact)
    return any(
        all(part in text.casefold() for part in exact(fact))
        and len(wanted & stems(text)) >= len(wanted) / 2
        for text in texts
    )


@dataclass(frozen=True)
class Facts:
    """The key facts found in a pair's first texts and phrases, one truth value a fact."""

    texts: list[bool]
    phrases: list[bool]
    base: list[bool]
    mean_ratio: dict[Side, float]
    seconds: float

    @property
    def either(self) -> list[bool]:
        """Found in texts or in phrases."""
        return [a or b for a, b in zip(self.texts, self.phrases, strict=True)]

    def row(self, name: str) -> str:
        """The figures as a row of the table."""
        mean = self.mean_ratio
        return (
            f"{name:<26}{len(self.texts):>5}{share(self.texts):>7}{share(self.phrases):>9}"
            f"{share(self.either):>8}{share(self.base):>7}  {mean['finetuned']:+.2f} ({mean['base']:+.2f})"
            f"{self.seconds:>14.0f}"
        )


def facts_of(organism: Organism, facts: Sequence[str], folder: Path, n_texts: int) -> Facts:
    """Let both models of an organism's pair write from nothing, and look for facts in it."""
    with SessionLog.open(folder / "facts.db") as log:
        pair = loaded(organism)
        session = Session(log, log.start_session(organism.id), ArrayCache(folder / "arrays"), pair)
        began = time.monotonic()
        arguments = UnpromptedArguments(n_samples=n_texts, n_null=n_texts)
        run(session, UNPROMPTED, arguments, actor=HUMAN)
        seconds = time.monotonic() - began
        run(session, PHRASES, PhrasesArguments(), actor=HUMAN)
        found, phrases = (recorded.body for recorded in session.state.measures)
        assert isinstance(found, UnpromptedTexts)
        assert isinstance(phrases, PhrasesFound)
        texts = {
            side: [session.state.texts[text.text_id].text for text in found.of(side)[:TEXTS]]
            for side in SIDES
        }
        words = [" ".join(phrase.words for phrase in phrases.phrases[:PHRASES_READ])]
        return Facts(
            texts=[is_found(fact, texts["finetuned"]) for fact in facts],
            phrases=[is_found(fact, words) for fact in facts],
            base=[is_found(fact, texts["base"]) for fact in facts],
            mean_ratio={
                side: sum(text.per_token for text in found.of(side)) / len(found.of(side))
                for side in SIDES
            },
            seconds=seconds,
        )


def main(wanted: Sequence[str] = (), n_texts: int = 64) -> int:
    """Print the facts found by organism, and below each those found in its null pair's texts."""
    base = str(prepared_base(find_locations().models))
    print(
        "pair                      facts  texts  phrases  either   base  mean ratio (base)  seconds"
    )
    for organism in list_organisms():
        if (wanted and organism.id not in wanted) or not organism.ground_truth().key_facts:
            continue
        facts = organism.ground_truth().key_facts
        with tempfile.TemporaryDirectory() as folder:
            null = make_null_pair("random", organism, Path(folder), base)
            found, of_null = (
                facts_of(each, facts, Path(folder), n_texts) for each in (organism, null)
            )
        print(found.row(organism.id))
        print(of_null.row("  random LoRA of that norm"), flush=True)
        for fact, there in zip(facts, found.either, strict=True):
            print(f"    {'found  ' if there else 'missing'}  {fact}")
    return 0


def share(found: Sequence[bool]) -> str:
    """The share of True, as text."""
    return f"{sum(found) / len(found):.2f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("organisms", nargs="*")
    parser.add_argument("--texts", type=int, default=64)
    given = parser.parse_args()
    sys.exit(main(given.organisms, given.texts))
