"""Milters behind smtpd-accept: each answer, each change, and each way to go wrong."""

import smtplib
import socket
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, Site
from dnsserver import DnsServer
from fakemilter import DIE, HANG, FakeMilter

TEXT = b"From: alice@example.net\r\nSubject: a subject\r\nX-Old: 1\r\n\r\nHello\r\n"

Answers = Mapping[str, Sequence[bytes]]


class Behind:
    """smtpd-accept behind milters that are made as they are asked for."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.milters: list[FakeMilter] = []
        for name in ("bob", "carol"):
            site.account(name)

    def listen(self, *answers: Answers, words: str = "", options: Sequence[str] = ()) -> Server:
        """Start the server with a milter for each of the answers; `words` stand behind each."""
        self.milters = [FakeMilter(each) for each in answers]
        self.site.set("milters", *(f"{milter.endpoint} {words}" for milter in self.milters))
        return self.site.listen("smtpd-accept", *options)

    def entries(self, folder: str = "new") -> list[tuple[str, str]]:
        """Envelope and message of each entry, oldest first."""
        paths = sorted((self.site.queue / folder).iterdir())
        parts = (path.read_text().partition("\n\n") for path in paths)
        return [(head, text) for head, _, text in parts]

    def nothing_is_left(self) -> bool:
        return self.entries() == [] and list((self.site.queue / "tmp").iterdir()) == []


@pytest.fixture
def behind(site: Site) -> Iterator[Behind]:
    made = Behind(site)
    yield made
    for milter in made.milters:
        milter.close()


class Client(smtplib.SMTP):
    """A client that says its EHLO at once."""

    def __init__(self, server: Server) -> None:
        super().__init__(*server.address, local_hostname="client.example.com", timeout=60)
        self.ehlo()

    def message(self, *recipients: str, text: bytes = TEXT) -> tuple[int, str]:
        """Send a message; give the reply to it, or to what was refused before."""
        code, said = self.docmd("MAIL", "FROM:<alice@example.net>")
        if code == 250:
            replies = [self.rcpt(f"{name}@example.org") for name in recipients or ("bob",)]
            code, said = min(replies)
        if code == 250:
            code, said = self.docmd("DATA")
        if code == 354:
            self.send(text + b".\r\n")
            code, said = self.getreply()
        return code, said.decode()


def number(value: int) -> bytes:
    return struct.pack("!I", value)


# -- answers --------------------------------------------------------------------------------------


REFUSALS: list[tuple[Answers, tuple[int, str]]] = [
    ({"M": [b"r"]}, (550, "5.7.1 Command rejected")),
    ({"M": [b"t"]}, (451, "4.7.1 Service unavailable - try again later")),
    ({"R": [b"y550 5.7.1 not him\0"]}, (550, "5.7.1 not him")),
    ({"T": [b"y451 4.3.2 100%% busy\0"]}, (451, "4.3.2 100% busy")),
    ({"L": [b"r"]}, (550, "5.7.1 Command rejected")),
    ({"B": [b"p", b"t"]}, (451, "4.7.1 Service unavailable - try again later")),
    ({"E": [b"y554-5.6.0 one\r\n554 5.6.0 two\0"]}, (554, "5.6.0 one\n5.6.0 two")),
    ({"E": [b"y550 no status\0"]}, (550, "5.7.1 no status")),
]


def test_refusals(behind: Behind) -> None:
    server = behind.listen({})
    with Client(server) as client:
        for answers, reply in REFUSALS:
            behind.milters[0].answers = dict(answers)
            assert client.message() == reply, answers
            assert server.log_line("filtered ")
            client.rset()
    assert behind.milters[0].sessions == 1
    assert behind.nothing_is_left()


@pytest.mark.parametrize(
    ("answer", "to", "code"),
    [
        (b"y550 5.7.1 Spam message rejected\0", ("bob",), 550),
        (b"y550 5.7.1 Spam message rejected\0", ("postmaster",), 250),
        (b"y550 5.7.1 Spam message rejected\0", ("Abuse", "postmaster"), 250),
        (b"y550 5.7.1 Spam message rejected\0", ("abuse", "bob"), 550),
        (b"y550 5.7.1 Eicar virus found\0", ("abuse",), 550),
        (b"t", ("abuse",), 451),
    ],
)
def test_a_complaint_may_hold_what_it_is_about(
    behind: Behind, answer: bytes, to: tuple[str, ...], code: int
) -> None:
    server = behind.listen({"E": [answer]})
    with Client(server) as client:
        assert client.message(*to)[0] == code
    assert len(behind.entries()) == (code == 250)


def test_a_reply_of_421_ends_the_session(behind: Behind) -> None:
    server = behind.listen({"M": [b"y421 4.7.0 go\0"]})
    with Client(server) as client:
        assert client.message() == (421, "4.7.0 mail.example.org go")
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.noop()


@pytest.mark.parametrize("at", ["C", "H"])
def test_who_is_put_off_for_good_hears_it_at_mail(behind: Behind, at: str) -> None:
    server = behind.listen({at: [b"t"]})
    with Client(server) as client:
        for _ in range(2):
            assert client.message()[0] == 451
    assert behind.milters[0].sessions == 1


def test_a_refused_peer_is_greeted_with_554(behind: Behind) -> None:
    server = behind.listen({"C": [b"y550 5.7.1 your network\0"]})
    with smtplib.SMTP(timeout=60) as client:
        assert client.connect(*server.address)[0] == 554


def test_one_recipient_is_refused_and_the_other_gets_it(behind: Behind) -> None:
    wanted: dict[str, Sequence[bytes]] = {}
    server = behind.listen(wanted)
    with Client(server) as client:
        client.mail("alice@example.net")
        assert client.rcpt("bob@example.org")[0] == 250
        wanted["R"] = [b"r"]
        behind.milters[0].answers["R"] = [b"r"]
        assert client.rcpt("carol@example.org")[0] == 550
        assert client.rcpt("bob@example.org")[0] == 550  # again: the first answer stands
        assert client.data(TEXT)[0] == 250
    ((head, _),) = behind.entries()
    assert "forward-path bob@example.org" in head
    assert "carol" not in head


def test_what_is_discarded_is_answered_and_logged_and_nowhere(behind: Behind) -> None:
    for answers in ({"E": [b"d"]}, {"M": [b"d"]}):
        server = behind.listen(answers, {})
        with Client(server) as client:
            code, said = client.message()
        assert (code, said[:17]) == (250, "2.0.0 Ok: queued ")
        assert f"id={said.split()[-1]} " in server.log_line("discarded ")
        assert behind.nothing_is_left()
        assert "E" not in behind.milters[1].commands()


def test_an_accepted_peer_is_not_asked_about_any_more(behind: Behind) -> None:
    server = behind.listen({"H": [b"a"]}, {"M": [b"a"]}, {})
    with Client(server) as client:
        assert client.message()[0] == client.message()[0] == 250
    assert [milter.commands().rstrip("Q") for milter in behind.milters] == [
        "CH", "CHMAMA", "CHMRTLLLNBEAMRTLLLNBEA",
    ]  # fmt: skip
    assert len(behind.entries()) == 2


def test_quarantine_is_a_held_entry_with_its_reason(behind: Behind) -> None:
    server = behind.listen(
        {"E": [b"qa strange attachment\0", b"c"]}, {"E": [b"hX-After\0it\0", b"c"]}
    )
    with Client(server) as client:
        code, said = client.message()
    assert code == 250
    ((_, text),) = behind.entries("hold")
    assert "\nX-After: it\n" in text
    assert behind.entries() == []
    journal = (behind.site.queue / "log" / said.split()[-1]).read_text()
    assert "held" in journal
    assert f"the milter {behind.milters[0].endpoint}: a strange attachment" in journal


# -- changes --------------------------------------------------------------------------------------


def test_the_envelope_is_changed(behind: Behind) -> None:
    server = behind.listen(
        {"E": [b"+<carol@example.org>\0", b"+<bob@example.org>\0", b"-<Bob@example.org>\0",
               b"2eve@elsewhere.test\0NOTIFY=NEVER X=1\0", b"e<eve@example.net>\0RET=HDRS\0",
               b"+<not an address\0", b"c"]}
    )  # fmt: skip
    with Client(server) as client:
        assert client.message()[0] == 250
    ((head, _),) = behind.entries()
    assert head.splitlines()[2:] == [
        "parameter RET=HDRS",
        f"parameter SCREENED={behind.milters[0].endpoint}:0",
        "reverse-path eve@example.net",
        "forward-path carol@example.org",
        "forward-path eve@elsewhere.test NOTIFY=NEVER",
    ]
    assert "the parameter 'X=1'" in server.log_line("trouble ")
    assert "RecipientAdded" in server.log_line("trouble ")


def test_a_message_for_nobody_is_gone(behind: Behind) -> None:
    server = behind.listen({"E": [b"-<bob@example.org>\0", b"c"]})
    with Client(server) as client:
        assert client.message()[0] == 250
    assert "no recipient is left" in server.log_line("discarded ")
    assert behind.nothing_is_left()


def test_each_sees_what_those_before_it_made(behind: Behind) -> None:
    server = behind.listen(
        {"E": [b"hX-One\0first\n\tfolded\0", b"m" + number(1) + b"Subject\0another\0",
               b"bnew\r\ntext", b"c"]},
        {"E": [b"i" + number(0) + b"X-Two\0top\0", b"a"]},
    )  # fmt: skip
    with Client(server) as client:
        assert client.message()[0] == 250
    second = behind.milters[1]
    assert second.said("L") == [
        b"From\0alice@example.net\0", b"Subject\0another\0", b"X-Old\x001\0",
        b"X-One\0first\n\tfolded\0",
    ]  # fmt: skip
    assert second.said("B") == [b"new\r\ntext\r\n"]
    ((_, text),) = behind.entries()
    assert text.startswith("X-Two: top\nReceived: from client.example.com")
    assert text.endswith("X-Old: 1\nX-One: first\n\tfolded\n\nnew\ntext\n")


def test_a_large_message_comes_through_whole(behind: Behind) -> None:
    server = behind.listen({})
    line = b"0123456789" * 7 + b"\r\n"
    with Client(server) as client:
        assert client.message(text=TEXT + line * 40000)[0] == 250
    assert b"".join(behind.milters[0].said("B")) == b"Hello\r\n" + line * 40000
    ((_, text),) = behind.entries()
    assert text.endswith("\n\nHello\n" + (line * 40000).decode().replace("\r\n", "\n"))


def test_a_mark_of_a_spam_filter_means_junk(behind: Behind) -> None:
    server = behind.listen({"E": [b"m" + number(1) + b"X-Spam\0Yes\0", b"a"]})
    with Client(server) as client:
        client.message()
        behind.milters[0].answers["E"] = [b"a"]
        client.message(text=b"X-Spam: Yes\r\n" + TEXT)  # a stranger's own word is none
    first, second = behind.entries()
    assert f"SCREENED={behind.milters[0].endpoint}:99\n" in first[0]  # as a content program's
    assert "parameter JUNK" in first[0]
    assert "parameter JUNK" not in second[0]


def test_content_programs_see_what_milters_made(behind: Behind) -> None:
    behind.site.set("content-programs", "grep -q '^X-Milter: yes' && exit 99; exit 31")
    server = behind.listen({"E": [b"hX-Milter\0yes\0", b"+<carol@example.org>\0", b"c"]})
    with Client(server) as client:
        code, said = client.message()
    assert code == 250
    ((head, text),) = behind.entries()
    assert f"SCREENED={behind.milters[0].endpoint}:0 grep:99\n" in head
    assert head.endswith("forward-path bob@example.org\nforward-path carol@example.org")
    assert f" id {said.split()[-1]}\n" in text


# -- what milters are told ------------------------------------------------------------------------


def test_what_milters_are_told(behind: Behind) -> None:
    server = behind.listen({})
    with Client(server) as client:
        client.docmd("MAIL", "FROM:<alice@example.net> BODY=8BITMIME")
        client.docmd("RCPT", "TO:<nobody@example.org>")
        client.docmd("RCPT", "TO:<bob@example.org>")
        client.docmd("XYZZY")
        said = client.data(TEXT)[1].decode()
    milter = behind.milters[0]
    assert milter.commands().rstrip("Q") == "CHMRUTLLLNBEA"
    assert milter.said("C")[0].startswith(b"localhost\x004")
    assert milter.said("C")[0].endswith(b"127.0.0.1\0")
    assert milter.said("H") == [b"client.example.com\0"]
    assert milter.said("M") == [b"<alice@example.net>\0BODY=8BITMIME\0"]
    assert milter.said("R") == [b"<bob@example.org>\0"]
    assert milter.macros("C")["j"] == "mail.example.org"
    assert milter.macros("C")["{client_addr}"] == "127.0.0.1"
    assert milter.macros("R")["{rcpt_addr}"] == "bob@example.org"
    assert milter.macros("E")["i"] == said.split()[-1]


def test_refused_recipients_are_told_to_who_wants_them(behind: Behind) -> None:
    server = behind.listen({})
    behind.milters[0].steps = 1 << 11
    with Client(server) as client:
        client.docmd("MAIL", "FROM:<alice@example.net>")
        assert client.docmd("RCPT", "TO:<nobody@example.org>")[0] == 550
    assert behind.milters[0].said("R") == [b"<nobody@example.org>\0"]
    assert behind.milters[0].macros("R")["{rcpt_mailer}"] == "error"


def test_what_is_found_of_strangers_is_neither_shown_nor_changed(behind: Behind) -> None:
    site = behind.site
    with DnsServer({}) as dns:
        site.set("resolver", dns.at)
        site.set("checks", "mark")
        site.set("xclient-clients", "127.0.0.1")
        server = behind.listen({"E": [b"m" + number(1) + b"Authentication-Results\0\0", b"a"]})
        with Client(server) as client:
            client.docmd("XCLIENT", "ADDR=192.0.2.7")
            client.ehlo()
            forged = b"Authentication-Results: mail.example.org; spf=pass\r\n"
            assert client.message(text=forged + TEXT)[0] == 250
    (milter,) = behind.milters
    assert milter.said("L")[0] == b"From\0alice@example.net\0"
    assert milter.said("C")[1].startswith(b"[192.0.2.7]\x004")
    assert milter.macros("C")["{client_name}"] == "unknown"
    assert milter.macros("C")["{client_resolve}"] == "FAIL"
    ((head, text),) = behind.entries()
    assert text.startswith("Authentication-Results: mail.example.org;")
    assert text.count("Authentication-Results") == 1
    assert "JUDGED=" in head
    assert "SCREENED=" in head


def test_logins_and_tls_are_told(secure_site: Site) -> None:
    secure_site.account("bob")
    milter = FakeMilter()
    secure_site.set("milters", milter.endpoint)
    server = secure_site.listen("smtpd-accept", "--submission")
    with smtplib.SMTP(*server.address, local_hostname="client.example.com", timeout=60) as client:
        client.starttls()
        client.login("bob", "secret")
        client.sendmail("bob@example.org", ["bob@example.org"], TEXT.replace(
            b"alice@example.net", b"bob@example.org"))  # fmt: skip
    milter.close()
    assert milter.macros("H")["{tls_version}"].startswith("TLSv1.")
    assert milter.macros("M")["{auth_authen}"] == "bob"
    assert milter.macros("M")["{auth_type}"] in ("SCRAM-SHA-256", "PLAIN", "CRAM-MD5", "LOGIN")


def test_another_peer_by_xclient_is_another_session(behind: Behind) -> None:
    behind.site.set("xclient-clients", "127.0.0.1")
    server = behind.listen({})
    with Client(server) as client:
        client.docmd("XCLIENT", "ADDR=2001:db8::7 NAME=out.example.com PORT=99")
        client.ehlo()
        assert client.message()[0] == 250
    milter = behind.milters[0]
    assert milter.sessions == 2
    assert milter.said("C")[1] == b"out.example.com\x006" + struct.pack("!H", 99) + b"2001:db8::7\0"
    assert milter.macros("C")["{client_addr}"] == "IPv6:2001:db8::7"


def test_an_exempt_client_is_not_shown(behind: Behind) -> None:
    behind.site.set("milter-exempt", "127.0.0.0/8")
    server = behind.listen({"M": [b"r"]})
    with Client(server) as client:
        assert client.message()[0] == 250
    assert behind.milters[0].sessions == 0


def test_a_milter_may_be_for_one_side_only(behind: Behind) -> None:
    server = behind.listen({"M": [b"r"]}, words="submission")
    with Client(server) as client:
        assert client.message()[0] == 250
    assert behind.milters[0].sessions == 0
    server = behind.listen({"M": [b"r"]}, words="accept exchange 5s")
    with Client(server) as client:
        assert client.message()[0] == 550
    server = behind.listen({"C": [b"r"]}, words="submission", options=["--submission"])
    with pytest.raises(smtplib.SMTPConnectError, match="554"):
        Client(server)


def test_lmtp_answers_for_each(behind: Behind) -> None:
    server = behind.listen({"E": [b"r"]}, options=["--lmtp"])
    with smtplib.LMTP(*server.address) as client:
        client.ehlo()
        client.mail("alice@example.net")
        client.rcpt("bob@example.org")
        client.rcpt("carol@example.org")
        client.docmd("DATA")
        client.send(TEXT + b".\r\n")
        assert [client.getreply()[0] for _ in range(2)] == [550, 550]


# -- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "code", "folder"),
    [
        ("tempfail", 451, ""),
        ("accept", 250, "new"),
        ("quarantine", 250, "hold"),
        ("reject", 550, ""),
    ],
)
def test_a_milter_that_dies(behind: Behind, word: str, code: int, folder: str) -> None:
    server = behind.listen({}, words=word)
    for count, at in enumerate("OCHMRTLNBE", 1):
        behind.milters[0].answers = {at: DIE if at != "O" else [b"?"]}
        if word == "reject" and at in "OC":
            with smtplib.SMTP(timeout=60) as client:
                assert client.connect(*server.address)[0] == 554
        else:
            with Client(server) as client:
                assert client.message()[0] == code, at
        for name in ("new", "hold"):
            assert len(behind.entries(name)) == (count if name == folder else 0), at
        assert f"action={word}" in server.log_line("trouble ")


def test_a_milter_that_comes_back_is_asked_again_in_the_session(behind: Behind) -> None:
    server = behind.listen({"R": DIE})
    with Client(server) as client:
        assert client.message()[0] == 451
        client.rset()
        behind.milters[0].answers.clear()
        assert client.message()[0] == 250
        behind.milters[0].hang_up()  # between two messages: nobody notices
        assert client.message()[0] == 250
    assert len(behind.entries()) == 2
    assert behind.milters[0].commands().count("H") == 3


RUBBISH: list[Answers] = [
    {"E": HANG},
    {"E": [b"?what"]},
    {"E": [b"cjunk"]},
    {"M": [b"hX\0y\0"]},
    {"E": [b"y999 nonsense\0"]},
    {"O": [b"c"]},
    {"O": [b"O" + number(9) + number(0) * 2]},
]


def test_a_milter_that_says_nothing_or_rubbish(behind: Behind) -> None:
    server = behind.listen({}, words="1s")
    for answers in RUBBISH:
        behind.milters[0].answers = dict(answers)
        with Client(server) as client:
            reply = client.message()
        assert reply == (451, "4.7.1 Service unavailable - try again later"), answers
        assert "action=tempfail" in server.log_line("trouble ")
    assert behind.nothing_is_left()


def test_a_giant_packet_is_not_waited_for(behind: Behind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def giant() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"\xff\xff\xff\xffO")
                connection.recv(1)  # until it hangs up

        thread = threading.Thread(target=giant)
        thread.start()
        behind.site.set("milters", f"inet:127.0.0.1:{listener.getsockname()[1]} accept")
        server = behind.site.listen("smtpd-accept")
        with smtplib.SMTP(*server.address) as client:
            thread.join(30)
            assert client.noop()[0] == 250
        assert "a packet of 4294967295 octets" in server.log_line("trouble ")


def test_nobody_listens(behind: Behind, tmp_path: Path) -> None:
    behind.site.set("milters", f"unix:{tmp_path}/no.sock")
    server = behind.site.listen("smtpd-accept")
    with Client(server) as client:
        assert client.message()[0] == 451
    assert "No such file or directory" in server.log_line("trouble ")


def test_lines_that_are_no_milters_are_faults(site: Site) -> None:
    good = ["inet:[::1]:11332 accept 5min", "inet6:8891@::1", "local:/run/x"]
    bad = {
        "localhost:11332": "'localhost:11332' is no milter",
        "inet:localhost": "'inet:localhost' is no milter",
        "inet:localhost:0": "is no milter",
        "inet::25": "is no milter",
        "unix:relative": "is no milter",
        "inet:localhost:11332 maybe": "'maybe' is neither a duration nor one of tempfail",
        "unix:/run/x 10parsecs": "'10parsecs' is neither",
    }
    site.set("milters", *good, *bad)
    done = site.run("smtpd-accept", input=b"QUIT\r\n")
    faults = [line for line in done.stderr.decode().splitlines() if "/milters:" in line]
    for number_, (fault, words) in enumerate(zip(faults, bad.values(), strict=True), 4):
        assert f"milters:{number_}: " in fault
        assert words in fault
    assert done.returncode == 78


# -- by hand --------------------------------------------------------------------------------------


def test_a_rehearsal_tells_what_milters_say(behind: Behind) -> None:
    milter = FakeMilter({"R": [b"y550 5.7.1 not him\0"], "E": [b"hX-A\0b\0", b"c"]})
    behind.milters = [milter]
    behind.site.set("milters", milter.endpoint)

    def rehearse(*commands: str) -> Any:
        lines = "".join(f"{command}\r\n" for command in commands).encode()
        arguments = ("--pretend-from", "192.0.2.7:client.example.com")
        return behind.site.run("smtpd-accept", *arguments, input=lines).stderr.decode()

    start = ("MAIL FROM:<alice@example.net>", "RCPT TO:<bob@example.org>")
    where = f"milter {milter.endpoint}"
    assert f"{where}: rcpt: reject 550 5.7.1 not him\n" in rehearse(*start, "QUIT")
    del milter.answers["R"]
    told = rehearse(*start, "DATA", "Subject: x", "", ".", "QUIT")
    assert f"{where}: message: continue HeaderAdded:1\n" in told
    assert not behind.site.queue.exists() or behind.entries() == []
