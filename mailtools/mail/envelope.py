"""The envelope: who sends to whom, and with which SMTP parameters (RFC 5321 2.3.1).

`encode` and `decode` are the head of a queue entry, mailtools-queue(5): lines of a word, a space
and a value. No quoting: neither LF nor TAB can occur in an address.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from mailtools.errors import BadEntry

MAGIC = "mailtools-queue 1"
JUNK = "JUNK"
"""The parameter of a message for the folder Junk. It is ours: no peer can give it or is told it."""
JUDGED = "JUDGED"
"""The parameter that says what a stranger's message was found to be: the facts of a log line."""
SCREENED = "SCREENED"
"""The parameter that says what content programs made of a message: `name:exit` each."""
REPORT = "report"
"""The client of a report of ours on others' mail."""
REJECTED = "REJECTED"
"""The parameter of a message that was refused, for the folder Rejects of who wants that; ours too.

It is never sent on, given to a program, or told of to anybody.
"""
SUBMITTED = "SUBMITTED"
"""The parameter of a message that was submitted here, by whom we answer for: it is signed."""

NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})


class ForwardPath(NamedTuple):
    """Where one copy goes: an address in RFC 5321's writing, and its RCPT parameters by keyword."""

    address: str
    parameters: Mapping[str, str] = NO_PARAMETERS


class Envelope(NamedTuple):
    """Reverse-path ("" is the null one), forward-paths, MAIL parameters, and the client's name.

    `client` is the peer's IP address and the name it gave, or the local user; for logs and DSNs.
    """

    reverse_path: str
    forward_paths: tuple[ForwardPath, ...]
    parameters: Mapping[str, str] = NO_PARAMETERS
    client: str = ""


def encode(envelope: Envelope) -> bytes:
    """Write the head of a queue entry, up to and with its empty line."""
    lines = [MAGIC]
    if envelope.client:
        lines.append(f"client {envelope.client}")
    lines += [_parameter(word, value) for word, value in envelope.parameters.items()]
    lines.append(f"reverse-path {envelope.reverse_path}")
    for path in envelope.forward_paths:
        words = [path.address, *(_pair(*item) for item in path.parameters.items())]
        lines.append("forward-path " + " ".join(words))
    if any("\n" in line or "\r" in line or "\t" in line for line in lines):
        raise BadEntry("An envelope line holds a control character")
    return ("\n".join(lines) + "\n\n").encode("utf-8", "surrogateescape")


def decode(head: bytes) -> Envelope:
    """Read the head of a queue entry, without its empty line; raise BadEntry for any other text."""
    first, *lines = head.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n")
    if first != MAGIC:
        raise BadEntry(f"Unknown format: {first[:40]!r}, expected {MAGIC!r}")
    client, reverse_path = "", None
    parameters: dict[str, str] = {}
    forward_paths: list[ForwardPath] = []
    for line in lines:
        word, space, value = line.partition(" ")
        if not space:
            raise BadEntry(f"Envelope line without a value: {line[:40]!r}")
        match word:
            case "client":
                client = value
            case "parameter":
                key, _, argument = value.partition("=")
                parameters[key] = argument
            case "reverse-path":
                reverse_path = value
            case "forward-path":
                forward_paths.append(_forward_path(value))
            case _:
                raise BadEntry(f"Unknown envelope word: {word[:40]!r}")
    if reverse_path is None or not forward_paths:
        raise BadEntry("An envelope needs a reverse-path and a forward-path")
    return Envelope(reverse_path, tuple(forward_paths), parameters, client)


def _pair(word: str, value: str) -> str:
    return f"{word}={value}" if value else word


def _parameter(word: str, value: str) -> str:
    return f"parameter {_pair(word, value)}"


def _forward_path(value: str) -> ForwardPath:
    # A quoted local-part may hold spaces; then the address ends behind the quote's '@' and domain.
    end = 0
    if value.startswith('"'):
        end = 1
        while end < len(value) and value[end] != '"':
            end += 2 if value[end] == "\\" else 1
    space = value.find(" ", end)
    if space < 0:
        return ForwardPath(value)
    pairs = (word.partition("=") for word in value[space + 1 :].split(" "))
    return ForwardPath(value[:space], {key: argument for key, _, argument in pairs})
