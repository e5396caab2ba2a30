"""Sessions of an engine: their jobs, keys, names and pair, for clients that come and go."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.processes import HANGS
from tests.workbench.engine.conftest import MEASURE, PAIR, Models, Serving, served
from workbench.engine import protocol as p
from workbench.engine.client import EngineError, EngineGone, job_of
from workbench.engine.live_session import LiveSession
from workbench.locations import find_locations
from workbench.operations.difference import MEASURE as MEASURING
from workbench.operations.difference import MeasureArguments
from workbench.operations.pair import PairArguments
from workbench.store.errors import StoreError
from workbench.store.lease import is_open
from workbench.store.log import SessionLog


def measure(session: str) -> p.Submit:
    return p.Submit(session=session, operation="measure_difference", arguments=MEASURE)


def note(session: str, text: str = "a note") -> p.Submit:
    return p.Submit(session=session, operation="note", arguments={"text": text})


# --- jobs -----------------------------------------------------------------------------------------


def test_a_job_is_told_to_its_end_after_the_events_it_recorded(serving: Serving) -> None:
    with serving.connect() as screen:
        opened = screen.call(p.Open(session=serving.session))
        assert opened.has_pair
        assert opened.version == len(serving.events())
        job = screen.call(measure(serving.session))
        assert job.arguments["n_texts"] == 16
        last = {}
        while last.get("status") != "finished":
            notice = screen.news.get(timeout=HANGS)
            if isinstance(notice, p.EventNotice):
                seq = notice.seq
            elif isinstance(notice, p.JobNotice) and notice.job.id == job.id:
                last = notice.job.model_dump()
        events = serving.events()
        assert seq == events[-1].seq
        assert events[-1].body.kind == "operation_finished"
        assert events[-1].operation_id == job.id
        assert last["summary"] == events[-1].body.summary
        assert screen.call(p.ListJobs(session=serving.session)).jobs == ()


def test_a_job_of_the_wire_is_a_job(serving: Serving, models: Models) -> None:
    models.halt()
    with serving.connect() as screen:
        screen.call(p.Open(session=serving.session))
        running, waiting = (screen.call(measure(serving.session)) for _ in range(2))
        assert models.came.wait(HANGS)
        jobs = [job_of(data) for data in screen.call(p.ListJobs(session=serving.session)).jobs]
        assert [job.id for job in jobs] == [running.id, waiting.id]
        assert [job.status for job in jobs] == ["running", "waiting"]
        assert jobs[0].operation is MEASURING
        assert jobs[0].arguments == MEASURING.arguments(**MEASURE)
        assert jobs[0].seconds > 0
        third = screen.call(measure(serving.session))
        assert screen.call(p.Move(session=serving.session, job=third.id, step=-1)).yes
        assert not screen.call(p.Move(session=serving.session, job=third.id, step=-1)).yes
        screen.call(p.StopJob(session=serving.session, job=waiting.id))
        screen.call(p.StopJob(session=serving.session, job=running.id))
        models.go_on()
        assert screen.over(running).status == "stopped"
        assert screen.over(third).status == "finished"


def test_a_failed_job_says_why_and_the_engine_goes_on(serving: Serving) -> None:
    with serving.connect() as screen:
        screen.call(p.Open(session=serving.session))
        wrong = p.Submit(
            session=serving.session, operation="measure_difference", arguments={"layers": ["99"]}
        )
        failed = screen.over(screen.call(wrong))
        assert failed.status == "failed"
        assert failed.error is not None
        assert failed.error.type == "SiteError"
        assert "99" in failed.error.message
        assert screen.over(screen.call(measure(serving.session))).status == "finished"


def test_two_sessions_use_the_models_one_after_the_other(serving: Serving, models: Models) -> None:
    models.halt()
    with serving.connect() as screen, serving.connect("command") as command:
        screen.call(p.Open(session=serving.session))
        first = screen.call(measure(serving.session))
        assert models.came.wait(HANGS)
        other = command.call(p.Begin(name="another", command=("ask",))).session
        second = command.call(measure(other))
        assert command.call(p.ListJobs(session=other)).jobs[0].status == "waiting"
        models.go_on()
        assert screen.over(first).status == "finished"
        assert command.over(second).status == "finished"
    assert models.loads == 1
    (began, *_), (second_began, *_) = (serving.events(), serving.events(other))
    assert began.body.name == "a session"
    assert second_began.body.environment["command"] == ["ask"]
    kinds = [event.body.kind for event in serving.events(other)[:4]]
    assert kinds == ["session_started", "operation_started", "pair_loaded", "operation_finished"]


def test_the_session_of_a_command_that_went_away_ends_after_its_job(
    serving: Serving, models: Models
) -> None:
    models.halt()
    with serving.connect() as watcher:
        with serving.connect("command") as command:
            session = command.call(p.Begin(name="ask")).session
            command.call(measure(session))
            assert models.came.wait(HANGS)
        # Looking at the list, not at the session: that would keep it.
        models.go_on()
        while any(one.id == session for one in watcher.call(p.Sessions()).sessions):
            pass
    kinds = [event.body.kind for event in serving.events(session)]
    assert kinds[-2:] == ["operation_finished", "session_closed"]
    assert not is_open(find_locations().leases, session)


def test_a_closed_session_is_let_go_and_others_are_kept(serving: Serving) -> None:
    with serving.connect() as screen:
        other = screen.call(p.Begin(name="another")).session
        assert is_open(find_locations().leases, other)
        screen.call(p.Close(session=other, view={"pane": "chat"}, reason="done"))
        assert screen.wait(p.ClosingNotice).session == other
        assert [one.id for one in screen.call(p.Sessions()).sessions] == [serving.session]
        view, closed = serving.events(other)[-2:]
        assert view.body.view == {"pane": "chat"}
        assert closed.body.outcome == "completed"
        assert not is_open(find_locations().leases, other)
        with pytest.raises(EngineError, match="not open in this engine"):
            screen.call(note(other))


# --- keys -----------------------------------------------------------------------------------------


def test_one_screen_holds_the_keys_and_others_watch_and_ask(serving: Serving) -> None:
    session = serving.session
    with serving.connect(name="pts/1") as first, serving.connect(name="pts/2") as second:
        assert first.call(p.Open(session=session)).holder.number == first.number
        opened = second.call(p.Open(session=session))
        assert opened.holder.name == "pts/1"
        assert [screen.name for screen in opened.screens] == ["pts/1", "pts/2"]
        for order in (
            note(session),
            p.StopJob(session=session, job="x"),
            p.Close(session=session),
            p.Rename(session=session, name="mine"),
        ):
            with pytest.raises(EngineError, match="are with pts/1") as refused:
                second.call(order)
            assert refused.value.kind == "NotTheHolder"
        assert not second.call(p.TakeKeys(session=session)).yes
        second.call(p.AskKeys(session=session))
        asked = first.wait(p.HolderNotice, lambda news: news.asking is not None)
        first.call(p.GiveKeys(session=session, to=asked.asking.number))
        second.wait(p.HolderNotice, lambda news: news.holder.number == second.number)
        assert second.over(second.call(note(session))).status == "finished"
        with pytest.raises(EngineError, match="are with pts/2"):
            first.call(note(session))
        # A connection that hangs does not keep them for ever.
        assert first.call(p.TakeKeys(session=session, by_force=True)).yes
        # What both see of the log is the same.
        assert first.over(first.call(note(session))).status == "finished"


def test_keys_are_free_when_their_holder_is_gone(serving: Serving) -> None:
    session = serving.session
    with serving.connect() as watcher:
        with serving.connect() as first:
            first.call(p.Open(session=session))
            watcher.call(p.Open(session=session))
        watcher.wait(p.HolderNotice, lambda news: news.holder is None)
        assert watcher.call(p.TakeKeys(session=session)).yes
        watcher.call(p.GiveKeys(session=session))
        assert watcher.wait(p.HolderNotice, lambda news: news.holder is None)


def test_a_command_needs_no_keys_and_gets_none(serving: Serving) -> None:
    session = serving.session
    with serving.connect() as screen, serving.connect("command") as command:
        assert command.call(p.Open(session=session)).holder is None
        assert screen.call(p.Open(session=session)).holder.number == screen.number
        assert command.over(command.call(note(session))).status == "finished"
        with pytest.raises(EngineError, match="no screen of this session"):
            command.call(p.TakeKeys(session=session, by_force=True))
        with pytest.raises(EngineError, match="only who holds the keys"):
            command.call(p.GiveKeys(session=session))


# --- the pair -------------------------------------------------------------------------------------


def test_an_engine_knows_its_very_pair(serving: Serving, tmp_path: Path) -> None:
    with serving.connect("command") as client:
        for pair, has in (
            (PairArguments(organism="cake_bake"), True),
            (PairArguments(organism="cake_bake", trust_remote_code=True), True),
            (PairArguments(organism="cake_bake", dtype="bfloat16"), False),
            (PairArguments(organism="cake_bake", quantisation="8bit"), False),
            (PairArguments(base="embedded", adapter="x"), False),
        ):
            assert client.call(p.HasPair(pair=pair)).yes == has, pair


@pytest.mark.parametrize(("is_demo", "confirms"), [(True, True), (False, False)])
def test_a_blind_engine_is_found_by_its_name_if_that_is_the_demo(
    database: Path, models: Models, is_demo: bool, confirms: bool
) -> None:
    with (
        served(database, blind=True, is_demo=is_demo) as serving,
        serving.connect("command") as client,
    ):
        other = PairArguments(base="embedded", adapter="x")
        assert client.call(p.HasPair(pair=PairArguments(organism="cake_bake"))).yes == confirms
        assert not client.call(p.HasPair(pair=other)).yes
        assert "cake" not in client.call(p.Status()).pair


def test_a_pair_whose_files_have_changed_is_not_the_one_that_is_loaded(
    serving: Serving, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.engine import shared_pair

    weights = tmp_path / "adapter" / "adapter.safetensors"
    weights.parent.mkdir()
    weights.write_text("1")
    monkeypatch.setattr(shared_pair, "_places_of", lambda pair: {str(weights.parent)})
    serving.engine.pair.free()
    with serving.connect("command") as client:
        client.call(p.Begin(name="x"))
        assert client.call(p.HasPair(pair=PairArguments(organism="cake_bake"))).yes
        weights.write_text("22")
        assert not client.call(p.HasPair(pair=PairArguments(organism="cake_bake"))).yes


def test_a_session_of_another_pair_is_not_taken(serving: Serving, database: Path) -> None:
    with SessionLog.open(database) as log:
        from adl.artifacts import ArrayCache
        from tests.planted import PlantedPair
        from workbench.operations.beginning import begin_session
        from workbench.store.events import HUMAN, SessionClosed

        other = begin_session(
            log,
            ArrayCache(database.parent),
            "other",
            PairArguments(base="a/b", adapter="c/d"),
            actor=HUMAN,
            load=lambda *_: PlantedPair(),
        ).id
        log.append(other, SessionClosed(outcome="completed"))
        before = list(log.events(other))
    with serving.connect() as screen:
        with pytest.raises(EngineError, match="another pair than this engine"):
            screen.call(p.Open(session=other))
        assert not is_open(find_locations().leases, other)
    with SessionLog.open(database) as log:
        assert list(log.events(other)) == before


def test_an_idle_pair_is_freed_and_loaded_again_when_it_is_needed(
    database: Path, models: Models
) -> None:
    with served(database, idle_limit=0.01) as serving, serving.connect() as screen:
        screen.call(p.Open(session=serving.session))
        while screen.call(p.Status()).is_loaded:
            pass
        assert serving.engine.pair.pair is None
        assert models.loads == 1
        # What does not need the models does not load them.
        assert screen.over(screen.call(note(serving.session))).status == "finished"
        assert models.loads == 1
        assert screen.over(screen.call(measure(serving.session))).status == "finished"
        assert models.loads == 2
        loads = [
            event.body.operation
            for event in serving.events()
            if event.body.kind == "operation_started"
        ]
        assert loads == ["load_pair", "note", "load_pair", "measure_difference"]


def test_an_engine_that_begins_a_session_is_not_idle(
    database: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(database, idle_limit=3600) as serving:
        engine = serving.engine
        load, idle = engine.pair.load, []

        def loading(*given: object) -> object:
            idle.append(engine._idle_seconds())
            return load(*given)

        monkeypatch.setattr(engine.pair, "load", loading)
        engine._busy_at -= 3000
        assert engine._idle_seconds() > 3000
        engine.begin("another")
        assert idle == [None]
        assert engine._idle_seconds() < 3000


def test_an_engine_at_work_is_not_idle(database: Path, models: Models) -> None:
    with served(database, idle_limit=0.01) as serving, serving.connect() as screen:
        screen.call(p.Open(session=serving.session))
        models.halt()
        job = screen.call(measure(serving.session))
        assert screen.call(p.Status()).idle_seconds is None
        assert not serving.engine.free_if_idle()
        models.go_on()
        assert screen.over(job).status == "finished"


# --- names ----------------------------------------------------------------------------------------


def test_no_byte_to_a_client_of_a_blind_engine_holds_a_name(database: Path, models: Models) -> None:
    names = ("cake_bake", "cake bake", "planted-base", "planted-finetuned")
    with served(database, blind=True) as serving:
        heard = bytearray()
        with serving.raw() as connection:
            stream = connection.makefile("rb")

            def ask(number: int, order: p.Order) -> p.Reply:
                params = order.model_dump(mode="json")
                connection.sendall(
                    p.encode(p.Request(id=number, method=order.method, params=params))
                )
                return until(lambda message: getattr(message, "id", None) == number)

            def until(which):
                while True:
                    line = stream.readline()
                    heard.extend(line)
                    message = p.decode(line)
                    if which(message):
                        return message

            def until_it_is(status: str, job: str) -> None:
                until(
                    lambda message: (
                        isinstance(message, p.JobNotice)
                        and (message.job.id, message.job.status) == (job, status)
                    )
                )

            connection.sendall(p.encode(p.Hello(pid=1, role="screen")))
            until(lambda message: isinstance(message, p.Welcome))
            session = serving.session
            ask(1, p.Open(session=session))
            ask(2, p.Status())
            again = p.Submit(
                session=session, operation="load_pair", arguments={"organism": "cake_bake"}
            )
            until_it_is("finished", ask(3, again).result["id"])
            wrong = p.Submit(
                session=session, operation="load_pair", arguments={"organism": "sour_bread"}
            )
            until_it_is("failed", ask(4, wrong).result["id"])
            ask(5, p.Sessions())
            # It confirms no guess.
            assert not ask(6, p.HasPair(pair=PairArguments(organism="cake_bake"))).result["yes"]
            assert ask(7, p.Open(session="planted-base")).error is not None
            for name in names:
                assert name.encode() not in bytes(heard), name
            ask(8, p.RevealNames(session=session))
            assert "cake_bake" in ask(9, p.Status()).result["pair"]
            stream.close()


# --- the end --------------------------------------------------------------------------------------


def test_an_engine_that_is_told_to_end_closes_its_sessions_first(
    database: Path, models: Models
) -> None:
    with served(database) as serving:
        with serving.connect() as screen:
            screen.call(p.Open(session=serving.session))
            job = screen.call(measure(serving.session))
            screen.call(p.ShutDown())
            over = screen.wait(p.ClosingNotice, lambda news: news.session is None)
            assert over.reason
            with pytest.raises(EngineGone):
                screen.call(p.Status())
        assert not serving.path.exists()
        events = serving.events()
        assert events[-1].body.kind == "session_closed"
        assert events[-1].body.outcome == "stopped"
        ends = {"operation_stopped", "operation_finished"}
        mine = [event.body.kind for event in events if event.operation_id == job.id]
        assert not mine or mine[-1] in ends
        assert serving.engine.log.verify().ok


@pytest.mark.slow
def test_orders_of_many_threads_get_their_own_answers(serving: Serving) -> None:
    with serving.connect() as screen:
        screen.call(p.Open(session=serving.session))
        wrong: list[str] = []

        def write(number: int) -> None:
            for turn in range(10):
                text = f"{number}-{turn}"
                if screen.call(note(serving.session, text)).arguments["text"] != text:
                    wrong.append(text)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        while screen.call(p.ListJobs(session=serving.session)).jobs:
            pass
    notes = [event for event in serving.events() if event.body.kind == "note_written"]
    assert len({event.body.text for event in notes}) == 50


def test_a_job_that_outlives_its_session_records_nothing_behind_the_end(
    serving: Serving, models: Models, monkeypatch
) -> None:
    monkeypatch.setattr("workbench.engine.live_session.PATIENCE", 0.0)
    live = serving.engine.resume(serving.session)
    models.halt()
    job = live.submit(MEASURING, MeasureArguments(**MEASURE))
    assert models.came.wait(HANGS)
    live.close(None)
    models.go_on()
    assert live._jobs.wait(job.id, HANGS)
    events = serving.events()
    assert [event.body.kind for event in events].count("session_closed") == 1
    assert events[-1].body.kind == "session_closed"
    assert live.session.state.operations[job.id].status == "abandoned"


def test_a_session_whose_log_takes_nothing_more_is_let_go_of(tmp_path: Path) -> None:
    locations = find_locations()
    log = SessionLog.open(tmp_path / "s.db")
    live = LiveSession.start(log, "left", locations, PAIR, load=Models().load)
    session = live.session.id
    log.close()
    live.close({"pane": 1}, "completed", "left")
    assert isinstance(live.unrecorded, StoreError)
    assert live.session.pair is None
    assert not is_open(locations.leases, session)


def test_an_end_that_is_recorded_leaves_nothing_unrecorded(tmp_path: Path) -> None:
    with SessionLog.open(tmp_path / "s.db") as log:
        live = LiveSession.start(log, "left", find_locations(), PAIR, load=Models().load)
        live.close({"pane": 1}, "completed", "left")
        assert live.unrecorded is None
        assert [event.body.kind for event in log.events(live.session.id)][-1] == "session_closed"


def test_an_engine_closes_each_session_whatever_one_raises(serving: Serving, monkeypatch) -> None:
    with serving.connect() as screen:
        screen.call(p.Open(session=serving.session))
        other = screen.call(p.Begin(name="other")).session
        held = serving.engine._held.all()
        assert {one.live.session.id for one in held} >= {serving.session, other}

        def broken(*_given, **_named):
            raise OSError("not this one")

        monkeypatch.setattr(held[0].live, "close", broken)
        with pytest.raises(OSError, match="not this one"):
            serving.engine.close("at its end")
        assert serving.engine._held.all() == []
        assert serving.engine.pair.pair is None
    assert all(one.live._closed for one in held[1:])
    monkeypatch.undo()
    held[0].live.close(None)
