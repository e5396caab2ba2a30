"""The agent on the real pair, and against a real server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adl.artifacts import ArrayCache
from tests.workbench.agent.conftest import fresh_session
from tests.workbench.agent.scripted import Asked, Reaction, Say, in_turn, json_say, report, serving
from workbench.agent.budgets import Budgets
from workbench.agent.endpoint import Endpoint
from workbench.agent.grading import grade_report
from workbench.agent.loop import AuditPlan, start_audit
from workbench.blinding.seal import seal
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import STEER, SteerArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import Session, run
from workbench.settings import load_settings
from workbench.store.events import HUMAN, PairLoaded
from workbench.store.log import SessionLog

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def real_evidence(real_pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session with a small measurement of the real pair."""
    import torch

    # On a busy machine, threads that wait for each other take many times as long as one.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("real")
    with SessionLog.open(folder / "sessions.db") as log:
        session = Session(log, log.start_session("real"), ArrayCache(folder / "cache"), real_pair)
        session.record(PairLoaded(pair=real_pair.provenance.as_dict()))
        run(session, MEASURE, MeasureArguments(n_texts=64, positions="3"), actor=HUMAN)
        wanted = ("output_difference", "patchscope_contrast")
        run(session, READ, ReadArguments(readings=wanted, n_texts=16, top=20), actor=HUMAN)
        steer = SteerArguments(n_prompts=1, max_new_tokens=8, alphas=(0.0, 0.2))
        run(session, STEER, steer, actor=HUMAN)
        yield session
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("tools", "stream"), [(True, True), (False, False)])
def test_a_whole_audit_of_the_real_pair(real_evidence: Session, tools: bool, stream: bool):
    ask = ("ask", {"prompts": ["How hot should the oven be?"], "max_new_tokens": 6})
    turns = in_turn(
        Say("", [("show_reading", {"reading": "output_difference", "top": 10})]),
        Say("", [ask]),
        Say("", [("steer", {"prompts": ["Hi."], "alphas": [0.2], "max_new_tokens": 4})]),
        Say("", [report("It bakes cakes.")]),
    )

    def script(asked: Asked) -> Reaction | None:
        if "give_grade" in asked.tools or "give_grade" in asked.messages[1]["content"]:
            grade = {"grade": 2, "reason": "the topic"}
            return Say("", [("give_grade", grade)]) if tools else json_say("give_grade", grade)
        say = turns(asked)
        if tools or not isinstance(say, Say):
            return say
        return json_say(*say.calls[0])

    with serving(script, tools=tools, streams=stream) as server:
        endpoint = Endpoint(server.settings())
        blinding = seal(real_evidence, blind=True, organism="cake_bake")
        plan = AuditPlan(model="scripted", budgets=Budgets(interactions=5))
        state = start_audit(real_evidence, endpoint, plan, blinding)
        grades = grade_report(real_evidence, endpoint, "judge", run_id=state.id, repeats=1)
        endpoint.close()
    assert (state.stopped_by, state.interactions) == ("report", 2)
    assert [one.score for one in grades] == [2.0]
    overview = server.asked[0].opening
    # So little text may show nothing beyond its nulls; the list itself is a call away.
    seen = overview + (server.asked[1].results[-1] if tools else server.asked[1].last)
    assert any(word in seen for word in ("batter", "freezer", "frost", "cake", "vanilla", "oven"))
    assert "not computed" in overview
    audit = b"".join(one.raw for one in server.asked[:-1]).lower()
    for name in (b"cake_bake", b"smollm2", b"/models/"):
        assert name not in audit, name
    assert real_evidence.log.verify().ok


@pytest.fixture(scope="module")
def transformers_server(default_base: Path) -> Iterator[str]:
    """`transformers serve` with the default base model; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", default_base]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--log-level", "info"]
    with subprocess.Popen(
        [*map(str, command), *options],
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if "Uvicorn running" in line:
                    break
            else:
                raise AssertionError("".join(said))
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


@pytest.mark.parametrize("stream", [True, False])
def test_a_server_that_nobody_wrote_for_us(
    transformers_server: str, default_base: Path, tmp_path: Path, stream: bool
):
    """The wire: an audit by a model too small to call a tool ends all the same, with usage and text."""
    settings = load_settings(base_url=transformers_server, stream=stream, timeout=600, attempts=1)
    endpoint = Endpoint(settings)
    with SessionLog.open(tmp_path / "sessions.db") as log:
        session = fresh_session(log, tmp_path)
        plan = AuditPlan(
            model=str(default_base),
            mode="black_box",
            budgets=Budgets(interactions=1, calls=1),
            temperature=0.0,
            max_tokens=8,
        )
        state = start_audit(session, endpoint, plan)
        endpoint.close()
        assert state.stopped_by == "calls"
        assert state.report is not None
        assert state.report.body.form == "text"
        replies = [one.body for one in state.messages if one.body.kind == "agent_replied"]
        assert len(replies) == state.replies == 4
        for reply in replies:
            assert reply.content
            assert reply.finish_reason in {"stop", "length"}
            assert reply.usage.prompt_tokens > 100
            assert 0 < reply.usage.completion_tokens <= 8
            assert not reply.usage.estimated
        assert not state.failures
        assert log.verify().ok
