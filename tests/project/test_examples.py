"""The EXAMPLES of the man pages are typed as they stand there, on a host made for it.

Paths of a real host stand for those of a site of the test, IDs for one of its queue; programs of
others that not every host has are played by a few lines of shell.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import BIN, Site
from dnsserver import DnsServer

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import DELAYED, Report
from mailtools.services.reports.read_values import Incoming, to_json
from mailtools.store.queue import Queue

ROOT = Path(__file__).parents[2]
ID = "1764000000.M012345P2R3"  # what pages call an entry; so is one of the site's
OTHER_ID = "1795463714.M131842P364R286db954"

# What the host of the test has not: a listener's port of root's, a network, another mail server.
NOT_HERE = re.compile(
    r"tcpserver|mlmmj|^exec |cat /etc/mailtools/|< dialog|dkimkeys|mail-sts .*(set|check)"
    r"|^aliases$|^virtual$"
)
# What may well end so there: nobody listens, nothing is due, a fault was found on purpose.
EXITS = (
    (r"mail-check(?! --show)", {0, 1, 69, 75, 78}),
    (r"mail-route --dial|^relay-send", {75}),
    (r"mail-dkim rotate --every", {65}),  # there is no key yet
    (r"grep would=", {0, 1}),
)
STUBS = {
    "nsd-control": "", "systemctl": "", "crontab": "cat > /dev/null", "pwgen": "echo a-long-one",
    "journalctl": 'cat "$HOME/log"', "less": "cat", "chgrp": "", "intake": "cat > /dev/null",
}  # fmt: skip
TOOLS = re.compile(r"\b(jq|swaks|git|rspamc|clamdscan|spamc)\b")


def unescaped(line: str) -> str:
    for written, meant in ((r"\(dq", '"'), (r"\&", ""), (r"\(aq", "'"), (r"\e", "\\")):
        line = line.replace(written, meant)
    return line


def blocks(page: Path) -> Iterator[list[str]]:
    """Give the displays of a page's EXAMPLES: a one-line display, or the lines of a block."""
    match = re.search(r"^\.Sh EXAMPLES\n(.*?)^\.Sh ", page.read_text(), re.M | re.S)
    inside: list[str] | None = None
    for line in (match[1] if match else "").splitlines():
        if line.startswith(".Bd"):
            inside = []
        elif line == ".Ed":
            yield inside or []
            inside = None
        elif inside is not None:
            inside.append(unescaped(line))
        elif line.startswith(".Dl "):
            yield [unescaped(line[4:])]


def commands(block: list[str]) -> Iterator[str]:
    """Give what is typed in a display: lines behind a prompt, or the whole of a script."""
    if not any(line.startswith(("$ ", "# ")) for line in block):
        first = block[0].split()[0]
        if (BIN / first).exists() or first in ("cd", "cp", "echo", "printf", "ls", "sed"):
            yield "\n".join(block)
        return
    typed = ""
    for line in block:
        if line.startswith(("$ ", "# ")) or typed:
            typed += line.removeprefix("$ ").removeprefix("# ") if not typed else line
            if typed.endswith(("\\", "|")):
                typed += "\n"
            else:
                yield typed
                typed = ""


EXAMPLES = [
    pytest.param(typed, id=f"{page.name} {' '.join(typed.split())[:40]}")
    for page in sorted((ROOT / "man").rglob("*.[1-9]"))
    for block in blocks(page)
    for typed in commands(block)
    if not NOT_HERE.search(typed)
]


@pytest.fixture
def host(secure_site: Site) -> Iterator[Site]:
    """bob's host: an entry that waits, mail in his Maildir, a log, reports, a file `message`."""
    site = secure_site
    letter = "From: alice@example.net\nTo: carol@example.org\nSubject: hello\n\nhi\n"
    for name in ("message", "letter.eml"):
        (site.root / name).write_text(letter)
    (site.root / "log").write_text(
        f"delivered id={OTHER_ID} to=carol@example.net status=2.0.0\n"
        "refused at=rcpt said=TO:<carol@example.org> code=550 status=5.7.1 from=<a@x.test>\n"
    )
    report = Incoming("dmarc", "they", "1", "example.org", 0.0, 0.0, "", ())
    (site.root / "all").write_text(f"{to_json(report)}\n")
    (site.root / "mailtools").mkdir()
    site.set("routes", ":127.0.0.1:1")  # nobody is there
    site.set("dmarc-reports")
    site.set("tls-reports")
    site.account("bob")
    with (site.etc / "accounts").open("a") as file:
        file.write("bob@example.org:{PLAIN}secret\nalice:{PLAIN}secret\n")
    site.set("aliases", "team: bob, carol@example.net")
    site.set("dkim-keys")
    queue = Queue(str(site.queue))
    queue.create()
    for id_, sender, path in (
        (ID, "bob@example.org", "carol@example.net"),
        ("1764000001.M012345P2R4", "alice@example.org", "dave@example.com"),
    ):
        writer = queue.begin(Envelope(sender, (ForwardPath(path),), {}, "local bob"), id_)
        writer.write(letter.encode())
        entry = queue.open(writer.commit())
        queue.record(entry, [Report(path, DELAYED, "4.4.1", "No answer")], 1764000001.0)
    shutil.copytree(site.queue / "new", site.root / "old/queue/new")
    text = (site.queue / "new" / ID).read_text().replace("carol@example.net", "carol@example.info")
    (site.queue / "bad" / "1764000000.M1P2R3").write_text(text)
    for name in ("bob/Maildir/.Reports/", "bob/Maildir/"):
        for folder in ("new", "cur", "tmp"):
            (site.homes / name / folder).mkdir(parents=True)
    (site.homes / "bob/Maildir/cur/1764000000.M1P1.host:2,S").write_text(letter)
    stubs = site.root / "stubs"
    stubs.mkdir()
    for name, text in STUBS.items():
        (stubs / name).write_text(f"#!/bin/sh\n{text}\n")
        (stubs / name).chmod(0o755)
    with DnsServer({"example.net": {"A": ["127.0.0.1"]}, "example.com": {}}) as dns:
        site.set("resolver", dns.at)
        yield site


def placed(typed: str, site: Site) -> str:
    """Put the site's paths in the place of a real host's."""
    for real, here in (
        ("/etc/mailtools", site.etc), ("/var/spool/mailtools", site.spool),
        ("/var/lib/reports", site.root), ("/etc/nsd", site.root), ("/srv/mail", site.homes),
        ("~/", f"{site.homes}/bob/"), ("/run/", f"{site.root}/"), ("/home/", f"{site.homes}/"),
    ):  # fmt: skip
        typed = typed.replace(real, str(here))
    typed = re.sub(r"(?<![\w/])queue/", f"{site.queue}/", typed).replace(
        "old/" + str(site.queue), "old/queue"
    )
    typed = typed.replace("--uid vmail", f"--uid {os.geteuid()}")
    return re.sub(r"(--listen )(\[::\])?:\d+", r"\g<1>127.0.0.1:0", typed)


@pytest.mark.parametrize("typed", EXAMPLES)
def test_it_does_what_the_page_says(host: Site, typed: str) -> None:
    missing = [tool for tool in TOOLS.findall(typed) if not shutil.which(tool)]
    if missing:
        pytest.skip(f"needs {missing[0]}")
    environ = {**host.environ, "HOME": str(host.root)}
    environ["PATH"] = f"{host.root}/stubs:{environ['PATH']}"
    command = placed(typed, host)
    if "--listen" in command:
        for line in command.splitlines():
            listens(host, line, environ)
        return
    if re.search(r"^mail-account (?!app-password).* add bob@", typed):
        (host.etc / "accounts").unlink()
    if "git " in command:
        subprocess.run(["git", "init", "-q"], cwd=host.root, check=True)
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", command],
        cwd=host.root, env=environ, input="a password\n",
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    wanted = next((codes for words, codes in EXITS if re.search(words, typed)), {0})
    assert done.returncode in wanted, f"{command}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr


def listens(host: Site, command: str, environ: dict[str, str]) -> None:
    name, *words = command.split()
    process = host.start(name, *words, env=environ)
    assert process.stderr
    assert process.stderr.readline().startswith(b"listening "), command


def test_there_are_examples_to_type() -> None:
    assert len(EXAMPLES) > 50
