"""The author's domain: the one behind From, as DMARC needs it (RFC 9989 5.3.1, RFC 5322 3.6.2).

Strict where readers might disagree on who the author is: what DMARC judged must be what is shown.
Exactly one From field, and all mailboxes in it of one domain.
"""

import re
from collections.abc import Iterator

from mailtools.errors import BadAddress, BadMessage
from mailtools.mail.address import ascii_domain, is_literal, literal_address
from mailtools.mail.fields import Header, find
from mailtools.trust.lookup import is_name

MAILBOXES_MOST = 100  # in one From: ours, against fields made to waste time

_part = re.compile(
    r'(?P<quoted>"(?:[^"\\]|\\.)*")'
    r"|(?P<literal>\[(?:[^\[\]\\]|\\.)*\])"
    r"|(?P<mark>[(),:;<>@])"
    r"|(?P<blank>[ \t\r\n]+)"
    r'|(?P<word>[^"\[(),:;<>@ \t\r\n]+)',
    re.DOTALL,
)
_local = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+"
_plain = re.compile(  # one address, alone or behind a name: as good as all From fields
    rf"[ \t\n]*{_local}@([A-Za-z0-9.-]+)[ \t\n]*\Z"
    rf"|(?:[ \t\n]*\"[^\"\\\0]*\"[ \t\n]*|[A-Za-z0-9 \t\n.'_-]*)"
    rf"<{_local}@([A-Za-z0-9.-]+)>[ \t\n]*\Z"
)
_host = re.compile(r"[a-z0-9_.-]+\Z")  # underscores are in use
_comment_part = re.compile(r"[^()\\]+|\\.|[()]", re.DOTALL)


def author_domain(header: Header) -> str:
    """Give the domain of the author, with A-labels in lower case; raise BadMessage.

    "" where the author has an address literal: no domain stands behind it, and none can be asked
    for a policy. `header` is as `split_message` gives it.
    """
    found = list(find(header, b"From"))
    if len(found) != 1:
        raise BadMessage(
            f"The message has {len(found)} From fields, it must have one (RFC 5322 3.6)"
        )
    try:
        text = found[0].raw.partition(b":")[2].decode("utf-8")
    except UnicodeDecodeError:
        raise BadMessage("The From field is not UTF-8 (RFC 6532 3.2)") from None
    plain = _plain.match(text)
    domains = {_ascii(domain) for domain in ([plain[1] or plain[2]] if plain else _domains(text))}
    if len(domains) != 1:
        raise BadMessage(
            f"The From field names {len(domains)} domains, it must name one (RFC 9989 5.3.1)"
        )
    return domains.pop()


def _ascii(domain: str) -> str:
    try:
        if is_literal(domain):
            literal_address(domain)
            return ""
        name = ascii_domain(domain).removesuffix(".")
    except BadAddress:
        name = ""
    if not is_name(name) or not _host.match(name):
        raise BadMessage("The From field has an address whose domain is no name")
    return name


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """Yield kind and text of each part of an address list, comments left out."""
    at = 0
    while at < len(text):
        match = _part.match(text, at)
        if not match or "\0" in match[0]:
            raise BadMessage("The From field has a quote or bracket that does not end")
        kind = match.lastgroup or ""
        at = match.end()
        if kind == "mark" and match[0] == "(":
            at = _end_of_comment(text, at)
        elif kind != "blank":
            yield kind, match[0]


def _end_of_comment(text: str, at: int) -> int:
    depth = 1
    while depth:
        match = _comment_part.match(text, at)
        if not match:
            raise BadMessage("The From field has a comment that does not end")
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        at = match.end()
    return at


def _domains(text: str) -> Iterator[str]:
    """Yield the domain of each mailbox of a list (RFC 5322 3.4, groups as RFC 6854 has them)."""
    count = 0
    mailbox: list[tuple[str, str]] = []
    angle = False
    for kind, part in _parts(text):
        if kind == "mark" and part in "<>":
            angle = part == "<"
        if kind == "mark" and part in ",;:" and not angle:
            if part != ":" and mailbox:
                yield _domain(mailbox)
                count += 1
            mailbox = []
            if count >= MAILBOXES_MOST:
                raise BadMessage(f"The From field has more than {MAILBOXES_MOST} mailboxes")
        else:
            mailbox.append((kind, part))
    if mailbox:
        yield _domain(mailbox)


def _domain(mailbox: list[tuple[str, str]]) -> str:
    """Give the domain of one mailbox: an addr-spec, or one in angle brackets behind a name."""
    marks = [part for kind, part in mailbox if kind == "mark"]
    if "<" in marks or ">" in marks:
        opens = mailbox.index(("mark", "<")) if "<" in marks else -1
        if opens < 0 or marks.count("<") != 1 or marks.count(">") != 1:
            raise BadMessage("The From field has angle brackets that do not match")
        if mailbox[-1] != ("mark", ">"):
            raise BadMessage("The From field has text behind an address in angle brackets")
        mailbox = mailbox[opens + 1 : -1]
        if ("mark", ":") in mailbox:  # a source route, RFC 5322 4.4
            mailbox = mailbox[mailbox.index(("mark", ":")) + 1 :]
    ats = [n for n, part in enumerate(mailbox) if part == ("mark", "@")]
    if len(ats) != 1 or ats[0] == 0:
        raise BadMessage("The From field has an address without local-part, '@' and domain")
    behind = mailbox[ats[0] + 1 :]
    if [kind for kind, _ in behind] not in (["word"], ["literal"]):
        raise BadMessage("The From field has an address with a bad domain")
    return behind[0][1]
