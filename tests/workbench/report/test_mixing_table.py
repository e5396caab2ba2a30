"""The table of a mixing study: each figure under its column, and nothing where none was computed."""

from __future__ import annotations

import csv

from tests.workbench.report.test_mixing_plot import mixture
from workbench.report.mixing_table import (
    LESSON_COLUMNS,
    TRACE_COLUMNS,
    lesson_row,
    mixing_csv,
    trace_row,
)


def test_each_figure_is_under_its_column():
    table = mixing_csv([mixture(0.0), mixture(1.0, facts=False)])
    first, second = csv.DictReader(table.splitlines())
    assert len(first) == 30
    assert (first["ratio"], second["ratio"]) == ("0.0", "1.0")
    assert (first["facts_gain"], first["facts_gain_high"]) == ("0.4", "0.45")
    assert (first["held_out_base"], first["held_out"]) == ("4.0", "3.0")
    assert second["facts_margin"] == second["facts_gain_low"] == second["facts_preferred"] == ""
    assert first["over_random"] == first["narrowness"] == ""
    assert table.count("\r\n") == 3


def test_the_tables_for_reading_have_a_cell_for_each_column():
    found = mixture(0.5, facts=False)
    trace = dict(zip(TRACE_COLUMNS, trace_row(found), strict=True))
    lesson = dict(zip(LESSON_COLUMNS, lesson_row(found), strict=True))
    assert trace["norm [95%]"] == "0.067 [0.057, 0.077]"
    assert lesson["relevance"] == "50% (random 10%)"
    assert lesson["facts gain"] == "not computed"
    assert lesson["held-out gain"] == "+1.00 [+0.95, +1.05]"
