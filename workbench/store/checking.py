"""Checking rows of a session against what they should be: as they are verified, and as they come in."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, cast, get_args

import numpy as np
from pydantic import ValidationError

from workbench.store.encoding import event_hash
from workbench.store.errors import StoreError
from workbench.store.events import Actor, EventBody, read_body
from workbench.store.ids import is_session_id

ACTORS = frozenset(get_args(Actor.model_fields["kind"].annotation))

#: How much earlier than its first event a session may have been entered: programs of before took
#: the time twice.
CREATED_BEFORE = 1.0

_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_DTYPE = re.compile(r"(?:\|[biu]1|<[iufc]\d{1,2})", re.ASCII)


class CheckedRow(NamedTuple):
    """The body of an event's row, None if unreadable, and the faults of the row."""

    body: EventBody | None
    faults: list[str]


def check_event(row: Sequence[Any]) -> CheckedRow:
    """Check the columns of an event (`rows.COLUMNS`) against its hash and against each other."""
    session_id, seq, at, actor_kind, actor_name, kind, operation_id, text, previous, sha256 = row
    texts = (session_id, at, actor_kind, actor_name, kind, text, previous, sha256)
    if (
        set(map(type, texts)) != {str}
        or type(seq) is not int
        or not (operation_id is None or isinstance(operation_id, str))
    ):
        return CheckedRow(None, ["a column of it holds another type than it should"])
    body, faults = None, []
    try:
        body = read_body(text)
    except ValueError as error:
        # pydantic's lists every kind there is, or every value.
        why = "" if isinstance(error, ValidationError) else f": {error}"
        faults.append(f"its body cannot be read{why}")
    derived = event_hash(
        session_id=session_id,
        seq=seq,
        at=at,
        actor=_as_it_stands(actor_kind, actor_name),
        operation_id=operation_id,
        body_text=text,
        previous=previous,
    )
    if derived != sha256:
        faults.append("its content does not match its hash")
    if read_time(at) is None:
        faults.append("its time is none")
    if actor_kind not in ACTORS:
        faults.append("who did it is neither human, agent nor system")
    if body is not None and body.kind != kind:
        faults.append(f"its column kind says {kind}, its body {body.kind}")
    return CheckedRow(body, faults)


@lru_cache(maxsize=256)
def _as_it_stands(kind: str, name: str) -> Actor:
    """The actor, even where it is none at all."""
    return Actor.model_construct(kind=cast(Any, kind), name=name)


def read_time(text: object) -> datetime | None:
    """The time that stands in a column, None if it is none in the form of `encoding.utc_text`."""
    if not isinstance(text, str) or _UTC.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def session_faults(session_id: object, created_at: object, first_at: object) -> Iterator[str]:
    """Faults of a session's id and of the time it was entered."""
    if not is_session_id(session_id):
        yield "its id has not the form of one"
    created, first = read_time(created_at), read_time(first_at)
    if created is None:
        yield "when it was created is no time"
    elif first is not None:
        before = (first - created).total_seconds()
        if not -CREATED_BEFORE <= before <= CREATED_BEFORE:
            yield (
                f"it is entered as created at {created_at}, and its first event is of {first_at}"
            )


def array_faults(sha256: object, dtype: object, shape: object, data: object) -> Iterator[str]:
    """Faults of an array; ``shape`` is text as `schema.shape_text` writes it."""
    if not (isinstance(dtype, str) and isinstance(shape, str) and isinstance(data, bytes)):
        yield "a column of it holds another type than it should"
        return
    if hashlib.sha256(f"{dtype}{shape}".encode() + data).hexdigest() != sha256:
        yield "it does not match its hash"
    if not _fits(dtype, shape, len(data)):
        yield f"its {len(data)} bytes are no array of dtype {dtype} and shape {shape}"


def _fits(dtype: str, shape: str, size: int) -> bool:
    lengths = re.fullmatch(r"\[(\d{1,18}(?:, \d{1,18})*)?\]", shape, re.ASCII)
    if lengths is None or _DTYPE.fullmatch(dtype) is None:
        return False
    try:
        item = np.dtype(dtype).itemsize
    except TypeError:
        return False
    return math.prod(int(part) for part in (lengths[1] or "1").split(", ")) * item == size


def unsound(session_id: str, source: object, what: str) -> StoreError:
    """The error for a session that was to be taken in and does not verify."""
    return StoreError(
        f"session {session_id!r} of {source} does not verify: {what}",
        "It was damaged or changed after it was recorded; ask for it again.",
    )
