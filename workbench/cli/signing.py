"""Exports that are signed as they are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from workbench.cli.output import print_json, say

Sign = Annotated[
    Path | None,
    typer.Option("--sign", metavar="KEY", help="Sign it with this SSH key (ssh-keygen -Y sign)."),
]


@contextmanager
def signing(file: Path, key: Path | None) -> Iterator[list[Path]]:
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


def print_written(session: str, file: Path, signatures: Sequence[Path], *, json: bool) -> None:
    """Print where a session was written, and its signature if there is one."""
    if json:
        signed = {"signature": str(signatures[0])} if signatures else {}
        print_json({"session": session, "file": str(file)} | signed)
    else:
        for path in (file, *signatures):
            say(f"written: {path}")
