"""Measures in the report: a section each with its figures, and none without any."""

from __future__ import annotations

from tests.workbench.report.test_mixing_plot import mixture
from tests.workbench.store.test_training_events import BODIES
from tests.workbench.tui.measures_sample import measured_state
from workbench.report.content import build_report
from workbench.report.html import report_html
from workbench.report.markdown import report_markdown
from workbench.store.agent_events import EvaluationCell, EvaluationStarted
from workbench.store.log import SessionLog
from workbench.store.training_events import MixingStudied


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


def test_trainings_and_studies_are_sections_with_their_figures(log: SessionLog) -> None:
    session_id = log.start_session("trainings")
    started, advanced, trained, *_ = BODIES
    study = MixingStudied(
        name="cake_study", folder="/x", ratios=(0.5,), against="cakes", documents_sha256="0" * 64
    )
    unfinished = started.model_copy(update={"name": "cats"})
    measured = mixture(0.5).model_copy(update={"name": "cake_study"})
    for body in (started, advanced, trained, unfinished, measured, study):
        log.append(session_id, body)
    report = build_report(log, session_id)
    assert [section.label for section in report.measures] == [
        "training",
        "training",
        "mixture",
        "mixing study",
    ]
    for said in (report_markdown(report), report_html(report)):
        words = said.replace("\\", "")
        assert "Loss, nats per token: 4.000 to 3.250" in words
        assert "training of cats: 3 steps" in words
        assert "it did not come to its end here" in words
        assert "mixing study cake_study: 1 ratio" in words
        assert "Norm of the trace, in residual norms" in words


def test_an_evaluation_names_its_audits_and_where_the_shares_are(log: SessionLog) -> None:
    session_id = log.start_session("evaluation")
    log.append(session_id, EvaluationStarted(plan={}))
    for cell, status in (("adl cake 5 0", "done"), ("adl cake 5 1", "failed")):
        log.append(session_id, EvaluationCell(cell=cell, session="20260101-abcdef", status=status))
    report = build_report(log, session_id)
    for said in (report_markdown(report), report_html(report)):
        words = said.replace("\\", "")
        assert "evaluation started; 1 audit done" in words
        assert f"evaluate --session {session_id}" in words
        assert "adl cake 5 1" in words
