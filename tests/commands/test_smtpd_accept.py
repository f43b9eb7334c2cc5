"""smtpd-accept as a process: what is in the queue, who may relay, TLS, AUTH, proxies, LMTP."""

import os
import pwd
import re
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import BIN, Server, Site

from mailtools.commands.parts import tls_stamp
from mailtools.mail.envelope import Envelope, decode

MESSAGE = "From: alice@example.com\r\nTo: bob@example.org\r\nSubject: hello\r\n\r\ntext\r\n"


@pytest.fixture
def mail_site(site: Site) -> Site:
    """bob, carol and alice live at example.org; staff leads to two of them."""
    for user in ("bob", "carol", "alice"):
        site.account(user)
    site.set("aliases", "staff: bob, carol", "sales: alice", "postmaster: bob")
    return site


@contextmanager
def client(server: Server, name: str = "client.example.com") -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP(*server.address, local_hostname=name, timeout=30) as smtp:
        smtp.ehlo()
        yield smtp


def entries(site: Site) -> list[tuple[Envelope, bytes]]:
    """What is in the queue, in order of arrival."""
    found = []
    for path in sorted((site.queue / "new").iterdir()):
        head, _, message = path.read_bytes().partition(b"\n\n")
        found.append((decode(head), message))
    return found


def context(authority: Any) -> ssl.SSLContext:
    made = ssl.create_default_context()
    authority.configure_trust(made)
    return made


def steps(dialog: bytes) -> Iterator[bytes]:
    """Part a dialog into what is said before each answer: a line, or BDAT with its octets."""
    while dialog:
        end = dialog.index(b"\r\n") + 2
        if dialog.startswith(b"BDAT "):
            end += int(dialog[5:end].split()[0])
        yield dialog[:end]
        dialog = dialog[end:]


def speak(sock: socket.socket, dialog: bytes) -> bytes:
    """Say a dialog, waiting for each answer; give all that was answered."""
    said = answer = b""
    sock.settimeout(30)
    for step in (b"", *steps(dialog)):
        sock.sendall(step)
        answer = b""
        while not re.search(rb"(?:\A|\n)[0-9]{3} [^\n]*\n\Z", answer):
            piece = sock.recv(4096)
            if not piece:
                return said + answer
            answer += piece
        said += answer
    return said


def inetd(site: Site, dialog: bytes, *arguments: str, **environ: str) -> tuple[bytes, bytes]:
    """Run a session as tcpserver does, on a socket; give what was said and logged."""
    ours, theirs = socket.socketpair()
    with ours:
        process = site.start(
            "smtpd-accept", *arguments, stdin=theirs, stdout=theirs, env={**site.environ, **environ}
        )
        theirs.close()
        said = speak(ours, dialog)
    assert process.stderr
    log = process.stderr.read()
    assert process.wait(30) == 0, log
    return said, log


# -- what is in the queue -------------------------------------------------------------------------


def test_what_is_accepted_is_in_the_queue(mail_site: Site) -> None:
    server = mail_site.listen("smtpd-accept")
    with client(server) as smtp:
        refused = smtp.sendmail(
            "alice@example.com",
            ["bob@example.org", "nobody@example.org", "Carol@EXAMPLE.org", "bob@example.org"],
            MESSAGE,
            mail_options=["BODY=8BITMIME"],
        )
    assert refused.keys() == {"nobody@example.org"}
    assert refused["nobody@example.org"][0] == 550
    ((envelope, message),) = entries(mail_site)
    assert envelope.reverse_path == "alice@example.com"
    assert [path.address for path in envelope.forward_paths] == [
        "bob@example.org",
        "Carol@EXAMPLE.org",
    ]
    assert envelope.parameters == {"BODY": "8BITMIME"}
    assert envelope.client == "127.0.0.1 client.example.com"
    received, _, rest = message.partition(b"From: ")
    assert re.fullmatch(
        rb"Received: from client\.example\.com \(\[127\.0\.0\.1\]\)\n"
        rb"\tby mail\.example\.org \(mailtools\) with ESMTP id ([0-9]+\.M[0-9]+P[0-9]+R[0-9a-f]+); "
        rb"[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} [+-][0-9]{4}\n",
        received,
    )
    assert rest == MESSAGE.encode().replace(b"\r\n", b"\n").partition(b"From: ")[2]
    line = server.log_line("queued ")
    assert "from=<alice@example.com> to=2 " in line
    assert f"id={next((mail_site.queue / 'new').iterdir()).name} " in line


def test_one_recipient_is_named_in_the_received_field(mail_site: Site) -> None:
    with client(mail_site.listen("smtpd-accept")) as smtp:
        smtp.sendmail("alice@example.com", ["bob@example.org"], MESSAGE)
    ((_, message),) = entries(mail_site)
    assert b"\n\tfor <bob@example.org>; " in message


def test_a_message_with_too_many_hops_is_a_loop(mail_site: Site) -> None:
    mail_site.set("hops", "3")
    with client(mail_site.listen("smtpd-accept")) as smtp:
        hop = "Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n"
        smtp.sendmail("", ["bob@example.org"], hop * 3 + MESSAGE)
        with pytest.raises(smtplib.SMTPDataError) as error:
            smtp.sendmail("", ["bob@example.org"], hop * 4 + MESSAGE)
    assert error.value.smtp_code == 554
    assert error.value.smtp_error.startswith(b"5.4.6 ")
    assert len(entries(mail_site)) == 1


@pytest.mark.parametrize(
    ("setting", "value"), [("disk-floor", "100000000G"), ("inode-floor", "9" * 18)]
)
def test_a_disk_that_is_nearly_full_puts_mail_off(
    mail_site: Site, setting: str, value: str
) -> None:
    if setting == "inode-floor" and not os.statvfs(mail_site.etc).f_files:
        pytest.skip("this file system does not count its files")
    mail_site.set(setting, value)
    said, _ = inetd(mail_site, b"EHLO x\r\nMAIL FROM:<>\r\nQUIT\r\n")
    assert b"\r\n452 4.3.1 " in said


def test_a_queue_that_cannot_be_written_refuses_for_now(mail_site: Site) -> None:
    mail_site.run("smtpd-accept", input=b"QUIT\r\n")  # makes the queue
    server = mail_site.listen("smtpd-accept")
    os.rename(mail_site.queue / "tmp", mail_site.queue / "tmp.gone")
    (mail_site.queue / "tmp").write_text("in the way")
    dialog = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nBDAT 2 LAST\r\n\r\nQUIT\r\n"
    with socket.create_connection(server.address) as sock:
        said = speak(sock, dialog)
    assert b"\r\n451 4.3.0 " in said
    assert entries(mail_site) == []
    assert "detail=" in server.log_line("refused at=message code=451")


# -- who may relay --------------------------------------------------------------------------------

# Each is an attempt of an outsider to have mail sent to victim@example.net.
ATTEMPTS = [
    "<victim@example.net>",
    "<VICTIM@EXAMPLE.NET>",
    "<@example.org:victim@example.net>",
    "<@mail.example.org,@example.org:victim@example.net>",
    "<victim%example.net@example.org>",
    "<victim%example.net@[127.0.0.1]>",
    "<victim@example.net@example.org>",
    '<"victim@example.net"@example.org>',
    '<"victim%example.net"@example.org>',
    '<"victim@example.net">',
    "<example.net!victim@example.org>",
    "<example.net!victim>",
    '<"example.net!victim"@example.org>',
    "<victim%example.net>",
    "<victim@example.net.>",
    "<victim@example.org.example.net>",
    "<victim@notexample.org>",
    "<victim@[127.0.0.1]>",
    "<victim@[198.51.100.7]>",
    "<victim@[IPv6:::1]>",
    "<victim@[IPv6:2001:db8::7]>",
    "<victim@localhost>",
    "<victim@xn--bcher-kva.example>",
    "<victim@example.net,example.org>",
    "<victim@example.net bob@example.org>",
    "<victim@example.net><bob@example.org>",
    "<bob@example.org,victim@example.net>",
    "victim@example.net",
    "<victim@example.net>@example.org",
    "<|/bin/sh@example.org>",
    "</tmp/file@example.org>",
    "<:include:/etc/passwd@example.org>",
    "<bob+@example.net>",
    "<bob@example.org@example.net>",
    "<@example.org>",
    "<>",
    "<@example.net:@example.org:victim@example.net>",
    "<postmaster@example.net>",
]
UTF8_ATTEMPTS = [
    "<victim@bücher.example>",
    "<victim@example．net>",
    "<victim@example。net>",
    "<victim＠example.net@example.org>",
    "<victim％example.net@example.org>",
]


@pytest.mark.parametrize("hello", ["mail.example.org", "[127.0.0.1]", "localhost"])
@pytest.mark.parametrize("sender", ["<bob@example.org>", "<>", "<victim@example.net>"])
def test_no_form_of_address_makes_an_open_relay(mail_site: Site, hello: str, sender: str) -> None:
    mail_site.set("extension-separators", "+-%!")
    server = mail_site.listen("smtpd-accept")
    attempts = [(sender, attempt) for attempt in ATTEMPTS]
    attempts += [(f"{sender} SMTPUTF8", attempt) for attempt in UTF8_ATTEMPTS]
    for mail, rcpt in attempts:
        dialog = (
            f"EHLO {hello}\r\nMAIL FROM:{mail}\r\nRCPT TO:{rcpt}\r\nBDAT 2 LAST\r\n\r\nQUIT\r\n"
        )
        with socket.create_connection(server.address) as sock:
            said = speak(sock, dialog.encode()).decode()
        codes = [line[:3] for line in said.splitlines() if line[3] == " "]
        assert codes[:3] == ["220", "250", "250"]
        assert codes[3][0] == "5", (rcpt, said)
        assert codes[4:] == ["503", "221"]
    assert entries(mail_site) == []


@pytest.mark.parametrize(
    "attempt",
    [
        "<bob@example.org>",
        "<BOB@Example.ORG>",
        '<"bob"@example.org>',
        '<"b\\ob"@example.org>',
        "<@example.net:bob@example.org>",
        "<bob+anything@example.org>",
        "<postmaster>",
        "<PostMaster@example.org>",
        "<staff@example.org>",
    ],
)
def test_outsiders_reach_local_recipients_in_every_form(mail_site: Site, attempt: str) -> None:
    dialog = f"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:{attempt}\r\nBDAT 2 LAST\r\n\r\nQUIT\r\n"
    said, _ = inetd(mail_site, dialog.encode(), TCPREMOTEIP="192.0.2.7")
    ((envelope, _),) = entries(mail_site) or ((None, said),)
    assert envelope is not None, said
    assert envelope.forward_paths[0].address.lower().endswith("@example.org")


@pytest.mark.parametrize(
    ("clients", "environ", "taken"),
    [
        ("192.0.2.0/24", {"TCPREMOTEIP": "192.0.2.7"}, True),
        ("192.0.2.0/24", {"TCPREMOTEIP": "::ffff:192.0.2.7"}, True),
        ("192.0.2.0/24", {"TCPREMOTEIP": "192.0.3.7"}, False),
        ("2001:db8::/32", {"TCPREMOTEIP": "2001:db8::7"}, True),
        ("0.0.0.0/0", {}, False),
        ("", {"TCPREMOTEIP": "192.0.2.7", "RELAYCLIENT": ""}, True),
    ],
)
def test_listed_networks_may_relay(
    mail_site: Site, clients: str, environ: dict[str, str], taken: bool
) -> None:
    mail_site.set("relay-clients", clients)
    dialog = b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<eve@example.net>\r\nQUIT\r\n"
    said, log = inetd(mail_site, dialog, **environ)
    assert (b"\r\n250 2.1.5 " in said) == taken, said
    assert (b"refused at=rcpt said=TO:<eve@example.net> code=550 status=5.7.1" in log) != taken


def test_a_bounce_has_one_recipient(mail_site: Site) -> None:
    dialog = (
        b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\n"
        b"RCPT TO:<carol@example.org>\r\nQUIT\r\n"
    )
    said, _ = inetd(mail_site, dialog, TCPREMOTEIP="192.0.2.7")
    assert b"\r\n452 4.5.3 " in said


def test_a_full_mailbox_is_said_at_rcpt(mail_site: Site) -> None:
    with (mail_site.etc / "accounts").open("a") as file:
        file.write("dave:{PLAIN}secret::::::quota=1B\n")
    maildir = mail_site.homes / "dave" / "Maildir"
    for name in ("tmp", "new", "cur"):
        (maildir / name).mkdir(parents=True)
    (maildir / "cur" / "1.x.host,S=100:2,S").write_bytes(b"x" * 100)
    dialog = b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<dave@example.org>\r\nQUIT\r\n"
    said, _ = inetd(mail_site, dialog, TCPREMOTEIP="192.0.2.7")
    assert b"\r\n452 4.2.2 " in said


# -- submission -----------------------------------------------------------------------------------


@pytest.fixture
def submission(mail_site: Site, authority: Any) -> Server:
    mail_site.tls(authority.issue_cert("mail.example.org", "localhost", "127.0.0.1"))
    return mail_site.listen("smtpd-accept", "--submission")


def test_submission_wants_tls_and_a_login(submission: Server, authority: Any) -> None:
    with client(submission) as smtp:
        assert not smtp.has_extn("AUTH")
        code, text = smtp.mail("alice@example.org")
        assert (code, text[:5]) == (530, b"5.7.0")
        with pytest.raises(smtplib.SMTPNotSupportedError):
            smtp.login("alice", "secret")
        smtp.starttls(context=context(authority))
        smtp.ehlo()
        assert smtp.mail("alice@example.org")[0] == 530
        with pytest.raises(smtplib.SMTPAuthenticationError):
            smtp.login("alice", "wrong")
        smtp.login("alice", "secret")
        assert smtp.sendmail("alice@example.org", ["eve@example.net"], "From: alice\r\n\r\n") == {}
    assert submission.log_line("auth-failed ")
    assert "user=alice" in submission.log_line("authenticated ")
    assert "user=alice" in submission.log_line("queued ")


def test_submission_mends_what_a_client_left_out(
    submission: Server, mail_site: Site, authority: Any
) -> None:
    with client(submission) as smtp:
        smtp.starttls(context=context(authority))
        smtp.login("alice", "secret")
        text = (
            "From: Alice <alice>\r\nTo: bob, eve@example.net\r\nBcc: carol\r\n cc\r\n\r\nBcc: x\r\n"
        )
        assert smtp.sendmail("alice", ["bob", "eve@example.net"], text) == {}
    ((envelope, message),) = entries(mail_site)
    assert envelope.reverse_path == "alice@example.org"
    assert [path.address for path in envelope.forward_paths] == [
        "bob@example.org",
        "eve@example.net",
    ]
    header, _, body = message.partition(b"\n\n")
    assert b"\nFrom: Alice <alice@example.org>\nTo: bob@example.org, eve@example.net\n" in header
    assert b"carol" not in header
    assert re.search(rb"\nDate: [^\n]+ [+-][0-9]{4}(\n|\Z)", header)
    assert re.search(rb"\nMessage-ID: <[^>]+@example\.org>(\n|\Z)", header)
    assert re.search(rb"\(using TLSv1\.[23] with cipher \S+ \([0-9]+/[0-9]+ bits\)\)\n", header)
    assert b" with ESMTPSA id " in header
    assert body == b"Bcc: x\n"


@pytest.mark.parametrize(
    ("sender", "taken"),
    [
        ("alice@example.org", True),
        ("ALICE@Example.Org", True),
        ("alice+shop@example.org", True),
        ("sales@example.org", True),
        ("", True),
        ("bob@example.org", False),
        ("staff@example.org", False),
        ("alice@example.net", False),
        ("alicf+alice@example.org", False),
        ("eve@example.net", False),
    ],
)
def test_who_may_send_as_whom(submission: Server, authority: Any, sender: str, taken: bool) -> None:
    with client(submission) as smtp:
        smtp.starttls(context=context(authority))
        smtp.login("alice", "secret")
        code, text = smtp.mail(sender)
        assert code == (250 if taken else 550), text
        smtp.rset()
        smtp.mail("alice@example.org")
        smtp.rcpt("bob@example.org")
        code, text = smtp.data(f"From: <{sender or 'alice@example.org'}>\r\n\r\n")
        assert code == (250 if taken else 550), text


def test_more_senders_are_allowed_by_name(mail_site: Site, authority: Any) -> None:
    with (mail_site.etc / "accounts").open("a") as file:
        file.write("desk:{PLAIN}secret::::::send-as=bob@example.org,@example.net\n")
    mail_site.tls(authority.issue_cert("mail.example.org", "localhost", "127.0.0.1"))
    with client(mail_site.listen("smtpd-accept", "--submission")) as smtp:
        smtp.starttls(context=context(authority))
        smtp.login("desk", "secret")
        for sender, code in (
            ("bob@example.org", 250),
            ("anybody@example.net", 250),
            ("carol@example.org", 550),
        ):
            assert smtp.mail(sender)[0] == code
            smtp.rset()


def test_who_logs_in_at_an_exchanger_is_held_to_the_same_rules(
    mail_site: Site, authority: Any
) -> None:
    mail_site.tls(authority.issue_cert("mail.example.org", "localhost", "127.0.0.1"))
    with client(mail_site.listen("smtpd-accept")) as smtp:
        smtp.starttls(context=context(authority))
        smtp.login("alice", "secret")
        assert smtp.mail("bob@example.org")[0] == 550
        smtp.mail("alice@example.org")
        smtp.rcpt("eve@example.net")
        assert smtp.data("From: bob@example.org\r\n\r\n")[0] == 550
        text = "From: alice@example.org\r\nBcc: carol@example.org\r\n\r\n"
        assert smtp.sendmail("alice@example.org", ["eve@example.net"], text) == {}
    ((_, message),) = entries(mail_site)
    assert b"carol" not in message
    assert b"\nDate: " in message


def somebody() -> str:
    """Give a user of this host, not root, who owns his home; "" where there is none."""
    for user in pwd.getpwall():
        try:
            if user.pw_uid and os.stat(user.pw_dir).st_uid == user.pw_uid:
                return user.pw_name
        except OSError:
            continue
    return ""


@pytest.mark.skipif(not somebody(), reason="needs a user who owns his home")
def test_users_of_the_system_log_in_without_a_file_of_accounts(
    mail_site: Site, tmp_path: Path
) -> None:
    (mail_site.etc / "accounts").unlink()
    program = tmp_path / "yes"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    mail_site.set("system-users", "yes")
    mail_site.set("plaintext-login", "yes")
    with client(mail_site.listen("smtpd-accept", "--submission")) as smtp:
        assert not smtp.has_extn("AUTH")  # nobody knows their passwords
    mail_site.set("auth-program", str(program))
    with client(mail_site.listen("smtpd-accept", "--submission")) as smtp:
        smtp.login(somebody(), "whatever")


def test_two_from_fields_are_not_submitted(submission: Server, authority: Any) -> None:
    with client(submission) as smtp:
        smtp.starttls(context=context(authority))
        smtp.login("alice", "secret")
        text = "From: alice@example.org\r\nFrom: bob@example.org\r\n\r\n"
        with pytest.raises(smtplib.SMTPDataError, match="550"):
            smtp.sendmail("alice@example.org", ["bob@example.org"], text)


def test_clients_can_be_left_out_of_the_received_field(mail_site: Site, authority: Any) -> None:
    mail_site.set("hide-clients", "yes")
    mail_site.tls(authority.issue_cert("mail.example.org", "localhost", "127.0.0.1"))
    with client(mail_site.listen("smtpd-accept", "--submission"), "secret.example.com") as smtp:
        smtp.starttls(context=context(authority))
        smtp.login("alice", "secret")
        smtp.sendmail("alice@example.org", ["bob@example.org"], "From: alice@example.org\r\n\r\n")
    ((_, message),) = entries(mail_site)
    assert b"127.0.0.1" not in message
    assert b"secret.example.com" not in message


@pytest.mark.parametrize(("setting", "offered"), [("yes", True), ("no", False)])
def test_port_25_may_do_without_logins(
    mail_site: Site, authority: Any, setting: str, offered: bool
) -> None:
    mail_site.set("exchange-login", setting)
    mail_site.tls(authority.issue_cert("mail.example.org", "localhost", "127.0.0.1"))
    for options, wanted in (((), offered), (("--submission",), True)):
        server = mail_site.listen("smtpd-accept", *options)
        with client(server) as smtp:
            smtp.starttls(context=context(authority))
            smtp.ehlo()
            assert smtp.has_extn("AUTH") == wanted
            code = smtp.docmd("AUTH", "PLAIN AGFsaWNlAHNlY3JldA==")[0]
            assert code == (235 if wanted else 503)


def test_implicit_tls(mail_site: Site, authority: Any) -> None:
    mail_site.tls(authority.issue_cert("mail.example.org", "localhost", "127.0.0.1"))
    server = mail_site.listen("smtpd-accept", "--submission", "--tls")
    with smtplib.SMTP_SSL(*server.address, context=context(authority), timeout=30) as smtp:
        smtp.ehlo()
        assert not smtp.has_extn("STARTTLS")
        smtp.login("alice", "secret")
        smtp.sendmail("alice@example.org", ["bob@example.org"], "From: alice@example.org\r\n\r\n")
    assert len(entries(mail_site)) == 1


# -- proxies, LMTP, launching ---------------------------------------------------------------------


def test_a_listed_proxy_says_who_is_there(mail_site: Site) -> None:
    mail_site.set("proxies", "127.0.0.1")
    mail_site.set("relay-clients", "192.0.2.7")
    server = mail_site.listen("smtpd-accept")
    # The header and what the client says come together, in one piece.
    for address, code in (("192.0.2.7", b"250"), ("192.0.2.8", b"550")):
        with socket.create_connection(server.address, timeout=30) as sock:
            sock.sendall(f"PROXY TCP4 {address} 198.51.100.1 4000 25\r\n".encode())
            said = speak(sock, b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<eve@example.net>\r\nQUIT\r\n")
        assert said.splitlines()[-2].startswith(code)
    with socket.create_connection(server.address, timeout=30) as sock:
        sock.sendall(b"EHLO x\r\n")
        assert sock.recv(4096) == b""


def test_nobody_else_may_say_so(mail_site: Site) -> None:
    mail_site.set("relay-clients", "192.0.2.7")
    dialog = b"PROXY TCP4 192.0.2.7 198.51.100.1 4000 25\r\nQUIT\r\n"
    said, _ = inetd(mail_site, dialog, TCPREMOTEIP="198.51.100.9")
    assert b"\r\n500 5.5.2 " in said
    said, _ = inetd(
        mail_site, b"EHLO x\r\nXCLIENT ADDR=192.0.2.7\r\nQUIT\r\n", TCPREMOTEIP="198.51.100.9"
    )
    assert b"XCLIENT" not in said.partition(b"\r\n250 ")[0]
    assert b"\r\n550 5.7.0 " in said


def test_xclient_changes_who_the_peer_is(mail_site: Site) -> None:
    mail_site.set("xclient-clients", "198.51.100.9")
    mail_site.set("relay-clients", "198.51.100.9")
    said, _ = inetd(
        mail_site,
        b"EHLO x\r\nXCLIENT ADDR=IPV6:2001:db8::7 NAME=there.example HELO=me\r\nEHLO y\r\n"
        b"MAIL FROM:<>\r\nRCPT TO:<eve@example.net>\r\nRCPT TO:<bob@example.org>\r\n"
        b"BDAT 2 LAST\r\n\r\nQUIT\r\n",
        TCPREMOTEIP="198.51.100.9",
    )
    assert b"\r\n550 5.7.1 " in said
    ((envelope, message),) = entries(mail_site)
    assert envelope.client == "2001:db8::7 y"
    assert message.startswith(b"Received: from y (there.example [IPv6:2001:db8::7])\n")


def test_lmtp_over_a_unix_socket(mail_site: Site) -> None:
    path = mail_site.root / "lmtp"
    process = mail_site.start("smtpd-accept", "--lmtp", "--listen", str(path))
    assert process.stderr
    assert process.stderr.readline().startswith(b"listening ")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        said = speak(
            sock,
            b"LHLO x\r\nMAIL FROM:<>\r\n"
            b"RCPT TO:<bob@example.org>\r\nRCPT TO:<carol@example.org>\r\n"
            b"BDAT 2 LAST\r\n\r\nQUIT\r\n",
        )
    assert said.count(b"250 2.0.0 Ok: queued as ") == 2
    ((envelope, message),) = entries(mail_site)
    assert len(envelope.forward_paths) == 2
    assert b" with LMTP id " in message


def test_line_ends_of_old_clients_are_mended_for_who_may_relay(mail_site: Site) -> None:
    mail_site.set("relay-clients", "192.0.2.7")
    mail_site.set("bare-newlines", "mend")
    text = b"Subject: x\n\none\n.\ntwo\r\n"
    dialog = b"EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<bob@example.org>\r\n"
    dialog += b"BDAT %d LAST\r\n%bQUIT\r\n" % (len(text), text)
    said, _ = inetd(mail_site, dialog, TCPREMOTEIP="192.0.2.7")
    assert b"\r\n250 2.0.0 Ok: queued" in said
    said, _ = inetd(mail_site, dialog, TCPREMOTEIP="192.0.2.8")
    assert b"\r\n554 5.6.0 bare CR or LF" in said
    ((_, message),) = entries(mail_site)
    assert message.endswith(b"\nSubject: x\n\none\n.\ntwo\n")


def test_an_early_talker_is_turned_away(mail_site: Site) -> None:
    mail_site.set("greet-delay", "60")
    environ = {**mail_site.environ, "TCPREMOTEIP": "192.0.2.7"}
    done = mail_site.run("smtpd-accept", input=b"EHLO x\r\nQUIT\r\n", env=environ)
    assert [line[:3] for line in done.stdout.splitlines()] == [b"554", b"503", b"221"]
    assert b"refused at=greeting code=554 status=5.5.0 client=192.0.2.7" in done.stderr


def test_inetd_leaves_the_log_to_syslog(mail_site: Site) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        process = mail_site.start(
            "smtpd-accept", stdin=theirs, stdout=theirs, stderr=theirs.fileno()
        )
        theirs.close()
        said = speak(ours, b"EHLO x\r\nXYZZY\r\nQUIT\r\n")
    assert process.wait(30) == 0
    assert all(line[:3].isdigit() for line in said.splitlines())


def test_a_peer_that_leaves_in_the_middle_leaves_nothing(mail_site: Site) -> None:
    server = mail_site.listen("smtpd-accept")
    with socket.create_connection(server.address, timeout=30) as sock:
        said = speak(sock, b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n")
        assert b"\r\n354 " in said
        sock.sendall(b"Subject: x\r\n\r\n" + b"text\r\n" * 50000)
    assert "after=DATA" in server.log_line("lost ")
    assert entries(mail_site) == []
    assert list((mail_site.queue / "tmp").iterdir()) == []


# -- faults of the operator -----------------------------------------------------------------------


def test_faults_of_the_control_folder_are_all_named(mail_site: Site) -> None:
    mail_site.set("message-size", "big")
    mail_site.set("relay-clients", "192.0.2.0/24", "192.0.2.x")
    done = mail_site.run("smtpd-accept", "--tls", input=b"QUIT\r\n")
    assert done.returncode == 78
    assert done.stdout.startswith(b"421 4.3.5 mail.example.org ")
    for word in (b"message-size:1", b"relay-clients", b"192.0.2.x", b"tls-certificate"):
        assert word in done.stderr
    assert b"Traceback" not in done.stderr


def test_submission_and_lmtp_exclude_each_other(mail_site: Site) -> None:
    done = mail_site.run("smtpd-accept", "--submission", "--lmtp")
    assert done.returncode == 64
    assert b"--lmtp" in done.stderr


def test_the_certificate_is_read_again_when_it_changes(mail_site: Site, authority: Any) -> None:
    names = ("mail.example.org", "localhost", "127.0.0.1")
    mail_site.tls(authority.issue_cert(*names))
    server = mail_site.listen("smtpd-accept", "--limit", "1")
    seen = []
    for _ in range(2):
        with client(server) as smtp:
            smtp.starttls(context=context(authority))
            assert isinstance(smtp.sock, ssl.SSLSocket)
            certificate = smtp.sock.getpeercert()
            assert certificate
            seen.append(certificate["serialNumber"])
        mail_site.tls(authority.issue_cert(*names))
    assert seen[0] != seen[1]


def test_the_greeting_costs_no_library_it_does_not_need() -> None:
    code = (
        "import sys; import mailtools.commands.smtpd_accept;"
        "print(*{'ssl', 'dns', 'email', 'hashlib', 'logging', 'ipaddress'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    assert Path(BIN / "smtpd-accept").stat().st_mode & 0o111


def test_an_idle_peer_is_told_when_the_service_ends(mail_site: Site) -> None:
    server = mail_site.listen("smtpd-accept")
    with socket.create_connection(server.address, timeout=30) as sock:
        speak(sock, b"EHLO x\r\n")
        mail_site.running[-1].terminate()
        assert sock.recv(100).startswith(b"421 4.3.2 mail.example.org ")
        assert sock.recv(100) == b""
    assert mail_site.running[-1].wait(30) == 0


def test_a_renewal_is_seen_by_the_files(mail_site: Site, authority: Any) -> None:
    def renew() -> None:
        mail_site.tls(authority.issue_cert("mail.example.org"))

    seen = [tls_stamp(str(mail_site.etc))]
    for change in (renew, renew, (mail_site.etc / "key.pem").unlink, renew):
        change()
        seen.append(tls_stamp(str(mail_site.etc)))
        assert seen[-1] == tls_stamp(str(mail_site.etc))
    assert len(set(seen)) == len(seen)
