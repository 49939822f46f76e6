"""Servers that answer in a thread, and their pages in a real browser."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from quickstudy.live.server import Server

VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """A server that answers in the background."""
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(10)


@contextmanager
def looking(
    browser: Any, server: Server, width: int = 1440, theme: str = "light", language: str = "en", **options: Any
) -> Iterator[tuple[Any, list[str]]]:
    """A server's page, and the list of what went wrong: requests elsewhere, console messages, policy violations."""
    wrong: list[str] = []
    looks: dict[str, Any] = {"viewport": {"width": width, "height": 900}, "color_scheme": theme, "locale": language}
    context = browser.new_context(**looks, **options)
    context.set_default_timeout(180_000)
    page = context.new_page()
    page.add_init_script(VIOLATIONS)
    page.on(
        "request",
        lambda request: None if request.url.startswith(f"{server.origin}/") else wrong.append(f"request {request.url}"),
    )
    page.on("console", lambda message: wrong.append(f"console {message.type}: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error {error}"))
    page.goto(server.url)
    assert page.url == f"{server.origin}/"  # without the token
    yield page, wrong
    wrong += [f"violation {violation}" for violation in page.evaluate("window.violations")]
    context.close()


def until(page: Any, expression: str, arg: Any = None) -> None:
    """Waits until something holds on a page, asking from outside: the page's policy allows no text to be run inside."""
    deadline = time.monotonic() + 180
    while not page.evaluate(expression, arg):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(30)


def cookie(server: Server) -> str:
    """What the browser has of a server after its address was opened."""
    url = urlsplit(server.url)
    status, answer = asked(server, f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode())
    assert status == 303 and b"\r\nLocation: /\r\n" in answer
    return answer.split(b"Set-Cookie: ")[1].split(b";")[0].decode()


def asked(server: Server, request: bytes) -> tuple[int, bytes]:
    """The status and the whole of what a server answers to these bytes."""
    port = urlsplit(server.url).port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return int(answer.split(b" ", 2)[1]), answer
