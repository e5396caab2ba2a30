"""Commands on recorded sessions; none of them loads a model or changes what was recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from workbench.cli import show
from workbench.cli.options import Database, Json
from workbench.cli.running import (
    EXIT_FAILURE,
    database_path,
    print_json,
    reading_log,
    reported_errors,
    say,
)
from workbench.store.describe import describe
from workbench.store.events import EventBody
from workbench.store.log import SessionLog
from workbench.store.overview import SessionOverview

if TYPE_CHECKING:
    from workbench.agent.hidden_sessions import HiddenNames

KINDS = tuple(body.model_fields["kind"].default for body in get_args(get_args(EventBody)[0]))

app = typer.Typer(no_args_is_help=True, help="List, show, search and verify recorded sessions.")

# In what these say a name stands by itself.
_NAMING = frozenset(
    {"session_started", "session_renamed", "audit_sealed", "pair_loaded", "operation_started"}
)

Wanted = Annotated[str, typer.Argument(help="Session id, the start of one, a name, or last.")]


@app.command("list")
def list_sessions(database: Database = None, json: Json = False) -> None:
    """List the sessions, the one written to last first."""
    path = database_path(database)
    # Before the first audit there is no file yet, which is an empty list and no error.
    sessions = _overviews(path) if database or path.exists() else []
    if json:
        print_json([_overview(session) for session in sessions])
        return
    if not sessions:
        say(f"no sessions yet in {path}")
        return
    columns = ("session", "name", "pair", "events", "last event", "outcome")
    show.table(
        columns,
        [
            (
                session.id,
                session.name,
                " / ".join(Path(part).name for part in (session.base, session.finetuned) if part),
                session.events,
                f"{session.last_event_at:%Y-%m-%d %H:%M}",
                session.outcome or "open",
            )
            for session in sessions
        ],
        whole=("session",),
    )


@app.command("show")
def show_session(
    session: Wanted = "last",
    database: Database = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only such events.")] = None,
    json: Json = False,
) -> None:
    """Show every event of a session, in order."""
    for one in kind or ():
        if one not in KINDS:
            raise typer.BadParameter(
                f"{one!r} is not a kind of event; there are: {', '.join(KINDS)}"
            )
    with reading_log(database) as log:
        hidden = _hidden(log)
        found = log.find_session(session)
        hide = hidden.of(found.id)
        found = hidden.overview(found)
        events = log.events(found.id, kinds=kind or None)
        if json:
            data = _overview(found) | {
                "event_list": [
                    hide.hide_all(event.model_dump(mode="json"), words=event.body.kind in _NAMING)
                    for event in events
                ]
            }
            print_json(data)
            return
        show.heading(f"{found.name}  ({found.id}, {found.outcome or 'open'})")
        show.table(
            ("seq", "time (UTC)", "who", "kind", "what"),
            [
                (
                    event.seq,
                    f"{event.at:%H:%M:%S}",
                    event.actor.name or event.actor.kind,
                    event.body.kind,
                    (hide.hide_words if event.body.kind in _NAMING else hide.hide)(
                        describe(event.body)
                    ),
                )
                for event in events
            ],
            whole=("seq", "kind"),
        )


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(help="Words that must all be there.")],
    session: Annotated[str | None, typer.Option("--session", help="Only in this one.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1)] = 50,
    database: Database = None,
    json: Json = False,
) -> None:
    """Find events by the words in their notes, texts, tokens, prompts and errors."""
    with reading_log(database) as log:
        only = log.find_session(session).id if session else None
        hidden = _hidden(log)
        hits = [
            replace(hit, snippet=hidden.of(hit.session_id).hide(hit.snippet))
            for hit in log.search(" ".join(words), limit, session_id=only)
        ]
    if json:
        print_json(
            [
                {
                    "session": hit.session_id,
                    "seq": hit.seq,
                    "kind": hit.kind,
                    "snippet": hit.snippet,
                }
                for hit in hits
            ]
        )
        return
    if not hits:
        say("nothing found")
        return
    show.table(
        ("session", "seq", "kind", "found"),
        [(hit.session_id, hit.seq, hit.kind, hit.snippet) for hit in hits],
        whole=("session",),
    )


@app.command()
def verify(
    session: Annotated[str | None, typer.Argument(help="One session; all by default.")] = None,
    database: Database = None,
    json: Json = False,
) -> None:
    """Derive every hash again, and say what does not fit."""
    with reading_log(database) as log:
        report = log.verify(log.find_session(session).id if session else None)
    if json:
        print_json(
            {
                "ok": report.ok,
                "events": report.events,
                "arrays": report.arrays,
                "heads": report.heads,
                "problems": [
                    {"session": problem.session_id, "seq": problem.seq, "what": problem.what}
                    for problem in report.problems
                ],
            }
        )
    elif report.ok:
        say(f"verified: {report.events} events and {report.arrays} arrays are as recorded")
    else:
        columns = ("session", "seq", "what is wrong")
        rows = [(p.session_id, p.seq, p.what) for p in report.problems]
        show.table(columns, rows, whole=("session",))
    if not report.ok:
        raise typer.Exit(EXIT_FAILURE)


@app.command("path")
def show_path(database: Database = None, json: Json = False) -> None:
    """Say where the session database is."""
    path = database_path(database)
    if json:
        print_json({"database": str(path), "exists": path.exists()})
    else:
        typer.echo(str(path))


@app.command("export")
def export_session(
    session: Wanted,
    to: Annotated[Path, typer.Argument(help="New file for the one session.")],
    database: Database = None,
    json: Json = False,
) -> None:
    """Copy one session, arrays and all, into a file of its own that can be mailed."""
    from workbench.cli.hiding import say_if_raw

    with reading_log(database) as log:
        found = log.find_session(session).id
        written = log.export_session(found, to)
        say_if_raw(log, found)
    if json:
        print_json({"session": found, "file": str(written)})
    else:
        say(f"written: {written}")


@app.command("import")
def import_session(
    source: Annotated[Path, typer.Argument(help="File with the session.")],
    session: Annotated[str | None, typer.Option("--session", help="Which, if several.")] = None,
    database: Database = None,
    json: Json = False,
) -> None:
    """Take a session out of another file, once it verifies."""
    with reported_errors(), SessionLog.open(database_path(database)) as log:
        imported = log.import_session(source, session)
    if json:
        print_json({"session": imported, "database": str(log.path)})
    else:
        say(f"imported: {imported}")


def _overviews(path: Path) -> list[SessionOverview]:
    with reading_log(path) as log:
        return list(map(_hidden(log).overview, log.sessions()))


def _hidden(log: SessionLog) -> HiddenNames:
    """What blind sessions hide from whoever looks at them."""
    # Imported now: --help does not wait for it.
    from workbench.agent.hidden_sessions import HiddenNames

    return HiddenNames.read(log)


def _overview(session: SessionOverview) -> dict[str, Any]:
    return {
        "session": session.id,
        "name": session.name,
        "created_at": session.created_at.isoformat(),
        "last_event_at": session.last_event_at.isoformat(),
        "events": session.events,
        "base": session.base,
        "finetuned": session.finetuned,
        "outcome": session.outcome,
    }
