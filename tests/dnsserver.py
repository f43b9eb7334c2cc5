"""A small DNS server for tests: on 127.0.0.1, UDP and TCP, a dict for a zone, faults by name.

    zone = {"example.org": {"MX": ["10 mail.example.org."], "TXT": ['"v=spf1 -all"']},
            "mail.example.org": {"A": ["192.0.2.1"]}}
    with DnsServer(zone) as server: Resolver(server.at)

`faults[name]` is SERVFAIL, BOGUS (SERVFAIL unless asked not to check), REFUSED, FORMERR-EDNS (a
server from before EDNS), TIMEOUT, TRUNCATED (ask again by TCP), FORGED (an answer with another ID
comes first), PARTIAL (a CNAME without its target) or GARBAGE. Names in `secure`, or `name/TYPE`,
are answered with the AD bit. `asked` lists the questions.
"""

import errno
import socket
import struct
import threading
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Zone = dict[str, dict[str, list[str]]]
TTL = 60


def _a_pair(port: int) -> tuple[socket.socket, socket.socket]:
    """TCP and UDP on one port: the one given, or one that is free in both."""
    while True:
        tcp = socket.create_server(("127.0.0.1", port))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError as error:
            tcp.close()
            udp.close()
            if port or error.errno != errno.EADDRINUSE:
                raise
        else:
            return tcp, udp


class DnsServer:
    def __init__(self, zone: Zone, faults: dict[str, str] | None = None, *, port: int = 0) -> None:
        self.zone = zone
        self.faults = faults or {}
        self.secure: set[str] = set()
        self.ttl = TTL
        self.asked: list[tuple[str, str]] = []
        self._tcp, self._udp = _a_pair(port)
        self.port: int = self._tcp.getsockname()[1]
        self.at = f"127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=f) for f in (self._serve_udp, self._serve_tcp)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._udp.sendto(b"", ("127.0.0.1", self.port))  # an empty datagram ends the loops
        socket.create_connection(("127.0.0.1", self.port)).close()
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while True:
            data, peer = self._udp.recvfrom(65535)
            if not data:
                return
            for wire in self._answers(data, tcp=False):
                self._udp.sendto(wire, peer)

    def _serve_tcp(self) -> None:
        while True:
            sock, _ = self._tcp.accept()
            with sock, sock.makefile("rb") as file:
                head = file.read(2)
                if len(head) < 2:
                    return
                data = file.read(struct.unpack("!H", head)[0])
                for wire in self._answers(data, tcp=True):
                    sock.sendall(struct.pack("!H", len(wire)) + wire)

    def _answers(self, data: bytes, *, tcp: bool) -> list[bytes]:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        if not tcp:
            self.asked.append((name, kind))
        response = dns.message.make_response(query, recursion_available=True)
        fault = self.faults.get(f"{name}/{kind}") or self.faults.get(name, "")
        if fault == "TIMEOUT":
            return []
        if fault == "GARBAGE":
            return [b"\x00\x01garbage"]
        if fault == "BOGUS" and not query.flags & dns.flags.CD:
            fault = "SERVFAIL"
        if fault in ("SERVFAIL", "REFUSED"):
            response.set_rcode(dns.rcode.from_text(fault))
        elif fault == "FORMERR-EDNS" and query.edns >= 0:
            response.set_rcode(dns.rcode.FORMERR)
            response.use_edns(False)
        elif fault == "TRUNCATED" and not tcp:
            response.flags |= dns.flags.TC
        else:
            self._fill(response, name, kind, partial=fault == "PARTIAL")
        try:
            wire = response.to_wire(max_size=65535 if tcp else 1232)
        except dns.exception.TooBig:
            response.answer.clear()
            response.flags |= dns.flags.TC
            wire = response.to_wire()
        if fault == "FORGED":
            return [bytes([wire[0] ^ 1]) + wire[1:].replace(b"\xc0\x00\x02", b"\xc6\x33\x64"), wire]
        return [wire]

    def _fill(self, response: dns.message.Message, name: str, kind: str, *, partial: bool) -> None:
        if name in self.secure or f"{name}/{kind}" in self.secure:
            response.flags |= dns.flags.AD
        for _ in range(20):
            records = self.zone.get(name)
            if records is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
                break
            if kind in records:
                rrset = dns.rrset.from_text(f"{name}.", self.ttl, "IN", kind, *records[kind])
                response.answer.append(rrset)
                return
            if "CNAME" not in records:
                break
            target = records["CNAME"][0]
            response.answer.append(dns.rrset.from_text(f"{name}.", self.ttl, "IN", "CNAME", target))
            if partial:
                return
            name = target.rstrip(".").lower()
        soa = "ns.test. hostmaster.test. 1 3600 600 86400 30"
        response.authority.append(dns.rrset.from_text("test.", self.ttl, "IN", "SOA", soa))
