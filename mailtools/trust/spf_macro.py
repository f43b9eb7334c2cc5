"""Macros of SPF (RFC 7208 7): their grammar, and what they expand to.

A domain-spec whose macros give something outside ASCII (a local-part of RFC 6531) names nothing
that DNS knows; RFC 8616 4 lets such a term never match.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import quote

from mailtools.trust.lookup import NAME_MOST
from mailtools.trust.tags import BadRecord

_token = re.compile(
    r"%\{([A-Za-z])([0-9]*)([rR]?)([.+,/_=-]*)\}"  # macro-expand
    r"|(%%|%_|%-)"
    r"|([!-$&-~]+)"  # macro-literal
)
_domain_end = re.compile(
    r"\.(?:[A-Za-z0-9]*[A-Za-z][A-Za-z0-9]*|[A-Za-z0-9]+-[A-Za-z0-9-]*[A-Za-z0-9])\.?\Z"
)
_single = {"%%": "%", "%_": " ", "%-": "%20"}
_PLAIN_LETTERS = "slodiphv"
_EXP_LETTERS = "crt"  # only in the text that exp= names, RFC 7208 7.2


class MacroValues(NamedTuple):
    """What the letters stand for in one check (RFC 7208 7.2)."""

    sender: str
    local: str
    sender_domain: str
    ip: str
    """As `i` wants it: dotted, IPv6 as 32 nibbles (RFC 7208 7.3)."""
    readable_ip: str
    version: str
    """`in-addr` or `ip6`."""
    helo: str
    receiver: str
    now: int
    """Seconds since 1970."""
    validated: Callable[[str], str]
    """The validated name of the client for a domain; asked only where `%{p}` stands."""

    def value(self, letter: str, domain: str) -> str:
        """Give what a letter (lower case) stands for while `domain` is checked."""
        if letter == "p":
            return self.validated(domain)
        return {
            "s": self.sender,
            "l": self.local,
            "o": self.sender_domain,
            "d": domain,
            "i": self.ip,
            "h": self.helo,
            "v": self.version,
            "c": self.readable_ip,
            "r": self.receiver,
            "t": str(self.now),
        }[letter]


def check_macro_string(text: str, *, exp: bool = False) -> None:
    """Raise BadRecord unless text is a macro-string; `exp` allows blanks and `%{c}` and kin."""
    for _ in _tokens(text.replace(" ", "") if exp else text, exp=exp):
        pass


def check_domain_spec(text: str) -> None:
    """Raise BadRecord unless text is a domain-spec (RFC 7208 7.1)."""
    tokens = list(_tokens(text, exp=False))
    if not tokens:
        raise BadRecord("a domain is missing")
    if tokens[-1][6] and not _domain_end.search(text, text.rfind(".", 0, len(text) - 1)):
        raise BadRecord(f"{text!r} does not end in a top-level domain or a macro")


def _tokens(text: str, *, exp: bool) -> Iterator[re.Match[str]]:
    position = 0
    while position < len(text):
        match = _token.match(text, position)
        if not match:
            raise BadRecord(f"bad macro or character in {text!r}")
        letter = match[1]
        if letter:
            if letter.lower() not in _PLAIN_LETTERS + (_EXP_LETTERS if exp else ""):
                raise BadRecord(f"no macro is called %{{{letter}}} here (RFC 7208 7.2)")
            if match[2] and not match[2].strip("0"):
                raise BadRecord("a macro keeps no labels (RFC 7208 7.3)")
        yield match
        position = match.end()


def expand(text: str, domain: str, values: MacroValues, *, exp: bool = False) -> str:
    """Expand the macros of a checked macro-string while `domain` is checked."""
    if exp:
        words = text.split(" ")
        return " ".join(
            "".join(_expand_token(token, domain, values) for token in _tokens(word, exp=True))
            for word in words
        )
    return "".join(_expand_token(token, domain, values) for token in _tokens(text, exp=False))


def expand_domain(text: str, domain: str, values: MacroValues) -> str:
    """Expand a domain-spec; of one that grows too long the right-hand labels (RFC 7208 7.3)."""
    name = expand(text, domain, values).removesuffix(".")
    while len(name) > NAME_MOST and "." in name:
        name = name.partition(".")[2]
    return name


def _expand_token(token: re.Match[str], domain: str, values: MacroValues) -> str:
    letter, digits, reverse, delimiters, single, literal = token.groups()
    if literal:
        return str(literal)
    if single:
        return _single[single]
    value = values.value(letter.lower(), domain)
    if digits or reverse or delimiters:
        parts = re.split(f"[{re.escape(delimiters or '.')}]", value)
        if reverse:
            parts.reverse()
        if digits:
            parts = parts[-int(digits.lstrip("0")[:6]) :]
        value = ".".join(parts)
    return quote(value, safe="-._~") if letter.isupper() else value
