"""Commands on finished sessions: report, compare, coverage, branch, export and import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field

from adl.words import number_of
from workbench.blinding.sessions import shown_state
from workbench.cli import show
from workbench.cli.derived import arguments_from
from workbench.cli.exporting import Sign, export
from workbench.cli.options import Database, Json, NewFile, WantedSession, options_from
from workbench.cli.output import print_json, reported_errors, say
from workbench.cli.running import database_path, reading_log
from workbench.operations.running import Arguments
from workbench.private_files import opened_input
from workbench.replay.branch import branch as branch_session
from workbench.replay.compare import compare as compare_sessions
from workbench.replay.compare import grade_rows, rows
from workbench.replay.coverage import ACTIVITY_COLUMNS, Coverage
from workbench.replay.coverage import coverage as cover
from workbench.report.content import build_report
from workbench.report.errors import ExportError
from workbench.report.files import report_files, write_report
from workbench.report.inspect_log import export_inspect
from workbench.report.jsonl import export_jsonl, import_jsonl, schema
from workbench.report.known_heads import SQLITE
from workbench.report.vectors import export_vectors
from workbench.store.ids import file_stem
from workbench.store.log import SessionLog

SHOWN = 20

# --- reports --------------------------------------------------------------------------------


class ReportArguments(Arguments):
    """The folder for the files of a report."""

    to: Path = Field(Path(), description="Folder for the files.")
    force: bool = Field(False, description="Replace files that are there.")


@options_from(wanted=arguments_from(ReportArguments))
def report(
    wanted: ReportArguments,
    session: WantedSession = "last",
    database: Database = None,
    json: Json = False,
) -> None:
    """Write a session's report, as Markdown and as one HTML file that runs nothing."""
    with reading_log(database) as log:
        found = log.find_session(session).id
        made = build_report(log, found)
        target = wanted.to / file_stem(found)
        for file in report_files(target):
            if file.exists() and not wanted.force:
                raise ExportError(f"{file} exists already", "Replace it with --force.")
        markdown, html = write_report(made, target, replace=wanted.force)
    if json:
        data = {"markdown": str(markdown), "html": str(html)}
        print_json({"session": found, "verified": made.verified, **data})
    else:
        for file in (markdown, html):
            say(f"written: {file}")
        if not made.verified:
            say("note: the session does not verify, and the report says so")


def compare(
    sessions: Annotated[list[str], typer.Argument(help="Two sessions or more.")],
    database: Database = None,
    json: Json = False,
) -> None:
    """Compare sessions side by side: hypotheses, evidence, budget, time and grades."""
    if len(sessions) < 2:
        raise typer.BadParameter("name two sessions or more")
    with reading_log(database) as log:
        states = [shown_state(log, log.find_session(session).id) for session in sessions]
    compared = compare_sessions(states)
    if json:
        print_json(compared.as_dict())
        return
    names = [session.name for session in compared.sessions]
    show.table(("", *names), rows(compared))
    grades = grade_rows(compared)
    if grades:
        show.table(("grades", *names), grades)
    if compared.shared_evidence:
        show.table(
            ("evidence in more than one",), [(evidence,) for evidence in compared.shared_evidence]
        )


def coverage(
    session: WantedSession = "last", database: Database = None, json: Json = False
) -> None:
    """Show leads that were never followed up, and how the budget was spent."""
    with reading_log(database) as log:
        found = cover(shown_state(log, log.find_session(session).id))
    if json:
        print_json(found.as_dict())
        return
    _show_coverage(found)


def _show_coverage(found: Coverage) -> None:
    shown = f" (the first {SHOWN} here)" if len(found.tokens) > SHOWN else ""
    show.table(
        ("token", "best rank", "lists", "also in a null", "event"),
        [
            (
                token.text.strip(),
                token.best_rank,
                token.lists,
                "yes" if token.in_controls else "",
                token.seq,
            )
            for token in found.tokens[:SHOWN]
        ],
        title=f"{number_of(len(found.tokens), 'top token')} that nobody named{shown}, "
        f"{found.tokens_seen} named",
    )
    show.pairs(
        "never used",
        {
            "operations": list(found.operations_unused) or "none",
            "readings": list(found.readings_unused) or "none",
            "readings not computed": list(found.readings_failed) or "none",
        },
    )
    if found.untested:
        show.pairs("untested", {"hypotheses": list(found.untested)})
    if found.dropped:
        dropped = [(lead.id, lead.how, lead.text) for lead in found.dropped]
        show.table(("dropped without a test", "how", "hypothesis"), dropped)
    show.table(
        ACTIVITY_COLUMNS,
        [activity.row() for activity in found.activities],
    )


# --- branches -------------------------------------------------------------------------------


class BranchArguments(Arguments):
    """The session and the event at which a branch begins."""

    session: str = Field(description="Session: its id or the start of it, its name, or last.")
    seq: int = Field(ge=1, description="Number of the event after which it branches off.")
    name: str | None = Field(None, description="Name of the new session.")


@options_from(wanted=arguments_from(BranchArguments, positional=("session", "seq")))
def branch(wanted: BranchArguments, database: Database = None, json: Json = False) -> None:
    """Start a new session from another session's state after an event."""
    with reading_log(database) as reader:
        found = reader.find_session(wanted.session).id
    with reported_errors(), SessionLog.open(database_path(database)) as log:
        new = branch_session(log, found, wanted.seq, wanted.name)
    if json:
        print_json({"session": new, "parent": found, "parent_seq": wanted.seq})
    else:
        say(f"session {new} branches from event {wanted.seq} of {found}")


# --- exports --------------------------------------------------------------------------------

exports = typer.Typer(no_args_is_help=True, help="Write a session for other programs to read.")


@exports.command("jsonl")
def to_jsonl(
    session: WantedSession,
    to: NewFile,
    key: Sign = None,
    database: Database = None,
    json: Json = False,
) -> None:
    """The whole session as JSON lines, to be imported again to the last bit (.gz compresses)."""
    export(session, to, export_jsonl, database=database, json=json, key=key)


@exports.command("inspect")
def to_inspect(
    session: WantedSession, to: NewFile, database: Database = None, json: Json = False
) -> None:
    """An Inspect log (.eval or .json), which `inspect view` opens."""
    export(session, to, export_inspect, database=database, json=json)


@exports.command("vectors")
def to_vectors(
    session: WantedSession, to: NewFile, database: Database = None, json: Json = False
) -> None:
    """The measured differences with their norms, as safetensors."""
    export(session, to, export_vectors, database=database, json=json)


@exports.command("schema")
def print_schema() -> None:
    """Print the JSON Schema of a line of the JSONL export."""
    print_json(schema())


class ImportArguments(Arguments):
    """The file to import from, and the session to take."""

    source: Path = Field(description="File with the session: JSON lines, or a session database.")
    session: str | None = Field(None, description="Session to take, if the file has several.")


@options_from(wanted=arguments_from(ImportArguments, positional="source"))
def import_file(wanted: ImportArguments, database: Database = None, json: Json = False) -> None:
    """Import a session from a file, if it verifies."""
    source, session = wanted.source, wanted.session
    with reported_errors(), SessionLog.open(database_path(database)) as log:
        with opened_input(source) as file:
            is_database = file.read(len(SQLITE)) == SQLITE
        if session is not None and not is_database:
            raise typer.BadParameter("--session is for a database: JSON lines have one session")
        imported = log.import_session(source, session) if is_database else import_jsonl(log, source)
    if json:
        print_json({"session": imported, "database": str(log.path)})
    else:
        say(f"imported: {imported}")
