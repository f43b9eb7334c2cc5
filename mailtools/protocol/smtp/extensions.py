"""SMTP's extensions: what EHLO offers, and the parameters that each adds to MAIL and RCPT.

SIZE (RFC 1870), 8BITMIME (6152), SMTPUTF8 (6531), PIPELINING (2920), ENHANCEDSTATUSCODES (2034),
CHUNKING and BINARYMIME (3030), STARTTLS (3207), AUTH (4954), DSN (3461), REQUIRETLS (8689), LIMITS
(9422), MT-PRIORITY (6710), DELIVERBY (2852), FUTURERELEASE (4865), ETRN (1985), XCLIENT and XVERP
(Postfix). A parameter is taken only where its extension was offered; its value is checked here and
its meaning is the session's and the queue's.
"""

import re
from collections.abc import Callable

from mailtools.errors import BadParameter, BadSequence, BadSyntax
from mailtools.mail.verp import is_delimiters
from mailtools.protocol.smtp import xclient
from mailtools.protocol.smtp.grammar import is_xtext
from mailtools.protocol.smtp.session import Session, Settings

RELEASE_MOST = 30 * 86400  # seconds that FUTURERELEASE may hold a message


def offers(session: Session, settings: Settings) -> dict[str, str]:
    """Give the extensions to offer now, each with what stands behind it in EHLO's answer."""
    found = {
        "PIPELINING": "",
        "SIZE": str(settings.size) if settings.size else "",
        "8BITMIME": "",
        "SMTPUTF8": "",
        "ENHANCEDSTATUSCODES": "",
        "CHUNKING": "",
        "BINARYMIME": "",
    }
    if settings.starttls and not session.secure:
        found["STARTTLS"] = ""
    if session.mechanisms:
        found["AUTH"] = " ".join(session.mechanisms)
    if session.secure:
        found["REQUIRETLS"] = ""
    if session.trusted or settings.submission or settings.lmtp:
        # Not for everybody: a stranger's NOTIFY=SUCCESS would make us write to whom he names.
        found |= {"DSN": "", "DELIVERBY": "", "MT-PRIORITY": "", "XVERP": ""}
        if session.release_until:
            found["FUTURERELEASE"] = f"{RELEASE_MOST} {session.release_until}"
    if session.may_turn and not settings.lmtp:
        found["ETRN"] = ""
    if session.xclient_allowed:
        found["XCLIENT"] = " ".join(xclient.ATTRIBUTES)
    found["LIMITS"] = f"RCPTMAX={settings.recipients}"
    return found


def check_mechanism(session: Session, name: str) -> None:
    """Raise what AUTH is refused with, unless that mechanism may be used now (RFC 4954 4)."""
    if not name:
        raise BadSyntax("The form is AUTH mechanism, or AUTH mechanism response")
    if name in session.mechanisms:
        return
    if session.plaintext_refused:
        raise BadSequence("Encryption is required: STARTTLS", status="5.7.11", reply=538)
    if not session.mechanisms:
        raise BadSequence("AUTH is not possible, or was done already")
    raise BadParameter("Unrecognized authentication type", reply=504)


# -- parameters -----------------------------------------------------------------------------------

_size = re.compile(r"[0-9]{1,20}\Z")
_by = re.compile(r"-?[0-9]{1,9};[NR]T?\Z", re.IGNORECASE)
_priority = re.compile(r"(?:0|-?[1-9])\Z")
_seconds = re.compile(r"[1-9][0-9]{0,8}\Z")
_DATE_TIME = (  # rare, so compiled at its first use
    r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](\.[0-9]+)?"
    r"(Z|[+-][0-2][0-9]:[0-5][0-9])\Z"
)
_address_type = re.compile(r"[A-Za-z0-9-]+\Z")


def _body(value: str) -> bool:
    return value.upper() in ("7BIT", "8BITMIME", "BINARYMIME")


def _notify(value: str) -> bool:
    words = value.upper().split(",")
    if words == ["NEVER"]:
        return True
    return len(set(words)) == len(words) and set(words) <= {"SUCCESS", "FAILURE", "DELAY"}


def _original_recipient(value: str) -> bool:
    kind, semicolon, address = value.partition(";")
    if not semicolon or not address or len(value) > 500 or not _address_type.match(kind):
        return False
    if kind.lower() == "utf-8":
        return True  # RFC 6533 3: utf-8-addr-xtext, or the characters themselves
    return is_xtext(address)


def _by_time(value: str) -> bool:
    if not _by.match(value):
        return False
    seconds, _, mode = value.upper().partition(";")
    return int(seconds) > 0 or mode[0] == "N"  # RFC 2852 4.1.4: R asks for a positive time


def _one_of(*values: str) -> Callable[[str], bool]:
    return lambda value: value.upper() in values


def _nothing(value: str) -> bool:
    return not value


Check = Callable[[str], object]

# keyword: extension, check of the value, form
_MAIL: dict[str, tuple[str, Check, str]] = {
    "SIZE": ("SIZE", _size.match, "SIZE=octets"),
    "BODY": ("8BITMIME", _body, "BODY=7BIT, 8BITMIME or BINARYMIME"),
    "SMTPUTF8": ("SMTPUTF8", _nothing, "SMTPUTF8, without a value"),
    "AUTH": ("AUTH", lambda value: value == "<>" or (value and is_xtext(value)), "AUTH=xtext"),
    "RET": ("DSN", _one_of("FULL", "HDRS"), "RET=FULL or RET=HDRS"),
    "ENVID": (
        "DSN",
        lambda value: 0 < len(value) <= 100 and is_xtext(value),
        "ENVID=xtext, at most 100 characters",
    ),
    "REQUIRETLS": ("REQUIRETLS", _nothing, "REQUIRETLS, without a value"),
    "MT-PRIORITY": ("MT-PRIORITY", _priority.match, "MT-PRIORITY=-9 to 9"),
    "BY": ("DELIVERBY", _by_time, "BY=seconds;R or BY=seconds;N, and T for a trace"),
    "HOLDFOR": (
        "FUTURERELEASE",
        lambda value: _seconds.match(value) and int(value) <= RELEASE_MOST,
        f"HOLDFOR=seconds, at most {RELEASE_MOST}",
    ),
    "XVERP": ("XVERP", is_delimiters, "XVERP, or XVERP= and two of + - ="),
    "HOLDUNTIL": (
        "FUTURERELEASE",
        lambda value: re.match(_DATE_TIME, value, re.IGNORECASE),
        "HOLDUNTIL=2026-01-31T12:00:00Z",
    ),
}

_RCPT: dict[str, tuple[str, Check, str]] = {
    "NOTIFY": ("DSN", _notify, "NOTIFY=NEVER, or SUCCESS, FAILURE, DELAY with commas"),
    "ORCPT": ("DSN", _original_recipient, "ORCPT=type;xtext, at most 500 characters"),
}

# Words whose case means nothing are kept in upper case, so that nobody need fold them again.
_FOLDED = frozenset(("BODY", "RET", "NOTIFY", "BY"))


def check_mail(found: dict[str, str], offered: dict[str, str]) -> dict[str, str]:
    """Check MAIL's parameters against what was offered; raise BadParameter or BadSyntax."""
    if "HOLDFOR" in found and "HOLDUNTIL" in found:
        raise BadSyntax("HOLDFOR and HOLDUNTIL exclude each other", status="5.5.4")
    return _check(found, offered, _MAIL, "MAIL")


def check_rcpt(found: dict[str, str], offered: dict[str, str]) -> dict[str, str]:
    """Check RCPT's parameters against what was offered; raise BadParameter or BadSyntax."""
    return _check(found, offered, _RCPT, "RCPT")


def _check(
    found: dict[str, str],
    offered: dict[str, str],
    table: dict[str, tuple[str, Check, str]],
    verb: str,
) -> dict[str, str]:
    checked = {}
    for keyword, value in found.items():
        row = table.get(keyword)
        if row is None:
            raise BadParameter(f"{keyword} is no parameter of {verb} here")
        extension, check, form = row
        if extension not in offered:
            raise BadParameter(f"{keyword} is not offered here and now")
        if not check(value):
            raise BadSyntax(f"The form is {form}", status="5.5.4")
        checked[keyword] = value.upper() if keyword in _FOLDED else value
    return checked
