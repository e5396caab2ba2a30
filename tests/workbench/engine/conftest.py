"""An engine over the planted pair, behind a real socket, in this process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from tests.planted import PlantedPair
from tests.processes import HANGS
from workbench.engine import protocol as p
from workbench.engine.client import EngineClient
from workbench.engine.engine import Engine
from workbench.engine.server import Server
from workbench.engine.sockets import connected_socket, new_path
from workbench.locations import find_locations
from workbench.operations.pair import PairArguments
from workbench.store.events import Event
from workbench.store.log import SessionLog

PAIR = PairArguments(organism="cake_bake")
#: A job that takes a moment, and many uses of the models.
MEASURE = {"n_texts": 16, "batch_size": 4}


@dataclass
class Models:
    """Holds the models back before a use of them, until let go on."""

    loads: int = 0
    closed: set[str] = field(default_factory=set)
    came: threading.Event = field(default_factory=threading.Event)
    open: threading.Event = field(default_factory=threading.Event)

    def before_run(self, method: str, _rows: int) -> None:
        if method in self.closed or "any" in self.closed:
            self.came.set()
            assert self.open.wait(HANGS)

    def halt(self, method: str = "any") -> None:
        self.closed = {method}
        self.came.clear()
        self.open.clear()

    def go_on(self) -> None:
        self.closed = set()
        self.open.set()

    def load(self, *_arguments: Any) -> PlantedPair:
        self.loads += 1
        return PlantedPair(before_run=self.before_run)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[Models]:
    models = Models()
    monkeypatch.setattr("workbench.engine.shared_pair.load_models", models.load)
    yield models
    models.go_on()


class Serving:
    """An engine that is served on a thread; ``session`` is the one it began with."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self.path = path
        self.engine = engine
        self.session = ""

    def connect(self, role: Any = "screen", name: str = "") -> Watcher:
        return Watcher(EngineClient.connect(self.path, role=role, name=name))

    @contextmanager
    def raw(self) -> Iterator[socket.socket]:
        """A connection that has introduced nobody yet."""
        with connected_socket(self.path, HANGS) as connection:
            yield connection

    def events(self, session: str = "") -> list[Event]:
        return list(self.engine.log.events(session or self.session))


class Watcher:
    """A client that keeps the news."""

    def __init__(self, client: EngineClient) -> None:
        self.client = client
        self.number = client.welcome.client
        self.news: SimpleQueue[p.Notice] = SimpleQueue()
        client.listen(self.news.put)

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.client.close()

    def call(self, order: p.Order[Any]) -> Any:
        return self.client.call(order, HANGS)

    def wait(self, kind: type[Any], which: Callable[[Any], object] = bool) -> Any:
        """The next notice of a kind for which this holds."""
        while True:
            notice = self.news.get(timeout=HANGS)
            if isinstance(notice, kind) and which(notice):
                return notice

    def over(self, job: p.JobData) -> p.JobData:
        """The job at its end."""
        done: p.JobNotice = self.wait(
            p.JobNotice,
            lambda news: (
                news.job.id == job.id and news.job.status in {"finished", "failed", "stopped"}
            ),
        )
        return done.job


@contextmanager
def served(
    database: Path, *, pair: PairArguments = PAIR, session: str | None = None, **options: Any
) -> Iterator[Serving]:
    blind = options.pop("blind", False)
    with SessionLog.open(database) as log:
        engine = Engine(log, find_locations(), pair, **options)
        server = Server(engine, new_path(find_locations()))
        serving = Serving(server._path, engine)
        if session is None:
            serving.session = engine.begin("a session", blind=blind).session.id
        else:
            serving.session = engine.resume(session).session.id
        ready = threading.Event()
        loop = asyncio.new_event_loop()

        def run() -> None:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(server.run(ready.set))

        thread = threading.Thread(target=run, name="serving")
        thread.start()
        try:
            assert ready.wait(HANGS)
            yield serving
        finally:
            with suppress(RuntimeError):  # it ended already
                loop.call_soon_threadsafe(server.end, "the test is over")
            thread.join(HANGS)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def serving(database: Path, models: Models) -> Iterator[Serving]:
    with served(database) as serving:
        yield serving
        models.go_on()
