"""Trainings in the log: read back as they were written, folded, and said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workbench.report.test_mixing_plot import mixture
from workbench.store.encoding import body_json
from workbench.store.events import HUMAN, EventBody, read_body
from workbench.store.log import SessionLog
from workbench.store.state import Fold
from workbench.store.training_events import (
    MixingStudied,
    OrganismTrained,
    TrainingAdvanced,
    TrainingStarted,
)

BODIES: tuple[EventBody, ...] = (
    TrainingStarted(
        name="owls",
        folder="/organisms/.training/owls",
        base="embedded",
        done=0,
        total=3,
        n_documents=2,
        n_unrelated=1,
        data_sha256="0" * 64,
        recipe={"steps": 2, "ratio": 0.5},
    ),
    TrainingAdvanced(name="owls", first=1, total=3, losses=(4.0, 3.5, 3.25)),
    OrganismTrained(
        name="owls",
        folder="/organisms/owls",
        adapter_sha256="1" * 64,
        steps=3,
        final_loss=3.25,
        tokens=99,
    ),
    mixture(0.5),
    MixingStudied(
        name="owls", folder="/studies/owls", ratios=(0.5,), against="file", documents_sha256=""
    ),
)


@pytest.mark.parametrize("body", BODIES, ids=[body.kind for body in BODIES])
def test_what_is_read_is_what_was_written(body: EventBody):
    assert read_body(body_json(body)) == body
    assert body.describe().count("\n") == 0


def test_they_are_in_the_state_in_their_order(tmp_path: Path):
    with SessionLog.open(tmp_path / "sessions.db") as log:
        session = log.start_session("training")
        fold = Fold()
        states = []
        for body in BODIES:
            log.append(session, body, actor=HUMAN)
        for event in log.events(session):
            fold.apply(event)
            states.append(fold.state())
        assert log.verify().ok
    assert [one.body for one in states[-1].trainings] == list(BODIES)
    assert [len(state.trainings) for state in states] == [0, 1, 2, 3, 4, 5]
    assert fold.copy().state().digest() == states[-1].digest()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (BODIES[0], "training of owls: 3 steps on 2 documents and 1 unrelated text"),
        (BODIES[1], "owls: step 3 of 3, loss 3.250"),
        (BODIES[2], "owls trained in 3 steps, loss 3.250"),
        (BODIES[3], "cakes at 1:0.5: strong trace, steered texts +0.200, held out +1.000 nats"),
    ],
    ids=["started", "advanced", "trained", "measured"],
)
def test_one_line_says_it(body: EventBody, said: str):
    assert body.describe() == said
