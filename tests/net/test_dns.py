"""The resolver against a DNS server that misbehaves in each known way."""

import os
import threading

import pytest
from dns import flags, message
from dnsserver import DnsServer, _a_pair

from mailtools.errors import DnsTrouble, Misconfigured
from mailtools.net import dns, dns_servers
from mailtools.net.dns import Answer, Resolver

ZONE = {
    "example.org": {"MX": ["10 mail.example.org.", "20 backup.example.net."]},
    "mail.example.org": {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]},
    "null.example.org": {"MX": ["0 ."]},
    "alias.example.org": {"CNAME": ["mail.example.org."]},
    "far.example.org": {"CNAME": ["alias.example.org."]},
    "dangling.example.org": {"CNAME": ["nowhere.example.org."]},
    "loop.example.org": {"CNAME": ["pool.example.org."]},
    "pool.example.org": {"CNAME": ["loop.example.org."]},
    "text.example.org": {"TXT": ['"v=spf1 " "-all"', '"caf\\195\\169"']},
    "_25._tcp.mail.example.org": {"TLSA": ["3 1 1 " + "ab" * 32]},
    "1.2.0.192.in-addr.arpa": {"PTR": ["mail.example.org."]},
    "big.example.org": {"A": [f"192.0.2.{n}" for n in range(1, 200)]},
    "old.example.org": {"A": ["192.0.2.9"]},
    "broken.example.org": {"A": ["192.0.2.1"]},
}


@pytest.fixture
def server():
    with DnsServer(ZONE) as server:
        yield server


@pytest.fixture
def resolver(server):
    return Resolver(server.at, timeout=0.3, attempts=1)


def test_records_come_as_text(resolver):
    assert set(resolver.exchangers("Example.ORG").records) == {
        "10 mail.example.org",
        "20 backup.example.net",
    }
    texts = resolver.lookup("text.example.org", "TXT").records
    assert sorted(texts) == ["caf\xc3\xa9", "v=spf1 -all"]  # a set of records has no order
    assert resolver.lookup("_25._tcp.mail.example.org", "TLSA").records == ("3 1 1 " + "ab" * 32,)
    name = dns.reverse_name("192.0.2.1")
    assert resolver.lookup(name, "PTR").records == ("mail.example.org",)


def test_null_mx_is_an_empty_name(resolver):
    assert resolver.exchangers("null.example.org").records == ("0 ",)


def test_no_name_and_no_record_differ(resolver):
    missing = resolver.lookup("missing.example.org", "MX")
    assert (missing.records, missing.exists) == ((), False)
    empty = resolver.lookup("mail.example.org", "MX")
    assert (empty.records, empty.exists) == ((), True)


def test_both_families(resolver):
    assert resolver.addresses("mail.example.org") == ("2001:db8::1", "192.0.2.1")
    assert resolver.addresses("missing.example.org") == ()


def test_one_family_that_fails_does_not_hide_the_other(server, resolver):
    server.faults["mail.example.org/AAAA"] = "SERVFAIL"
    assert resolver.addresses("mail.example.org") == ("192.0.2.1",)
    server.faults["old.example.org/AAAA"] = "SERVFAIL"
    server.zone = {**ZONE, "old.example.org": {"TXT": ['"x"']}}
    with pytest.raises(DnsTrouble):
        resolver.addresses("old.example.org")


@pytest.mark.parametrize("fault", ["", "PARTIAL"])
def test_cnames_are_followed(server, resolver, fault):
    server.faults.update({"far.example.org": fault, "alias.example.org": fault})
    answer = resolver.lookup("far.example.org", "A")
    assert answer.records == ("192.0.2.1",)
    assert answer.name == "mail.example.org"


def test_a_cname_to_nothing_is_no_name(resolver):
    assert not resolver.lookup("dangling.example.org", "A").exists


@pytest.mark.parametrize("fault", ["", "PARTIAL"])
def test_a_cname_loop_is_trouble(server, resolver, fault):
    server.faults.update({"loop.example.org": fault, "pool.example.org": fault})
    with pytest.raises(DnsTrouble):
        resolver.lookup("loop.example.org", "A")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("SERVFAIL", "said SERVFAIL"),
        ("BOGUS", "said SERVFAIL, for its DNSSEC signatures do not hold"),
        ("REFUSED", "said REFUSED"),
        ("TIMEOUT", "no answer"),
        ("GARBAGE", "no answer"),
    ],
)
def test_trouble_is_not_absence(server, resolver, fault, said):
    server.faults["broken.example.org"] = fault
    with pytest.raises(DnsTrouble, match=said) as caught:
        resolver.lookup("broken.example.org", "A")
    assert caught.value.status == "4.4.3"


def test_trouble_is_remembered_only_briefly(server, resolver, monkeypatch):
    server.faults["broken.example.org"] = "SERVFAIL"
    with pytest.raises(DnsTrouble):
        resolver.lookup("broken.example.org", "A")
    asked = len(server.asked)
    del server.faults["broken.example.org"]
    with pytest.raises(DnsTrouble):
        resolver.lookup("broken.example.org", "A")
    assert len(server.asked) == asked
    now = dns.time.monotonic
    monkeypatch.setattr(dns.time, "monotonic", lambda: now() + dns.TTL_TROUBLE + 1)
    assert resolver.lookup("broken.example.org", "A").records == ("192.0.2.1",)


@pytest.mark.parametrize("fault", ["TRUNCATED", "FORMERR-EDNS", "FORGED"])
def test_faults_that_are_overcome(server, resolver, fault):
    server.faults["old.example.org"] = fault
    assert resolver.lookup("old.example.org", "A").records == ("192.0.2.9",)


def test_a_large_answer_comes_by_tcp(resolver):
    assert len(resolver.lookup("big.example.org", "A").records) == 199


def test_the_second_server_is_asked(server):
    resolver = Resolver(timeout=0.3)
    resolver._fixed = dns_servers.Servers((("127.0.0.1", 1), ("127.0.0.1", server.port)), True)
    assert resolver.lookup("mail.example.org", "A").records == ("192.0.2.1",)


def test_answers_are_kept_for_their_time(server, resolver, monkeypatch):
    resolver.lookup("mail.example.org", "A")
    resolver.lookup("MAIL.example.org.", "A")
    resolver.lookup("missing.example.org", "A")
    resolver.lookup("missing.example.org", "A")
    assert len(server.asked) == 2
    now = dns.time.monotonic
    monkeypatch.setattr(dns.time, "monotonic", lambda: now() + server.ttl + 1)
    resolver.lookup("mail.example.org", "A")
    assert len(server.asked) == 3


def test_the_cache_has_an_end(resolver, monkeypatch):
    monkeypatch.setattr(dns, "CACHE_MOST", 2)
    for name in ("mail.example.org", "old.example.org", "missing.example.org"):
        resolver.lookup(name, "A")
    assert len(resolver._cache) <= 2


def test_dnssec_is_believed_only_from_whom_it_may(server, resolver):
    server.secure = {"mail.example.org"}
    assert resolver.lookup("mail.example.org", "A").secure
    assert not resolver.lookup("old.example.org", "A").secure
    far = Resolver()
    far._fixed = dns_servers.Servers((("127.0.0.1", server.port),), False)
    assert not far.lookup("mail.example.org", "A").secure


@pytest.mark.parametrize("name", ["a" * 64 + ".org", "a..org", ".".join(["a" * 60] * 6), "é.org"])
def test_a_name_that_cannot_be_does_not_exist(server, resolver, name):
    assert resolver.lookup(name, "A") == Answer(exists=False)
    assert server.asked == []


@pytest.mark.parametrize("text", ["example.org", "127.0.0.1:x", "[::1", "1.2.3.4:5:6"])
def test_a_bad_resolver_setting_is_named(text):
    with pytest.raises(Misconfigured) as caught:
        Resolver(text)
    assert text in caught.value.detail


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("192.0.2.1:54", ("192.0.2.1", 54)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:db8::1]:54", ("2001:db8::1", 54)),
    ],
)
def test_resolver_settings(text, address):
    assert Resolver(text)._servers().addresses == (address,)


def test_resolv_conf(tmp_path, monkeypatch):
    file = tmp_path / "resolv.conf"
    monkeypatch.setattr(dns, "SYSTEM", str(file))
    resolver = Resolver()
    assert resolver._servers().addresses == (("127.0.0.1", 53),)  # missing: the local host
    file.write_text(
        "# c\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nsearch x\noptions timeout:3\n"
    )
    servers = resolver._servers()
    assert servers.addresses == (("192.0.2.1", 53), ("fe80::1%eth0", 53))
    assert (servers.timeout, servers.trusted) == (3, False)
    file.write_text("nameserver 192.0.2.7\noptions attempts:4 trust-ad\n")
    os.utime(file, (1, 1))
    servers = resolver._servers()
    assert (servers.attempts, servers.trusted) == (4, True)
    file.write_text(f"nameserver\nnameserver 192.0.2.9\noptions timeout:{'9' * 5000} attempts:50\n")
    servers = resolver._servers()
    assert servers.addresses == (("192.0.2.9", 53),)
    assert (servers.timeout, servers.attempts) == (30, 5)  # the limits of resolv.conf(5)


def test_a_server_that_drips_is_given_up_on():
    """Each octet comes in time, and the answer never."""
    over = threading.Event()
    tcp, udp = _a_pair(0)

    def cut_short():
        data, peer = udp.recvfrom(512)
        answer = message.make_response(message.from_wire(data))
        answer.flags |= flags.TC
        udp.sendto(answer.to_wire(), peer)
        sock, _ = tcp.accept()
        with sock:
            while not over.wait(0.02):
                try:
                    sock.sendall(b"\x40")
                except OSError:
                    return

    thread = threading.Thread(target=cut_short)
    thread.start()
    try:
        resolver = Resolver(f"127.0.0.1:{tcp.getsockname()[1]}", timeout=0.3, attempts=1)
        with pytest.raises(DnsTrouble, match="no answer"):
            resolver.lookup("example.org", "A")
    finally:
        over.set()
        thread.join(10)
        tcp.close()
        udp.close()
