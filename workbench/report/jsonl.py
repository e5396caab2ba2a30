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
import codecs
import gzip
import json
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, BinaryIO, Literal

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from workbench.agent.nesting import DEEPEST
from workbench.fields import in_words
from workbench.private_files import opened_input
from workbench.report.errors import ExportError
from workbench.report.files import new_file
from workbench.store.body import AnyBody
from workbench.store.connection import connect, immediate
from workbench.store.encoding import LONGEST_BODY, canonical_json, check_values
from workbench.store.errors import translated
from workbench.store.events import Actor
from workbench.store.heads import Head
from workbench.store.ids import SESSION_ID, SHA256
from workbench.store.log import SessionLog
from workbench.store.record import Record, well_formed
from workbench.store.rows import COLUMNS
from workbench.store.schema import migrate, shape_text
from workbench.store.transfer import Intake

FORMAT = "adl-workbench session"
VERSION = 1
SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"

# What an integer of SQLite can be.
Seq = Annotated[int, Field(strict=True, ge=1, le=2**63 - 1)]


class SessionLine(Record):
    """The first line: which session this is, and in which version of this format."""

    line: Literal["session"] = "session"
    format: Literal["adl-workbench session"] = "adl-workbench session"
    version: Literal[1] = 1
    session_id: Annotated[str, Field(pattern=SESSION_ID)]
    created_at: AwareDatetime


class ArrayLine(Record):
    """An array: ``data`` are its bytes, little-endian and in C order, as base64.

    ``sha256`` is of the dtype, the shape as JSON, and the bytes.
    """

    line: Literal["array"] = "array"
    sha256: Annotated[str, Field(pattern=SHA256)]
    dtype: str
    shape: tuple[int, ...]
    data: str


class EventLine(Record):
    """An event as it was committed; see the event's own kinds under ``body``."""

    line: Literal["event"] = "event"
    session_id: str
    seq: Seq
    at: AwareDatetime
    actor: Actor
    operation_id: str | None
    body: AnyBody
    previous: str
    sha256: str


class EndLine(Record):
    """The last line: how many events the session has, and the hash of the last of them."""

    line: Literal["end"] = "end"
    events: Seq
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

    Line by line in one transaction: memory is bounded by the longest line, and a process that is
    killed leaves nothing. Returns its id. Raises `ExportError` for a line that is not one, with its
    number, and `StoreError` if the session does not verify or is here already.
    """
    with log.importing(source) as intake:
        _take(source, intake)
    return intake.session_id


def read_jsonl(source: Path, target: Path) -> Path:
    """Write JSON lines as a new session file of their own. Raises as `import_jsonl` does."""
    connection = connect(target, "create")
    try:
        migrate(connection, target)
        with immediate(connection, target, f"reading {source}"):
            _take(source, Intake(connection, target, source))
    finally:
        connection.close()
    return target


def end_of_jsonl(source: Path) -> tuple[str, Head]:
    """The id and the head of the session in JSON lines, as its first and its last line have them.

    Raises `ExportError` if it has none. Whether its hashes fit shows when it is imported.
    """
    session_id, head, number = "", None, 0
    with _named(source, lambda: number):
        for number, text in _numbered(source):  # noqa: B007
            # An array or an event begins otherwise; of thousands, two lines are of interest.
            if session_id and _END_START not in text[:80]:
                continue
            match _LINE.validate_python(_decoded(text)):
                case SessionLine() as line:
                    session_id = line.session_id
                case EndLine() as line:
                    head = Head(line.events, line.sha256)
    if not session_id or head is None:
        raise ExportError(f"{source} is no whole session", _HINT)
    return session_id, head


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

#: The longest line, in bytes. Arrays of a large model take many; an event has its body, and besides
#: it a few short fields.
LONGEST_ARRAY = 256 * 2**20
LONGEST_LINE = LONGEST_BODY + 2**20
#: How much more than a compressed file its content may be, beyond `_SMALL` bytes of it. Half of
#: what stands in a session's lines are hashes, which no compression makes smaller.
LARGEST_RATIO = 100

_SMALL = 256 * 2**20
_ARRAY_START = b'{"data":'
_END_START = b'"line":"end"'
_GZIP = b"\x1f\x8b"


def _take(source: Path, intake: Intake) -> None:
    reader = _Reader(intake)
    number = 0
    with _named(source, lambda: number):
        for number, text in _numbered(source):  # noqa: B007
            reader.take(text)
    if number == 0:
        raise ExportError(f"{source} is empty", "Name a file with a session in it.")
    if not reader.ended:
        raise ExportError(
            f"{source} ends after line {number}, before the session does",
            "It was cut on the way here; ask for it again.",
        )


def _numbered(source: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with opened_input(source) as raw, _unpacked(raw) as file:
            packed_size, size = os.fstat(raw.fileno()).st_size, 0
            while text := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(text) > LONGEST_LINE and text.startswith(_ARRAY_START):
                    text += file.readline(LONGEST_ARRAY - len(text) + 1)
                size += len(text)
                limit = LONGEST_ARRAY if text.startswith(_ARRAY_START) else LONGEST_LINE
                if len(text) > limit:
                    raise ExportError(
                        f"{source}, line {number} is longer than {limit >> 20} MiB", _HINT
                    )
                if size > max(_SMALL, LARGEST_RATIO * packed_size):
                    raise ExportError(
                        f"{source} holds more than {LARGEST_RATIO} times its size, which no "
                        "recorded session does",
                        _HINT,
                    )
                yield number, text
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ExportError(
            f"{source} is damaged after line {number}: {error}", "Ask for it again."
        ) from error
    except OSError as error:
        raise ExportError(
            f"{source} cannot be read: {error.strerror or error}", "Check the path."
        ) from error


def _unpacked(raw: IO[bytes]) -> BinaryIO:
    start = raw.read(len(_GZIP))
    raw.seek(0)
    if start == _GZIP:
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]
    return raw  # type: ignore[return-value]


_HINT = "Name a file that `adl-workbench export jsonl` wrote."


@contextmanager
def _named(source: Path, number: Callable[[], int]) -> Iterator[None]:
    """Say in which line of the file something is wrong."""
    try:
        yield
    except _NotALine as error:
        raise ExportError(f"{source}, line {number()} {error}", _HINT) from error
    except ValidationError as error:
        wrong = in_words(error, values=False, most=1, names=str)
        raise ExportError(
            f"{source}, line {number()} is no line of a session: {wrong}", _HINT
        ) from error


class _NotALine(Exception):
    """A problem of a line, in words that follow its number."""


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


_DECODER = json.JSONDecoder(parse_constant=_constant)
_STRICT = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_pairs)


def _decoded(text: bytes) -> dict[str, Any]:
    """The object of a line. Raises `_NotALine`."""
    is_array = text.startswith(_ARRAY_START)
    if text.startswith(codecs.BOM_UTF8):
        raise _NotALine("is not JSON of a session: it begins with a byte order mark")
    try:
        said = text.decode()
        if not is_array:
            check_values(said)
        line = _DECODER.decode(said)
        if not isinstance(line, dict):
            raise _NotALine("is no JSON object")
        if (
            not is_array
            and text.count(b"{") + text.count(b"[") > DEEPEST
            and _depth(line) > DEEPEST
        ):
            raise _NotALine(f"is nested more than {DEEPEST} deep")
    except (ValueError, RecursionError) as error:
        raise _NotALine(f"is not JSON of a session: {error}") from error
    return line


def _check_names(text: bytes) -> None:
    """Raise `_NotALine` where readers could differ on what is in a line that we did not write."""
    try:
        _STRICT.decode(text.decode())
    except ValueError as error:
        raise _NotALine(f"is not JSON of a session: {error}") from error


def _depth(value: Any) -> int:
    """The depth of nested lists and objects."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        level = [
            item
            for entry in level
            for item in (entry.values() if isinstance(entry, dict) else entry)
        ]
    return depth


class _Reader:
    """Takes the lines of one file in turn; `ended` once the last one fitted."""

    def __init__(self, intake: Intake) -> None:
        self.ended = False
        self._intake = intake
        self._begun = False

    def take(self, text: bytes) -> None:
        """Take one line. Raises what `_named` names, and `StoreError` for what does not verify."""
        line = _decoded(text)
        if self.ended:
            raise _NotALine("does not fit the lines before it: the session has ended")
        kind = line.get("line")
        if (kind == "session") == self._begun:
            raise _NotALine(
                "does not fit the lines before it: a file has one session, and the first line "
                "says which"
            )
        if kind == "event":
            self._event(text, line)
            return
        checked = _LINE.validate_python(line)
        match checked:
            case SessionLine():
                self._begun = True
                self._intake.session(checked.session_id, line["created_at"])
            case ArrayLine():
                try:
                    data = base64.b64decode(checked.data, validate=True)
                except binascii.Error as error:
                    raise _NotALine(f"has data that is no base64: {error}") from error
                self._intake.array(checked.sha256, checked.dtype, shape_text(checked.shape), data)
            case EndLine():
                if self._intake.head != Head(checked.events, checked.sha256):
                    raise _NotALine(
                        f"does not fit the lines before it: event {checked.events} should be "
                        "the last"
                    )
                self._intake.finish()
                self.ended = True

    def _event(self, text: bytes, line: dict[str, Any]) -> None:
        if not _is_envelope(line):
            _LINE.validate_python(line)
            raise _NotALine("is no line of a session: it has something of another type")
        body, written = line["body"], canonical_json(line["body"])
        if written.encode() not in text:
            _check_names(text)
        actor, operation_id = line["actor"], line["operation_id"]
        # What is written is the line, not what was read from it: see `_lines`.
        row = (
            line["session_id"],
            line["seq"],
            line["at"],
            actor["kind"],
            well_formed(actor["name"]),
            str(body.get("kind")),
            None if operation_id is None else well_formed(operation_id),
            written,
            line["previous"],
            line["sha256"],
        )
        self._intake.event(row)


def _is_envelope(line: dict[str, Any]) -> bool:
    """True if an event's line is one but for what its body should have.

    That is read from the row it becomes; the model of a line takes several times as long.
    """
    return (
        line.keys() == EventLine.model_fields.keys()
        and set(map(type, map(line.__getitem__, _TEXTS))) == {str}
        and type(line["seq"]) is int
        and 1 <= line["seq"] < 2**63
        and type(line["body"]) is dict
        and (line["operation_id"] is None or type(line["operation_id"]) is str)
        and type(line["actor"]) is dict
        and line["actor"].keys() == Actor.model_fields.keys()
        and set(map(type, line["actor"].values())) == {str}
    )


_TEXTS = ("session_id", "at", "previous", "sha256")
