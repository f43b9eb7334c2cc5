"""Files and lines that another program, an operator or a power cut may have left odd."""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from wire import memory

from mailtools.config import Config
from mailtools.errors import Failure
from mailtools.mail import envelope
from mailtools.mail.report import parse_report
from mailtools.services.access.account_line import read_accounts
from mailtools.services.agent import parse_job
from mailtools.services.local.aliases import read_aliases
from mailtools.services.relay.dkim_keys import parse_line
from mailtools.services.relay.route import parse_route
from mailtools.settings import SETTINGS
from mailtools.store import journal
from mailtools.trust.dnsbl import parse_list


def entry(data: bytes) -> None:
    """Heads of queue entries: what is read is written the same."""
    with contextlib.suppress(Failure):
        found = envelope.decode(data)
        assert envelope.decode(envelope.encode(found)) == found


def journals(data: bytes) -> None:
    """Journals of entries, and reports."""
    found = journal.decode(data)
    assert found.written == len(found.attempts)
    for line in data.split(b"\n")[:20]:
        with contextlib.suppress(Failure, ValueError):
            parse_report(line)
        with contextlib.suppress(Failure):
            parse_job(line)


_folder: list[Path] = []


def control(data: bytes) -> None:
    """Control files of every kind."""
    if not _folder:
        _folder.append(Path(tempfile.mkdtemp(prefix="fuzz-control-", dir=memory())))
    for kind in ("line", "lines", "number", "duration", "size", "flag", "map", "path"):
        name = next(each.name for each in SETTINGS.values() if each.kind == kind)
        (_folder[0] / name).write_bytes(data)
    config = Config(str(_folder[0]))
    config.read_all()
    with contextlib.suppress(Failure):
        config.check()


def tables(data: bytes) -> None:
    """Accounts, aliases, virtual addresses, routes, lists and DKIM's keys."""
    text = data.decode("utf-8", "surrogateescape")
    faults: list[str] = []
    read_accounts(text, "/var/mail/%u", faults)
    for addresses in (True, False):
        read_aliases(text, "aliases", faults, addresses=addresses)
    for line in text.split("\n")[:20]:
        for read in (parse_route, parse_list, parse_line):
            with contextlib.suppress(Failure):
                read(line)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "entry": entry,
    "journal": journals,
    "control": control,
    "tables": tables,
}

SEEDS: dict[str, tuple[bytes, ...]] = {
    "entry": (
        (
            b"mailtools-queue 1\nclient 192.0.2.7 a.example\nparameter SMTPUTF8\nreverse-path a@b\n"
            b"forward-path c@d NOTIFY=NEVER ORCPT=rfc822;c@d\n\n"
        ),
    ),
    "journal": (
        (
            b"1700000000\ta@b\tdelayed\t4.4.1\tno answer\n1700000001\t\treleased\t\t\n"
            b"1700000002\ta@b\tnotified\tx\ty\n1\tj\ta@b\trelayed\t2.0.0\tok\n"
        ),
        b"id\t/q/id\t\ta@b\tc@d\n",
    ),
    "control": (b"# x\n10M\n", b"a:b\nc:d\n", b"yes\n"),
    "tables": (
        (
            b'alice:{SHA256-CRYPT}$5$x:1:1::/home/a::maildir=/m userdb_mail=x\n"a b": |prog, c@d\n'
            b"x: :include:/f, /dir/, error:5.1.1 gone, \\root\n"
            b"example.org s signing 2026-11-23T20:05Z\n"
            b"smtps:[2001:db8::1]:465\nbl.example.org=127.0.[1..3].2*3\n"
        ),
    ),
}
