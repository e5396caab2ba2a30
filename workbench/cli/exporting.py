"""Sessions written into a file, and signed as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from workbench.cli.output import print_json, say
from workbench.cli.running import reading_log
from workbench.store.log import SessionLog

Sign = Annotated[
    Path | None,
    typer.Option("--sign", metavar="KEY", help="Sign it with this SSH key (ssh-keygen -Y sign)."),
]


def export(
    session: str,
    to: Path,
    write: Callable[[SessionLog, str, Path], Path],
    *,
    database: Path | None,
    json: bool,
    key: Path | None = None,
) -> None:
    """Write a session into the file ``to``, sign that if there is a ``key``, and print where they are."""
    from workbench.cli.redaction import say_if_raw

    with reading_log(database) as log:
        found = log.find_session(session).id
        with _signing(to, key) as signatures:
            file = write(log, found, to)
        say_if_raw(log, found)
    if json:
        signed = {"signature": str(signatures[0])} if signatures else {}
        print_json({"session": found, "file": str(file)} | signed)
    else:
        for path in (file, *signatures):
            say(f"written: {path}")


@contextmanager
def _signing(file: Path, key: Path | None) -> Iterator[list[Path]]:
    """Sign ``file`` once it is written inside; the list then holds its signature, if any.

    Raises `ExportError` before it is written for what is known to keep it from being signed.
    """
    signatures: list[Path] = []
    if key is None:
        yield signatures
        return
    from workbench.report.signing import check_can_sign, sign

    check_can_sign(file, key)
    yield signatures
    signatures.append(sign(file, key))
