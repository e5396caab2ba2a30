from __future__ import annotations

import pytest

from tests.workbench.replay.audits import AGENT, Audit
from tests.workbench.store.samples import reading
from workbench.replay.errors import ReplayError
from workbench.replay.player import CHANGES, EVENTS_APART, LONGEST_PAUSE, Player
from workbench.store.events import HUMAN, NoteWritten, OperationStarted, TextGrew
from workbench.store.log import SessionLog
from workbench.store.rows import Entry
from workbench.store.state import Fold, SessionState, fold


@pytest.mark.slow
def test_replayed_state_equals_the_live_state_after_every_event(
    log: SessionLog, recorded: Audit
) -> None:
    player = Player.open(log, recorded.session_id)
    compared = 0
    for seq in range(1, player.length + 1):
        state = player.seek(seq)
        assert state.seq == seq
        # Events of one transaction become visible together, so not every seq was ever a state.
        if seq in recorded.digests:
            assert state.digest() == recorded.digests[seq]
            compared += 1
    assert compared == len(recorded.digests) > 40
    assert player.state == recorded.states[player.length]


@pytest.mark.slow
def test_any_order_of_seeks_gives_the_same_states(log: SessionLog, recorded: Audit) -> None:
    player = Player.open(log, recorded.session_id)
    looked_at = sorted(recorded.digests, key=lambda seq: (seq * 7919) % 101)
    kept = {seq: player.seek(seq) for seq in looked_at}
    # A state given out stays as it was, whatever was shown since.
    assert {seq: state.digest() for seq, state in kept.items()} == recorded.digests


def test_before_the_first_event_there_is_nothing(log: SessionLog, recorded: Audit) -> None:
    player = Player.open(log, recorded.session_id)
    assert player.position == 0
    assert player.state == SessionState()
    assert player.current is None
    player.step()
    assert player.current is not None
    assert player.current.kind == "session_started"
    assert player.step(-1)
    assert player.position == 0
    assert not player.step(-1)


def test_a_place_that_is_not_there_is_refused(log: SessionLog, recorded: Audit) -> None:
    player = Player.open(log, recorded.session_id)
    for seq in (-1, player.length + 1):
        with pytest.raises(ReplayError, match=f"no event {seq}.*0 to {player.length}"):
            player.seek(seq)


def test_only_the_turns_of_one_are_stopped_at(log: SessionLog, recorded: Audit) -> None:
    events = {event.seq: event for event in log.events(recorded.session_id)}
    player = Player.open(log, recorded.session_id)
    for turns, name in (("human", ""), ("agent", AGENT.name)):
        player.seek(0)
        player.show_turns(turns)
        stops = []
        while player.step():
            stops.append(player.position)
        assert {(events[seq].actor.kind, events[seq].actor.name) for seq in stops} == {
            (turns, name)
        }
        assert stops == [seq for seq, event in events.items() if event.actor.kind == turns]
    assert player.at_end
    player.show_turns("all")
    assert player.state.seq < player.length
    with pytest.raises(ReplayError, match="whose turns"):
        player.show_turns("nobody")  # type: ignore[arg-type]


def test_what_the_program_records_belongs_to_who_asked_for_it(log: SessionLog) -> None:
    session = log.start_session("by an agent")
    log.append(
        session, OperationStarted(operation="steer", arguments={}), actor=AGENT, operation_id="a"
    )
    log.append(session, reading(), operation_id="a")
    log.append(session, NoteWritten(text="mine"), actor=HUMAN)
    player = Player.open(log, session)
    player.show_turns("agent")
    assert player.step(2)
    assert player.position == 3
    assert not player.step()


def test_from_change_to_change_of_a_hypothesis(log: SessionLog, recorded: Audit) -> None:
    wanted = [e.seq for e in log.events(recorded.session_id) if e.body.kind in CHANGES]
    player = Player.open(log, recorded.session_id)
    forth = []
    while player.next_change():
        forth.append(player.position)
    back = [player.position]
    while player.previous_change():
        back.append(player.position)
    assert forth == wanted
    assert back == wanted[::-1]
    assert len(wanted) >= 7


def spaced(log: SessionLog, monkeypatch: pytest.MonkeyPatch, gaps: list[float]) -> str:
    """A session whose events came so many seconds after one another."""
    from workbench.store import append, rows

    moments = [0.0]
    for gap in gaps:
        moments.append(moments[-1] + gap)
    times = iter([f"2026-01-01T00:{int(m) // 60:02}:{m % 60:09.6f}Z" for m in moments])
    for module in (rows, append):
        monkeypatch.setattr(module, "utc_text", lambda: next(times))
    session = log.start_session("timed")
    for index in range(len(gaps)):
        log.append(session, NoteWritten(text=str(index)))
    return session


def test_the_clock_brings_events_as_they_were_recorded(
    log: SessionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = Player.open(log, spaced(log, monkeypatch, [1.0, 0.5, 300.0, 0.25]))
    assert not player.advance(10.0)
    player.play()
    assert player.advance(0.0)
    assert player.position == 1
    assert not player.advance(0.9)
    assert player.advance(0.2)
    assert player.position == 2
    player.pause()
    assert not player.advance(100.0)
    player.play()
    assert player.advance(0.4)
    assert player.position == 3
    assert not player.advance(LONGEST_PAUSE - 0.01)
    assert player.advance(0.02)
    assert player.position == 4
    assert player.faster() == 2.0
    assert player.advance(0.13)
    assert player.position == 5
    assert (player.playing, player.at_end) == (False, True)
    player.play()
    assert player.position == 0
    for _ in range(20):
        player.slower()
    assert player.speed == 0.25
    player.advance(0.0)
    assert not player.advance(3.9)
    assert player.advance(0.2)


def test_one_long_wait_brings_many_events(log: SessionLog, recorded: Audit) -> None:
    player = Player.open(log, recorded.session_id)
    player.play()
    assert player.advance(10_000.0)
    assert player.at_end
    assert player.state == fold(log.events(recorded.session_id))


def test_a_session_deleted_meanwhile_is_said(log: SessionLog) -> None:
    session = log.start_session("gone")
    log.append(session, NoteWritten(text="a"))
    player = Player.open(log, session)
    log.delete_session(session, confirm="gone")
    with pytest.raises(ReplayError, match="deleted"):
        player.seek(2)


def test_a_long_session_is_read_no_further_than_is_looked_at(
    log: SessionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it is, opening takes in its beginning, and a jump what lies since a checkpoint."""
    session = log.start_session("long")
    log.append_many(session, [Entry(TextGrew(pieces={"t": "word "}))] * (8 * EVENTS_APART))
    taken_in: list[int] = []
    apply = Fold.apply
    monkeypatch.setattr(
        Fold, "apply", lambda fold, event: (taken_in.append(event.seq), apply(fold, event))[1]
    )
    player = Player.open(log, session)
    player.step()
    assert len(taken_in) <= 2
    while not player.prepare(0.05):
        pass
    assert player.length == 8 * EVENTS_APART + 1
    for place in (EVENTS_APART - 1, 5 * EVENTS_APART + 7, 2 * EVENTS_APART, player.length, 1):
        taken_in.clear()
        assert player.seek(place).seq == place
        assert len(taken_in) <= EVENTS_APART
