"""Errors of the model libraries while a side is loaded, turned into ``PairError``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from adl.errors import AdlError, DeviceOutOfMemory, PairError, first_line, install_extra
from adl.records import Side


def is_out_of_memory(exc: BaseException) -> bool:
    """Return True for out-of-memory errors of a device or of the allocator."""
    text = str(exc).lower()
    return isinstance(exc, torch.OutOfMemoryError | MemoryError) or (
        isinstance(exc, RuntimeError)
        and ("out of memory" in text or "can't allocate memory" in text)
    )


@contextmanager
def loading(name: Side, what: str, *, base_name: str | None = None) -> Iterator[None]:
    """Turn errors of the libraries while loading ``what`` into ``PairError`` and the like."""
    try:
        yield
    except AdlError:
        raise
    except ImportError as exc:
        raise PairError(
            f"{name}: loading {what!r} needs a package that is missing: {first_line(exc)}",
            f"Install it; for 8- and 4-bit loading: {install_extra('quantised')}.",
        ) from exc
    except Exception as exc:
        if is_out_of_memory(exc):
            raise DeviceOutOfMemory(
                f"{name}: {what!r} does not fit the device",
                "Try --dtype bfloat16, --load-in-8bit, --load-in-4bit or --device-map auto.",
            ) from exc
        if base_name is not None:
            raise PairError(
                f"adapter {what!r} does not fit the base {base_name!r}: {_telling_line(exc)}",
                "Give the base the adapter was trained on (see its adapter_config.json).",
            ) from exc
        if "trust_remote_code" in str(exc):
            raise PairError(
                f"{name}: {what!r} wants to run its own code",
                "Read that code; if you trust it, give --trust-remote-code.",
                concerns="trust_remote_code",
            ) from exc
        raise PairError(
            f"{name}: {what!r} cannot be loaded: {first_line(exc)}",
            "Check that it is a causal language model that transformers can load.",
        ) from exc


def _telling_line(exc: BaseException) -> str:
    """Return the line of a state dict's error with the sizes, else the first."""
    lines = (line.strip() for line in str(exc).splitlines())
    return next((line for line in lines if line.startswith("size mismatch")), first_line(exc))
