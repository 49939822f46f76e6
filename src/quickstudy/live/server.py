"""A small server for one user on this machine: it answers to its own address and its own token, and knows no files.

What it answers is a table of names; a request that is not in it is not found, whatever its path may look like.
"""

from __future__ import annotations

import hmac
import json
import math
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from quickstudy.errors import QuickstudyError, UsageError

ADDRESS = "127.0.0.1"
MOST_BODY = 4096
"""Bytes that may be posted."""
PATIENCE = 10.0
"""Seconds after which a client that says nothing is let go."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Answer(NamedTuple):
    """What is sent back."""

    kind: str
    """Its media type."""
    parts: Iterator[str] | list[str]
    """Its text, sent part by part as they come."""
    status: int = 200


Numbers = dict[str, float]
Read = Callable[[dict[str, str]], Answer]
"""From the query of a request to its answer."""
Write = Callable[[Numbers], Answer]
"""From the finite numbers that were posted to the answer."""


class Refused(Exception):
    """A request that is not answered: the status says why."""

    def __init__(self, status: int, why: str):
        super().__init__(why)
        self.status = status


class Server:
    """Listens on 127.0.0.1 alone, on `port` or on a free one; the address, which holds the token, is `url`.

    `reads` are what may be asked for, by name, `writes` what may be posted; nothing else is answered. UsageError where the port
    is taken.
    """

    def __init__(self, reads: Mapping[str, Read], writes: Mapping[str, Write], port: int = 0):
        token = secrets.token_urlsafe(24)
        try:
            self._server = ThreadingHTTPServer((ADDRESS, port), handler(reads, writes, token))
        except OSError as error:
            raise UsageError(
                f"port {port} can't be listened on: {error.strerror}; name another, or leave out --port"
            ) from error
        self._server.daemon_threads = True
        self.url = f"http://{ADDRESS}:{self._server.server_port}/{token}/"

    def serve(self) -> None:
        """Answers until Ctrl-C, or until another thread calls `close`; what is being answered then is not waited for."""
        with self._server:
            self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        """Ends `serve`."""
        self._server.shutdown()


def handler(reads: Mapping[str, Read], writes: Mapping[str, Write], token: str) -> type[BaseHTTPRequestHandler]:
    """The class that answers one request."""

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE
        server_version, sys_version = "quickstudy", ""

        def do_GET(self) -> None:
            self._answer(lambda name, query: found(reads, name)(query))

        def do_POST(self) -> None:
            self._answer(lambda name, query: found(writes, name)(self._posted()))

        def _answer(self, answer: Callable[[str, dict[str, str]], Answer]) -> None:
            try:
                own_address(self.headers, self.server.server_port, self.command == "POST")  # type: ignore[attr-defined]
                result = answer(*asked(self.path, token))
            except Refused as refused:
                result = Answer("text/plain", [f"{refused}\n"], refused.status)
            except QuickstudyError as error:
                result = Answer("text/plain", [f"{error}\n"], 400)
            try:
                self.send_response(result.status)
                self.send_header("Content-Type", f"{result.kind}; charset=utf-8")
                for name, value in HEADERS.items():
                    self.send_header(name, value)
                self.end_headers()
                for part in result.parts:
                    self.wfile.write(part.encode())
                    self.wfile.flush()
            except (ConnectionError, TimeoutError):
                self.close_connection = True

        def _posted(self) -> Numbers:
            length = self.headers.get("Content-Length", "")
            if self.headers.get("Content-Type") != "application/json":
                raise Refused(415, "post application/json")
            if not length.isdecimal() or int(length) > MOST_BODY:
                raise Refused(413, f"post at most {MOST_BODY} bytes")
            return numbers(self.rfile.read(int(length)))

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing: the terminal shows where the page is."""

    return Handler


def own_address(headers: Any, port: int, must_say: bool) -> None:
    """Refuses requests that were sent to another name, as by DNS rebinding, or that another page had sent."""
    own = (f"{ADDRESS}:{port}", f"localhost:{port}")
    if headers.get_all("Host", []) not in [[host] for host in own]:
        raise Refused(403, "wrong host")
    origins = headers.get_all("Origin", [])
    if (origins or must_say) and origins not in [[f"http://{host}"] for host in own]:
        raise Refused(403, "wrong origin")


def asked(target: str, token: str) -> tuple[str, dict[str, str]]:
    """What is asked for, by a path that is the token and a plain name, and the query."""
    try:
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
    except ValueError:
        raise Refused(404, "not found") from None
    given, slash, name = parts.path.removeprefix("/").partition("/")
    if not target.startswith("/") or not slash or not hmac.compare_digest(given.encode(), token.encode()):
        raise Refused(404, "not found")
    return name, query


def found(table: Mapping[str, Any], name: str) -> Any:
    """What a name stands for."""
    if name not in table:
        raise Refused(404, "not found")
    return table[name]


def numbers(body: bytes) -> Numbers:
    """A JSON object of finite numbers."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "no JSON") from None
    if not isinstance(value, dict) or not all(type(each) in (int, float) for each in value.values()):
        raise Refused(400, "post an object of numbers")
    # a whole number may be too large for a float
    if not all(abs(each) < 1e300 and math.isfinite(each) for each in value.values()):
        raise Refused(400, "post finite numbers")
    return {key: float(each) for key, each in value.items()}


def serve(server: Server) -> None:
    """Says where the page is, and answers until Ctrl-C."""
    with suppress(KeyboardInterrupt):
        print(f"{server.url}  (Ctrl-C ends it)", flush=True)
        server.serve()
