"""Commands of the agent and its graders: agent run, agent resume, grade, grades show, evaluate."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from workbench.cli.agent_arguments import (
    AuditArguments,
    BudgetArguments,
    EvaluateArguments,
    GradeArguments,
)
from workbench.cli.derived import Given, arguments_from, option_name, options_of
from workbench.cli.judging import judge_as_set
from workbench.cli.options import (
    Database,
    Engine,
    Json,
    SessionOptions,
    WantedSession,
    measure_arguments,
    options_from,
    pair_arguments,
    working_options,
)
from workbench.cli.spreading import SpreadArguments, spread_arguments
from workbench.operations.difference import MeasureArguments
from workbench.operations.pair import PairArguments
from workbench.settings import Settings

# What works with the endpoint is imported inside the commands: its client takes its time, and nobody
# who asks for --help waits for it.

app = typer.Typer(no_args_is_help=True, help="Let an LLM audit a pair of models.")
grades = typer.Typer(no_args_is_help=True, help="Show recorded grades.")

#: An audit goes on with its own pair; only trust in its code is not taken over from the record.
_FIELDS_OF_THE_AUDIT = set(PairArguments.model_fields) - {"trust_remote_code"}


_ENDPOINT_NAMES = {"agent_model": "model"}


def _endpoint(*names: str) -> Any:
    """Options of the settings ``names``, called as on every command."""
    return options_of(
        Settings,
        leave_out=set(Settings.model_fields) - set(names),
        names=_ENDPOINT_NAMES,
        panels=dict.fromkeys(names, "Endpoint"),
    )


_BUDGET = dict.fromkeys(BudgetArguments.model_fields, "Budget")
_BUDGET_NAMES = {"tokens": "token-budget"}


@app.command("run")
@options_from(
    pair=pair_arguments,
    measure=measure_arguments,
    where=working_options,
    wanted=arguments_from(
        AuditArguments, names={**_BUDGET_NAMES, "approval": "approve"}, panels=_BUDGET
    ),
    endpoint=_endpoint("agent_model", "base_url", "stream", "tools", "context"),
)
def run_agent(
    pair: PairArguments,
    measure: MeasureArguments,
    where: SessionOptions,
    wanted: AuditArguments,
    endpoint: Given,
    json: Json = False,
) -> None:
    """Let an LLM find out what the pair was finetuned to do."""
    from workbench.cli import auditing

    auditing.run_agent(pair, measure, where, wanted, endpoint, json)


@app.command("resume")
@options_from(
    loading=arguments_from(PairArguments, leave_out=_FIELDS_OF_THE_AUDIT),
    endpoint=_endpoint("agent_model", "base_url", "stream", "tools"),
    graded=options_of(GradeArguments, leave_out=set(GradeArguments.model_fields) - {"run"}),
)
def resume_agent(
    loading: PairArguments,
    endpoint: Given,
    graded: Given,
    session: WantedSession = "last",
    database: Database = None,
    engine: Engine = "auto",
    json: Json = False,
) -> None:
    """Continue an interrupted audit from its last event; recorded replies are not paid for again."""
    from workbench.cli import auditing

    where = SessionOptions(session, None, database, engine)
    auditing.resume_agent(where, graded.get("run"), endpoint, loading, json)


@app.command("reveal")
@options_from(
    by=options_of(GradeArguments, leave_out=set(GradeArguments.model_fields) - {"author"})
)
def reveal_names(
    by: Given, session: WantedSession = "last", database: Database = None, json: Json = False
) -> None:
    """Show the names that a blind session hides, and record that you saw them."""
    from workbench.cli import auditing

    auditing.reveal(session, by.get("author", ""), database, json)


@options_from(wanted=arguments_from(GradeArguments), endpoint=_endpoint("judge_model", "base_url"))
def grade(
    wanted: GradeArguments,
    endpoint: Given,
    session: WantedSession = "last",
    database: Database = None,
    json: Json = False,
) -> None:
    """Have a judge grade an audit's report, or grade it yourself with --score."""
    from workbench.cli import auditing

    if wanted.by_hand:
        _refuse_endpoint(endpoint, "a grade of your own asks no judge")
        auditing.grade_by_hand(session, wanted, database, json)
    else:
        auditing.grade_by_judge(session, wanted, judge_as_set(endpoint), database, json)


@grades.command("show")
def show_grades(
    sessions: Annotated[
        list[str] | None, typer.Argument(help="Sessions; the last by default.")
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Also show earlier versions of edited grades.")
    ] = False,
    database: Database = None,
    json: Json = False,
) -> None:
    """Show the grades of sessions, and how far the graders agree."""
    from workbench.cli import auditing

    auditing.show_grades(sessions or ["last"], history, database, json)


@options_from(
    wanted=arguments_from(
        EvaluateArguments,
        leave_out=("interactions",),
        names={
            **_BUDGET_NAMES,
            "agents": "agent",
            "organisms": "organism",
            "budgets": "budget",
            "max_new_tokens": "length",
        },
        panels=_BUDGET,
    ),
    endpoint=_endpoint("agent_model", "judge_model", "base_url"),
    spreading=spread_arguments,
)
def evaluate(
    wanted: EvaluateArguments,
    endpoint: Given,
    spreading: SpreadArguments,
    database: Database = None,
    json: Json = False,
) -> None:
    """Let agents audit organisms, grade them, and compare them with each other and the paper."""
    from workbench.cli import evaluating

    if wanted.session is not None:
        models = {name: value for name, value in endpoint.items() if name.endswith("_model")}
        _refuse_endpoint(models, f"evaluation {wanted.session!r} goes on with its own models")
    evaluating.evaluate(wanted, judge_as_set(endpoint), spreading, database, json)


def _refuse_endpoint(given: Given, why: str) -> None:
    """Raise ``BadParameter`` for options of the endpoint that would be ignored."""
    if given:
        names = ", ".join(option_name(name, _ENDPOINT_NAMES) for name in given)
        raise typer.BadParameter(f"{names}: {why}: leave it out")
