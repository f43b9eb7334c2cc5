"""Source addresses: from which address of this host a message goes out, and the name it greets by.

The control file `source-addresses`, a line for a sender or for where the mail goes:

    example.org:192.0.2.8,2001:db8::8 mail8.example.org     senders in this domain, and the greeting
    alice@example.org:192.0.2.9                              this sender
    .example.org:192.0.2.10                                  senders in subdomains
    <>:192.0.2.11                                            bounces
    to example.net:192.0.2.12                                whatever goes to this domain
    :192.0.2.7                                               all else

A family without an address in the line is not used.
"""

from collections.abc import Mapping
from typing import NamedTuple

from mailtools.errors import Misconfigured
from mailtools.services.relay import by_domain

NULL = "<>"
_TO = "to "


class Source(NamedTuple):
    """Where a connection comes from: an address of each family, "" for none; its greeting."""

    ipv4: str = ""
    ipv6: str = ""
    hello: str = ""
    """The name to greet by; "" for this host's."""

    def towards(self, address: str) -> str:
        """Give the address that is used towards another one; "" for none."""
        return self.ipv6 if ":" in address else self.ipv4

    def __str__(self) -> str:
        addresses = ",".join(filter(None, (self.ipv4, self.ipv6)))
        return f"{addresses} {self.hello}".rstrip()


class Sources:
    """All source addresses; which one a message takes."""

    def __init__(self, lines: Mapping[str, str]) -> None:
        """Read the control file's lines, by key; raise Misconfigured."""
        self._senders: dict[str, Source] = {}
        self._domains: dict[str, Source] = {}
        for key, text in lines.items():
            try:
                source = parse_source(text)
            except Misconfigured as fault:
                raise Misconfigured(detail=f"source-addresses: {key}: {fault.detail}") from None
            if key.startswith(_TO):
                self._domains[by_domain.key(key.removeprefix(_TO).strip())] = source
            else:
                self._senders[by_domain.key(key)] = source

    @property
    def all(self) -> list[Source]:
        """Every source."""
        return [*self._senders.values(), *self._domains.values()]

    def find(self, sender: str, domain: str) -> tuple[Source | None, bool]:
        """Give the source for mail of a sender to a domain; and whether others have another one."""
        if self._domains and (found := by_domain.find(self._domains, domain)):
            return found, False
        if not self._senders:
            return None, False
        source = by_domain.find_address(self._senders, sender or NULL)
        return source, any(source != other for other in self._senders.values())


def parse_source(text: str) -> Source:
    """Read `IPv4,IPv6 name`; raise Misconfigured."""
    import ipaddress  # here: most sites have no such file

    addresses, _, hello = text.partition(" ")
    found = {4: "", 6: ""}
    for word in addresses.split(","):
        try:
            address = ipaddress.ip_address(word.strip("[]"))
        except ValueError:
            raise Misconfigured(detail=f"{word!r} is no IP address") from None
        if found[address.version]:
            raise Misconfigured(detail=f"{word!r} is the second address of its family")
        found[address.version] = str(address)
    return Source(found[4], found[6], hello.strip())
