"""One plain line for each event, as a timeline shows it."""

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
)
from workbench.store.events import (
    AnswersCompared,
    DifferenceMeasured,
    EventBody,
    EvidenceLinked,
    EvidenceMarked,
    EvidenceUnmarked,
    HypothesesRanked,
    HypothesisJudged,
    HypothesisRevised,
    HypothesisStated,
    NoteWritten,
    OperationFailed,
    OperationFinished,
    OperationStarted,
    OperationStopped,
    PairLoaded,
    ReadingFailed,
    ReadingTaken,
    SessionClosed,
    SessionContinued,
    SessionRenamed,
    SessionStarted,
    TextFinished,
    TextGrew,
    TextStarted,
    ViewSaved,
)
from workbench.store.measure_events import Measure, measure_line
from workbench.store.training_events import (
    MixingStudied,
    MixtureMeasured,
    OrganismTrained,
    TrainingAdvanced,
    TrainingStarted,
    training_line,
)

_WIDEST = 100


def describe(body: EventBody) -> str:
    """Say in one line what happened.

    Parts may be text of a model: on one line and short, but with its escapes, so it still has to
    go through the display boundary.
    """
    match body:
        case TextGrew():
            return "text grew" if len(body.pieces) == 1 else f"{len(body.pieces)} texts grew"
        case TextStarted():
            steered = f", alpha {body.alpha:g}" if body.alpha else ""
            return f"{body.purpose} on {body.side}{steered}: {one_line(_prompt(body))}"
        case TextFinished():
            return f"text of {len(body.token_ids)} tokens ({body.ended}): {one_line(body.text)}"
        case ReadingTaken():
            scale = "" if body.scale is None else f", scale {body.scale:g}"
            tokens = " ".join(token.text.strip() for token in body.tokens[:8])
            return (
                f"{body.reading} of {body.source} on {body.side}, layer {body.layer}, "
                f"position {body.position}{scale}: {one_line(tokens)}"
            )
        case ReadingFailed():
            return f"{body.reading} at layer {body.layer} not computed: {one_line(body.reason)}"
        case OperationStarted():
            return f"{one_line(body.operation)} started"
        case OperationFinished():
            return f"finished in {body.seconds:.1f} s"
        case OperationFailed():
            return f"failed after {body.seconds:.1f} s: {one_line(body.message or body.error)}"
        case OperationStopped():
            return f"stopped after {body.seconds:.1f} s: {one_line(body.reason)}"
        case DifferenceMeasured():
            cached = " (from the cache)" if body.from_cache else ""
            cached = " (from an old cache: may be another checkpoint's)" if body.doubt else cached
            return (
                f"difference measured over {body.n_texts} texts at {len(body.layers)} layers and "
                f"{len(body.positions)} positions{cached}"
            )
        case AnswersCompared():
            if body.first_divergence is None:
                return "answers compared: the same"
            return f"answers compared: they part at token {body.first_divergence}"
        case NoteWritten():
            return f"note: {one_line(body.text)}"
        case EvidenceMarked():
            return f"{body.evidence_id} marked, {one_line(body.label)}: {one_line(body.excerpt)}"
        case EvidenceUnmarked():
            return f"{body.evidence_id} no longer marked{_because(body.reason)}"
        case HypothesisStated():
            sure = _sure(body.confidence)
            return f"hypothesis {body.hypothesis_id}{sure}: {one_line(body.text)}"
        case HypothesisRevised():
            sure = _sure(body.confidence)
            return f"hypothesis {body.hypothesis_id} revised{sure}: {one_line(body.text)}"
        case HypothesesRanked():
            return f"hypotheses ranked: {one_line(', '.join(body.order))}"
        case HypothesisJudged():
            verdict = "open again" if body.verdict == "open" else body.verdict
            return f"hypothesis {body.hypothesis_id} {verdict}{_because(body.reason)}"
        case EvidenceLinked():
            link = {"for": "speaks for", "against": "speaks against", "none": "unlinked from"}
            return f"{body.evidence_id} {link[body.bearing]} {body.hypothesis_id}"
        case Measure():
            return one_line(measure_line(body))
        case (
            TrainingStarted()
            | TrainingAdvanced()
            | OrganismTrained()
            | MixtureMeasured()
            | MixingStudied()
        ):
            return one_line(training_line(body))
        case ViewSaved():
            return "view saved"
        case PairLoaded():
            return "pair loaded"
        case SessionStarted():
            return f"session started: {one_line(body.name)}"
        case SessionRenamed():
            return f"session renamed: {one_line(body.name)}"
        case SessionContinued():
            return "session continued"
        case SessionClosed():
            return f"session closed, {body.outcome}{_because(body.reason)}"
        case _:
            return _of_agents(body)


_AgentBody = (
    AgentCalled
    | AgentCompacted
    | AgentControlled
    | AgentEnded
    | AgentInterrupted
    | AgentMessaged
    | AgentNoticed
    | AgentReplied
    | AgentReplyGrew
    | AgentRequested
    | AgentRequestFailed
    | AgentResumed
    | AgentStarted
    | AgentTold
    | ApprovalAsked
    | ApprovalGiven
    | AuditSealed
    | AuditUnblinded
    | EvaluationCell
    | EvaluationStarted
    | GradeGiven
    | ReportSubmitted
    | ScaleJudged
)


def _of_agents(body: _AgentBody) -> str:
    match body:
        case AgentStarted():
            mode = body.mode.replace("_", "-")
            return f"{mode} agent started with {one_line(body.model)}"
        case AgentResumed():
            return f"agent resumed with {one_line(body.model)}"
        case AgentTold():
            who = f"result of {one_line(body.tool or '')}" if body.role == "tool" else body.source
            return f"agent told ({who.replace('_', ' ')}): {one_line(body.content)}"
        case AgentRequested():
            again = f", attempt {body.attempt}" if body.attempt > 1 else ""
            what = f"judge asked about {one_line(body.about)}" if body.about else "agent's turn"
            return f"{what}{again}"
        case AgentReplyGrew():
            return "reply grew"
        case AgentRequestFailed():
            after = "" if body.retry_in is None else f", again in {body.retry_in:.1f} s"
            return f"the endpoint failed{after}: {one_line(body.message)}"
        case AgentReplied():
            calls = ", ".join(call.name for call in body.tool_calls)
            said = one_line(body.content)
            used = f"{body.usage.total_tokens} tokens"
            return f"reply of {used}: {one_line(f'{said} [{calls}]' if calls else said)}"
        case AgentCalled():
            return f"agent calls {one_line(body.tool)}"
        case AgentCompacted():
            why = {
                "limit": "its limit",
                "refused": "the endpoint refused it as too long",
                "window": "the endpoint's window cut a reply off",
            }[body.reason]
            return (
                f"conversation shortened up to event {body.through}: about {body.tokens} tokens, "
                f"now {body.tokens_after}: {why}"
            )
        case AgentNoticed():
            return _noticed(body)
        case ApprovalAsked():
            return f"may the agent call {one_line(body.tool)}?"
        case ApprovalGiven():
            return f"{'approved' if body.approved else 'refused'}{_because(body.reason)}"
        case AgentControlled():
            detail = f" {one_line(body.detail)}" if body.control == "policy" else ""
            return f"agent {body.control.replace('_', ' ')}{detail}"
        case AgentMessaged():
            return f"to the agent: {one_line(body.text)}"
        case ReportSubmitted():
            return f"report: {one_line(body.summary or body.description)}"
        case AgentInterrupted():
            return f"agent interrupted: {one_line(body.message or body.error)}"
        case AgentEnded():
            return f"agent ended by {body.stopped_by}{_because(body.reason)}"
        case AuditSealed():
            blind = f", {len(body.aliases)} names hidden" if body.aliases else ""
            return f"ground truth sealed{blind}" if body.ground_truth_sha256 else f"sealed{blind}"
        case AuditUnblinded():
            return f"unblinded: {one_line(body.reason)}"
        case GradeGiven():
            score = "unscored" if body.score is None else f"{body.score:g}"
            edits = f", replaces {body.replaces}" if body.replaces else ""
            return f"grade {body.grade_id} of {body.grader}{edits}: {score}{_because(body.reason)}"
        case ScaleJudged():
            chose = "gave no verdict" if body.scale is None else f"chose {body.scale:g}"
            return f"judge {chose} for {body.reading}{_because(body.why)}"
        case EvaluationStarted():
            return "evaluation started"
        case EvaluationCell():
            return f"{one_line(body.cell)} {body.status}{_because(body.detail)}"


def _noticed(body: AgentNoticed) -> str:
    match body.notice:
        case "without":
            return f"asked without {one_line(body.feature)}{_because(body.message)}"
        case "lowered":
            return f"{one_line(body.feature)} lowered to {body.tokens}{_because(body.message)}"
        case "unread":
            return (
                f"warning: the endpoint read {body.tokens} tokens, far fewer than it was sent"
                f"{_because(body.message)}"
            )
        case "window":
            return (
                f"the endpoint's window ends at about {body.tokens} tokens{_because(body.message)}"
            )


def _prompt(body: TextStarted) -> str:
    if body.raw_prompt is not None:
        return body.raw_prompt
    return body.messages[-1].get("content", "") if body.messages else ""


def _sure(confidence: float | None) -> str:
    return "" if confidence is None else f" ({confidence:.0%})"


def _because(reason: str) -> str:
    return f": {one_line(reason)}" if reason else ""


def one_line(text: str) -> str:
    """The text's start on one line, at most 100 characters."""
    # A long text is cut first: splitting all of it takes time and gives nothing.
    line = " ".join(text[: 4 * _WIDEST].split())
    return line if len(line) <= _WIDEST else line[: _WIDEST - 1] + "…"
