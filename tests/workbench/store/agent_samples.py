"""An agent's audit as it is recorded: refused once, asked, answered, graded, and the grade edited."""

from __future__ import annotations

from workbench.store.agent_events import (
    AgentCalled,
    AgentCompacted,
    AgentControlled,
    AgentEnded,
    AgentInterrupted,
    AgentMessaged,
    AgentNoticed,
    AgentReplied,
    AgentReplyGrew,
    AgentRequested,
    AgentRequestFailed,
    AgentResumed,
    AgentStarted,
    AgentTold,
    ApprovalAsked,
    ApprovalGiven,
    AuditSealed,
    AuditUnblinded,
    EvaluationCell,
    EvaluationStarted,
    GradeGiven,
    ReportSubmitted,
    ScaleJudged,
    ToolCall,
    Usage,
)
from workbench.store.events import HUMAN, Actor, EventBody
from workbench.store.log import SessionLog
from workbench.store.rows import Entry

AGENT = Actor(kind="agent", name="a model")
CALL = ToolCall(id="c1", name="ask", arguments='{"prompt": "Marzipan?"}')


def requested(attempt: int = 1) -> AgentRequested:
    return AgentRequested(
        exchange_id="x1",
        run_id="r1",
        model="a model",
        attempt=attempt,
        n_messages=2,
        messages_sha256="0" * 64,
        tools=("ask",),
        tool_mode="native",
    )


def replied(cost: float | None = 0.5) -> AgentReplied:
    return AgentReplied(
        exchange_id="x1",
        run_id="r1",
        model="a model",
        content="let me ask",
        tool_calls=(CALL,),
        finish_reason="tool_calls",
        usage=Usage(prompt_tokens=100, completion_tokens=20, cost=cost),
        seconds=1.5,
    )


def grade(grade_id: str, score: float | None, replaces: str | None = None) -> GradeGiven:
    return GradeGiven(
        grade_id=grade_id,
        grader="report",
        subject="report:r1",
        score=score,
        reason="names the pastry",
        rubric="SDF",
        rubric_version="1",
        replaces=replaces,
    )


def agent_audit() -> list[Entry]:
    bodies: list[tuple[EventBody, Actor | None]] = [
        (AuditSealed(organism="o", ground_truth_sha256="f" * 64, aliases={"cake": "X"}), None),
        (
            AgentStarted(
                run_id="r1",
                mode="adl",
                model="a model",
                endpoint="http://localhost/v1",
                budgets={"interactions": 5, "calls": None},
            ),
            None,
        ),
        (AgentTold(run_id="r1", role="system", source="opening", content="find out"), None),
        (AgentMessaged(run_id="r1", message_id="m1", text="look at layer 3"), HUMAN),
        (requested(), None),
        (AgentReplyGrew(exchange_id="x1", run_id="r1", attempt=1, text="let"), None),
        (
            AgentRequestFailed(
                exchange_id="x1",
                run_id="r1",
                attempt=1,
                error="dropped",
                message="the stream ended",
                retry_in=0.1,
            ),
            None,
        ),
        (requested(2), None),
        (replied(), None),
        (ApprovalAsked(run_id="r1", call_id="c1", tool="ask", arguments={}, spends=1), None),
        (ApprovalGiven(run_id="r1", call_id="c1", approved=True, reason="fine"), HUMAN),
        (AgentCalled(run_id="r1", call_id="c1", tool="ask", arguments={}, spends=1), AGENT),
        (AgentInterrupted(run_id="r1", error="Stopped", message="a key"), None),
        (AgentResumed(run_id="r1", model="b model", endpoint="http://localhost/v1"), None),
        (AgentCalled(run_id="r1", call_id="c1", tool="ask", arguments={}, spends=1), AGENT),
        (
            AgentTold(
                run_id="r1",
                role="tool",
                source="result",
                content="an answer",
                tool="ask",
                tool_call_id="c1",
            ),
            None,
        ),
        (
            AgentTold(
                run_id="r1", role="user", source="human", content="look at it", message_id="m1"
            ),
            None,
        ),
        (AgentControlled(run_id="r1", control="paused"), HUMAN),
        (AgentControlled(run_id="r1", control="continued"), HUMAN),
        (AgentControlled(run_id="r1", control="policy", detail="always"), HUMAN),
        (
            AgentCompacted(
                run_id="r1",
                through=3,
                opening=True,
                reason="refused",
                tokens=900,
                tokens_after=400,
            ),
            None,
        ),
        (AgentNoticed(run_id="r1", notice="without", feature="seed", message="no seed"), None),
        (AgentNoticed(run_id="r1", notice="lowered", feature="max_tokens", tokens=9), None),
        (AgentNoticed(run_id="r1", notice="unread", tokens=9), None),
        (AgentNoticed(run_id="r1", notice="window", tokens=9), None),
        (replied(None), None),
        (
            ReportSubmitted(run_id="r1", summary="pastry", description="It is about marzipan."),
            AGENT,
        ),
        (AgentEnded(run_id="r1", stopped_by="report"), None),
        (AuditUnblinded(reason="grading"), HUMAN),
        (grade("G1", 2.0), HUMAN),
        (grade("G2", None), None),
        (grade("G3", 4.0, replaces="G1"), HUMAN),
        (
            ScaleJudged(
                reading="patchscope",
                model="a judge",
                scales=(0.5, 1.0),
                lists_sha256="0" * 64,
                scale=None,
                why="unreadable verdict",
            ),
            None,
        ),
        (EvaluationStarted(plan={"repeats": 1}), None),
        (EvaluationCell(cell="adl o 5 1", session="s", status="done"), None),
    ]
    return [Entry(body, actor or Actor(kind="system")) for body, actor in bodies]


def record_agent_audit(log: SessionLog) -> str:
    session_id = log.start_session("an agent's audit")
    log.append_many(session_id, agent_audit())
    return session_id
