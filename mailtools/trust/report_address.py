"""Where reports on a domain may go: its rua or ruf, and whether others agree.

RFC 9990 4, RFC 9991 5, RFC 8460 3.

Without the other's consent a record could send the reports of the world to a victim.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from mailtools.errors import BadAddress
from mailtools.mail.address import ascii_domain, parse_address
from mailtools.trust.dmarc import organizational_domain
from mailtools.trust.dmarc_record import DmarcRecord, is_dmarc, parse_dmarc, record_at
from mailtools.trust.lookup import NAME_MOST, Lookup, is_name
from mailtools.trust.mta_sts import parse_tlsrpt_record
from mailtools.trust.tags import BadRecord

ADDRESSES_MOST = 10  # a report goes to: ours, RFC 9990 3.5 leaves it to us


class Places(NamedTuple):
    """Where a report goes, and what is wrong with the other places that were named."""

    addresses: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    """HTTPS."""
    faults: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether it goes anywhere."""
        return bool(self.addresses or self.uris)


def dmarc_places(domain: str, lookup: Lookup) -> Places:
    """Find where aggregate reports on a policy domain go now; raise DnsTrouble."""
    return _dmarc_places(domain, lookup, lambda record: record.rua)


def failure_places(domain: str, lookup: Lookup) -> Places:
    """Find where failure reports on a policy domain go now; raise DnsTrouble.

    The ruf= of a public suffix does not count (RFC 9991 2).
    """
    return _dmarc_places(domain, lookup, lambda record: () if record.psd == "y" else record.ruf)


def _dmarc_places(
    domain: str, lookup: Lookup, wanted: Callable[[DmarcRecord], tuple[str, ...]]
) -> Places:
    record = record_at(domain, lookup)
    if record is None or not wanted(record):
        return Places()
    home = organizational_domain(domain, lookup)
    found: list[str] = []
    faults: list[str] = []
    for address in wanted(record)[:ADDRESSES_MOST]:
        host = _host(address)
        if not host:
            faults.append(f"{address} is no address")
        elif host == domain or organizational_domain(host, lookup) == home:
            found.append(address)
        else:
            agreed = _agreed(domain, address, host, lookup, wanted)
            found += agreed
            if not agreed:
                faults.append(f"{host} has not agreed: no TXT at {consent_name(domain, host)}")
    return Places(tuple(dict.fromkeys(found)), (), tuple(faults))


def consent_name(domain: str, host: str) -> str:
    """Name where a host says that it takes reports on a domain (RFC 9990 4)."""
    return f"{domain}._report._dmarc.{host}"


def _agreed(
    domain: str,
    address: str,
    host: str,
    lookup: Lookup,
    wanted: Callable[[DmarcRecord], tuple[str, ...]],
) -> Sequence[str]:
    name = consent_name(domain, host)
    if len(name) > NAME_MOST:
        return ()
    texts = [text for text in lookup(name, "TXT").records if is_dmarc(text)]
    if not texts:
        return ()
    overriding = [address for record in _records(texts, host) for address in wanted(record)]
    if not overriding:
        return (address,)
    # It may choose another address, but of the same host: else there is no report at all.
    return overriding if all(_host(other) == host for other in overriding) else ()


def _records(texts: Sequence[str], host: str) -> list[DmarcRecord]:
    found = []
    for text in texts:
        try:
            found.append(parse_dmarc(text, host))
        except BadRecord:
            continue
    return found


def tls_places(domain: str, lookup: Lookup) -> Places:
    """Find where TLS reports on a domain go now (RFC 8460 3); raise DnsTrouble."""
    try:
        uris = parse_tlsrpt_record(lookup(f"_smtp._tls.{domain}", "TXT").records)
    except BadRecord as fault:
        return Places(faults=(fault.text,))
    addresses, posts, faults = [], [], []
    for uri in uris[:ADDRESSES_MOST]:
        scheme, _, rest = uri.partition(":")
        if scheme.lower() == "https":
            posts.append(uri)
            continue
        address = unquote(rest.partition("?")[0])
        if _host(address):
            addresses.append(address)
        else:
            faults.append(f"{uri} names no address")
    return Places(tuple(dict.fromkeys(addresses)), tuple(dict.fromkeys(posts)), tuple(faults))


def _host(address: str) -> str:
    """Give the domain of an address, A-labels in lower case; "" for one that we cannot write to."""
    try:
        host = ascii_domain(parse_address(address).domain).rstrip(".")
    except BadAddress:
        return ""
    return host if is_name(host) and address.isascii() else ""
