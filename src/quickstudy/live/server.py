"""A small server for one user on this machine: it answers to its own address and its own token, and knows no files.

What it answers is a table of names; a request that is not in it is not found, whatever its path may look like. The address that
is printed holds the token; who opens it gets a cookie, and goes on without.
"""

from __future__ import annotations

import errno
import hmac
import io
import json
import math
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Lock
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from quickstudy.errors import QuickstudyError, UsageError, shorten
from quickstudy.printed import say, tell

ADDRESS = "127.0.0.1"
MOST_BODY = 4096
"""Bytes that may be posted."""
MOST_ASKED = 2**15
"""Bytes of a whole request."""
MOST_CLIENTS = 16
"""Connections at a time, each of them a thread."""
PATIENCE = 10.0
"""Seconds after which a client that has not asked yet is let go, however much it says meanwhile."""
SENDING = 60.0
"""Seconds that an answer may wait for a client to read it, in all."""
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
    headers: Mapping[str, str] = {}
    """Those of this answer alone."""


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


class Asked(io.RawIOBase):
    """What a client asks, read from its connection: all of it within a time and a size, however slowly it comes."""

    def __init__(self, connection: socket.socket):
        self._connection, self._until, self._left = connection, time.monotonic() + PATIENCE, MOST_ASKED

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        seconds = self._until - time.monotonic()
        if seconds <= 0 or not self._left:
            raise TimeoutError
        self._connection.settimeout(seconds)
        size = self._connection.recv_into(memoryview(buffer)[: self._left])
        self._left -= size
        return size


class Listener(ThreadingHTTPServer):
    """Takes connections, a thread each, but no more than so many: for one more, who has asked nothing for longest goes."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler]):
        self._places, self._lock = BoundedSemaphore(MOST_CLIENTS), Lock()
        self._asking: dict[socket.socket, None] = {}
        """The connections that have shown no right to be here, oldest first."""
        self._reserve = os.open(os.devnull, os.O_RDONLY)
        super().__init__((ADDRESS, port), handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                # a connection that can't be taken would be offered again at once, forever
                os.close(self._reserve)
                with suppress(OSError):
                    self.socket.accept()[0].close()
                self._reserve = os.open(os.devnull, os.O_RDONLY)
                time.sleep(0.05)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            with self._lock:
                oldest = next(iter(self._asking), None)
                if oldest is not None:
                    del self._asking[oldest]
                    with suppress(OSError):
                        oldest.shutdown(socket.SHUT_RDWR)
            if not self._places.acquire(timeout=0.5):
                self.shutdown_request(request)
                return
        with self._lock:
            self._asking[request] = None
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be started
            self._left(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._left(request)

    def _left(self, request: Any) -> None:
        self.let_in(request)
        self._places.release()

    def let_in(self, request: Any) -> None:
        """A connection has shown that it may be here: it won't have to make place."""
        with self._lock:
            self._asking.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever leaves, or talks nonsense, is no concern of the one whose terminal this is; what else fails is a line."""
        error = sys.exception()
        if not isinstance(error, OSError):
            say(f"error: while a page was answered: {type(error).__name__}: {error}")

    def server_close(self) -> None:
        super().server_close()
        os.close(self._reserve)


class Server:
    """Listens on 127.0.0.1 alone, on `port` or on a free one; the address, which holds the token, is `url`.

    `reads` are what may be asked for, by name, `writes` what may be posted; nothing else is answered. UsageError where the port
    is taken.
    """

    def __init__(self, reads: Mapping[str, Read], writes: Mapping[str, Write], port: int = 0):
        token = secrets.token_urlsafe(24)
        try:
            self._server = Listener(port, handler(reads, writes, token))
        except OSError as error:
            raise UsageError(
                f"port {port} can't be listened on: {error.strerror}; name another, or leave out --port"
            ) from error
        self.origin = f"http://{ADDRESS}:{self._server.server_port}"
        self.url = f"{self.origin}/{token}/"

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
        server: Listener  # pyright: ignore[reportIncompatibleVariableOverride]
        server_version, sys_version = "quickstudy", ""

        def setup(self) -> None:
            super().setup()
            self.rfile.close()
            self.rfile = io.BufferedReader(Asked(self.connection))
            self._seconds = SENDING

        def do_GET(self) -> None:
            self._answer(lambda name, query: found(reads, name)(query))

        def do_POST(self) -> None:
            self._answer(lambda name, query: found(writes, name)(self._posted()))

        def _answer(self, answer: Callable[[str, dict[str, str]], Answer]) -> None:
            port = self.server.server_port
            try:
                own_address(self.headers, port, self.command == "POST")
                name, query = asked(self.path)
                if self.command == "GET" and same(name, f"{token}/"):
                    # the token leaves the address: history, screenshots and what is copied have it no more
                    result = Answer("text/plain", ["see /\n"], 303, {"Location": "/", "Set-Cookie": cookie(port, token)})
                else:
                    require_cookie(self.headers, port, token)
                    self.server.let_in(self.connection)
                    result = answer(name, query)
            except Refused as refused:
                result = Answer("text/plain", [f"{refused}\n"], refused.status)
            except QuickstudyError as error:
                result = Answer("text/plain", [f"{error}\n"], 400)
            except (ConnectionError, TimeoutError):
                return
            except OSError as error:
                result = Answer("text/plain", [f"{error.filename or 'a file'}: {error.strerror}\n"], 500)
            except Exception as error:
                say(f"error: {self.command} {shorten(self.path)}: {type(error).__name__}: {error}")
                result = Answer("text/plain", ["the server's own fault: its terminal says more\n"], 500)
            self._send(result)

        def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
            """What is no request, or asks for what nobody can do here."""
            self._send(Answer("text/plain", [f"{message or self.responses[code][0]}\n"], code))

        def _send(self, result: Answer) -> None:
            self.send_response(result.status)
            self.send_header("Content-Type", f"{result.kind}; charset=utf-8")
            for name, value in {**HEADERS, **result.headers}.items():
                self.send_header(name, value)
            with suppress(ConnectionError, TimeoutError):
                self.end_headers()
                for part in result.parts:
                    self._write(part.encode())

        def flush_headers(self) -> None:
            lines, self._headers_buffer = b"".join(getattr(self, "_headers_buffer", [])), []
            self._write(lines)

        def _write(self, content: bytes) -> None:
            """Sends bytes; what a client takes too long to read is given up."""
            before = time.monotonic()
            self.connection.settimeout(max(self._seconds, 1e-3))
            self.connection.sendall(content)
            self._seconds -= time.monotonic() - before

        def _posted(self) -> Numbers:
            lengths = self.headers.get_all("Content-Length", [])
            if self.headers.get("Content-Type") != "application/json":
                raise Refused(415, "post application/json")
            if [length for length in lengths if not re.fullmatch("[0-9]{1,9}", length)] or len(lengths) != 1:
                raise Refused(413, f"post at most {MOST_BODY} bytes")
            if int(lengths[0]) > MOST_BODY or "Transfer-Encoding" in self.headers:
                raise Refused(413, f"post at most {MOST_BODY} bytes")
            return numbers(self.rfile.read(int(lengths[0])))

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing: the terminal shows where the page is."""

    return Handler


def cookie_name(port: int) -> str:
    """What the cookie of a server is called: cookies know no ports, and several servers have one each."""
    return f"quickstudy-{port}"


def cookie(port: int, token: str) -> str:
    """The cookie of whoever has opened the address that was printed, until the browser is closed."""
    return f"{cookie_name(port)}={token}; Path=/; HttpOnly; SameSite=Strict"


def require_cookie(headers: Any, port: int, token: str) -> None:
    """Refuses requests without the cookie."""
    pairs = [pair.strip().partition("=") for line in headers.get_all("Cookie", []) for pair in line.split(";")]
    if not any(name == cookie_name(port) and same(value, token) for name, _, value in pairs):
        raise Refused(403, "open the address that the command has printed")


def same(given: str, secret: str) -> bool:
    """Whether a text is the secret, in a time that says nothing about it."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode())


def own_address(headers: Any, port: int, must_say: bool) -> None:
    """Refuses requests that were sent to another name, as by DNS rebinding, or that another page had sent."""
    own = (f"{ADDRESS}:{port}", f"localhost:{port}")
    if headers.get_all("Host", []) not in [[host] for host in own]:
        raise Refused(403, "wrong host")
    origins = headers.get_all("Origin", [])
    if (origins or must_say) and origins not in [[f"http://{host}"] for host in own]:
        raise Refused(403, "wrong origin")


def asked(target: str) -> tuple[str, dict[str, str]]:
    """What is asked for, by a path that is a plain name, and the query."""
    try:
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query, max_num_fields=16).items()}
    except ValueError:
        raise Refused(404, "not found") from None
    if not target.startswith("/") or target.startswith("//"):
        raise Refused(404, "not found")
    return parts.path.removeprefix("/"), query


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
        tell(f"{server.url}  (Ctrl-C ends it)")
        server.serve()
