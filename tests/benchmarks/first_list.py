"""How soon lists stand: seconds from a loaded demo pair to the first list, the consensus and the last list.

Once as the workbench reads, and once with the layers below the measured one run again for every
strength and null, as before they were shared. Run: ``make bench BENCH_ARGS=first_list``, or
``python -m tests.benchmarks.first_list --texts 64`` to try it with few texts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from adl.artifacts import ArrayCache
from adl.organisms.registry import get_organism
from adl.pair.nnsight.pair import NnsightPair
from tests.benchmarks.measures import loaded
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import Session, run
from workbench.store.events import HUMAN, Event, ReadingTaken
from workbench.store.log import SessionLog

#: Shown by the readings that are there, in whichever order they come.
MOMENTS = ("first list", "first consensus", "last list")


def moments(pair: NnsightPair, n_texts: int | None) -> dict[str, float]:
    """Seconds until each of `MOMENTS`, from the beginning of the measuring."""
    found: dict[str, float] = {}

    def watch(began: float) -> Callable[[Event], None]:
        def on_event(event: Event) -> None:
            if isinstance(event.body, ReadingTaken) and event.body.chosen:
                now = time.monotonic() - began
                found.setdefault("first list", now)
                if event.body.reading == "consensus":
                    found.setdefault("first consensus", now)
                found["last list"] = now

        return on_event

    given = {} if n_texts is None else {"n_texts": n_texts}
    with (
        tempfile.TemporaryDirectory() as folder,
        SessionLog.open(Path(folder) / "lists.db") as log,
    ):
        session = Session(
            log, log.start_session("lists"), ArrayCache(Path(folder) / "arrays"), pair
        )
        log.subscribe(watch(time.monotonic()))
        run(session, MEASURE, MeasureArguments(**given), actor=HUMAN)
        run(session, READ, ReadArguments(**given), actor=HUMAN)
    return found


def without_sharing(pair: NnsightPair) -> None:
    """Have every strength and null run all layers by itself."""

    def refuse(*_arguments: object) -> object:
        raise RuntimeError("each runs by itself")

    for runs in pair._runs.values():
        runs._added_rows = refuse  # type: ignore[method-assign]
        runs._shares_layers.clear()


def main(n_texts: int | None = None) -> int:
    """Print the table as Markdown."""
    pair = loaded(get_organism("cake_bake"))
    now = moments(pair, n_texts)
    without_sharing(pair)
    before = moments(pair, n_texts)
    print("| seconds to | shared layers | each by itself | share of the time | aim |")
    print("|---|---|---|---|---|")
    for moment, aim in zip(MOMENTS, ("at most 10 s", "", "at most .5"), strict=True):
        here, there = now[moment], before[moment]
        print(f"| {moment} | {here:.1f} | {there:.1f} | {here / there:.2f} | {aim} |")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=None)
    sys.exit(main(parser.parse_args().texts))
