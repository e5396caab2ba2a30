"""Measures in the report: a section each with its figures, and none without any."""

from __future__ import annotations

from tests.workbench.tui.measures_sample import measured_state
from workbench.report.content import build_report
from workbench.report.html import report_html
from workbench.report.markdown import report_markdown
from workbench.store.log import SessionLog


def test_each_measure_is_a_section_with_its_figures(log: SessionLog) -> None:
    session_id = log.start_session("measures")
    assert "## Measures" not in report_markdown(build_report(log, session_id))
    hostile = "<script>alert(1)</script> | x \x1b[2J"
    for recorded in measured_state().measures:
        body = recorded.body
        if body.kind == "trace_measured":
            body = body.model_copy(update={"summary": hostile})
        log.append(session_id, body)
    report = build_report(log, session_id)
    assert len(report.measures) == 5
    markdown, html = report_markdown(report), report_html(report)
    for said in (markdown, html):
        assert "Measures" in said
        assert "Causal effect" in said
        assert "Rise of cross-entropy, nats per token" in said
        assert "token relevance of" in said
        assert "nats" in said
        assert "<script>alert" not in said
        assert "\x1b" not in said
