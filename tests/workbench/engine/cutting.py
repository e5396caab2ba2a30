"""Screens that give an order to an engine and are killed in the middle of its work.

    python -m tests.workbench.engine.cutting SOCKET DATABASE
    each line of its input     "ORDER NEWS": the order, and after how many news of it the screen dies
    each line of its output    the id of the job that was ordered and taken, "-" without one

Every screen is a process of its own, forked off before any thread runs, and dies by SIGKILL.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue

from adl.errors import AdlError
from workbench.agent.budgets import Budgets
from workbench.engine.agent_request import AuditRequest
from workbench.engine.attached import AttachedSession
from workbench.locations import find_locations
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import STEER, SteerArguments
from workbench.operations.pair import LOAD, loaded_pair
from workbench.store.log import SessionLog

MEASUREMENT = MeasureArguments(n_texts=16)
AUDIT = AuditRequest("scripted", "black_box", Budgets(calls=8), prepare=False)
STEERING = SteerArguments(prompts=("Hi.",), alphas=(0.2,), max_new_tokens=12, n_samples=1)


@contextmanager
def unless_one_works() -> Iterator[None]:
    """An agent is started inside, unless one is at work."""
    try:
        yield
    except AdlError as exc:
        if "at work already" not in str(exc):
            raise


def screen(socket: Path, database: Path, order: str, news: int, heard: int) -> None:
    """Attach, order, hear of it, and die."""
    queue: SimpleQueue[object] = SimpleQueue()
    with SessionLog.open(database) as log:
        attached = AttachedSession.attach(socket, None, find_locations(), lambda _path: log)
        attached.listen(lambda: queue.put(None), queue.put, lambda: queue.put(None))
        job_id = "-"
        if order == "agent":
            # There may be one at work, and then it is heard of.
            with unless_one_works():
                attached.start_agent(AUDIT)
        elif order == "load":
            pair = loaded_pair(attached.state.operations)
            assert pair is not None
            job_id = attached.submit(LOAD, pair).id
        elif order == "measure":
            job_id = attached.submit(MEASURE, MEASUREMENT).id
        else:
            job_id = attached.submit(STEER, STEERING).id
        if news:
            # The engine tells of a job that it has taken, with its order among the others; one that
            # it has done by then is in the log alone.
            while job_id not in {"-", *attached._order, *attached.state.operations}:
                queue.get(timeout=60)
            os.write(heard, f"{job_id}\n".encode())
            for _ in range(news):
                try:
                    queue.get(timeout=1.0)
                except Empty:
                    break
        else:
            os.write(heard, b"-\n")
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    socket, database = map(Path, sys.argv[1:])
    for line in sys.stdin:
        order, news = line.split()
        child = os.fork()
        if child == 0:
            try:
                screen(socket, database, order, int(news), sys.stdout.fileno())
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            sys.stdout.write("it failed\n")
            sys.stdout.flush()
            return


if __name__ == "__main__":
    main()
