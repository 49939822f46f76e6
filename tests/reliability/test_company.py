"""Hostile company for the small server: malformed requests, and clients that stay. It goes on answering the one who may ask."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import Share

from quickstudy.live import server as module
from quickstudy.live.server import MOST_CLIENTS, Answer, Server

METHODS = ["GET", "POST", "PUT", "HEAD", "get", "", "\x00", "G" * 70_000, "GET GET", "é", "PRI", "CONNECT"]
TARGETS = [
    "/",
    "//",
    "/figures",
    "*",
    "",
    "http://x/",
    "/" + "a" * 70_000,
    "/\x00",
    "/é",
    "/%",
    "/?" + "a=1&" * 5000,
    "/[",
    "//[x",
]
VERSIONS = ["HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9999999999.1", "HTTP/x", "http/1.1", "", "HTTP/1.1 x"]
NAMES = [
    "Host",
    "Origin",
    "Cookie",
    "Content-Length",
    "Content-Type",
    "Transfer-Encoding",
    "Connection",
    "Expect",
    "X",
    "",
    "é",
]
VALUES = [
    "",
    "x",
    "9" * 5000,
    "-1",
    "1e400",
    "chunked",
    "keep-alive",
    "100-continue",
    "\x00",
    "é" * 100,
    "a" * 70_000,
    ";" * 5000,
]
BODIES = [
    b"",
    b"{}",
    b"\x00" * 100,
    b"[" * 5000,
    b"5\r\nhello\r\n0\r\n\r\n",
    b'{"x": ' + b"9" * 5000 + b"}",
    b"GET / HTTP/1.1\r\n\r\n",
]
GOOD = "/", "HTTP/1.1"


def request(chance: random.Random, url: str, cookie: str) -> bytes:
    """A request of which something is wrong: a good one, with one part or several replaced by nonsense."""
    place = urlsplit(url).netloc
    kind = chance.choice(["method", "target", "version", "header", "headers", "body", "ends", "pipelined", "noise", "cut"])
    method, (target, version), body = chance.choice(["GET", "POST"]), GOOD, chance.choice(BODIES)
    headers = [("Host", place), ("Origin", f"http://{place}"), ("Cookie", cookie), ("Content-Type", "application/json")]
    headers.append(("Content-Length", str(len(body))))
    if kind == "method":
        method = chance.choice(METHODS)
    elif kind == "target":
        target = chance.choice(TARGETS)
    elif kind == "version":
        version = chance.choice(VERSIONS)
    elif kind == "header":
        number = chance.randrange(len(headers))
        headers[number] = headers[number][0], chance.choice(VALUES)
    elif kind == "headers":
        headers += [(chance.choice(NAMES), chance.choice(VALUES)) for _ in range(chance.choice([1, 3, 200]))]
    elif kind == "body":
        headers[-1] = "Content-Length", chance.choice(["0", "1", "4096", "4097", "9" * 5000, "9" * 20])
    end = chance.choice(["\n", "\r", "\r\n\t", "\x00"]) if kind == "ends" else "\r\n"
    lines = [f"{method} {target} {version}", *(f"{name}: {value}" for name, value in headers)]
    whole = (end.join(lines) + 2 * end).encode("utf-8", "surrogateescape") + body
    if kind == "pipelined":
        return whole * 50
    if kind == "noise":
        return chance.randbytes(chance.choice([1, 100, 40_000]))
    return whole[: chance.randrange(len(whole))] if kind == "cut" else whole


class Company:
    """A server with a page, its cookie, and what it has left open at most."""

    def __init__(self) -> None:
        page = "x" * 4_000_000
        self.server = Server(
            {"": lambda query: Answer("text/html", ["page"]), "long": lambda query: Answer("text/plain", [page] * 10)},
            {"trial": lambda given: Answer("application/json", ["taken"])},
        )
        self.place = urlsplit(self.server.url).hostname, urlsplit(self.server.url).port
        self.threads, self.files = threading.active_count(), open_files()
        self.thread = threading.Thread(target=self.server.serve, daemon=True)
        self.thread.start()
        self.cookie = self.ask(urlsplit(self.server.url).path, "").split("Set-Cookie: ")[1].split(";")[0]

    def connect(self) -> socket.socket:
        return socket.create_connection(self.place, timeout=10)

    def head(self, target: str, cookie: str) -> bytes:
        return f"GET {target} HTTP/1.1\r\nHost: {self.place[0]}:{self.place[1]}\r\nCookie: {cookie}\r\n\r\n".encode()

    def ask(self, target: str, cookie: str) -> str:
        with self.connect() as connection:
            connection.sendall(self.head(target, cookie))
            answer = b""
            while part := connection.recv(65536):
                answer += part
        return answer.decode()

    def require_well(self) -> None:
        """The one who may ask is answered within five seconds; threads and files are few."""
        began = time.monotonic()
        assert self.ask("/", self.cookie).endswith("page")
        assert time.monotonic() - began < 5
        assert threading.active_count() - self.threads <= MOST_CLIENTS + 2


@pytest.fixture
def company() -> Iterator[Company]:
    made = Company()
    yield made
    made.server.close()
    made.thread.join(10)
    assert not made.thread.is_alive()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0


def test_malformed_requests(company: Company, share: Share, capsys: pytest.CaptureFixture[str]):
    chance, count = random.Random(0), share.of(200, 60)
    for number in range(count):
        with company.connect() as connection:
            connection.settimeout(0.05)
            try:
                connection.sendall(request(chance, company.server.url, company.cookie))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            except OSError:
                pass
        if number % 20 == 0:
            company.require_well()
    company.require_well()
    assert capsys.readouterr() == ("", "")
    share.says("malformed requests", count, "the next one is answered within 5 s, nothing on the terminal")


def slowly(company: Company, connection: socket.socket) -> None:
    """A byte of the head at a time."""
    connection.sendall(b"G")


def silent(company: Company, connection: socket.socket) -> None:
    """Nothing at all."""


def half_closed(company: Company, connection: socket.socket) -> None:
    """The end of a request that never began."""
    connection.shutdown(socket.SHUT_WR)


def reset(company: Company, connection: socket.socket) -> None:
    """A connection that is broken off in the middle."""
    connection.sendall(b"GET / HT")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def without_end(company: Company, connection: socket.socket) -> None:
    """One header after another."""
    connection.sendall(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100)


def body_to_come(company: Company, connection: socket.socket) -> None:
    """A body that is announced and doesn't come."""
    place = urlsplit(company.server.url).netloc
    head = f"POST /trial HTTP/1.1\r\nHost: {place}\r\nOrigin: http://{place}\r\nCookie: {company.cookie}x\r\n"
    connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 4000\r\n\r\n{{".encode())


STUBBORN: list[Callable[[Company, socket.socket], None]] = [slowly, silent, half_closed, reset, without_end, body_to_come]


def test_stubborn_clients(company: Company, share: Share, capsys: pytest.CaptureFixture[str]):
    """Each keeps ten connections, and begins anew when they are closed."""
    count, over = 20, threading.Event()

    def stay(what: Callable[[Company, socket.socket], None]) -> None:
        while not over.is_set():
            with ExitStack() as stack:
                try:
                    held = [stack.enter_context(company.connect()) for _ in range(10)]
                    for _ in range(3):
                        for connection in held:
                            what(company, connection)
                        over.wait(0.05)
                except OSError:
                    over.wait(0.01)

    clients = [threading.Thread(target=stay, args=(STUBBORN[number % len(STUBBORN)],)) for number in range(count)]
    company.threads += count
    for client in clients:
        client.start()
    try:
        for _ in range(share.of(30, 6)):
            company.require_well()
            assert open_files() - company.files <= 2 * 10 * count + MOST_CLIENTS + 20
            time.sleep(0.1)
    finally:
        over.set()
        for client in clients:
            client.join(20)
    assert capsys.readouterr() == ("", "")
    share.says("stubborn clients", count, f"others are answered within 5 s, at most {MOST_CLIENTS} connections and threads")


def test_a_client_that_never_reads_is_given_up(company: Company, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SENDING", 0.5)
    connections = [company.connect() for _ in range(MOST_CLIENTS - 1)]
    for connection in connections:
        connection.sendall(company.head("/long", company.cookie))
    company.require_well()
    time.sleep(1.5)
    assert threading.active_count() - company.threads <= 2
    for connection in connections:
        connection.close()


def test_a_request_has_one_deadline_however_it_trickles(company: Company, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    with company.connect() as connection:
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - began < 5:
                connection.sendall(b"G")
                time.sleep(0.05)
    assert time.monotonic() - began < 3


def test_where_no_descriptor_is_left_it_waits_and_goes_on(company: Company):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    waiting = [socket.socket() for _ in range(5)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, limits[1]))
    held, sent_away = [], 0
    try:
        with pytest.raises(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        for each in waiting:
            each.settimeout(5)
            each.connect(company.place)
            each.sendall(company.head("/", company.cookie))
            try:
                sent_away += not each.recv(1)
            except ConnectionError:
                sent_away += 1
        assert sent_away
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in held:
            os.close(descriptor)
        for each in waiting:
            each.close()
    company.require_well()
