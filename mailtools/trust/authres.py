"""Authentication-Results: written, read, and forged ones recognised (RFC 8601).

Reading takes what is in use, not only the grammar: a property's value may be any run of characters
without blanks. Comments are dropped.
"""

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from mailtools.errors import BadAddress
from mailtools.mail.address import ascii_domain
from mailtools.mail.fields import Field, fields
from mailtools.trust.tags import BadRecord

RESULTS_MOST = 200  # methods in one field: ours, against fields made to waste time
LINE_MOST = 76

_white = re.compile(r"[ \t\r\n]+")
_keyword = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_word = re.compile(r"[^ \t\r\n;()\"=]+")
_claimed = re.compile(r"[^\x00-\x20\x7f;()\"=,/:<>@\[\]?\\]+")  # what others may read as the id
_value = re.compile(r"(?:[^ \t\r\n;()\"]|\"(?:[^\"\\]|\\.)*\")+", re.DOTALL)
_quoted = re.compile(r"\"((?:[^\"\\]|\\.)*)\"", re.DOTALL)
_pair = re.compile(r"\\(.)", re.DOTALL)
_comment_part = re.compile(r"[^()\\]+|\\.|[()]", re.DOTALL)
# RFC 2045 token, or an address as dot-atom; what else there is gets quotes
_plain = re.compile(
    r"(?:[^\x00-\x20\"(),/:;<=>?@\[\\\]\x7f]+"
    r"|[^\x00-\x20\"(),:;<>@\[\\\]\x7f]*@[^\x00-\x20\"(),/:;<=>?@\[\\\]\x7f]+)\Z"
)
_controls = dict.fromkeys((*range(0x20), 0x7F), "?")
_in_comment = str.maketrans({**_controls, **{letter: f"\\{letter}" for letter in "()\\"}})
_in_quotes = str.maketrans({**_controls, **{letter: f"\\{letter}" for letter in '"\\'}})


class MethodResult(NamedTuple):
    """What one method found: `spf=pass smtp.mailfrom=example.org`."""

    method: str
    result: str
    properties: tuple[tuple[str, str], ...] = ()
    """Pairs like ("smtp.mailfrom", "example.org")."""
    reason: str = ""
    comment: str = ""
    """Written behind the result, for people; never read back."""

    def get(self, name: str) -> str:
        """Give the value of a property, "" where it is not there."""
        return next((value for key, value in self.properties if key == name), "")


class AuthenticationResults(NamedTuple):
    """A whole field: who checked, and what was found."""

    authserv_id: str
    results: tuple[MethodResult, ...] = ()

    def of(self, method: str) -> list[MethodResult]:
        """Give the results of one method."""
        return [result for result in self.results if result.method == method]


def format_authres(results: AuthenticationResults, name: str = "Authentication-Results") -> bytes:
    """Write a field, LF text, folded with each method on a line of its own (RFC 8601 2.2)."""
    return f"{name}: {format_payload(results)}\n".encode(errors="replace")


def format_payload(results: AuthenticationResults) -> str:
    """Write what stands behind the colon, folded."""
    parts = [_text(results.authserv_id)]
    parts += [_format_result(result) for result in results.results] or [" none"]
    return ";".join(parts)


def _format_result(result: MethodResult) -> str:
    words = [f"{result.method}={result.result}"]
    if result.comment:
        words.append(f"({_comment(result.comment)})")
    if result.reason:
        words.append(f"reason={_quote(result.reason)}")
    words += [f"{name}={_text(value)}" for name, value in result.properties if value]
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > LINE_MOST and lines[-1]:
            lines.append("\t" + word)
        else:
            lines[-1] += (" " if lines[-1] else "\t") + word
    return "\n" + "\n".join(lines)


def _comment(text: str) -> str:
    return text.translate(_in_comment)


def _quote(text: str) -> str:
    return f'"{text.translate(_in_quotes)}"'


def _text(value: str) -> str:
    return value if _plain.match(value) else _quote(value)


class _Reader:
    """A place in the text, and the few things that can stand there."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def skip(self) -> None:
        """Pass over white space and comments (RFC 5322 CFWS)."""
        while True:
            white = _white.match(self.text, self.at)
            if white:
                self.at = white.end()
            if not self.text.startswith("(", self.at):
                return
            self.comment()

    def comment(self) -> None:
        depth = 0
        while True:
            part = _comment_part.match(self.text, self.at)
            if not part:
                raise BadRecord("a comment does not end")
            self.at = part.end()
            depth += {"(": 1, ")": -1}.get(part[0], 0)
            if not depth:
                return

    def take(self, pattern: re.Pattern[str], what: str) -> str:
        match = pattern.match(self.text, self.at)
        if not match:
            raise BadRecord(f"{what} is missing in Authentication-Results")
        self.at = match.end()
        return match[0]

    def punctuation(self, mark: str) -> bool:
        """Pass over CFWS and a mark, if it is there."""
        self.skip()
        found = self.text.startswith(mark, self.at)
        self.at += found
        return found

    def value(self, pattern: re.Pattern[str] = _value) -> str:
        """Read a word or quoted-string."""
        self.skip()
        if self.text.startswith('"', self.at):
            quoted = _quoted.match(self.text, self.at)
            if quoted and not self.text.startswith("@", quoted.end()):
                self.at = quoted.end()
                return _pair.sub(r"\1", quoted[1])
        return self.take(pattern, "a value")

    @property
    def ended(self) -> bool:
        self.skip()
        return self.at == len(self.text)


def parse_authres(text: str) -> AuthenticationResults:
    """Read what stands behind the colon; raise BadRecord."""
    reader = _Reader(text)
    authserv_id = reader.value(_word)
    reader.skip()
    if not reader.text.startswith(";", reader.at) and not reader.ended:
        version = reader.take(_keyword, "';'")
        if version != "1":  # RFC 8601 2.2: others cannot be understood
            raise BadRecord(f"version {version[:20]} of Authentication-Results is not known")
    found: list[MethodResult] = []
    while not reader.ended:
        if not reader.punctuation(";"):
            raise BadRecord("';' is missing in Authentication-Results")
        if reader.ended:
            break
        result = _parse_result(reader)
        if result:
            found.append(result)
        if len(found) > RESULTS_MOST:
            raise BadRecord(f"more than {RESULTS_MOST} results in Authentication-Results")
    return AuthenticationResults(authserv_id, tuple(found))


def _parse_result(reader: _Reader) -> MethodResult | None:
    method = reader.take(_keyword, "a method").lower()
    if reader.punctuation("/"):
        reader.skip()
        reader.take(_keyword, "a version")
    if not reader.punctuation("="):
        if method == "none":
            return None
        raise BadRecord("'=' is missing in Authentication-Results")
    reader.skip()
    result = reader.take(_keyword, "a result").lower()
    reason, properties = "", []
    while not reader.ended and not reader.text.startswith(";", reader.at):
        name = reader.take(_word, "a property").lower()
        if reader.punctuation("."):
            reader.skip()
            name += "." + reader.take(_word, "a property").lower()
        if not reader.punctuation("="):
            raise BadRecord("'=' is missing in Authentication-Results")
        value = reader.value()
        if name == "reason":
            reason = value
        else:
            properties.append((name, value))
    return MethodResult(method, result, tuple(properties), reason)


# -- forged ones ----------------------------------------------------------------------------------


def is_forged(field: Field, authserv_ids: Collection[str]) -> bool:
    """Tell whether a field that came from outside must go (RFC 8601 5).

    It must when it claims one of our ids, or when nobody can tell whose it claims to be.
    """
    if field.key != b"authentication-results":
        return False
    try:
        claimed = _Reader(field.body.decode("utf-8")).value(_claimed)
    except (BadRecord, UnicodeDecodeError):
        return True
    return _id(claimed) in {_id(each) for each in authserv_ids}


def _id(authserv_id: str) -> str:
    try:
        return ascii_domain(authserv_id).rstrip(".")
    except BadAddress:
        return authserv_id.lower()


def remove_forged(header: bytes, authserv_ids: Iterable[str]) -> bytes:
    """Give the header without forged fields; the very same bytes where there are none."""
    if b"authentication-results" not in header.lower():
        return header
    ids = tuple(authserv_ids)
    kept, start, at = [], 0, 0
    for field in fields(header):
        at = header.index(field.raw, at)
        while at and header[at - 1] != ord("\n"):  # the tail of a line that is no field
            at = header.index(field.raw, at + 1)
        end = at + len(field.raw)
        if is_forged(field, ids):
            kept.append(header[start:at])
            start = end
        at = end
    return b"".join([*kept, header[start:]]) if start else header
