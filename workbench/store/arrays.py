"""Arrays of events: how a body refers to them, and the form in which they are kept and hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, get_args, get_origin

import numpy as np

from workbench.store.body import EventBody
from workbench.store.errors import StoreError
from workbench.store.record import Record


class ArrayRef(Record):
    """An array kept in the session's file, named by the hash of its dtype, shape and bytes."""

    sha256: str
    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, array: np.ndarray) -> ArrayRef:
        """Return the reference of ``array`` (numbers or booleans, any shape; little-endian, C order).

        Raises `StoreError` for any other dtype.
        """
        canonical = canonical_array(array)
        digest = hashlib.sha256()
        digest.update(f"{canonical.dtype.str}{list(canonical.shape)}".encode())
        digest.update(canonical.tobytes())
        return cls(
            sha256=digest.hexdigest(), dtype=canonical.dtype.str, shape=tuple(canonical.shape)
        )


ReadArray = Callable[[ArrayRef], np.ndarray]
"""Return a recorded array; see ``SessionLog.array``."""


def canonical_array(array: np.ndarray) -> np.ndarray:
    """Return the numbers little-endian and C-contiguous: equal arrays have equal bytes.

    Raises `StoreError` for a dtype that is not a number or boolean: the bytes of an object array
    are addresses, and the name of a structured dtype does not say what is in it.
    """
    if np.asarray(array).dtype.kind not in "biufc":
        raise StoreError(
            f"an array of dtype {array.dtype} cannot be kept in a session",
            "Convert it to numbers first, for example with .astype(numpy.float32).",
        )
    contiguous = np.asarray(array, order="C")  # ascontiguousarray would turn a scalar into [1]
    return contiguous.astype(contiguous.dtype.newbyteorder("<"), copy=False)


def array_refs(body: EventBody) -> Iterator[tuple[str, ArrayRef]]:
    """Yield every array that the body names with its path in the body, such as ``arrays.cosine``."""
    if _may_name_arrays(type(body)):
        for name, value in body.__dict__.items():
            yield from _refs(name, value)


@cache
def _may_name_arrays(kind: type[Record]) -> bool:
    """True if a record of this class can hold an `ArrayRef`; most cannot, and lists of them are long."""
    return any(_may_hold_array(field.annotation) for field in kind.model_fields.values())


def _may_hold_array(annotation: Any) -> bool:
    if get_origin(annotation) is not None:
        return any(map(_may_hold_array, get_args(annotation)))
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return annotation is ArrayRef or _may_name_arrays(annotation)
    return annotation in {Any, object, dict, list, tuple}


def _refs(name: str, value: Any) -> Iterator[tuple[str, ArrayRef]]:
    if isinstance(value, ArrayRef):
        yield name, value
    elif isinstance(value, Record):
        if not _may_name_arrays(type(value)):
            return
        for field, item in value.__dict__.items():
            yield from _refs(f"{name}.{field}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _refs(f"{name}.{key}", item)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            if isinstance(item, Record) and not _may_name_arrays(type(item)):
                continue
            if isinstance(item, (Record, dict, tuple)):
                yield from _refs(f"{name}.{index}", item)
