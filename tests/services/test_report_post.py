"""A TLS report given to a web server: what it gets, and whom nobody can make us talk to."""

import http.server
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mailtools.errors import BadParameter, ConnectionDied, NoAnswer
from mailtools.net import https
from mailtools.services.reports.compose import Report, Subject
from mailtools.services.reports.post import is_public, poster

REPORT = Report(
    Subject("tls", "example.net", "2026-11-22"), "id", "x.json.gz", "application/tlsrpt+gzip",
    b"{}", b"\x1f\x8bpacked", 1,
)  # fmt: skip


class Web(http.server.HTTPServer):
    """Takes what is posted; its certificate proves nothing."""

    status = 201
    got: tuple[str, str, str, bytes] | None = None


class Dripping(Web):
    """Answers, and goes on for as long as somebody listens."""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Web)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        host, kind = self.headers["Host"], self.headers["Content-Type"]
        self.server.got = (self.path, host, kind, body)
        self.send_response(self.server.status)
        self.end_headers()
        drop = threading.Event()
        while isinstance(self.server, Dripping) and not drop.wait(0.01):
            try:
                self.wfile.write(b".")
            except OSError:
                drop.set()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(params=[Web])
def web(authority: Any, request: pytest.FixtureRequest) -> Iterator[Web]:
    server: Web = request.param(("127.0.0.1", 0), Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("other.test").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_is_posted_though_the_certificate_fails(web: Web) -> None:
    give = poster(lambda _: ["127.0.0.1"], allowed=lambda _: True)
    give(f"https://t.test:{web.server_port}/v1/tls?a=1", REPORT)
    host = f"t.test:{web.server_port}"
    assert web.got == ("/v1/tls?a=1", host, "application/tlsrpt+gzip", REPORT.packed)


def test_a_server_that_does_not_take_it_is_tried_again(web: Web) -> None:
    web.status = 503
    give = poster(lambda _: ["127.0.0.1"], allowed=lambda _: True)
    with pytest.raises(NoAnswer, match="503") as caught:
        give(f"https://t.test:{web.server_port}/", REPORT)
    assert not caught.value.permanent


@pytest.mark.parametrize("web", [Dripping], indirect=True)
def test_a_server_that_drips_its_answer_holds_nobody_up(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(https, "ANSWER_TIME", 0.3)
    give = poster(lambda _: ["127.0.0.1"], allowed=lambda _: True)
    with pytest.raises(ConnectionDied, match=r"too long|timed out") as caught:
        give(f"https://t.test:{web.server_port}/", REPORT)
    assert not caught.value.permanent


def test_what_stands_behind_our_firewall_is_not_asked(web: Web) -> None:
    for address in ("127.0.0.1", "10.0.0.1", "::1", "fe80::1", "169.254.169.254"):
        with pytest.raises(NoAnswer, match="no public address"):
            poster(lambda _, found=address: [found])(f"https://t.test:{web.server_port}/", REPORT)
    assert web.got is None


def test_public_addresses() -> None:
    assert [is_public(address) for address in ("8.8.8.8", "2600::1", "192.168.0.1", "fd00::1")] == [
        True, True, False, False
    ]  # fmt: skip


@pytest.mark.parametrize(
    "uri",
    [
        "https://", "https://t.test:x/", "https://t.test/a b", "https://t.test/a\r\nX: y",
        "https://b\u00fccher.test/", "https://.t.test/", "https://t t.test/",
    ],
)  # fmt: skip
def test_what_is_no_uri_is_dropped(uri: str) -> None:
    with pytest.raises(BadParameter) as caught:
        poster(lambda _: ["8.8.8.8"])(uri, REPORT)
    assert caught.value.permanent
