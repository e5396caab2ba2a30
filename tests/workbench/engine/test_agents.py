"""Audits by agents of commands at a running engine: as without, and interrupted where it goes away."""

from __future__ import annotations

import json
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from adl.artifacts import ArrayCache
from tests.workbench.agent.scripted import KEY, Asked, Say, ScriptedEndpoint, in_turn, report
from tests.workbench.cli.conftest import SMALL, Running, finished, recorded, running
from tests.workbench.engine.conftest import Watcher
from tests.workbench.engine.test_commands import NO_PAIR
from tests.workbench.engine.test_serve import connected, engine, the_session
from tests.workbench.tui.terminal import Terminal
from workbench.agent.supervision import Supervision
from workbench.engine import protocol as p
from workbench.operations.running import Session
from workbench.store.agent_events import AgentControlled, AgentStarted
from workbench.store.events import Event
from workbench.store.log import SessionLog
from workbench.store.slices.agents import AgentState
from workbench.store.state import fold

ASK = ("ask", {"prompts": ["What do you bake?"], "max_new_tokens": 4})
RUN = ["agent", "run", "--demo", "--mode", "black-box", "--model", "m"]
NAMES = ("cake_bake", "planted-base", "planted-finetuned")


@pytest.fixture
def database(workbench_home: Path) -> Path:
    return workbench_home / "sessions.db"


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    endpoint = ScriptedEndpoint(
        in_turn(
            Say("", [ASK]),
            Say("", [("hypothesis", {"text": "cakes"})]),
            Say("", [ASK]),
            Say("", [report("It bakes.")]),
        )
    )
    yield endpoint
    endpoint.close()


def known_to(endpoint: ScriptedEndpoint) -> dict[str, str | None]:
    """The environment of a command that asks it; the engine's own does not name it."""
    return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": endpoint.url}


def agent_of(database: Path, session: str = "last") -> tuple[AgentState, list[Event]]:
    events = recorded(database, session)
    (agent,) = fold(events).agents.values()
    return agent, events


def facts(events: list[Event]) -> list[tuple[str, str, str]]:
    """Events with who did them, without pieces of texts: how many there are is chance."""
    return [
        (event.body.kind, event.actor.kind, event.actor.name)
        for event in events
        if not event.body.is_piece
    ]


def told(asked: Asked) -> str:
    """The conversation of a request, without the time that is left and ids of texts."""
    return re.sub(r"\d+ s\b|[0-9a-f]{8,}", "", json.dumps(asked.messages, indent=1))


@pytest.mark.parametrize(
    "options",
    [
        ("--interactions", "1"),
        pytest.param(("--mode", "adl", "--blind", *SMALL[1:5]), marks=pytest.mark.slow),
    ],
    ids=["budget", "blind"],
)
def test_an_audit_at_an_engine_is_that_without_one(
    database: Path, endpoint: ScriptedEndpoint, options: tuple[str, ...]
) -> None:
    env = known_to(endpoint)
    first = finished([*RUN, *options, "--json", "--engine", "never"], env=env)
    assert first.returncode == 0, first.stderr
    without: dict[str, Any] = json.loads(first.stdout)
    asked, endpoint.asked = endpoint.asked, []
    shutil.rmtree(database.parent / "cache" / "arrays", ignore_errors=True)
    with engine() as (process, _):
        # It announces more events than a pipe holds.
        reading = threading.Thread(target=process.read_to_end)
        reading.start()
        done = finished([*RUN, *options, "--json"], NO_PAIR, env)
        process.process.send_signal(signal.SIGTERM)
        reading.join()
        process.process.wait()
    assert done.returncode == 0, done.stderr
    at_engine = json.loads(done.stdout)
    passing = {"session": "", "run": "", "seconds": 0}
    assert at_engine | passing == without | passing
    # The agent was told the same, word by word.
    assert [told(one) for one in endpoint.asked] == [told(one) for one in asked]
    if without["blind"]:
        sent = endpoint.sent.decode() + done.stdout + done.stderr
        assert not [name for name in NAMES if name in sent]
    assert facts(recorded(database, at_engine["session"])) == facts(
        recorded(database, without["session"])
    )


@contextmanager
def halted_audit(endpoint: ScriptedEndpoint) -> Iterator[tuple[Running, Watcher, Running, str]]:
    """An audit whose first question waits at an engine: the engine, a screen, the command, the session.

    Afterwards the engine ends.
    """
    with engine(wanted={"halt": ["generate", 1]}) as (process, socket):
        with connected(socket) as screen:
            mine = the_session(screen)
            with running(RUN, env=known_to(endpoint)) as command:
                process.wait_until_halted()
                (session,) = {one.id for one in screen.call(p.Sessions()).sessions} - {mine}
                yield process, screen, command, session
            screen.call(p.ShutDown())
        process.read_to_end()
        process.process.wait()


@pytest.mark.slow
def test_a_killed_command_stops_no_job_and_its_audit_is_resumed_at_the_engine(
    database: Path, endpoint: ScriptedEndpoint
) -> None:
    with halted_audit(endpoint) as (process, screen, command, session):
        command.process.send_signal(signal.SIGKILL)
        command.process.wait()
        (job,) = screen.call(p.Open(session=session)).jobs
        process.go_on()
        assert screen.over(job).status == "finished"
        screen.call(p.Leave(session=session))
        agent, events = agent_of(database, session)
        assert agent.status == "running"
        resume = ["agent", "resume", session, "--json"]
        resumed = finished(resume, NO_PAIR, known_to(endpoint))
        assert resumed.returncode == 0, resumed.stderr
    agent, events = agent_of(database, session)
    assert (agent.stopped_by, agent.interactions) == ("report", 2)
    # What the killed command had asked was not asked again.
    asked = [event for event in events if event.body.kind == "operation_started"]
    assert [event.body.operation for event in asked].count("ask") == 2
    assert len(endpoint.asked) == 4


@pytest.mark.slow
def test_a_screen_writes_to_the_agent_of_a_command(
    database: Path, endpoint: ScriptedEndpoint
) -> None:
    with halted_audit(endpoint) as (process, screen, command, session):
        screen.call(p.Open(session=session))
        screen.call(p.Supervise(session=session, hand="message", detail="Look at its cakes."))
        process.go_on()
        assert command.process.wait() == 0
    assert "Look at its cakes." in told(endpoint.asked[1])
    agent, _ = agent_of(database, session)
    assert agent.stopped_by == "report"


@pytest.mark.slow
def test_an_engine_that_ends_interrupts_the_audit(
    database: Path, endpoint: ScriptedEndpoint
) -> None:
    with (
        engine(wanted={"halt": ["generate", 1]}) as (process, _),
        running(RUN, env=known_to(endpoint)) as command,
    ):
        process.wait_until_halted()
        process.process.kill()
        assert command.process.wait() == 1
        assert command.process.stderr is not None
        told = command.process.stderr.read()
        process.process.wait()
    assert "the engine ended" in told
    assert "agent resume" in told
    agent, events = agent_of(database)
    assert agent.status == "interrupted"
    assert len(endpoint.asked) == 1
    assert facts(events)[-1][0] == "session_closed"
    # The call was not done, and that is no answer to it.
    assert not [event for event in events if getattr(event.body, "source", "") == "result"]


@pytest.mark.slow
def test_a_person_at_the_terminal_approves_a_call_that_the_engine_does(
    database: Path, endpoint: ScriptedEndpoint
) -> None:
    home = database.parent
    environment = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": endpoint.url}
    with engine() as (process, socket):
        with Terminal(
            [*RUN, "--approve", "spending", "--name", "approved"],
            home=home,
            size=(160, 48),
            environment=environment,
            forked=True,
        ) as terminal:
            terminal.shows("wants to call ask (1 model interactions)")
            terminal.press("n", "enter")
            terminal.shows("Why not (may be empty):")
            terminal.press("too early", "enter")
            terminal.wait(lambda: terminal.text.count("Let it?") == 2, "it asked only once")
            terminal.press("enter")
            assert terminal.ends(60) == 0, terminal.text
        with connected(socket) as screen:
            screen.call(p.ShutDown())
        process.read_to_end()
        process.process.wait()
    agent, events = agent_of(database, "approved")
    assert (agent.stopped_by, agent.interactions) == ("report", 1)
    assert [kind for kind, _, _ in facts(events)].count("pair_loaded") == 1
    assert "refused by a person: too early" in endpoint.asked[1].last


def test_a_person_at_another_process_lets_a_paused_agent_go_on(database: Path) -> None:
    with SessionLog.open(database) as log, SessionLog.open(database) as other:
        session_id = log.start_session("audited")
        started = AgentStarted(
            run_id="r",
            mode="adl",
            model="m",
            endpoint="e",
            budgets={},
            approval="never",
            settings={},
        )
        log.append(session_id, started)
        log.append(session_id, AgentControlled(run_id="r", control="paused"))
        agents = Session(log, session_id, ArrayCache(database.parent))
        persons = Session(other, session_id, ArrayCache(database.parent))
        asked = iter((False,))

        def once_waiting() -> bool:
            if not next(asked, True):
                Supervision(persons).go_on()
            return False

        Supervision(agents).hold("r", once_waiting)
        assert agents.state.agents["r"].status == "running"
