"""mail-route: each step of an address' way, what would become of it, and a call at the door."""

import os
import ssl
import time
from pathlib import Path

import pytest
from dnsserver import DnsServer
from relaybench import script
from smtpsink import Sink, Taker

from mailtools.store.suppressed import Suppressed, Suppression
from mailtools.store.tls_memory import Seen, TlsMemory

ZONE = {
    "example.net": {"MX": ["20 b.example.net.", "10 a.example.net."]},
    "a.example.net": {"A": ["192.0.2.4"], "AAAA": ["2001:db8::4"]},
    "b.example.net": {"A": ["192.0.2.5"]},
    "implicit.example.com": {"A": ["192.0.2.6"]},
    "nomail.example.com": {"MX": ["0 ."]},
    "nowhere.example.com": {"MX": ["10 none.example.com."]},
    "loop.example.com": {"MX": ["10 mail.example.org."]},
    "mail.example.org": {"A": ["192.0.2.1"]},
    "signed.example.com": {"MX": ["10 mx.signed.example.com."]},
    "mx.signed.example.com": {"A": ["192.0.2.7"]},
    "_25._tcp.mx.signed.example.com": {"TLSA": [f"3 1 1 {'ab' * 32}"]},
}


@pytest.fixture
def dns(site):
    with DnsServer(ZONE, {"broken.example.com": "SERVFAIL"}) as server:
        server.secure |= {
            "signed.example.com", "mx.signed.example.com", "_25._tcp.mx.signed.example.com"
        }  # fmt: skip
        site.set("resolver", server.at)
        yield server


def route(site, *words, code=0):
    """Run it, and give the lines as (depth, label, text)."""
    done = site.run("mail-route", *words)
    assert done.returncode == code, (done.stdout, done.stderr)
    lines = done.stdout.decode().splitlines()
    found = []
    for line in lines:
        depth = (len(line) - len(line.lstrip())) // 2
        label, text = line.strip()[:9].strip(), line.strip()[9:].strip()
        found.append((depth, label, text))
    return found


# -- relayed --------------------------------------------------------------------------------------


def test_whose_mail_strangers_may_bring(site, dns):
    site.set("relay-domains", "example.net", ".example.com")
    site.set("relay-recipients", "bob@example.net", "@.example.com")
    lines = route(site, "bob@example.net")
    assert lines[1] == (1, "relayed", "for anybody: example.net (relay-domains)")
    assert (1, "mx", "10 a.example.net 2001:db8::4 192.0.2.4, not signed") in lines
    lines = route(site, "any@implicit.example.com")
    assert lines[1] == (1, "relayed", "for anybody: .example.com (relay-domains)")
    assert route(site, "who@example.net", code=os.EX_NOUSER)[2:] == [
        (1, "refused", "5.1.1 No such mailbox here (not in relay-recipients)")
    ]


# -- here -----------------------------------------------------------------------------------------


def test_an_account(site):
    maildir = site.account("bob")
    for address in ("bob@example.org", "bob", "Bob+lists@EXAMPLE.org"):
        assert route(site, address) == [
            (0, "address", address),
            (1, "account", "bob"),
            (2, "maildir", str(maildir)),
        ]


def test_aliases_step_by_step_to_each_end(site, dns):
    maildir = site.account("bob")
    members = site.root / "members"
    members.write_text("carol@example.net\n")
    aliases = site.set(
        "aliases",
        "team: staff, |\"cat -\"",
        f"staff: bob, {site.root}/archive/",
        f"list: :include:{members}",
        "owner-list: bob",
        "gone: /dev/null",
    )  # fmt: skip
    assert route(site, "team@example.org") == [
        (0, "address", "team@example.org"),
        (1, "alias", f"team ({aliases}:1)"),
        (2, "alias", f"staff ({aliases}:2)"),
        (3, "account", "bob"),
        (4, "maildir", str(maildir)),
        (3, "maildir", f"{site.root}/archive"),
        (2, "program", f"cat - (as uid {os.getuid()})"),
    ]
    shown = route(site, "--from", "alice@example.org", "list@example.org")
    assert shown[1:5] == [
        (1, "alias", f"list ({aliases}:3)"),
        (2, "alias", f":include:{members} ({aliases}:3)"),
        (3, "from", "<owner-list@example.org>"),
        (3, "address", "carol@example.net"),
    ]
    assert route(site, "gone@example.org")[-1] == (2, "nothing", "it is thrown away")


def test_a_user_s_own_rules(site, dns):
    home = site.homes / "bob"
    home.mkdir()
    (site.etc / "accounts").write_text(f"bob:{{PLAIN}}x::::{home}::\n")
    (site.etc / "accounts").chmod(0o600)
    rules = home / ".forward"
    rules.write_text("\\bob\ncarol@example.net\n")
    rules.chmod(0o600)
    shown = route(site, "bob@example.org")
    assert shown[:5] == [
        (0, "address", "bob@example.org"),
        (1, "account", "bob"),
        (2, "maildir", f"{home}/Maildir ({rules}:1)"),
        (2, "forward", f"{rules}:2"),
        (2, "address", "carol@example.net"),
    ]
    rules.chmod(0o666)
    shown = route(site, "bob@example.org", code=os.EX_TEMPFAIL)
    assert shown[-1][1] == "put off"
    assert "may be written by others" in shown[-1][2]


def test_nobody_of_that_name(site):
    shown = route(site, "nobody@example.org", code=os.EX_NOUSER)
    assert shown[-1] == (1, "refused", "5.1.1 No such mailbox here")


def test_an_address_that_is_none(site):
    assert route(site, "bob@@example.org", code=os.EX_DATAERR)[-1][1] == "refused"


def test_a_loop_of_aliases_is_shown_as_far_as_it_goes(site):
    aliases = site.set("aliases", "a: b", "b: a")
    shown = route(site, "a@example.org", code=os.EX_TEMPFAIL)
    assert [line[2] for line in shown if line[1] == "alias"] == [
        f"a ({aliases}:1)", f"b ({aliases}:2)",
    ]  # fmt: skip
    assert shown[-1][1] == "put off"
    assert "a loop: a → b → a" in shown[-1][2]


def test_a_full_mailbox_is_put_off(site):
    maildir = site.account("bob")
    (site.etc / "accounts").write_text("bob:{PLAIN}x::::::quota=1\n")
    (maildir / "cur").mkdir(parents=True)
    (maildir / "cur" / "1.M1P1.x,S=5:2,").write_bytes(b"12345")
    shown = route(site, "bob@example.org", code=os.EX_TEMPFAIL)
    assert shown[-1] == (2, "put off", "4.2.2 The mailbox is full")


def test_virtual_domains_and_other_agents(site):
    site.account("bob")
    virtual = site.set("virtual", "sales@shop.test: bob")
    site.set("transports", "lists.test:/usr/bin/mlmmj-deliver --lists")
    assert route(site, "sales@shop.test")[1:3] == [
        (1, "alias", f"sales@shop.test ({virtual}:1)"),
        (2, "account", "bob"),
    ]
    route(site, "other@shop.test", code=os.EX_NOUSER)
    assert route(site, "x@lists.test")[1:] == [
        (1, "agent", "/usr/bin/mlmmj-deliver --lists (transports)")
    ]


# -- elsewhere ------------------------------------------------------------------------------------


def test_exchangers_in_the_order_of_an_attempt(site, dns):
    assert route(site, "bob@example.net") == [
        (0, "address", "bob@example.net"),
        (1, "mx", "10 a.example.net 2001:db8::4 192.0.2.4, not signed"),
        (1, "mx", "20 b.example.net 192.0.2.5, not signed"),
        (1, "dane", "not possible: the MX records are not signed"),
        (1, "mta-sts", "no policy"),
        (1, "try 1", "a.example.net[2001:db8::4]:25, TLS may: encrypted where they can"),
        (1, "try 2", "a.example.net[192.0.2.4]:25, TLS may: encrypted where they can"),
        (1, "try 3", "b.example.net[192.0.2.5]:25, TLS may: encrypted where they can"),
    ]


def test_without_mx_the_domain_itself(site, dns):
    shown = route(site, "bob@implicit.example.com")
    assert (1, "mx", "none, not signed: implicit.example.com itself takes its mail") in shown
    assert shown[-1][2].startswith("implicit.example.com[192.0.2.6]:25")


@pytest.mark.parametrize(
    ("domain", "code", "end"),
    [
        ("nomail.example.com", os.EX_NOHOST, "5.1.10 nomail.example.com does not accept mail"),
        ("unknown.example.com", os.EX_NOHOST, "5.1.2 The domain unknown.example.com does not"),
        ("nowhere.example.com", os.EX_NOHOST, "5.4.4 No exchanger of nowhere.example.com"),
        ("loop.example.com", os.EX_UNAVAILABLE, "5.4.6 Mail for loop.example.com would come"),
        ("broken.example.com", os.EX_TEMPFAIL, "4.4.3 DNS lookup of MX broken.example.com failed"),
    ],
)
def test_what_would_fail(site, dns, domain, code, end):
    shown = route(site, f"bob@{domain}", code=code)
    assert shown[-1][1] == ("put off" if code == os.EX_TEMPFAIL else "refused")
    assert shown[-1][2].startswith(end)


def test_several_addresses_have_one_exit_code(site, dns):
    site.account("bob")
    route(site, "bob@example.org", "nobody@example.org", code=os.EX_NOUSER)
    route(site, "nobody@example.org", "bob@broken.example.com", code=os.EX_TEMPFAIL)


def test_dane(site, dns):
    shown = route(site, "bob@signed.example.com")
    assert (1, "dane", "asked for") in shown
    assert shown[-1][2] == (
        "mx.signed.example.com[192.0.2.7]:25, TLS dane: a certificate that their TLSA records name"
    )


def test_the_operator_s_tls_policy(site, dns):
    site.set("tls-policy", "example.net:verify")
    shown = route(site, "bob@example.net")
    assert (1, "tls", "verify, as tls-policy says") in shown
    assert shown[-1][2].endswith("TLS verify: a valid certificate for that name")


def test_routes_and_logins(site):
    site.set("routes", ":smtps:[192.0.2.9]", "lmtp.test:lmtp:/run/lists.sock")
    site.set("route-credentials", "192.0.2.9:alice:secret").chmod(0o600)
    verified = "verify: a valid certificate for that name"
    assert route(site, "bob@example.net")[1:] == [
        (1, "route", "192.0.2.9:465"),
        (1, "login", "as alice (route-credentials)"),
        (1, "try 1", f"[192.0.2.9]:465, TLS from the start, {verified}"),
    ]
    shown = route(site, "bob@lmtp.test")
    assert shown[1] == (1, "route", "/run/lists.sock by LMTP")


def test_a_silent_destination_is_named(site, dns):
    folder = site.queue / "dest"
    folder.mkdir(parents=True)
    (folder / "example.net").write_text("4102444800\t3\t4.4.1\trefused\n")
    shown = route(site, "bob@example.net")
    assert shown[1][1] == "silence"
    assert "queue-run --domain example.net tries now" in shown[1][2]


def test_a_suppressed_address_is_refused(site, dns):
    site.set("suppress", "1d")
    folder = site.queue / "suppress"
    folder.mkdir(parents=True)
    Suppressed(str(folder)).add(Suppression("bob@example.net", time.time(), "5.1.1", "mx said 550"))
    shown = route(site, "bob@example.net", code=os.EX_NOUSER)
    assert shown[1] == (1, "lift", "queue-edit unsuppress bob@example.net")
    assert shown[2][1] == "refused"
    assert shown[2][2].endswith(": mx said 550")
    assert route(site, "carol@example.net")[1][1] == "mx"


def test_a_wrong_setting_is_exit_78(site):
    site.set("tls-policy", "example.net:sometimes")
    done = site.run("mail-route", "bob@example.net")
    assert done.returncode == os.EX_CONFIG
    assert b"'sometimes' is none of" in done.stderr


def test_who_signs_is_told(site):
    site.set("routes", ":192.0.2.9")
    site.set("dkim-keys", "example.org 2026-rsa", "example.org 2026-ed", "example.org old retired")
    signs = (1, "signs", "example.org by 2026-rsa, 2026-ed (dkim-keys), where it is submitted here")
    assert signs in route(site, "--from", "alice@Lists.Example.ORG", "bob@example.net")
    for sender in ("", "alice@example.com", "alice@[192.0.2.1]"):
        told = route(site, "--from", sender, "bob@example.net")
        assert "signs" not in [label for _, label, _ in told]


# -- at the door ----------------------------------------------------------------------------------

PLAIN = """S: 220 mx
C: EHLO mail.example.org
S: 250-mx
S: 250-SIZE 1000
S: 250 SMTPUTF8
C: QUIT
S: 221 bye
"""
SECURE = """S: 220 mx
C: EHLO mail.example.org
S: 250-mx
S: 250 STARTTLS
C: STARTTLS
S: 220 go
*** tls
C: EHLO mail.example.org
S: 250-mx
S: 250 PIPELINING
C: QUIT
S: 221 bye
"""


def test_dial_shows_what_is_offered_and_sends_nothing(site):
    with Sink([script(PLAIN)]) as sink:
        site.set("routes", f":127.0.0.1:{sink.port}")
        shown = route(site, "--dial", "jürgen@example.net")
        sink.check()
    assert shown[-3:] == [
        (1, "dial", f"[127.0.0.1]:{sink.port} answers"),
        (1, "tls", "none"),
        (1, "offers", "SIZE 1000, SMTPUTF8"),
    ]


def test_dial_shows_tls_and_the_certificate(site, authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mx.example.net", "127.0.0.1").configure_cert(context)
    with Sink([script(SECURE)], context) as sink:
        site.set("routes", f":127.0.0.1:{sink.port}")
        shown = dict(line[1:] for line in route(site, "--dial", "bob@example.net"))
        sink.check()
    assert shown["tls"].startswith("TLSv1.")
    assert set(shown["names"].split(", ")) == {"mx.example.net", "127.0.0.1"}
    assert "trustme" in shown["issuer"]
    assert shown["valid"].startswith("until ")
    assert shown["offers"] == "PIPELINING"


def test_dial_where_tls_is_not_what_is_asked(site, authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.test").configure_cert(context)
    site.set("tls-policy", ":verify")
    with Sink([script(SECURE.partition("C: EHLO mail.example.org\nS: 250-mx\nS: 250 PIPE")[0])],
              context) as sink:  # fmt: skip
        site.set("routes", f":127.0.0.1:{sink.port}")
        shown = route(site, "--dial", "bob@example.net", code=os.EX_TEMPFAIL)
    assert any(line[1] == "dial" and "TLS handshake failed" in line[2] for line in shown)


def test_dial_does_without_tls_where_the_policy_allows(site):
    broken = SECURE.partition("*** tls")[0] + "S: this is no TLS\n*** end\n"
    plain = PLAIN.replace("SMTPUTF8", "STARTTLS")
    with Sink([script(broken), script(plain)]) as sink:
        site.set("routes", f":127.0.0.1:{sink.port}")
        shown = route(site, "--dial", "bob@example.net")
        sink.check()
    said = [line[2] for line in shown if line[1] in ("dial", "tls")]
    assert "TLS handshake" in said[0]
    assert said[2:] == [
        "again without TLS, as the policy allows",
        f"[127.0.0.1]:{sink.port} answers",
        "none",
    ]


def test_dial_tells_of_starttls_that_is_refused(site):
    refusing = SECURE.partition("S: 220 go")[0] + "S: 454 no TLS now\nC: QUIT\nS: 221 bye\n"
    with Sink([script(refusing)]) as sink:
        site.set("routes", f":127.0.0.1:{sink.port}")
        shown = dict(line[1:] for line in route(site, "--dial", "bob@example.net"))
    assert shown["tls"] == "none, for STARTTLS was refused"


def test_dial_where_nobody_listens(site):
    with Taker() as taker:
        site.set("routes", f":127.0.0.1:{taker.port}")
    shown = route(site, "--dial", "bob@example.net", code=os.EX_TEMPFAIL)
    assert shown[-1][1] == "dial"
    assert "Connection refused" in shown[-1][2]


def test_dial_where_utf8_is_not_offered(site):
    with Sink([script(PLAIN.replace("250 SMTPUTF8", "250 DSN"))]) as sink:
        site.set("routes", f":127.0.0.1:{sink.port}")
        shown = route(site, "--dial", "jürgen@example.net", code=os.EX_DATAERR)
        sink.check()
    assert "offers no SMTPUTF8" in shown[-1][2]


def test_sendmail_bv_is_mail_route(site):
    maildir: Path = site.account("bob")
    done = site.run("sendmail", "-bv", "bob", "nobody@example.org")
    assert done.returncode == os.EX_NOUSER
    assert done.stdout.decode().splitlines() == [
        "address   bob",
        "  account   bob",
        f"    maildir   {maildir}",
        "address   nobody@example.org",
        "  refused   5.1.1 No such mailbox here",
    ]


def test_a_retry_class_is_told(site):
    site.set("routes", ":127.0.0.1:1")
    site.set("retry-classes", ".example.net:2min/30min/3d")
    shown = route(site, "bob@a.example.net")
    assert shown[1] == (
        1, "retry", "after 2 min, then ever later up to every 30 min, for 3 d (retry-classes)"
    )  # fmt: skip
    assert route(site, "bob@example.net")[1][1] == "route"
    site.set("retry-classes", "Bücher.test:1min/2min/3d")
    assert route(site, "bob@xn--bcher-kva.test")[1][1] == "retry"


def test_a_retry_class_that_is_none_is_a_fault(site):
    site.set("retry-classes", "example.net:1h/5min")
    done = site.run("mail-route", "bob@example.net")
    assert done.returncode == os.EX_CONFIG
    assert b"retry-classes: example.net: '1h/5min': the shortest wait is longer" in done.stderr


def test_a_host_that_had_tls_is_told(site):
    site.set("routes", ":127.0.0.1:2525")
    memory = TlsMemory(str(site.spool / "tls-memory"))
    memory.note("127.0.0.1:2525", Seen(time.time()))
    shown = {label: text for _, label, text in route(site, "bob@example.net")}
    assert shown["try 1"] == "[127.0.0.1]:2525, TLS encrypt: any certificate will do"
    assert shown["memory"].startswith("if TLS fails: it was encrypted on ")
    assert shown["memory"].endswith("or tls-memory/127.0.0.1:2525 is removed")
    site.set("tls-policy", "127.0.0.1:may")
    shown = {label: text for _, label, text in route(site, "bob@example.net")}
    assert "memory" not in shown
    assert shown["try 1"].endswith("TLS may: encrypted where they can")
