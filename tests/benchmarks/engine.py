"""How much longer a question at a running engine takes than the models themselves.

The same question is put, alternately, to the models alone (the operation's work in this process,
recorded in a session of its own) and through the engine's socket by a client in another process's
place: order, queue, log, notice. Both share one loaded pair. Beside it, the whole command `ask` with
and without the engine. Run: ``make bench BENCH_ARGS=engine``.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from adl.artifacts import ArrayCache
from adl.callbacks import ignore_stages, never_stop
from workbench.cli.served import with_pair
from workbench.engine.engine import Engine
from workbench.engine.server import Server
from workbench.engine.sockets import new_path
from workbench.locations import HOME_VARIABLE, find_locations
from workbench.operations.generation import ASK, AskArguments
from workbench.operations.pair import PairArguments
from workbench.operations.running import Session, run
from workbench.store.events import HUMAN
from workbench.store.log import SessionLog

ROUNDS = 9
PAIR = PairArguments(organism="cake_bake")
QUESTION = AskArguments(prompt="What would you bake for a birthday?", max_new_tokens=8)
COMMAND = ("ask", "--demo", QUESTION.prompt, "--tokens", "8")


def seconds(began: float) -> float:
    """Seconds since a time."""
    return time.monotonic() - began


def side_by_side(engine: Engine, log: SessionLog, home: Path) -> tuple[list[float], list[float]]:
    """Seconds of the question by itself, and through the engine."""
    alone = Session(log, log.start_session("alone"), ArrayCache(home / "arrays"), engine.pair.pair)
    served = with_pair("auto", log.path, PAIR)
    assert served is not None, "the engine was not found"
    at_engine = Session(log, served.begin("at the engine", (), blind=False), alone.cache)
    direct, through = [], []
    for turn in range(ROUNDS + 1):
        began = time.monotonic()
        run(alone, ASK, QUESTION, actor=HUMAN)
        direct.append(seconds(began))
        began = time.monotonic()
        served.run(at_engine, ASK, QUESTION, ignore_stages, never_stop)
        through.append(seconds(began))
        if turn == 0:  # what is done for the first time
            direct.clear()
            through.clear()
    served.close(at_engine.id, "completed", "")
    served.end()
    return direct, through


def command(*options: str) -> float:
    """Seconds of the whole command, as a person starts it."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", "from workbench.cli import main; main()", *COMMAND, *options],
        check=True,
        capture_output=True,
    )
    return seconds(began)


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        # The prepared model stays where it is.
        models = find_locations().models
        os.environ[HOME_VARIABLE] = folder
        locations = find_locations()
        locations.cache.mkdir()
        (locations.cache / "models").symlink_to(models)
        with SessionLog.open(locations.database) as log:
            engine = Engine(log, locations, PAIR)
            engine.begin("engine")
            server = Server(engine, new_path(locations))
            loop = asyncio.new_event_loop()
            ready = threading.Event()

            def serve() -> None:
                with asyncio.Runner(loop_factory=lambda: loop) as runner:
                    runner.run(server.run(ready.set))

            thread = threading.Thread(target=serve)
            thread.start()
            ready.wait()
            direct, through = side_by_side(engine, log, Path(folder))
            commands = {name: command("--engine", name) for name in ("auto", "never")}
            loop.call_soon_threadsafe(server.end, "measured")
            thread.join()
    middle = statistics.median(direct)
    over = statistics.median(b - a for a, b in zip(direct, through, strict=True))
    print(f"ask, {ROUNDS} rounds: by itself {1000 * middle:.0f} ms (median)")
    print(f"through the engine: {1000 * over:+.0f} ms (median of the differences; aim 50)")
    print(
        f"whole command: {commands['auto']:.1f} s at the engine, {commands['never']:.1f} s without"
    )


if __name__ == "__main__":
    main()
