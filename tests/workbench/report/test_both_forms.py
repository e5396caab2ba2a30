"""The Markdown and the HTML report tell the same: every text of a report is in both, or in neither."""

from __future__ import annotations

import dataclasses
import itertools
import types
import typing
from collections.abc import Iterator
from datetime import UTC, datetime

from workbench.report.html import report_html
from workbench.report.markdown import report_markdown
from workbench.report.records import Report

#: Fields whose value decides what is shown beside them.
CHOSEN = {"verified": False, "is_folded": False, "source": "difference"}


class Marked:
    """A report of one or two of everything, each text in it a mark of its own."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}
        self._numbers: Iterator[int] = itertools.count(1000)
        self.report: Report = self._made(Report, "report")

    def _made(self, kind: typing.Any, place: str) -> typing.Any:
        name = place.rpartition(".")[2]
        if name in CHOSEN:
            return CHOSEN[name]
        origin, of = typing.get_origin(kind), typing.get_args(kind)
        if dataclasses.is_dataclass(kind):
            hints = typing.get_type_hints(kind)
            names = [field.name for field in dataclasses.fields(kind) if field.init]
            return kind(**{each: self._made(hints[each], f"{place}.{each}") for each in names})
        if origin is typing.Literal:
            return of[0]
        if origin in (typing.Union, types.UnionType):
            return self._made(next(one for one in of if one is not types.NoneType), place)
        if origin is tuple and of[1:] == (Ellipsis,):
            return tuple(self._made(of[0], f"{place}[]") for _ in range(2))
        if origin is tuple:
            return tuple(self._made(one, f"{place}[{at}]") for at, one in enumerate(of))
        if origin is not None:  # a mapping
            return {self._made(of[0], f"{place} key"): self._made(of[1], f"{place} value")}
        return {bool: True, int: 7, float: 0.25, datetime: datetime(2026, 1, 1, tzinfo=UTC)}.get(
            kind
        ) or self._mark(place)

    def _mark(self, place: str) -> str:
        mark = f"mark{next(self._numbers)}z"
        self.places[mark] = place
        return mark


def test_every_text_is_in_both_or_in_neither():
    marked = Marked()
    shown = [
        {place for mark, place in marked.places.items() if mark in written}
        for written in (report_markdown(marked.report), report_html(marked.report))
    ]
    assert len(shown[0]) > 60
    assert shown[0] ^ shown[1] == set()
    assert {"report.coverage.readings_failed[]", "report.problems[]"} <= shown[0]
