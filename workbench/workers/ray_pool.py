"""Workers that are Ray actors: one per GPU, or a few where there are none.

Keys reach them by the environment and the settings file of the machine they run on, never through
Ray: it writes arguments and `runtime_env` into its own logs.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from adl.errors import first_line
from workbench.workers.places import Places, places
from workbench.workers.units import Delivery, Ended, Unit, WorkersError, Workshop

#: Seconds in which a cluster has to answer, first its port and then Ray itself.
PORT_SECONDS, ANSWER_SECONDS = 10.0, 60.0
#: Sessions pass through Ray's store one by one.
STORE_BYTES = 256 * 2**20
#: Starts of workers that may fail in a row before none is tried any more.
_FAILED_STARTS = 3
_SILENT_SECONDS = 30.0
# Paths of sockets have 107 bytes, and Ray adds some 80 to that of its folder.
_LONGEST_FOLDER = 20
_PROBE = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False)"


@contextmanager
def ray_pool(
    address: str, workers: int | None, most: int, say: Callable[[str], None]
) -> Iterator[RayPool]:
    """Workers of the Ray cluster at an address, or of one started here for ``auto``.

    ``workers`` is how many, None for what the machines have room for, and never more than ``most``.
    Ended, however the block ends. Raises ``WorkersError``.
    """
    # Ray tells of dead workers on stdout, where data goes, and is not to be talked out of it.
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
        _connected(address) as folder,
    ):
        pool = RayPool(_places(workers, most), folder, say)
        try:
            say(f"{pool.size} workers of Ray, {address}")
            yield pool
        finally:
            pool.close()


@contextmanager
def _connected(address: str) -> Iterator[Path | None]:
    """Ray, connected; yields a folder for the workers, None where they are on other machines."""
    # Ray reports to its makers otherwise.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    folder = None
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "CRITICAL"}
    if address == "auto":
        folder = _short_folder()
        options |= {
            "address": "local",
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
            "_temp_dir": str(folder),
        }
    else:
        check_address(address)
        options["address"] = address
    try:
        with _own_signals():
            try:
                ray.init(**options)
            except (RayError, OSError, RuntimeError, ValueError, ConnectionError) as exc:
                raise WorkersError(
                    f"Ray does not start ({address}): {first_line(exc)}", "See the logs of Ray."
                ) from exc
        yield folder
    finally:
        with _own_signals():
            ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what listens for signals: Ray puts an exit in its place."""
    watched = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in watched}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_address(address: str) -> None:
    """Refuse an address at which no Ray cluster answers in time. Raises ``WorkersError``."""
    hint = "Check it with `ray status --address`, or give --ray auto, which starts Ray here."
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PORT_SECONDS).close()
    except (OSError, OverflowError) as exc:
        raise WorkersError(f"--ray {address}: nothing answers there: {exc}", hint) from exc
    # In a process of its own: Ray waits for minutes, and then ends the process it is in.
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise WorkersError(
            f"--ray {address}: no Ray cluster answers there within {ANSWER_SECONDS:.0f} seconds",
            hint,
        ) from None
    if b"AuthenticationError" in done.stderr:
        raise WorkersError(
            f"--ray {address}: the cluster does not let this process in",
            "Set RAY_AUTH_MODE and RAY_AUTH_TOKEN here as they are there.",
        )
    if done.returncode:
        raise WorkersError(
            f"--ray {address}: it is no Ray cluster that Ray {version('ray')} can join", hint
        )


def _places(workers: int | None, most: int) -> Places:
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [node.get("CPU", 0.0) for node in resources]
    gpus = int(sum(node.get("GPU", 0.0) for node in resources))
    return places(workers, most, cpus, gpus)


class _Worker:
    """A worker process: a unit at a time, in one thread, and the wish to stop in another."""

    def __init__(self, folder: str | None) -> None:
        self._stop = threading.Event()
        self._folder = tempfile.TemporaryDirectory(prefix="adl-worker-", dir=folder)
        # Temporary files of what it runs, too: whoever clears up after a kill finds all in one place.
        tempfile.tempdir = self._folder.name
        self._shop = Workshop(Path(self._folder.name))

    def version(self) -> str:
        return version("adl-workbench")

    def do(self, unit: Unit, *sessions: bytes) -> Delivery:
        return self._shop.do(unit, sessions, self._stop.is_set)

    def stop(self) -> None:
        self._stop.set()

    def end(self) -> None:
        self._shop.close()
        self._folder.cleanup()


@dataclass
class _Known:
    """A worker as seen from here; ``awaited`` is its start, then its unit."""

    actor: Any
    awaited: Any
    is_ready: bool = False
    has_unit: bool = field(default=False)


class RayPool:
    """Actors of the cluster that this process is connected to; a dead one is replaced."""

    def __init__(self, where: Places, folder: Path | None, say: Callable[[str], None]) -> None:
        self.size = where.n
        self._folder = str(folder) if folder else None
        self._say = say
        self._numbers = 0
        self._failed_starts = 0
        self._silent_since: float | None = time.monotonic()
        # A unit whose worker died is begun again by whoever gave it, and not by Ray.
        self._make = ray.remote(_Worker).options(
            num_cpus=where.cpus,
            num_gpus=where.gpus,
            max_concurrency=2,
            max_restarts=0,
            max_task_retries=0,
        )
        self._workers: dict[int, _Known] = {}
        for _ in range(where.n):
            self._add()

    def idle(self) -> list[int]:
        """Numbers of the workers that wait for a unit."""
        return [n for n, known in self._workers.items() if known.is_ready and not known.has_unit]

    def give(self, worker: int, unit: Unit, sessions: Sequence[bytes]) -> None:
        """Have a worker do a unit."""
        known = self._workers[worker]
        known.awaited = known.actor.do.remote(unit, *map(ray.put, sessions))
        known.has_unit = True

    def wait(self, seconds: float) -> list[Ended]:
        """Wait for workers that end or start; returns those that end."""
        awaited = {known.awaited: n for n, known in self._workers.items() if known.awaited}
        if not awaited:
            return []
        ray.wait(list(awaited), timeout=seconds)
        ready, _ = ray.wait(list(awaited), num_returns=len(awaited), timeout=0)
        self._note_silence()
        return [ended for ref in ready if (ended := self._end(awaited[ref])) is not None]

    def stop(self) -> None:
        """Ask every worker to stop; those that only start are of no use any more."""
        for known in self._workers.values():
            known.actor.stop.remote()

    def close(self) -> None:
        """End every worker."""
        workers, self._workers = self._workers, {}
        ends = [known.actor.end.remote() for known in workers.values() if not known.has_unit]
        with suppress(RayError):
            ray.wait(ends, num_returns=len(ends), timeout=PORT_SECONDS) if ends else None
        for known in workers.values():
            with suppress(RayError):
                ray.kill(known.actor)

    def _add(self) -> None:
        self._numbers += 1
        actor = self._make.remote(self._folder)
        self._workers[self._numbers] = _Known(actor, actor.version.remote())

    def _end(self, worker: int) -> Ended | None:
        known = self._workers[worker]
        awaited, known.awaited = known.awaited, None
        try:
            found = ray.get(awaited)
        except RayActorError as exc:
            # One that only cannot be reached is of no use either.
            ray.kill(self._workers.pop(worker).actor)
            if not known.has_unit:
                self._failed_start(exc)
            self._add()
            return Ended(worker, None) if known.has_unit else None
        except RayError as exc:
            # Not the unit's own errors, which are delivered: what came could not be read.
            known.has_unit = False
            return Ended(worker, Delivery(None, b"", _reason(exc)))
        if known.has_unit:
            known.has_unit = False
            return Ended(worker, found)
        self._check_version(found)
        known.is_ready = True
        self._failed_starts, self._silent_since = 0, None
        return None

    def _failed_start(self, exc: RayError) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _FAILED_STARTS:
            raise WorkersError(
                f"no worker starts: {_reason(exc)}",
                f"Install adl-workbench {version('adl-workbench')} on every machine of the cluster.",
            ) from exc

    def _check_version(self, found: str) -> None:
        own = version("adl-workbench")
        if found != own:
            raise WorkersError(
                f"a worker has adl-workbench {found}, and this is {own}",
                "Install the same version on every machine of the cluster.",
            )

    def _note_silence(self) -> None:
        since = self._silent_since
        if since is not None and time.monotonic() - since > _SILENT_SECONDS:
            self._silent_since = None
            self._say("no worker has started yet; the cluster may have no room")


def _reason(exc: RayError) -> str:
    """The last line of an error of Ray, which is the cause; the first is about Ray."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return lines[-1] if lines else type(exc).__name__


def _short_folder() -> Path:
    """A folder of Ray's own, whose path is short enough for its sockets."""
    usual = tempfile.gettempdir()
    short = usual if len(usual) <= _LONGEST_FOLDER else "/tmp"
    return Path(tempfile.mkdtemp(prefix="adl-ray-", dir=short))
