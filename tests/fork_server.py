"""Many command lines, each in a process forked from one that has their modules loaded.

``python -m tests.fork_server`` reads requests from its stdin, one JSON object a line, and answers
each with one line on its stdout:

    module, argv        a module whose ``main`` is the program, and what it is given
    cwd, env            its folder and its whole environment
    memory              most bytes that it may have; null: any number
    patience            seconds until it is sent a SIGINT, as by ctrl+c, and as many later a
                        SIGKILL; null: it may run as long as it wants

    code, out, err      how it ended (negative: by which signal) and what it wrote
    interrupted         True if it was sent the SIGINT

A request with ``fds`` is answered with a ``pid`` as soon as the command is under way. So many
descriptors come through the socket whose number is the first argument:

    its stdin, stdout and stderr
    where how it ended is written, as a decimal
    the others          each becomes the number that ``fds`` has for it

    loaded              modules that it needs and that the server loads first
    terminal            True if its stdin becomes its controlling terminal, in a session of its own

So a command costs a fork, and not a new interpreter with all its imports: half a second of them
over a planted pair. With ``torch`` as its second argument the server loads that too, which takes
seconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import io
import json
import os
import pkgutil
import resource
import select
import signal
import socket
import sys
import tempfile
import termios
import traceback
from pathlib import Path
from typing import Any

from tests.planted_cli import stand_in_for_torch
from workbench import agent, cli, operations, replay, report, store
from workbench.store.log import SessionLog

#: Loaded by commands at work.
WHEN_THEY_RUN = (
    "_strptime",
    "adl.pair.hub_download",
    "huggingface_hub.file_download",
    "jinja2",
    "openai.resources.chat",
)


#: A number below which no descriptor that came is while the others get theirs.
ABOVE = 200


def main(arguments: list[str]) -> None:
    passed = socket.socket(fileno=int(arguments[0]))
    if "torch" in arguments:
        importlib.import_module("adl.pair.nnsight.pair")
        importlib.import_module("adl.pair.nnsight.demo")
    else:
        stand_in_for_torch({})
    # Loaded once for every command, those that commands import when they run with them.
    for package in (cli, agent, operations, replay, report, store):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name in WHEN_THEY_RUN:
        importlib.import_module(name)
    cli.command_tree()
    with tempfile.TemporaryDirectory() as folder, SessionLog.open(Path(folder) / "sessions.db"):
        # What a new file should look like is found out once in a process, and takes longer than
        # most commands: it loads sqlite_utils, and that pandas.
        pass
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in sys.stdin:
        request = json.loads(line)
        answer = _start(request, passed) if "fds" in request else _run(request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _run(request: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _be_the_command(request, [os.open(os.devnull, os.O_RDONLY), out.fileno(), err.fileno()])
        code, interrupted = _ended(child, request["patience"])
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "backslashreplace"))
    return {"code": code, "out": texts[0], "err": texts[1], "interrupted": interrupted}


def _ended(child: int, patience: float | None) -> tuple[int, bool]:
    watch = os.pidfd_open(child)
    interrupted = False
    try:
        for number in (signal.SIGINT, signal.SIGKILL):
            if select.select([watch], [], [], patience)[0]:
                break
            interrupted = True
            os.kill(child, number)
    finally:
        os.close(watch)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), interrupted


def _start(request: dict[str, Any], passed: socket.socket) -> dict[str, Any]:
    for name in request["loaded"]:
        importlib.import_module(name)
    _, came, _, _ = socket.recv_fds(passed, 1, 4 + len(request["fds"]))
    told, tell = os.pipe()
    if os.fork() == 0:
        _wait_for_the_command(request, came, tell)
    os.close(tell)
    for descriptor in came:
        os.close(descriptor)
    with os.fdopen(told) as pid:
        return {"pid": int(pid.read())}


def _wait_for_the_command(request: dict[str, Any], came: list[int], tell: int) -> None:
    """Start it, and wait in the place of the server, which goes on. Never returns."""
    try:
        ends, given = came[3], [*came[:3], *came[4:]]
        child = os.fork()
        if child == 0:
            os.close(ends)
            os.close(tell)
            _be_the_command(request, given)
        os.write(tell, str(child).encode())
        for descriptor in (tell, *given):
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        os.write(ends, str(os.waitstatus_to_exitcode(status)).encode())
    finally:
        os._exit(0)


def _take_descriptors(request: dict[str, Any], given: list[int]) -> None:
    """Have what was given as the numbers that it should have."""
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, ABOVE) for descriptor in given]
    for descriptor in given:
        os.close(descriptor)
    for descriptor, number in zip(high, (0, 1, 2, *request.get("fds", ())), strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if request.get("terminal"):
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    if os.isatty(1):
        assert isinstance(sys.stdout, io.TextIOWrapper)
        sys.stdout.reconfigure(line_buffering=True)


def _be_the_command(request: dict[str, Any], given: list[int]) -> None:
    """Never returns."""
    code: Any = 1
    try:
        _take_descriptors(request, given)
        if request["memory"] is not None:
            resource.setrlimit(resource.RLIMIT_AS, (request["memory"], resource.RLIM_INFINITY))
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        sys.argv = ["adl-workbench", *request["argv"]]
        importlib.import_module(request["module"]).main()
        code = 0
    except SystemExit as exc:
        code = exc.code
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
