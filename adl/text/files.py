"""Read UTF-8 text and JSONL files row by row, with errors that name the file and the line.

Every reader takes the class of ``AdlError`` to raise: a bad file of prompts is not a bad corpus.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from adl.errors import AdlError

_PROBE_BYTES = 8192
_UTF8_BOM = b"\xef\xbb\xbf"
_STDIN = Path("/dev/stdin")
_DESCRIPTORS = (Path("/dev/fd"), Path("/proc/self/fd"))
_piped: dict[tuple[int, int], bytes] = {}


def lines(path: Path, error: type[AdlError]) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, stripped text) of the lines that are not blank.

    Only line feeds end a line: a text may hold any other Unicode separator. Raises ``error``.
    """
    with _open(path, error) as file:
        _refuse_binary(path, file, error)
        for number, raw in enumerate(file, start=1):
            text = _decode(path, number, raw, error).strip()
            if text:
                yield number, text


def json_rows(path: Path, error: type[AdlError]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield (line number from 1, object) of a JSONL file; blank lines are skipped.

    Raises ``error``.
    """
    for number, text in lines(path, error):
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as exc:
            reason = exc.msg if isinstance(exc, json.JSONDecodeError) else "not readable"
            raise error(
                f"Line {number} of {path} is not JSON: {reason}",
                "A JSONL file has one JSON object on each line.",
            ) from exc
        if not isinstance(row, dict):
            raise error(
                f"Line {number} of {path} is a JSON {json_kind(row)}, not an object",
                "A JSONL file has one JSON object on each line.",
            )
        yield number, row


def check_readable(path: Path, error: type[AdlError]) -> None:
    """Raise ``error`` if a file is not there, is no file, or may not be read."""
    _open(path, error).close()


def is_handed_over(path: Path) -> bool:
    """True for a pipe that this process was given open, as ``<(...)`` of a shell and ``/dev/stdin``."""
    try:
        return path.is_fifo() and (path == _STDIN or path.parent in _DESCRIPTORS)
    except OSError:
        return False


def _read_once(path: Path) -> bytes:
    """All of a pipe, which can be read once and is asked for more often."""
    status = path.stat()
    key = (status.st_dev, status.st_ino)
    if key not in _piped:
        _piped[key] = path.read_bytes()
    return _piped[key]


def json_kind(value: object) -> str:
    """Name a decoded JSON value's type in JSON's own words."""
    names: dict[type, str] = {
        dict: "object",
        list: "array",
        str: "string",
        bool: "boolean",
        int: "number",
        float: "number",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)


def well_formed(text: str) -> str:
    """Return the text with each lone surrogate replaced by U+FFFD.

    JSON can spell half of a surrogate pair, but it has no UTF-8, so neither tokenizers nor SQLite
    take it. Everything else, NUL and escapes too, stays.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _open(path: Path, error: type[AdlError]) -> BinaryIO:
    try:
        if is_handed_over(path):
            return BytesIO(_read_once(path))
        # Else opening a pipe would wait for whoever may write to it.
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise error(f"{path} is a pipe or a device", "Name a file on disk.")
        return path.open("rb")
    except FileNotFoundError as exc:
        raise error(f"There is no file {path}", "Check the path.") from exc
    except IsADirectoryError as exc:
        raise error(f"{path} is a folder", "Name a file in it.") from exc
    except OSError as exc:
        raise error(
            f"{path} cannot be read: {exc.strerror or exc}", "Check its permissions."
        ) from exc


def _refuse_binary(path: Path, file: BinaryIO, error: type[AdlError]) -> None:
    # A binary file may be one enormous "line": look at its start before reading up to a line end.
    start = file.read(_PROBE_BYTES)
    if b"\0" in start:
        raise _binary(path, error, "it has NUL bytes")
    file.seek(len(_UTF8_BOM) if start.startswith(_UTF8_BOM) else 0)


def _decode(path: Path, number: int, raw: bytes, error: type[AdlError]) -> str:
    if b"\0" in raw:
        raise _binary(path, error, f"line {number} has NUL bytes")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise _binary(path, error, f"line {number} has the byte 0x{raw[exc.start]:02x}") from exc


def _binary(path: Path, error: type[AdlError], why: str) -> AdlError:
    return error(
        f"{path} is not UTF-8 text: {why}", "Name a text file, or convert this one to UTF-8."
    )
