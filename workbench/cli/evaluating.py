"""The work of the command ``evaluate``, once its options are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from adl.artifacts import ArrayCache
from workbench.agent.endpoint import Endpoint
from workbench.agent.evaluation import Evaluation, EvaluationPlan, make_nulls
from workbench.agent.evaluation_units import EvaluationUnits
from workbench.agent.scoreboard import Row, audits, plot, rows
from workbench.cli import show
from workbench.cli.agent_arguments import EvaluateArguments
from workbench.cli.auditing import agent_mode, settings_of
from workbench.cli.new_files import check_new_file, write_whole
from workbench.cli.output import print_json, reported_errors, say
from workbench.cli.running import StopFlag, database_path
from workbench.cli.spreading import SpreadArguments, pool_for
from workbench.locations import find_locations
from workbench.settings import Settings
from workbench.store.lease import Lease
from workbench.store.log import SessionLog
from workbench.workers.units import UnitsFailed, spread


def plan_of(wanted: EvaluateArguments, settings: Settings) -> EvaluationPlan:
    """The plan of an evaluation; makes its null pairs.

    Raises ``SettingsError`` where no model is set, ``OrganismError``.
    """
    return EvaluationPlan(
        agents=tuple(map(agent_mode, dict.fromkeys(wanted.agents))),
        organisms=tuple(dict.fromkeys(wanted.organisms)),
        budgets=tuple(dict.fromkeys(wanted.budgets)),
        repeats=wanted.repeats,
        model=settings.require_model("agent"),
        judge_model=settings.require_model("judge"),
        grades=wanted.grades,
        calls=wanted.calls,
        tokens=wanted.tokens,
        seconds=wanted.seconds,
        n_texts=wanted.n_texts,
        n_prompts=wanted.n_prompts,
        max_new_tokens=wanted.max_new_tokens,
        nulls=make_nulls(wanted.organisms[0]) if wanted.nulls else (),
    )


def evaluate(
    wanted: EvaluateArguments,
    endpoint_options: Mapping[str, Any],
    spreading: SpreadArguments,
    database: Path | None,
    json: bool,
) -> None:
    """Do what is not done of an evaluation, and show what it amounts to."""
    session = wanted.session
    flag = StopFlag()
    locations = find_locations()
    cache = ArrayCache(locations.arrays)
    with (
        reported_errors(),
        flag.catching_signals(),
        SessionLog.open(database_path(database, locations)) as log,
    ):
        if wanted.plot is not None:
            check_new_file(wanted.plot, force=wanted.force)
        settings = settings_of(endpoint_options)
        known = (
            None
            if session is None
            else Evaluation(log, log.find_session(session).id, cache, say=say)
        )
        plan = known.plan if known else plan_of(wanted, settings)
        failed = None
        with ExitStack() as held:
            if known and _left(known, plan):
                held.enter_context(_alone(locations.leases, known))
            # Before a new evaluation is begun: workers that cannot be had leave no session.
            pool = held.enter_context(pool_for(spreading, _left(known, plan)))
            evaluation = known or Evaluation.start(log, plan, cache, say=say)
            if known is None:
                held.enter_context(_alone(locations.leases, evaluation))
            say(
                f"evaluation {evaluation.session.id}: `evaluate --session {evaluation.session.id}` "
                "goes on with it"
            )
            if pool is None:
                with closing(Endpoint(settings)) as endpoint, closing(Endpoint(settings)) as judge:
                    evaluation.go(endpoint, judge, flag)
            else:
                units = EvaluationUnits(evaluation, settings)
                try:
                    spread(units, log, pool, say, flag)
                except UnitsFailed as exc:
                    failed = exc
        found = audits(log, evaluation.session.state)
        table = rows(found)
        drawn = plot(table)
        if json:
            print_json(
                {
                    "session": evaluation.session.id,
                    "database": str(log.path),
                    "rows": [row.as_dict() for row in table],
                    "audits": [
                        {
                            "agent": audit.cell.mode,
                            "organism": audit.cell.organism,
                            "interactions": audit.cell.interactions,
                            "repeat": audit.cell.repeat,
                            "session": audit.session,
                            "status": audit.status,
                            "null": audit.is_null,
                            "success": audit.success,
                            "grade": audit.grade,
                            "unscored": audit.unscored,
                            "stopped_by": audit.stopped_by,
                            "tokens": audit.tokens,
                            "cost": audit.cost,
                        }
                        for audit in found
                    ],
                }
            )
        else:
            _print(table)
            show.paragraph(drawn)
        if wanted.plot is not None:
            # After the table, which a full disk shall not cost.
            write_whole(wanted.plot, drawn + "\n", replace=wanted.force)
        if failed is not None:
            # After the table: what could be done is shown.
            raise failed


def _left(known: Evaluation | None, plan: EvaluationPlan) -> int:
    """Return the number of cells that are not done; all of an evaluation that is not begun."""
    return sum(known is None or not known.is_done(cell.key) for cell in plan.cells())


@contextmanager
def _alone(leases: Path, evaluation: Evaluation) -> Iterator[None]:
    """Work at an evaluation that no other process is at, as far as that one had come.

    Two would do the same audit in the same session. Its workers are not asked: the process that
    has them holds it. Raises ``OpenElsewhere``.
    """
    lease = Lease.take(leases, evaluation.session.id)
    try:
        evaluation.session.catch_up()
        yield
    finally:
        lease.release()


def _print(table: Sequence[Row]) -> None:
    columns = (
        "agent",
        "i",
        "organism",
        "done",
        "scored",
        "success [95%]",
        "false positives [95%]",
        "nulls",
        "grade 2 [95%]",
        "paper",
        "grade 4 [95%]",
        "paper",
        "mean",
        "tokens",
        "cost",
    )
    show.table(
        columns,
        [
            (
                row.agent.replace("_", "-"),
                row.interactions,
                row.organism,
                f"{row.done}/{row.audits}",
                row.scored,
                row.success.text(),
                row.false_positives.text(),
                f"{row.scored_nulls}/{row.nulls}",
                row.reach_2.text(),
                _percent(row.paper_2),
                row.reach_4.text(),
                _percent(row.paper_4),
                show.NOT_COMPUTED if row.mean_grade is None else f"{row.mean_grade:.2f}",
                row.tokens,
                "price not known" if row.cost is None else f"${row.cost:.2f}",
            )
            for row in table
        ],
        title="shares of audits with 95% confidence intervals: a right one among ten guesses, a find "
        "on null pairs, a grade",
    )
    # The rows of all organisms have none of the null pairs.
    unscored = sum(row.unscored_grades for row in table if row.organism != "all")
    say(f"{unscored} grades are unscored and left out of the shares")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
