"""A hundred screens are killed while their engine loads, measures, steers and lets an agent work."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from tests.workbench.agent.scripted import KEY, Say, in_turn, report, serving
from tests.workbench.cli.conftest import ROOT, environment
from tests.workbench.engine.processes import engine_process
from workbench.locations import HOME_VARIABLE

CUTS = 100
ORDERS = ("load", "measure", "steer", "agent")
ASKS = ("ask", {"prompts": ["How was your day?"], "max_new_tokens": 6})


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_hundred_cut_links_lose_no_event_and_stop_no_job(tmp_path):
    chance = random.Random(16)
    cuts = [
        f"{ORDERS[number % len(ORDERS)]} {chance.choice((0, 1, 1, 2, 3, 5, 8))}\n"
        for number in range(CUTS)
    ]
    script = in_turn(Say("", [ASKS]), Say("", [report()]))
    with (
        serving(script) as endpoint,
        engine_process(
            tmp_path, variables={"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": endpoint.url}
        ) as engine,
    ):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.workbench.engine.cutting"),
                *(engine.socket, tmp_path / "sessions.db"),
            ],
            input="".join(["measure 1\n", *cuts]),
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=environment(**{HOME_VARIABLE: str(tmp_path)}),
        )
        assert done.returncode == 0, done.stderr
        told = done.stdout.split("\n")[:-1]
        assert len(told) == CUTS + 1, done.stdout[-200:] + done.stderr[-2_000:]
        ordered = {job for job in told if job != "-"}
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
