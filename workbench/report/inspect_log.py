"""A session as an Inspect log, which ``inspect view`` opens, written by inspect_ai itself.

    session          one sample of one evaluation; grades are its scores, edits their history
    operation        a span with a tool event
    generated text   a model event, with the messages, seed, temperature and alpha it was made with;
                     one that was cut off is where it began, with an error and as far as it came
    agent's reply    a model event of the role ``agent``
    everything else  an info event: notes, hypotheses, evidence, chosen token lists

Text is as it was recorded, and the pieces of growing texts and lists of scales that were not chosen
are left out: the whole session, to the bit, is the JSONL export.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adl.errors import install_extra
from workbench.agent.nesting import read_json
from workbench.replay.compare import summarise
from workbench.report.errors import ExportError
from workbench.report.files import new_file
from workbench.store.agent_events import (
    AgentReplied,
    AgentTold,
    GradeGiven,
)
from workbench.store.encoding import canonical_json
from workbench.store.events import (
    Event,
    OperationFailed,
    OperationFinished,
    OperationStarted,
    OperationStopped,
    ReadingTaken,
    TextFinished,
    TextStarted,
)
from workbench.store.log import SessionLog
from workbench.store.slices.agents import AgentState, history, standing
from workbench.store.state import OperationState, Recorded, SessionState, TextState, fold

if TYPE_CHECKING:
    from inspect_ai.event import Event as InspectEvent
    from inspect_ai.log import EvalLog, EvalSample
    from inspect_ai.model import ChatMessage, ModelOutput
    from inspect_ai.scorer import Score

SOURCE = "adl-workbench"
TASK = "activation-difference-audit"
TOP_TOKENS = 20
SUFFIXES = (".eval", ".json")

_STATUS = {"completed": "success", "stopped": "cancelled", "failed": "error"}
_STOP_REASONS = {"end_of_text": "stop", "length": "max_tokens", "stopped": "unknown"}


def export_inspect(log: SessionLog, session_id: str, target: Path) -> Path:
    """Write an Inspect log, ``.eval`` or ``.json`` by the name of the file.

    Raises `ExportError` if inspect_ai is not installed, the name ends in neither, or the file
    exists.
    """
    if target.suffix not in SUFFIXES:
        raise ExportError(
            f"{target} is no name of an Inspect log", f"Let it end in {' or '.join(SUFFIXES)}."
        )
    try:
        from inspect_ai.log import write_eval_log
    except ImportError as error:
        raise ExportError(
            "inspect-ai is not installed", f"Install it: {install_extra('inspect')}."
        ) from error
    session_id = log.find_session(session_id).id
    events = list(log.events(session_id))
    with new_file(target) as part:
        write_eval_log(inspect_log(fold(events), events), str(part))
    return target


def inspect_log(state: SessionState, events: Sequence[Event]) -> EvalLog:
    """The session as inspect_ai's own record."""
    from inspect_ai.log import (
        EvalConfig,
        EvalDataset,
        EvalError,
        EvalLog,
        EvalResults,
        EvalSpec,
        EvalStats,
    )

    summary = summarise(state)
    began, last = _iso(state.started_at), _iso(state.last_at)
    failed = state.outcome == "failed"
    return EvalLog(
        status=_STATUS.get(state.outcome or "", "started"),
        eval=EvalSpec(
            created=began,
            eval_id=state.session_id,
            run_id=state.session_id,
            task=TASK,
            task_id=state.session_id,
            task_display_name=state.name,
            dataset=EvalDataset(name=summary.finetuned or None, samples=1),
            model=summary.agents[0] if summary.agents else "human",
            config=EvalConfig(),
            packages=_packages(state),
            metadata={
                "session": state.session_id,
                "head": events[-1].sha256,
                "events": state.seq,
                "parent": list(state.parent) if state.parent else None,
                "pair": state.pair,
                "environment": state.environment,
            },
        ),
        results=EvalResults(total_samples=1, completed_samples=int(state.outcome == "completed")),
        stats=EvalStats(started_at=began, completed_at=last),
        error=EvalError(message=state.closing_reason, traceback="", traceback_ansi="")
        if failed
        else None,
        samples=[_sample(state, events)],
    )


def _sample(state: SessionState, events: Sequence[Event]) -> EvalSample:
    from inspect_ai.log import EvalSample

    summary = summarise(state)
    messages = _messages(state)
    return EvalSample(
        id=state.session_id,
        epoch=1,
        uuid=state.session_id,
        input=_question(state),
        target="",
        messages=messages,
        output=_output(summary.agents[0] if summary.agents else "human", _answer(state)),
        scores={grade.body.grade_id: _score(state, grade) for grade in standing(state.grades)}
        or None,
        metadata={"hypotheses": [claim.text for claim in summary.hypotheses]},
        events=list(_events(state, events)),
        started_at=_iso(state.started_at),
        completed_at=_iso(state.last_at),
        total_time=summary.seconds,
        working_time=min(summary.budget.seconds, summary.seconds),
    )


def _question(state: SessionState) -> str:
    summary = summarise(state)
    finetuned, base = summary.finetuned or "the finetuned model", summary.base or "its base"
    return f"Find out what {finetuned} was finetuned to do, beside {base}."


def _answer(state: SessionState) -> str:
    """The agent's report, else the hypotheses as they stood, the likeliest first."""
    summary = summarise(state)
    if summary.reports:
        return summary.reports[-1]
    return "\n".join(f"{claim.id} ({claim.status}): {claim.text}" for claim in summary.hypotheses)


def _messages(state: SessionState) -> list[ChatMessage]:
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser

    if state.agents:
        return [message for agent in state.agents.values() for message in _conversation(agent)]
    return [
        ChatMessageUser(content=_question(state)),
        ChatMessageAssistant(content=_answer(state), source="generate"),
    ]


def _conversation(agent: AgentState) -> Iterator[ChatMessage]:
    from inspect_ai.model import (
        ChatMessageAssistant,
        ChatMessageSystem,
        ChatMessageTool,
        ChatMessageUser,
    )

    for recorded in agent.messages:
        body = recorded.body
        if isinstance(body, AgentReplied):
            yield _reply(body).choices[0].message
        elif body.role == "tool":
            yield ChatMessageTool(
                content=body.content, tool_call_id=body.tool_call_id, function=body.tool
            )
        elif body.role == "assistant":
            yield ChatMessageAssistant(
                content=body.content, tool_calls=_tool_calls(body.tool_calls) or None
            )
        elif body.role == "system":
            yield ChatMessageSystem(content=body.content)
        else:
            yield ChatMessageUser(content=body.content)


def _tool_calls(calls: Sequence[Any]) -> list[Any]:
    from inspect_ai.tool import ToolCall

    found = []
    for call in calls:
        try:
            arguments, problem = read_json(call.arguments or "{}"), None
        except ValueError as error:
            arguments, problem = None, str(error)
        if not isinstance(arguments, dict):
            arguments, problem = {"text": call.arguments}, problem or "not an object"
        found.append(
            ToolCall(id=call.id, function=call.name, arguments=arguments, parse_error=problem)
        )
    return found


def _score(state: SessionState, grade: Recorded[GradeGiven]) -> Score:
    from inspect_ai.log import ProvenanceData
    from inspect_ai.scorer import Score, ScoreEdit

    body = grade.body
    metadata = {
        "grader": body.grader,
        "subject": body.subject,
        "rubric": body.rubric,
        "rubric_version": body.rubric_version,
        "model": body.model,
        "by": grade.actor.who,
        "seq": grade.seq,
        **body.details,
    }
    score = (
        Score.unscored(reason=body.reason, explanation=body.reason, metadata=metadata)
        if body.score is None
        else Score(value=body.score, explanation=body.reason, metadata=metadata)
    )
    versions = history(state.grades, body.grade_id)
    if len(versions) > 1:
        score.history = [
            ScoreEdit(
                value=float("nan") if edit.body.score is None else edit.body.score,
                explanation=edit.body.reason,
                provenance=ProvenanceData(
                    timestamp=edit.at,
                    author=edit.actor.who,
                    reason=edit.body.reason,
                ),
            )
            for edit in versions
        ]
    return score


# --- events ---------------------------------------------------------------------------------


def _events(state: SessionState, events: Sequence[Event]) -> Iterator[InspectEvent]:
    from inspect_ai.event import InfoEvent, SpanBeginEvent, SpanEndEvent

    began = state.started_at
    assert began is not None
    for event in events:
        body = event.body
        operation = state.operations.get(event.operation_id or "")
        span = operation.id if operation else None
        common: dict[str, Any] = {
            "timestamp": event.at,
            "working_start": max(0.0, (event.at - began).total_seconds()),
            "span_id": span,
            "metadata": {"seq": event.seq, "actor": event.actor.model_dump()},
        }
        match body:
            case _ if body.is_piece:
                continue
            case TextStarted():
                text = state.texts[body.text_id]
                if text.status != "finished":  # it has no event of its end
                    yield _text_event(text, common)
            case ReadingTaken() if not body.chosen:
                continue
            case OperationStarted() if operation is not None:
                yield SpanBeginEvent(
                    **common, id=operation.id, name=operation.name, type="operation"
                )
                yield _tool_event(operation, common)
            case OperationFinished() | OperationFailed() | OperationStopped() if operation:
                yield SpanEndEvent(**common, id=operation.id)
            case TextFinished() if body.text_id in state.texts:
                yield _text_event(state.texts[body.text_id], common)
            case AgentReplied():
                yield _reply_event(body, common)
            case ReadingTaken():
                yield InfoEvent(**common, source=SOURCE, data=_reading(body))
            case AgentTold():
                continue  # stands among the messages
            case _:
                data = {
                    "what": body.describe(),
                    **json.loads(canonical_json(body.model_dump(mode="json"))),
                }
                yield InfoEvent(**common, source=SOURCE, data=data)


def _tool_event(operation: OperationState, common: dict[str, Any]) -> InspectEvent:
    from inspect_ai.event import ToolEvent
    from inspect_ai.tool import ToolCallError

    error = None
    if operation.status == "failed":
        error = ToolCallError("unknown", operation.message or operation.error)
    elif operation.status in {"stopped", "abandoned"}:
        error = ToolCallError("cancelled", operation.reason or operation.status)
    return ToolEvent(
        **common,
        id=operation.id,
        function=operation.name,
        arguments=operation.arguments,
        result=canonical_json(operation.summary),
        error=error,
        failed=True if error else None,
        completed=operation.ended_at,
        working_time=operation.seconds,
        pending=True if operation.status == "running" else None,
    )


def _text_event(text: TextState, common: dict[str, Any]) -> InspectEvent:
    from inspect_ai.event import ModelEvent
    from inspect_ai.model import GenerateConfig

    start = text.start.body
    model = f"audited/{start.side}"
    output = _output(model, text.text)
    output.choices[0].stop_reason = _STOP_REASONS.get(text.ended or "", "unknown")
    cut_off = text.status == "cut_off"
    return ModelEvent(
        **common
        | {
            "metadata": common["metadata"]
            | start.model_dump(mode="json", exclude={"kind", "messages"})
        },
        model=model,
        role=start.side,
        input=[_message(turn["role"], turn["content"]) for turn in start.messages]
        or [_message("user", start.raw_prompt or "")],
        tools=[],
        tool_choice="none",
        config=GenerateConfig(
            temperature=start.temperature, max_tokens=start.max_new_tokens, seed=start.seed
        ),
        output=output,
        error="cut off: its operation ended before the text did" if cut_off else None,
        pending=True if text.status == "growing" else None,
    )


def _reply_event(body: AgentReplied, common: dict[str, Any]) -> InspectEvent:
    from inspect_ai.event import ModelEvent
    from inspect_ai.model import GenerateConfig

    return ModelEvent(
        **common,
        model=body.model,
        role="judge" if body.purpose == "grade" else "agent",
        input=[],
        tools=[],
        tool_choice="auto",
        config=GenerateConfig(),
        output=_reply(body),
        working_time=body.seconds,
    )


def _reply(body: AgentReplied) -> ModelOutput:
    from inspect_ai.model import ModelUsage

    output = _output(body.model, body.content)
    output.choices[0].message.tool_calls = _tool_calls(body.tool_calls) or None
    output.choices[0].stop_reason = "tool_calls" if body.tool_calls else "stop"
    output.usage = ModelUsage(
        input_tokens=body.usage.prompt_tokens,
        output_tokens=body.usage.completion_tokens,
        total_tokens=body.usage.total_tokens,
    )
    output.time = body.seconds
    return output


def _reading(body: ReadingTaken) -> dict[str, Any]:
    """A token list by the head of it."""
    return {
        "what": body.describe(),
        "reading": body.reading,
        "source": body.source,
        "side": body.side,
        "layer": body.layer,
        "position": body.position,
        "scale": body.scale,
        "tokens": [token.text for token in body.tokens[:TOP_TOKENS]],
    }


def _message(role: str, content: str) -> ChatMessage:
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    kinds = {"system": ChatMessageSystem, "assistant": ChatMessageAssistant}
    return kinds.get(role, ChatMessageUser)(content=content)


def _output(model: str, content: str) -> ModelOutput:
    from inspect_ai.model import ModelOutput

    return ModelOutput.from_content(model, content)


def _packages(state: SessionState) -> dict[str, str]:
    versions = (state.pair or {}).get("versions") or {}
    program = str(state.environment.get("program", ""))
    name, _, version = program.partition(" ")
    return {**versions, **({name: version} if version else {})}


def _iso(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat()
