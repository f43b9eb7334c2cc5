"""A line of the accounts file, mailtools-accounts(5), which is Dovecot's passwd-file.

`login:{SCHEME}secret:uid:gid:gecos:home:shell:extra fields`: a user, and what is wrong with the
line.
"""

from __future__ import annotations

import functools
import grp
import pwd
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from mailtools.services.access import schemes
from mailtools.services.access.networks import is_network
from mailtools.services.access.scope import APP_SERVICES

_not_in_login = re.compile(r"[ /\\]")
_variable = re.compile(r"%([a-z%])")

FINGERPRINT = 64  # digits of a SHA-256
_HEXADECIMAL = frozenset("0123456789abcdef")

DIGITS_MOST = 10  # of a uid or gid: 32 bits
NOBODY = (-1, -1)  # uid and gid where nobody said whose a mailbox is


class Account(NamedTuple):
    """A user: name (the login as the file writes it), uid and gid of the mailbox, its place.

    `maildir` is "" for an account without a mailbox (it may only send). `fields` are the extra
    fields, `key` or `key=value`, without Dovecot's `userdb_` in front.
    """

    name: str
    uid: int
    gid: int
    home: str
    maildir: str
    gecos: str = ""
    fields: Mapping[str, str] = MappingProxyType({})
    secret: str = ""

    def __repr__(self) -> str:
        """Say whose it is, without the secret."""
        return f"Account({self.name!r}, {self.uid}, {self.gid}, {self.maildir!r})"


@functools.cache
def _faultless() -> re.Pattern[str]:
    """What a line without a fault looks like; costly to compile, so only once a file is read."""
    return re.compile(
        r"[A-Za-z0-9][!-.0-9;-\[\]-~]*"  # login
        r":(?:x|[!*][^:]*|\{(?:" + "|".join(sorted(schemes.KNOWN)) + r")\}[^:]*)?"
        r"(?::[0-9]{0,10}(?::[0-9]{0,10}"  # uid, gid
        r"(?::[^:]*(?::(?:/[^:]*)?"  # gecos, home
        r"(?::[^:]*:?)?)?)?)?)?\Z"  # shell, and no extra fields
    )


def read_accounts(
    text: str, maildir: str, faults: list[str], owner: tuple[int, int] = NOBODY
) -> dict[str, Account | str]:
    """Read an accounts file: accounts by login in lower case; faults, as `line: what`, are added.

    A line that is plain to see without a fault is given as it is: most files are long, and most
    sessions ask for one account.

    `maildir` is the pattern, and `owner` the uid and gid, for accounts that name none.
    """
    found: dict[str, Account | str] = {}
    faultless = _faultless()
    absolute = maildir[:1] in ("/", "~") or maildir[:2] == "%h"
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line[0] == "#":
            continue
        name = line.partition(":")[0]
        key = name.lower()
        if key in found:
            faults.append(f"{number}: {name} stands here a second time")
        if absolute and faultless.match(line):
            found[key] = line
            continue
        wrong: list[str] = []
        found[key] = read_account(line, maildir, wrong, owner)
        faults += (f"{number}: {what}" for what in wrong)
    return found


def read_account(
    line: str, maildir: str, faults: list[str], owner: tuple[int, int] = NOBODY
) -> Account:
    """Read a line of an accounts file; what is wrong with it is added to `faults`."""
    name, secret, uid, gid, gecos, home, _, extra = (line.split(":", 7) + [""] * 7)[:8]
    if not name.isprintable() or name[:1] in ("", ".") or _not_in_login.search(name):
        faults.append(f"{name!r} cannot be a login")
    if not schemes.locked(secret) and not schemes.known(secret):
        faults.append(f"{name}: unknown password scheme {{{schemes.split(secret)[0]}}}")
    elif not schemes.locked(secret) and schemes.bare(secret):
        faults.append(f"{name}: a password stands there that is no hash; {{PLAIN}} before it?")
    fields = _fields(extra)
    mail = fields.get("maildir") or _dovecot_mail(fields.get("mail", "")) or maildir
    place = expand(mail, name, home)
    if home and not home.startswith("/"):
        faults.append(f"{name}: the home {home!r} is not an absolute path")
    elif place and not place.startswith("/"):
        faults.append(f"{name}: the Maildir {place!r} is not an absolute path")
    for service in fields["services"].split(",") if "services" in fields else ():
        if service and service not in APP_SERVICES:
            faults.append(f"{name}: {service!r} is none of {', '.join(APP_SERVICES)}")
    for text in fields["cert"].split(",") if "cert" in fields else ():
        if not read_fingerprint(text):
            faults.append(f"{name}: {text!r} is not sha256: and a fingerprint in hexadecimal")
    for network in fields["allow_nets"].split(",") if "allow_nets" in fields else ():
        if network and not is_network(network):
            faults.append(f"{name}: {network!r} is neither an address nor a network")
    numbers = (
        _user_number(name, uid, faults) if uid else owner[0],
        _group_number(name, gid, faults) if gid else owner[1],
    )
    return Account(name, *numbers, home, place, gecos, fields, secret)


def expand(pattern: str, login: str, home: str) -> str:
    """Give the path a pattern names for a user; "" where it needs a home and there is none."""
    local, _, domain = login.rpartition("@") if "@" in login else (login, "", "")
    values = {"u": login, "n": local, "d": domain, "h": home, "%": "%"}
    if pattern[:1] == "~":
        pattern = "%h" + pattern[1:]
    if "%h" in pattern and not home:
        return ""
    return _variable.sub(lambda match: values.get(match[1], match[0]), pattern)


def secret_of(account: Account | str) -> str:
    """Give the stored secret of an account, or of a line that was not looked into."""
    if isinstance(account, str):
        return account.partition(":")[2].partition(":")[0]
    return account.secret


def read_fingerprint(text: str) -> str:
    """Read `sha256:` and a fingerprint: its digits in lower case without colons, "" for none."""
    kind, _, digits = text.strip().lower().partition(":")
    digits = digits.replace(":", "")
    found = kind == "sha256" and len(digits) == FINGERPRINT and set(digits) <= _HEXADECIMAL
    return digits if found else ""


def _fields(extra: str) -> dict[str, str]:
    words = (word.partition("=") for word in extra.split())
    return {key.removeprefix("userdb_"): value if equals else "yes" for key, equals, value in words}


def _dovecot_mail(location: str) -> str:
    """Give the path of Dovecot's `maildir:PATH:options`; "" for other kinds of mailboxes."""
    kind, _, rest = location.partition(":")
    return rest.partition(":")[0] if kind == "maildir" else ""


def _user_number(login: str, text: str, faults: list[str]) -> int:
    if text.isascii() and text.isdigit() and len(text) <= DIGITS_MOST:
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):  # a NUL
        faults.append(f"{login}: {text!r} is neither a number nor a user of this host")
        return NOBODY[0]


def _group_number(login: str, text: str, faults: list[str]) -> int:
    if text.isascii() and text.isdigit() and len(text) <= DIGITS_MOST:
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except (KeyError, ValueError):
        faults.append(f"{login}: {text!r} is neither a number nor a group of this host")
        return NOBODY[1]
