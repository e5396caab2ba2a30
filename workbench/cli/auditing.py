"""The work of the commands of agents and graders, once their options are read."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import typer

from adl.artifacts import ArrayCache
from adl.errors import Stopped
from adl.readings.registry import ReadingName
from adl.words import number_of
from workbench.agent.agreement import by_grader, krippendorff_alpha
from workbench.agent.budgets import Budgets
from workbench.agent.endpoint import Endpoint
from workbench.agent.graders import grade_coherence, grade_relevance
from workbench.agent.grading import edit_grade, grade_report
from workbench.agent.grading import grade_by_hand as record_by_hand
from workbench.agent.loop import AuditPlan, Surroundings, audit_of, resume_audit, start_audit
from workbench.agent.shown_evidence import compute, missing_evidence
from workbench.agent.supervision import Supervision
from workbench.blinding.aliases import Blinding
from workbench.blinding.seal import blinding_for_people, reveal_names, seal
from workbench.blinding.sessions import shown_state
from workbench.cli import show
from workbench.cli.agent_arguments import AuditArguments, GradeArguments
from workbench.cli.derived import option_name
from workbench.cli.options import SessionOptions, named_readings
from workbench.cli.output import print_json, reported_errors, say
from workbench.cli.redaction import looking_at
from workbench.cli.running import (
    StopFlag,
    Work,
    database_path,
    default_name,
    reading_log,
    working_session,
)
from workbench.locations import find_locations
from workbench.operations.difference import MeasureArguments
from workbench.operations.pair import PairArguments
from workbench.operations.running import Session
from workbench.settings import Settings, load_settings
from workbench.store.agent_events import (
    AgentMode,
    AgentReplied,
    ApprovalAsked,
    GradeGiven,
    Policy,
)
from workbench.store.events import Actor, Event
from workbench.store.log import SessionLog
from workbench.store.slices.agents import AgentState, cost_of, history, standing
from workbench.store.state import Recorded, fold

_GRADE_COLUMNS = ("session", "grade", "of", "score", "by", "rubric", "why")
RELEVANCE_READINGS: tuple[ReadingName, ...] = ("consensus", "output_difference", "patchscope")
_TOLD = frozenset(
    {
        "agent_replied",
        "agent_called",
        "agent_request_failed",
        "agent_noticed",
        "agent_compacted",
        "approval_given",
        "agent_ended",
    }
)


def plan_of(wanted: AuditArguments, settings: Settings) -> AuditPlan:
    """The plan of an audit. Raises ``SettingsError`` where no model is set."""
    return AuditPlan(
        model=settings.require_model("agent"),
        mode=agent_mode(wanted.mode),
        budgets=Budgets(wanted.interactions, wanted.calls, wanted.tokens, wanted.seconds),
        approval=wanted.approval,
        context=settings.context,
    )


def agent_mode(written: str) -> AgentMode:
    """Return the recorded name of a mode as written on the command line."""
    return next(mode for mode in get_args(AgentMode) if mode == written.replace("-", "_"))


def run_agent(
    pair: PairArguments,
    measure: MeasureArguments,
    where: SessionOptions,
    wanted: AuditArguments,
    endpoint_options: Mapping[str, Any],
    json: bool,
) -> None:
    """Load, compute what the agent is shown, and let it audit."""
    with reported_errors():
        if wanted.approval != "never" and not sys.stdin.isatty():
            raise typer.BadParameter(
                f"--approve {wanted.approval} needs a terminal to ask for approval"
            )
        refuse_difference_options(wanted, measure)
        settings = settings_of(endpoint_options)
        plan = plan_of(wanted, settings)
        endpoint = Endpoint(settings)
    name = default_name("agent", pair, blind=wanted.blind)
    with working_session(where, name, blind=wanted.blind) as work:
        work.load(pair, measure.layers)
        if wanted.mode == "adl":
            missing = missing_evidence(
                work.session.state, work.n_layers, measure, n_prompts=wanted.n_prompts
            )
            compute(missing, work.run)
        blinding = seal(work.session, blind=wanted.blind)
        with _told(work.session, blinding), _closing(endpoint), work.ending_with_engine():
            state = start_audit(
                work.session, endpoint, plan, blinding, _surroundings(work, plan.approval)
            )
        _print_audit(work.session, state, blinding, json)


def refuse_difference_options(wanted: AuditArguments, measure: MeasureArguments) -> None:
    """Raise ``BadParameter`` for options of the difference, which only an adl agent is shown."""
    if wanted.mode != "adl" and measure.model_fields_set:
        given = (option_name(name) for name in sorted(measure.model_fields_set))
        raise typer.BadParameter(
            f"{', '.join(given)}: a {wanted.mode} agent is shown no difference: leave it out"
        )


def resume_agent(
    where: SessionOptions,
    run_id: str | None,
    endpoint_options: Mapping[str, Any],
    loading: PairArguments,
    json: bool,
) -> None:
    """Load the audit's pair again, and go on; an audit that is over is shown as it is."""
    with reading_log(where.database) as log:
        session_id = log.find_session(where.session or "last").id
        state = fold(log.events(session_id))
        run_state = audit_of(state, run_id)
        if run_state.is_over:
            say("this audit is over")
            session = Session(log, session_id, _cache())
            _print_audit(session, run_state, blinding_for_people(state), json)
            return
    with reported_errors():
        endpoint = Endpoint(settings_of(endpoint_options))
    with working_session(replace(where, session=session_id), "") as work:
        work.load(loading)
        blinding = blinding_for_people(work.session.state)
        with _told(work.session, blinding), _closing(endpoint), work.ending_with_engine():
            ended = resume_audit(
                work.session,
                endpoint,
                run_id=run_state.id,
                model=endpoint_options.get("agent_model"),
                surroundings=_surroundings(work, run_state.policy),
            )
        _print_audit(work.session, ended, blinding, json)


def grade_by_judge(
    session_named: str,
    wanted: GradeArguments,
    endpoint_options: Mapping[str, Any],
    database: Path | None,
    json: bool,
) -> None:
    """Have a judge grade a report, token lists or steered texts."""
    organism, kind = wanted.organism, wanted.kind
    judged = named_readings(wanted.readings) or RELEVANCE_READINGS
    flag = StopFlag()
    with reported_errors(), flag.catching_signals(), _open(database, session_named) as session:
        settings = settings_of(endpoint_options)
        model = settings.require_model("judge")
        endpoint = Endpoint(settings)
        before = session.state.seq
        with _closing(endpoint):
            if kind == "relevance":
                found = grade_relevance(
                    session, endpoint, model, judged, organism=organism, should_stop=flag
                )
            elif kind == "coherence":
                found = grade_coherence(session, endpoint, model, should_stop=flag)
            else:
                found = grade_report(
                    session,
                    endpoint,
                    model,
                    run_id=wanted.run,
                    repeats=wanted.repeats,
                    organism=organism,
                    should_stop=flag,
                )
        _print_given(session, found, _spent(session, before), json)


def grade_by_hand(
    session_named: str, wanted: GradeArguments, database: Path | None, json: bool
) -> None:
    """Record a person's grade, or their edit of one."""
    person = Actor(kind="human", name=wanted.author)
    with reported_errors(), _open(database, session_named) as session:
        if wanted.edit is not None:
            found = edit_grade(session, wanted.edit, wanted.score, wanted.reason, person)
        else:
            assert wanted.score is not None
            found = record_by_hand(
                session,
                wanted.score,
                wanted.reason,
                person,
                run_id=wanted.run,
                organism=wanted.organism,
            )
        _print_given(session, [found], {}, json)


def reveal(wanted: str, author: str, database: Path | None, json: bool) -> None:
    """Show what a blind session calls what, and record who saw it."""
    person = Actor(kind="human", name=author)
    with reported_errors(), _open(database, wanted) as session:
        aliases = reveal_names(session, person)
        if json:
            print_json({"session": session.id, "names": [*map(list, aliases.items())]})
            return
        if not aliases:
            say(f"session {session.id} is not blind")
            return
        show.table(("alias", "name"), sorted((alias, name) for name, alias in aliases.items()))
        say(f"recorded in session {session.id}: names revealed to {author or 'a person'}")


def show_grades(wanted: list[str], with_history: bool, database: Path | None, json: bool) -> None:
    """Show the grades that stand, with what they replaced, and how far graders agree."""
    with reading_log(database) as log:
        states = {
            session.id: shown_state(log, session.id) for session in map(log.find_session, wanted)
        }
    rows = [
        (session_id, grade, history(state.grades, grade.body.grade_id))
        for session_id, state in states.items()
        for grade in standing(state.grades)
    ]
    alpha = krippendorff_alpha(
        by_grader((session_id, grade.actor, grade.body) for session_id, grade, _ in rows)
    )
    unscored = sum(grade.body.score is None for _, grade, _ in rows)
    if json:
        print_json(
            {
                "grades": [
                    _grade_data(session_id, grade)
                    | {"history": [_grade_data(session_id, old) for old in before[:-1]]}
                    for session_id, grade, before in rows
                ],
                "unscored": unscored,
                "alpha": alpha,
            }
        )
        return
    if not rows:
        say("no grades yet")
        return
    lines = []
    for session_id, grade, before in rows:
        lines.append(_grade_row(session_id, grade, ""))
        if with_history:
            lines += [_grade_row("", old, "was ") for old in reversed(before[:-1])]
    show.table(_GRADE_COLUMNS, lines, whole=("session", "grade"))
    agreed = show.NOT_COMPUTED if alpha is None else f"{alpha:.3f}"
    say(f"{unscored} of {len(rows)} are unscored; Krippendorff's alpha of the reports: {agreed}")


def settings_of(options: Mapping[str, Any]) -> Settings:
    """The settings with a command's options. Raises ``BadParameter`` for a password among them."""
    settings = load_settings(**options)
    if options.get("base_url") and urlsplit(settings.base_url).password:
        raise typer.BadParameter(
            "--base-url holds a password, and the command line is recorded: set OPENAI_BASE_URL"
        )
    return settings


# --- parts ----------------------------------------------------------------------------------------


def _surroundings(work: Work, approval: Policy) -> Surroundings:
    ask = _ask_on_terminal if approval != "never" and sys.stdin.isatty() else None
    supervisor = Supervision(work.session, ask=ask)
    return Surroundings(work.runner, supervisor, work.is_over)


def _ask_on_terminal(asked: ApprovalAsked) -> tuple[bool, str]:
    cost = f" ({asked.spends} model interactions)" if asked.spends else ""
    say(f"the agent wants to call {asked.tool}{cost}: {asked.arguments}")
    try:
        if typer.confirm("Let it?", default=True, err=True):
            return True, ""
        why = typer.prompt("Why not (may be empty)", default="", show_default=False, err=True)
    except typer.Abort:
        # Ctrl-C twice, or Ctrl-D: nobody answered, so the question stands when it is resumed.
        raise Stopped("stopped at a question") from None
    return False, str(why)


@contextmanager
def _told(session: Session, blinding: Blinding) -> Iterator[None]:
    """Report on stderr each step of the agent as it happens."""

    def tell(event: Event) -> None:
        if event.session_id == session.id and event.body.kind in _TOLD:
            say(blinding.hide(event.body.describe()))

    unsubscribe = session.log.subscribe(tell)
    try:
        yield
    finally:
        unsubscribe()


@contextmanager
def _closing(endpoint: Endpoint) -> Iterator[None]:
    try:
        yield
    finally:
        # A connection that does not close properly must not hide what ended the work.
        with suppress(RuntimeError):
            endpoint.close()


@contextmanager
def _open(database: Path | None, wanted: str) -> Iterator[Session]:
    path = database_path(database)
    with SessionLog.open(path, read_only=True) as log:
        session_id = log.find_session(wanted).id
    with SessionLog.open(path) as log, looking_at(log, session_id):
        yield Session(log, session_id, _cache())


def _cache() -> ArrayCache:
    return ArrayCache(find_locations().arrays)


def _print_audit(session: Session, state: AgentState, blinding: Blinding, json: bool) -> None:
    report = state.report.body if state.report else None
    data = {
        "session": session.id,
        "database": str(session.log.path),
        "run": state.id,
        "mode": state.start.body.mode,
        "model": state.model,
        "status": state.status,
        "stopped_by": state.stopped_by,
        "report": report.model_dump(mode="json", exclude={"kind", "run_id"}) if report else None,
        "replies": state.replies,
        "interactions": state.interactions,
        "tokens": state.tokens,
        "cost": state.whole_cost,
        "seconds": round(state.seconds, 3),
        "blind": bool(blinding),
    }
    if json:
        print_json({**data, "report": blinding.hide_all(data["report"])})
        return
    if report is None:
        show.heading("no report")
    else:
        show.heading(blinding.hide(report.summary))
        show.paragraph(blinding.hide(report.description))
    cost = "price not known" if data["cost"] is None else f"${data['cost']:.4f}"
    say(
        f"ended by {state.stopped_by}: {number_of(state.replies, 'reply')}, {state.interactions} model "
        f"interactions, {number_of(state.tokens, 'token')} ({cost})"
    )
    say(f"session {session.id} in {session.log.path}")


def _print_given(
    session: Session, found: list[GradeGiven], spent: Mapping[str, Any], json: bool
) -> None:
    shown = shown_state(session.log, session.id)
    by_id = {grade.body.grade_id: grade for grade in shown.grades}
    recorded = [by_id[grade.grade_id] for grade in found]
    if json:
        grades = [_grade_data(session.id, grade) for grade in recorded]
        print_json({"session": session.id, "grades": grades, **spent})
        return
    if not recorded:
        say("there is nothing to grade")
        return
    show.table(
        _GRADE_COLUMNS, [_grade_row(session.id, grade, "") for grade in recorded], whole=("grade",)
    )
    if spent:
        cost = spent["cost"]
        price = "price not known" if cost is None else f"${cost:.4f}"
        say(f"{spent['tokens']} tokens ({price})")


def _spent(session: Session, after_seq: int) -> dict[str, Any]:
    replies = [
        event.body
        for event in session.log.events(session.id, after_seq, kinds=["agent_replied"])
        if isinstance(event.body, AgentReplied)
    ]
    return {
        "tokens": sum(reply.usage.total_tokens for reply in replies),
        "cost": cost_of([reply.usage for reply in replies]),
    }


def _grade_data(session_id: str, grade: Recorded[GradeGiven]) -> dict[str, Any]:
    return {
        "session": session_id,
        "at": grade.at.isoformat(),
        "author": grade.actor.who,
        "author_kind": grade.actor.kind,
        **grade.body.model_dump(mode="json", exclude={"kind", "about"}),
    }


def _grade_row(session_id: str, grade: Recorded[GradeGiven], prefix: str) -> tuple[str, ...]:
    body = grade.body
    score = "unscored" if body.score is None else f"{body.score:.3g}"
    return (
        session_id,
        f"{prefix}{body.grade_id}",
        body.subject,
        score,
        grade.actor.who,
        f"{body.rubric} {body.rubric_version}",
        body.reason,
    )
