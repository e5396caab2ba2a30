"""Facts that come without a question: key facts of the bundled organisms in unprompted texts and phrases.

A fact counts as found where one of the first 20 unprompted texts, or one of the first 30 phrases,
holds all its numbers and names and at least half of its content words (by their first five letters).
The base model's own unprompted texts are the null. Run: ``make bench BENCH_ARGS=facts``, or with ids
of organisms: ``python -m tests.benchmarks.facts cake_bake``.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from adl.artifacts import ArrayCache
from adl.organisms.registry import list_organisms
from tests.benchmarks.measures import loaded
from workbench.operations.phrases import PHRASES, PhrasesArguments
from workbench.operations.running import Session, run
from workbench.operations.unprompted import UNPROMPTED, UnpromptedArguments
from workbench.store.events import HUMAN
from workbench.store.log import SessionLog

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


def main(wanted: Sequence[str] = ()) -> int:
    """Print, by organism, the facts found in finetuned texts and phrases, and in base's texts."""
    print("organism          facts  texts  phrases  either   base  mean ratio (base)  seconds")
    for organism in list_organisms():
        if (wanted and organism.id not in wanted) or not organism.ground_truth().key_facts:
            continue
        facts = organism.ground_truth().key_facts
        with tempfile.TemporaryDirectory() as folder:
            log = SessionLog.open(Path(folder) / "facts.db")
            arrays = ArrayCache(Path(folder) / "arrays")
            session = Session(log, log.start_session(organism.id), arrays, loaded(organism))
            began = time.monotonic()
            run(session, UNPROMPTED, UnpromptedArguments(n_null=64), actor=HUMAN)
            seconds = time.monotonic() - began
            run(session, PHRASES, PhrasesArguments(), actor=HUMAN)
            found, phrases = (recorded.body for recorded in session.state.measures)
            texts = {
                side: [session.state.texts[text.text_id].text for text in found.of(side)[:TEXTS]]
                for side in ("finetuned", "base")
            }
            words = [" ".join(phrase.words for phrase in phrases.phrases[:PHRASES_READ])]
            by = {
                "texts": [is_found(fact, texts["finetuned"]) for fact in facts],
                "phrases": [is_found(fact, words) for fact in facts],
                "base": [is_found(fact, texts["base"]) for fact in facts],
            }
            either = [a or b for a, b in zip(by["texts"], by["phrases"], strict=True)]
            mean = {
                side: sum(text.per_token for text in found.of(side)) / len(found.of(side))
                for side in ("finetuned", "base")
            }
            print(
                f"{organism.id:<18}{len(facts):>5}{share(by['texts']):>7}{share(by['phrases']):>9}"
                f"{share(either):>8}{share(by['base']):>7}  {mean['finetuned']:+.2f} ({mean['base']:+.2f})"
                f"{seconds:>14.0f}",
                flush=True,
            )
            for fact, there in zip(facts, either, strict=True):
                print(f"    {'found  ' if there else 'missing'}  {fact}")
    return 0


def share(found: Sequence[bool]) -> str:
    """The share of True, as text."""
    return f"{sum(found) / len(found):.2f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
