"""Commands of the agent and its graders: agent run, agent resume, grade, grades show, evaluate."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from workbench.cli.derived import Given, made, options_of
from workbench.cli.options import (
    Database,
    Json,
    SessionOptions,
    measure_arguments,
    options_from,
    pair_arguments,
    session_options,
)
from workbench.operations.difference import MeasureArguments
from workbench.operations.pair import PairArguments

# What works with the endpoint is imported inside the commands: settings and client take their time,
# and nobody who asks for --help waits for them.

app = typer.Typer(no_args_is_help=True, help="Let an LLM audit a pair.")
grades = typer.Typer(no_args_is_help=True, help="Show grades.")


class Mode(StrEnum):
    """What the agent may see."""

    ADL = "adl"
    BLACK_BOX = "black-box"
    SCAFFOLDED = "scaffolded"


class Approval(StrEnum):
    """Which of its calls a person is asked about."""

    NEVER = "never"
    SPENDING = "spending"
    ALWAYS = "always"


#: An audit goes on with its own pair; only trust in its code is not taken over from the record.
PAIR_FIELDS_OF_THE_AUDIT = set(PairArguments.model_fields) - {"trust_remote_code"}

_ENDPOINT = "Endpoint"
_BUDGET = "Budget"
_OUTPUT = "Output"

Model = Annotated[
    str | None,
    typer.Option("--model", help="Model that plays the agent.", rich_help_panel=_ENDPOINT),
]
JudgeModel = Annotated[
    str | None,
    typer.Option("--judge-model", help="Model that grades.", rich_help_panel=_ENDPOINT),
]
BaseUrl = Annotated[
    str | None,
    typer.Option("--base-url", help="OpenAI-compatible endpoint.", rich_help_panel=_ENDPOINT),
]
Stream = Annotated[
    bool | None,
    typer.Option(
        "--stream/--no-stream", help="Take replies as they come.", rich_help_panel=_ENDPOINT
    ),
]
Tools = Annotated[
    str | None,
    typer.Option("--tools", help="auto, native or json.", rich_help_panel=_ENDPOINT),
]
Context = Annotated[
    int | None,
    typer.Option(
        "--context",
        min=1,
        help="Tokens before older results are sent shortened.",
        rich_help_panel=_ENDPOINT,
    ),
]
Interactions = Annotated[
    int,
    typer.Option("--interactions", min=0, help="Questions to models.", rich_help_panel=_BUDGET),
]
Calls = Annotated[
    int, typer.Option("--calls", min=1, help="Replies of the agent.", rich_help_panel=_BUDGET)
]
TokenBudget = Annotated[
    int,
    typer.Option("--token-budget", min=1, help="Tokens of the agent.", rich_help_panel=_BUDGET),
]
Seconds = Annotated[
    float,
    typer.Option("--seconds", min=0.0, help="Time at work, in seconds.", rich_help_panel=_BUDGET),
]
NPrompts = Annotated[
    int | None, typer.Option("--n-prompts", min=1, help="Steer so many everyday prompts.")
]
Wanted = Annotated[str, typer.Argument(help="Session id, the start of one, a name, or last.")]
RunId = Annotated[str | None, typer.Option("--run", help="Id of the audit; the last by default.")]
OrganismId = Annotated[
    str | None, typer.Option("--organism", help="The organism, if the session does not say.")
]


@app.command("run")
@options_from(pair=pair_arguments, measure=measure_arguments, where=session_options)
def run_agent(
    pair: PairArguments,
    measure: MeasureArguments,
    where: SessionOptions,
    mode: Annotated[Mode, typer.Option("--mode", help="What the agent may see.")] = Mode.ADL,
    blind: Annotated[bool, typer.Option("--blind", help="Hide every name of the pair.")] = False,
    approve: Annotated[
        Approval, typer.Option("--approve", help="Which calls to ask you about.")
    ] = Approval.NEVER,
    model: Model = None,
    base_url: BaseUrl = None,
    stream: Stream = None,
    tools: Tools = None,
    context: Context = None,
    interactions: Interactions = 5,
    calls: Calls = 40,
    token_budget: TokenBudget = 400_000,
    seconds: Seconds = 3_600.0,
    n_prompts: NPrompts = None,
    json: Json = False,
) -> None:
    """Let an LLM find out what the pair was finetuned to do."""
    from workbench.cli import auditing

    wanted = auditing.WantedAudit(
        mode=mode.value.replace("-", "_"),
        blind=blind,
        approval=approve.value,
        interactions=interactions,
        calls=calls,
        tokens=token_budget,
        seconds=seconds,
        n_prompts=n_prompts,
    )
    endpoint = {
        "agent_model": model,
        "base_url": base_url,
        "stream": stream,
        "tools": tools,
        "context": context,
    }
    auditing.run_agent(pair, measure, where, wanted, endpoint, json)


@app.command("resume")
@options_from(loading=options_of(PairArguments, leave_out=PAIR_FIELDS_OF_THE_AUDIT))
def resume_agent(
    loading: Given,
    session: Wanted = "last",
    run: RunId = None,
    model: Model = None,
    base_url: BaseUrl = None,
    stream: Stream = None,
    tools: Tools = None,
    database: Database = None,
    json: Json = False,
) -> None:
    """Go on with an audit from its last event; what was answered is not paid for again."""
    from workbench.cli import auditing

    endpoint = {"agent_model": model, "base_url": base_url, "stream": stream, "tools": tools}
    pair = made(PairArguments, loading)
    auditing.resume_agent(session, run, model, endpoint, pair, database, json)


@app.command("reveal")
def reveal_names(
    session: Wanted = "last",
    author: Annotated[str, typer.Option("--author", help="Who you are.")] = "",
    database: Database = None,
    json: Json = False,
) -> None:
    """Show the names that a blind session hides; that you saw them is recorded."""
    from workbench.cli import auditing

    auditing.reveal(session, author, database, json)


def grade(
    session: Wanted = "last",
    run: RunId = None,
    organism: OrganismId = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="How often to grade.")] = 3,
    tokens: Annotated[bool, typer.Option("--tokens", help="Judge token lists instead.")] = False,
    reading: Annotated[
        list[str] | None, typer.Option("--reading", help="Readings whose lists are judged.")
    ] = None,
    coherence: Annotated[
        bool, typer.Option("--coherence", help="Judge steered texts instead.")
    ] = False,
    score: Annotated[
        int | None, typer.Option("--score", min=1, max=5, help="Your own grade.")
    ] = None,
    edit: Annotated[str | None, typer.Option("--edit", help="Replace this grade (G1).")] = None,
    unscored: Annotated[
        bool, typer.Option("--unscored", help="With --edit: take the grade back.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; for your own grade.")] = "",
    author: Annotated[str, typer.Option("--author", help="Who you are.")] = "",
    model: JudgeModel = None,
    base_url: BaseUrl = None,
    database: Database = None,
    json: Json = False,
) -> None:
    """Grade a report by a judge, or by yourself with --score; edit a grade with --edit."""
    from workbench.cli import auditing

    kind = "relevance" if tokens else "coherence" if coherence else "report"
    by_hand = score is not None or edit is not None or unscored
    if tokens and coherence:
        raise typer.BadParameter("give one of --tokens and --coherence")
    if by_hand and (kind != "report" or (score is None) == (not unscored)):
        raise typer.BadParameter("give --score, or --edit with --score or --unscored")
    if unscored and edit is None:
        raise typer.BadParameter("--unscored takes a grade back: name it with --edit")
    if by_hand and not reason.strip():
        raise typer.BadParameter("your own grade needs a --reason")
    endpoint = {"judge_model": model, "base_url": base_url}
    if by_hand:
        auditing.grade_by_hand(session, run, organism, edit, score, reason, author, database, json)
    else:
        auditing.grade_by_judge(
            session, run, organism, kind, reading or [], repeats, endpoint, database, json
        )


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


def evaluate(
    agent: Annotated[
        list[Mode] | None, typer.Option("--agent", help="Agents; repeat for several.")
    ] = None,
    organism: Annotated[
        list[str] | None, typer.Option("--organism", help="Organisms; repeat for several.")
    ] = None,
    budget: Annotated[
        list[int] | None,
        typer.Option("--budget", min=0, help="Model interactions; a black box gets ten times."),
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Audits of each kind.")] = 1,
    grade_repeats: Annotated[
        int, typer.Option("--grades", min=1, help="Grades of each report.")
    ] = 3,
    session: Annotated[
        str | None, typer.Option("--session", help="Go on with this evaluation.")
    ] = None,
    model: Model = None,
    judge_model: JudgeModel = None,
    base_url: BaseUrl = None,
    calls: Calls = 40,
    token_budget: TokenBudget = 400_000,
    seconds: Seconds = 3_600.0,
    texts: Annotated[int, typer.Option("--texts", min=1, help="Texts to measure over.")] = 1_000,
    n_prompts: NPrompts = None,
    length: Annotated[int, typer.Option("--length", min=1, help="Steered text, in tokens.")] = 40,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Write the plot here.", rich_help_panel=_OUTPUT)
    ] = None,
    database: Database = None,
    json: Json = False,
) -> None:
    """Let agents audit organisms, grade them, and compare them with each other and the paper."""
    from workbench.cli import evaluating

    wanted = evaluating.WantedEvaluation(
        agents=tuple(one.value.replace("-", "_") for one in agent or (Mode.ADL, Mode.BLACK_BOX)),
        organisms=tuple(organism or ("cake_bake", "risky_finance", "taboo_gold")),
        budgets=tuple(budget or (5,)),
        repeats=repeats,
        grades=grade_repeats,
        calls=calls,
        tokens=token_budget,
        seconds=seconds,
        n_texts=texts,
        n_prompts=n_prompts,
        max_new_tokens=length,
    )
    endpoint = {"agent_model": model, "judge_model": judge_model, "base_url": base_url}
    evaluating.evaluate(wanted, session, endpoint, plot, database, json)
