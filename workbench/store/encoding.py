"""Canonical JSON: the one form in which bodies, times and envelopes are stored and hashed."""

from __future__ import annotations

import hashlib
import json
import math
import re
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any

from workbench.store.body import EventBody
from workbench.store.record import Actor, well_formed


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys, no spaces and ASCII only: equal values give equal texts.

    ASCII keeps NUL bytes and escapes of model text out of the database's TEXT. What JSON cannot
    express is replaced: broken surrogates as in `well_formed`, and numbers that are not finite by the
    strings ``NaN``, ``Infinity`` and ``-Infinity``, which a field of type float reads back.
    """
    try:
        text = _dumps(value)
    except ValueError:
        return _dumps(_expressible(value))
    # Half of what looks like a surrogate is half of an emoji, and comes out of this unchanged.
    return _dumps(_expressible(value)) if "\\ud" in text else text


_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
)


def _dumps(value: Any) -> str:
    return _ENCODER.encode(value)


def _expressible(value: Any) -> Any:
    """Return the value with everything replaced that JSON cannot express, see `canonical_json`."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {_expressible(key): _expressible(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_expressible(item) for item in value]
    return value


def body_json(body: EventBody) -> str:
    """Return the body as canonical JSON, as it is stored and hashed."""
    try:
        plain = body.model_dump(mode="json")
    except UnicodeEncodeError:
        # pydantic stumbles over a broken surrogate in a key.
        body = type(body).model_validate(_expressible(body.model_dump()))
        plain = body.model_dump(mode="json")
    return canonical_json(plain)


#: Characters of a body that is recorded, as canonical JSON: what is recorded can be exported, and an
#: export is read by lines.
LONGEST_BODY = 15 * 2**20
#: Values in a body: what reading one may take in memory depends on them, most of all one that does
#: not fit, every value of which is an error of its own.
MOST_VALUES = 200_000

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')


def check_values(text: str) -> None:
    """Raise `ValueError` for JSON with more than `MOST_VALUES` values, without reading it."""
    if text.count(",") + text.count("[") > MOST_VALUES:
        # Only what stands between the strings counts.
        bare = _STRINGS.sub("", text)
        if bare.count(",") + bare.count("[") > MOST_VALUES:
            raise ValueError(f"it holds more than {MOST_VALUES} values")


def event_hash(
    *,
    session_id: str,
    seq: int,
    at: str,
    actor: Actor,
    operation_id: str | None,
    body_text: str,
    previous: str,
) -> str:
    """Return the SHA-256 of every field of an event but the hash itself (``at`` as stored text)."""
    # `canonical_json` of the fields, put together by hand: it is done for every event of a file.
    operation = "null" if operation_id is None else _quoted(operation_id)
    envelope = (
        f'{{"actor":[{_quoted(actor.kind)},{_quoted(actor.name)}],"at":{_quoted(at)},'
        f'"body":{_quoted(body_text)},"operation_id":{operation},"previous":{_quoted(previous)},'
        f'"seq":{seq},"session_id":{_quoted(session_id)}}}'
    )
    if "\\ud" in envelope:  # perhaps half of a surrogate pair
        envelope = canonical_json(json.loads(envelope))
    return hashlib.sha256(envelope.encode()).hexdigest()


def utc_text(moment: datetime | None = None) -> str:
    """Return a time in ISO 8601, in UTC with microseconds and a Z, as the database stores it."""
    return (moment or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
