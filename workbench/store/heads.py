"""Heads of sessions, kept where the session itself does not stand.

The head of a session is the number and the hash of its last event. A chain of hashes shows that
nothing before its head was changed. That it once was longer it cannot show, so each time a session
file is closed the heads of what was recorded are appended to a second file beside it:

    {"at": ..., "seq": 428, "session": "20261121-k3f9x2", "sha256": ...}

Whoever can write both files can cut both. Kept where others cannot write, or printed in a report,
a mail or a signed export, a head shows what neither file can.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from adl.errors import AdlError
from workbench.private_files import NotAFile, make_empty, opened_input
from workbench.store.encoding import canonical_json, utc_text
from workbench.store.ids import is_session_id, is_sha256

SUFFIX = ".heads.jsonl"

_LONGEST_LINE = 1000
_HEAD = re.compile(r"(\d{1,18}):([0-9a-f]{64})", re.ASCII)


class HeadError(AdlError):
    """A head cannot be read."""


class Head(NamedTuple):
    """The number and the hash of a session's last event, as they are printed: ``428:ab01...``."""

    seq: int
    sha256: str

    def __str__(self) -> str:
        """As it is printed and taken back."""
        return f"{self.seq}:{self.sha256}"

    @classmethod
    def read(cls, text: str) -> Head:
        """The head that ``text`` is. Raises `HeadError`."""
        found = _HEAD.fullmatch(text.strip().lower())
        if found is None or int(found[1]) < 1:
            raise HeadError(
                f"{text!r} is no head of a session",
                "Give SEQ:SHA256 with all 64 digits, as `adl-workbench sessions verify` prints it.",
            )
        return cls(int(found[1]), found[2])


class Expected(NamedTuple):
    """A head that a session is to have had; ``source`` says where it is known from.

    ``at`` is when it was kept, in ISO 8601 and UTC, or empty where its source does not say.
    """

    session_id: str
    head: Head
    source: str
    at: str = ""


def heads_file(database: Path) -> Path:
    """The second file, beside the database."""
    return database.with_name(database.name + SUFFIX)


def keep_heads(database: Path, heads: Mapping[str, Head]) -> None:
    """Append heads to the file beside the database; not where nothing can be written there."""
    at = utc_text()
    lines = [
        canonical_json({"at": at, "session": session_id, "seq": head.seq, "sha256": head.sha256})
        for session_id, head in heads.items()
    ]
    file = heads_file(database)
    make_empty(file)
    with suppress(OSError):
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | getattr(os, "O_NONBLOCK", 0))
        try:
            # A line that a killed process left half written ends here.
            broken = "\n" if _ends_within_a_line(file) else ""
            os.write(descriptor, (broken + "".join(f"{line}\n" for line in lines)).encode())
        finally:
            os.close(descriptor)


def read_heads(file: Path) -> Iterator[Expected]:
    """Every head in a file of them; what is no line of one is passed over.

    Raises `OSError` and `NotAFile`.
    """
    with opened_input(file) as lines:
        while text := lines.readline(_LONGEST_LINE):
            with suppress(ValueError, RecursionError):
                found = _expected(json.loads(text), file)
                if found is not None:
                    yield found


def kept_heads(database: Path) -> list[Expected]:
    """The heads beside a database; none where there is no such file.

    Raises `HeadError` if the file is there and cannot be read.
    """
    file = heads_file(database)
    try:
        return list(read_heads(file))
    except FileNotFoundError:
        return []
    except (OSError, NotAFile) as exc:
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise HeadError(
            f"the heads beside the database, {file}, cannot be read: {why}",
            "Make it readable, or move it away: without it a cut end of a session does not show.",
        ) from None


def _expected(line: Any, file: Path) -> Expected | None:
    match line:
        case {"session": str(session_id), "seq": int(seq), "sha256": str(sha256)}:
            if is_session_id(session_id) and is_sha256(sha256) and 0 < seq < 2**63:
                return Expected(session_id, Head(seq, sha256), file.name, str(line.get("at", "")))
    return None


def _ends_within_a_line(file: Path) -> bool:
    with file.open("rb") as lines:
        if lines.seek(0, os.SEEK_END) == 0:
            return False
        lines.seek(-1, os.SEEK_END)
        return lines.read(1) != b"\n"
