"""DNS: exchangers, addresses and the other records mail asks for, through a recursive resolver.

Uses dnspython's messages over sockets of our own (RFC 1035, EDNS of RFC 6891, TCP where an answer
was cut short); "no such name", "no such record" and "could not be found out" stay three things,
since a bounce hangs on the difference. Answers are kept for as long as they may be (RFC 2308 for
the empty ones), so that the cache outlives a job. No search list: mail's names are whole.

A Resolver may be used by several threads.
"""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import time
from dataclasses import dataclass
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from mailtools.errors import DnsTrouble
from mailtools.net.dns_servers import SYSTEM, Servers, named_server, read_system

PAYLOAD = 1232  # octets over UDP that are not cut up on the way (DNS flag day 2020)
TTL_MOST = 86400  # seconds
TTL_NEGATIVE_MOST = 900
TTL_TROUBLE = 5  # so that many jobs for a broken zone do not each wait for it (RFC 9520 3.2)
CHAIN_MOST = 8  # CNAMEs followed by further questions
CACHE_MOST = 20_000  # answers kept
TYPES = ("A", "AAAA", "CNAME", "DNAME", "MX", "NS", "OPT", "PTR", "RRSIG", "SOA", "TLSA", "TXT")
"""What answers to our questions hold."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The records of one type at a name, as text; none when it has no such record.

    Shapes: A and AAAA the address; MX `10 mail.example.org` (`0 ` for the null MX of RFC 7505);
    PTR the name; TXT the strings joined, a byte the character of that number (latin-1); TLSA
    `3 1 1 0c72…`. Names have no dot at their end.
    """

    records: tuple[str, ...] = ()
    exists: bool = True
    """False for NXDOMAIN (RFC 8020)."""
    secure: bool = False
    """Whether DNSSEC vouches for it: the AD bit of a resolver that may be believed."""
    name: str = ""
    """Where CNAMEs led, in lower case (RFC 7672 2.2.2 asks for it)."""


class Resolver:
    """Asks recursive resolvers and remembers what they said."""

    def __init__(self, server: str = "", *, timeout: float = 0, attempts: int = 0) -> None:
        """Ask `server` (address or address:port), else those of resolv.conf(5).

        `timeout` is in seconds for one try at one server. The AD bit is believed from a loopback
        address, from a named `server`, and where resolv.conf says `options trust-ad`. Raises
        Misconfigured.
        """
        self._fixed = named_server(server) if server else None
        self._timeout, self._attempts = timeout, attempts
        self._system: Servers | None = None
        self._stamp = -1
        self._cache: dict[tuple[str, str], tuple[float, Answer | DnsTrouble]] = {}

    def lookup(self, name: str, rrtype: str) -> Answer:
        """Give the records of `rrtype` at `name` (ASCII), CNAMEs followed; raise DnsTrouble."""
        key = (name.lower().rstrip("."), rrtype)
        known = self._cache.get(key)
        now = time.monotonic()
        if known is None or known[0] < now:
            answer, seconds = self._ask(*key)
            if len(self._cache) >= CACHE_MOST:
                self._forget(now)
            known = (now + seconds, answer)
            self._cache[key] = known
        if isinstance(known[1], DnsTrouble):
            # A new one each time: threads must not share a traceback.
            raise DnsTrouble(known[1].text)
        return known[1]

    def exchangers(self, domain: str) -> Answer:
        """Give the MX records of a domain."""
        return self.lookup(domain, "MX")

    def addresses(self, host: str) -> tuple[str, ...]:
        """Give the IPv6 and IPv4 addresses of a host, in this order; raise DnsTrouble.

        One family that cannot be found out is left out where the other gave addresses.
        """
        found: list[str] = []
        trouble: DnsTrouble | None = None
        for rrtype in ("AAAA", "A"):
            try:
                answer = self.lookup(host, rrtype)
            except DnsTrouble as failure:
                trouble = failure
                continue
            if not answer.exists:
                break
            found += answer.records
        if trouble and not found:
            raise trouble
        return tuple(found)

    def tlsa_hosts(self, host: str) -> tuple[str, ...]:
        """Give the names at which TLSA records of a host may lie, best first; none: no DANE.

        RFC 7672 2.2.2: where CNAMEs led, if DNSSEC vouches for all the way to the addresses, then
        the host itself; it alone, if DNSSEC vouches for the alias, and not for what is behind it.
        Raises DnsTrouble where that cannot be found out.
        """
        names: dict[str, None] = {}
        trouble: DnsTrouble | None = None
        for rrtype in ("AAAA", "A"):
            try:
                answer = self.lookup(host, rrtype)
            except DnsTrouble as failure:
                trouble = failure
                continue
            if not answer.secure:
                aliased = answer.name != host
                return (host,) if aliased and self.lookup(host, "CNAME").secure else ()
            if answer.records:
                names[answer.name] = None
        if trouble and not names:
            raise trouble
        return (*names, host) if names and host not in names else tuple(names)

    # -- asking -----------------------------------------------------------------------------------

    def _ask(self, name: str, rrtype: str) -> tuple[Answer | DnsTrouble, float]:
        try:
            target = dns.name.Name([*(label.encode("ascii") for label in name.split(".")), b""])
        except (dns.exception.DNSException, UnicodeEncodeError):
            return Answer(exists=False), TTL_NEGATIVE_MOST  # no such name can exist
        servers = self._servers()
        kind = dns.rdatatype.from_text(rrtype)
        secure, shortest = servers.trusted, float(TTL_MOST)
        try:
            for _ in range(CHAIN_MOST):
                response = _query(servers, target, kind)
                secure = secure and bool(response.flags & dns.flags.AD)
                chain = response.resolve_chaining()
                shortest = min(shortest, chain.minimum_ttl)
                answer = _answer(response, chain, secure)
                if answer is not None:
                    negative = not answer.records
                    return answer, min(shortest, TTL_NEGATIVE_MOST) if negative else shortest
                target = chain.canonical_name  # a resolver that leaves the chain to us
            trouble = "too many CNAMEs"
        except DnsTrouble as failure:
            trouble = failure.text
        except dns.exception.DNSException as error:
            trouble = str(error) or type(error).__name__
        return DnsTrouble(f"DNS lookup of {rrtype} {name} failed: {trouble}"), TTL_TROUBLE

    def _servers(self) -> Servers:
        servers = self._fixed or self._system_servers()
        if self._timeout or self._attempts:
            timeout, attempts = self._timeout or servers.timeout, self._attempts
            return Servers(
                servers.addresses, servers.trusted, timeout, attempts or servers.attempts
            )
        return servers

    def _system_servers(self) -> Servers:
        try:
            stamp = os.stat(SYSTEM).st_mtime_ns
        except OSError:
            stamp = 0
        if self._system is None or stamp != self._stamp:
            self._system, self._stamp = read_system(SYSTEM), stamp
        return self._system

    def _forget(self, now: float) -> None:
        for key, (until, _) in list(self._cache.items()):
            if until < now:
                self._cache.pop(key, None)
        if len(self._cache) >= CACHE_MOST:
            self._cache.clear()


def prepare() -> None:
    """Load what reading answers takes: dnspython does that when it meets the first of a type.

    For a process that will be forked, or that may not be allowed to read Python later: dnspython
    would then take the records for data that nobody knows.
    """
    for rrtype in map(dns.rdatatype.from_text, TYPES):
        dns.rdata.get_rdata_class(dns.rdataclass.IN, rrtype)  # type: ignore[no-untyped-call]


def reverse_name(address: str) -> str:
    """Give the name where the PTR record of an IP address lies."""
    return ipaddress.ip_address(address).reverse_pointer


def _answer(
    response: dns.message.QueryMessage, chain: dns.message.ChainingResult, secure: bool
) -> Answer | None:
    name = _plain(chain.canonical_name).lower()
    if chain.answer is not None:
        records = tuple(_text(record) for record in chain.answer)
        return Answer(records, True, secure, name)
    if response.rcode() == dns.rcode.NXDOMAIN:
        return Answer((), False, secure, name)
    if chain.cnames and not response.authority:
        return None  # the chain was not followed to its end
    return Answer((), True, secure, name)


def _query(
    servers: Servers, name: dns.name.Name, rrtype: dns.rdatatype.RdataType
) -> dns.message.QueryMessage:
    said = ""
    for _ in range(servers.attempts):
        failing: tuple[str, int] | None = None
        for server in servers.addresses:
            try:
                response = _exchange(server, name, rrtype, servers.timeout)
            except (OSError, dns.exception.DNSException) as error:
                reason = error.strerror if isinstance(error, OSError) else None
                said = f"{server[0]} cannot be asked: {reason or error}"
                continue
            if response is None:
                said = f"no answer from {server[0]} in {servers.timeout:g} seconds"
            elif response.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                return response
            else:
                said = f"{server[0]} said {dns.rcode.to_text(response.rcode())}"
                failing = server if response.rcode() == dns.rcode.SERVFAIL else None
        if failing and _is_bogus(failing, name, rrtype, servers.timeout):
            said += ", for its DNSSEC signatures do not hold"
            break  # the resolver has tried all of the zone's servers: it would say so again
    raise DnsTrouble(said or "no DNS server is known")


def _is_bogus(
    server: tuple[str, int], name: dns.name.Name, rrtype: dns.rdatatype.RdataType, timeout: float
) -> bool:
    """Tell whether a resolver that failed answers where it need not check (RFC 4035 3.2.2)."""
    try:
        response = _exchange(server, name, rrtype, timeout, dns.flags.CD)
    except (OSError, dns.exception.DNSException):
        return False
    return response is not None and response.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)


def _exchange(
    server: tuple[str, int],
    name: dns.name.Name,
    rrtype: dns.rdatatype.RdataType,
    timeout: float,
    asked: dns.flags.Flag = dns.flags.AD,
) -> dns.message.QueryMessage | None:
    # The AD bit in a question asks for it in the answer (RFC 6840 5.7).
    question = dns.message.make_query(
        name, rrtype, use_edns=0, payload=PAYLOAD, flags=dns.flags.RD | asked
    )
    response = _over_udp(server, question, timeout)
    if response is not None and response.rcode() in (dns.rcode.FORMERR, dns.rcode.NOTIMP):
        question.use_edns(False)  # RFC 6891 7: a server from before EDNS
        response = _over_udp(server, question, timeout)
    if response is not None and response.flags & dns.flags.TC:
        response = _over_tcp(server, question, timeout)
    return response


def _over_udp(
    server: tuple[str, int], question: dns.message.QueryMessage, timeout: float
) -> dns.message.QueryMessage | None:
    end = time.monotonic() + timeout
    with socket.socket(_family(server[0]), socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(server)  # answers from elsewhere do not come in
        sock.send(question.to_wire())
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        while poll.poll(max(0.0, end - time.monotonic()) * 1000):
            response = _read(sock.recv(65535), question)
            if response is not None:
                return response
    return None


def _over_tcp(
    server: tuple[str, int], question: dns.message.QueryMessage, timeout: float
) -> dns.message.QueryMessage | None:
    wire = question.to_wire()
    end = time.monotonic() + timeout
    data = b""
    try:
        with socket.create_connection(server, timeout) as sock:
            sock.sendall(len(wire).to_bytes(2, "big") + wire)
            while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
                # For the answer as a whole: a server that drips gains nothing.
                sock.settimeout(max(0.001, end - time.monotonic()))
                piece = sock.recv(65535)
                if not piece:
                    break
                data += piece
    except TimeoutError:
        return None
    return _read(data[2:], question)


def _read(data: bytes, question: dns.message.QueryMessage) -> dns.message.QueryMessage | None:
    """Read a response; None for what does not answer the question (a forgery, an old one)."""
    try:
        response = dns.message.from_wire(data, ignore_trailing=True)
    except dns.message.Truncated as cut:
        response = cut.kwargs["message"]
    except (dns.exception.DNSException, ValueError):
        return None
    if not isinstance(response, dns.message.QueryMessage) or not question.is_response(response):
        return None
    return response


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


# -- records as text ------------------------------------------------------------------------------


def _plain(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).rstrip(".")


def _text(record: Any) -> str:
    kind = record.rdtype
    if kind == dns.rdatatype.MX:
        return f"{record.preference} {_plain(record.exchange)}"
    if kind in (dns.rdatatype.PTR, dns.rdatatype.CNAME, dns.rdatatype.NS):
        return _plain(record.target)
    if kind == dns.rdatatype.TXT:
        return b"".join(record.strings).decode("latin-1")
    if kind == dns.rdatatype.TLSA:
        return f"{record.usage} {record.selector} {record.mtype} {record.cert.hex()}"
    return str(record.to_text())
