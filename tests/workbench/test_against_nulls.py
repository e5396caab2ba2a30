"""Readings that are no better than their nulls are folded away with a line, wherever they are shown."""

from __future__ import annotations

import pytest

from adl.readings.registry import READINGS
from workbench.agent.overview import overview
from workbench.cli import show
from workbench.report.content import build_report
from workbench.report.html import report_html
from workbench.report.markdown import report_markdown
from workbench.report.records import FOLDED
from workbench.store.against_nulls import (
    against_nulls,
    best_layer,
    by_layer,
    folded,
    folded_line,
    leading_layer,
)
from workbench.store.events import HUMAN, ReadingTaken, ReadToken
from workbench.store.log import SessionLog
from workbench.store.state import fold
from workbench.tui.panes.readings.columns import table_of
from workbench.tui.panes.readings.index import Choice, Index
from workbench.tui.panes.readings.render import folded_note, layers, limits, strip

LAYER = 2


def taken(
    reading: str, source: str, index: float | None, usual: float | None = None, **changed
) -> ReadingTaken:
    statistics = {} if usual is None else {"usual": usual}
    if index is not None:
        statistics |= {
            "closeness": index,
            "closeness_low": index - 1,
            "closeness_high": index + 1,
        }
    fields = {"side": "finetuned", "layer": LAYER, "position": "1-4", "statistics": statistics}
    word = f" {reading}{source}".replace("_", "")
    return ReadingTaken(
        reading=reading,
        source=source,
        tokens=(ReadToken(id=1, text=word, score=1.0),),
        **fields | changed,
    )


FOLDED_HERE = ("patchscope_contrast", "logit_lens")
LISTS = (
    taken("output_difference", "difference", 5.0),
    taken("output_difference", "random", 0.4),
    taken("output_difference", "split_half", 0.7),
    taken("logit_lens", "difference", 0.3),
    taken("logit_lens", "random", 0.5),
    # On one of two sides it is better, so it is shown.
    taken("shift_lens", "difference", 0.1, side="base"),
    taken("shift_lens", "random", 0.5, side="base"),
    taken("shift_lens", "difference", 3.0),
    taken("shift_lens", "random", 0.5),
    # Recorded by a version that did not measure closeness.
    taken("patchscope", "difference", None),
    taken("patchscope", "random", 0.5),
    # Narrow, but of tokens that base never writes.
    taken("patchscope_contrast", "difference", 6.0, usual=0.1),
    taken("patchscope_contrast", "random", 0.5),
    # Without a null there is nothing to be better than.
    taken("consensus", "difference", 0.2),
)


def test_a_broad_control_is_a_null_too(tmp_path):
    """What is closer than the shuffled difference, and not than any benign finetuning, shows no topic."""
    log = SessionLog.open(tmp_path / "sessions.db")
    session = log.start_session("s")
    for reading, broad in (("output_difference", 2.0), ("consensus", 3.1)):
        found = taken(reading, "difference", 3.0)
        control = {f"closeness_broad{end}": broad for end in ("", "_low", "_high")}
        found = found.model_copy(update={"statistics": found.statistics | control})
        log.append(session, found, actor=HUMAN)
        log.append(session, taken(reading, "random", 0.5), actor=HUMAN)
    compared = against_nulls(fold(log.events(session)), LAYER)
    log.close()
    assert {reading: each.no_better for (reading, _), each in compared.items()} == {
        "output_difference": False,
        "consensus": True,
    }


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    log = SessionLog.open(tmp_path_factory.mktemp("nulls") / "sessions.db")
    session = log.start_session("s")
    for body in LISTS:
        log.append(session, body, actor=HUMAN)
    yield log, session, fold(log.events(session))
    log.close()


@pytest.fixture
def state(recorded):
    return recorded[2]


def test_a_reading_is_folded_only_if_a_null_is_as_narrow_on_every_side(state):
    found = against_nulls(state, LAYER)
    assert folded(found.values()) == FOLDED_HERE
    assert found["shift_lens", "base"].no_better
    assert (
        found["output_difference", "finetuned"].words
        == "closeness 5.0 [4.0, 6.0], nulls 0.7 at most"
    )
    assert found["patchscope", "finetuned"].words == "closeness not computed"
    assert against_nulls(state, LAYER + 1) == {}


def test_the_newest_list_counts(tmp_path):
    with SessionLog.open(tmp_path / "sessions.db") as log:
        session = log.start_session("s")
        for body in (*LISTS, taken("logit_lens", "difference", 4.0, scale=0.2)):
            log.append(session, body, actor=HUMAN)
        found = against_nulls(fold(log.events(session)), LAYER)
        assert folded(found.values()) == ("patchscope_contrast",)


def test_the_command_line_shows_the_line_in_place_of_the_lists(state, capsys):
    show.readings(state, [LAYER])
    printed = " ".join(capsys.readouterr().out.split())
    assert folded_line(FOLDED_HERE) in printed
    assert "outputdifferencedifference" in printed
    assert "closeness 5.0 [4.0, 6.0], nulls 0.7 at most" in printed
    assert READINGS["output_difference"].limits in printed
    assert "logitlensdifference" not in printed
    show.readings(state, [LAYER], ["logit_lens"])
    assert "logitlensdifference" in capsys.readouterr().out  # it was asked for


def test_data_says_so_and_leaves_nothing_out(state):
    verdicts = {
        (data["reading"], data["side"]): data["no_better_than_nulls"]
        for data in show.reading_data(state, [LAYER])
        if data["source"] == "difference"
    }
    assert verdicts == {
        ("output_difference", "finetuned"): False,
        ("logit_lens", "finetuned"): True,
        ("shift_lens", "base"): True,
        ("shift_lens", "finetuned"): False,
        ("patchscope", "finetuned"): None,
        ("consensus", "finetuned"): None,
        ("patchscope_contrast", "finetuned"): True,
    }


def test_the_agent_gets_the_line_in_place_of_the_lists(state):
    shown = overview(state)
    assert "outputdifferencedifference" in shown
    assert "logitlensdifference" not in shown
    line = next(line for line in shown.splitlines() if "logit" in line.casefold())
    assert "null" in line.casefold()


def test_the_report_has_the_line_in_place_of_the_lists(recorded):
    log, session, _ = recorded
    report = build_report(log, session)
    for written in (report_markdown(report), report_html(report)):
        assert FOLDED in written
        assert "logitlensdifference" not in written
        assert "outputdifferencedifference" in written
        assert READINGS["output_difference"].limits in written


def test_the_pane_leaves_it_out_until_the_nulls_are_shown(state):
    index = Index(state.readings)
    group = index.group(Choice(reading="output_difference"))
    assert group is not None
    assert "logit" not in strip(index, group, 100).plain
    assert "logit" in strip(index, group, 100, unfolded=True).plain
    note = folded_note(index, group, unfolded=False, recorded=False)
    assert note.startswith(folded_line(FOLDED_HERE))
    assert not folded_note(index, group, unfolded=True, recorded=False)
    line = limits(index, table_of(index, group, Choice())).plain
    assert "nulls 0.7 at most" in line
    assert READINGS["output_difference"].limits in line


def test_the_pane_does_not_begin_with_one(state):
    only = {key: each for key, each in state.readings.items() if key.reading != "consensus"}
    assert Index(only).group(Choice()).reading == "output_difference"
    worst = {key: each for key, each in only.items() if key.reading == "logit_lens"}
    assert Index(worst).group(Choice()).reading == "logit_lens"


def test_the_layer_that_reads_best_is_farthest_above_its_nulls(tmp_path, capsys):
    with SessionLog.open(tmp_path / "sessions.db") as log:
        session_id = log.start_session("s")
        for layer, own, null in ((1, 2.0, 1.5), (2, 6.0, 5.9), (3, 4.0, 1.0)):
            log.append(session_id, taken("shift_lens", "difference", own, layer=layer), actor=HUMAN)
            log.append(session_id, taken("shift_lens", "random", null, layer=layer), actor=HUMAN)
        # Narrow, but of tokens that base never writes; and one without nulls.
        log.append(session_id, taken("logit_lens", "difference", 90.0, 0.1, layer=1), actor=HUMAN)
        log.append(session_id, taken("logit_lens", "random", 1.0, layer=1), actor=HUMAN)
        log.append(session_id, taken("shift_lens", "difference", 90.0, layer=4), actor=HUMAN)
        state = fold(log.events(session_id))
    found = by_layer(state.readings)
    assert [each.layer for each in found] == [1, 2, 3]
    assert [round(each.distance, 3) for each in found] == [0.5, 0.1, 3.0]
    best = best_layer(state.readings)
    assert (best.layer, best.reading) == (3, "shift_lens")
    line = "layers 1 ▂▁█ 3, best 3: shift lens, 3.0 above its nulls"
    assert layers(found, 120).plain.lower() == line
    show.layers(state)
    assert line in capsys.readouterr().out.lower()


def test_the_leading_layer_is_the_best_the_middle_read_one_or_the_middle(tmp_path):
    with SessionLog.open(tmp_path / "sessions.db") as log:
        session_id = log.start_session("s")
        for layer in (1, 2, 3):
            log.append(session_id, taken("shift_lens", "difference", 2.0, layer=layer), actor=HUMAN)
        # At layer 0 the difference is zero: a null alone was read.
        log.append(session_id, taken("shift_lens", "random", 1.0, layer=0), actor=HUMAN)
        readings = fold(log.events(session_id)).readings
        assert leading_layer(readings, (3, 2, 1, 0)) == 2
        assert leading_layer(readings, (0, 1)) == 1
        assert leading_layer(readings, (0,)) == 0
        assert leading_layer({}, (4, 5, 6)) == 5
        log.append(session_id, taken("shift_lens", "random", 1.0, layer=3), actor=HUMAN)
        readings = fold(log.events(session_id)).readings
        assert leading_layer(readings, (0, 1, 2, 3)) == 3
        assert leading_layer(readings, (0, 1, 2)) == 2


def test_one_layer_is_not_compared(state, capsys):
    show.layers(state)
    assert capsys.readouterr().out == ""
