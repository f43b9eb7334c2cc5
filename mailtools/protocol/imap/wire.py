"""Octets of IMAP: reading a command's arguments, and writing strings (RFC 3501 4 and 9).

A command is one buffer, its literals where they came: `A1 LOGIN {5}<CRLF>alice {3}<CRLF>abc`. The
engine waits until it is whole; a Cursor then reads it from left to right.
"""

import re

from mailtools.errors import BadSyntax
from mailtools.mail import utf7

NUMBER_MOST = 0xFFFFFFFF
NUMBER64_MOST = 0x7FFFFFFFFFFFFFFF

_atom = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\\]]+')
_astring = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\]+')
_tag = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\+]+')
_pattern = re.compile(rb'[^\x00-\x20\x7f-\xff(){"\\]+')
_quoted = re.compile(rb'"([^"\\\r\n\0]*(?:\\["\\][^"\\\r\n\0]*)*)"')
_literal = re.compile(rb"(~?)\{([0-9]{1,19})\+?\}\r?\n")
_literal_end = re.compile(rb"~?\{([0-9]{1,19})(\+?)\}\r?\n\Z")
_number = re.compile(rb"[0-9]{1,20}")
_word = re.compile(rb"[^ \r\n(){\[]+")
_plain = re.compile(rb"[ !#-\[\]-~]*\Z")
_needs_literal = re.compile(rb"[\x00\r\n\x80-\xff]")
_atom_only = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\]+\Z')


def literal_at_end(line: bytes) -> tuple[int, bool] | None:
    """Whether a line announces a literal at its end: its octets, and whether it comes unasked."""
    if line[-2:-1] != b"}" and line[-3:-2] != b"}":
        return None
    match = _literal_end.search(line[-40:])
    return (int(match[1]), match[2] == b"+") if match else None


class Cursor:
    """Reads a command; each method takes one thing and raises BadSyntax where it is not there."""

    def __init__(self, data: bytes) -> None:
        """Begin at the start of `data`."""
        self.data = data
        self.position = 0

    # -- single octets ----------------------------------------------------------------------------

    def peek(self) -> bytes:
        """The next octet, `b""` at the end."""
        return self.data[self.position : self.position + 1]

    def accept(self, octets: bytes) -> bool:
        """Take these octets if they come next."""
        if not self.data.startswith(octets, self.position):
            return False
        self.position += len(octets)
        return True

    def expect(self, octets: bytes) -> None:
        """Take these octets."""
        if not self.accept(octets):
            raise BadSyntax(f"{octets.decode()!r} expected{self._where()}")

    def space(self) -> None:
        """Take one space."""
        if not self.accept(b" "):
            raise BadSyntax(f"Space expected{self._where()}")

    def end(self) -> None:
        """Be at the end; spaces there are overlooked."""
        if self.data[self.position :].strip(b" \r\n"):
            raise BadSyntax(f"Too many arguments{self._where()}")

    @property
    def at_end(self) -> bool:
        """Whether nothing but the line end is left."""
        return self.data[self.position : self.position + 1] in (b"", b"\r", b"\n")

    def _where(self) -> str:
        found = self.data[self.position : self.position + 10].partition(b"\r")[0]
        return f" before {found.decode('ascii', 'replace')!r}" if found.strip() else " at the end"

    # -- words ------------------------------------------------------------------------------------

    def _take(self, pattern: re.Pattern[bytes], what: str) -> bytes:
        match = pattern.match(self.data, self.position)
        if not match:
            raise BadSyntax(f"{what} expected{self._where()}")
        self.position = match.end()
        return match[0]

    def tag(self) -> bytes:
        """Take a tag."""
        return self._take(_tag, "Tag")

    def atom(self) -> bytes:
        """Take an atom."""
        return self._take(_atom, "Atom")

    def keyword(self) -> str:
        """Take an atom that is a keyword of the protocol; give it in upper case."""
        return self.atom().upper().decode("ascii")

    def word(self) -> str:
        """Take letters up to a space, bracket or brace; give them in upper case."""
        return self._take(_word, "Word").upper().decode("ascii", "replace")

    def number(self, most: int = NUMBER_MOST) -> int:
        """Take a number."""
        value = int(self._take(_number, "Number"))
        if value > most:
            raise BadSyntax("Number is too large")
        return value

    # -- strings ----------------------------------------------------------------------------------

    def astring(self) -> bytes:
        """Take an atom or a string."""
        if self.peek() in (b'"', b"{"):
            return self.string()
        return self._take(_astring, "String")

    def string(self) -> bytes:
        """Take a quoted string or a literal."""
        if self.peek() == b'"':
            match = _quoted.match(self.data, self.position)
            if not match:
                raise BadSyntax("Quoted string has no end")
            self.position = match.end()
            return re.sub(rb"\\(.)", rb"\1", match[1])
        match = _literal.match(self.data, self.position)
        if not match or match[1]:
            raise BadSyntax(f"String expected{self._where()}")
        end = match.end() + int(match[2])
        value = self.data[match.end() : end]
        self.position = end
        if b"\0" in value:
            raise BadSyntax("NUL in a string")
        return value

    def nstring(self) -> bytes | None:
        """Take a string, or NIL for None."""
        if self.peek() in (b'"', b"{"):
            return self.string()
        if self.atom().upper() != b"NIL":
            raise BadSyntax(f"String or NIL expected{self._where()}")
        return None

    def text(self) -> str:
        """Take an astring that is UTF-8 text."""
        try:
            return self.astring().decode("utf-8")
        except UnicodeDecodeError:
            raise BadSyntax("String is not UTF-8") from None

    def mailbox(self) -> str:
        """Take a mailbox name; raise BadFolderName where it is not modified UTF-7."""
        return mailbox_name(self.astring())

    def pattern(self) -> str:
        """Take a LIST pattern: a mailbox name with `%` and `*`."""
        raw = self.string() if self.peek() in (b'"', b"{") else self._take(_pattern, "Pattern")
        return mailbox_name(raw)


def mailbox_name(raw: bytes) -> str:
    """Read a mailbox name as a client writes it; INBOX is known in any case (RFC 3501 5.1)."""
    name = utf7.decode(raw.decode("latin-1"))
    return "INBOX" if name.upper() == "INBOX" else name


# -- writing --------------------------------------------------------------------------------------


def string(data: bytes) -> bytes:
    """Write a string: quoted where it can be, else as a literal; NUL, which IMAP has not, as 80."""
    if _plain.match(data):
        return b'"' + data + b'"'
    if _needs_literal.search(data):
        return b"{%d}\r\n%b" % (len(data), data.replace(b"\0", b"\x80"))
    return b'"' + re.sub(rb'(["\\])', rb"\\\1", data) + b'"'


def nstring(data: bytes | None) -> bytes:
    """Write a string, or NIL for None."""
    return b"NIL" if data is None else string(data)


def astring(data: bytes) -> bytes:
    """Write an atom where that will do, else a string."""
    return data if _atom_only.match(data) and data.upper() != b"NIL" else string(data)


def mailbox(name: str) -> bytes:
    """Write a mailbox name."""
    return astring(utf7.encode(name).encode("ascii"))
