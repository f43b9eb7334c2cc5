"""What can be fuzzed: name, function of octets, and inputs to begin with."""

from collections.abc import Callable, Iterable
from pathlib import Path

import disk
import mail
import reception
import trust
import wire

TESTS = Path(__file__).resolve().parents[2]

TARGETS: dict[str, Callable[[bytes], None]] = {
    **wire.TARGETS,
    **trust.TARGETS,
    **mail.TARGETS,
    **disk.TARGETS,
    **reception.TARGETS,
}


def dialogs(folder: str, side: str) -> Iterable[bytes]:
    """Give what one side says in each transcript of a folder."""
    for path in sorted((TESTS / "transcripts" / folder).glob("*.txt")):
        lines = [line[3:] for line in path.read_text().splitlines() if line[:3] == f"{side}: "]
        yield b"\0" + "\r\n".join([*lines, ""]).encode()


def messages() -> Iterable[bytes]:
    """Give the sample messages."""
    for path in sorted((TESTS / "messages").rglob("*.eml")):
        yield path.read_bytes().replace(b"\r\n", b"\n")
    for path in sorted((TESTS / "trust" / "data").glob("*.eml")):
        yield path.read_bytes().replace(b"\r\n", b"\n")


SEEDS: dict[str, Callable[[], Iterable[bytes]]] = {
    "smtp-server": lambda: dialogs("smtp", "C"),
    "smtp-client": lambda: dialogs("relay", "S"),
    "pop3": lambda: dialogs("pop3", "C"),
    "imap": lambda: dialogs("imap", "C"),
    "mime": messages,
    "examine": messages,
    "dkim-verify": messages,
}


def seeds(name: str) -> list[bytes]:
    """Give the inputs to begin with."""
    own = [*wire.SEEDS.get(name, ()), *trust.SEEDS.get(name, ()), *mail.SEEDS.get(name, ())]
    own += [*disk.SEEDS.get(name, ()), *reception.SEEDS.get(name, ())]
    return [*own, *SEEDS.get(name, lambda: ())()]
