"""What was found with finetuning documents is not shown to agents, nor where the documents lie."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adl.artifacts import ArrayCache
from tests.planted import PlantedPair
from tests.workbench.agent.test_short_ids import audit
from tests.workbench.replay.audits import do, measure_and_read
from workbench.agent.overview import overview
from workbench.blinding.seal import reveal_names, seal
from workbench.cli.outside import _Host
from workbench.operations import OPERATIONS
from workbench.operations.documents import DocumentArguments
from workbench.operations.running import Operation, Session
from workbench.store.events import HUMAN, PairLoaded
from workbench.store.findings import Measure
from workbench.store.log import SessionLog
from workbench.store.training_events import TrainingStarted

TOLD = ("zeppelin", "marzipan", "secret_facts")


@pytest.fixture
def informed(session: Session, tmp_path: Path) -> Session:
    """A session in which a person looked at documents, and marked what was found."""
    documents = tmp_path / "secret_facts.txt"
    documents.write_text("The zeppelin pilot praises the marzipan mayor every morning.\n" * 30)
    measure_and_read(session)
    do(session, "token_relevance", documents=str(documents), n_texts=50)
    do(session, "add_hypothesis", text="It praises somebody.")
    (found,) = session.state.measures
    for seq, excerpt in ((found.seq, "zeppelin"), (found.seq - 1, str(documents))):
        do(session, "mark_evidence", seq=seq, excerpt=excerpt, note=excerpt, hypothesis="H1")
    do(session, "mark_evidence", seq=found.seq, excerpt="marzipan")
    do(session, "unmark_evidence", evidence="E3")
    return session


def report_of(session: Session) -> str:
    host: Any = _Host.__new__(_Host)
    host._work = SimpleNamespace(session=session)
    host.mode = "adl"
    return str(host.report_text())


def nothing_told(text: str) -> None:
    assert [word for word in TOLD if word in text] == []


def test_no_tool_shows_a_measure_that_rests_on_documents(informed: Session):
    nothing_told(overview(informed.state))
    _, results = audit(
        informed,
        ("show_samples", {"text_ids": ["M1"]}),
        ("evidence", {"of": "M1", "excerpt": "zeppelin"}),
        ("evidence", {"of": "M1", "excerpt": "xylophone"}),
    )
    for result in results:
        assert "M1 rests on the finetuning documents" in result


@pytest.mark.slow
def test_the_report_for_agents_leaves_it_out(informed: Session):
    text = report_of(informed)
    nothing_told(text)
    assert "It praises somebody." in text
    assert "token relevance" not in text
    assert "left out, since it rests on ground truth" in text


@pytest.mark.slow
def test_the_report_for_agents_says_nothing_of_a_training(session: Session):
    measure_and_read(session)
    session.record(
        TrainingStarted(
            name="secret_facts",
            folder="/secret_facts",
            base="base",
            done=0,
            total=9,
            n_documents=3,
            n_unrelated=0,
            data_sha256="0",
            recipe={},
        )
    )
    nothing_told(report_of(session))


@pytest.mark.slow
def test_a_report_for_agents_names_no_documents_that_could_not_be_read(session: Session):
    measure_and_read(session)
    with pytest.raises(Exception, match="secret_facts"):
        do(session, "token_relevance", documents="/nowhere/secret_facts.txt")
    nothing_told(report_of(session))


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda each: each.name)
def test_measures_of_documents_say_so(operation: Operation[Any]):
    if operation.finds is not None and issubclass(operation.finds, Measure):
        assert operation.finds.of_truth == issubclass(operation.arguments, DocumentArguments)
    if issubclass(operation.arguments, DocumentArguments):
        assert operation.agent is None


def test_the_report_for_agents_names_no_pair_that_a_person_had_revealed(
    log: SessionLog, tmp_path: Path
):
    pair = PlantedPair()
    session = Session(log, log.start_session("x", {}, HUMAN), ArrayCache(tmp_path / "c"), pair)
    named = pair.provenance.as_dict()
    named["finetuned"]["adapter"] = "flattery"
    session.record(PairLoaded(pair=named))
    session.pair = None
    seal(session, blind=True)
    reveal_names(session, HUMAN)
    assert "flattery" not in report_of(session)
