"""The command line over a planted pair: `python -m tests.planted_cli audit --demo ...`.

Everything is as for a person but what would load torch: the pair. So a process starts in half a
second and a whole audit takes another, which makes it cheap to kill, stop and starve.

``PLANTED_CLI`` in the environment, JSON, asks for more:

    rows        the device has room for no more rows than this
    fails       the pair cannot be loaded
    hostile     the finetuned model says and has tokens of what drives a terminal
    halt        [method, n]: before its n-th use, say so on ``announce`` and wait until ``resume``
                can be read from
    announce    file descriptor that gets a line per committed event and per use of the model
    resume      file descriptor, see halt
    broken      methods that raise, as "module:Class.method"
    stopped     a method, written likewise: with its end comes a SIGTERM
    file_size   largest file that this process may write, in bytes
    no_training nothing is trained: there is no room for it
    lacks       packages that are not installed
    seconds_between_lines   of progress, where stderr is no terminal
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from adl.callbacks import ShouldStop, never_stop
from adl.errors import DeviceOutOfMemory, PairError
from adl.records import GeneratedText, GenerationPlan, GenerationRequest, PairSpec, Side
from tests.planted import FILLER, PlantedPair, device_full_above

HOSTILE = (
    "\x1b]52;c;aGFja2Vk\x07 \x1b[2J\x1b[31m \x9b2J \x9d0;title\x9c \x1b]0;owned"
    " \u202eevil\u202c \u200bhidden [@click=app.quit]x[/] [/ \r\x08\x7f"
)


class HostilePair(PlantedPair):
    """A planted pair whose tokens and texts hold escapes, markup and bidi controls."""

    def token_texts(self, side: Side) -> Sequence[str]:
        return [HOSTILE + text if text in FILLER else text for text in super().token_texts(side)]

    def generate(
        self,
        plan: GenerationPlan,
        requests: Sequence[GenerationRequest],
        *,
        on_text: Callable[[dict[int, str]], None] | None = None,
        should_stop: ShouldStop = never_stop,
    ) -> list[GeneratedText]:
        def spoilt(pieces: dict[int, str]) -> None:
            assert on_text is not None
            on_text({row: HOSTILE + piece for row, piece in pieces.items()})

        texts = super().generate(
            plan,
            requests,
            on_text=None if on_text is None else spoilt,
            should_stop=should_stop,
        )
        return [replace(text, text=HOSTILE + text.text) for text in texts]


def watched(wanted: dict[str, Any]) -> Callable[[str, int], None]:
    """What happens before each use of the model."""
    uses: Counter[str] = Counter()
    full = device_full_above(wanted["rows"]) if "rows" in wanted else None

    def before_run(method: str, rows: int) -> None:
        uses[method] += 1
        if "announce" in wanted:
            os.write(wanted["announce"], f"use {method}\n".encode())
        if wanted.get("halt") == [method, uses[method]]:
            os.write(wanted["announce"], b"halted\n")
            os.read(wanted["resume"], 1)
        if full is not None:
            full(method, rows)

    return before_run


def announce_events(descriptor: int) -> None:
    """Say every committed event on ``descriptor``, unbuffered: who reads it knows it was recorded."""
    from workbench.store.events import Event
    from workbench.store.log import SessionLog

    def announce(event: Event) -> None:
        line = f"event {event.session_id} {event.seq} {event.sha256} {event.body.kind}\n"
        os.write(descriptor, line.encode())

    opened = SessionLog.open.__func__  # type: ignore[attr-defined]

    def open_announcing(cls: type[SessionLog], *arguments: Any, **options: Any) -> SessionLog:
        log: SessionLog = opened(cls, *arguments, **options)
        log.subscribe(announce)
        return log

    SessionLog.open = classmethod(open_announcing)  # type: ignore[method-assign, assignment]


def stand_in_for_torch(wanted: dict[str, Any]) -> None:
    """Put modules without torch where the loading of a pair would import those with it."""

    class PlantedLoading:
        @staticmethod
        def load(_spec: PairSpec, *_hashes: object) -> PlantedPair:
            kind = HostilePair if wanted.get("hostile") else PlantedPair
            before_run = watched(wanted)
            before_run("load", 0)
            if wanted.get("fails"):
                raise PairError("the pair cannot be loaded")
            return kind(before_run=before_run)

    pair, demo = ModuleType("adl.pair.nnsight.pair"), ModuleType("adl.pair.nnsight.demo")
    vars(pair)["NnsightPair"] = PlantedLoading
    vars(demo)["prepared_base"] = lambda _cache, _say: Path("planted-base")
    sys.modules |= {"adl.pair.nnsight.pair": pair, "adl.pair.nnsight.demo": demo}


def no_training() -> ModuleType:
    """In place of the training, which would load torch."""

    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise DeviceOutOfMemory("no room for a training", "Use a smaller batch.")

    module = ModuleType("adl.organisms.finetune")
    vars(module).update(Training=refuse, TrainingRequest=refuse, Step=object, Trained=object)
    return module


def break_method(name: str) -> None:
    """Have a method raise what nobody expects of it."""

    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError(f"{name.partition(':')[2]} is broken")

    replace_method(name, lambda _method: broken)


def stop_behind(name: str) -> None:
    """Have this process get a SIGTERM with the end of a method."""

    def stopping(method: Callable[..., object]) -> Callable[..., object]:
        def stopped(*arguments: object, **options: object) -> object:
            found = method(*arguments, **options)
            os.kill(os.getpid(), signal.SIGTERM)
            return found

        return stopped

    replace_method(name, stopping)


def replace_method(
    name: str, replacement: Callable[[Callable[..., object]], Callable[..., object]]
) -> None:
    module, _, path = name.partition(":")
    kind, _, method = path.partition(".")
    owner = getattr(importlib.import_module(module), kind)
    setattr(owner, method, replacement(getattr(owner, method)))


def main() -> None:
    wanted: dict[str, Any] = json.loads(os.environ.get("PLANTED_CLI", "{}"))
    if "file_size" in wanted:
        # Python ignores SIGXFSZ, so a write beyond it fails as one to a full disk does.
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (wanted["file_size"], most))
    stand_in_for_torch(wanted)
    # What is None there cannot be imported, and is not found.
    sys.modules.update(dict.fromkeys(wanted.get("lacks", ())))  # type: ignore[arg-type]
    if "no_training" in wanted:
        sys.modules["adl.organisms.finetune"] = no_training()
    if "announce" in wanted:
        announce_events(wanted["announce"])
    for name in wanted.get("broken", []):
        break_method(name)
    if "stopped" in wanted:
        stop_behind(wanted["stopped"])
    from workbench import cli
    from workbench.cli import progress

    progress.SECONDS_BETWEEN_LINES = wanted.get(
        "seconds_between_lines", progress.SECONDS_BETWEEN_LINES
    )
    cli.main()


if __name__ == "__main__":
    main()
