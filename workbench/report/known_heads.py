"""Heads of sessions out of what was once written of them: an export, a report, a file of heads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from workbench.private_files import opened_input
from workbench.report.errors import ExportError
from workbench.report.jsonl import end_of_jsonl
from workbench.store.heads import SUFFIX, Expected, Head, read_heads
from workbench.store.log import SessionLog

SQLITE = b"SQLite format 3\0"

_LONGEST_LINE = 64 * 1024
# As `markdown` and the HTML template put it, each at the start of a line, before any other text. A
# name of a session stands before it, too: in Markdown on a line that begins otherwise, in HTML with
# every < escaped.
_STARTS = {".md": ("", "`", "`"), ".html": ("<p>", "<code>", "</code>")}
_SESSION = r"{}Session ([\w\\-]{{1,200}}), "
_HEAD = r"{}(\d{{1,18}}|\d{{1,3}}(?:,\d{{3}}){{1,5}}) events?, the last with the hash {}([0-9a-f]{{64}}){}"


def heads_in(file: Path) -> list[Expected]:
    """The heads that a file knows: an export (JSON lines or database), a report, a file of heads.

    Raises `ExportError` if there is none in it, and `StoreError` if an export does not verify.
    """
    try:
        with opened_input(file) as content:
            start = content.read(len(SQLITE))
            content.seek(0)
            if start == SQLITE:
                found = _of_a_database(file)
            elif file.name.endswith(SUFFIX):
                found = list(read_heads(file))
            elif file.suffix in _STARTS:
                found = list(_of_a_report(file, content))
            else:
                session_id, head = end_of_jsonl(file)
                found = [Expected(session_id, head, file.name)]
    except OSError as error:
        raise ExportError(
            f"{file} cannot be read: {error.strerror or error}", "Check the path."
        ) from error
    if not found:
        raise ExportError(
            f"no head of a session stands in {file}",
            "Name an export, a report (.md or .html), or the .heads.jsonl beside a database.",
        )
    return found


def _of_a_database(file: Path) -> list[Expected]:
    with SessionLog.open(file, read_only=True, foreign=True) as log:
        report = log.verify()
    if not report.ok:
        raise ExportError(
            f"{file} does not verify itself: {report.problems[0]}", "Take another copy of it."
        )
    return [Expected(session_id, head, file.name) for session_id, head in report.heads.items()]


def _of_a_report(file: Path, content: IO[bytes]) -> Iterator[Expected]:
    start, before, after = _STARTS[file.suffix]
    session = re.compile(_SESSION.format(start), re.ASCII)
    events = re.compile(_HEAD.format(start, before, after), re.ASCII)
    session_id = ""
    while line := content.readline(_LONGEST_LINE).decode(errors="replace"):
        if not session_id and (named := session.match(line)):
            session_id = named[1].replace("\\", "")
        elif session_id and (head := events.match(line)):
            n_events = int(head[1].replace(",", ""))
            yield Expected(session_id, Head(n_events, head[2]), file.name)
            return
