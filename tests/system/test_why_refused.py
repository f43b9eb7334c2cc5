"""mail-why with a log: why mail was refused before it came in, filed as junk, or held."""

import json
import smtplib
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import Server, Site
from dnsserver import DnsServer

ZONE = {
    "bank.test": {
        "TXT": ['"v=spf1 ip4:192.0.2.7 -all exp=why.bank.test"'],
        "A": ["192.0.2.7"],
    },
    "why.bank.test": {"TXT": ['"%{i} is listed by nobody"']},  # a stranger's words prove nothing
    "_dmarc.bank.test": {"TXT": ['"v=DMARC1; p=reject"']},
    "shop.test": {"A": ["192.0.2.8"], "TXT": ['"v=spf1 -all"']},
    "_dmarc.shop.test": {"TXT": ['"v=DMARC1; p=quarantine"']},
    "plain.test": {"A": ["192.0.2.8"]},
    "9.113.0.203.black.test": {"A": ["127.0.0.2"], "TXT": ['"see http://black.test/"']},
}
STRANGER, LISTED = "192.0.2.66", "203.0.113.9"


@pytest.fixture
def strict(site: Site) -> Iterator[Site]:
    """bob lives at example.org, which enforces what the checks find."""
    with DnsServer({name: dict(types) for name, types in ZONE.items()}) as dns:
        site.account("bob")
        site.set("resolver", dns.at)
        site.set("checks", "enforce")
        site.set("dnsbl", "black.test")
        site.set("xclient-clients", "127.0.0.1")
        yield site


class Door:
    """A server, and its log."""

    def __init__(self, site: Site, *arguments: str) -> None:
        self.site = site
        self.path = site.root / "log"
        process = site.start(
            "smtpd-accept", "--listen", "127.0.0.1:0", *arguments, stderr=self.path.open("wb")
        )
        self.server = Server(process, "127.0.0.1", self._port(process))

    def _port(self, process: "subprocess.Popen[bytes]") -> int:
        while b"\n" not in (text := self.path.read_bytes()):
            assert process.poll() is None
            time.sleep(0.01)
        return int(text.split(b"\n")[0].rpartition(b":")[2].split()[0])

    @contextmanager
    def client(self, address: str) -> Iterator[smtplib.SMTP]:
        with smtplib.SMTP(*self.server.address, local_hostname="a.test", timeout=30) as smtp:
            smtp.ehlo()
            smtp.docmd("XCLIENT", f"ADDR={address}")
            smtp.ehlo("mx.test")
            yield smtp

    def send(
        self, address: str, sender: str, to: str = "bob@example.org", author: str = ""
    ) -> None:
        text = f"From: {author or sender}\nMessage-ID: <m1@x.test>\n\nhello\n"
        with self.client(address) as smtp:
            try:
                smtp.sendmail(sender, [to], text)
            except smtplib.SMTPException:
                return

    def facts(self, asked: str) -> list[dict[str, object]]:
        done = self.site.run("mail-why", "--json", "--log", str(self.path), asked)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def text(self, *words: str) -> str:
        done = self.site.run("mail-why", "--log", str(self.path), *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()


@pytest.mark.parametrize(
    ("mail", "asked", "at", "kind"),
    [
        ((STRANGER, "a@plain.test", "nobody@example.org"), "a@plain.test", "rcpt", "address"),
        ((STRANGER, "a@plain.test", "x@elsewhere.test"), "x@elsewhere.test", "rcpt", "relay"),
        ((STRANGER, "a@gone.test", "bob@example.org"), "bob@example.org", "rcpt", "sender"),
        ((LISTED, "a@plain.test", "bob@example.org"), LISTED, "rcpt", "reputation"),
        ((STRANGER, "a@bank.test", "bob@example.org"), "bob@example.org", "message",
         "authentication"),
        ((STRANGER, "a@bank.test", "bob@example.org"), "<m1@x.test>", "message", "authentication"),
    ],
)  # fmt: skip
def test_what_was_refused_is_told_from_the_log(
    strict: Site, mail: tuple[str, str, str], asked: str, at: str, kind: str
) -> None:
    address, sender, to = mail
    door = Door(strict)
    door.send(address, sender, to)
    (fact,) = door.facts(asked)
    assert (fact["state"], fact["at"], fact["client"]) == ("refused", at, address)
    assert (fact["reverse_path"], fact["forward_paths"]) == (sender, [to])
    assert isinstance(fact["cause"], dict)
    assert fact["cause"]["kind"] == kind
    shown = door.text(asked)
    assert shown.startswith(f"refused at {at.upper()} ")
    assert f"cause: {kind} (" in shown


def test_a_dsn_for_what_was_never_sent_is_told(strict: Site) -> None:
    strict.set("batv-secrets", "secret").chmod(0o600)
    door = Door(strict)
    with door.client(STRANGER) as smtp:
        kind = 'Content-Type: multipart/report; report-type="delivery-status"; boundary=b'
        with pytest.raises(smtplib.SMTPDataError):
            smtp.sendmail("", ["bob@example.org"], f"From: a@plain.test\n{kind}\n\n--b--\n")
    (fact,) = door.facts("bob@example.org")
    assert isinstance(fact["cause"], dict)
    assert fact["cause"]["kind"] == "backscatter"
    assert "(a DSN without our tag)" in door.text("bob@example.org")


def test_what_was_greylisted_and_came_again_is_told_as_one(strict: Site) -> None:
    strict.set("greylist", "1")
    door = Door(strict)
    door.send(STRANGER, "a@plain.test")
    (first,) = door.facts("bob@example.org")
    assert isinstance(first["cause"], dict)
    assert first["cause"]["kind"] == "greylist"
    assert first["do"] == [f"smtpd-accept --pretend-from {STRANGER}:mx.test"]
    end = time.monotonic() + 30
    while not (new := list((strict.queue / "new").iterdir())):
        assert time.monotonic() < end
        door.send(STRANGER, "a@plain.test")
    (stamped,) = [
        b"".join(b"2020-01-01T10:00:00+00:00 host smtpd-accept[7]: " + line + b"\n"
                 for line in door.path.read_bytes().splitlines())
    ]  # fmt: skip
    done = strict.run("mail-why", "--log", "-", "a@plain.test", input=stamped)
    shown = done.stdout.decode()
    assert shown.startswith(f"{new[0].name}  is due now")
    assert f"since then: taken, as {new[0].name}" in shown


def test_junk_says_why_while_it_waits_and_when_it_is_delivered(strict: Site) -> None:
    door = Door(strict)
    door.send(STRANGER, "a@shop.test")
    for _ in range(2):
        shown = strict.run("mail-why", "a@shop.test").stdout.decode()
        assert "judged    junk (DMARC quarantine): SPF fail, DKIM none, DMARC fail (shop.test)" in (
            shown
        )
        assert "cause: junk (the sender's). It goes into Junk: nothing proves" in shown
        strict.run("queue-run")
    assert "  delivered " in shown


def test_a_content_program_that_says_junk_is_named(strict: Site) -> None:
    strict.set("content-programs", "exit 99", "true")
    strict.set("checks", "mark")
    door = Door(strict)
    door.send(STRANGER, "a@bank.test")
    assert strict.run("queue-run").returncode == 0
    shown = strict.run("mail-why", "bob@example.org").stdout.decode()
    assert "judged    only marked, else refuse (DMARC reject): SPF fail" in shown
    assert "programs  exit junk, true taken" in shown
    assert "It goes into Junk: exit says so" in shown


def test_a_held_message_names_what_holds_it(strict: Site) -> None:
    strict.set("hold", "from *@plain.test")
    door = Door(strict)
    door.send(STRANGER, "a@plain.test")
    strict.run("queue-run")
    (file,) = (strict.queue / "hold").iterdir()
    shown = strict.run("mail-why", file.name).stdout.decode()
    by = "the rule 'from *@plain.test' of the control file hold"
    assert shown.startswith(f"{file.name}  is held by {by}\n")
    assert f"do        queue-edit release {file.name}\n" in shown
    assert strict.run("queue-edit", "release", file.name).returncode == 0
    assert strict.run("queue-run").returncode == 0
    shown = strict.run("mail-why", file.name).stdout.decode()
    assert shown.startswith(f"{file.name}  delivered ")
    assert f" by {by}\n  released  " in shown


def test_a_budget_that_holds_is_named(strict: Site) -> None:
    strict.set("user-budget", "1")
    strict.set("plaintext-login", "yes")
    door = Door(strict, "--submission")
    with smtplib.SMTP(*door.server.address, timeout=30) as smtp:
        smtp.login("bob", "secret")
        for _ in range(2):
            smtp.sendmail("bob@example.org", ["a@x.test"], "From: bob@example.org\n\nhi\n")
    (file,) = (strict.queue / "hold").iterdir()
    shown = door.text(file.name)
    assert "is held by the budget of bob: 1 recipients an hour, 1 were written to and" in shown
    assert "by ESMTPA as bob, " in shown
    assert "queue-list --state hold --from 'bob@example.org'" in shown


def test_a_login_that_failed_is_told(strict: Site) -> None:
    strict.set("plaintext-login", "yes")
    door = Door(strict, "--submission")
    with smtplib.SMTP(*door.server.address, timeout=30) as smtp:
        for _ in range(2):
            with pytest.raises(smtplib.SMTPAuthenticationError):
                smtp.login("bob", "wrong", initial_response_ok=True)
    shown = door.text("bob")
    assert "refused at LOGIN" in shown
    assert "cause: login (the sender's)." in shown


def test_what_only_the_log_knows_any_more(strict: Site) -> None:
    door = Door(strict)
    door.send(STRANGER, "a@plain.test")
    done = strict.run("queue-run")
    with door.path.open("ab") as log:
        log.write(done.stderr)
    (entry,) = (strict.queue / "history").iterdir()
    entry.unlink()
    for asked in ("a@plain.test", "bob@example.org", "<m1@x.test>", STRANGER):
        (fact,) = door.facts(asked)
        assert (fact["state"], fact["outcome"]) == ("finished", "delivered")
        assert fact["message_id"] == "<m1@x.test>"
    assert "judged    accept: SPF " in door.text("a@plain.test")


def test_a_log_that_is_not_there_is_exit_66(strict: Site) -> None:
    done = strict.run("mail-why", "--log", "no/such/log", "bob@example.org")
    assert done.returncode == 66
    assert b"There is no log file no/such/log" in done.stderr


def test_what_a_milter_discarded_is_told(strict: Site) -> None:
    log = (
        "filtered id=1764000000.M000001P1R1 milter=inet:127.0.0.1:1 at=message client=192.0.2.7 "
        "verdict=discard\ndiscarded id=1764000000.M000001P1R1 milter=inet:127.0.0.1:1 "
        'client="192.0.2.7 mx.test" from=<a@x.test> to=1 size=99\n'
    )
    done = strict.run("mail-why", "--log", "-", "a@x.test", input=log.encode())
    shown = done.stdout.decode()
    by = "(by the milter inet:127.0.0.1:1); its sender was told that it is taken"
    assert shown.startswith(f"1764000000.M000001P1R1  was discarded {by}\n")
    assert "log       - filtered milter=inet:127.0.0.1:1 verdict=discard\n" in shown
