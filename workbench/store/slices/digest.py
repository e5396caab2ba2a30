"""The digest of a state: SHA-256 over its content as canonical JSON."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from workbench.store.encoding import canonical_json
from workbench.store.record import LATER
from workbench.store.recorded import Prefix
from workbench.store.slices.slice import SLICE


def digest_of(state: Any) -> str:
    """Return the SHA-256 of a state in hex: all of it but the words of its timeline.

    A field that was added later counts once it holds something, so that a session from before has
    the digest that it had.
    """
    plain = _fields(state, but="timeline")
    plain["timeline"] = [[entry.seq, entry.kind] for entry in state.timeline]
    return hashlib.sha256(canonical_json(plain).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Plain data of equal content, for `canonical_json`."""
    if isinstance(value, BaseModel):
        return _without_later(value, value.model_dump(mode="json"))
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        # As pairs: keys may be tuples, and their order is part of the state.
        return [[_plain(key), _plain(item)] for key, item in value.items()]
    if dataclasses.is_dataclass(value):
        return _fields(value)
    if isinstance(value, (tuple, list, Prefix)):
        return [_plain(item) for item in value]
    return value


def _without_later(value: Any, dumped: Any) -> Any:
    """A dumped record without the fields that were added later and are empty."""
    if isinstance(value, BaseModel):
        return {
            name: _without_later(getattr(value, name), dumped[name])
            for name, info in type(value).model_fields.items()
            if LATER not in info.metadata
            or getattr(value, name) != info.get_default(call_default_factory=True)
        }
    if isinstance(value, tuple) and any(isinstance(item, BaseModel) for item in value):
        return [_without_later(*pair) for pair in zip(value, dumped, strict=True)]
    return dumped


def _fields(value: Any, *, but: str = "") -> dict[str, Any]:
    return {
        item.name: _plain(getattr(value, item.name))
        for item in dataclasses.fields(value)
        if item.name != but and (getattr(value, item.name) or not _is_later(item))
    }


def _is_later(item: dataclasses.Field[Any]) -> bool:
    return LATER in item.metadata or (SLICE in item.metadata and item.metadata[SLICE].later)
