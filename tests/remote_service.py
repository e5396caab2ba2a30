"""Services that run models for a pair: nnsight's local path, and a server on loopback."""

from __future__ import annotations

import adl.pair.nnsight.anyio_guard  # isort: skip  # noqa: F401 - before anything of nnsight

import io
import json
import linecache
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import torch
import zstandard
from nnsight.intervention.backends.local import LocalSimulationBackend
from nnsight.modeling import huggingface as huggingface
from nnsight.modeling.transformers import TransformersModel
from nnsight.schema.request import RequestModel
from nnsight.tracing import tracer as tracing
from transformers import AutoTokenizer


class Simulation(LocalSimulationBackend):
    """nnsight's local path, which leaves the order of the import path as it was."""

    def __call__(self, tracer: Any) -> None:
        path = list(sys.path)
        try:
            with warnings.catch_warnings():
                # Of a loop over steps, which is open-ended by design.
                warnings.simplefilter("ignore")
                super().__call__(tracer)
        finally:
            sys.path[:] = path


@dataclass
class LocalPath:
    """A service in this process; ``requests`` counts what was asked of it."""

    name: str = "ndif"
    hub_only: bool = False
    requests: int = 0

    def check(self) -> None:
        pass

    def backend(self, model: Any) -> Simulation:
        self.requests += 1
        return Simulation(model)


KEY = "ndif-9f8e7d6c5b4a3210"


@dataclass
class FakeNdif:
    """A server with NDIF's four addresses, which runs the blocks it gets on real models.

    ``hosted`` are folders of checkpoints, ``folders`` those of checkpoints by their ids. ``answer`` is
    an HTTP status that it gives to every request instead, ``fails`` the text that a job fails with; an
    ``endless`` job never ends.
    """

    hosted: tuple[Path, ...] = ()
    folders: Mapping[str, Path] = field(default_factory=dict)
    answer: int = 200
    fails: str = ""
    endless: bool = False
    url: str = ""
    port: int = 0
    """The same again when it is served again."""
    keys: list[str] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    """Bytes of each request's blocks and values."""
    sent: list[int] = field(default_factory=list)
    """Bytes of each result."""
    asked: Event = field(default_factory=Event)
    """Set once a job's state was asked for."""
    results: dict[str, bytes] = field(default_factory=dict)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: dict[str, TransformersModel] = field(default_factory=dict)
    lock: Any = field(default_factory=Lock)

    def model(self, repository: str) -> TransformersModel:
        if repository not in self.models:
            folder = str(self.folders.get(repository, repository))
            tokenizer = AutoTokenizer.from_pretrained(folder)
            self.models[repository] = TransformersModel(
                folder, task="text-generation", tokenizer=tokenizer, dispatch=True
            )
        return self.models[repository]

    def take(self, envelope: dict[str, Any], blob: bytes) -> dict[str, Any]:
        """Run a job, and return its first state."""
        self.received.append(len(blob))
        job = f"job-{len(self.received)}"
        repository = json.loads(envelope["model_key"].split(":", 1)[1])["repo_id"]
        state = {"id": job, "status": "COMPLETED", "description": ""}
        if self.endless:
            state["status"] = "RUNNING"
        elif self.fails or not (repository in self.folders or Path(repository) in self.hosted):
            state |= {"status": "ERROR", "description": self.fails or "no such deployment"}
        else:
            with self.lock:
                self.results[job] = self.run(self.model(repository), envelope, blob)
            self.sent.append(len(self.results[job]))
            state["data"] = f"{self.url}/result/{job}"
        self.states[job] = state
        return {"id": job, "status": "RECEIVED", "description": ""}

    @staticmethod
    def run(model: TransformersModel, envelope: dict[str, Any], blob: bytes) -> bytes:
        """Return what a block saves, as the service packs it."""
        model._remoteable_set_env(envelope["env"])
        objects = model._remoteable_persistent_objects()
        # The block takes the place of the file it is from, which here is the client's, too.
        lines = linecache.cache.copy()
        tracer = RequestModel.deserialize(blob, objects, envelope["compress"])
        tracing.inc()
        try:
            tracer.execute(tracer.info.code)
            saved = {
                name: value
                for name, value in tracer.info.frame.f_locals.items()
                if id(value) in tracing._saves()
            }
        finally:
            tracing.dec()
            linecache.cache.clear()
            linecache.cache.update(lines)
        packed = io.BytesIO()
        torch.save(saved, packed)
        return zstandard.ZstdCompressor().compress(packed.getvalue())


@contextmanager
def serving(service: FakeNdif) -> Iterator[FakeNdif]:
    """Serve on loopback inside."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            service.keys.append(self.headers.get("ndif-api-key", ""))
            if service.answer != 200:
                # It repeats the key, as no server should.
                self.send(service.answer, {"detail": f"refused {service.keys[-1]}"})
                return
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            parts = {
                part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
                for part in message_from_bytes(head + body).get_payload()
            }
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.send(200, service.take(json.loads(parts["data"]), parts["blob"]))

        def do_GET(self) -> None:
            kind, _, job = self.path.strip("/").partition("/")
            if kind == "status":
                known = (*map(str, service.hosted), *service.folders)
                hosted = {name: {"repo_id": name} for name in known}
                self.send(200, {"deployments": hosted})
            elif kind == "response":
                service.asked.set()
                self.send(200, service.states[job])
            else:
                self.answer(200, service.results[job])

        def send(self, status: int, content: dict[str, Any]) -> None:
            self.answer(status, json.dumps(content).encode())

        def answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", service.port), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    service.port = server.server_address[1]
    service.url = f"http://127.0.0.1:{service.port}"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
