"""mail-check's call at port 25: nobody there, somebody else, ourselves."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mailtools.services.check import check_door
from mailtools.services.check.check_door import door


@contextmanager
def greeting(text: bytes) -> Iterator[int]:
    """A server that greets once; give its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(text)
                connection.recv(100)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (found,) = door("127.0.0.1", port)
    assert found.where == f"[127.0.0.1]:{port}"
    assert (
        found.what == "mail for local domains comes there, and nobody answers: Connection refused"
    )
    assert found.mend.startswith("start smtpd-accept")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"220 mail.example.org ESMTP mailtools\r\n", []),
        (b"421 4.3.2 busy\r\n", []),
        (b"", []),
        (
            b"220 mail.example.org ESMTP Postfix (Debian)\r\n",
            ["another mail server answers there: 220 mail.example.org ESMTP Postfix (Debian)"],
        ),
    ],
)
def test_who_answers(text: bytes, said: list[str]) -> None:
    with greeting(text) as port:
        assert [found.what for found in door("127.0.0.1", port)] == said


def test_who_greets_late_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_door, "PATIENCE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert list(door("127.0.0.1", listener.getsockname()[1])) == []
