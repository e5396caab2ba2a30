"""Measures of the trace in the report: one line each, and no section without any."""

from __future__ import annotations

from tests.workbench.tui.measures_sample import measured_state
from workbench.report.content import build_report
from workbench.report.html import report_html
from workbench.report.markdown import report_markdown
from workbench.store.log import SessionLog


def test_each_measure_is_a_line(log: SessionLog) -> None:
    session_id = log.start_session("measures")
    assert "Measures of the trace" not in report_markdown(build_report(log, session_id))
    hostile = "<script>alert(1)</script> | x \x1b[2J"
    for one in measured_state().measures:
        body = one.body
        if body.kind == "trace_measured":
            body = body.model_copy(update={"summary": hostile})
        log.append(session_id, body)
    report = build_report(log, session_id)
    assert len(report.measures) == 5
    markdown, html = report_markdown(report), report_html(report)
    for said in (markdown, html):
        assert "Measures of the trace" in said
        assert "token relevance of" in said
        assert "nats" in said
        assert "<script>alert" not in said
        assert "\x1b" not in said
