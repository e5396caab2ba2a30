"""Take readings of a measured difference, each with its nulls, with scale and alpha chosen.

    take_readings(pair, difference, texts, request) -> TokenReadout | FailedReading ...

Lists are yielded as soon as they are ready, family by family: next-token predictions (output
difference, shift lens, amplified difference and their consensus), patchscope and its contrast, the
logit lens, then any other. A reading that fails yields a ``FailedReading``; the others go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from adl.callbacks import ShouldStop, StageProgress, ignore_stages, never_stop
from adl.errors import AdlError, NotAvailable, Stopped, first_line
from adl.pair.protocol import ModelPair
from adl.pair.self_checks import DIFFERENCE, require
from adl.readings.reading import Reader, Reading, ReadingRequest, Step
from adl.readings.registry import READINGS
from adl.records import ActivationDifference, TokenReadout


@dataclass(frozen=True)
class FailedReading:
    """A reading that could not be computed, or only in part, and the error that ended it."""

    reading: str
    error: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, reading: str, error: Exception) -> FailedReading:
        """Return the record of a reading that ``error`` ended."""
        if isinstance(error, AdlError):
            return cls(reading, type(error).__name__, error.message, error.hint)
        return cls(reading, type(error).__name__, f"{type(error).__name__}: {first_line(error)}")


def take_readings(
    pair: ModelPair,
    difference: ActivationDifference,
    texts: Sequence[str],
    request: ReadingRequest,
    *,
    progress: StageProgress = ignore_stages,
    should_stop: ShouldStop = never_stop,
) -> Iterator[TokenReadout | FailedReading]:
    """Read the difference at ``request.layer``: pooled and at each position, with nulls.

    ``texts`` are unrelated, as the difference was measured on; the first 64 that are long enough
    are the contexts of the prediction readings. Lists are yielded as soon as they are ready, and a
    failed reading once, after its last list. ``progress`` is called with (stage, done, total).

    Raises ``KeyError`` for a reading that does not exist, and ``Stopped`` within one batch of
    ``should_stop`` returning True.
    """
    names = tuple(READINGS) if request.readings is None else request.readings
    readings = [READINGS[name] for name in names]
    reader = Reader(
        pair, difference, texts, request, names, progress=progress, should_stop=should_stop
    )
    return _take(reader, readings)


def _take(reader: Reader, readings: Sequence[Reading]) -> Iterator[TokenReadout | FailedReading]:
    names = [reading.name for reading in readings]
    vectors = [reading.name for reading in readings if reading.needs_vector]
    yield from _tried(reader, (vectors, _has_vector(reader)), names)
    # In the order of the registry whatever the order asked for; what readings share runs once.
    asked = (reading for reading in READINGS.values() if reading in readings)
    for steps in dict.fromkeys(reading.steps for reading in asked):
        for step in steps(reader):
            yield from _tried(reader, step, names)


def _tried(
    reader: Reader, step: Step, names: Sequence[str]
) -> Iterator[TokenReadout | FailedReading]:
    """Yield the lists of a step; if it raises, the readings that rest on it have failed."""
    serves, lists = step
    serving = [name for name in names if name in reader.open and name in serves]
    if not serving:
        return
    try:
        for readout in lists:
            yield replace(readout, completed=reader.completed(readout))
    except Stopped:
        raise
    except Exception as exc:  # noqa: BLE001 - no fault of one reading may cost the others
        reader.open -= {*serving}
        for name in serving:
            yield FailedReading.of(name, exc)


def _has_vector(reader: Reader) -> Iterator[TokenReadout]:
    """Raise ``NotAvailable`` if there is no difference of the sides' residuals; yields no list."""
    require(reader.pair.provenance, DIFFERENCE)
    if reader.unit() is None:
        raise NotAvailable(
            f"the difference at layer {reader.request.layer} is zero: up to there the finetuned "
            "model computes what base computes",
            "Read a later layer.",
        )
    yield from ()
