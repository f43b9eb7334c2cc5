"""smtpd-accept --pretend-from: every check's verdict, the same answers, and nothing left behind."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Site
from dkim2_signer import instance, sign
from dnsserver import DnsServer

from mailtools.errors import Usage
from mailtools.services.reception.rehearsal import read_pretended
from mailtools.trust.keys import new_private_key

MESSAGE = b"From: alice@example.net\r\nTo: bob@example.org\r\nSubject: s\r\n\r\ntext\r\n.\r\n"


def dialog(to: str = "bob@example.org", *, helo: bool = False) -> bytes:
    lines = ["MAIL FROM:<alice@example.net>", f"RCPT TO:<{to}>", "DATA", ""]
    if helo:
        lines.insert(0, "EHLO mail.example.net")
    return "\r\n".join(lines).encode() + MESSAGE + b"QUIT\r\n"


def tree(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.fixture
def judging(site: Site) -> Iterator[Site]:
    """A site that enforces; example.net names 192.0.2.7 alone."""
    zone = {
        "example.net": {"MX": ["10 mail.example.net."], "TXT": ['"v=spf1 ip4:192.0.2.7 -all"']},
        "mail.example.net": {"A": ["192.0.2.7"]},
        "7.2.0.192.in-addr.arpa": {"PTR": ["mail.example.net."]},
    }
    site.account("bob")
    with DnsServer(zone) as dns:
        site.set("resolver", dns.at)
        site.set("checks", "enforce")
        yield site


def test_what_a_list_says_is_told_in_words(judging: Site) -> None:
    zone = {
        "7.2.0.192.black.test": {"A": ["127.0.0.2"]},
        "example.net": {"TXT": ['"v=spf1 -all exp=why.example.net"'], "A": ["192.0.2.8"]},
        "why.example.net": {"TXT": ['"not %{i}"']},
    }
    judging.set("dnsbl", "black.test*3", "other.test*-1")
    with DnsServer(zone) as dns:
        judging.set("resolver", dns.at)
        done = judging.run(
            "smtpd-accept", "--pretend-from", "192.0.2.7:mail.example.net", input=dialog()
        )
    told = done.stderr.decode().splitlines()
    assert "lists: score 3" in told
    assert "lists: black.test says 127.0.0.2, weight 3" in told
    assert 'spf: fail for example.net the domain says: "not 192.0.2.7"' in told


def test_the_verdicts_are_told_and_nothing_stays(judging: Site) -> None:
    before = tree(judging.spool)
    done = judging.run(
        "smtpd-accept", "--pretend-from", "192.0.2.7:mail.example.net", input=dialog()
    )
    assert done.returncode == 0, done.stderr
    assert b"in a rehearsal only" in done.stdout
    told = done.stderr.decode().splitlines()
    assert "helo: proved" in told
    assert "iprev: pass mail.example.net" in told
    assert "lists: score 0" in told
    assert "spf: pass for example.net" in told
    assert "recipient: bob@example.org taken" in told
    assert told[-1] == "message: would be queued; nothing was"
    assert any(line.startswith("judged ") and "spf=pass" in line for line in told)
    assert tree(judging.spool) == before


def test_dkim2_is_told_where_there_is_any(judging: Site) -> None:
    text = instance(b"From: alice@example.net\n\ntext\n")
    key = new_private_key("ed25519")
    text = sign(text, {"s": key}, "example.net", "alice@example.net", ["bob@example.org"], t="1")
    said = dialog().replace(MESSAGE, text.replace(b"\n", b"\r\n") + b".\r\n")
    done = judging.run("smtpd-accept", "--pretend-from", "192.0.2.7:mail.example.net", input=said)
    (line,) = [line for line in done.stderr.decode().splitlines() if line.startswith("judged ")]
    assert "dkim2=permerror" in line.split()


def test_another_address_hears_another_answer(judging: Site) -> None:
    done = judging.run("smtpd-accept", "--pretend-from", "192.0.2.8", input=dialog(helo=True))
    told = done.stderr.decode().splitlines()
    assert any(line.startswith("spf: fail for example.net") for line in told)
    assert "helo: unproved" in told


def test_refusals_are_those_of_a_session(judging: Site) -> None:
    done = judging.run(
        "smtpd-accept",
        "--pretend-from",
        "192.0.2.7:x.example.net",
        input=dialog("nobody@example.org"),
    )
    assert b"550 5.1.1" in done.stdout
    assert b"refused " in done.stderr


def test_the_greylist_is_read_and_not_written(judging: Site) -> None:
    judging.set("greylist", "5min")
    for _ in range(2):
        done = judging.run(
            "smtpd-accept", "--pretend-from", "192.0.2.7:mail.example.net", input=dialog()
        )
        assert b"451 4.7.1 Greylisted" in done.stdout
        assert b"in 300 seconds" in done.stdout
    assert not (judging.spool / "greylist").exists()


def test_who_may_relay_is_not_judged(judging: Site) -> None:
    judging.set("relay-clients", "192.0.2.0/24")
    done = judging.run(
        "smtpd-accept", "--pretend-from", "192.0.2.7:x.example.net", input=dialog("x@example.com")
    )
    assert b"peer: not judged, the peer may relay" in done.stderr
    assert b"recipient: x@example.com taken" in done.stderr
    assert not os.path.exists(judging.queue)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("192.0.2.7", ("192.0.2.7", "")),
        ("192.0.2.7:a.test", ("192.0.2.7", "a.test")),
        ("2001:db8::7", ("2001:db8::7", "")),
        ("[2001:db8::7]:a.test", ("2001:db8::7", "a.test")),
        ("[2001:db8::7]", ("2001:db8::7", "")),
    ],
)
def test_whom_to_pretend(text: str, found: tuple[str, str]) -> None:
    assert read_pretended(text) == found


@pytest.mark.parametrize("text", ["", "mail.example.org", "2001:db8::7:a.test", "192.0.2.300"])
def test_who_is_no_client(site: Site, text: str) -> None:
    with pytest.raises(Usage):
        read_pretended(text)
    assert site.run("smtpd-accept", "--pretend-from", text).returncode == 64
