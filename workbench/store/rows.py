"""Events as rows of the table `events`, and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import ValidationError

from workbench.scrubbing import scrubber
from workbench.store.arrays import ArrayRef, array_refs, canonical_array
from workbench.store.encoding import (
    LONGEST_BODY,
    body_json,
    canonical_json,
    event_hash,
    utc_text,
)
from workbench.store.errors import StoreError
from workbench.store.events import SYSTEM, Actor, Event, EventBody, read_body, well_formed
from workbench.store.packing import stored
from workbench.store.schema import shape_text
from workbench.store.search import searchable_text

#: The columns of an event in the order in which the functions here take and give them.
#: The body is the whole one, on connections of `connection.connect`.
COLUMNS = (
    "session_id, seq, at, actor_kind, actor_name, kind, operation_id, "
    "CASE WHEN packed IS NULL THEN body ELSE whole_body(packed) END, previous, sha256"
)
Row = tuple[str, int, str, str, str, str, str | None, str, str, str]


_STORED = "session_id, seq, at, actor_kind, actor_name, kind, operation_id, body, previous, sha256"
_INSERT = f"INSERT INTO events ({_STORED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_PACKED = f"INSERT INTO events ({_STORED}, packed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True)
class Entry:
    """An event yet to be appended: the body, who did it, and the arrays that the body names.

    Arrays that are in the file already need not be given again.
    """

    body: EventBody
    actor: Actor = SYSTEM
    operation_id: str | None = None
    arrays: Sequence[np.ndarray] = field(default=())


class Draft:
    """An entry made ready outside of the transaction, so that the write lock is held briefly."""

    def __init__(self, entry: Entry) -> None:
        secrets = scrubber()
        self.actor = entry.actor
        if secrets.finds(entry.actor.name):
            self.actor = Actor(kind=entry.actor.kind, name=secrets.scrub(entry.actor.name))
        self.operation_id = (
            None if entry.operation_id is None else secrets.scrub(well_formed(entry.operation_id))
        )
        try:
            self.body_text = body_json(entry.body)
            if secrets.finds(self.body_text):
                self.body_text = canonical_json(secrets.scrub_all(json.loads(self.body_text)))
            # What is announced is what a later reader will read, to the last bit.
            self.body = read_body(self.body_text)
        except (ValueError, RecursionError) as error:
            # Also pydantic's errors, of writing and of reading, are a ValueError.
            raise StoreError(
                f"an event of kind {entry.body.kind} cannot be stored so that it can be read "
                f"again: {error}",
                "This is a bug in adl-workbench; please report it. Nothing was stored.",
            ) from error
        if len(self.body_text) > LONGEST_BODY:
            raise StoreError(
                f"an event of kind {entry.body.kind} is {len(self.body_text) / 2**20:.1f} MiB long, "
                f"and one of at most {LONGEST_BODY >> 20} MiB can be recorded",
                "Record less at once; nothing was stored.",
            )
        self.search_text = searchable_text(self.body)
        self.refs = dict(array_refs(self.body))
        self.arrays = {ArrayRef.of(array).sha256: canonical_array(array) for array in entry.arrays}

    def insert(
        self,
        connection: sqlite3.Connection,
        path: Path,
        session_id: str,
        seq: int,
        previous: str,
        at: str | None = None,
    ) -> Event:
        """Write the event at its place, of now or of ``at``.

        The caller's transaction decides whether it lasts.
        """
        at = at or utc_text()
        digest = event_hash(
            session_id=session_id,
            seq=seq,
            at=at,
            actor=self.actor,
            operation_id=self.operation_id,
            body_text=self.body_text,
            previous=previous,
        )
        row = (
            session_id,
            seq,
            at,
            self.actor.kind,
            self.actor.name,
            self.body.kind,
            self.operation_id,
            self.body_text,
            previous,
            digest,
        )
        for sha256, array in self.arrays.items():
            insert_array(
                connection, sha256, array.dtype.str, shape_text(array.shape), array.tobytes()
            )
        for name, ref in self.refs.items():
            if array_form(connection, ref.sha256) != (ref.dtype, shape_text(ref.shape)):
                raise StoreError(
                    f"{path}: the array {name} of a {self.body.kind} event is neither given with "
                    f"it nor in the file ({ref.sha256[:12]}…, {ref.dtype}, {list(ref.shape)})",
                    "This is a bug in adl-workbench; please report it. Nothing was stored.",
                )
        insert_event(
            connection,
            row,
            self.search_text,
            [(name, ref.sha256) for name, ref in self.refs.items()],
        )
        return event_of(row, path, self.body)


def insert_event(
    connection: sqlite3.Connection,
    row: Row,
    search_text: str,
    arrays: Sequence[tuple[str, str]],
) -> None:
    """Write an event, the (name, sha256) of its arrays, and its text for the search."""
    body, packed = stored(row[5], row[7])
    if packed is None:
        cursor = connection.execute(_INSERT, row)
    else:
        cursor = connection.execute(_INSERT_PACKED, (*row[:7], body, *row[8:], packed))
    event_id = cursor.lastrowid
    if arrays:
        connection.executemany(
            "INSERT INTO event_arrays (event_id, name, sha256) VALUES (?, ?, ?)",
            [(event_id, name, sha256) for name, sha256 in arrays],
        )
    if search_text:
        connection.execute(
            "INSERT INTO event_text (event_id, text) VALUES (?, ?)", (event_id, search_text)
        )


def insert_array(
    connection: sqlite3.Connection, sha256: str, dtype: str, shape: str, data: bytes
) -> None:
    """Write an array unless it is there already."""
    if array_form(connection, sha256) is None:
        connection.execute(
            "INSERT INTO arrays (sha256, dtype, shape, data) VALUES (?, ?, ?, ?)",
            (sha256, dtype, shape, data),
        )


def array_form(connection: sqlite3.Connection, sha256: str) -> tuple[str, str] | None:
    """The dtype and shape of an array as they stand in the file; None if it is not there."""
    form: tuple[str, str] | None = connection.execute(
        "SELECT dtype, shape FROM arrays WHERE sha256 = ?", (sha256,)
    ).fetchone()
    return form


def event_of(row: Row, path: Path, body: EventBody | None = None) -> Event:
    """The event of a row, its body validated unless given.

    Raises `StoreError` if the row is damaged.
    """
    session_id, seq, at, actor_kind, actor_name, _, operation_id, body_text, previous, digest = row
    try:
        return _event(
            session_id=session_id,
            seq=seq,
            at=datetime.fromisoformat(at),
            actor=actor_of(actor_kind, actor_name),
            operation_id=operation_id,
            body=read_body(body_text) if body is None else body,
            previous=previous,
            sha256=digest,
        )
    except (ValidationError, ValueError, TypeError) as error:
        raise StoreError(
            f"{path}: event {seq} of session {session_id} is damaged and cannot be read",
            "`adl-workbench sessions verify` lists everything that is wrong with the file.",
        ) from error


def _event(**fields: Any) -> Event:
    """An event as `Event.model_construct` makes it, in a fifth of the time.

    The envelope was written by `Draft.insert`; validating it again would take longer than all else
    in reading an event.
    """
    event = Event.__new__(Event)
    put = object.__setattr__
    put(event, "__dict__", fields)
    put(event, "__pydantic_fields_set__", set(fields))
    put(event, "__pydantic_extra__", None)
    put(event, "__pydantic_private__", None)
    return event


@lru_cache(maxsize=256)
def actor_of(kind: str, name: str) -> Actor:
    """The actor of a row."""
    return Actor(kind=cast(Any, kind), name=name)


def read_array(connection: sqlite3.Connection, path: Path, ref: ArrayRef) -> np.ndarray:
    """Read an array and check it against its hash. Raises `StoreError`."""
    row = connection.execute(
        "SELECT dtype, shape, data FROM arrays WHERE sha256 = ?", (ref.sha256,)
    ).fetchone()
    if row is None:
        raise StoreError(
            f"the array {ref.sha256[:12]}\u2026 is not in {path}",
            "`adl-workbench sessions verify` lists everything that is wrong with the file.",
        )
    dtype, shape, data = row
    try:
        array: np.ndarray = np.frombuffer(data, np.dtype(dtype)).reshape(json.loads(shape))
        matches = ArrayRef.of(array) == ref
    except (ValueError, TypeError, StoreError):
        matches = False
    if not matches:
        raise StoreError(
            f"the array {ref.sha256[:12]}\u2026 in {path} is not what was recorded",
            "`adl-workbench sessions verify` lists everything that is wrong with the file.",
        )
    return array
