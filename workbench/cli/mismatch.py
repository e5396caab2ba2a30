"""Differences between a loaded pair's sides, reported before anything is measured."""

from __future__ import annotations

from workbench.cli.output import say
from workbench.cli.running import Work


def say_mismatches(work: Work) -> None:
    """Report on stderr what does not match, and what is done about it."""
    for line in (work.shown.pair or {}).get("mismatches", ()):
        say(f"note: {line}")
