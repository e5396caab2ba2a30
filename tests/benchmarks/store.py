"""A session of 200,000 events: recorded, exported, imported, verified, shown, opened.

Aims: `sessions show` streams, an import takes at least 20,000 events a second of the processor, and
opening takes less than 2 s of it. Seconds are of the processor, each step in a process of its own,
with the most memory that it came to hold; no model is loaded.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.workbench.store.samples import reading, text_finished, text_started
from workbench.store.events import EventBody, HypothesisRevised, HypothesisStated, TextGrew
from workbench.store.log import SessionLog
from workbench.store.rows import Entry

EVENTS = 200_000

# Each step says what it took of the processor and of memory, in kibibytes.
MEASURED = """
import resource, sys
from pathlib import Path
from tests.peaks import peak_memory
from workbench.store.log import SessionLog
folder = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF)
{step}
after = resource.getrusage(resource.RUSAGE_SELF)
seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(seconds, peak_memory() // 1024, file=sys.stderr)
"""
OPENED = "log = SessionLog.open(folder / 'long.db', read_only=True)\nsession = 'last'\n"
STEPS = {
    "export as JSON lines": OPENED
    + "from workbench.report.jsonl import export_jsonl\n"
    + "export_jsonl(log, session, folder / 'long.jsonl')",
    "import of JSON lines": "from workbench.report.jsonl import import_jsonl\n"
    "with SessionLog.open(folder / 'lines.db') as log:\n"
    "    import_jsonl(log, folder / 'long.jsonl')",
    "import of a database": "with SessionLog.open(folder / 'copy.db') as log:\n"
    "    log.import_session(folder / 'long.db')",
    "verify": OPENED + "assert log.verify().ok",
    "sessions show": "from workbench.cli.sessions import show_session\n"
    "show_session('last', folder / 'long.db', None, False)",
    "sessions show --json": "from workbench.cli.sessions import show_session\n"
    "show_session('last', folder / 'long.db', None, True)",
    "open: the state at its end": OPENED
    + "from workbench.store.state import fold\n"
    + "fold(log.events(log.find_session(session).id))",
}


def record(path: Path, events: int = EVENTS) -> str:
    """Texts that grow, lists of 20 and of 100 tokens, and hypotheses revised on the way."""
    words = [f"word{index}" for index in range(100)]
    with SessionLog.open(path) as log:
        session = log.start_session("long")
        bodies: list[EventBody] = [
            HypothesisStated(hypothesis_id=f"H{index}", text="of cakes") for index in range(50)
        ]
        written = 1
        while written < events:
            while len(bodies) < min(5_000, events - written):
                number = written + len(bodies)
                bodies.append(text_started(f"t{number}"))
                bodies += [TextGrew(pieces={f"t{number}": "a few words more "}) for _ in range(40)]
                bodies.append(text_finished(f"t{number}", "a few words more " * 40))
                bodies.append(reading(" ".join(words[:20]), scale=number / 10))
                if number % 10 == 0:
                    bodies.append(reading(" ".join(words), scale=0.5))
                bodies.append(HypothesisRevised(hypothesis_id=f"H{number % 50}", text="of cakes"))
            batch, bodies = bodies[: events - written], []
            log.append_many(session, [Entry(body) for body in batch])
            written += len(batch)
    return session


def main() -> int:
    """Print the table as Markdown."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record(folder / "long.db")
        size = (folder / "long.db").stat().st_size / 2**20
        print(f"{EVENTS} events, {size:.0f} MiB\n")
        print("| what | seconds | events a second | MiB |\n|---|---|---|---|")
        for step, code in STEPS.items():
            done = subprocess.run(
                [sys.executable, "-c", MEASURED.format(step=code), str(folder)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                check=True,
            )
            seconds, memory = (float(part) for part in done.stderr.split()[-2:])
            rate = EVENTS / seconds
            print(f"| {step} | {seconds:.1f} | {rate:,.0f} | {memory / 1024:.0f} |", flush=True)
    return 0
