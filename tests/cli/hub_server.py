"""A stand-in for the Hugging Face Hub on this machine: the few answers that fetching needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import attrs

COMMIT = "c" * 40


@attrs.define
class StandIn:
    """The stand-in, and what a test makes it do.

    Attributes:
        files: ``"ORG/NAME/path"`` -> content.
        kept_in_git: files that are not in large-file storage.
        served: what is really sent for a file, where that differs from what is announced.
        commit: of all repositories.
        listing: names that a repository's list has beside its files.
        statuses: part of a path -> the HTTP status to answer with.
        headers: replace those of an answer.
        cuts: for each GET the number of bytes after which the connection breaks; None = it does not.
        asked: the requests: method, path, Range.
    """

    files: dict[str, bytes]
    kept_in_git: set[str] = attrs.field(factory=set)
    served: dict[str, bytes] = attrs.field(factory=dict)
    commit: str = COMMIT
    listing: list[str] = attrs.field(factory=list)
    statuses: dict[str, int] = attrs.field(factory=dict)
    headers: dict[str, str] = attrs.field(factory=dict)
    cuts: list[int | None] = attrs.field(factory=list)
    asked: list[tuple[str, str, str]] = attrs.field(factory=list)
    url: str = ""

    def ranges(self) -> list[str]:
        """The ranges of the GETs of files, in order; empty for a whole one."""
        return [
            range_ for method, path, range_ in self.asked if method == "GET" and "/resolve/" in path
        ]

    def sum_of(self, name: str) -> str:
        """What the Hub calls the content."""
        content = self.files[name]
        if name in self.kept_in_git:
            return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return hashlib.sha256(content).hexdigest()


@contextmanager
def serving(hub: StandIn) -> Iterator[StandIn]:
    """Serve it while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, with_body: bool) -> None:
            path = unquote(urlsplit(self.path).path).lstrip("/")
            hub.asked.append((self.command, path, self.headers.get("Range", "")))
            status = next((code for part, code in hub.statuses.items() if part in path), None)
            if status is not None:
                self._send(status, b"", {})
            elif path.startswith("api/models/"):
                self._list(path.removeprefix("api/models/"))
            else:
                repository, _, rest = path.partition("/resolve/")
                revision, _, inner = rest.partition("/")
                self._file(f"{repository}/{inner}", revision, with_body)

        def _file(self, name: str, revision: str, with_body: bool) -> None:
            missing = "" if revision in ("main", hub.commit) else "RevisionNotFound"
            missing = missing or ("" if name in hub.files else "EntryNotFound")
            if missing:
                self._send(404, b"", {"X-Error-Code": missing})
                return
            headers = {"X-Repo-Commit": hub.commit, "ETag": f'"{hub.sum_of(name)}"'}
            if name not in hub.kept_in_git:
                headers["X-Linked-Etag"] = headers["ETag"]
                headers["X-Linked-Size"] = str(len(hub.files[name]))
            content = hub.served.get(name, hub.files[name])
            asked = self.headers.get("Range", "")
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            if asked:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            headers |= hub.headers
            self._send(206 if asked else 200, content[start:], headers, with_body)

        def _list(self, path: str) -> None:
            repository = "/".join(path.split("/")[:2])
            inside = [
                n.removeprefix(f"{repository}/") for n in hub.files if n.startswith(repository)
            ]
            entries: list[dict[str, Any]] = [
                {"type": "file", "path": name, "size": 1, "oid": "0" * 40}
                for name in [*inside, *hub.listing]
            ]
            self._send(200, json.dumps(entries).encode(), {"Content-Type": "application/json"})

        def _send(
            self, status: int, content: bytes, headers: dict[str, str], with_body: bool = True
        ) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if not with_body or self.command == "HEAD":
                return
            cut = hub.cuts.pop(0) if hub.cuts and "/resolve/" in self.path else None
            with suppress(OSError):
                self.wfile.write(content if cut is None else content[:cut])
            self.close_connection |= cut is not None

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
