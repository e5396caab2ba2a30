"""The pair of an engine: loaded once for all its sessions, freed and loaded again."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adl.callbacks import ShouldStop, StageProgress
from adl.errors import PairError
from adl.organisms.registry import EMBEDDED_BASE
from adl.pair.protocol import ModelPair
from adl.paths import expanded
from workbench.operations.pair import PairArguments, load_models

#: What is not part of the question which pair it is: without trust it would not be loaded.
_NO_PART = {"trust_remote_code"}
_PLACES = ("base", "adapter", "finetuned", "chat_template")


class SharedPair:
    """A pair that several sessions use. Safe to use from several threads."""

    def __init__(self, arguments: PairArguments) -> None:
        self.arguments = absolute(arguments)
        self._pair: ModelPair | None = None
        self._files: dict[str, tuple[int, int]] = {}
        self._loading = threading.Lock()

    @property
    def pair(self) -> ModelPair | None:
        """The pair, if it is loaded."""
        return self._pair

    def load(
        self, arguments: PairArguments, progress: StageProgress, should_stop: ShouldStop
    ) -> ModelPair:
        """Return the pair, loaded if it is not yet. Raises `PairError` for another one."""
        if not self.is_of(arguments):
            raise PairError(
                "this engine has another pair than the one asked for",
                "Load it in an engine of its own, or without one: --engine never.",
            )
        with self._loading:
            if self._pair is None:
                pair = load_models(self.arguments, progress, should_stop)
                self._files = _stamps(pair)
                self._pair = pair
            return self._pair

    def is_of(self, arguments: PairArguments) -> bool:
        """True if the arguments name this pair and how it was loaded."""
        return _identity(arguments) == _identity(self.arguments)

    def is_current(self) -> bool:
        """True if the files of the loaded pair are as they were."""
        return self._pair is None or _stamps(self._pair) == self._files

    def free(self) -> None:
        """Forget the pair; its memory is free once no session has it."""
        with self._loading:
            self._pair = None
        if "torch" in sys.modules:
            from adl.pair.nnsight.device_memory import give_back

            give_back()


def absolute(arguments: PairArguments) -> PairArguments:
    """Return the arguments with paths that hold in every folder."""
    return arguments.model_copy(
        update={name: _absolute(getattr(arguments, name)) for name in _PLACES}
    )


def _absolute(name: str | None) -> str | None:
    if name is None or name == EMBEDDED_BASE:
        return name
    try:
        path = expanded(name)
        return str(path.absolute()) if path.exists() else name
    except (OSError, RuntimeError):
        return name  # too long for a path, or the home of nobody: it can only be an id


def _identity(arguments: PairArguments) -> dict[str, Any]:
    return absolute(arguments).model_dump(exclude=_NO_PART)


def _stamps(pair: ModelPair) -> dict[str, tuple[int, int]]:
    """Size and time of each file that the pair was loaded from, as far as it lies here."""
    found = {}
    for path in (path for place in _places_of(pair) for path in _files(Path(place))):
        status = path.stat()
        found[str(path)] = (status.st_size, status.st_mtime_ns)
    return found


def _places_of(pair: ModelPair) -> set[str]:
    sides = (pair.provenance.base, pair.provenance.finetuned)
    return {name for side in sides for name in (side.checkpoint, side.adapter) if name}


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    elif place.is_dir():
        yield from (path for path in sorted(place.iterdir()) if path.is_file())
