"""Domains that are relayed for strangers: a backup exchanger's, a gateway's, those of `transports`.

`relay-domains` has the domains (`.example.org`: its subdomains), `relay-recipients` who there gets
mail, an address or `@domain` a line. What that file does not list is refused at RCPT: taken here
and refused at the next hop, it would become a bounce to a forged sender. Without the file anybody
is taken.
"""

from __future__ import annotations

from collections.abc import Iterable

from mailtools.errors import BadAddress, Misconfigured, NoSuchMailbox
from mailtools.mail.address import Address, ascii_domain, parse_address, parse_domain
from mailtools.services.access.changing_file import ChangingFile

POSTMASTER = "postmaster"


class RelayDomains:
    """The domains, and their recipients; the file is read again when it changes."""

    def __init__(self, lines: Iterable[str], recipients: str = "", separators: str = "+") -> None:
        """Take the domains, the path of `relay-recipients`, and extension separators."""
        self.lines = tuple(dict.fromkeys(ascii_domain(line) for line in lines))
        """The domains, in their ASCII form."""
        self._domains = frozenset(self.lines)
        self._file = ChangingFile(recipients)
        self._known: frozenset[str] | None = None
        self._separators = separators

    def find(self, domain: str) -> str:
        """Give the line that a domain is listed by; "" where mail for it is not relayed."""
        try:
            name = ascii_domain(domain)
        except BadAddress:
            return ""
        return _nearest(name, self._domains)

    def check(self, address: Address) -> None:
        """Raise NoSuchMailbox unless an address of these domains gets mail.

        Misconfigured means that `relay-recipients` cannot be read, or has faults.
        """
        self.refresh()
        local, domain = address.local.lower(), ascii_domain(address.domain)
        if local == POSTMASTER or self.takes_anybody(domain):  # RFC 5321 4.5.1
            return
        known = self._known or ()
        if not any(f"{name}@{domain}" in known for name in self._names(local)):
            raise NoSuchMailbox(detail="not in relay-recipients")

    def takes_anybody(self, domain: str) -> bool:
        """Whether any recipient of a domain is taken, in its ASCII form or as it is listed."""
        return self._known is None or bool(_nearest(domain, self._known, "@"))

    def has_recipients(self, line: str) -> bool:
        """Whether somebody of a listed domain gets mail, besides postmaster."""
        only = frozenset((line,))
        return self.takes_anybody(line) or any(
            _nearest(name.rpartition("@")[2], only) for name in self._known or ()
        )

    def strays(self) -> list[str]:
        """Give the recipients whose domain is not listed: they change nothing."""
        known = self._known or ()
        return sorted(
            name for name in known if not _nearest(name.rpartition("@")[2], self._domains)
        )

    def refresh(self) -> None:
        """Read the file where it has changed; raise Misconfigured with all its faults."""
        path = self._file.path
        try:
            text = self._file.news()
        except FileNotFoundError:
            self._known = None
            return
        except OSError as error:
            raise Misconfigured(detail=f"{path}: cannot be read: {error.strerror}") from error
        if text is None:
            return
        faults: list[str] = []
        known = frozenset(_read(text, path, faults))
        if faults:
            raise Misconfigured(detail="\n".join(faults))
        self._known = known
        self._file.settle()

    def _names(self, local: str) -> Iterable[str]:
        """Give a local-part whole, then without each extension."""
        yield local
        for place in range(len(local) - 1, 0, -1):
            if local[place] in self._separators:
                yield local[:place]


def _nearest(domain: str, table: frozenset[str], before: str = "") -> str:
    """Give what a table has of a domain: itself, or its nearest `.parent`; "" for nothing."""
    name = domain
    while before + name not in table:
        _, dot, name = name.removeprefix(".").partition(".")
        if not dot:
            return ""
        name = f".{name}"
    return before + name


def _read(text: str, path: str, faults: list[str]) -> Iterable[str]:
    """Yield the recipients of a file, as they are looked up."""
    for number, line in enumerate(text.split("\n"), 1):
        entry = line.strip()
        if not entry or entry[0] == "#":
            continue
        try:
            if entry[0] == "@":
                bare = entry[1:].removeprefix(".")
                yield f"{entry[: len(entry) - len(bare)]}{ascii_domain(parse_domain(bare))}"
            else:
                yield parse_address(entry).key
        except BadAddress:
            faults.append(f"{path}:{number}: {entry[:80]!r} is neither an address nor @domain")
