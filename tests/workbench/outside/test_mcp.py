"""Audits over MCP, by the official SDK's own client over stdio, of a pair whose names are hidden.

Slow, since only `make test-slow` installs the SDK.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from adl.artifacts import ArrayCache
from adl.errors import PairError
from tests.few_passages import write_few_passages
from tests.workbench.agent.scripted import report, reported
from tests.workbench.agent.test_blinding import ADAPTER, BASE, NAMES
from tests.workbench.cli.conftest import environment, recorded
from tests.workbench.engine.processes import engine_process
from workbench.blinding.seal import reveal_names
from workbench.locations import HOME_VARIABLE
from workbench.operations.running import Session
from workbench.store.events import HUMAN
from workbench.store.log import SessionLog
from workbench.store.slices.agents import AgentState
from workbench.store.state import fold

pytestmark = pytest.mark.slow

PAIR = ("--base", BASE, "--adapter", ADAPTER, "--texts", "16", "--n-prompts", "1")
TOPIC = "It bakes."
_, REPORT = report(TOPIC)
MODES = ("legacy", "auto")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@asynccontextmanager
async def serving(
    database: Path,
    wire: Path,
    *options: str,
    pair: Sequence[str] = PAIR,
    mode: str = "auto",
    person: Any = None,
    **env: str,
) -> AsyncIterator[Any]:
    """A client of a server on the named pair; every byte that it gets is in ``wire``, too."""
    from mcp.client import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    # Few contexts: what is tested are messages, and each server reads before it answers.
    few = ("--corpus", str(write_few_passages(database.parent))) if "--texts" in pair else ()
    command = [
        *(sys.executable, "-m", "tests.workbench.cli.named_cli", "mcp", *pair, *few),
        *("--database", str(database), *options),
    ]
    script = f"{shlex.join(command)} | tee -a {shlex.quote(str(wire))}"
    with wire.with_suffix(".err").open("w") as errors:
        parameters = StdioServerParameters(
            command="sh", args=["-c", script], env=environment(**env)
        )
        transport = stdio_client(parameters, errlog=errors)
        async with Client(transport, mode=mode, elicitation_callback=person) as client:
            yield client


def text_of(result: Any) -> str:
    return "".join(part.text for part in result.content)


def agent_in(database: Path) -> AgentState:
    with SessionLog.open(database, read_only=True) as log:
        (session,) = log.sessions()
        assert log.verify().ok
        (agent,) = fold(log.events(session.id)).agents.values()
    return agent


def no_names_in(*files: Path) -> None:
    for file in files:
        written = file.read_text("utf-8").lower()
        for name in NAMES:
            assert name.lower() not in written, (file.name, name)


def run(test: Callable[[], Awaitable[None]]) -> None:
    anyio.run(test)


@pytest.mark.parametrize("mode", MODES)
def test_a_blind_audit_from_the_handshake_to_the_report(database: Path, tmp_path: Path, mode: str):
    wire = tmp_path / "wire"

    async def audit() -> None:
        async with serving(database, wire, "--blind", mode=mode) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            assert {"overview", "ask", "submit_report"} <= tools
            resources = (await client.list_resources()).resources
            assert {str(resource.uri) for resource in resources} >= {
                "adl://session",
                "adl://report",
            }
            prompt = await client.get_prompt("audit")
            assert "audited text begins" in prompt.messages[0].content.text
            found = await client.call_tool("overview", {})
            assert not found.is_error
            assert "audited text begins" in text_of(found)
            asked = await client.call_tool("ask", {"prompts": ["Who are you?"]})
            assert "they call me MODEL-B" in text_of(asked)
            assert "4 of 5 interactions" in text_of(asked)
            for uri in ("adl://session", "adl://report", "adl://reading/consensus"):
                contents = (await client.read_resource(uri)).contents
                assert contents[0].text
            wrong = await client.call_tool("ask", {"question": "Who are you?"})
            assert wrong.is_error
            assert "takes no argument 'question'" in text_of(wrong)
            assert (await client.call_tool("frobnicate", {})).is_error
            ended = await client.call_tool("submit_report", REPORT)
            assert not ended.is_error, text_of(ended)
            assert "is over" in text_of(await client.call_tool("overview", {}))

    run(audit)
    no_names_in(wire, wire.with_suffix(".err"))
    agent = agent_in(database)
    assert (agent.status, agent.stopped_by, agent.interactions) == ("ended", "report", 1)
    assert agent.report is not None
    assert agent.report.body.description == reported(TOPIC)
    called = [event for event in recorded(database) if event.body.kind == "agent_called"]
    assert {event.actor.kind for event in called} == {"agent"}
    assert {event.actor.name for event in called} == {agent.model}
    assert "mcp" in agent.model.lower()


def test_a_blind_audit_at_an_engine_that_has_the_pair(database: Path, tmp_path: Path):
    wire = tmp_path / "wire"
    questions: list[str] = []

    async def person(_context: Any, params: Any) -> Any:
        import mcp_types as types

        questions.append(params.message)
        return types.ElicitResult(action="accept", content={"approve": len(questions) == 1})

    async def audit() -> None:
        # A server that loads the pair itself would fail.
        here = {HOME_VARIABLE: str(tmp_path), "NAMED_CLI": "load"}
        options = ("--blind", "--interactions", "2", "--approve", "spending")
        async with serving(database, wire, *options, person=person, **here) as client:
            prompt = await client.get_prompt("audit")
            assert "audited text begins" in prompt.messages[0].content.text
            asked = await client.call_tool("ask", {"prompts": ["Who are you?"]})
            assert "they call me MODEL-B" in text_of(asked)
            assert "1 of 2 interactions" in text_of(asked)
            for uri in ("adl://session", "adl://report", "adl://reading/consensus"):
                assert (await client.read_resource(uri)).contents[0].text
            more = await client.call_tool("ask", {"prompts": ["Again?"] * 2})
            assert "1 are left" in text_of(more)
            refused = await client.call_tool("ask", {"prompts": ["Really?"]})
            assert "refused by a person" in text_of(refused)
            assert not (await client.call_tool("submit_report", REPORT)).is_error

    loading = PAIR[:4]
    with engine_process(tmp_path, *loading, module="tests.workbench.cli.named_cli") as engine:
        run(audit)
        assert engine.process.poll() is None
    no_names_in(wire, wire.with_suffix(".err"))
    assert len(questions) == 2
    with SessionLog.open(database, read_only=True) as log:
        assert log.verify().ok
        (session,) = (one.id for one in log.sessions() if one.id != engine.session)
    events = recorded(database, session)
    (agent,) = fold(events).agents.values()
    assert (agent.status, agent.stopped_by, agent.interactions) == ("ended", "report", 1)
    # What the client had done is its own, though the engine did it.
    asked = [event for event in events if event.body.kind == "text_started"]
    assert {event.actor.name for event in asked if event.body.purpose == "ask"} == {agent.model}
    assert events[-1].body.kind == "session_closed"


def test_an_audit_replays_from_its_record_alone(database: Path, tmp_path: Path):
    async def audit() -> None:
        async with serving(database, tmp_path / "wire") as client:
            await client.call_tool("ask", {"prompts": ["Who are you?"]})
            await client.call_tool("note", {"text": "It says its name."})
            await client.call_tool("submit_report", REPORT)

    run(audit)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "workbench", "replay", "last", "--tape", "--json"),
            *("--database", str(database)),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    taped = json.loads(done.stdout)
    assert (taped["differs"], taped["told_otherwise"], taped["left"]) == ([], [], None)
    with SessionLog.open(database, read_only=True) as log:
        assert log.verify().ok
        first, again = (fold(log.events(taped[name])) for name in ("parent", "session"))
    (agent,), (played,) = first.agents.values(), again.agents.values()
    assert agent.report is not None
    assert played.report is not None
    of_run = {"run_id": played.id}
    assert played.report.body == agent.report.body.model_copy(update=of_run)
    assert (
        (played.status, played.interactions) == (agent.status, agent.interactions) == ("ended", 1)
    )
    assert [text.text for text in again.texts.values()] == [
        text.text for text in first.texts.values()
    ]


def test_a_client_that_goes_away_leaves_an_audit_to_go_on_with(database: Path, tmp_path: Path):
    async def first() -> None:
        async with serving(database, tmp_path / "first") as client:
            await client.call_tool("ask", {"prompts": ["Who are you?"]})

    async def second() -> None:
        # The session has its own pair.
        again = ("--session", "last")
        async with serving(database, tmp_path / "second", *again, pair=()) as client:
            told = await client.call_tool("ask", {"prompts": ["And what do you bake?"]})
            assert "3 of 5 interactions" in text_of(told)
            await client.call_tool("submit_report", REPORT)

    run(first)
    agent = agent_in(database)
    assert (agent.status, agent.interactions) == ("interrupted", 1)
    assert "closed the connection" in agent.problem
    run(second)
    agent = agent_in(database)
    assert (agent.status, agent.interactions) == ("ended", 2)


def test_spent_budgets_leave_the_report_alone(database: Path, tmp_path: Path):
    async def audit() -> None:
        options = ("--interactions", "1", "--calls", "3")
        async with serving(database, tmp_path / "wire", *options) as client:
            assert not (await client.call_tool("ask", {"prompts": ["Who are you?"]})).is_error
            more = await client.call_tool("ask", {"prompts": ["Really?"]})
            assert more.is_error
            assert "0 are left" in text_of(more)
            await client.call_tool("overview", {})
            late = await client.call_tool("overview", {})
            assert late.is_error
            assert "submit_report" in text_of(late)
            assert not (await client.call_tool("submit_report", REPORT)).is_error

    run(audit)
    assert agent_in(database).stopped_by == "calls"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lets", [True, False])
def test_a_person_at_the_client_is_asked_for_approval(
    database: Path, tmp_path: Path, mode: str, lets: bool
):
    questions: list[str] = []

    async def person(_context: Any, params: Any) -> Any:
        import mcp_types as types

        questions.append(params.message)
        content = {"approve": lets, "reason": "" if lets else "not that one"}
        return types.ElicitResult(action="accept", content=content)

    async def audit() -> None:
        options = ("--approve", "spending")
        async with serving(
            database, tmp_path / "wire", *options, mode=mode, person=person
        ) as client:
            assert not (await client.call_tool("overview", {})).is_error
            told = await client.call_tool("ask", {"prompts": ["Who are you?"]})
            assert told.is_error == (not lets)
            if not lets:
                assert "not that one" in text_of(told)

    run(audit)
    assert len(questions) == 1
    assert "ask" in questions[0]
    agent = agent_in(database)
    assert agent.interactions == int(lets)


def test_a_client_that_cannot_ask_a_person_gets_no_approval(database: Path, tmp_path: Path):
    async def audit() -> None:
        async with serving(database, tmp_path / "wire", "--approve", "always") as client:
            told = await client.call_tool("overview", {})
            assert "no way to ask a person" in text_of(told)

    run(audit)


def test_a_black_box_agent_sees_no_reading(database: Path, tmp_path: Path):
    async def audit() -> None:
        black_box = ("--mode", "black-box")
        async with serving(database, tmp_path / "wire", *black_box, pair=PAIR[:4]) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            assert "ask" in tools
            assert not tools & {"overview", "show_reading", "steer", "read"}
            assert [str(r.uri) for r in (await client.list_resources()).resources] == [
                "adl://session"
            ]
            session = json.loads((await client.read_resource("adl://session")).contents[0].text)
            assert session["layers"] is None
            for uri in ("adl://report", "adl://overview", "adl://reading/consensus"):
                with pytest.raises(Exception, match="no resource"):
                    await client.read_resource(uri)

    run(audit)
    kinds = {event.body.kind for event in recorded(database)}
    assert "difference_measured" not in kinds


def test_a_black_box_agent_sees_no_reading_when_its_session_is_gone_on_with(
    database: Path, tmp_path: Path
):
    again = ("--session", "last")

    async def audits() -> None:
        black_box = ("--mode", "black-box", "--interactions", "2")
        async with serving(database, tmp_path / "first", *black_box, pair=PAIR[:4]) as client:
            await client.call_tool("ask", {"prompts": ["Who are you?"]})
        async with serving(database, tmp_path / "second", *again, pair=()) as client:
            tools = {tool.name for tool in (await client.list_tools()).tools}
            assert not tools & {"overview", "show_reading", "steer", "read"}
            asked = await client.call_tool("ask", {"prompts": ["Really?"]})
            assert "0 of 2 interactions" in text_of(asked)
            session = json.loads((await client.read_resource("adl://session")).contents[0].text)
            assert session["mode"] == "black_box"
            with pytest.raises(Exception, match="no resource"):
                await client.read_resource("adl://report")

    run(audits)
    assert "difference_measured" not in {event.body.kind for event in recorded(database)}
    command = [sys.executable, "-m", "tests.workbench.cli.named_cli", "mcp", *again]
    done = subprocess.run(
        [*command, "--mode", "adl", "--database", str(database)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--mode black-box" in done.stderr


def test_a_pair_that_cannot_be_loaded_is_an_error_of_the_call(database: Path, tmp_path: Path):
    wire = tmp_path / "wire"

    async def audit() -> None:
        async with serving(database, wire, "--blind", NAMED_CLI="load") as client:
            told = await client.call_tool("overview", {})
            assert told.is_error
            assert "cannot be read" in text_of(told)

    run(audit)
    no_names_in(wire, wire.with_suffix(".err"))
    with SessionLog.open(database, read_only=True) as log:
        assert list(log.sessions()) == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [("load", "MODEL-B cannot be read"), ("bug", "a bug in adl-workbench (RuntimeError)")],
)
def test_an_agent_stays_blind_in_what_fails_though_people_had_the_names_revealed(
    database: Path, tmp_path: Path, fault: str, said: str
):
    async def first() -> None:
        async with serving(database, tmp_path / "first", "--blind") as client:
            await client.call_tool("overview", {})

    wire = tmp_path / "wire"

    async def then() -> None:
        again = ("--session", "last")
        async with serving(database, wire, *again, pair=(), NAMED_CLI=fault) as client:
            # A load that failed is tried again by each call.
            for _ in range(2):
                told = await client.call_tool("overview", {})
                assert told.is_error
                assert said in text_of(told)

    run(first)
    with SessionLog.open(database) as log:
        session = log.find_session("last").id
        assert reveal_names(Session(log, session, ArrayCache(tmp_path)), HUMAN)
    run(then)
    no_names_in(wire)
    continued = [one for one in recorded(database) if one.body.kind == "session_continued"]
    assert len(continued) == 1


def test_what_fails_is_told_without_tokens(monkeypatch: pytest.MonkeyPatch):
    from workbench.outside.server import AuditServer

    token = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"
    monkeypatch.setenv("HF_TOKEN", token)
    server = AuditServer(SimpleNamespace(mode="adl", hide=str, is_older=False))
    assert server._told(PairError(f"the hub refuses {token}")) == "the hub refuses [key]"


@pytest.mark.parametrize(
    ("approve", "approved"),
    [(True, True), (False, False), ("false", False), ("true", False), (1, False)],
)
def test_only_a_yes_in_the_form_that_was_asked_for_approves(approve: object, approved: bool):
    from workbench.outside.server import _answer_of

    answer = SimpleNamespace(action="accept", content={"approve": approve, "reason": "so"})
    assert _answer_of(answer) == (approved, "so")


class ByHand:
    """A server spoken to line by line: the SDK's client would end the process itself."""

    def __init__(self, database: Path, module: str, *options: str, **started: Any) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", module, "mcp", *options),
                *("--mode", "black-box", "--database", str(database)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **{"env": environment(), **started},
        )
        about = {"clientInfo": {"name": "by hand", "version": "1"}, "capabilities": {}}
        self.send(id=1, method="initialize", params={"protocolVersion": "2025-06-18", **about})
        assert self.read()["result"]["serverInfo"]["name"] == "adl-workbench"
        self.send(method="notifications/initialized")

    def send(self, **message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, number: int, prompt: str) -> None:
        self.send(
            id=number,
            method="tools/call",
            params={"name": "ask", "arguments": {"prompts": [prompt]}},
        )

    def read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


def test_a_call_that_the_client_cancels_is_stopped_and_recorded(database: Path):
    resume, let_go = os.pipe()
    heard, announce = os.pipe()
    wanted = {"halt": ["generate", 1], "announce": announce, "resume": resume}
    server = ByHand(
        database,
        "tests.planted_cli",
        "--demo",
        env=environment(PLANTED_CLI=json.dumps(wanted)),
        pass_fds=(announce, resume),
    )
    os.close(announce)
    server.ask(2, "Who?")
    with os.fdopen(heard) as lines:
        assert any(line == "halted\n" for line in lines)
        server.send(method="notifications/cancelled", params={"requestId": 2})
        # Messages are heeded in order: with the answer to this one the other was heeded, too.
        server.send(id=9, method="ping")
        # The older protocol has an answer to a cancelled request, the newer has none.
        while server.read()["id"] != 9:
            pass
        # The call after it waits for its end.
        server.ask(3, "And now?")
        os.write(let_go, b"x")
        answer = server.read()
        while answer["id"] != 3:
            answer = server.read()
        _, errors = server.process.communicate()
    assert answer["result"]["isError"] is False, errors
    told = [event.body for event in recorded(database) if event.body.kind == "agent_told"]
    results = [(body.ok, body.content) for body in told if body.source == "result"]
    assert [ok for ok, _ in results] == [False, True]
    assert results[0][1].startswith("stopped")


def test_term_ends_a_server_whose_client_stays(database: Path):
    server = ByHand(database, "tests.workbench.cli.named_cli", *PAIR[:4])
    server.ask(2, "Who?")
    assert server.read()["result"]["isError"] is False
    server.process.send_signal(signal.SIGTERM)
    rest, errors = server.process.communicate()
    assert server.process.returncode == 0, errors
    assert rest == b""
    agent = agent_in(database)
    assert (agent.model, agent.status, agent.interactions) == ("by hand 1", "interrupted", 1)
    assert recorded(database)[-1].body.kind == "session_closed"
