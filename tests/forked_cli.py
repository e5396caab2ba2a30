"""Many commands of the planted command line, each in a process forked from one that has it loaded.

``python -m tests.forked_cli`` reads requests from its stdin, one JSON object a line, and answers
each with one line on its stdout:

    argv, cwd, env      what the command is given; of ``env`` None takes a variable away
    wanted              what is asked of the planted pair, as in ``PLANTED_CLI``
    memory              most bytes that it may have
    patience            seconds until it is sent a SIGINT, as by ctrl+c; SIGKILL follows likewise

    code, out, err      how it ended (negative: by which signal) and what it wrote
    interrupted         True if it was sent the SIGINT

So a command costs a fork and not the half second of a new interpreter.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import sys
import tempfile
import traceback
from types import ModuleType
from typing import IO, Any

from adl.errors import DeviceOutOfMemory
from tests.planted_cli import stand_in_for_torch
from workbench import agent, cli, operations, replay, report, store


def main() -> None:
    stand_in_for_torch({})
    # Loaded once for every command, those that commands import when they run with them.
    for package in (cli, agent, operations, replay, report, store):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in sys.stdin:
        answers.write(json.dumps(_run(json.loads(line))) + "\n")
        answers.flush()


def _run(request: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _be_the_command(request, out, err)
        code, interrupted = _ended(child, request["patience"])
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "backslashreplace"))
    return {"code": code, "out": texts[0], "err": texts[1], "interrupted": interrupted}


def _ended(child: int, patience: float) -> tuple[int, bool]:
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


def _no_training() -> ModuleType:
    """In place of the training, which would load torch in every process."""

    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise DeviceOutOfMemory("no room for a training", "Use a smaller batch.")

    module = ModuleType("adl.organisms.finetune")
    vars(module).update(Training=refuse, TrainingRequest=refuse, Step=object, Trained=object)
    return module


def _be_the_command(request: dict[str, Any], out: IO[bytes], err: IO[bytes]) -> None:
    """Never returns."""
    code: Any = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        resource.setrlimit(resource.RLIMIT_AS, (request["memory"], resource.RLIM_INFINITY))
        for name, value in request["env"].items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        os.chdir(request["cwd"])
        stand_in_for_torch(request["wanted"])
        sys.modules["adl.organisms.finetune"] = _no_training()
        sys.argv = ["adl-workbench", *request["argv"]]
        cli.main()
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
    main()
