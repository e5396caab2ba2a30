"""Processes that use no network: what reaches for one is refused, and written down.

`tests` listens in every process that imports it while REACHED is set, commands that a test starts
among them. A process that imports nothing of the tests (``python -m workbench``) is not heard.
Loopback and Unix sockets are no network; sockets that are not Python's own are not seen.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import sys
from pathlib import Path
from typing import Any

#: Names in the environment the file of what was reached for.
REACHED = "ADL_TESTS_REACHED"
#: What has an address, and what a name, and where among its arguments.
_ADDRESS = {"socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1}
_NAME = {"socket.getaddrinfo": 0, "socket.gethostbyname": 0, "socket.gethostbyaddr": 0}

_file: list[Path] = []


def is_far(host: object) -> bool:
    """True if a network would be needed to find or reach the host."""
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if not isinstance(name, str) or name in {"", "localhost", os.uname().nodename}:
        return False
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return True
    return not (address.is_loopback or address.is_unspecified)


def listen(path: Path) -> None:
    """Refuse what reaches for a network from here on, and write it into this file, and no other."""
    if not _file:
        # It cannot be taken away again.
        sys.addaudithook(_hear)
    _file[:] = [path]


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _ADDRESS:
        address = arguments[_ADDRESS[event]]
        host = address[0] if isinstance(address, tuple) else None
    elif event in _NAME:
        host = arguments[_NAME[event]]
    else:
        return
    if is_far(host):
        with _file[0].open("a", encoding="utf-8") as file:
            file.write(f"{event} {host!r}\n")
        raise OSError(errno.ENETUNREACH, f"the tests use no network: {event} {host!r}")
