"""What control files and parameters make of mail going out, seen by the host at the other end."""

from conftest import Site
from relaybench import BYE, HELLO, TAKE, script
from smtpsink import Sink, Taker

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.store.queue import Queue

MESSAGE = b"From: alice@example.org\nSubject: hello\n\nText.\n"


def put(site: Site, envelope: Envelope, message: bytes = MESSAGE) -> str:
    queue = Queue(str(site.queue))
    queue.create()
    writer = queue.begin(envelope)
    writer.write(message)
    return writer.commit()


def test_a_senders_mail_goes_its_own_way_from_its_own_address(site: Site) -> None:
    hello = HELLO.replace("relay.example.org", "mail8.example.org")
    with Sink([script(hello + TAKE + BYE)], host="127.0.0.2") as sink:
        site.set("sender-routes", f"alice@example.org:[127.0.0.2]:{sink.port}")
        site.set("source-addresses", "example.org:127.0.0.8 mail8.example.org")
        site.set("ignored-offers", "127.0.0.2:SIZE")
        shown = site.run("mail-route", "--from", "alice@example.org", "bob@example.net").stdout
        text = b"Subject: hello\n\nText.\n"
        done = site.run("relay-send", "--from", "alice@example.org", "bob@example.net", input=text)
        assert done.returncode == 0, done.stderr
        sink.check()
    assert sink.peers == ["127.0.0.8"]
    for words in (b"route     127.0.0.2:", b"source    from 127.0.0.8 mail8.example.org", b"SIZE"):
        assert words in shown


def test_a_line_of_any_length_arrives_by_bdat(site: Site) -> None:
    """Our own server, as any other, refuses nothing there."""
    inbox = site.account("bob")
    server = site.listen("smtpd-accept")
    text = MESSAGE + b"x" * 5000 + b"\n" + b"." * 2000 + b"\n"
    via = f"127.0.0.1:{server.port}"
    done = site.run("relay-send", "--via", via, "--from", "a@example.net", "bob@example.org",
                    input=text)  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert site.run("queue-run").returncode == 0
    (got,) = site.messages("bob")
    assert inbox.exists()
    assert got.endswith(text.partition(b"\n\n")[2])


def test_who_set_a_time_hears_where_it_is_forgotten(site: Site) -> None:
    site.account("alice")
    with Taker("127.0.0.2") as taker:
        site.set("routes", f"example.net:127.0.0.2:{taker.port}")
        to = (ForwardPath("bob@example.net"),)
        put(site, Envelope("alice@example.org", to, {"BY": "3600;N"}))
        for _ in range(2):
            assert site.run("queue-run").returncode == 0
    assert len(taker.messages) == 1
    (word,) = site.messages("alice")
    assert b"Action: relayed" in word
    assert b"Status: 2.1.9" in word
    assert b"\nDeliver-By-Date: " in word


def test_what_must_be_returned_late_goes_to_nobody_who_forgets_it(site: Site) -> None:
    site.account("alice")
    with Taker("127.0.0.2") as taker:
        site.set("routes", f"example.net:127.0.0.2:{taker.port}")
        to = (ForwardPath("bob@example.net"),)
        put(site, Envelope("alice@example.org", to, {"BY": "3600;R"}))
        for _ in range(2):
            assert site.run("queue-run").returncode == 0
    assert taker.messages == []
    (word,) = site.messages("alice")
    assert b"Action: failed" in word
    assert b"Status: 5.3.3" in word


def test_the_time_that_is_left_is_told(site: Site) -> None:
    """From one queue of ours to another one's door, which offers DELIVERBY to its submitters."""
    site.set("relay-clients", "127.0.0.1")
    server = site.listen("smtpd-accept")
    site.set("routes", f"example.net:127.0.0.1:{server.port}")
    to = (ForwardPath("bob@example.net"),)
    first = put(site, Envelope("alice@example.org", to, {"BY": "3600;RT", "MT-PRIORITY": "4"}))
    site.set("me", "other.example.org")  # so that the first hop does not take it for a loop
    done = site.run("queue-run", "--id", first)
    assert done.returncode == 0, done.stderr
    entries = [
        Queue(str(site.queue)).open(place).envelope
        for place in Queue(str(site.queue)).all()
        if place.id != first
    ]
    parameters = next(e.parameters for e in entries if e.forward_paths[0].address == to[0].address)
    seconds, _, mode = parameters["BY"].partition(";")
    assert 3500 < int(seconds) <= 3600
    assert (mode, parameters["MT-PRIORITY"]) == ("RT", "4")
