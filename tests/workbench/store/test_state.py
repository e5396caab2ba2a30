import pytest

from tests.workbench.store.samples import ARRAYS, difference, reading, record_audit, text_started
from workbench.store.events import (
    HUMAN,
    Bearing,
    EventBody,
    EvidenceLinked,
    EvidenceMarked,
    EvidenceUnmarked,
    HypothesesRanked,
    HypothesisJudged,
    HypothesisRevised,
    HypothesisStated,
    NoteWritten,
    OperationFinished,
    OperationStarted,
    TextGrew,
)
from workbench.store.log import SessionLog
from workbench.store.state import Fold, Prefix, ReadingKey, SessionState, fold


@pytest.fixture
def state(log: SessionLog) -> SessionState:
    return fold(log.events(record_audit(log)))


def test_the_session(state: SessionState) -> None:
    assert state.seq == 24
    assert state.name == "cakes"
    assert state.pair is not None
    assert state.pair["finetuned"]["adapter"] == "org/cakes"
    assert state.environment == {"python": "3.13"}
    assert state.outcome == "completed"
    assert state.started_at is not None
    assert state.last_at is not None
    assert state.started_at <= state.last_at


def test_operations_end_in_each_way(state: SessionState) -> None:
    operations = state.operations
    assert {key: operation.status for key, operation in operations.items()} == {
        "op-1": "finished",
        "op-2": "stopped",
        "op-3": "failed",
        "op-4": "abandoned",
    }
    assert operations["op-1"].seconds == 2.5
    assert operations["op-1"].arguments == {"layer": 14}
    assert operations["op-1"].summary == {"texts": 512}
    assert operations["op-1"].actor == HUMAN
    assert operations["op-2"].reason == "a key"
    assert operations["op-3"].message == "no room"
    assert operations["op-4"].ended_at is None


def test_texts_finish_or_are_cut_off(state: SessionState) -> None:
    texts = state.texts
    assert (texts["t1"].status, texts["t1"].text) == ("finished", "I baked a cake.")
    assert texts["t1"].ended == "length"
    assert texts["t1"].start.body.alpha == 0.2
    assert (texts["t2"].status, texts["t2"].text) == ("cut_off", "It was ")
    assert (texts["t3"].status, texts["t3"].text) == ("cut_off", "cut")


def test_findings(state: SessionState) -> None:
    key = ReadingKey("patchscope", "difference", "finetuned", 14, "1", 0.8)
    assert [token.text for token in state.readings[key].body.tokens] == ["batter", "oven", "frost"]
    assert key._replace(scale=None) in state.readings
    assert list(state.differences) == ["key-1"]
    assert state.comparisons[0].body.kl == (0.1, 2.0)
    assert state.notes[0].body.text == "It is about *baking*."
    assert state.notes[0].actor == HUMAN


def test_the_timeline_has_a_line_for_every_event(state: SessionState) -> None:
    assert [entry.seq for entry in state.timeline] == list(range(1, 25))
    assert state.timeline[-4].kind == "session_continued"
    lines = [entry.description for entry in state.timeline]
    assert all(line and "\n" not in line for line in lines)
    assert "finished in 2.5 s" in lines
    assert "steer on finetuned, alpha 0.2: How was your day?" in lines


def test_the_latest_reading_and_difference_count(log: SessionLog, session: str) -> None:
    log.append(session, reading("first"))
    log.append(session, reading("second"))
    for key in ("a", "b", "a"):
        body = difference(ARRAYS).model_copy(update={"key": key})
        log.append(session, body, arrays=tuple(ARRAYS.values()))
    state = fold(log.events(session))
    (only,) = state.readings.values()
    assert only.body.tokens[0].text == "second"
    assert list(state.differences) == ["b", "a"]
    assert state.differences["a"].seq == 6


def test_live_states_equal_replayed_ones_after_every_event(log: SessionLog) -> None:
    live = Fold()
    states: list[SessionState] = []

    def see(event: object) -> None:
        live.apply(event)  # type: ignore[arg-type]
        states.append(live.state())

    log.subscribe(see)
    events = list(log.events(record_audit(log)))
    assert len(states) == len(events)
    for count, state in enumerate(states, start=1):
        replayed = fold(events[:count])
        assert state == replayed
        assert state.digest() == replayed.digest()
    assert len({state.digest() for state in states}) == len(states)


def test_a_copy_goes_on_by_itself(log: SessionLog) -> None:
    events = list(log.events(record_audit(log)))
    first = Fold()
    for event in events[:12]:
        first.apply(event)
    copy = first.copy()
    before = first.state()
    for event in events[12:]:
        copy.apply(event)
    assert copy.state() == fold(events)
    assert first.state() is before
    assert before == fold(events[:12])
    assert copy.version == 24


def test_a_gap_is_refused(log: SessionLog) -> None:
    events = list(log.events(record_audit(log)))
    folding = Fold()
    with pytest.raises(ValueError, match="cannot follow"):
        folding.apply(events[1])


def test_an_operation_that_ends_after_all_is_not_abandoned(log: SessionLog) -> None:
    from workbench.store.events import SessionContinued

    session = log.start_session("x")
    log.append(session, OperationStarted(operation="ask", arguments={}), operation_id="o")
    assert fold(log.events(session)).operations["o"].status == "running"
    log.append(session, SessionContinued())
    assert fold(log.events(session)).operations["o"].status == "abandoned"
    log.append(session, OperationFinished(seconds=1.0), operation_id="o")
    assert fold(log.events(session)).operations["o"].status == "finished"


def test_strange_orders_do_not_break_the_fold(log: SessionLog, session: str) -> None:
    log.append(session, TextGrew(pieces={"unknown": "x"}))
    log.append(session, OperationFinished(seconds=1.0), operation_id="unknown")
    log.append(session, OperationStarted(operation="ask", arguments={}))
    log.append(session, text_started("t"))
    log.append(session, text_started("t"))
    log.append(session, TextGrew(pieces={"t": "x"}))
    state = fold(log.events(session))
    assert state.texts["t"].text == "x"
    assert state.operations["event-4"].status == "running"


def test_hostile_text_stays_on_one_line(log: SessionLog, session: str) -> None:
    log.append(session, NoteWritten(text="a\r\nb\x1b]0;title\x07 \u2028c" + "x" * 10_000))
    line = fold(log.events(session)).timeline[-1].description
    assert len(line) < 120
    assert len(line.splitlines()) == 1


def test_a_prefix_does_not_grow_with_its_list() -> None:
    items = [1, 2, 3]
    prefix = Prefix(items, 3)
    items.append(4)
    assert list(prefix) == [1, 2, 3]
    assert prefix[-1] == 3
    assert prefix[1:] == (2, 3)
    assert prefix == Prefix([1, 2, 3], 3)
    assert prefix != Prefix([1, 2], 2)
    with pytest.raises(IndexError):
        prefix[3]


# --- hypotheses and evidence ----------------------------------------------------------------


def _stated(hypothesis_id: str, confidence: float | None = 0.5) -> HypothesisStated:
    return HypothesisStated(hypothesis_id=hypothesis_id, text="cakes", confidence=confidence)


def _marked(evidence_id: str) -> EvidenceMarked:
    return EvidenceMarked(evidence_id=evidence_id, of_seq=1, excerpt=" cake", token_id=5)


def _linked(hypothesis_id: str, evidence_id: str, bearing: Bearing) -> EvidenceLinked:
    return EvidenceLinked(hypothesis_id=hypothesis_id, evidence_id=evidence_id, bearing=bearing)


HYPOTHESES: tuple[EventBody, ...] = (
    _stated("H1"),
    _stated("H2", None),
    _marked("E1"),
    _marked("E2"),
    _linked("H1", "E1", "for"),
    _linked("H1", "E2", "against"),
    _linked("H2", "E1", "against"),
    HypothesisRevised(hypothesis_id="H1", text="false facts", confidence=0.8, reason="texts"),
    HypothesesRanked(order=("H2", "H1")),
    HypothesisJudged(hypothesis_id="H2", verdict="rejected", reason="no trace"),
    _linked("H1", "E1", "against"),
    EvidenceUnmarked(evidence_id="E2", reason="a slip"),
    _stated("H3"),
)


@pytest.fixture
def judged(log: SessionLog, session: str) -> SessionState:
    for body in HYPOTHESES:
        log.append(session, body, actor=HUMAN)
    return fold(log.events(session))


def test_a_hypothesis_as_it_stands_and_how_it_came_to_be(judged: SessionState) -> None:
    one = judged.hypotheses["H1"]
    assert (one.text, one.confidence, one.verdict) == ("false facts", 0.8, "open")
    assert one.actor == HUMAN
    assert [recorded.seq for recorded in one.history] == [2, 6, 7, 9, 12]
    assert one.history[0].body.text == "cakes"
    assert dict(one.evidence) == {"E1": "against"}
    other = judged.hypotheses["H2"]
    assert (other.verdict, other.confidence) == ("rejected", None)
    assert dict(other.evidence) == {"E1": "against"}


def test_hypotheses_stand_by_rank_and_the_unranked_follow(judged: SessionState) -> None:
    assert judged.ranking == ("H2", "H1")
    assert [one.id for one in judged.ranked()] == ["H2", "H1", "H3"]


def test_a_mark_taken_back_is_gone_from_every_hypothesis(judged: SessionState) -> None:
    assert list(judged.evidence) == ["E1"]
    assert all("E2" not in one.evidence for one in judged.hypotheses.values())
    # That it was linked stays said.
    assert any(
        isinstance(recorded.body, EvidenceLinked) and recorded.body.evidence_id == "E2"
        for recorded in judged.hypotheses["H1"].history
    )


def test_states_of_hypotheses_never_change_and_share_what_stays(
    log: SessionLog, session: str
) -> None:
    for body in HYPOTHESES:
        log.append(session, body, actor=HUMAN)
    events = list(log.events(session))
    live, states = Fold(), []
    for event in events:
        live.apply(event)
        states.append(live.state())
    for count, state in enumerate(states, start=1):
        again = fold(events[:count])
        assert state == again
        assert state.digest() == again.digest()
    assert len({state.digest() for state in states}) == len(states)
    for before, after, event in zip(states, states[1:], events[1:], strict=False):
        kind = event.body.kind
        if kind in {"evidence_marked", "hypotheses_ranked"}:
            assert after.hypotheses is before.hypotheses
        if kind not in {"evidence_marked", "evidence_unmarked"}:
            assert after.evidence is before.evidence
        if kind != "hypotheses_ranked":
            assert after.ranking is before.ranking


def test_a_copy_of_a_fold_has_hypotheses_of_its_own(log: SessionLog, session: str) -> None:
    for body in HYPOTHESES:
        log.append(session, body)
    events = list(log.events(session))
    first = Fold()
    for event in events[:8]:
        first.apply(event)
    before, copy = first.state(), first.copy()
    for event in events[8:]:
        copy.apply(event)
    assert copy.state().digest() == fold(events).digest()
    assert first.state() is before
    assert before.digest() == fold(events[:8]).digest()


def test_words_about_what_is_not_there_do_not_break_the_fold(log: SessionLog, session: str) -> None:
    log.append(session, HypothesisRevised(hypothesis_id="H9", text="x"))
    log.append(session, HypothesisJudged(hypothesis_id="H9", verdict="confirmed"))
    log.append(session, _linked("H9", "E9", "for"))
    log.append(session, EvidenceUnmarked(evidence_id="E9"))
    log.append(session, HypothesesRanked(order=("H9",)))
    log.append(session, _stated("H1"))
    log.append(session, _linked("H1", "E9", "none"))
    state = fold(log.events(session))
    assert [one.id for one in state.ranked()] == ["H1"]
    assert dict(state.hypotheses["H1"].evidence) == {}
    assert all(entry.description for entry in state.timeline)
