"""Generate many texts in batches that fit the device, with callbacks by index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adl.callbacks import Progress, ShouldStop, ignore_progress, never_stop
from adl.errors import DeviceOutOfMemory, PromptError
from adl.pair.protocol import ModelPair
from adl.records import GeneratedText, GenerationPlan, GenerationRequest


@dataclass(frozen=True)
class SamplingListener:
    """Callbacks of :func:`sample`. Indexes are those of the whole list of requests.

    ``started`` is called with the indexes of a batch before it runs, ``text`` with the characters
    added to each text since the last call, ``finished`` with a complete text.
    """

    started: Callable[[Sequence[int]], None] = lambda _indexes: None
    text: Callable[[dict[int, str]], None] = lambda _pieces: None
    finished: Callable[[int, GeneratedText], None] = lambda _index, _text: None


SILENT = SamplingListener()


def sample(
    pair: ModelPair,
    plan: GenerationPlan,
    requests: Sequence[GenerationRequest],
    *,
    batch_size: int = 40,
    listener: SamplingListener = SILENT,
    progress: Progress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> list[GeneratedText]:
    """Return the text of each request, ``batch_size`` at a time; batches too large are halved.

    Once ``should_stop`` returns True, the current batch ends within a token and no other begins;
    fewer texts than requests are then returned. Raises ``PromptError`` for a batch size below 1
    and ``DeviceOutOfMemory`` if a single row does not fit.
    """
    if batch_size < 1:
        raise PromptError(f"a batch of {batch_size} texts is empty", "Use 1 or more.")
    finished: list[GeneratedText] = []
    announced = 0
    while len(finished) < len(requests) and not should_stop():
        first = len(finished)
        indexes = range(first, min(first + batch_size, len(requests)))
        if indexes.stop > announced:
            listener.started(range(max(announced, first), indexes.stop))
            announced = indexes.stop
        texts = _one_batch(pair, plan, requests, indexes, listener, should_stop)
        if texts is None:
            batch_size = max(1, len(indexes) // 2)
            continue
        for index, text in zip(indexes, texts, strict=True):
            listener.finished(index, text)
        finished += texts
        progress(len(finished), len(requests))
    return finished


def _one_batch(
    pair: ModelPair,
    plan: GenerationPlan,
    requests: Sequence[GenerationRequest],
    indexes: range,
    listener: SamplingListener,
    should_stop: ShouldStop,
) -> list[GeneratedText] | None:
    """Return the texts of a batch, or None if it did not fit the device but a smaller one may."""
    streamed = False

    def on_text(pieces: dict[int, str]) -> None:
        nonlocal streamed
        streamed = True
        listener.text({indexes[row]: piece for row, piece in pieces.items()})

    try:
        return pair.generate(
            plan,
            [requests[index] for index in indexes],
            on_text=on_text,
            should_stop=should_stop,
        )
    except DeviceOutOfMemory:
        # Streamed text cannot be taken back: only a batch that streamed none is tried again.
        if len(indexes) == 1 or streamed:
            raise
        return None
