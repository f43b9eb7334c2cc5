"""Addresses and paths: the grammar of RFC 5321 4.1.2 and 4.1.3, with RFC 6531's UTF-8.

An Address is a local-part and a domain, unquoted; `str()` quotes again where the grammar asks for
it. Obsolete source routes are read and dropped (RFC 5321 appendix C). Lists of addresses in header
fields are the concern of `fields.py`.
"""

import re
from typing import NamedTuple

from mailtools.errors import BadAddress, NonAsciiAddress

# Octets that every host takes, RFC 5321 4.5.3.1.1: no limit for what is read, since lists, SRS and
# senders that name the recipient in theirs need more (4.5.3: "no limits, to the extent possible").
LOCAL_PART_MOST = 64
DOMAIN_MOST = 255  # octets, RFC 5321 4.5.3.1.2
PATH_MOST = 256  # octets with the brackets, RFC 5321 4.5.3.1.3

# Each class says which ASCII it leaves out, and so takes all of RFC 6531's UTF-8: a class with the
# ranges of Unicode in it takes `re` many milliseconds to compile, in each command. Halves of
# surrogate pairs are kept out by `_octets`. What is rare is compiled when it is first used.
_ATEXT = r"[^\x00-\x20\"(),.:;<>@\[\\\]\x7f]"
_LET_DIG = r"[^\x00-/:-@\[-`{-\x7f]"
_LDH = r"[^\x00-,./:-@\[-`{-\x7f]"
_DOT_STRING = rf"{_ATEXT}+(?:\.{_ATEXT}+)*"
_QUOTED = r'"(?:[^\x00-\x1f"\\\x7f]|\\[ -~])*"'
_LABEL = rf"{_LET_DIG}(?:{_LDH}*{_LET_DIG})?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_LITERAL = r"\[[!-Z^-~]+\]"

_dot_string = re.compile(rf"{_DOT_STRING}\Z")
# Dots at the ends and side by side want quotes, and come without: telephones in Japan have them.
_UNQUOTED = rf"(?:{_ATEXT}|\.)+"
_mailbox = re.compile(rf"({_UNQUOTED}|{_QUOTED})@({_DOMAIN}|{_LITERAL})\Z")
_domain = re.compile(rf"{_DOMAIN}\Z")
_SOURCE_ROUTE = rf"@{_DOMAIN}(?:,@{_DOMAIN})*:"
_octet = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"{_octet}(?:\.{_octet}){{3}}\Z"


class Address(NamedTuple):
    """A local-part and a domain (RFC 5321 Mailbox); only `postmaster` may have no domain."""

    local: str
    domain: str

    def __str__(self) -> str:
        """The address as RFC 5321 writes it."""
        local = self.local if _dot_string.match(self.local) else quote(self.local)
        return f"{local}@{self.domain}" if self.domain else local

    @property
    def ascii(self) -> bool:
        """Whether a peer without SMTPUTF8 can take it (RFC 6531)."""
        return self.local.isascii() and self.domain.isascii()

    @property
    def key(self) -> str:
        """The address for look-ups: domain in its ASCII form and case, local-part in lower case."""
        return f"{self.local.lower()}@{ascii_domain(self.domain)}"


def quote(local: str) -> str:
    """Write a local-part as a Quoted-string."""
    return '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'


def parse_address(text: str, *, utf8: bool = True) -> Address:
    """Read a Mailbox, without brackets; raise BadAddress, or NonAsciiAddress unless `utf8`."""
    match = _mailbox.match(text)
    if not match:
        raise BadAddress(_what_is_wrong(text))
    local, domain = match.groups()
    if not utf8 and not text.isascii():
        raise NonAsciiAddress
    if _octets(local) > PATH_MOST:
        raise BadAddress(f"Local-part is longer than {PATH_MOST} octets")
    if _octets(domain) > DOMAIN_MOST:
        raise BadAddress("Domain is longer than 255 octets (RFC 5321 4.5.3.1.2)")
    if local[0] == '"':
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    if domain[0] == "[":
        literal_address(domain)
    elif not domain.isascii():
        ascii_domain(domain)
    elif any(len(label) > 63 for label in domain.split(".")):
        raise BadAddress("A label of the domain is longer than 63 octets (RFC 1035 2.3.4)")
    return Address(local, domain)


def parse_path(text: str, *, utf8: bool = True) -> Address | None:
    """Read a Path with its brackets; None is the null path `<>`.

    A source route is checked and ignored, as RFC 5321 4.1.1.3 and appendix C ask.
    """
    if _octets(text) > PATH_MOST:
        raise BadAddress("Path is longer than 256 octets (RFC 5321 4.5.3.1.3)")
    if not (text.startswith("<") and text.endswith(">")):
        raise BadAddress("A path stands in angle brackets: <local-part@domain>")
    inner = text[1:-1]
    if not inner:
        return None
    if inner[0] == "@":
        route = re.match(_SOURCE_ROUTE, inner)
        if not route:
            raise BadAddress("Bad source route")
        inner = inner[route.end() :]
    if inner.lower() == "postmaster":  # RFC 5321 4.1.1.3
        return Address(inner, "")
    return parse_address(inner, utf8=utf8)


def parse_domain(text: str) -> str:
    """Check a domain or address literal, as EHLO takes them; return it as it came."""
    if _octets(text) > DOMAIN_MOST:
        raise BadAddress("Domain is longer than 255 octets")
    if text.startswith("["):
        literal_address(text)
    elif not _domain.match(text):
        raise BadAddress("Bad domain syntax")
    return text


def is_literal(domain: str) -> bool:
    """Whether a domain is an address literal, `[192.0.2.1]` or `[IPv6:…]`."""
    return domain.startswith("[")


def literal_address(domain: str) -> str:
    """Give the IP address inside an address literal (RFC 5321 4.1.3); raise BadAddress."""
    inner = domain[1:-1] if domain.endswith("]") else ""
    if re.match(_IPV4, inner):
        return inner
    if inner[:5].lower() == "ipv6:":
        import ipaddress  # rare: only where somebody writes an IPv6 literal

        try:
            return str(ipaddress.IPv6Address(inner[5:]))
        except ValueError:
            pass
    raise BadAddress("Bad address literal: [192.0.2.1] or [IPv6:2001:db8::1]")


def ascii_domain(domain: str) -> str:
    """Give a domain in lower case with A-labels (RFC 5890), as DNS and comparisons want it."""
    if domain.isascii():
        return domain.lower()
    import idna  # rare: only where a domain has letters beyond ASCII

    try:
        return str(idna.encode(domain, uts46=True).decode("ascii"))
    except idna.IDNAError as error:
        raise BadAddress(f"Bad internationalized domain: {error}") from None


def _octets(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise BadAddress("An address beyond ASCII is UTF-8 (RFC 6531 3.3)") from None


def _what_is_wrong(text: str) -> str:
    local, at, domain = text.rpartition("@")
    if not at:
        return "An address needs a local-part, '@' and a domain"
    if domain.endswith(".") and _domain.match(domain[:-1]):
        return "A domain here has no dot at its end (RFC 5321 4.1.2)"
    if not _domain.match(domain) and not domain.startswith("["):
        return "Bad domain syntax in address"
    if not local:
        return "The local-part is missing"
    return "Bad local-part syntax in address"
