"""Leaving a message at the submit service, and what becomes of it when that fails."""

import os
import socket
import threading

import pytest
from conftest import wait_for_line

from mailtools.errors import Misconfigured, NoAnswer
from mailtools.mail.report import DELAYED, FAILED, RELAYED, Report
from mailtools.services.submit.drop import connect, hand_over, worst
from mailtools.services.submit.inject import Order, Place, prepare
from mailtools.store.queue import Queue


@pytest.fixture
def letter():
    order = Order("bob", recipients=("a@example.net", "b@example.net"))
    return prepare(b"Subject: x\n\nhi\n", order, Place("mail.example.org"), new_id="1.M1P1R1")


def test_what_is_left_there_is_in_its_queue(site, letter, tmp_path):
    path = str(tmp_path / "socket")
    environ = {**site.environ, "RELAYCLIENT": ""}
    wait_for_line(site.start("smtpd-accept", "--listen", path, env=environ), "listening ")
    reports = hand_over(path, letter, "mail.example.org")
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
        reports = hand_over(f"127.0.0.1:{server.getsockname()[1]}", letter, "mail.example.org")
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


def test_a_null_client_leaves_everything_to_a_queue_elsewhere(site, tmp_path):
    path = str(tmp_path / "qmqp")
    environ = {**site.environ, "RELAYCLIENT": ""}
    server = site.start("smtpd-accept", "--qmqp", "--listen", path, env=environ)
    wait_for_line(server, "listening ")
    here = tmp_path / "here"
    here.mkdir()
    (here / "me").write_text("client.example.org\n")
    (here / "submit").write_text(f"qmqp:{path}\n")
    environ = {
        **site.environ,
        "MAILTOOLS_ETC": str(here),
        "MAILTOOLS_SPOOL": str(tmp_path / "spool-here"),
    }
    text = b"Subject: x\n\n.\nhi\n"
    done = site.run(
        "sendmail", "-i", "-f", "alice", "a@example.net", "b@example.net", input=text, env=environ
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "spool-here").exists()
    queue = Queue(str(site.queue))
    (entry,) = (queue.open(place) for place in queue.all())
    assert entry.envelope.reverse_path == "alice@client.example.org"
    assert [path.address for path in entry.envelope.forward_paths] == [
        "a@example.net",
        "b@example.net",
    ]
    server.kill()
    server.wait()
    done = site.run("sendmail", "a@example.net", input=text, env=environ)
    assert done.returncode == os.EX_TEMPFAIL
    assert b"nobody listens at qmqp:" in done.stderr
    done = site.run("sendmail", "-bs", input=b"QUIT\r\n", env=environ)
    assert done.returncode == os.EX_USAGE


@pytest.mark.parametrize(
    ("said", "code"), [(b"5:Zbusy,", 75), (b"20:Dnot you (#5.7.1)...,", 77), (b"", 75), (b"x", 75)]
)
def test_what_a_queue_elsewhere_may_say(letter, said, code):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            data = b""
            while not data.endswith(b"13:b@example.net,,"):
                data += connection.recv(65536)
            connection.sendall(said)
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        reports = hand_over(f"qmqp:127.0.0.1:{server.getsockname()[1]}", letter, "mail.example.org")
        thread.join()
    assert len(reports) == 2
    assert worst(reports).exit == code
