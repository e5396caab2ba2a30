"""A hundred screens are cut off while their engine loads, measures, steers and lets an agent work.

Most are killed; of some the terminal is closed.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from tests.processes import HANGS
from tests.workbench.agent.scripted import KEY, Say, in_turn, report, serving
from tests.workbench.cli.conftest import ROOT, environment
from tests.workbench.engine.cutting import AUDIT, MEASUREMENT, STEERING, unless_one_works
from tests.workbench.engine.processes import EngineProcess, engine_process
from tests.workbench.tui.terminal import Terminal
from workbench.engine import protocol as p
from workbench.engine.client import EngineClient
from workbench.locations import HOME_VARIABLE
from workbench.operations.difference import MEASURE
from workbench.operations.generation import STEER
from workbench.operations.pair import LOAD, loaded_pair

CUTS = 100
#: Of each kind of order, so many screens lose their terminal.
CLOSED = 3
ORDERS = ("load", "measure", "steer", "agent")
ASKS = ("ask", {"prompts": ["How was your day?"], "max_new_tokens": 6})


class Cutter:
    """Screens in processes of their own, killed one by one."""

    def __init__(self, process: subprocess.Popen[str], errors: Path) -> None:
        self._process = process
        self._errors = errors

    def cut(self, order: str, news: int) -> str | None:
        """Have a screen give an order and killed after so many news; returns the job, if heard of."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{order} {news}\n")
        self._process.stdin.flush()
        told = self._process.stdout.readline().strip()
        assert told not in {"", "it failed"}, self._errors.read_text()[-2_000:]
        return None if told == "-" else told


@contextmanager
def cutter(engine: EngineProcess) -> Iterator[Cutter]:
    errors = engine.home / "errors"
    with (
        errors.open("w") as file,
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.workbench.engine.cutting"),
                *(engine.socket, engine.home / "sessions.db"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            cwd=ROOT,
            env=environment(**{HOME_VARIABLE: str(engine.home)}),
        ) as process,
    ):
        try:
            yield Cutter(process, errors)
        finally:
            process.kill()


def close_terminal(engine: EngineProcess, order: str, news: int) -> str | None:
    """Take away the terminal of a screen that looks on amid work; returns the job that was ordered."""
    notices: SimpleQueue[p.Notice] = SimpleQueue()
    job_id = None
    with (
        Terminal(["attach"], home=engine.home, forked=True) as terminal,
        EngineClient.connect(engine.socket, role="command", name="a test") as client,
    ):
        client.listen(notices.put)
        client.call(p.Open(session=engine.session, keys=False), HANGS)
        terminal.shows("6 Time")
        if order == "agent":
            with unless_one_works():
                client.call(p.StartAgent(session=engine.session, request=AUDIT))
        else:
            pair = loaded_pair(engine.state().operations)
            assert pair is not None
            operation, arguments = {
                "load": (LOAD, pair),
                "measure": (MEASURE, MEASUREMENT),
                "steer": (STEER, STEERING),
            }[order]
            job_id = client.call(
                p.Submit(
                    session=engine.session,
                    operation=operation.name,
                    arguments=arguments.model_dump(mode="json"),
                )
            ).id
        for _ in range(news):
            try:
                notices.get(timeout=1.0)
            except Empty:
                break
        terminal.hang_up()
        terminal.ends()
    return job_id


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_cut_links_lose_no_event_and_stop_no_job(tmp_path):
    chance = random.Random(16)
    cuts = [(ORDERS[number % 4], chance.choice((0, 1, 1, 2, 3, 5, 8))) for number in range(CUTS)]
    closed = {
        number
        for kind in range(len(ORDERS))
        for number in chance.sample(range(kind, CUTS, len(ORDERS)), CLOSED)
    }
    script = in_turn(Say("", [ASKS]), Say("", [report()]))
    with (
        serving(script) as endpoint,
        engine_process(
            tmp_path, variables={"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": endpoint.url}
        ) as engine,
        cutter(engine) as screens,
    ):
        told = [screens.cut("measure", 1)]
        for number, (order, news) in enumerate(cuts):
            if number in closed:
                told.append(close_terminal(engine, order, news))
            else:
                told.append(screens.cut(order, news))
        ordered = set(filter(None, told))
        assert len(ordered) > CUTS / 2
        state = engine.wait(
            "the end of all that was ordered",
            lambda state: (
                ordered <= set(state.operations)
                and all(made.status != "running" for made in state.operations.values())
                and all(agent.is_over for agent in state.agents.values())
            ),
        )
    assert {made.status for made in state.operations.values()} == {"finished"}
    assert state.agents
    assert all(agent.report is not None for agent in state.agents.values())
    assert state.outcome is None
