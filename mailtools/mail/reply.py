"""SMTP replies: code, enhanced status and text (RFC 5321 4.2, RFC 2034, RFC 3463)."""

import re
from typing import NamedTuple

from mailtools.errors import Failure

# Compiled where a peer first replies. Some write a TAB for the space.
_LINE = rb"(?s)([2-5][0-9]{2})(?:([ \t-])(.*))?\Z"
_STATUS = r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |\Z)"
_TURNS = (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))  # right to left
_CONTROLS = dict.fromkeys((*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029, *_TURNS), "?") | {9: " "}


class Reply(NamedTuple):
    """A reply: its code, its enhanced status ("" for none), and one or more lines of text."""

    code: int
    status: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """All lines as one."""
        return " ".join(self.lines)

    @property
    def positive(self) -> bool:
        """Whether the peer agrees (2yz) or waits for more (3yz)."""
        return 200 <= self.code < 400

    @property
    def completed(self) -> bool:
        """Whether the peer did what it was asked: any 2yz says so (RFC 5321 4.2.1)."""
        return 200 <= self.code < 300

    @property
    def continues(self) -> bool:
        """Whether the peer waits for what comes next (3yz)."""
        return 300 <= self.code < 400

    @property
    def permanent(self) -> bool:
        """Whether trying again cannot help (5yz)."""
        return self.code >= 500

    def __bytes__(self) -> bytes:
        """The reply on the wire, each line with the enhanced status (RFC 2034 4)."""
        prefix = f"{self.status} " if self.status else ""
        *first, last = self.lines or ("",)
        wire = "".join(f"{self.code}-{prefix}{line}\r\n" for line in first)
        return f"{wire}{self.code} {prefix}{last}\r\n".encode()

    def __str__(self) -> str:
        """The reply as one line, for logs and DSNs."""
        return " ".join(part for part in (str(self.code), self.status, self.text) if part)


def reply(code: int, status: str, *lines: str) -> Reply:
    """Make a reply; control characters in its lines become `?`."""
    return Reply(code, status, tuple(one_line(line) for line in lines))


def reply_to(failure: Failure) -> Reply:
    """Say a failure as a reply, a line for each of its text: where failures meet the wire."""
    return reply(failure.reply, failure.status, *failure.text.split("\n"))


def one_line(text: str) -> str:
    """Make a text safe for one line: control characters become `?`, TAB a space.

    So do those that turn the direction of text: a terminal would show it in another order.
    """
    return text.translate(_CONTROLS)


def parse_reply_line(line: bytes) -> tuple[int, bool, str] | None:
    """Read one line of a peer's reply: its code, whether it is the last, its text; None if bad."""
    match = re.match(_LINE, line)
    if not match:
        return None
    code, separator, text = match.groups()
    return int(code), separator != b"-", (text or b"").decode("utf-8", "replace")


def make_peer_reply(code: int, lines: list[str]) -> Reply:
    """Join a peer's reply lines: an enhanced status that every line carries is taken off them."""
    first = re.match(_STATUS, lines[0]) if lines else None
    if not first or int(first[1][0]) != code // 100:
        return Reply(code, "", tuple(one_line(line) for line in lines))
    bare = tuple(one_line(line.removeprefix(first[1]).lstrip(" ")) for line in lines)
    return Reply(code, first[1], bare)
