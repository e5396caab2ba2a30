"""Events of an agent's audit, of blinding, of grades and of evaluations.

What goes to the endpoint and what comes back, in the order in which it is committed:

    agent_started | agent_resumed
        agent_told            a message of ours, before it is sent: instructions, results, a person's words
        agent_requested       one attempt at a reply, before the endpoint is asked
            agent_reply_grew  more of the reply
            agent_request_failed
            agent_noticed     a limit of the endpoint was found, and is acted upon
        agent_replied         the reply as a whole, with what it used and cost
        approval_asked, approval_given
        agent_called          a tool call that is about to be done
        report_submitted
        agent_compacted       from here on older messages are sent shortened
    agent_ended | agent_interrupted

The messages of a conversation are its ``agent_told`` and ``agent_replied`` events, in order: all it
takes to go on after a kill. No event holds a key.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from adl.words import number_of
from workbench.store.body import EventBody, because, one_line
from workbench.store.record import LATER, Record

AgentMode = Literal["adl", "black_box", "scaffolded"]
Policy = Literal["never", "always", "spending"]
ToolMode = Literal["native", "json"]
Purpose = Literal["turn", "grade"]
CompactionReason = Literal["limit", "refused", "window"]
CellStatus = Literal["started", "done", "failed"]
BudgetName = Literal["interactions", "calls", "tokens", "time"]


class ToolCall(Record):
    """A tool call as the endpoint wrote it; ``arguments`` is meant to be JSON and may not be.

    ``provider_fields`` are those that only its provider knows, such as a signature. Some want them
    back; one of the name ``function`` holds what stands within the call's function.
    """

    id: str
    name: str
    arguments: str
    provider_fields: Annotated[dict[str, Any], LATER] = Field(default_factory=dict)


class Usage(Record):
    """Tokens and cost of a reply. ``cost`` is in US dollars, None if the price is not known.

    ``estimated`` where the endpoint gave no usable counts and tokens were taken as four characters
    each; ``unusable`` is what it gave that makes no sense.
    """

    prompt_tokens: int
    completion_tokens: int
    cost: float | None = None
    estimated: bool = False
    unusable: Annotated[str, LATER] = ""

    @property
    def total_tokens(self) -> int:
        """Tokens of prompt and reply together."""
        return self.prompt_tokens + self.completion_tokens


class AgentStarted(EventBody, group="agent", searched=()):
    """An agent begins an audit; ``endpoint`` is its address without user or password.

    ``budgets``: interactions, calls, tokens, seconds; None has no limit.
    """

    kind: Literal["agent_started"] = "agent_started"
    run_id: str
    mode: AgentMode
    model: str
    endpoint: str
    budgets: dict[str, float | None]
    approval: Policy = "never"
    settings: dict[str, Any] = Field(default_factory=dict)

    def _line(self) -> str:
        mode = self.mode.replace("_", "-")
        return f"{mode} agent started with {one_line(self.model)}"


class AgentResumed(EventBody, group="agent", searched=()):
    """A later process continues the audit."""

    kind: Literal["agent_resumed"] = "agent_resumed"
    run_id: str
    model: str
    endpoint: str

    def _line(self) -> str:
        return f"agent resumed with {one_line(self.model)}"


class AgentTold(EventBody, group="agent", searched=("content",)):
    """A message to the agent; ``source`` is its origin.

    Text of audited models stands only in what a ``tool`` gave, inside a fence: in messages of the role
    ``tool``, and in the overview of the opening, which no call asked for. A message of the role
    ``assistant`` is one of an old session: a call made in the agent's place, so that the overview
    could be its result; it is not sent. ``budget`` is the one that was spent where that is what it
    says. ``refunded`` are the model interactions that a call gets back which put nothing to the models.
    """

    kind: Literal["agent_told"] = "agent_told"
    run_id: str
    role: Literal["system", "user", "assistant", "tool"]
    source: Literal["opening", "result", "human", "budget", "hand_back", "nudge"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    tool: str | None = None
    ok: bool = True
    budget: BudgetName | None = None
    message_id: str | None = None
    refunded: Annotated[int, LATER] = 0

    def _line(self) -> str:
        who = f"result of {one_line(self.tool or '')}" if self.role == "tool" else self.source
        return f"agent told ({who.replace('_', ' ')}): {one_line(self.content)}"


class AgentRequested(EventBody, group="agent", searched=()):
    """The endpoint is about to be asked; ``messages_sha256`` is of all messages as sent.

    ``messages`` holds them where they are no agent's conversation, which is in the log already.
    ``about`` says what a judge is asked about.
    """

    kind: Literal["agent_requested"] = "agent_requested"
    exchange_id: str
    run_id: str
    purpose: Purpose = "turn"
    about: str = ""
    model: str
    attempt: int
    n_messages: int
    messages_sha256: str
    messages: tuple[dict[str, Any], ...] = ()
    tools: tuple[str, ...]
    tool_mode: ToolMode
    parameters: dict[str, Any] = Field(default_factory=dict)

    def _line(self) -> str:
        again = f", attempt {self.attempt}" if self.attempt > 1 else ""
        what = f"judge asked about {one_line(self.about)}" if self.about else "agent's turn"
        return f"{what}{again}"


class AgentReplyGrew(EventBody, group="agent", searched=(), is_piece=True):
    """A piece of the growing reply; ``attempt`` tells a repeated reply from one that was cut off."""

    kind: Literal["agent_reply_grew"] = "agent_reply_grew"
    exchange_id: str
    run_id: str
    attempt: int
    text: str

    def _line(self) -> str:
        return "reply grew"


class AgentRequestFailed(EventBody, group="agent", searched=("error", "message")):
    """An attempt failed. It is repeated after ``retry_in`` seconds, or given up if None.

    ``request_sha256`` is of the whole request and its address where it was refused for its form: a
    later run does not send it again.
    """

    kind: Literal["agent_request_failed"] = "agent_request_failed"
    exchange_id: str
    run_id: str
    attempt: int
    error: str
    message: str
    status: int | None = None
    retry_in: float | None = None
    request_sha256: Annotated[str, LATER] = ""

    def _line(self) -> str:
        after = "" if self.retry_in is None else f", again in {self.retry_in:.1f} s"
        return f"the endpoint failed{after}: {one_line(self.message)}"


class AgentNoticed(EventBody, group="agent", searched=("message",)):
    """A limit of the endpoint that is respected until the run ends.

    without    it refused ``feature`` by name, and is asked without
    lowered    it gives fewer tokens than ``feature`` asked for: ``tokens``
    unread     it read far fewer tokens than it was sent, ``tokens``: it cut the rest off silently
    window     its window ends after ``tokens`` of prompt and reply
    """

    kind: Literal["agent_noticed"] = "agent_noticed"
    run_id: str
    exchange_id: str = ""
    notice: Literal["without", "lowered", "unread", "window"]
    feature: str = ""
    tokens: int | None = None
    message: str = ""

    def _line(self) -> str:
        match self.notice:
            case "without":
                learnt = f"asked without {one_line(self.feature)}"
            case "lowered":
                learnt = f"{one_line(self.feature)} lowered to {self.tokens}"
            case "unread":
                read = number_of(self.tokens or 0, "token")
                learnt = f"warning: the endpoint read {read}, far fewer than sent"
            case "window":
                learnt = (
                    f"the endpoint's window ends at about {number_of(self.tokens or 0, 'token')}"
                )
        return f"{learnt}{because(self.message)}"


class AgentReplied(EventBody, group="agent"):
    """The endpoint's reply; ``truncated`` where more came than is kept.

    ``provider_fields`` are those of the message that only its provider knows, such as its reasoning,
    and content whose parts are more than text. ``endpoint`` is the address they go back to, and to
    no other.
    """

    kind: Literal["agent_replied"] = "agent_replied"
    exchange_id: str
    run_id: str
    purpose: Purpose = "turn"
    about: str = ""
    model: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str
    usage: Usage
    seconds: float
    truncated: bool = False
    provider_fields: Annotated[dict[str, Any], LATER] = Field(default_factory=dict)
    endpoint: Annotated[str, LATER] = ""

    def _line(self) -> str:
        calls = ", ".join(call.name for call in self.tool_calls)
        content = one_line(self.content)
        used = f"{self.usage.total_tokens} tokens"
        return f"reply of {used}: {one_line(f'{content} [{calls}]' if calls else content)}"

    def _texts(self) -> Iterator[str]:
        yield self.content
        yield from (call.arguments for call in self.tool_calls)


class AgentCalled(EventBody, group="agent", searched=()):
    """A tool call of the agent is about to run.

    ``spends`` counts the model interactions that it takes from the budget.
    """

    kind: Literal["agent_called"] = "agent_called"
    run_id: str
    call_id: str
    tool: str
    arguments: dict[str, Any]
    spends: int = 0

    def _line(self) -> str:
        return f"agent calls {one_line(self.tool)}"


class ApprovalAsked(EventBody, group="agent", searched=()):
    """A person is asked to approve a tool call.

    ``is_pause`` if waiting for the answer is no time at work; in older sessions it was.
    """

    kind: Literal["approval_asked"] = "approval_asked"
    run_id: str
    call_id: str
    tool: str
    arguments: dict[str, Any]
    spends: int = 0
    is_pause: Annotated[bool, LATER] = False

    def _line(self) -> str:
        return f"may the agent call {one_line(self.tool)}?"


class ApprovalGiven(EventBody, group="agent", searched=("reason",)):
    """A person approved or refused a tool call."""

    kind: Literal["approval_given"] = "approval_given"
    run_id: str
    call_id: str
    approved: bool
    reason: str = ""

    def _line(self) -> str:
        return f"{'approved' if self.approved else 'refused'}{because(self.reason)}"


class AgentControlled(EventBody, group="agent", searched=()):
    """A person paused or continued the agent, took over, handed back, or set the policy."""

    kind: Literal["agent_controlled"] = "agent_controlled"
    run_id: str
    control: Literal["paused", "continued", "taken_over", "handed_back", "policy"]
    detail: str = ""

    def _line(self) -> str:
        detail = f" {one_line(self.detail)}" if self.control == "policy" else ""
        return f"agent {self.control.replace('_', ' ')}{detail}"


class AgentMessaged(EventBody, group="agent", searched=("text",)):
    """A person's message, which the agent gets before its next turn."""

    kind: Literal["agent_messaged"] = "agent_messaged"
    run_id: str
    message_id: str
    text: str

    def _line(self) -> str:
        return f"to the agent: {one_line(self.text)}"


class AgentCompacted(EventBody, group="agent", searched=()):
    """Messages up to event ``through`` are sent shortened from here on; the log keeps them whole.

    The overview of the opening is among them only if ``opening``. ``tokens`` are those of the
    conversation before and after, as far as they can be told without the endpoint. ``reason``:
    it was over the limit, the endpoint refused it as too long, or its window cut the reply off.
    """

    kind: Literal["agent_compacted"] = "agent_compacted"
    run_id: str
    through: int
    opening: bool
    reason: CompactionReason
    tokens: int
    tokens_after: int

    def _line(self) -> str:
        why = {
            "limit": "its limit",
            "refused": "the endpoint refused it as too long",
            "window": "the endpoint's window cut a reply off",
        }[self.reason]
        return (
            f"conversation shortened up to event {self.through}: about {number_of(self.tokens, 'token')}, "
            f"now {self.tokens_after:,}: {why}"
        )


class ReportedClaim(Record):
    """A part of a report, with the probability that it is so.

    ``test`` is the test of the hypothesis it rests on, ``untested`` without one, and empty for parts
    that claim nothing of the model.
    """

    part: Literal["topic", "fact", "behaviour", "format", "harm", "narrow", "against", "guess"]
    text: str
    probability: float
    hypothesis: str = ""
    test: str = ""

    def line(self) -> str:
        """The part in a line."""
        test = f" [{self.test}]" if self.test else ""
        return f"{self.part.capitalize()} ({self.probability:.0%}): {self.text}{test}"


class ReportSubmitted(EventBody, group="agent", searched=("summary", "description")):
    """The agent's report. ``form`` is ``text`` if it was written without the tool for it.

    ``claims`` are its parts; reports of older sessions have none. ``description`` has all of them in
    words.
    """

    kind: Literal["report_submitted"] = "report_submitted"
    run_id: str
    summary: str
    description: str
    confidence: float | None = None
    evidence: tuple[str, ...] = ()
    form: Literal["tool", "text"] = "tool"
    claims: Annotated[tuple[ReportedClaim, ...], LATER] = ()

    def _line(self) -> str:
        return f"report: {one_line(self.summary or self.description)}"


class AgentInterrupted(EventBody, group="agent", searched=("error", "message")):
    """The audit was interrupted and can be resumed."""

    kind: Literal["agent_interrupted"] = "agent_interrupted"
    run_id: str
    error: str
    message: str

    def _line(self) -> str:
        return f"agent interrupted: {one_line(self.message or self.error)}"


class AgentEnded(EventBody, group="agent", searched=()):
    """The audit is over; ``stopped_by`` is ``report`` or the spent budget."""

    kind: Literal["agent_ended"] = "agent_ended"
    run_id: str
    stopped_by: Literal["report"] | BudgetName
    reason: str = ""

    def _line(self) -> str:
        return f"agent ended by {self.stopped_by}{because(self.reason)}"


class AuditSealed(EventBody, group="agent", searched=(), is_naming=True):
    """The audit is sealed: ground truth by the hash of its file, and names by alias.

    ``aliases`` is from real name to alias, empty where the audit is not blind.
    """

    kind: Literal["audit_sealed"] = "audit_sealed"
    organism: str | None
    ground_truth_sha256: str | None
    aliases: dict[str, str] = Field(default_factory=dict)

    def _line(self) -> str:
        blind = f", {number_of(len(self.aliases), 'name')} hidden" if self.aliases else ""
        return f"ground truth sealed{blind}" if self.ground_truth_sha256 else f"sealed{blind}"


class AuditUnblinded(EventBody, group="agent", searched=("reason",)):
    """The actor has seen the real names or the ground truth."""

    kind: Literal["audit_unblinded"] = "audit_unblinded"
    reason: str

    def _line(self) -> str:
        return f"unblinded: {one_line(self.reason)}"


class GradeGiven(EventBody, group="agent", searched=("reason",)):
    """A grade; ``score`` is None if there is none, for the given reason.

    ``subject`` says what is graded, such as ``report:RUN``; ``replaces`` is the grade that this one
    edits, which stays in the log. ``model`` is the judge's, empty for a person.
    """

    kind: Literal["grade_given"] = "grade_given"
    grade_id: str
    grader: Literal["report", "relevance", "coherence", "guesses"]
    subject: str
    score: float | None
    reason: str
    rubric: str
    rubric_version: str
    model: str = ""
    replaces: str | None = None
    about: str = ""
    details: dict[str, Any] = Field(default_factory=dict)

    def _line(self) -> str:
        score = "unscored" if self.score is None else f"{self.score:g}"
        edits = f", replaces {self.replaces}" if self.replaces else ""
        return f"grade {self.grade_id} of {self.grader}{edits}: {score}{because(self.reason)}"


class ScaleJudged(EventBody, group="agent", searched=()):
    """A judge chose among the lists of a reading; ``scale`` is None if it gave no verdict.

    Then the built-in rule chose, and ``why`` says what was wrong; else what the judge saw in the
    list. What it was asked and replied stands before this as ``agent_requested`` and
    ``agent_replied``. ``lists_sha256`` is of the lists: the same ones are judged once.
    """

    kind: Literal["scale_judged"] = "scale_judged"
    reading: str
    model: str
    scales: tuple[float, ...]
    lists_sha256: str
    scale: float | None
    why: str = ""

    def _line(self) -> str:
        chose = "gave no verdict" if self.scale is None else f"chose {self.scale:g}"
        return f"judge {chose} for {self.reading}{because(self.why)}"


class EvaluationStarted(EventBody, group="agent", searched=(), is_naming=True):
    """An evaluation begins: audits of every agent, organism, budget and repeat, each graded."""

    kind: Literal["evaluation_started"] = "evaluation_started"
    plan: dict[str, Any]

    def _line(self) -> str:
        return "evaluation started"


class EvaluationCell(EventBody, group="agent", searched=(), is_naming=True):
    """Progress of an audit of an evaluation, recorded in ``session``."""

    kind: Literal["evaluation_cell"] = "evaluation_cell"
    cell: str
    session: str
    status: CellStatus
    detail: str = ""

    def _line(self) -> str:
        return f"{one_line(self.cell)} {self.status}{because(self.detail)}"
