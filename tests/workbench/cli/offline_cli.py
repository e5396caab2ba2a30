"""The command line in a process that refuses every connection."""

from __future__ import annotations

import socket
from typing import Any

from workbench import cli


def refuse(*_: Any) -> None:
    raise AssertionError("a connection was opened")


def main() -> None:
    socket.socket.connect = refuse  # type: ignore[method-assign]
    cli.main()
