"""Leaving a message at the submit service, and what becomes of it when that fails."""

import os
import socket
import threading

import pytest
from conftest import wait_for_line

from mailtools.errors import Misconfigured, NoAnswer
from mailtools.mail.report import DELAYED, FAILED, RELAYED, Report
from mailtools.services.people.drop import connect, over_smtp, worst
from mailtools.services.people.inject import Order, Place, prepare
from mailtools.store.queue import Queue


@pytest.fixture
def letter():
    order = Order("bob", recipients=("a@example.net", "b@example.net"))
    return prepare(b"Subject: x\n\nhi\n", order, Place("mail.example.org"), new_id="1.M1P1R1")


def test_what_is_left_there_is_in_its_queue(site, letter, tmp_path):
    path = str(tmp_path / "socket")
    environ = {**site.environ, "RELAYCLIENT": ""}
    wait_for_line(site.start("smtpd-accept", "--listen", path, env=environ), "listening ")
    reports = over_smtp(path, letter, "mail.example.org")
    assert [(one.forward_path, one.action) for one in reports] == [
        ("a@example.net", RELAYED),
        ("b@example.net", RELAYED),
    ]
    assert worst(reports) is None
    queue = Queue(str(site.queue))
    (entry,) = (queue.open(place) for place in queue.all())
    assert len(entry.envelope.forward_paths) == 2


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"220 hi\r\n",
        b"220 hi\r\n250 hi\r\n250 ok\r\n250 ok\r\n",
        b"220 hi\r\n250 hi\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n",
        b"rubbish\r\n",
    ],
)
def test_a_service_that_dies_has_taken_nothing(letter, said):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        reports = over_smtp(f"127.0.0.1:{server.getsockname()[1]}", letter, "mail.example.org")
        thread.join()
    assert [one.action for one in reports] == [DELAYED, DELAYED]
    assert worst(reports).exit == os.EX_TEMPFAIL


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["5.1.1"], os.EX_NOUSER),
        (["5.1.3"], os.EX_DATAERR),
        (["5.7.1"], os.EX_NOPERM),
        (["5.3.4"], os.EX_UNAVAILABLE),
        (["5.1.1", "4.3.0"], os.EX_TEMPFAIL),
    ],
)
def test_the_exit_code_says_what_was_refused(statuses, code):
    bad = [
        Report("a@example.net", FAILED if status[0] == "5" else DELAYED, status, "no")
        for status in statuses
    ]
    failure = worst([Report("b@example.net", RELAYED, "2.0.0", "ok"), *bad])
    assert failure.exit == code
    assert failure.detail.count("a@example.net: ") == len(statuses)


def test_where_nobody_listens_and_what_is_no_place(tmp_path):
    with pytest.raises(NoAnswer):
        connect(str(tmp_path / "nothing"))
    with pytest.raises(Misconfigured):
        connect("nonsense")
