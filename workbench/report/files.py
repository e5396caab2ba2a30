"""Writing a file whole or not at all."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.report.errors import ExportError
from workbench.store import whole_file

if TYPE_CHECKING:
    from workbench.report.records import Report


def new_file(target: Path, *, replace: bool = False) -> AbstractContextManager[Path]:
    """A path to write to, which becomes ``target`` if nothing is raised.

    Raises `ExportError` if the target exists (unless ``replace``) or its folder cannot be written.
    """
    return whole_file.new_file(target, replace=replace, error=ExportError)


def write_report(report: Report, target: Path, *, replace: bool = False) -> tuple[Path, Path]:
    """Write a report as Markdown and as HTML, ``target`` with each ending; return where they are.

    Raises `ExportError` if one is there already (unless ``replace``), with none written, or if one
    cannot be written.
    """
    # Here, so that what only writes other files starts without them.
    from workbench.report.html import report_html
    from workbench.report.markdown import report_markdown

    files = report_files(target)
    for file in files:
        try:
            is_there = file.exists()
        except OSError as exc:  # a folder that may not be entered, a name that is too long
            raise ExportError(f"{file}: {exc.strerror or exc}", "Name another file.") from None
        if is_there and not replace:
            raise ExportError(f"{file} exists already", "Name a file that does not.")
    for file, text in zip(files, (report_markdown(report), report_html(report)), strict=True):
        with new_file(file, replace=replace) as part:
            part.write_text(text, encoding="utf-8")
    return files


def report_files(target: Path) -> tuple[Path, Path]:
    """The paths of a report's files: ``target`` with the endings of Markdown and HTML.

    Raises `ExportError` for a path without a name.
    """
    if not target.name:
        raise ExportError(f"{target} names no file", "Give a name for the report.")
    return target.with_name(f"{target.name}.md"), target.with_name(f"{target.name}.html")
