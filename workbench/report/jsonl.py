"""A session as JSON lines, out of a database and back into one, to the last bit.

    {"line": "session", "format": ..., "version": 1, "session_id": ..., "created_at": ...}
    {"line": "array", "sha256": ..., "dtype": "<f4", "shape": [1, 5, 576], "data": base64}
    {"line": "event", "session_id": ..., "seq": 1, ..., "body": {...}, "previous": ..., "sha256": ...}
    {"line": "end", "events": 644, "sha256": ...}

An array stands before the first event that names it. The last line says how many events there are
and the hash of the last, so that a file that was cut is known as one.

Every line is canonical JSON (sorted keys, no spaces, ASCII), so the hash of an event can be derived
from its line in any language: ``body`` as canonical JSON is what it covers. `schema` is the JSON
Schema of a line. A file whose name ends in ``.gz`` is compressed, the same session always to the
same bytes.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from workbench.report.errors import ExportError
from workbench.report.files import new_file
from workbench.store.connection import connect, immediate
from workbench.store.errors import translated
from workbench.store.events import Actor, EventBody, array_refs, canonical_json
from workbench.store.log import SessionLog
from workbench.store.record import Record
from workbench.store.rows import COLUMNS, insert_array, insert_event
from workbench.store.schema import migrate, shape_text
from workbench.store.search import searchable_text

FORMAT = "adl-workbench session"
VERSION = 1
_OF_AN_ARRAY = '"shape":'
SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"


class SessionLine(Record):
    """The first line: which session this is, and in which version of this format."""

    line: Literal["session"] = "session"
    format: Literal["adl-workbench session"] = "adl-workbench session"
    version: Literal[1] = 1
    session_id: str
    created_at: AwareDatetime


class ArrayLine(Record):
    """An array: ``data`` are its bytes, little-endian and in C order, as base64.

    ``sha256`` is of the dtype, the shape as JSON, and the bytes.
    """

    line: Literal["array"] = "array"
    sha256: str
    dtype: str
    shape: tuple[int, ...]
    data: str


class EventLine(Record):
    """An event as it was committed; see the event's own kinds under ``body``."""

    line: Literal["event"] = "event"
    session_id: str
    seq: Annotated[int, Field(ge=1)]
    at: AwareDatetime
    actor: Actor
    operation_id: str | None
    body: EventBody
    previous: str
    sha256: str


class EndLine(Record):
    """The last line: how many events the session has, and the hash of the last of them."""

    line: Literal["end"] = "end"
    events: Annotated[int, Field(ge=1)]
    sha256: str


Line = Annotated[SessionLine | ArrayLine | EventLine | EndLine, Field(discriminator="line")]
_LINE: TypeAdapter[Line] = TypeAdapter(Line)


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a line."""
    return {
        "$schema": SCHEMA_ID,
        "title": "A line of an ADL Workbench session",
        **_LINE.json_schema(mode="validation"),
    }


def export_jsonl(log: SessionLog, session_id: str, target: Path) -> Path:
    """Write a session with its arrays as JSON lines. Raises `ExportError` if the file exists."""
    session_id = log.find_session(session_id).id
    with new_file(target) as part, _writing(part) as file:
        for line in _lines(log.path, session_id):
            file.write(canonical_json(line).encode() + b"\n")
    return target


def import_jsonl(log: SessionLog, source: Path) -> str:
    """Take a session out of JSON lines into the log, once every hash of it verifies.

    Returns its id. Raises `ExportError` for a line that is not one, with its number, and
    `StoreError` if the session does not verify or is here already.
    """
    with tempfile.TemporaryDirectory(prefix="adl-import-") as folder:
        whole = Path(folder) / "session.db"
        read_jsonl(source, whole)
        return log.import_session(whole)


def read_jsonl(source: Path, target: Path) -> Path:
    """Write JSON lines as a new session file, as they are: whether they verify is yet to be seen.

    Raises `ExportError` for a line that is not one, with its number.
    """
    connection = connect(target, "create")
    try:
        migrate(connection, target)
        with immediate(connection, target, f"reading {source}"):
            reader = _Reader(connection)
            number = 0
            for number, line in _numbered(source):
                with _named(source, number):
                    reader.take(line)
            if number == 0:
                raise ExportError(f"{source} is empty", "Name a file with a session in it.")
            if not reader.ended:
                raise ExportError(
                    f"{source} ends after line {number}, before the session does",
                    "It was cut on the way here; ask for it again.",
                )
    finally:
        connection.close()
    return target


# --- writing --------------------------------------------------------------------------------


@contextmanager
def _writing(part: Path) -> Iterator[BinaryIO]:
    if part.suffix != ".gz":
        with part.open("wb") as plain:
            yield plain
        return
    # No name and no time, so that the same session gives the same file.
    with (
        part.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=9, fileobj=raw, mtime=0) as packed,
    ):
        yield packed  # type: ignore[misc]


def _lines(path: Path, session_id: str) -> Iterator[dict[str, Any]]:
    # The rows as they stand, and not as events read from them: a hash covers the text of a body,
    # and a later program may write the same body with fields that it did not have then.
    connection = connect(path, "read-only")
    try:
        with translated(path, "exporting a session"):
            connection.execute("BEGIN")
            yield from _session_lines(connection, session_id)
    finally:
        connection.close()


def _session_lines(connection: sqlite3.Connection, session_id: str) -> Iterator[dict[str, Any]]:
    created_at = connection.execute(
        "SELECT created_at FROM sessions WHERE id = ?", (session_id,)
    ).fetchone()[0]
    yield {
        "line": "session",
        "format": FORMAT,
        "version": VERSION,
        "session_id": session_id,
        "created_at": created_at,
    }
    written: set[str] = set()
    last: dict[str, Any] = {}
    for event_id, *row in connection.execute(
        f"SELECT id, {COLUMNS} FROM events WHERE session_id = ? ORDER BY seq", (session_id,)
    ):
        arrays = connection.execute(
            """
            SELECT DISTINCT arrays.sha256, dtype, shape, data
            FROM event_arrays JOIN arrays USING (sha256) WHERE event_id = ? ORDER BY arrays.sha256
            """,
            (event_id,),
        )
        for sha256, dtype, shape, data in arrays:
            if sha256 not in written:
                written.add(sha256)
                yield {
                    "line": "array",
                    "sha256": sha256,
                    "dtype": dtype,
                    "shape": json.loads(shape),
                    "data": base64.b64encode(data).decode(),
                }
        last = _event_line(row)
        yield last
    yield {"line": "end", "events": last["seq"], "sha256": last["sha256"]}


def _event_line(row: list[Any]) -> dict[str, Any]:
    session_id, seq, at, actor_kind, actor_name, _, operation_id, body, previous, sha256 = row
    return {
        "line": "event",
        "session_id": session_id,
        "seq": seq,
        "at": at,
        "actor": {"kind": actor_kind, "name": actor_name},
        "operation_id": operation_id,
        "body": json.loads(body),
        "previous": previous,
        "sha256": sha256,
    }


# --- reading --------------------------------------------------------------------------------


def _numbered(source: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    try:
        with gzip.open(source) if source.suffix == ".gz" else source.open("rb") as file:
            for number, text in enumerate(file, start=1):
                try:
                    line = json.loads(text)
                except (ValueError, RecursionError) as error:
                    raise ExportError(
                        f"{source}, line {number} is not JSON: {error}", _WAY_OUT
                    ) from error
                if not isinstance(line, dict):
                    raise ExportError(f"{source}, line {number} is no JSON object", _WAY_OUT)
                yield number, line
    except (EOFError, gzip.BadGzipFile) as error:
        raise ExportError(
            f"{source} is damaged after line {number}: {error}", "Ask for it again."
        ) from error
    except OSError as error:
        raise ExportError(
            f"{source} cannot be read: {error.strerror or error}", "Check the path."
        ) from error


_WAY_OUT = "Name a file that `adl-workbench export jsonl` wrote."


@contextmanager
def _named(source: Path, number: int) -> Iterator[None]:
    """Say in which line of the file something is wrong."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ExportError(
            f"{source}, line {number} is no line of a session: {place}: {first['msg']}", _WAY_OUT
        ) from error
    except (KeyError, TypeError, binascii.Error, sqlite3.IntegrityError) as error:
        raise ExportError(
            f"{source}, line {number} does not fit the lines before it: {_said(error)}", _WAY_OUT
        ) from error


def _said(error: Exception) -> str:
    # A KeyError shows its text in quotes.
    return str(error.args[0]) if error.args else str(error)


class _Reader:
    """Takes the lines of one file in turn; `ended` once the last one fitted."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.ended = False
        self._connection = connection
        self._begun = False
        self._head: tuple[int, str] | None = None

    def take(self, line: dict[str, Any]) -> None:
        """Write one line's row. Raises what `_named` names."""
        checked = _LINE.validate_python(line)
        if self.ended:
            raise KeyError("the session has ended")
        if isinstance(checked, SessionLine) == self._begun:
            raise KeyError("a file has one session, and the first line says which")
        match checked:
            case SessionLine():
                self._begun = True
                self._connection.execute(
                    "INSERT INTO sessions (id, created_at) VALUES (?, ?)",
                    (checked.session_id, str(line["created_at"])),
                )
            case ArrayLine():
                insert_array(
                    self._connection,
                    checked.sha256,
                    checked.dtype,
                    shape_text(checked.shape),
                    base64.b64decode(checked.data, validate=True),
                )
            case EventLine():
                self._insert_event(checked, line)
            case EndLine():
                if self._head != (checked.events, checked.sha256):
                    raise KeyError(f"event {checked.events} should be the last")
                self.ended = True

    def _insert_event(self, checked: EventLine, line: dict[str, Any]) -> None:
        # What is written is the line, not what was read from it: see `_lines`.
        body, read = canonical_json(line["body"]), checked.body
        row = (
            checked.session_id,
            checked.seq,
            str(line["at"]),
            checked.actor.kind,
            checked.actor.name,
            read.kind,
            checked.operation_id,
            body,
            checked.previous,
            checked.sha256,
        )
        # Looking through every token of every list takes longer than all else.
        refs = array_refs(read) if _OF_AN_ARRAY in body else ()
        arrays = [(name, ref.sha256) for name, ref in refs]
        insert_event(self._connection, row, searchable_text(read), arrays)
        self._head = checked.seq, checked.sha256
