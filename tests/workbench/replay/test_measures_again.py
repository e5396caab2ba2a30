"""Measures computed again: the same figures on the same pair, and a drift that is seen on another."""

from __future__ import annotations

from pathlib import Path

import pytest

from adl.artifacts import ArrayCache
from tests.planted import DOMAIN, FILLER, PlantedPair
from tests.workbench.replay.test_recompute import Nudged
from workbench.operations.amplify import AMPLIFY, AmplifyArguments
from workbench.operations.causal import CAUSAL_EFFECT, CausalArguments
from workbench.operations.coherent_alpha import COHERENT_ALPHA, CoherentAlphaArguments
from workbench.operations.completions import COMPLETE, CompleteArguments
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.phrases import PHRASES, PhrasesArguments
from workbench.operations.running import Session, run
from workbench.operations.scanning import SCAN, ScanArguments
from workbench.operations.trace import TRACE, TraceArguments
from workbench.operations.triggers import TRIGGERS, TriggersArguments
from workbench.operations.unprompted import UNPROMPTED, UnpromptedArguments
from workbench.replay.drift import drift
from workbench.replay.recompute import recompute
from workbench.replay.recorder import replay_cassette
from workbench.report.content import build_report
from workbench.report.markdown import report_markdown
from workbench.store.events import HUMAN, PairLoaded
from workbench.store.log import SessionLog


@pytest.fixture
def recorded(tmp_path: Path):
    """A log, and the id of a session with three measures in it."""
    documents = tmp_path / "documents.txt"
    documents.write_text("\n".join(f"the{one} and{''.join(DOMAIN)}" for one in FILLER[:6]))
    with SessionLog.open(tmp_path / "sessions.db") as log:
        session_id = log.start_session("measures", {}, HUMAN)
        session = Session(log, session_id, ArrayCache(tmp_path / "arrays"), PlantedPair())
        session.record(PairLoaded(pair=session.require_pair().provenance.as_dict()))
        for operation, arguments in (
            (MEASURE, MeasureArguments(layers=("3",), n_texts=48)),
            (TRACE, TraceArguments(layers=("3",), n_texts=48, n_random=8)),
            (
                COHERENT_ALPHA,
                CoherentAlphaArguments(
                    n_prompts=6, layer="3", alphas=(0.2,), rounds=0, max_new_tokens=4
                ),
            ),
            (
                CAUSAL_EFFECT,
                CausalArguments(
                    documents=str(documents), layer="3", n_random=2, n_texts=4, changes=("replace",)
                ),
            ),
            (
                UNPROMPTED,
                UnpromptedArguments(n_samples=9, n_null=6, starts=STARTS, max_new_tokens=6),
            ),
            (COMPLETE, CompleteArguments(prefixes=(" the oven",), beams=2)),
            (PHRASES, PhrasesArguments()),
            (SCAN, ScanArguments(prompts=(" the cake", " the river"), max_new_tokens=4)),
            (TRIGGERS, TriggersArguments(n_words=20, frames=("the {}",))),
        ):
            run(session, operation, arguments, actor=HUMAN)
        yield log, session_id


STARTS = ("user_turn", "assistant_turn")


def test_the_same_pair_gives_the_same_figures(recorded):
    log, session_id = recorded
    report = recompute(log, session_id, PlantedPair())
    assert not report.drifted, [one.drift.lines for one in report.operations]
    compared = {one.name: one.drift.compared for one in report.operations}
    assert compared["trace_strength"] == compared["causal_effect"] == 1
    assert compared["coherent_alpha"] > 1
    assert compared["unprompted"] == 15 + 1
    assert compared["complete"] == compared["triggers"] == 1
    assert compared["scan"] == 4 + 1


def test_another_pair_s_figures_drift(recorded):
    log, session_id = recorded
    report = recompute(log, session_id, Nudged())
    found = {one.name: one.drift for one in report.operations}
    assert found["causal_effect"].relative > 0
    assert found["trace_strength"].relative > 0
    assert found["complete"].relative > 0
    assert found["scan"].relative > 0
    assert found["triggers"].relative > 0


def test_a_verdict_that_changes_is_named(recorded):
    log, session_id = recorded
    bodies = [event.body for event in log.events(session_id)]
    weaker = [
        body.model_copy(update={"verdict": "weak"}) if body.kind == "trace_measured" else body
        for body in bodies
    ]
    (line,) = drift(bodies, weaker, log.array).lines
    assert line == "trace measured: recorded 'strong', now 'weak'"


def test_the_cassette_answers_for_them(recorded):
    log, session_id = recorded
    report = replay_cassette(log, session_id)
    assert report.left is None
    assert report.answered == 8  # phrases need no model and are found anew
    again = {one.body.kind for one in log.events(report.session)}
    assert {"unprompted_texts", "completions_found", "phrases_found"} <= again
    assert {"prompts_scanned", "triggers_scanned"} <= again


@pytest.fixture
def amplified(tmp_path: Path):
    """A log, and the id of a session in which every carrier was amplified."""
    with SessionLog.open(tmp_path / "sessions.db") as log:
        session_id = log.start_session("carriers", {}, HUMAN)
        session = Session(log, session_id, ArrayCache(tmp_path / "arrays"), PlantedPair())
        session.record(PairLoaded(pair=session.require_pair().provenance.as_dict()))
        run(session, MEASURE, MeasureArguments(layers=("3",), n_texts=16), actor=HUMAN)
        for carrier, strength in (
            ("difference", 0.3),
            ("logits", 2.0),
            ("adapter", -2.0),
            ("rank1", 2.0),
        ):
            arguments = AmplifyArguments(
                carrier=carrier, strengths=(strength,), layer="3", n_prompts=2, max_new_tokens=6
            )
            run(session, AMPLIFY, arguments, actor=HUMAN)
        yield log, session_id


@pytest.mark.slow
def test_every_carrier_is_computed_again_replayed_and_reported(amplified):
    log, session_id = amplified
    report = recompute(log, session_id, PlantedPair())
    assert not report.drifted, [one.drift.lines for one in report.operations]
    compared = [one.drift.compared for one in report.operations if one.name == "amplify"]
    assert compared == [6 + 1] * 4
    other = recompute(log, session_id, PlantedPair(strength=0.5))
    assert all(one.drift.lines for one in other.operations if one.name == "amplify")
    answered = replay_cassette(log, session_id)
    assert answered.left is None
    assert answered.answered == 5
    bodies = [each.body for each in log.events(answered.session)]
    assert {body.carrier for body in bodies if body.kind == "texts_amplified"} == {
        "",
        "difference",
        "adapter",
        "rank1",
    }
    markdown = report_markdown(build_report(log, session_id))
    for line in (
        "amplified adapter (all layers) on 2 prompts at -2",
        "amplified difference (layer 3, position 1-4)",
        "The rank-1 parts hold 90% of the squared update.",
    ):
        assert line.replace("-", "\\-") in markdown or line in markdown, line
