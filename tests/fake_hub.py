"""A hub on loopback: the few requests of huggingface_hub that a download makes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """What it serves, by repository and file, and what was asked of it."""

    repositories: Mapping[str, Mapping[str, bytes]]
    url: str = ""
    fetched: list[str] = field(default_factory=list)
    """Files of which the content was sent, in order."""
    gated: frozenset[str] = frozenset()
    busy: frozenset[str] = frozenset()
    """Ids for which too much is asked."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Ids by other spellings of them, which the hub takes as well."""


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            first = 2 if parts[:2] == ["api", "models"] else 0
            asked = "/".join(parts[first : first + 2])
            parts[first : first + 2] = hub.renamed.get(asked, asked).split("/")
            if parts[:2] == ["api", "models"]:
                self.send_model("/".join(parts[2:4]), parts[4:])
            else:
                self.send_resolved("/".join(parts[:2]), "/".join(parts[4:]), body=body)

        def send_model(self, repository: str, rest: list[str]) -> None:
            files = hub.repositories.get(repository)
            if files is None:
                self.refuse(404, "RepoNotFound")
            elif repository in hub.busy:
                self.refuse(429, "TooManyRequests")
            elif repository in hub.gated:
                self.refuse(403, "GatedRepo")
            elif rest[:1] == ["revision"] and rest[1] not in ("main", COMMIT):
                self.refuse(404, "RevisionNotFound")
            elif rest[:1] == ["tree"]:
                listed = [
                    {"type": "file", "path": name, "size": len(content), "oid": f"{hash(name):x}"}
                    for name, content in files.items()
                ]
                self.send(200, json.dumps(listed).encode(), {})
            else:
                siblings = [
                    {"rfilename": name, "size": len(content)} for name, content in files.items()
                ]
                found = {"id": repository, "sha": COMMIT, "siblings": siblings}
                self.send(200, json.dumps(found).encode(), {})

        def send_resolved(self, repository: str, name: str, *, body: bool) -> None:
            content = hub.repositories.get(repository, {}).get(name)
            if content is None:
                self.refuse(404, "EntryNotFound")
                return
            if body:
                hub.fetched.append(name)
            headers = {
                "ETag": f'"{sha256(name.encode() + content).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
            }
            self.send(200, content, headers, body=body)

        def refuse(self, status: int, code: str) -> None:
            self.send(status, b"{}", {"X-Error-Code": code})

        def send(
            self, status: int, content: bytes, headers: Mapping[str, str], *, body: bool = True
        ) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
