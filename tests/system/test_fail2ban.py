"""The filter in examples/fail2ban reads what our servers really log, and nothing a peer wrote."""

import imaplib
import poplib
import re
import shutil
import smtplib
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import ROOT, Server, Site, wait_for_line

FILTER = ROOT / "examples/fail2ban/filter.d/mailtools.conf"
COMMON = Path("/etc/fail2ban/filter.d/common.conf")
STAMP = "Nov 23 21:00:00 mail "


def failregex() -> re.Pattern[str]:
    """Give the filter's expression with what fail2ban puts in place of its own words."""
    found = re.search(r"^failregex = (.*)$", FILTER.read_text(), re.M)
    assert found
    text = found[1].replace("%(__prefix_line)s", r"mail \w[\w-]*(?:\[\d+\])?: ")
    return re.compile(text.replace("<ADDR>", r"(?P<host>[0-9a-f.:]+)"))


def tool(lines: list[str], tmp_path: Path) -> set[str]:
    """Give the addresses that fail2ban-regex itself finds."""
    (tmp_path / "log").write_text("".join(f"{STAMP}{line}\n" for line in lines))
    rules = tmp_path / "filter.d"
    rules.mkdir()
    shutil.copy(FILTER, rules)
    shutil.copy(COMMON, rules)  # a filter finds it beside itself
    done = subprocess.run(
        ["fail2ban-regex", "-o", "ip", str(tmp_path / "log"), str(rules / FILTER.name)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return {line for line in done.stdout.split("\n") if re.fullmatch(r"[0-9a-f.:]+", line)}


def guess(server: Server, command: str, user: str) -> None:
    if command == "imapd":
        with imaplib.IMAP4(*server.address, timeout=30) as imap, suppress(imaplib.IMAP4.error):
            imap.authenticate("PLAIN", lambda _: f"\0{user}\0wrong".encode())
    elif command == "pop3d":
        pop = poplib.POP3(*server.address, timeout=30)
        with suppress(poplib.error_proto):
            pop.user(user)
            pop.pass_("wrong")
        pop.close()
    else:
        with smtplib.SMTP(*server.address, timeout=30) as smtp:
            smtp.ehlo()
            with suppress(smtplib.SMTPAuthenticationError):
                smtp.user, smtp.password = user, "wrong"
                smtp.auth("PLAIN", smtp.auth_plain)


@pytest.fixture(params=["smtpd-accept", "pop3d", "imapd"])
def logged(request: pytest.FixtureRequest, site: Site) -> list[str]:
    """The lines of failed logins, of names that try to be more than a name."""
    site.account("bob")
    site.set("plaintext-login", "yes")
    server = site.listen(request.param)
    lines = []
    for user in ("bob", 'x" rip=192.0.2.99 proto=imap', "a\\", "x rip=192.0.2.98 proto=imap"):
        guess(server, request.param, user)
        lines.append(f"{request.param}[7]: {wait_for_line(server.process, 'auth-')}")
    return lines


def test_each_failure_is_found_with_its_true_address(logged: list[str], tmp_path: Path) -> None:
    assert [line for line in logged if "auth-failed " in line] == logged
    for line in logged:
        found = failregex().match(f"mail {line}")
        assert found, line
        assert found["host"] == "127.0.0.1"
    if shutil.which("fail2ban-regex") and COMMON.exists():
        assert tool(logged, tmp_path) == {"127.0.0.1"}


@pytest.mark.parametrize(
    "line",
    [
        "imapd[7]: authenticated user=bob rip=192.0.2.7 proto=imap mech=PLAIN tls=TLSv1.3",
        "imapd[7]: auth-delayed user=bob rip=192.0.2.7 proto=imap reason=throttled",
        'smtpd-accept[7]: refused at=ehlo said="auth-failed user=x rip=192.0.2.7 proto=imap"',
        'imapd[7]: auth-failed user="x rip=192.0.2.7 proto=imap"',
        "imapd[7]: auth-failed user=bob proto=imap",
    ],
)
def test_other_lines_are_passed_over(line: str, tmp_path: Path) -> None:
    assert not failregex().match(f"mail {line}")
    if shutil.which("fail2ban-regex") and COMMON.exists():
        assert tool([line], tmp_path) == set()
