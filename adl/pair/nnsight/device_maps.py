"""Device maps: where the weights of a model go, as a name, a table of modules, or a file with one.

read_map   what was asked for, checked in words before anything is loaded
fitted     a table for one model: each of its modules once, on one place
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from adl.errors import PairError, first_line
from adl.pair.nnsight.loaded_weights import named
from adl.paths import expanded

Place = int | str
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
#: Places that weights wait on, unless no other computes.
WAITING = ("cpu", "disk")
_MOST_BYTES = 1 << 20
_MAPS = (
    f"Give one of {', '.join(DEVICE_MAPS)}, a device (cpu, cuda:0), or a table of modules and devices: "
    '{"model": 0, "lm_head": "cpu"}, written out or in a file NAME.json.'
)


def read_map(shown: str, asked: str | None) -> dict[str, Place] | str | None:
    """Return a device map for transformers; None leaves all on the CPU. Raises ``PairError``."""
    if asked is None:
        return _default_device()
    text = asked
    if not asked.lstrip().startswith("{"):
        if asked in DEVICE_MAPS:
            return asked
        path = _file(asked)
        if path is None:
            _check_place(shown, asked)
            return asked
        text = _text_of(shown, path)
    table = _table(shown, text)
    for place in table.values():
        if place != "disk":
            _check_place(shown, place)
    if set(table.values()) <= {"disk"}:
        raise PairError(
            f"{shown}: --device-map leaves no module on a device that computes",
            "Put one at least on cpu or cuda:0.",
        )
    return table


def fitted(shown: str, table: Mapping[str, Place], module: PreTrainedModel) -> dict[str, Place]:
    """Return the places of a model's modules, none of them within another; ``module`` needs no data.

    A table may name a module and parts of it, which then go elsewhere. Raises ``PairError`` for names
    that the model has not, modules without a place, and what cannot be parted.
    """
    kind = type(module).__name__
    parts = dict(module.named_modules(remove_duplicate=False))
    unknown = sorted(set(table) - set(parts))
    if unknown:
        raise PairError(
            f"{shown}: --device-map names what {kind} has not: {named(unknown)}",
            f"Its parts are {', '.join(name for name, _ in module.named_children())}.",
        )
    twins = _twins(module)
    wanted = {path: _place_of(path, table) for path in parts}
    for path, twin in twins.items():
        wanted[path] = wanted[twin] if wanted[path] is None else wanted[path]
    computing = next((place for place in table.values() if place not in WAITING), "cpu")
    found: dict[str, Place] = {}
    missing = []
    for path in _whole(shown, parts, wanted):
        place = wanted[path]
        if place is not None:
            found[path] = place
        elif any(True for _ in parts[path].parameters()):
            missing.append(path)
        elif any(True for _ in parts[path].buffers()):
            # Tables that are computed belong where all passes through.
            found[path] = computing
    if missing:
        raise PairError(
            f"{shown}: --device-map has no place for {len(missing)} parts of {kind}: {named(missing)}",
            'Name them, or give "" as the place of all that is not named: {"": "cpu", ...}.',
        )
    for path, twin in twins.items():
        if wanted[path] != wanted[twin]:
            raise PairError(
                f"{shown}: --device-map puts {path} on {wanted[path]} and {twin} on {wanted[twin]}, "
                "and they are one matrix",
                "Give both the same place.",
            )
    _check_runs(shown, module, found, computing)
    return found


def _whole(
    shown: str,
    parts: Mapping[str, torch.nn.Module],
    wanted: Mapping[str, Place | None],
    path: str = "",
) -> Iterator[str]:
    """Yield the largest modules at or below ``path`` all parts of which have one place, or none."""
    start = f"{path}." if path else ""
    if len({wanted[other] for other in parts if other == path or other.startswith(start)}) == 1:
        yield path
        return
    own = [name for name, _ in parts[path].named_parameters(recurse=False)]
    if own:
        raise PairError(
            f"{shown}: --device-map parts {path or 'the model'}, which has weights of its own "
            f"({named(own)})",
            "Put it on one place as a whole.",
        )
    for name, _ in parts[path].named_children():
        yield from _whole(shown, parts, wanted, f"{start}{name}")


def _place_of(path: str, table: Mapping[str, Place]) -> Place | None:
    """Return the place of the nearest module around ``path`` that a table names."""
    around = [path, *(path.rsplit(".", count)[0] for count in range(1, path.count(".") + 1)), ""]
    return next((table[name] for name in around if name in table), None)


def _twins(module: PreTrainedModel) -> dict[str, str]:
    """Return modules by name whose weight is that of another module, named before them."""
    owners: dict[int, str] = {}
    found = {}
    for name, weight in module.named_parameters(remove_duplicate=False):
        path = name.rpartition(".")[0]
        first = owners.setdefault(id(weight), path)
        if first != path:
            found[path] = first
    return found


def _check_runs(
    shown: str, module: PreTrainedModel, places: Mapping[str, Place], computing: Place
) -> None:
    """Raise ``PairError`` for a module whose parts would compute on several devices."""
    indivisible = set(module._no_split_modules or ())
    for path, part in module.named_modules():
        runs_on = {
            computing if place in WAITING else place
            for name, place in places.items()
            if name == path or name.startswith(f"{path}.")
        }
        if len(runs_on) > 1 and type(part).__name__ in indivisible:
            devices = " and ".join(sorted(map(str, runs_on)))
            raise PairError(
                f"{shown}: --device-map parts {path} between {devices}, and it has to be computed on one",
                "Put it on one as a whole.",
            )


# --- reading --------------------------------------------------------------------------------------


def _file(asked: str) -> Path | None:
    """Return the file that is named, there or not; None if none is."""
    path = expanded(asked)
    try:
        return path if path.suffix == ".json" or path.is_file() else None
    except (OSError, ValueError):
        return None


def _text_of(shown: str, path: Path) -> str:
    try:
        if not path.is_file():
            raise PairError(f"{shown}: {str(path)!r} of --device-map is no file", _MAPS)
        if path.stat().st_size > _MOST_BYTES:
            raise PairError(
                f"{shown}: {str(path)!r} of --device-map is larger than 1 MiB, and no table of modules",
                _MAPS,
            )
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as exc:
        raise PairError(
            f"{shown}: {str(path)!r} of --device-map cannot be read: {first_line(exc)}", _MAPS
        ) from exc


def _table(shown: str, text: str) -> dict[str, Place]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{named(twice)} is named twice")
        return dict(pairs)

    try:
        table: dict[str, Place] = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as exc:
        raise PairError(f"{shown}: --device-map is not JSON: {first_line(exc)}", _MAPS) from exc
    if not isinstance(table, dict):
        raise PairError(f"{shown}: --device-map is JSON, and no table of modules", _MAPS)
    return table


def _default_device() -> str | None:
    """Return the map over all accelerators, or None for the CPU."""
    if torch.cuda.is_available():
        return "auto"
    return "mps" if torch.backends.mps.is_available() else None


def _check_place(shown: str, place: object) -> None:
    """Raise ``PairError`` unless a device of this machine that can hold weights."""
    try:
        assert isinstance(place, int | str)
        assert not isinstance(place, bool)
        device = torch.device(place)
    except (AssertionError, RuntimeError, TypeError) as exc:
        raise PairError(f"{shown}: {place!r} of --device-map is no device", _MAPS) from exc
    backend = getattr(torch, device.type, None)
    count = backend.device_count() if backend is not None and backend.is_available() else 0
    if (device.index or 0) >= count:
        raise PairError(f"{shown}: this machine has no {device} for --device-map", _MAPS)
