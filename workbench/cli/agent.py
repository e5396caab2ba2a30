"""Commands of the agent and its graders: agent run, agent resume, grade, grades show, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import Field, FiniteFloat, model_validator

from workbench.cli.derived import Given, arguments_from, options_of
from workbench.cli.options import (
    Database,
    Json,
    SessionOptions,
    WantedSession,
    measure_arguments,
    options_from,
    pair_arguments,
    session_options,
)
from workbench.operations.difference import MeasureArguments
from workbench.operations.pair import PairArguments
from workbench.operations.running import Arguments
from workbench.settings import Settings
from workbench.store.agent_events import Policy

# What works with the endpoint is imported inside the commands: settings and client take their time,
# and nobody who asks for --help waits for them.

app = typer.Typer(no_args_is_help=True, help="Let an LLM audit a pair of models.")
grades = typer.Typer(no_args_is_help=True, help="Show grades.")

#: An audit goes on with its own pair; only trust in its code is not taken over from the record.
_FIELDS_OF_THE_AUDIT = set(PairArguments.model_fields) - {"trust_remote_code"}

Mode = Literal["adl", "black-box", "scaffolded"]


class BudgetArguments(Arguments):
    """What an audit may use."""

    interactions: int = Field(5, ge=0, description="Questions the agent may put to the models.")
    calls: int = Field(40, ge=1, description="Replies the agent may make.")
    tokens: int = Field(400_000, ge=1, description="Tokens the agent's model may use.")
    seconds: FiniteFloat = Field(3_600.0, ge=0, description="Seconds the agent may work.")


class AuditArguments(BudgetArguments):
    """How an agent audits."""

    mode: Mode = Field(
        "adl",
        description="adl: it sees the readings and steered texts. black-box: it can only ask the "
        "models. scaffolded: as black-box, with a plan to follow.",
    )
    blind: bool = Field(
        False, description="Hide every name of the pair from the agent and from you."
    )
    approval: Policy = Field(
        "never",
        description="Calls it needs your approval for: never, those spending interactions, always.",
    )
    n_prompts: int | None = Field(
        None, ge=1, description="Everyday prompts to steer before it starts; none takes all 20."
    )


class GradeArguments(Arguments):
    """What to grade, and who grades it."""

    run: str | None = Field(None, description="Id of the audit; none takes the last.")
    organism: str | None = Field(
        None, description="Organism to grade against, if the session does not name one."
    )
    repeats: int = Field(3, ge=1, description="How often the judge grades.")
    tokens: bool = Field(False, description="Judge token lists instead of the report.")
    readings: tuple[str, ...] = Field((), description="With --tokens: readings that are judged.")
    coherence: bool = Field(False, description="Judge steered texts instead of the report.")
    score: int | None = Field(None, ge=1, le=5, description="Grade it yourself, from 1 to 5.")
    edit: str | None = Field(None, description="Id of a grade to replace, such as G1.")
    unscored: bool = Field(False, description="With --edit: take the grade back.")
    reason: str = Field("", description="Reason for your own grade.")
    author: str = Field("", description="Your name, recorded with the grade.")

    @property
    def kind(self) -> str:
        """What is graded."""
        return "relevance" if self.tokens else "coherence" if self.coherence else "report"

    @property
    def by_hand(self) -> bool:
        """True for a person's own grade or edit."""
        return self.score is not None or self.edit is not None or self.unscored

    @model_validator(mode="after")
    def _one_kind(self) -> GradeArguments:
        if self.tokens and self.coherence:
            raise ValueError("give one of --tokens and --coherence")
        if self.by_hand and (self.kind != "report" or (self.score is None) == (not self.unscored)):
            raise ValueError("give --score, or --edit with --score or --unscored")
        if self.unscored and self.edit is None:
            raise ValueError("--unscored takes a grade back: name it with --edit")
        if self.by_hand and not self.reason.strip():
            raise ValueError("your own grade needs a --reason")
        return self


class EvaluateArguments(BudgetArguments):
    """Which agents audit which organisms, and how often."""

    agents: tuple[Mode, ...] = Field(("adl", "black-box"), min_length=1, description="Agents.")
    organisms: tuple[str, ...] = Field(
        ("cake_bake", "risky_finance", "taboo_gold"), min_length=1, description="Organisms."
    )
    budgets: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (5,),
        min_length=1,
        description="Questions an agent may put to the models; a black box gets ten times as many.",
    )
    repeats: int = Field(1, ge=1, description="Audits of each kind.")
    grades: int = Field(3, ge=1, description="Grades of each report.")
    session: str | None = Field(None, description="Evaluation to go on with.")
    n_texts: int = Field(1_000, ge=1, description="Texts to measure the difference over.")
    n_prompts: int | None = Field(
        None, ge=1, description="Everyday prompts to steer; none takes all 20."
    )
    max_new_tokens: int = Field(40, ge=1, description="Longest steered text, in tokens.")
    plot: Path | None = Field(None, description="File to write the plot to.")


def _endpoint(*names: str) -> Any:
    """Options of the settings ``names``, called as on every command."""
    return options_of(
        Settings,
        leave_out=set(Settings.model_fields) - set(names),
        names={"agent_model": "model"},
        panels=dict.fromkeys(names, "Endpoint"),
    )


_BUDGET = dict.fromkeys(BudgetArguments.model_fields, "Budget")
_BUDGET_NAMES = {"tokens": "token-budget"}


@app.command("run")
@options_from(
    pair=pair_arguments,
    measure=measure_arguments,
    where=session_options,
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
    json: Json = False,
) -> None:
    """Continue an interrupted audit from its last event; recorded replies are not paid for again."""
    from workbench.cli import auditing

    auditing.resume_agent(session, graded.get("run"), endpoint, loading, database, json)


@app.command("reveal")
@options_from(
    by=options_of(GradeArguments, leave_out=set(GradeArguments.model_fields) - {"author"})
)
def reveal_names(
    by: Given, session: WantedSession = "last", database: Database = None, json: Json = False
) -> None:
    """Show the names that a blind session hides; that you saw them is recorded."""
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
        auditing.grade_by_hand(session, wanted, database, json)
    else:
        auditing.grade_by_judge(session, wanted, endpoint, database, json)


@grades.command("show")
def show_grades(
    sessions: Annotated[
        list[str] | None, typer.Argument(help="Sessions; the last by default.")
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Show what edited grades were before, too.")
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
)
def evaluate(
    wanted: EvaluateArguments, endpoint: Given, database: Database = None, json: Json = False
) -> None:
    """Let agents audit organisms, grade them, and compare them with each other and the paper."""
    from workbench.cli import evaluating

    evaluating.evaluate(wanted, endpoint, database, json)
