"""The grammar of SMTP commands: lines, paths, parameters (RFC 5321 4.1, RFC 6531 3.3).

Text in, values out; what is wrong is said by the failure raised. Order of commands is the engine's
concern, and addresses are those of `mail/address.py`. A space between the colon and the path, which
RFC 5321 3.3 calls a common error, is let pass: nothing hangs on it, and printers send it.
"""

import re

from mailtools.errors import (
    BadAddress,
    BadReversePath,
    BadSyntax,
    NonAsciiAddress,
    UnknownCommand,
)
from mailtools.mail.address import Address, ascii_domain, parse_address, parse_domain, parse_path

NAME_MOST = 255  # octets of a domain, RFC 5321 4.5.3.1.2
LINE_MOST = 4096  # octets: RFC 5321 4.5.3.1.4's 512 and all that extensions add (RFC 3461: 1 K)

_control = re.compile(r"[\x00-\x1f\x7f]")
_path = r'(<(?:[^"<>]|"(?:[^"\\]|\\.)*")*>)(?: +(.*))?\Z'
_from = re.compile(rf"FROM: *{_path}", re.IGNORECASE)
_to = re.compile(rf"TO: *{_path}", re.IGNORECASE)
_parameter = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\x00-\x20\x7f]+))?\Z")
_xtext = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*\Z")
_hex = re.compile(r"\+([0-9A-F]{2})")
_chunk = re.compile(r"([0-9]{1,18})(?: +(LAST))?\Z", re.IGNORECASE)
_underscores = re.compile(r"[A-Za-z0-9_.-]+\Z")
_untamed = re.compile(r"[^A-Za-z0-9_.:\[\]-]")


def command_line(line: bytes) -> tuple[str, str]:
    """Split a line with its end into verb, in upper case, and argument; raise UnknownCommand."""
    if not line.endswith(b"\r\n"):
        raise UnknownCommand("A line ends in CRLF: this one ended in a bare LF")
    try:
        text = line[:-2].decode()
    except UnicodeDecodeError:
        raise UnknownCommand("The command is neither ASCII nor UTF-8") from None
    text = text.rstrip(" \t")  # RFC 5321 4.1.1: tolerated
    if _control.search(text):
        raise UnknownCommand("A control character stands in the command")
    verb, _, argument = text.partition(" ")
    if not verb:
        raise UnknownCommand("A command line begins with a command")
    return verb.upper(), argument.lstrip(" ")


def no_argument(argument: str, verb: str) -> None:
    """Raise BadSyntax where a command that takes no argument has one."""
    if argument:
        raise BadSyntax(f"{verb} takes no argument", status="5.5.4")


def mail_argument(argument: str) -> tuple[str, dict[str, str]]:
    """Split MAIL's argument into the path as written and the parameters; raise BadSyntax."""
    return _path_and_parameters(_from, argument, "MAIL FROM:<address> parameters")


def rcpt_argument(argument: str) -> tuple[str, dict[str, str]]:
    """Split RCPT's argument into the path as written and the parameters; raise BadSyntax."""
    return _path_and_parameters(_to, argument, "RCPT TO:<address> parameters")


def _path_and_parameters(
    pattern: re.Pattern[str], argument: str, form: str
) -> tuple[str, dict[str, str]]:
    match = pattern.match(argument)
    if not match:
        raise BadSyntax(f"{_fault(argument)}; the form is {form}", status="5.5.4")
    path, rest = match.groups()
    return path, parameters(rest) if rest else {}


def _fault(argument: str) -> str:
    keyword, colon, path = argument.partition(":")
    if not colon or keyword.upper() not in ("FROM", "TO"):
        return "FROM: or TO: is missing"
    if not path.lstrip().startswith("<"):
        return "The address does not stand in angle brackets"
    return "The address has no end, or something other than a space stands behind it"


def reverse_path(text: str, *, utf8: bool, qualify: str = "") -> Address | None:
    """Read a reverse-path; None is `<>`. Raise BadReversePath or NonAsciiAddress.

    `qualify` is the domain for one that has none (RFC 6409 8.1: submission only).
    """
    try:
        return _any_path(text, utf8, qualify)
    except BadAddress as failure:
        raise BadReversePath(failure.text) from None


def forward_path(text: str, *, utf8: bool, qualify: str = "") -> Address:
    """Read a forward-path; raise BadAddress or NonAsciiAddress."""
    found = _any_path(text, utf8, qualify)
    if found is None:
        raise BadAddress("A forward-path names somebody: <> is a reverse-path only")
    return found


def _any_path(text: str, utf8: bool, qualify: str) -> Address | None:
    if qualify and "@" not in text and len(text) > 2:
        return parse_address(f"{text[1:-1]}@{qualify}", utf8=utf8)
    if not utf8 and not text.isascii():
        raise NonAsciiAddress
    return parse_path(text, utf8=utf8)


def parameters(text: str) -> dict[str, str]:
    """Read `KEYWORD=value KEYWORD …` into a map; raise BadSyntax (RFC 5321 4.1.2).

    A value may have a `=`, as XVERP's delimiters do; where that is wrong its own check says so.
    """
    found: dict[str, str] = {}
    for word in text.split():
        match = _parameter.match(word)
        if not match:
            raise BadSyntax(f"{word[:40]} is not KEYWORD or KEYWORD=value", status="5.5.4")
        keyword = match[1].upper()
        if keyword in found:
            raise BadSyntax(f"{keyword} stands twice", status="5.5.4")
        found[keyword] = match[2] or ""
    return found


def hello_name(text: str, *, anything: bool = False) -> str:
    """Check what EHLO, HELO or LHLO say: a domain or address literal; raise BadSyntax.

    Underscores are let pass: many hosts are named so, and nothing hangs on this name. `anything`
    is for mail clients, which say whatever their owner calls his computer.
    """
    if text.isascii():
        try:
            return host_name(text) or parse_domain(text)
        except BadAddress:
            pass
    if anything and text:
        return tame_name(text)
    raise BadSyntax("Say your domain name or [IP address]", status="5.5.4")


def host_name(text: str) -> str:
    """Give a text back that looks like a host's name, "" for any other."""
    return text if _underscores.match(text) and len(text) <= NAME_MOST else ""


def tame_name(text: str) -> str:
    """Give what a peer calls itself with a `?` for all that no name or literal has in it."""
    return _untamed.sub("?", text[:NAME_MOST])


def node_argument(argument: str) -> tuple[str, bool]:
    """Read ETRN's argument: a domain, and whether its subdomains are meant too (RFC 1985 5).

    `#queue` names a queue by words that are a server's own; we have none.
    """
    option = argument[:1] if argument[:1] in ("@", "#") else ""
    node = argument.removeprefix(option)
    if option == "#":
        raise BadSyntax(
            f"Node {argument[:80]} not allowed: no such queue", status="4.7.0", reply=459
        )
    try:
        if not node.startswith("["):
            return ascii_domain(parse_domain(node)), bool(option)
    except BadAddress:
        pass
    raise BadSyntax("The form is ETRN domain, or ETRN @domain with its subdomains", status="5.5.4")


def chunk_argument(argument: str) -> tuple[int, bool]:
    """Read BDAT's argument: octets, and whether it is the last chunk (RFC 3030 2)."""
    match = _chunk.match(argument)
    if not match:
        raise BadSyntax("The form is BDAT octets, or BDAT octets LAST", status="5.5.4")
    return int(match[1]), bool(match[2])


def is_xtext(text: str) -> bool:
    """Whether a text is xtext (RFC 3461 4): printable ASCII, `+` and `=` written as +2B and +3D."""
    return _xtext.match(text) is not None


def from_xtext(text: str) -> str:
    """Decode xtext; what is no xtext is left as it is."""
    return _hex.sub(lambda match: chr(int(match[1], 16)), text)
