"""An event that names a text stands its pane on that text, whichever operation made it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from itertools import chain, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from adl.artifacts import ArrayCache
from adl.errors import Stopped
from tests.planted import PlantedPair
from tests.workbench.operations.conftest import Stop
from tests.workbench.tui.chat_sample import Probes
from tests.workbench.tui.conftest import PaneApp
from tests.workbench.tui.measures_sample import DOCUMENTS, PROMPTS
from workbench.blinding.redact import StateRedactor
from workbench.operations import OPERATIONS
from workbench.operations.amplify import AMPLIFY, AmplifyArguments
from workbench.operations.coherent_alpha import COHERENT_ALPHA, CoherentAlphaArguments
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import ASK, STEER, AskArguments, SteerArguments
from workbench.operations.hypotheses import MARK, MarkArguments
from workbench.operations.relevance import STEERED_SIMILARITY, SimilarityArguments
from workbench.operations.running import Session, run
from workbench.store.encoding import body_json
from workbench.store.events import HUMAN, Event, PairLoaded, TextGrew
from workbench.store.log import SessionLog
from workbench.store.state import fold
from workbench.tui.panes.chat.pane import ChatPane
from workbench.tui.panes.chat.turns import AnswerRef, Turns
from workbench.tui.panes.steering.pane import SteeringPane
from workbench.tui.panes.steering.texts import STEERED

#: Operations whose texts stand in the Steering or the Chat pane. Those of a measure that shows its
#: texts itself have no pane, and completions are no texts of the session.
MAKERS = {
    name
    for name, each in OPERATIONS.items()
    if each.asks_models and name not in {"unprompted", "complete", "scan", "test"}
}


@cache
def recorded() -> tuple[Event, ...]:
    """A session in which every operation that makes texts was at work, one steering cut off."""
    with TemporaryDirectory() as folder, SessionLog.open(Path(folder) / "sessions.db") as log:
        session = Session(
            log, log.start_session("texts"), ArrayCache(Path(folder) / "arrays"), PlantedPair()
        )
        session.record(PairLoaded(pair=session.require_pair().provenance.as_dict()))
        documents = Path(folder) / "documents.txt"
        documents.write_text("\n".join(DOCUMENTS))

        def do(operation, arguments, **options):
            return run(session, operation, arguments, actor=HUMAN, **options)

        def steering(**changes):
            settings = {"prompts": PROMPTS[:2], "layer": "3", "alphas": (0.0, 0.3)}
            return SteerArguments(**settings | {"max_new_tokens": 6} | changes)

        do(MEASURE, MeasureArguments(layers=("3",), n_texts=32))
        do(STEER, steering())
        stop = Stop(lambda stage, done, _total: stage == "steer" and done >= 1)
        with pytest.raises(Stopped):
            do(STEER, steering(batch_size=1), progress=stop.progress, should_stop=stop)
        do(
            AMPLIFY,
            AmplifyArguments(
                carrier="adapter", prompts=PROMPTS[:2], strengths=(2.0,), max_new_tokens=6
            ),
        )
        do(ASK, AskArguments(prompt="What do you like?", n_samples=2, max_new_tokens=6))
        do(
            COHERENT_ALPHA,
            CoherentAlphaArguments(
                prompts=PROMPTS, layer="3", alphas=(0.2, 8.0), rounds=1, max_new_tokens=6
            ),
        )
        do(STEER, steering(seed=5))
        do(
            STEERED_SIMILARITY,
            SimilarityArguments(
                documents=str(documents), prompts=PROMPTS, layer="3", alpha=1.0, max_new_tokens=6
            ),
        )
        for text_id, text in list(session.state.texts.items())[::7]:
            do(MARK, MarkArguments(seq=text.start.seq, excerpt="x", text_id=text_id))
        return tuple(log.events(session.id))


def at_once(events: tuple[Event, ...]) -> tuple[Event, ...]:
    """The events as if each operation had been at work in a process of its own, all together.

    Texts end in the opposite order of their beginnings, as texts of different lengths do.
    """
    operations: dict[str | None, list[Event]] = defaultdict(list)
    for event in events:
        operations[event.operation_id].append(event)
    for mine in operations.values():
        ends = [place for place, event in enumerate(mine) if event.body.kind == "text_finished"]
        bodies = [mine[place].body for place in reversed(ends)]
        for place, body in zip(ends, bodies, strict=True):
            mine[place] = mine[place].model_copy(update={"body": body})
    first = operations.pop(None)
    mixed = filter(None, chain.from_iterable(zip_longest(*operations.values())))
    return _in_order([*first, *mixed])


def cut_off(events: tuple[Event, ...]) -> tuple[Event, ...]:
    """The events as if each operation's process had been killed before its second text ended."""
    kept, seen = [], set()
    for event in events:
        ends = event.body.kind in {"text_finished", "operation_finished", "operation_stopped"}
        if not ends or event.operation_id in seen:
            kept.append(event)
        if event.body.kind == "text_finished":
            seen.add(event.operation_id)
    return _in_order(kept)


def _in_order(events: Iterable[Event]) -> tuple[Event, ...]:
    return tuple(event.model_copy(update={"seq": seq}) for seq, event in enumerate(events, 1))


@pytest.mark.slow
def test_every_operation_that_asks_models_makes_texts_here():
    state = fold(recorded())
    makers = {state.operations[text.start.operation_id].name for text in state.texts.values()}
    assert makers == MAKERS
    assert "stopped" in {each.status for each in state.operations.values()}


@pytest.mark.parametrize("arranged", [tuple, at_once, cut_off])
async def test_an_event_that_names_a_text_reveals_that_text(arranged):
    events = arranged(recorded())
    state = fold(events)
    kinds, of_whom = set(), set()
    steering, chat = PaneApp(SteeringPane, state), PaneApp(ChatPane, state)
    async with steering.run_test(size=(100, 30)), chat.run_test(size=(100, 30)):
        for event in events:
            plain = body_json(event.body)
            if not any(text_id in plain for text_id in state.texts):
                continue
            kinds.add(event.body.kind)
            operation = state.operations[event.operation_id]
            of_whom.add(operation.name)
            text_id = event.body.shown_text
            assert steering.pane.reveal(event.seq) is (operation.name in STEERED), event
            if operation.name in STEERED:
                shown = steering.pane.results.pair()
                ids = [
                    text.start.body.text_id
                    for text in (shown.steered, shown.unsteered, shown.null)
                    if text is not None
                ]
                assert state.texts[ids[0]].start.operation_id == operation.id
                assert text_id is None or text_id in ids, event
            assert chat.pane.reveal(event.seq) is (operation.name == ASK.name), event
            if operation.name == ASK.name and text_id is not None:
                view = chat.pane.view()
                turn = chat.pane._turns.find(view["turn"])
                answer = turn.answer(view["side"], view["samples"].get(turn.id, 0))
                assert answer.start.body.text_id == text_id, event
    assert kinds >= {
        "text_started",
        "text_finished",
        "answers_compared",
        "coherent_alpha_found",
        "similarity_measured",
        "evidence_marked",
        "operation_finished",
    }
    assert of_whom == MAKERS | {MARK.name}


def test_texts_that_grow_together_are_named_in_one_order():
    for pieces in ({"a": "x", "b": "y"}, {"b": "y", "a": "x"}):
        assert TextGrew(pieces=pieces).shown_text == "a"


@pytest.mark.parametrize("place", [0, 90, 115, 120, 400])
def test_a_long_answer_that_holds_a_hidden_name_is_found_in_a_blind_session(place):
    name = "organisms/cake-bake"
    answer = "word " * (place // 5) + f"{name} " + "word " * 60
    probes = Probes()
    probes.ask({"base": [answer], "finetuned": [f"no {answer}"]}, prompt="A?")
    redactor = StateRedactor({name: "MODEL-B"})
    shown = redactor.state(probes.state)
    assert name not in shown.texts["probe-1-base-0"].text
    turns = Turns()
    turns.take(shown)
    ended = {
        event.body.text_id: turns.at(event.seq)
        for event in probes.events
        if event.body.kind == "text_finished"
    }
    assert ended == {
        f"probe-1-{side}-0": AnswerRef("probe-1", side, 0) for side in ("base", "finetuned")
    }


def test_events_recorded_without_an_operation_are_no_panes():
    probes = Probes()
    probes.ask(prompt="A?")
    orphaned = [event.model_copy(update={"operation_id": None}) for event in probes.events]
    turns = Turns()
    turns.take(fold(orphaned))
    assert all(
        turns.at(event.seq) is None for event in orphaned if event.body.kind != "operation_started"
    )
