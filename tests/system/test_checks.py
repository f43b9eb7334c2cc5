"""Mail from strangers, judged by smtpd-accept: a process, a DNS server, signatures."""

import os
import re
import smtplib
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import Server, Site
from dkim2_signer import instance
from dkim2_signer import sign as sign_dkim2
from dnsserver import DnsServer

from mailtools.mail.fields import split_message
from mailtools.trust.canonical import BodyHashes
from mailtools.trust.dkim_sign import SIGNING_FORM, Signer, sign
from mailtools.trust.keys import new_private_key

KEY = new_private_key("ed25519")
GOOD, BAD = "192.0.2.7", "203.0.113.9"  # what SPF allows, and what it does not

ZONE = {
    "bank.test": {
        "TXT": ['"v=spf1 ip4:192.0.2.7 -all exp=why.bank.test"'],
        "A": ["192.0.2.7"],
    },
    "why.bank.test": {"TXT": ['"%{i} is not ours, see http://bank.test/%{S}"']},
    "_dmarc.bank.test": {"TXT": ['"v=DMARC1; p=reject"']},
    "s._domainkey.bank.test": {"TXT": [f'"{KEY.record()}"']},
    "list.test": {"MX": ["0 ."]},
    "shop.test": {"A": ["192.0.2.8"], "TXT": ['"v=spf1 -all"']},
    "_dmarc.shop.test": {"TXT": ['"v=DMARC1; p=quarantine"']},
    "plain.test": {"A": ["192.0.2.8"]},
    "mx.bank.test": {"A": ["192.0.2.7"]},
    "7.2.0.192.in-addr.arpa": {"PTR": ["mx.bank.test."]},
    "9.113.0.203.black.test": {"A": ["127.0.0.2"], "TXT": ['"see http://black.test/?203.0.113.9"']},
    "7.2.0.192.white.test": {"A": ["127.0.0.2"]},
    "7.2.0.192.black.test": {"A": ["127.0.0.2"]},
}


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer({name: dict(types) for name, types in ZONE.items()}) as server:
        yield server


@pytest.fixture
def strict(site: Site, dns: DnsServer) -> Site:
    """bob lives at example.org, which enforces what the checks find."""
    site.account("bob")
    site.set("aliases", "postmaster: bob", "abuse: bob")
    site.set("resolver", dns.at)
    site.set("checks", "enforce")
    site.set("xclient-clients", "127.0.0.1")
    return site


@contextmanager
def client(server: Server, address: str, name: str = "mx.bank.test") -> Iterator[smtplib.SMTP]:
    """A client that comes from `address`, as a trusted proxy says."""
    with smtplib.SMTP(*server.address, local_hostname=name, timeout=30) as smtp:
        smtp.ehlo()
        smtp.docmd("XCLIENT", f"ADDR={address}")
        smtp.ehlo(name)
        yield smtp


def message(author: str, *, signed: bool = False, more: str = "") -> bytes:
    text = f"{more}From: {author}\nTo: bob@example.org\nSubject: x\n\nHello\n".encode()
    if signed:
        header, body = split_message(text)
        hashes = BodyHashes([SIGNING_FORM])
        hashes.update(body)
        field = sign(header, hashes, [Signer("bank.test", "s", KEY)], int(time.time()))
        text = field + text
    return text.replace(b"\n", b"\r\n")


def sent(
    smtp: smtplib.SMTP, sender: str, text: bytes, to: str = "bob@example.org"
) -> tuple[int, str]:
    """Send a message; give the last reply."""
    smtp.mail(sender)
    code, said = smtp.rcpt(to)
    if code == 250:
        code, said = smtp.data(text)
    if code >= 400:
        smtp.rset()
    return code, said.decode()


def entries(site: Site) -> list[tuple[str, str]]:
    """Envelope and message of what is queued."""
    found = []
    for path in sorted((site.queue / "new").iterdir()):
        head, _, text = path.read_text().partition("\n\n")
        found.append((head, text))
    return found


def results(text: str) -> str:
    """The field on top, unfolded."""
    assert text.startswith("Authentication-Results: ")
    field, _, rest = text.partition("\nReceived: ")
    assert rest
    return re.sub(r"\s+", " ", field)


def test_a_good_message_says_so_on_top(strict: Site) -> None:
    server = strict.listen("smtpd-accept")
    with client(server, GOOD) as smtp:
        assert sent(smtp, "a@bank.test", message("a@bank.test", signed=True))[0] == 250
    ((_, text),) = entries(strict)
    field = results(text)
    for words in (
        "Authentication-Results: mail.example.org;",
        "spf=pass smtp.mailfrom=a@bank.test",
        "dkim=pass (256-bit key) header.d=bank.test",
        "dmarc=pass header.from=bank.test",
        "iprev=pass (mx.bank.test) policy.iprev=192.0.2.7",
    ):
        assert words in field
    line = server.log_line("judged ")
    for words in ("spf=pass", "dkim=pass", "dmarc=pass", "hello=proved", "score=0"):
        assert words in line.split()
    assert "action=accept" in line
    assert re.search(r" id=[0-9]+\.M", line)


def test_a_forged_message_is_refused_in_words_that_help(strict: Site) -> None:
    server = strict.listen("smtpd-accept")
    with client(server, BAD) as smtp:
        code, said = sent(smtp, "a@bank.test", message("The Bank <a@bank.test>"))
        assert code == 550
        assert said.startswith("5.7.26 ")
        for words in ("bank.test", "SPF fail", "no DKIM signature", "reject"):
            assert words in said
        # RFC 7208 6.2: who says so is plain
        assert f'(the domain says: "{BAD} is not ours, see http://bank.test/a%40bank.test")' in said
        # the next one of the same session is another matter
        assert sent(smtp, "x@plain.test", message("x@plain.test"))[0] == 250
    assert len(entries(strict)) == 1
    assert "action=refuse" in server.log_line("judged ")


def test_a_signature_survives_a_forwarder(strict: Site) -> None:
    server = strict.listen("smtpd-accept")
    with client(server, BAD) as smtp:
        text = message("a@bank.test", signed=True)
        assert sent(smtp, "list@plain.test", text)[0] == 250
        code, said = sent(smtp, "list@plain.test", text.replace(b"Hello", b"Hullo"))
        assert (code, said[:6]) == (550, "5.7.26")
        assert "DKIM fail for bank.test" in said


def test_a_chain_of_custody_ends_at_its_recipient(strict: Site) -> None:
    strict.account("eve")
    text = message("a@plain.test").replace(b"\r\n", b"\n")
    text = sign_dkim2(
        instance(text), {"s": KEY}, "bank.test", "a@bank.test", ["bob@example.org"],
        t=str(int(time.time())),
    ).replace(b"\n", b"\r\n")  # fmt: skip
    server = strict.listen("smtpd-accept")
    with client(server, GOOD) as smtp:
        assert sent(smtp, "a@bank.test", text)[0] == 250
        assert sent(smtp, "a@bank.test", text, to="eve@example.org")[0] == 250
    told = sorted(results(text) for _, text in entries(strict))
    author = 'reason="From of plain.test was put there by bank.test"'
    assert f"dkim2=pass {author} header.d=bank.test;" in told[0]
    assert (
        'dkim2=permerror reason="DKIM2-Signature i=1 RCPT TO <eve@example.org> did not match" '
        "header.d=bank.test header.i=1;"
    ) in told[1]
    assert "dkim2=pass" in server.log_line("judged ").split()
    shown = strict.run("mail-why", "eve@example.org").stdout.decode()
    assert "DKIM none, DKIM2 permerror, DMARC none" in shown


def test_quarantined_mail_lands_in_junk(strict: Site) -> None:
    server = strict.listen("smtpd-accept")
    with client(server, BAD) as smtp:
        assert sent(smtp, "a@shop.test", message("a@shop.test"))[0] == 250
        assert sent(smtp, "a@plain.test", message("a@plain.test"))[0] == 250
    done = strict.run("queue-run")
    assert done.returncode == 0, done.stderr
    maildir = strict.homes / "bob" / "Maildir"
    (junk,) = (maildir / ".Junk" / "new").iterdir()
    assert "From: a@shop.test" in junk.read_text()
    assert (maildir / ".Junk" / "maildirfolder").exists()
    (good,) = strict.messages("bob")
    assert b"From: a@plain.test" in good


@pytest.mark.parametrize(("what", "code", "junk"), [("mark", 250, False), ("reject", 550, False)])
def test_the_site_says_what_quarantine_means(
    strict: Site, what: str, code: int, junk: bool
) -> None:
    strict.set("dmarc-quarantine", what)
    server = strict.listen("smtpd-accept")
    with client(server, BAD) as smtp:
        assert sent(smtp, "a@shop.test", message("a@shop.test"))[0] == code
    assert not any("JUNK" in head for head, _ in entries(strict))


def test_marking_refuses_nothing_and_says_what_it_would(strict: Site) -> None:
    strict.set("checks", "mark")
    strict.set("dnsbl", "black.test")
    strict.set("greylist", "1h")
    server = strict.listen("smtpd-accept")
    with client(server, BAD) as smtp:
        assert sent(smtp, "a@bank.test", message("a@bank.test"))[0] == 250
        assert sent(smtp, "a@bank.test", message("a@x.test\nFrom: b@y.test"))[0] == 250
    assert "dmarc=fail" in results(entries(strict)[0][1])
    assert "would=refuse" in server.log_line("judged ")


def test_fields_in_our_name_are_removed(strict: Site) -> None:
    server = strict.listen("smtpd-accept")
    forged = (
        "Authentication-Results: MAIL.example.org;\n dmarc=pass\n"
        "Authentication-Results: other.example; spf=pass\n"
    )
    with client(server, GOOD) as smtp:
        assert sent(smtp, "a@plain.test", message("a@plain.test", more=forged))[0] == 250
    ((_, text),) = entries(strict)
    header = text.partition("\n\n")[0]
    assert len(re.findall(r"(?im)^authentication-results:", header)) == 2
    assert "MAIL.example.org" not in header
    assert "Authentication-Results: other.example; spf=pass\n" in header


@pytest.mark.parametrize("author", ["a@plain.test\nFrom: b@plain.test", "a@x.test, b@y.test"])
def test_an_author_that_readers_may_take_for_another_is_refused(strict: Site, author: str) -> None:
    server = strict.listen("smtpd-accept")
    with client(server, GOOD) as smtp:
        code, said = sent(smtp, "a@plain.test", message(author))
        assert code == 550
        assert "From" in said


def test_dns_that_does_not_answer_refuses_nothing(strict: Site, dns: DnsServer) -> None:
    strict.set("dnsbl", "black.test")
    dns.faults = dict.fromkeys(
        ("bank.test", "_dmarc.bank.test", "9.113.0.203.black.test"), "SERVFAIL"
    )
    server = strict.listen("smtpd-accept")
    with client(server, BAD) as smtp:
        assert sent(smtp, "a@bank.test", message("a@bank.test"))[0] == 250
    ((_, text),) = entries(strict)
    assert "spf=temperror" in results(text)
    assert "dmarc=temperror" in results(text)
    assert "list=black.test" in server.log_line("trouble ")


def test_who_may_relay_is_not_judged(strict: Site) -> None:
    strict.set("relay-clients", "127.0.0.1", BAD)
    server = strict.listen("smtpd-accept")
    with client(server, BAD) as smtp:
        assert sent(smtp, "a@bank.test", message("a@bank.test"))[0] == 250
    ((_, text),) = entries(strict)
    assert text.startswith("Received: ")


def test_a_large_message_passes_whole(strict: Site) -> None:
    server = strict.listen("smtpd-accept")
    text = message("a@plain.test") + b"0123456789" * 7 + b"\r\n"
    text += (b"x" * 70 + b"\r\n") * 40000
    with client(server, GOOD) as smtp:
        assert sent(smtp, "a@plain.test", text)[0] == 250
    ((_, kept),) = entries(strict)
    assert kept.endswith(text.decode().replace("\r\n", "\n"))
    assert os.listdir(strict.queue / "tmp") == []


def test_lists_refuse_and_allow(strict: Site) -> None:
    strict.set("dnsbl", "black.test=127.0.0.[2..3]*2", "white.test*-3")
    strict.set("dnsbl-threshold", "2")
    server = strict.listen("smtpd-accept")
    with client(server, BAD) as smtp:
        code, said = sent(smtp, "a@plain.test", message("a@plain.test"))
        assert (code, said[:6]) == (550, "5.7.1 ")
        for words in (BAD, "black.test", "see http://", "postmaster@example.org"):
            assert words in said
        # complaints come in all the same
        reply = sent(smtp, "a@plain.test", message("a@plain.test"), to="postmaster@example.org")
        assert reply[0] == 250
    with client(server, GOOD) as smtp:
        assert sent(smtp, "a@plain.test", message("a@plain.test"))[0] == 250


def test_a_list_that_refuses_to_answer_is_no_listing(strict: Site, dns: DnsServer) -> None:
    strict.set("dnsbl", "black.test")
    dns.zone["9.113.0.203.black.test"] = {"A": ["127.255.255.254"]}
    server = strict.listen("smtpd-accept")
    with client(server, BAD) as smtp:
        assert sent(smtp, "a@plain.test", message("a@plain.test"))[0] == 250


def test_a_sender_that_takes_no_mail(strict: Site) -> None:
    server = strict.listen("smtpd-accept")
    with client(server, BAD) as smtp:
        for sender, status in (("a@list.test", "5.7.27"), ("a@nowhere.test", "5.1.8")):
            code, said = sent(smtp, sender, message("a@plain.test"))
            assert (code, said.split()[0]) == (550, status)


def test_our_own_name_is_nobody_elses(strict: Site) -> None:
    server = strict.listen("smtpd-accept")
    with client(server, BAD, "Mail.Example.ORG") as smtp:
        code, said = sent(smtp, "a@plain.test", message("a@plain.test"))
        assert (code, said[:6]) == (550, "5.7.1 ")


def test_a_greylisted_sender_comes_again(strict: Site) -> None:
    strict.set("greylist", "1h")
    server = strict.listen("smtpd-accept")
    with client(server, BAD) as smtp:
        code, said = sent(smtp, "a@plain.test", message("a@plain.test"))
        assert (code, said[:6]) == (451, "4.7.1 ")
        assert "3600 seconds" in said
        assert sent(smtp, "a@plain.test", message("a@plain.test"), to="abuse@example.org")[0] == 250
        for mark in (strict.spool / "greylist" / "first").glob("??/" + "?" * 30):
            os.utime(mark, (time.time() - 3601,) * 2)
        assert sent(smtp, "a@plain.test", message("a@plain.test"))[0] == 250
    with client(server, "203.0.113.250") as smtp:  # of the same network
        assert sent(smtp, "other@plain.test", message("other@plain.test"))[0] == 250
    with client(server, "203.0.114.9") as smtp:
        assert sent(smtp, "a@plain.test", message("a@plain.test"))[0] == 451


def test_faults_of_the_settings_are_named(strict: Site) -> None:
    strict.set("checks", "strict")
    done = strict.run("smtpd-accept", input=b"QUIT\r\n")
    assert done.returncode == 78
    assert b"'strict' is none of off, mark, enforce" in done.stderr
    strict.set("checks", "mark")
    strict.set("dnsbl", "black.test", "two words")
    strict.set("dmarc-quarantine", "burn")
    done = strict.run("smtpd-accept", input=b"QUIT\r\n")
    assert done.returncode == 78
    assert b"dnsbl:2" in done.stderr
    assert b"'burn' is none of junk, mark, reject" in done.stderr


# -- open to everybody ----------------------------------------------------------------------------

OPEN = ("postmaster", "postmaster@example.org", "Abuse@example.org")
REFUSALS = {
    "a list": ("a@plain.test", "mx.bank.test", "a@plain.test", {"dnsbl": "black.test"}),
    "greylisting": ("a@plain.test", "mx.bank.test", "a@plain.test", {"greylist": "1h"}),
    "our own name": ("a@plain.test", "mail.example.org", "a@plain.test", {}),
    "no such domain": ("a@nowhere.test", "mx.bank.test", "a@plain.test", {}),
    "a null MX": ("a@list.test", "mx.bank.test", "a@plain.test", {}),
    "DMARC reject": ("a@bank.test", "mx.bank.test", "a@bank.test", {}),
    "quarantine": ("a@shop.test", "mx.bank.test", "a@shop.test", {"dmarc-quarantine": "reject"}),
    "two authors": ("a@plain.test", "mx.bank.test", "a@x.test\nFrom: b@y.test", {}),
    "its content": ("a@plain.test", "x.test", "a@plain.test", {"content-programs": "exit 100"}),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_complaints_come_in_where_others_are_refused(strict: Site, why: str) -> None:
    sender, hello, author, settings = REFUSALS[why]
    for name, value in settings.items():
        strict.set(name, value)
    server = strict.listen("smtpd-accept")
    for to in ("bob@example.org", *OPEN):
        with client(server, BAD, hello) as smtp:
            code, said = sent(smtp, sender, message(author), to)
            assert (code == 250) is (to in OPEN), f"{to}: {code} {said}"
    if why in ("DMARC reject", "quarantine", "two authors"):
        (line,) = {
            line.partition("action=")[2]
            for line in (server.log_line("judged ") for _ in ("bob", *OPEN))
            if "action=accept" in line
        }
        assert line == 'accept reason="its recipient takes all mail"'


def test_a_complaint_from_nobody_is_for_one(strict: Site) -> None:
    server = strict.listen("smtpd-accept")
    with client(server, BAD) as smtp:
        smtp.mail("")
        assert smtp.rcpt("postmaster@example.org")[0] == 250
        assert smtp.rcpt("abuse@example.org")[0] == 452
        assert smtp.data(message("MAILER-DAEMON@plain.test"))[0] == 250


def test_a_complaint_to_others_too_is_a_message_as_any(strict: Site) -> None:
    server = strict.listen("smtpd-accept")
    with client(server, BAD) as smtp:
        smtp.mail("a@bank.test")
        assert smtp.rcpt("postmaster@example.org")[0] == 250
        assert smtp.rcpt("bob@example.org")[0] == 250
        assert smtp.data(message("a@bank.test"))[0] == 550


# -- what is found of the peer, and what is refused -----------------------------------------------


@pytest.mark.parametrize(
    ("address", "shown"),
    [(GOOD, "(mx.bank.test [192.0.2.7])"), (BAD, "(unknown [203.0.113.9])")],
)
def test_received_shows_the_name_that_dns_proves(strict: Site, address: str, shown: str) -> None:
    server = strict.listen("smtpd-accept")
    with client(server, address, "anything.test") as smtp:
        assert sent(smtp, "a@plain.test", message("a@plain.test"))[0] == 250
    ((_, text),) = entries(strict)
    assert f"\nReceived: from anything.test {shown}\n" in text


def test_who_was_written_to_is_not_greylisted(strict: Site) -> None:
    strict.set("greylist", "1h")
    strict.set("relay-clients", "192.0.2.9")
    server = strict.listen("smtpd-accept")
    with client(server, "192.0.2.9") as smtp:
        text = message("bob@example.org")
        assert sent(smtp, "bob@example.org", text, "friend@plain.test")[0] == 250
    with client(server, BAD) as smtp:
        assert sent(smtp, "other@plain.test", message("other@plain.test"))[0] == 451
        assert sent(smtp, "friend@plain.test", message("friend@plain.test"))[0] == 250
    (noted,) = (strict.spool / "greylist/wrote").glob("*/[!s]*")
    assert noted.read_text() == "friend@plain.test\n"


def test_who_wants_rejects_finds_what_was_refused(strict: Site) -> None:
    strict.account("carol")
    accounts = strict.etc / "accounts"
    accounts.write_text(
        accounts.read_text().replace("bob:{PLAIN}secret", "bob:{PLAIN}secret::::::rejects=yes")
    )
    server = strict.listen("smtpd-accept")
    forged = "Authentication-Results: mail.example.org; dmarc=pass\n"
    with client(server, BAD) as smtp:
        for to in ("bob@example.org", "carol@example.org"):
            assert sent(smtp, "a@bank.test", message("a@bank.test", more=forged), to)[0] == 550
        large = message("a@bank.test") + b"x" * 998 + b"\r\n" * 2
        assert sent(smtp, "a@bank.test", large + b"long line\r\n" * 60000)[0] == 550
    assert "to=1 client=203.0.113.9" in server.log_line("kept ")
    ((head, _),) = entries(strict)
    assert "\nparameter REJECTED\nreverse-path \nforward-path bob@example.org NOTIFY=NEVER" in head
    strict.set("transports", "example.org:relay-send --via 127.0.0.1:1")
    done = strict.run("queue-run")
    assert done.returncode == 0, done.stderr
    assert strict.messages("bob") == strict.messages("carol") == []
    (kept,) = (strict.homes / "bob/Maildir/.Rejects/new").iterdir()
    text = kept.read_text()
    assert re.search(r"\nX-Rejected: 550 5.7.26 Not from bank.test.*; from <a@bank.test>\n", text)
    assert "Authentication-Results" not in text
    assert text.endswith("\nHello\n")
    assert entries(strict) == []


@pytest.mark.parametrize(
    ("verdict", "kept"),
    [("exit 100", 1), ("exit 31", 0), ("exit 75", 0), ("echo 'Eicar virus' >&2; exit 100", 0)],
)
def test_what_is_harmful_or_put_off_is_not_kept(site: Site, verdict: str, kept: int) -> None:
    site.account("bob")
    site.set("rejects", "3d")
    site.set("content-programs", verdict)
    server = site.listen("smtpd-accept")
    with smtplib.SMTP(*server.address, local_hostname="x.test", timeout=30) as smtp:
        smtp.ehlo()
        assert sent(smtp, "a@x.test", message("a@x.test"))[0] >= 400
    assert len(entries(site)) == kept
