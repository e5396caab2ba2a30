"""The sockets of engines: where they are, who may connect, and which of them are left over.

    folder   0700, of the machine's own runtime folder or of ADL_WORKBENCH_HOME
    socket   0600, HOST-PID.sock; it appears once something listens at it

The user at the other end is asked of the system as well, on both sides.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adl.errors import AdlError
from workbench.locations import Locations

_SUFFIX = ".sock"
#: The system's limit on the path of a socket is 108 bytes on Linux and 104 elsewhere.
_LONGEST_PATH = 100
_LOOK_SECONDS = 2.0


class EngineGone(AdlError):
    """No engine is at the other end, or not any more."""

    exit_code = 1


class NotYours(AdlError):
    """A socket, its folder or its other end is of another user."""


def new_path(locations: Locations) -> Path:
    """Return the path for the socket of an engine that is this process; makes its folder.

    Raises `NotYours` if the folder is another user's.
    """
    folder = locations.engines
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise NotYours(
            f"the folder {folder} is not yours",
            "Set ADL_WORKBENCH_HOME or XDG_RUNTIME_DIR to a folder of your own.",
        )
    folder.chmod(0o700)
    return folder / f"{_host()}-{os.getpid()}{_SUFFIX}"


def listening_socket(path: Path) -> socket.socket:
    """Return a socket that listens at a path, for its owner alone. Raises `OSError`."""
    making = path.with_name(f".{path.name}.new")
    making.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(making) as address:
            listening.bind(address)
        making.chmod(0o600)
        listening.listen()
        # Only now: what can be seen can be connected to.
        making.rename(path)
    except BaseException:
        listening.close()
        making.unlink(missing_ok=True)
        raise
    return listening


def connected_socket(path: Path, timeout: float) -> socket.socket:
    """Return a socket to the engine at a path. Raises `EngineGone` and `NotYours`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        with _address(path) as address:
            connection.connect(address)
        check_user(connection)
    except OSError as exc:
        connection.close()
        raise EngineGone(
            f"no engine answers at {path}: {exc.strerror or exc}",
            "`adl-workbench engine status` lists those that run.",
        ) from exc
    except BaseException:
        connection.close()
        raise
    return connection


def check_user(connection: socket.socket) -> None:
    """Raise `NotYours` if the other end is another user's; the folder's mode alone guards elsewhere."""
    user = _user_of(connection)
    if user is not None and user != os.geteuid():
        raise NotYours(f"the other end is of user {user}, not of yours ({os.geteuid()})")


def process_of(path: Path) -> int:
    """Return the id of the process whose socket this is. Raises `EngineGone` for no such name."""
    number = path.stem.rpartition("-")[2]
    if not number.isdecimal():
        raise EngineGone(
            f"{path} is no socket of an engine: they are named HOST-PID{_SUFFIX}",
            "`adl-workbench engine status` lists those that run.",
        )
    return int(number)


def find_engines(locations: Locations) -> list[Path]:
    """Return the sockets of this machine's engines, the newest first; removes what is left over."""
    folder = locations.engines
    with suppress(OSError):
        found = [
            path
            for path in folder.iterdir()
            if path.suffix == _SUFFIX and path.name.startswith(f"{_host()}-")
        ]
        return sorted(filter(_answers, found), key=_made, reverse=True)
    return []


def _answers(path: Path) -> bool:
    try:
        connected_socket(path, _LOOK_SECONDS).close()
    except EngineGone as exc:
        # Nobody listens: whoever made it was killed. One that is merely slow is left.
        if isinstance(exc.__cause__, ConnectionRefusedError):
            with suppress(OSError):
                path.unlink()
        return False
    except NotYours:
        return False
    return True


def _made(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _host() -> str:
    # A home may be that of several machines, and a socket works on one alone.
    return re.sub(r"[^\w.]", "_", socket.gethostname())[:40] or "host"


def _user_of(connection: socket.socket) -> int | None:
    """The user id of the other end; None where the system does not tell."""
    system: str = sys.platform  # as text: a check of types looks at every system
    if system == "linux":
        data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", data)[1])
    if system == "darwin":
        # LOCAL_PEERCRED of level SOL_LOCAL: a version, then the user.
        return int(struct.unpack("=II", connection.getsockopt(0, 1, 76)[:8])[1])
    return None


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """The path as the system takes it, also one that is too long for a socket's."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield str(path)
        return
    if sys.platform != "linux":
        raise OSError(
            0, "its path is too long for a socket; set ADL_WORKBENCH_HOME to a shorter one"
        )
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
