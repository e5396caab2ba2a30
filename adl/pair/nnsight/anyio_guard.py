"""Definitions that must precede the import of nnsight; import this module first.

nnsight gives every object of the process a method ``save``. anyio, on which clients of endpoints rest,
defines classes on its first use and refuses attributes that it does not know, that one among them:
once a pair was loaded, no endpoint could be asked any more. Classes that are there already stay as
they are.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

with suppress(ImportError):  # without anyio there is no client to protect
    for name in ("anyio.streams.file", "anyio.streams.tls"):
        import_module(name)
    # The rest is imported when it is first looked up.
    SOCKET_ATTRIBUTE = import_module("anyio.abc").SocketAttribute
