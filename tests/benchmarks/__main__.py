"""Run the benchmarks: ``python -m tests.benchmarks [NAME ...]``, all of them without a name.

A benchmark is a module beside this one with a ``main()`` that prints its table; each runs in a
process of its own, so that the memory and the caches of one do not count for the next.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def names() -> list[str]:
    """The benchmarks there are; modules that begin with an underscore help others."""
    found = Path(__file__).parent.glob("[!_]*.py")
    return sorted(path.stem for path in found)


def main(wanted: list[str]) -> int:
    """Run the wanted benchmarks one by one; 0 if all ended well, 2 for an unknown name."""
    if unknown := [name for name in wanted if name not in names()]:
        print(
            f"No benchmark {', '.join(unknown)}. There are: {', '.join(names())}.", file=sys.stderr
        )
        return 2
    failed = []
    for name in wanted or names():
        print(f"== {name}", flush=True)
        run = f"from tests.benchmarks.{name} import main; raise SystemExit(main())"
        if subprocess.run([sys.executable, "-c", run], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
