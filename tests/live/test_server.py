"""The server answers its own page, with its token, and nothing else: it knows no files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from served import asked, cookie, serving

from quickstudy.cli import main
from quickstudy.errors import UsageError
from quickstudy.live.server import MOST_BODY, Answer, Server

SECRET = "the secret of this machine"
TRAVERSALS = [
    "../secret.txt",
    "../../secret.txt",
    "../../../../../../etc/passwd",
    "..%2fsecret.txt",
    "..%2Fsecret.txt",
    "%2e%2e/secret.txt",
    "%2e%2e%2fsecret.txt",
    "%252e%252e%252fsecret.txt",
    "..%5csecret.txt",
    "..\\secret.txt",
    "....//secret.txt",
    "..;/secret.txt",
    "./secret.txt",
    ".//secret.txt",
    "//secret.txt",
    "//etc/passwd",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "file:///etc/passwd",
    "figures/../secret.txt",
    "figures/../../etc/passwd",
    "figures/",
    "figures%00",
    "figures%00.html",
    "%c0%ae%c0%ae/secret.txt",
    "%u002e%u002e/secret.txt",
    "..%c0%afsecret.txt",
    "C:\\secret.txt",
    "secret.txt",
    ".",
    "..",
    "index.html",
    "config.toml",
    "checkpoints/00000001/state.json",
    "figures;secret.txt",
    "FIGURES",
]


@pytest.fixture(scope="module")
def posted() -> list[dict[str, float]]:
    """What the server took."""
    return []


@pytest.fixture(scope="module")
def server(posted: list[dict[str, float]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    (tmp_path_factory.mktemp("served") / "secret.txt").write_text(SECRET)

    def take(numbers: dict[str, float]) -> Answer:
        posted.append(numbers)
        return Answer("application/json", ["taken"])

    reads = {"": lambda query: Answer("text/html", ["page"]), "figures": lambda query: Answer("application/json", [str(query)])}
    with serving(Server(reads, {"trial": take})) as server:
        yield server


def request(
    server: Server,
    path: str | None = None,
    method: str = "GET",
    body: bytes | None = None,
    target: str | None = None,
    **headers: str | None,
) -> tuple[int, bytes]:
    """Asks for a name, or for a whole `target`, with cookie and headers of the server's own page."""
    url = urlsplit(server.url)
    given: dict[str, str | None] = {"Host": url.netloc, "Cookie": cookie(server)}
    if body is not None:
        own = {"Origin": f"http://{url.netloc}", "Content-Type": "application/json", "Content-Length": str(len(body))}
        given |= own
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {'/' + (path or '') if target is None else target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in given.items() if value is not None]
    return asked(server, ("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b""))


def test_it_answers_its_own_page(server: Server):
    status, answer = request(server)
    assert status == 200 and answer.endswith(b"page")
    assert request(server, "figures?looks=3")[1].endswith(b"{'looks': '3'}")
    assert request(server, Host=urlsplit(server.url).netloc.replace("127.0.0.1", "localhost"))[0] == 200
    for header in (b"no-store", b"nosniff", b"no-referrer", b"frame-ancestors 'none'", b"same-origin"):
        assert header in answer


@pytest.mark.parametrize("path", TRAVERSALS)
def test_whatever_a_path_looks_like_no_file_is_read(server: Server, path: str):
    for status, answer in (request(server, path), request(server, target=f"/{path}")):
        assert status == 404 and answer.endswith(b"\r\n\r\nnot found\n")


def test_a_wrong_token_and_none_at_all_find_nothing(server: Server):
    token = urlsplit(server.url).path.strip("/")
    for wrong in (token[:-1], token + "x", token.swapcase(), "x" * len(token), "%", "é"):
        assert request(server, target=f"/{wrong}/figures")[0] == 404
        assert request(server, target=f"/{wrong}/", Cookie=None)[0] == 403
    for target in ("/", "/figures", f"/{token}", f"/{token}/figures", f"/figures?token={token}", "/trial"):
        status, answer = request(server, target=target, Cookie=None)
        assert status == 403 and answer.endswith(b"open the address that the command has printed\n")
    assert request(server, target=f"/{token}")[0] == 404
    assert request(server, target=f"http://127.0.0.1/{token}/")[0] == 404
    assert request(server, target="*")[0] == 404


def test_the_token_leaves_the_address_and_the_cookie_is_for_this_server_alone(server: Server):
    url = urlsplit(server.url)
    status, answer = request(server, target=url.path, Cookie=None)
    [kept] = [line for line in answer.decode().split("\r\n") if line.startswith("Set-Cookie: ")]
    assert status == 303 and kept.endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert kept.startswith(f"Set-Cookie: quickstudy-{url.port}=")
    # again, and in another tab
    assert request(server, target=url.path)[0] == 303 and request(server)[0] == request(server, "figures")[0] == 200
    with serving(Server({"": lambda query: Answer("text/html", ["other"])}, {})) as other:
        assert cookie(other).split("=")[0] != cookie(server).split("=")[0]
        both = f"{cookie(server)}; x; {cookie(other)}"
        assert request(server, Cookie=both)[1].endswith(b"page") and request(other, Cookie=both)[1].endswith(b"other")
        assert request(other, Cookie=cookie(server))[0] == 403
    name, _, value = cookie(server).partition("=")
    for wrong in ("", name, f"{name}=", f"{name}={value}x", f"x{name}={value}", f"{name}=é", "=" + value, ";" * 1000, "\x00"):
        assert request(server, Cookie=wrong)[0] == 403, wrong


@pytest.mark.parametrize(
    "host", ["example.org", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.example.org", "0.0.0.0", "[::1]", "", None]
)
def test_it_answers_to_no_other_name(server: Server, host: str | None):
    assert request(server, Host=host)[0] == 403


@pytest.mark.parametrize("origin", ["https://example.org", "null", "http://127.0.0.1", "http://127.0.0.1:1", "file://", ""])
def test_other_pages_get_nothing(server: Server, posted: list[Any], origin: str):
    assert request(server, "figures", Origin=origin)[0] == 403
    assert request(server, "trial", "POST", b'{"a": 1}', Origin=origin)[0] == 403
    assert request(server, "trial", "POST", b'{"a": 1}', Origin=None)[0] == 403
    assert not posted


def test_it_takes_a_few_finite_numbers_in_one_place(server: Server, posted: list[Any]):
    assert request(server, "trial", "POST", b'{"x": 1, "y": -2.5e3}')[0] == 200
    assert posted == [{"x": 1.0, "y": -2500.0}]
    for body in (
        b"NaN",
        b'{"x": NaN}',
        b'{"x": Infinity}',
        b'{"x": -Infinity}',
        b'{"x": 1e999}',
        b'{"x": 1e308}',
        b'{"x": ' + b"9" * 4000 + b"}",
        b'{"x": "1"}',
        b'{"x": true}',
        b'{"x": null}',
        b'{"x": [1]}',
        b'{"x": {}}',
        b"[1]",
        b"1",
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 4000,
    ):
        assert request(server, "trial", "POST", body)[0] == 400, body[:20]
    assert request(server, "trial", "POST", b" " * (MOST_BODY + 1))[0] == 413
    for length in ("-1", "1e3", "x", str(10**20), None, "1, 1", "9" * 5000, "\u0661", "+1", ""):
        assert request(server, "trial", "POST", b'{"x": 1}', Content_Length=length)[0] == 413
    assert request(server, "trial", "POST", b'{"x": 1}', Content_Type="text/plain")[0] == 415
    assert len(posted) == 1


def test_what_fails_in_the_server_is_one_line(capsys: pytest.CaptureFixture[str]):
    def fails(query: dict[str, str]) -> Answer:
        raise KeyError("x\x1b[2J")

    def vanished(query: dict[str, str]) -> Answer:
        raise FileNotFoundError(2, "No such file or directory", "runs/gone")

    with serving(Server({"": fails, "gone": vanished}, {})) as server:
        assert request(server)[0] == 500
        status, answer = request(server, "gone")
        assert status == 500 and answer.endswith(b"runs/gone: No such file or directory\n")
    said = capsys.readouterr().err
    assert said == "error: GET '/': KeyError: 'x\\x1b[2J'\n"


def test_nothing_else_can_be_done(server: Server, posted: list[Any]):
    before = len(posted)
    for path in ("", "figures", "other", "trial/", "../trial"):
        assert request(server, path, "POST", json.dumps({"x": 1}).encode())[0] == 404
    assert request(server, "trial")[0] == 404
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "HEAD"):
        assert request(server, "figures", method)[0] == 501
    assert len(posted) == before


def test_two_servers_have_two_tokens_and_a_port_that_is_taken_is_said(server: Server, capsys: pytest.CaptureFixture[str]):
    port = urlsplit(server.url).port
    assert port is not None
    with serving(Server({}, {})) as other:
        pass
    assert urlsplit(other.url).path != urlsplit(server.url).path and len(urlsplit(other.url).path) >= 32
    with pytest.raises(UsageError, match=f"port {port} can't be listened on: Address already in use; name another"):
        Server({}, {}, port)
    assert main(["watch", "nowhere"]) == 2
    assert "nowhere is no run" in capsys.readouterr().err
