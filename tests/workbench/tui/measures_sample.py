"""A recorded session with one measure of every kind on the planted pair, the same at every run."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adl.artifacts import ArrayCache
from tests.planted import DOMAIN, FILLER, PlantedPair
from tests.workbench.tui.sample import fixed, read_recorded, without_growth
from workbench.operations.causal import CAUSAL_EFFECT, CausalArguments
from workbench.operations.coherent_alpha import COHERENT_ALPHA, CoherentAlphaArguments
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.relevance import (
    STEERED_SIMILARITY,
    TOKEN_RELEVANCE,
    RelevanceArguments,
    SimilarityArguments,
)
from workbench.operations.running import Session, run
from workbench.operations.trace import TRACE, TraceArguments
from workbench.store.events import HUMAN, Event, PairLoaded
from workbench.store.log import SessionLog
from workbench.store.state import SessionState, fold

PROMPTS = ("the river", "a window", "music in winter", "the captain", "a letter", "the bridge")
DOCUMENTS = [f"the{filler} and{''.join(DOMAIN)} of the{filler}" for filler in FILLER[:6]]


@cache
def measured() -> tuple[Event, ...]:
    """The events, with fixed times and ids, from a file; see `sample`."""
    return read_recorded("measures")[0]


def record_measures() -> tuple[Event, ...]:
    """The events made anew, on this processor."""
    with TemporaryDirectory() as folder, SessionLog.open(Path(folder) / "sessions.db") as log:
        session_id = log.start_session("measures", {"program": "adl-workbench"}, HUMAN)
        session = Session(log, session_id, ArrayCache(Path(folder) / "arrays"), PlantedPair())
        session.record(PairLoaded(pair=session.require_pair().provenance.as_dict()))
        path = Path(folder) / "documents.txt"
        path.write_text("\n".join(DOCUMENTS))
        _measure(session, str(path))
        events = without_growth(log.events(session_id))
    return tuple(_named(fixed(event)) for event in events)


def measured_state() -> SessionState:
    """The session after its last event."""
    return fold(measured())


def _measure(session: Session, documents: str) -> None:
    def do(operation: Any, arguments: Any) -> None:
        run(session, operation, arguments, actor=HUMAN)

    do(MEASURE, MeasureArguments(layers=("3",), n_texts=64))
    do(READ, ReadArguments(layer="3", readings=("output_difference", "logit_lens"), n_texts=64))
    do(TRACE, TraceArguments(layers=("0", "3"), n_texts=48, n_random=8))
    do(
        COHERENT_ALPHA,
        CoherentAlphaArguments(
            prompts=PROMPTS, layer="3", alphas=(0.2, 8.0), rounds=1, max_new_tokens=10
        ),
    )
    do(TOKEN_RELEVANCE, RelevanceArguments(documents=documents, top=10))
    do(
        STEERED_SIMILARITY,
        SimilarityArguments(
            documents=documents, prompts=PROMPTS, layer="3", alpha=1.0, max_new_tokens=12
        ),
    )
    do(
        CAUSAL_EFFECT,
        CausalArguments(documents=documents, layer="3", n_random=8, n_texts=6),
    )


def _named(event: Event) -> Event:
    """The same without the folder that the documents lay in."""
    text = re.sub(r"[^\s\"]*/documents\.txt", "documents.txt", event.model_dump_json())
    return Event.model_validate_json(text)
