"""Commands on recorded sessions; none of them loads a model or changes what was recorded."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import Field, model_validator

from adl.words import number_of
from workbench.cli import show
from workbench.cli.derived import arguments_from
from workbench.cli.exporting import Sign, export
from workbench.cli.options import Database, Json, NewFile, WantedSession, options_from
from workbench.cli.output import EXIT_FAILURE, print_json, reported_errors, say
from workbench.cli.report import import_file
from workbench.cli.running import database_path, reading_log
from workbench.fields import FieldsConflict
from workbench.locations import find_locations
from workbench.operations.running import Arguments
from workbench.store.body import KINDS
from workbench.store.errors import StoreError
from workbench.store.events import Event
from workbench.store.heads import Expected, Head
from workbench.store.lease import OpenElsewhere, is_open
from workbench.store.log import SessionLog
from workbench.store.overview import SessionOverview

if TYPE_CHECKING:
    from workbench.blinding.sessions import HiddenNames

#: Of names of models in a list of events; longer ones move the rest of their line.
WHO_WIDTH = 24

app = typer.Typer(
    no_args_is_help=True, help="List, show, search, verify and delete recorded sessions."
)


@app.command("list")
def list_sessions(database: Database = None, json: Json = False) -> None:
    """List the sessions, the most recent first."""
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
    session: WantedSession = "last",
    database: Database = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", help="Only such events.")] = None,
    json: Json = False,
) -> None:
    """Show every event of a session, in order."""
    for name in kind or ():
        if name not in KINDS:
            raise typer.BadParameter(
                f"{name!r} is not a kind of event; there are: {', '.join(KINDS)}"
            )
    with reading_log(database) as log:
        hidden = _hidden(log)
        found = log.find_session(session)
        redactor = hidden.redactor(found.id)
        found = _as_it_stands(hidden.overview(found))
        # Hidden first: a line is cut, and half a name is not known any more.
        events = map(redactor.event, log.events(found.id, kinds=kind or None))
        if json:
            _stream_json(_overview(found), events)
            return
        who = [actor.who for actor in log.actors(found.id)]
        show.stream(
            ("seq", "time", "who", "kind", "what"),
            (
                len(str(found.events)),
                len("12:00:00"),
                min(max(map(len, who)), WHO_WIDTH),
                max(map(len, kind or KINDS)),
            ),
            (
                (
                    str(event.seq),
                    f"{event.at:%H:%M:%S}",
                    event.actor.who,
                    event.body.kind,
                    event.body.describe(),
                )
                for event in events
            ),
            title=f"{found.name}  ({found.id}, {found.outcome or 'open'})",
        )


def _stream_json(head: dict[str, Any], events: Iterable[Event]) -> None:
    """Print the session as one JSON object, its events one by one, each on a line."""
    start = dumps(head, indent=2, ensure_ascii=True).removesuffix("\n}")
    write, between = sys.stdout.write, ""
    write(f'{start},\n  "event_list": [')
    for event in events:
        write(f"{between}\n    {dumps(event.model_dump(mode='json'), ensure_ascii=True)}")
        between = ","
    write("\n  ]\n}\n")
    sys.stdout.flush()


class SearchArguments(Arguments):
    """The words to look for, and the sessions to look in."""

    words: tuple[str, ...] = Field(min_length=1, description="Words that must all be there.")
    session: str | None = Field(None, description="Only this session.")
    limit: int = Field(50, ge=1, description="Most events shown.")


@app.command()
@options_from(wanted=arguments_from(SearchArguments, positional="words", names={"words": "words"}))
def search(wanted: SearchArguments, database: Database = None, json: Json = False) -> None:
    """Find events by the words in their notes, texts, tokens, prompts and errors."""
    with reading_log(database) as log:
        only = log.find_session(wanted.session).id if wanted.session else None
        hidden = _hidden(log)
        words = " ".join(wanted.words)
        found = hidden.search(log, words, wanted.limit + 1, session_id=only)
    hits = found[: wanted.limit]
    if len(found) > len(hits):
        say(f"these are the best {wanted.limit}; --limit shows more")
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


class VerifyArguments(Arguments):
    """The sessions to verify, and the heads to compare them with."""

    session: str | None = Field(None, description="One session; none verifies all.")
    expect: tuple[str, ...] = Field((), description="Head that the session had, as SEQ:SHA256")
    against: tuple[Path, ...] = Field(
        (), description="Export, report or .heads.jsonl whose heads the session had"
    )
    signature: Path | None = Field(
        None, description="Signature of the file --against, as `export jsonl --sign` makes it."
    )
    allowed_signers: Path | None = Field(
        None, description="File of the keys that may sign, see ssh-keygen(1)."
    )
    signer: str | None = Field(
        None, description="Name of whoever must have signed; none accepts anyone allowed."
    )

    @model_validator(mode="after")
    def _whole_signature(self) -> VerifyArguments:
        asked = self.signature or self.allowed_signers or self.signer
        if asked and (self.allowed_signers is None or len(self.against) != 1):
            raise FieldsConflict(
                "a signature is that of one file, checked with a list of signers",
                "against",
                "allowed_signers",
                "signature",
                "signer",
            )
        return self


@app.command()
@options_from(wanted=arguments_from(VerifyArguments, positional="session"))
def verify(wanted: VerifyArguments, database: Database = None, json: Json = False) -> None:
    """Recompute every hash, and show what does not match.

    Hashes cannot show that events were cut off the end: the last one is compared with the record
    kept beside the database, and with the heads you give.
    """
    with reading_log(database, damaged=True) as log:
        found = log.find_session(wanted.session).id if wanted.session else None
        signed_by = _signed_by(wanted)
        report = log.verify(found, _expected(log, found, wanted.expect, wanted.against))
    if json:
        print_json(
            {
                "ok": report.ok,
                "events": report.events,
                "arrays": report.arrays,
                "heads": report.heads,
                "known": {session: list(known.head) for session, known in report.known.items()},
                "signed_by": signed_by,
                "problems": [
                    {"session": problem.session_id, "seq": problem.seq, "what": problem.what}
                    for problem in report.problems
                ],
            }
        )
    elif report.ok:
        say(
            f"verified: {number_of(report.events, 'event')} and "
            f"{number_of(report.arrays, 'array')} are as recorded"
        )
        for session_id, head in report.heads.items():
            known = report.known.get(session_id)
            say(f"head of {session_id}: {head}, {_known(head, known)}")
        if signed_by:
            say(f"signed by {signed_by}")
    else:
        columns = ("session", "seq", "what is wrong")
        rows = [(p.session_id, p.seq, p.what) for p in report.problems]
        show.table(columns, rows, whole=("session",))
    if not report.ok:
        raise typer.Exit(EXIT_FAILURE)


def _known(head: Head, known: Expected | None) -> str:
    if known is None:
        return "which nothing outside the session confirms: events cut off after it would leave no trace"
    if known.head == head:
        return f"as {known.source} knows it"
    return f"and up to event {known.head.seq} as {known.source} knows it"


def _expected(
    log: SessionLog, session_id: str | None, expect: Sequence[str], against: Sequence[Path]
) -> list[Expected]:
    """The heads that are given, as text or in files."""
    found = []
    if expect:
        sessions = [session_id] if session_id else [session.id for session in log.sessions()]
        if len(sessions) != 1:
            raise typer.BadParameter("--expect belongs to one session: name the session, too")
        found = [Expected(sessions[0], Head.read(head), "--expect") for head in expect]
    if against:
        from workbench.report.known_heads import heads_in

        for file in against:
            heads = heads_in(file)
            if session_id and all(head.session_id != session_id for head in heads):
                raise typer.BadParameter(f"{file} has no head of session {session_id}")
            found += heads
    return found


def _signed_by(wanted: VerifyArguments) -> str | None:
    """Return who signed the file that the session is compared with; None if nobody asks."""
    if wanted.allowed_signers is None:
        return None
    from workbench.report.signing import check_signature, signature_file

    (file,) = wanted.against
    signature = wanted.signature or signature_file(file)
    return check_signature(file, signature, wanted.allowed_signers, wanted.signer)


class DeleteArguments(Arguments):
    """The session to delete, named twice."""

    session: str = Field(description="Session: its id or the start of it, or its name.")
    confirm: str = Field(description="The session's name, to be sure.")
    vacuum: bool = Field(False, description="Also return the space to the disk.")


@app.command("delete")
@options_from(wanted=arguments_from(DeleteArguments, positional="session"))
def delete_session(wanted: DeleteArguments, database: Database = None, json: Json = False) -> None:
    """Delete a session for good; the log keeps a note that it existed."""
    with _writing(database) as log:
        hidden = _hidden(log)
        found = log.find_session(wanted.session)
        _check_closed([found])
        # Confirmed is the name as it is shown, which of a blind session is not its own.
        same = hidden.overview(found).name == wanted.confirm
        log.delete_session(found.id, confirm=found.name if same else wanted.confirm)
        sizes = log.vacuum() if wanted.vacuum else None
    if json:
        print_json({"deleted": found.id, "bytes": list(sizes) if sizes else None})
    else:
        say(f"deleted: {found.id}")
        _say_sizes(sizes)


@app.command("vacuum")
def vacuum_database(database: Database = None, json: Json = False) -> None:
    """Return the space of deleted sessions to the disk."""
    with _writing(database) as log:
        _check_closed(log.sessions())
        before, after = log.vacuum()
    if json:
        print_json({"database": str(log.path), "bytes": [before, after]})
    else:
        _say_sizes((before, after))


def _check_closed(sessions: Sequence[SessionOverview]) -> None:
    """Raise `OpenElsewhere` if one of them is at work: it would wait for all of the copying."""
    leases = find_locations().leases
    for session in sessions:
        if is_open(leases, session.id):
            raise OpenElsewhere(session.id)


def _say_sizes(sizes: tuple[int, int] | None) -> None:
    if sizes is not None:
        before, after = (size / 2**20 for size in sizes)
        say(f"{before:.1f} MiB before, {after:.1f} MiB after")


@contextmanager
def _writing(database: Path | None) -> Iterator[SessionLog]:
    """The session database, which must be there."""
    path = database_path(database)
    with reported_errors():
        if not path.exists():
            raise StoreError(f"there is no session file {path}", "Check the path.")
        with SessionLog.open(path) as log:
            yield log


@app.command("path")
def show_path(database: Database = None, json: Json = False) -> None:
    """Print the path of the session database."""
    path = database_path(database)
    if json:
        print_json({"database": str(path), "exists": path.exists()})
    else:
        typer.echo(str(path))


@app.command("export")
def export_session(
    session: WantedSession,
    to: NewFile,
    key: Sign = None,
    database: Database = None,
    json: Json = False,
) -> None:
    """Copy one session with its arrays into a new database file, to pass on."""
    export(session, to, SessionLog.export_session, database=database, json=json, key=key)


app.command("import")(import_file)


def _overviews(path: Path) -> list[SessionOverview]:
    with reading_log(path) as log:
        return [_as_it_stands(session) for session in map(_hidden(log).overview, log.sessions())]


def _as_it_stands(session: SessionOverview) -> SessionOverview:
    """Return the overview; one that is open has no outcome, also if another closed it for itself."""
    is_at_work = session.outcome is not None and is_open(find_locations().leases, session.id)
    return replace(session, outcome=None) if is_at_work else session


def _hidden(log: SessionLog) -> HiddenNames:
    """Return the names that blind sessions hide."""
    # Imported now: --help does not wait for it.
    from workbench.blinding.sessions import HiddenNames

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
