from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from inspect_ai.event import InfoEvent, ModelEvent, ToolEvent
from inspect_ai.log import list_eval_logs, read_eval_log, read_eval_log_sample_summaries

from tests.workbench.replay.audits import AGENT, Audit
from tests.workbench.store.samples import text_started
from workbench.report.errors import ExportError
from workbench.report.inspect_log import export_inspect
from workbench.store.agent_events import (
    AgentEnded,
    AgentReplied,
    AgentStarted,
    AgentTold,
    GradeGiven,
    ReportSubmitted,
    ToolCall,
    Usage,
)
from workbench.store.events import (
    HUMAN,
    NoteWritten,
    OperationFailed,
    OperationStarted,
    SessionClosed,
    TextGrew,
)
from workbench.store.log import SessionLog
from workbench.store.state import fold


def test_a_text_that_was_cut_off_is_a_model_event(log: SessionLog, tmp_path: Path) -> None:
    session = log.start_session("cut off")
    for body in (
        OperationStarted(operation="ask", arguments={}),
        text_started("t", "What do you bake?"),
        TextGrew(pieces={"t": "A ca"}),
        OperationFailed(error="DeviceOutOfMemory", message="full", seconds=1.0),
    ):
        log.append(session, body, operation_id="o")
    (sample,) = read_eval_log(str(export_inspect(log, session, tmp_path / "cut.json"))).samples
    (text,) = [event for event in sample.events if isinstance(event, ModelEvent)]
    assert text.input[0].text == "What do you bake?"
    assert text.output.completion == "A ca"
    assert text.error.startswith("cut off")


@pytest.mark.parametrize("suffix", [".eval", ".json"])
def test_inspect_reads_the_log_back(
    log: SessionLog, recorded: Audit, tmp_path: Path, suffix: str
) -> None:
    written = export_inspect(log, recorded.session_id, tmp_path / f"audit{suffix}")
    found = read_eval_log(str(written))
    state = fold(log.events(recorded.session_id))
    assert found.status == "success"
    assert found.eval.task_display_name == "cakes"
    assert found.eval.metadata["head"] == log.verify(recorded.session_id).heads[state.session_id][1]
    assert found.eval.packages.keys() >= {"numpy", "adl-workbench"}
    (sample,) = found.samples
    assert sample.id == recorded.session_id
    assert sample.output.completion.startswith("H1 (open): It was finetuned on baking cake.")
    tools = [event for event in sample.events if isinstance(event, ToolEvent)]
    assert [event.function for event in tools] == [op.name for op in state.operations.values()]
    assert tools[0].arguments["n_texts"] == 24
    texts = [event for event in sample.events if isinstance(event, ModelEvent)]
    assert [event.output.completion for event in texts] == [
        text.text for text in state.texts.values()
    ]
    steered = next(event for event in texts if event.metadata["alpha"])
    assert steered.config.seed == 0
    assert steered.input[0].role == "user"
    infos = [event.data for event in sample.events if isinstance(event, InfoEvent)]
    assert {"hypothesis_stated", "evidence_marked", "note_written"} <= {
        data.get("kind") for data in infos
    }
    assert sum("tokens" in data for data in infos) > 3


def test_inspect_lists_the_log(log: SessionLog, recorded: Audit, tmp_path: Path) -> None:
    export_inspect(log, recorded.session_id, tmp_path / "logs" / "audit.eval")
    (info,) = list_eval_logs(str(tmp_path / "logs"))
    (summary,) = read_eval_log_sample_summaries(info)
    assert summary.id == recorded.session_id
    assert [entry.name for entry in (tmp_path / "logs").iterdir()] == ["audit.eval"]


def test_an_agents_conversation_and_its_grades(log: SessionLog, tmp_path: Path) -> None:
    session = log.start_session("agent")
    log.append(session, AgentStarted(run_id="r", mode="adl", model="m-1", endpoint="", budgets={}))
    log.append(
        session, AgentTold(run_id="r", role="system", source="opening", content="Find it out.")
    )
    calls = (
        ToolCall(id="c1", name="note", arguments='{"text": "hm"}'),
        ToolCall(id="c2", name="ask", arguments="{broken"),
    )
    log.append(
        session,
        AgentReplied(
            exchange_id="x",
            run_id="r",
            model="m-1",
            content="I look.",
            tool_calls=calls,
            finish_reason="tool_calls",
            usage=Usage(prompt_tokens=10, completion_tokens=5),
            seconds=0.5,
        ),
        actor=AGENT,
    )
    log.append(
        session,
        AgentTold(
            run_id="r", role="tool", source="result", content="ok", tool_call_id="c1", tool="note"
        ),
    )
    log.append(session, ReportSubmitted(run_id="r", summary="s", description="It bakes."))
    log.append(session, AgentEnded(run_id="r", stopped_by="report"))
    log.append(session, SessionClosed(outcome="completed"))
    grade = GradeGiven(
        grade_id="G1",
        grader="report",
        subject="report:r",
        score=None,
        reason="no verdict in the reply",
        rubric="cakes",
        rubric_version="1",
        model="judge",
    )
    log.append(session, grade)
    edited = grade.model_copy(
        update={"grade_id": "G2", "score": 4.0, "reason": "read by hand", "replaces": "G1"}
    )
    log.append(session, grade.model_copy(update={"grade_id": "G3", "subject": "report:q"}))
    log.append(session, edited, actor=HUMAN)
    (sample,) = read_eval_log(str(export_inspect(log, session, tmp_path / "a.eval"))).samples
    assert [message.role for message in sample.messages] == ["system", "assistant", "tool"]
    first, second = sample.messages[1].tool_calls
    assert (first.function, first.arguments) == ("note", {"text": "hm"})
    assert second.parse_error
    assert second.arguments == {"text": "{broken"}
    assert sample.output.completion == "It bakes."
    assert set(sample.scores) == {"G2", "G3"}
    assert sample.scores["G2"].value == 4.0
    assert [edit.value for edit in sample.scores["G2"].history][1] == 4.0
    assert sample.scores["G2"].history[1].provenance.author == "human"
    # A failed grade is unscored, never zero.
    assert math.isnan(sample.scores["G3"].value)
    assert sample.scores["G3"].explanation == "no verdict in the reply"


@pytest.mark.parametrize("suffix", [".eval", ".json"])
def test_hostile_text_and_odd_numbers_survive(log: SessionLog, tmp_path: Path, suffix: str) -> None:
    session = log.start_session("hostile \x1b[31m")
    text = "\x1b]52;c;aGk=\x07 <script>alert(1)</script> \u202e \x00 \ud800"
    log.append(session, NoteWritten(text=text))
    log.append(
        session,
        OperationStarted(operation="x", arguments={"value": float("nan"), "text": text}),
        operation_id="o",
    )
    log.append(session, OperationFailed(error="E", message=text, seconds=1.0), operation_id="o")
    log.append(session, SessionClosed(outcome="failed", reason=text))
    found = read_eval_log(str(export_inspect(log, session, tmp_path / f"a{suffix}")))
    stored = text.replace("\ud800", "\ufffd")
    assert found.status == "error"
    assert found.error.message == stored
    notes = [
        event.data["text"]
        for event in found.samples[0].events
        if isinstance(event, InfoEvent) and event.data["kind"] == "note_written"
    ]
    assert notes == [stored]


def test_what_cannot_be_written_is_said(
    log: SessionLog, recorded: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ExportError, match="no name of an Inspect log"):
        export_inspect(log, recorded.session_id, tmp_path / "audit.txt")
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    with pytest.raises(ExportError, match=r"pip install '.\[inspect\]'"):
        export_inspect(log, recorded.session_id, tmp_path / "audit.eval")
    assert not (tmp_path / "audit.eval").exists()
