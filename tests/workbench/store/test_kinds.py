"""Kinds of events describe themselves: a new one is seen everywhere, and a silent one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest

from workbench.report.content import build_report
from workbench.report.jsonl import export_jsonl, import_jsonl, schema
from workbench.store.body import GROUPS, KINDS, EventBody, kinds_of
from workbench.store.encoding import body_json
from workbench.store.events import HUMAN, Event, read_body
from workbench.store.findings import Bar, Finding, Line, Measure, Row, Rows
from workbench.store.log import SessionLog
from workbench.store.state import fold
from workbench.tui.measure_render import findings, look
from workbench.tui.panes.timeline.filter import ALL, Filter


def throwaway() -> type[Measure]:
    class SparsityMeasured(Measure, label="sparsity", searched=("against",)):
        """A measure that nothing else knows."""

        kind: Literal["sparsity_measured"] = "sparsity_measured"
        against: str
        share: float

        def _line(self) -> str:
            return f"{self.share:.0%} of the difference is zero"

        def short(self) -> str:
            return f"{self.share:.0%} zero"

        def figures(self, others: Any = ()) -> Any:
            cells = ("all", f"{self.share:.0%}")
            rows = Rows("Zeros", ("of", "share"), (Row(cells, (Bar("zeros", self.share, "so"),)),))
            return [Line(f"Against {self.against}."), rows]

    return SparsityMeasured


def test_a_new_measure_is_seen_with_no_other_file_touched(
    forget_kinds: None, tmp_path: Path
) -> None:
    made = throwaway()(against="zebras", share=0.25)
    with SessionLog.open(tmp_path / "sessions.db") as log:
        session_id = log.start_session("new", actor=HUMAN)
        log.append(session_id, made, actor=HUMAN)
        event = list(log.events(session_id))[-1]
        assert event.body == made
        (hit,) = log.search("zebras")
        assert hit.seq == event.seq
        assert log.verify(session_id).ok
        report = build_report(log, session_id)
        exported = export_jsonl(log, session_id, tmp_path / "new.jsonl")
    with SessionLog.open(tmp_path / "other.db") as other:
        assert list(other.events(import_jsonl(other, exported)))[-1].body == made
    assert Event.model_validate_json(event.model_dump_json()) == event
    validator = jsonschema.Draft202012Validator(schema())
    assert "sparsity_measured" in str(validator.schema)

    state = fold([event.model_copy(update={"seq": 1})])
    assert state.timeline[-1].description == "25% of the difference is zero"
    assert Filter(group="findings").admits(state.timeline[-1])
    assert not Filter(group="notes").admits(state.timeline[-1])
    (found,) = findings(state)
    screen = look(found, state, 100).plain
    assert "sparsity" in screen
    assert "Against zebras." in screen
    assert "██" in screen
    assert "25% of the difference is zero" in str(report.measures)


def test_a_command_prints_a_measure_it_does_not_know(
    forget_kinds: None, capsys: pytest.CaptureFixture[str]
) -> None:
    from workbench.cli import show
    from workbench.store.state import SessionState

    show.finding(SessionState(), throwaway()(against="zebras", share=0.25))
    printed = capsys.readouterr().out
    assert "Sparsity: 25% zero" in printed
    assert any("all" in row and "25%" in row for row in printed.splitlines())


# --- what is refused ------------------------------------------------------------------------


def line(_self: EventBody) -> str:
    return "a line"


@pytest.mark.parametrize(
    ("arguments", "methods", "missing"),
    [
        ({"searched": ()}, {"_line": line}, "needs a group"),
        ({"searched": (), "group": "nowhere"}, {"_line": line}, "needs a group"),
        ({"searched": (), "group": "notes"}, {}, "needs _line"),
        ({"group": "notes"}, {"_line": line}, "needs searched"),
        ({"group": "notes", "searched": ("text",)}, {"_line": line}, "no field 'text'"),
    ],
)
def test_a_kind_that_does_not_describe_itself_is_refused(
    forget_kinds: None, arguments: dict[str, Any], methods: dict[str, Any], missing: str
) -> None:
    fields = {"__annotations__": {"kind": Literal["silent"]}, "kind": "silent"}
    with pytest.raises(TypeError, match=missing):
        type(EventBody)("Silent", (EventBody,), {**fields, **methods}, **arguments)
    assert "silent" not in KINDS


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [({}, "needs a label"), ({"label": "silence"}, r"needs short\(\) and figures\(\)")],
)
def test_a_finding_without_a_place_on_the_screen_is_refused(
    forget_kinds: None, arguments: dict[str, Any], missing: str
) -> None:
    fields = {"__annotations__": {"kind": Literal["silent"]}, "kind": "silent", "_line": line}
    with pytest.raises(TypeError, match=missing):
        type(Finding)("Silent", (Finding,), fields, searched=(), **arguments)


def test_a_name_is_taken_once(forget_kinds: None) -> None:
    throwaway()
    with pytest.raises(TypeError, match="sparsity_measured is defined twice"):
        throwaway()


# --- the kinds that there are ---------------------------------------------------------------


def test_every_kind_is_in_one_group() -> None:
    assert sorted(KINDS) == sorted(kind for group in GROUPS for kind in kinds_of(group))
    assert all(kinds_of(group) for group in GROUPS)
    assert len(KINDS) > 50
    assert ALL not in GROUPS


def test_the_log_alone_knows_every_kind_that_an_operation_records(tmp_path: Path) -> None:
    """A database is read without the operations that made it."""
    import subprocess
    import sys

    program = (
        "import sys, workbench.store.events; from workbench.store.body import KINDS;"
        "assert 'causal_effect_measured' in KINDS, KINDS;"
        "assert not any(name.startswith('workbench.operations') for name in sys.modules);"
        "print(len(KINDS))"
    )
    alone = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    import workbench.operations  # noqa: F401

    assert int(alone.stdout) == len(KINDS)


def test_a_body_of_a_kind_that_nobody_defined_is_not_read() -> None:
    with pytest.raises(ValueError, match="of_tomorrow"):
        read_body('{"kind": "of_tomorrow"}')
    assert read_body(body_json(KINDS["view_saved"](view={}))).kind == "view_saved"
