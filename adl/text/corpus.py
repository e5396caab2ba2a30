"""Unrelated reference text: its sources, and the choice of texts by a seed.

    CorpusSource   a description: bundled passages, a text file, a JSONL file, a data set
      .open()
    Corpus         its texts, one after the other
      .texts(seed, limit)
    ChosenTexts    the texts in the order of use, with their hash

Texts become tokens in ``adl.text.token_batches``, whose public names can be imported from here too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, Literal, overload

from adl.callbacks import ShouldStop, never_stop
from adl.errors import CorpusError, Stopped, install_extra
from adl.paths import expanded
from adl.text.chats import content_text, is_chat
from adl.text.files import json_kind, json_rows, lines, well_formed
from adl.text.token_batches import (
    BosPolicy,
    ChatIds,
    PairedTokenBatches,
    TokenBatch,
    TokenBatches,
    Tokenise,
    chat_token_batches,
    first_token_batches,
    first_tokens,
    text_start,
)

__all__ = [
    "BUNDLED_PASSAGES",
    "BosPolicy",
    "ChatIds",
    "ChosenTexts",
    "Corpus",
    "CorpusSource",
    "PairedTokenBatches",
    "TokenBatch",
    "TokenBatches",
    "Tokenise",
    "chat_token_batches",
    "first_token_batches",
    "first_tokens",
    "text_start",
]

BUNDLED_PASSAGES = Path(__file__).parents[1] / "data" / "passages.txt"

# Only the start of a text is ever read, and web documents can be megabytes long: a cut keeps memory
# and tokenising small. At four characters a token it leaves room for about a thousand tokens.
MAX_CHARACTERS = 4096

# A data set may have billions of rows, so a seed cannot choose among all of them: it chooses among
# the first ones.
STREAM_WINDOW = 20_000

_DEFAULT_COLUMN = "text"
_CHAT_COLUMN = "messages"
_DATASET_PREFIX = "hf:"

Kind = Literal["bundled", "text", "jsonl", "dataset"]


@dataclass(frozen=True)
class CorpusSource:
    """The source of reference text, in a form that can be logged and opened again.

    ``location`` is a path, or a data set's name. ``column`` is the text column of JSONL rows and data
    sets; None takes ``text``, or else the contents of ``messages``. ``config``, ``revision`` and ``split``
    are for data sets only.
    """

    kind: Kind
    location: str
    column: str | None = None
    config: str | None = None
    revision: str | None = None
    split: str = "train"

    @classmethod
    def parse(cls, spec: str | None = None, column: str | None = None) -> CorpusSource:
        """Parse a specification: none or ``bundled``, a path, or a data set.

        A data set is written ``hf:NAME[#CONFIG][@REVISION][:SPLIT][:COLUMN]``.
        A path that ends in ``.jsonl`` or ``.ndjson`` is read as JSONL, any other as one text a line. A
        ``column`` takes precedence over the one in ``spec``. Raises ``CorpusError`` for a data set
        without a name.
        """
        if spec is None or spec.strip() in {"", "bundled"}:
            return cls("bundled", str(BUNDLED_PASSAGES))
        if spec.startswith(_DATASET_PREFIX):
            return _parse_dataset(spec, column)
        is_jsonl = Path(spec).suffix.lower() in {".jsonl", ".ndjson"}
        return cls("jsonl" if is_jsonl else "text", str(expanded(spec)), column)

    @property
    def description(self) -> str:
        """One line on the text and its source."""
        column = f", column {self.column}" if self.column else ""
        match self.kind:
            case "bundled":
                return "bundled passages"
            case "text" | "jsonl":
                return f"{self.location}{column}"
            case "dataset":
                config = f" ({self.config})" if self.config else ""
                revision = f"@{self.revision}" if self.revision else ""
                return f"data set {self.location}{revision}{config}, split {self.split}{column}"

    def open(self) -> Corpus:
        """Return the corpus after a check that it exists; its texts are read later.

        Raises ``CorpusError`` for a missing file, a folder, a binary file or the missing ``datasets``
        extra.
        """
        if self.kind == "dataset":
            _require_datasets()
        else:
            # Opening and reading one row finds every mistake that does not depend on a later line.
            next(self._rows(), None)
        return Corpus(self)

    def _rows(self) -> Iterator[str]:
        path = Path(self.location)
        match self.kind:
            case "bundled" | "text":
                return (text for _, text in lines(path, CorpusError))
            case "jsonl":
                return _jsonl_texts(path, self.column)
            case "dataset":
                return _dataset_texts(self)


@dataclass(frozen=True)
class ChosenTexts(Sequence[str]):
    """The texts that a seed chose, each once, in the order in which they are used.

    ``rows`` are their places in the corpus, from 0, blank rows not counted. ``cut`` counts texts of
    which only the first ``MAX_CHARACTERS`` characters are kept. ``sha256`` is over the kept text, in
    order.
    """

    texts: tuple[str, ...] = field(repr=False)
    rows: tuple[int, ...] = field(repr=False)
    description: str
    seed: int
    sha256: str
    cut: int = 0

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        return self.texts[index]


@dataclass(frozen=True)
class Corpus:
    """Reference text of one source."""

    source: CorpusSource

    @property
    def description(self) -> str:
        """One line on the text and its source."""
        return self.source.description

    def texts(
        self,
        seed: int = 0,
        limit: int | None = None,
        *,
        should_stop: ShouldStop = never_stop,
    ) -> ChosenTexts:
        """Choose ``limit`` texts (all of them if None), in an order that depends on the seed alone.

        Each row gets a pseudo-random key from the seed and its place; the rows with the smallest
        keys are taken, in the order of their keys. Of rows with the same text, or the same first
        ``MAX_CHARACTERS`` of it, only the one with the smallest key takes part: a copy is no further
        evidence. So one pass over the file is enough, only
        ``limit`` texts are held, and a smaller limit chooses the first of those that a larger one
        chooses. Of a data set, only the first ``STREAM_WINDOW`` rows (or ``limit``, if that is more)
        take part, since the rest may never end.

        ``should_stop`` is asked at every row. Raises ``Stopped`` once it returns True, and
        ``CorpusError`` if the text cannot be read or holds no text.
        """
        if limit is not None and limit < 1:
            raise CorpusError(f"{limit} texts cannot be chosen", "Ask for 1 or more.")
        chosen = _smallest_keys(self._window(limit), seed, limit, should_stop)
        if not chosen:
            raise CorpusError(
                f"There is no text in {self.description}",
                "Name a corpus with at least one text that is not blank.",
            )
        kept = tuple(map(_kept, (text for _, text in chosen)))
        return ChosenTexts(
            texts=kept,
            rows=tuple(row for row, _ in chosen),
            description=self.description,
            seed=seed,
            sha256=_hash(kept),
            cut=sum(len(text) > MAX_CHARACTERS for _, text in chosen),
        )

    def _window(self, limit: int | None) -> Iterator[str]:
        rows = self.source._rows()
        if self.source.kind != "dataset":
            return rows
        return islice(rows, max(STREAM_WINDOW, limit or 0))


def _smallest_keys(
    texts: Iterator[str], seed: int, limit: int | None, should_stop: ShouldStop
) -> list[tuple[int, str]]:
    # A heap of the smallest keys seen, largest on top: keys are negated because heapq keeps the
    # smallest there. ``best`` has the entry of each text in it; an entry whose text has a smaller key
    # by now is out of use, and goes when it comes to the top.
    heap: list[tuple[int, int, str]] = []
    best: dict[str, tuple[int, int, str]] = {}
    for row, text in enumerate(texts):
        if should_stop():
            raise Stopped(f"Stopped while reading the corpus, after {row} texts")
        entry, kept = (-_key(seed, row), -row, text), _kept(text)
        known = best.get(kept)
        if known is None and limit is not None and len(best) == limit:
            if entry < heap[0]:
                continue
            del best[_kept(heap[0][2])]
        elif known is not None and entry < known:
            continue
        best[kept] = entry
        heappush(heap, entry)
        while best.get(_kept(heap[0][2])) != heap[0]:
            heappop(heap)
    return [(-row, text) for _, row, text in sorted(best.values(), reverse=True)]


def _kept(text: str) -> str:
    return text[:MAX_CHARACTERS]


def _key(seed: int, row: int) -> int:
    # A hash, not a generator of random numbers: the choice then holds across versions of Python and
    # numpy.
    digest = hashlib.blake2b(f"{seed}:{row}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _hash(texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode()
        # Lengths keep ("ab", "c") apart from ("a", "bc").
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def _jsonl_texts(path: Path, column: str | None) -> Iterator[str]:
    for number, row in json_rows(path, CorpusError):
        text = _row_text(row, column, f"line {number} of {path}")
        if text:
            yield text


def _row_text(row: Mapping[str, Any], column: str | None, where: str) -> str:
    name = column or (_CHAT_COLUMN if _DEFAULT_COLUMN not in row else _DEFAULT_COLUMN)
    if name not in row:
        wanted = f"column {column!r}" if column else f"{_DEFAULT_COLUMN!r} or {_CHAT_COLUMN!r}"
        raise CorpusError(
            f"{where} has no {wanted}",
            f"Name the text column; there are: {', '.join(map(str, row)) or 'none'}.",
        )
    value = row[name]
    if is_chat(value):
        contents = (content_text(message["content"]) for message in value)
        return well_formed("\n\n".join(text for text in contents if text)).strip()
    if not isinstance(value, str):
        raise CorpusError(
            f"Column {name!r} in {where} is a JSON {json_kind(value)}, not text",
            f"Name a column that holds text or messages; there are: {', '.join(map(str, row))}.",
        )
    return well_formed(value).strip()


def _parse_dataset(spec: str, column: str | None) -> CorpusSource:
    head, *rest = spec.removeprefix(_DATASET_PREFIX).split(":")
    name, _, revision = head.partition("@")
    name, _, config = name.partition("#")
    if not name or len(rest) > 2:
        raise CorpusError(
            f"{spec!r} does not name a data set",
            "Write hf:NAME[#CONFIG][@REVISION][:SPLIT][:COLUMN].",
        )
    split, named_column = [*rest, "", ""][:2]
    return CorpusSource(
        "dataset",
        name,
        column=column or named_column or None,
        config=config or None,
        revision=revision or None,
        split=split or "train",
    )


def _require_datasets() -> None:
    if find_spec("datasets") is None:
        raise CorpusError(
            "Reading Hugging Face data sets needs the extra 'datasets', which is not installed",
            f"Install it: {install_extra('datasets')}.",
        )


def _dataset_texts(source: CorpusSource) -> Iterator[str]:
    _require_datasets()
    # Imported here because ``datasets`` is an optional extra, and slow to load where it is not used.
    import datasets

    try:
        rows = iter(
            datasets.load_dataset(
                source.location,
                source.config,
                split=source.split,
                revision=source.revision,
                streaming=True,
            )
        )
    except Exception as exc:
        raise _dataset_error(source, exc) from exc
    number = 0
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except Exception as exc:
            raise _dataset_error(source, exc) from exc
        text = _row_text(row, source.column, f"row {number} of {source.description}")
        number += 1
        if text:
            yield text


def _dataset_error(source: CorpusSource, exc: Exception) -> CorpusError:
    """Return one error for the many kinds that ``datasets`` raises."""
    reason = next((line.strip() for line in str(exc).splitlines() if line.strip()), "")
    message = f"Cannot read {source.description}: {type(exc).__name__}: {reason}".rstrip(": ")
    # The library reports "not found" for a missing network too.
    if isinstance(exc, ConnectionError) or "reach" in reason.lower():
        return CorpusError(
            message,
            "The hub cannot be reached, or offline mode is on (HF_HUB_OFFLINE): check the network, "
            "or use the bundled passages or a local file.",
        )
    return CorpusError(
        message,
        "Check name, configuration, revision and split; log in or set HF_TOKEN if it is private; "
        "or use the bundled passages or a local file.",
    )
