"""A whole audit at NDIF by the command line: ids are looked up on a hub, blocks run by a server.

Both are on loopback.

Slow: some hundred blocks are written, sent and run, and each command loads torch.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adl.readings.registry import READINGS
from tests import fake_hub
from tests.fake_hub import COMMIT, FakeHub
from tests.remote_service import KEY, FakeNdif, serving
from tests.tiny_models import TinyFolders, write_family
from tests.workbench.cli.conftest import ROOT, environment, recorded
from workbench.store.log import SessionLog
from workbench.store.state import fold

pytestmark = pytest.mark.slow

PAIR = ("--base", "org/base", "--finetuned", "Org/Finetuned", "--remote", "ndif")
SMALL = ("--texts", "16", "--n-prompts", "1", "--tokens", "3")


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> TinyFolders:
    return write_family(tmp_path_factory.mktemp("ndif"), "llama")


@pytest.fixture(scope="module")
def folders(family: TinyFolders) -> dict[str, Path]:
    return {"org/base": family.base, "org/finetuned": family.finetuned}


@pytest.fixture
def hub(folders: dict[str, Path]) -> Iterator[FakeHub]:
    """A hub that has both, one of them under another spelling, too."""
    contents = {
        name: {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        for name, folder in folders.items()
    }
    with fake_hub.serving(FakeHub(contents, renamed={"Org/Finetuned": "org/finetuned"})) as hub:
        yield hub


@pytest.fixture
def service(folders: dict[str, Path]) -> Iterator[FakeNdif]:
    with serving(FakeNdif(folders=folders)) as service:
        yield service


class Commands:
    """The command line with that hub and that service."""

    def __init__(self, hub: FakeHub, service: FakeNdif, home: Path, database: Path) -> None:
        self.database = database
        self.environment = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "NDIF_HOST": service.url,
            "NDIF_API_KEY": KEY,
            "OMP_NUM_THREADS": "1",
        }

    def __call__(self, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        with subprocess.Popen(
            [sys.executable, "-m", "tests.workbench.cli.ndif_cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(**self.environment | changed),
        ) as self.process:
            out, err = self.process.communicate()
        done = subprocess.CompletedProcess(arguments, self.process.returncode, out, err)
        assert "Traceback" not in done.stderr, done.stderr
        assert KEY not in done.stdout + done.stderr
        for path in self.database.parent.glob(f"{self.database.name}*"):
            assert KEY.encode() not in path.read_bytes()
        return done


@pytest.fixture
def commands(hub: FakeHub, service: FakeNdif, tmp_path: Path, database: Path) -> Commands:
    return Commands(hub, service, tmp_path / "hub", database)


def data(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def verified(database: Path) -> list[Any]:
    """The events, of a log that verifies."""
    with SessionLog.open(database, read_only=True) as log:
        assert log.verify().ok
        is_begun = bool(log.sessions())
    return recorded(database) if is_begun else []


@pytest.mark.parametrize(
    ("after", "answer", "words"),
    [
        (0, 401, "refuses the key (HTTP 401)"),
        (20, 403, "refuses the key (HTTP 403)"),
        (20, 503, "answers HTTP 503"),
    ],
    ids=["no right to it", "key revoked in between", "down in between"],
)
def test_a_service_that_fails(
    commands: Commands, service: FakeNdif, database: Path, monkeypatch, after, answer, words
):
    take = service.take

    def failing(envelope: dict[str, Any], blob: bytes) -> dict[str, Any]:
        if len(service.received) >= after:
            service.answer = answer
        return take(envelope, blob)

    service.answer = 200 if after else answer
    monkeypatch.setattr(service, "take", failing)
    done = commands("audit", *PAIR, *SMALL, "--json")
    assert done.returncode == 1, done.stderr
    assert words in done.stderr
    assert service.url in done.stderr
    events = verified(database)
    if not after:
        # A pair that cannot be loaded leaves no session.
        assert events == []
        return
    assert (events[-1].body.kind, events[-1].body.outcome) == ("session_closed", "failed")
    assert words in events[-1].body.reason
    # What came before stays, and the audit goes on in it.
    assert "pair_loaded" in {event.body.kind for event in events}


def test_a_whole_audit_that_was_cut_off_goes_on_in_its_session(
    commands: Commands, hub: FakeHub, service: FakeNdif, database: Path, monkeypatch
):
    """First the service goes down amid the readings, then the command is killed amid them."""
    take, reads = service.take, 0

    def cutting(envelope: dict[str, Any], blob: bytes) -> dict[str, Any]:
        with SessionLog.open(database, read_only=True) as log:
            taken = len(log.everywhere(["reading_taken"]))
        if taken > reads:
            service.answer = 503
            if reads:
                commands.process.kill()
        return take(envelope, blob)

    monkeypatch.setattr(service, "take", cutting)
    assert commands("audit", *PAIR, *SMALL).returncode == 1
    went_down = verified(database)
    reads = [event.body.kind for event in went_down].count("reading_taken")
    service.answer = 200
    again = ("audit", "--session", "last", *SMALL)
    assert commands(*again).returncode == -signal.SIGKILL
    was_killed = verified(database)
    monkeypatch.setattr(service, "take", take)
    service.answer = 200

    found = data(commands(*again, "--json"))
    events = verified(database)
    assert events[: len(was_killed)] == was_killed
    after = events[len(was_killed) :]
    assert was_killed[: len(went_down)] == went_down
    assert found["session"] == events[0].session_id
    assert {reading["reading"] for reading in found["readings"]} == set(READINGS)
    assert found["failed_readings"] == []
    assert found["texts"]
    # No weights are here: each time it was loaded there, though nothing but the session named it.
    loads = [event.body.pair for event in events if event.body.kind == "pair_loaded"]
    assert [loaded["devices"] for loaded in loads] == [["ndif"]] * 3
    assert {loaded["base"]["resolved_revision"] for loaded in loads} == {COMMIT}
    # No weights were fetched, and both were asked for by the hub's own spelling.
    assert not [name for name in hub.fetched if name.endswith((".safetensors", ".bin"))]
    assert set(service.models) == {"org/base", "org/finetuned"}
    assert set(service.keys) == {KEY}
    # It was measured once.
    measured = [event.body for event in events if event.body.kind == "difference_measured"]
    assert [body.from_cache for body in measured] == [False, True, True]
    assert (events[-1].body.kind, events[-1].body.outcome) == ("session_closed", "completed")
    assert not [one.body.kind for one in after if one.body.kind.endswith("_failed")]
    assert "running" not in {made.status for made in fold(events).operations.values()}
    assert data(commands("ask", "Hi", "--session", "last", "--tokens", "3", "--json"))
    verified(database)


def test_an_unreachable_service_and_no_key(commands: Commands, service: FakeNdif, database: Path):
    away = commands("audit", *PAIR, *SMALL, NDIF_HOST="http://127.0.0.1:9")
    assert away.returncode == 1
    assert "does not answer" in away.stderr
    assert "NDIF_HOST" in away.stderr
    service.answer = 401
    nobody = commands("audit", *PAIR, *SMALL, NDIF_API_KEY="")
    assert nobody.returncode == 1
    assert "asks for a key, and none is set" in nobody.stderr
    assert verified(database) == []


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("--base", "org/nonesuch", "--finetuned", "org/finetuned"), "org/nonesuch"),
        (("--base", "org/base", "--finetuned", "."), "is a folder of this machine"),
        (("--base", "org/base", "--adapter", "org/nonesuch"), "org/nonesuch"),
    ],
    ids=["no such id", "a folder", "no such adapter"],
)
def test_ids_that_the_hub_does_not_have(
    commands: Commands, service: FakeNdif, database: Path, names, words
):
    done = commands("audit", *names, "--remote", "ndif", *SMALL)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert verified(database) == []
    assert service.received == []
