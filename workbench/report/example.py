"""The recorded example that comes with the project: a real audit of the demo pair.

It is kept as JSON lines and not as a database, so that no later schema refuses it, and is read into
a database of its own each time, which is gone afterwards.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.report.errors import ExportError
from workbench.report.jsonl import read_jsonl
from workbench.store.errors import StoreError
from workbench.store.log import SessionLog

EXAMPLE = "audit.jsonl.gz"


def example_file(package: Path | None = None) -> Path:
    """Return the example's path, in the checkout's ``sessions/examples`` or the installed package.

    ``package`` is the folder of the package `workbench`. Raises `ExportError` if it is in neither.
    """
    package = package or Path(__file__).resolve().parents[1]
    places = (package.parent / "sessions" / "examples" / EXAMPLE, package / "examples" / EXAMPLE)
    for place in places:
        if place.is_file():
            return place
    raise ExportError(
        f"the recorded example is not here: neither {places[0]} nor {places[1]}",
        "Install adl-workbench again, or replay a session of your own.",
    )


@contextmanager
def opened_example(file: Path | None = None) -> Iterator[tuple[SessionLog, str]]:
    """The example in a session file of its own, and its id; changes to it do not last.

    Raises `ExportError` if it is not as it was recorded.
    """
    source = file or example_file()
    with tempfile.TemporaryDirectory(prefix="adl-example-") as folder:
        try:
            database = read_jsonl(source, Path(folder) / "example.db")
        except StoreError as error:
            raise ExportError(
                error.message,
                "It was changed after it was recorded; take it from the project again.",
            ) from error
        with SessionLog.open(database) as log:
            (session,) = log.sessions()
            yield log, session.id
