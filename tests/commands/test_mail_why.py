"""mail-why: what it tells of messages that wait, were delivered, forwarded, refused or removed."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from conftest import BIN
from relaybench import script
from smtpsink import Sink, Taker

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import DELAYED, Report
from mailtools.store.destinations import Destinations
from mailtools.store.queue import Queue

LETTER = b"From: alice@example.org\nMessage-ID: <one@example.org>\nSubject: hello\n\nhi\n"


@pytest.fixture
def queue(site):
    queue = Queue(str(site.queue))
    queue.create()
    return queue


def put(queue, *paths, sender="alice@example.org", client="192.0.2.7 mx.test", text=LETTER, age=0):
    id_ = f"{int(time.time() - age)}.M000001P1R{len(list(queue.all())):08x}" if age else ""
    writer = queue.begin(Envelope(sender, tuple(map(ForwardPath, paths)), {}, client), id_)
    writer.write(text)
    return writer.commit()


def delay(queue, id_, status, text, when=4102444800):
    entry = queue.open(id_)
    queue.record(
        entry,
        [Report(path.address, DELAYED, status, text) for path in entry.pending],
        time.time() - 3600,
    )
    queue.defer(entry, when)
    return id_


def why(site, *words):
    done = site.run("mail-why", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def facts(site, *words):
    return [json.loads(line) for line in why(site, "--json", *words).splitlines()]


def only_id(site):
    (file,) = (site.queue / "new").iterdir()
    return file.name


def test_what_nobody_knows_is_exit_66(site, queue):
    for asked in ("1764000000.M000001P1R00000000", "<no@example.org>", "nobody@example.org"):
        done = site.run("mail-why", asked)
        assert done.returncode == os.EX_NOINPUT
        assert f"Nothing is known here of {asked}" in done.stderr.decode()
        assert done.stdout == b""


def test_a_queue_that_is_not_there_is_no_empty_one(site):
    done = site.run("mail-why", "bob@example.org")
    assert done.returncode == os.EX_OSFILE
    assert f"There is no mail queue {site.queue}" in done.stderr.decode()


def test_what_waits_says_when_it_is_tried_why_and_what_helps(site, queue):
    refusal = "mx.example.net[192.0.2.9]:25 said 451 4.7.1 Greylisted, come back (to RCPT)"
    id_ = delay(queue, put(queue, "bob@example.net"), "4.7.1", refusal)
    shown = why(site, id_)
    assert shown.startswith(f"{id_}  waits; next try 2100-01-01 00:00:00 (in ")
    assert "from 192.0.2.7 mx.test, " in shown
    assert f"delayed 4.7.1 {refusal}\n" in shown
    assert "cause: greylist (theirs)." in shown
    assert f"do: queue-edit retry {id_}\n" in shown


def test_the_same_answer_again_and_again_is_one_line(site, queue):
    id_ = put(queue, "bob@example.net")
    for _ in range(3):
        delay(queue, id_, "4.4.1", "mx.test: Connection refused")
    shown = why(site, id_)
    assert shown.count("Connection refused") == 1
    assert "(3 times, last " in shown
    (fact,) = facts(site, id_)
    assert len(fact["paths"][0]["attempts"]) == 3


def test_a_destination_that_is_left_alone(site, queue):
    id_ = delay(queue, put(queue, "bob@example.net"), "4.4.1", "mx.test: Connection refused")
    Destinations(f"{queue.path}/dest").failed("example.net", 4102444800, "4.4.1", "refused")
    shown = why(site, id_)
    assert "left alone until 2100-01-01" in shown
    assert "do: queue-run --domain example.net\n" in shown
    assert facts(site, id_)[0]["paths"][0]["left_alone_until"] == 4102444800


def test_a_retry_class_is_told_with_its_end(site, queue):
    site.set("retry-classes", "example.net:2min/30min/2d")
    id_ = delay(queue, put(queue, "bob@example.net"), "4.4.1", "mx.test: Connection refused")
    assert "    tried after 2 min, then ever later up to every 30 min, for 2 d (retry-" in why(
        site, id_
    )
    (fact,) = facts(site, id_)
    assert fact["expires"] - fact["arrival"] == 2 * 86400
    assert fact["paths"][0]["retries"].startswith("after 2 min")


def test_what_is_due_for_long_lacks_a_queue_run(site, queue):
    id_ = put(queue, "bob@example.org", age=3600)
    assert "no queue run is at work" in why(site, id_)
    fresh = put(queue, "bob@example.org")
    assert "no queue run is at work" not in why(site, fresh)


def test_held_and_bad_entries(site, queue):
    held = put(queue, "bob@example.org")
    queue.hold(held)
    assert f"do        queue-edit release {held}\n" in why(site, held)
    bad = put(queue, "bob@example.org")
    place = queue.find(bad)
    queue.set_aside(place)
    (site.queue / "bad" / bad).write_bytes(b"nonsense\n\n")
    shown = why(site, bad)
    assert "cannot be read" in shown
    assert "Unknown format" in shown
    assert f"queue-edit show {bad}" in shown


def test_a_delivered_message_is_found_by_id_message_id_and_addresses(site, queue):
    site.account("bob")
    site.run("sendmail", "-f", "alice@example.org", "bob@example.org", input=LETTER)
    id_ = only_id(site)
    assert site.run("queue-run").returncode == 0
    for asked in (
        id_, "<one@example.org>", "one@example.org", "alice@example.org", "BOB@Example.org",
    ):  # fmt: skip
        shown = why(site, asked)
        assert shown.startswith(f"{id_}  delivered ")
        assert "delivered 2.0.0 delivered to bob\n" in shown
        assert "message   <one@example.org>\n" in shown
        assert "cause" not in shown
    (fact,) = facts(site, id_)
    assert (fact["state"], fact["outcome"]) == ("finished", "delivered")
    assert fact["reverse_path"] == "alice@example.org"


def test_a_forward_is_told_with_what_it_came_of(site, queue):
    site.set("aliases", "team: bob, carol@example.net")
    site.account("bob")
    with Taker() as taker:
        site.set("routes", f":127.0.0.1:{taker.port}")
        site.run("sendmail", "-f", "alice@example.org", "team@example.org", input=LETTER)
        parent = only_id(site)
        assert site.run("queue-run").returncode == 0
    for asked in (parent, "carol@example.net", "<one@example.org>"):
        first, second = facts(site, asked)
        assert first["id"] == parent
        assert first["outcome"] == "expanded"
        assert second["came_of"] == f"{parent} (sent on)"
        assert second["outcome"] == "relayed"
        assert [path["address"] for path in second["paths"]] == ["carol@example.net"]
    assert facts(site, second["id"]) == [first, second]


def test_a_forward_that_waits_knows_its_origin_by_its_trace(site, queue):
    site.set("aliases", "team: carol@example.net")
    site.set("routes", ":127.0.0.1:1")  # nobody listens
    site.run("sendmail", "-f", "alice@example.org", "team@example.org", input=LETTER)
    parent = only_id(site)
    assert site.run("queue-run").returncode == 0
    first, second = facts(site, "carol@example.net")
    assert (first["id"], second["state"]) == (parent, "wait")
    assert second["paths"][0]["cause"]["kind"] == "tcp"
    assert second["came_of"] == f"{parent} (sent on)"


def test_a_failed_message_and_its_dsn(site, queue):
    site.account("alice")
    dialog = (
        "S: 220 mx\nC: EHLO mail.example.org\nS: 250 mx\nC: MAIL FROM:<alice@example.org>\n"
        "S: 250 ok\nC: RCPT TO:<bob@example.net>\nS: 550 5.7.1 Listed by zen.spamhaus.org\n"
        "C: QUIT\nS: 221 bye\n"
    )
    with Sink([script(dialog)]) as sink:
        site.set("routes", f":127.0.0.1:{sink.port}")
        site.run("sendmail", "-f", "alice@example.org", "bob@example.net", input=LETTER)
        id_ = only_id(site)
        assert site.run("queue-run").returncode == 0
        sink.check()
    failed, dsn = facts(site, id_)
    assert failed["outcome"] == "failed"
    assert failed["paths"][0]["cause"]["kind"] == "reputation"
    assert failed["paths"][0]["do"] == ["mail-check"]
    assert [told["id"] for told in failed["dsns"]] == [dsn["id"]]
    assert dsn["came_of"] == f"{id_} (DSN: failed)"
    assert dsn["outcome"] == "delivered"
    assert facts(site, dsn["id"]) == [failed, dsn]
    shown = why(site, id_)
    assert f"the sender: failed, by {dsn['id']}" in shown
    assert "from this mail system, as a notification" in shown


def test_a_dsn_of_what_still_waits_leads_back_to_it(site, queue):
    site.account("alice")
    site.set("delay-warning", "1s")
    site.set("routes", ":127.0.0.1:1")
    id_ = put(queue, "bob@example.net", age=100)
    assert site.run("queue-run").returncode == 0
    waiting, dsn = facts(site, id_)
    assert (waiting["id"], waiting["state"]) == (id_, "wait")
    assert facts(site, dsn["id"]) == [waiting, dsn]


def test_what_the_operator_removed_is_known(site, queue):
    id_ = delay(queue, put(queue, "bob@example.net", "carol@example.net"), "4.4.1", "no route")
    assert site.run("queue-edit", "remove", id_).returncode == 0
    for asked in (id_, "carol@example.net"):
        shown = why(site, asked)
        assert shown.startswith(f"{id_}  removed ")
        assert "no route" in shown
        assert "retry" not in shown
    never_tried = put(queue, "dave@example.net")
    assert site.run("queue-edit", "remove", never_tried).returncode == 0
    assert why(site, "dave@example.net").startswith(f"{never_tried}  removed ")


def test_an_address_shows_the_newest_messages(site, queue):
    ids = [put(queue, "bob@example.net", age=1000 - n, text=b"\n") for n in range(12)]
    newest = ids[::-1]
    assert [fact["id"] for fact in facts(site, "bob@example.net")] == newest[:10]
    assert [fact["id"] for fact in facts(site, "--most", "2", "bob@example.net")] == newest[:2]
    assert [fact["id"] for fact in facts(site, "--most", "0", "bob@example.net")] == newest


def test_the_hops_before_us(site, queue):
    text = (
        b"Received: from relay.test (relay.test [192.0.2.7])\n\tby mail.example.org (mailtools)"
        b" with ESMTP id THIS; Mon, 23 Nov 2026 10:00:05 +0000\n"
        b"Received: from laptop.test ([192.0.2.1]) by relay.test with ESMTPSA id abc;\n"
        b"\tMon, 23 Nov 2026 10:00:00 +0000\n\nhi\n"
    )
    writer = queue.begin(Envelope("a@x.test", (ForwardPath("bob@example.org"),), {}, "192.0.2.7 x"))
    writer.write(text.replace(b"THIS", writer.id.encode()))
    id_ = writer.commit()
    (fact,) = facts(site, id_)
    assert fact["hops"] == [
        {
            "from": "laptop.test ([192.0.2.1])",
            "by": "relay.test",
            "date": "Mon, 23 Nov 2026 10:00:00 +0000",
        }
    ]
    assert "before    laptop.test ([192.0.2.1]) to relay.test, " in why(site, id_)


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root that can give up rights"
)
def test_who_may_not_read_the_queue_is_told_so(site, queue):
    os.chown(site.queue, 65534, 65534)
    done = subprocess.run(
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search", sys.executable,
         str(BIN / "mail-why"), "bob@example.org"],
        env=site.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == os.EX_TEMPFAIL
    assert "may be read by nobody and root only" in done.stderr


@pytest.mark.parametrize("number", ["nan", "inf", "-1", "1e400", "9" * 5000, "99999999999"])
def test_a_time_that_is_none_is_no_traceback(site, queue, number):
    id_ = put(queue)
    (site.queue / "log" / id_).write_text(f"{number}\tbob@example.net\tdelayed\t4.4.1\tx\n")
    (site.queue / "dest" / "example.net").write_text(f"{number}\t1\t4.4.1\tx\n")
    (site.queue / "suppress" / "a@b.test").write_text(f"a@b.test\t{number}\t5.1.1\tx\n")
    (site.queue / "history" / "2026-11-29").write_text(
        f"7.M1P1R1\t{number}\tfrom\ta@b.test\t1\t<x@y>\tc\n"
    )
    for words in (
        ("mail-why", id_),
        ("mail-why", "a@b.test"),
        ("queue-list",),
        ("queue-list", "--suppressed"),
        ("queue-run", "--dry-run"),
    ):
        done = site.run(*words)
        assert b"Traceback" not in done.stderr, words
        assert done.returncode in (0, os.EX_NOINPUT)
