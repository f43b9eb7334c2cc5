"""mail-check: every fault of a site at once, each with its mend; and --show."""

import datetime
import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from conftest import BIN
from dnsserver import DnsServer
from fakemilter import FakeMilter

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.settings import SETTINGS
from mailtools.store.queue import Queue


@pytest.fixture
def well(secure_site):
    """A site with nothing wrong but what tests cannot have."""
    site = secure_site
    site.account("bob")
    site.set("aliases", "postmaster: bob")
    (site.etc / "key.pem").chmod(0o600)
    site.set("disk-floor", "1K")
    Queue(str(site.queue)).create()
    return site


def check(site, *words, code):
    done = site.run("mail-check", "--json", *words)
    assert done.returncode == code, (done.stdout, done.stderr)
    found = [json.loads(line) for line in done.stdout.decode().splitlines()]
    # The disk of the tests, and that all of it is root's, are not ours to mend.
    return [
        one for one in found if " free" not in one["what"] and "belongs to root" not in one["what"]
    ]


def texts(findings, weight=None):
    return [f"{one['where']}: {one['what']}" for one in findings if weight in (None, one["weight"])]


def faults(site, *words):
    found = texts(check(site, "--no-dns", *words, code=os.EX_CONFIG), "fault")
    assert found
    return found


def warnings(site):
    return texts(check(site, "--no-dns", code=os.EX_OK), "warning")


def test_milters_that_are_not_there(well):
    there = FakeMilter()
    well.set("milters", there.endpoint, f"unix:{well.root}/none", f"unix:{well.root}/no accept")
    found = check(well, "--no-dns", code=os.EX_CONFIG)
    there.close()
    assert [(one["weight"], one["where"]) for one in found] == [
        ("fault", f"unix:{well.root}/none"),
        ("warning", f"unix:{well.root}/no"),
    ]
    assert "does not answer: no connection: No such file or directory" in found[0]["what"]
    assert there.sessions == 1
    assert there.commands() == "Q"


def test_mail_that_is_relayed_for_strangers(well):
    well.set("relay-domains", "example.net", "example.com")
    found = check(well, "--no-dns", code=os.EX_OK)
    assert [one["where"] for one in found] == [
        "relay-domains: example.net", "relay-domains: example.com"
    ]  # fmt: skip
    assert all("backscatter" in one["what"] for one in found)
    well.set("relay-recipients", "bob@example.net", "@example.edu")
    assert [text.partition(": no")[0] for text in warnings(well)] == [
        "relay-domains: example.com", "relay-recipients: @example.edu"
    ]  # fmt: skip
    well.set("relay-recipients", "bob@example.net", "carol")
    well.set("relay-domains", "example.org", "example..net")
    found = faults(well)
    assert any("relay-recipients:2: 'carol'" in text for text in found)
    assert any("relay-domains: example.org: is local too" in text for text in found)
    assert any("relay-domains:2: 'example..net'" in text for text in found)
    (well.etc / "relay-domains").unlink()
    assert any("nobody reads it" in text for text in warnings(well))


def test_where_mail_that_is_relayed_goes_on(well):
    zone = {
        "backup.test": {"MX": ["10 other.test.", "20 mail.example.org."]},
        "best.test": {"MX": ["10 mail.example.org.", "20 other.test."]},
        "routed.test": {"MX": ["10 mail.example.org."]},
        "elsewhere.test": {"MX": ["10 other.test."]},
        "other.test": {"A": ["192.0.2.9"]},
        "mail.example.org": {"A": ["192.0.2.1"]},
    }
    well.set("me", "mail.example.org")
    well.set("relay-domains", *(name for name in zone if "MX" in zone[name]))
    well.set("relay-recipients", *(f"bob@{name}" for name in zone if "MX" in zone[name]))
    well.set("routes", "routed.test:192.0.2.9")
    with DnsServer(zone) as dns:
        well.set("resolver", dns.at)
        found = texts(check(well, code=os.EX_CONFIG))
    assert [text for text in found if ".test:" in text] == [
        "best.test: Mail for best.test would come back to this host",
        "elsewhere.test: this host is no exchanger of it, but relays its mail",
    ]


def test_a_site_that_is_well(well):
    assert check(well, "--no-dns", code=os.EX_OK) == []
    done = well.run("mail-check", "--no-dns")
    assert done.returncode == os.EX_OK
    last = done.stdout.decode().splitlines()[-1]
    assert last == "Nothing is wrong." or last.startswith("0 faults, ")
    assert done.stderr == b""


def test_every_fault_at_once_each_with_its_mend(well):
    well.set("retry-first", "soon")
    well.set("hops", "many")
    well.set("relay-clients", "192.0.2.0/24", "here")
    well.set("routes", "example.net:host:99999")
    well.set("tls-policy", "example.net:sometimes")
    well.set("aliases", "postmaster: bob", "team: nobody", "list: |")
    (well.etc / "accounts").write_text("bob:{PLAIN}x\ncarol:{ROT13}x\nbob:{PLAIN}y\n")
    found = check(well, "--no-dns", code=os.EX_CONFIG)
    said = "\n".join(texts(found, "fault"))
    for place, what in (
        ("retry-first:1", "'soon' is not a duration"),
        ("hops:1", "'many' is not a whole number"),
        ("relay-clients:2", "'here' is neither an IP address nor a network"),
        ("routes", "'host:99999' is no host"),
        ("tls-policy", "'sometimes' is none of"),
        ("aliases:3", "a program is missing behind |"),
        ("accounts:2", "unknown password scheme {ROT13}"),
        ("accounts:3", "bob stands here a second time"),
    ):
        assert f"{place}: {what}" in said.replace("example.net: ", "").replace("carol: ", ""), (
            place,
            said,
        )
    assert len(texts(found)) == len(set(texts(found)))
    (one,) = [one for one in found if "soon" in one["what"]]
    assert one["mend"] == "kind: duration; default: 5min; see mailtools-control(5)"
    shown = well.run("mail-check", "--no-dns").stdout.decode()
    assert f"fault    {well.etc}/hops:1: 'many' is not a whole number\n" in shown
    assert "         mend: kind: number; default: 100; see mailtools-control(5)\n" in shown


def test_an_alias_that_leads_nowhere(well):
    aliases = well.set("aliases", "postmaster: bob", "team: nobody")
    assert faults(well) == [f"{aliases}:2: nobody has no mailbox and no alias"]


def test_a_misspelt_setting(well):
    path = well.set("relay_client", "192.0.2.1")
    well.set("notes", "of the operator")
    well.set("aliases~", "an editor's")
    well.set("accounts.lock")
    found = check(well, "--no-dns", code=os.EX_CONFIG)
    assert texts(found) == [
        f"{path}: is no setting; relay-clients is",
        f"{well.etc}/notes: is no setting: nobody reads it",
    ]
    assert found[0]["mend"] == f"mv {path} {well.etc}/relay-clients"
    well.set("relay-clients", "192.0.2.2")  # then nothing that is there must be lost
    (mend,) = [one["mend"] for one in check(well, "--no-dns", code=os.EX_CONFIG)][:1]
    assert mend == f"take over what it says into {well.etc}/relay-clients"


@pytest.mark.parametrize(
    ("checks", "idle"),
    [
        ("off", ["arc-trusted", "batv-secrets", "dnsbl", "greylist"]),
        ("mark", ["batv-secrets", "greylist"]),
        ("enforce", []),
    ],
)
def test_rules_for_strangers_that_nothing_enforces(well, checks, idle):
    well.set("checks", checks)
    well.set("dnsbl", "black.test")
    well.set("arc-trusted", "list.test")
    well.set("greylist", "5min")
    well.set("batv-secrets", "secret").chmod(0o600)
    found = check(well, "--no-dns", code=os.EX_OK)
    said = [one for one in found if "refuses nothing" in one["what"]]
    assert sorted(one["where"].rpartition("/")[2] for one in said) == idle
    assert all(one["mend"] == f"echo enforce > {well.etc}/checks" for one in said)


def test_secrets_that_others_read(well):
    (well.etc / "accounts").chmod(0o644)
    (well.etc / "key.pem").chmod(0o604)
    found = check(well, "--no-dns", code=os.EX_CONFIG)
    assert texts(found) == [
        f"{well.etc}/accounts: others can read it",
        f"{well.etc}/key.pem: others can read it",
    ]
    assert found[0]["mend"] == f"chmod o= {well.etc}/accounts"


def test_settings_that_others_write(well):
    (well.etc / "locals").chmod(0o666)
    assert faults(well) == [f"{well.etc}/locals: others may write it"]


def test_there_is_no_postmaster(well):
    (well.etc / "aliases").unlink()
    (well.etc / "accounts").write_text("")
    found = check(well, "--no-dns", code=os.EX_CONFIG)
    assert "postmaster@example.org: no alias, no account" in texts(found, "fault")
    assert "accounts: nobody has a mailbox here" in texts(found, "warning")


def test_names_that_are_none(well):
    well.set("locals", "example.org", "no_domain!")
    assert "locals: 'no_domain!': Bad domain syntax" in faults(well)
    well.set("locals", "example.org")
    well.set("me", "mail")
    assert any("is no full name" in text for text in texts(
        check(well, "--no-dns", code=os.EX_CONFIG), "warning"
    ))  # fmt: skip


def test_programs_that_are_not_there(well):
    well.set("transports", "lists.test:/nowhere/mlmmj --x")
    assert faults(well) == ["transports: lists.test: there is no program /nowhere/mlmmj"]


def test_without_a_certificate_it_is_a_warning(well):
    (well.etc / "tls-certificate").unlink()
    assert warnings(well) == [
        "tls-certificate: there is none: mail and passwords travel in the clear"
    ]


def test_a_key_of_another_certificate(well, authority):
    other = authority.issue_cert("other.test")
    (well.etc / "key.pem").write_bytes(other.private_key_pem.bytes())
    (found,) = faults(well)
    assert found.endswith(f"{well.etc}/key.pem: is not the key of {well.etc}/certificate.pem")


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        (
            "key.pem",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
            "the key has a password, and nobody",
        ),
        ("key.pem", "secret\n", "there is no PEM key in it"),
        ("certificate.pem", "secret\n", "there is no PEM certificate in it"),
    ],
)
def test_a_certificate_or_key_that_is_none(well, name, text, what):
    (well.etc / name).write_text(text)
    assert faults(well)[0].startswith(f"{well.etc}/{name}: {what}")


def test_a_broken_certificate_hides_nothing_else(well):
    """The faults that a switcher makes in an afternoon: each is told, in one run."""
    (well.etc / "key.pem").unlink()
    for name, text in {
        "checks": "loud",
        "relay-clients": "192.0.2.0/240",
        "client-prefixes": "x",
        "dnsbl": "zen..example",
        "srs-secrets": "",
        "aliases": "team bob",
        "auth-program": "/no/such/auth",
        "content-programs": "REFUSE=15 /no/such/filter",
        "dkim-keys": "example.org sel signing",
        "retry-first": "soon",
        "sysem-users": "yes",
    }.items():
        well.set(name, text)
    with (well.etc / "accounts").open("a") as file:
        file.write("dave@example.org:as-typed\n")
    found = "\n".join(faults(well))
    for what in (
        "key.pem: cannot be read: No such file",
        "checks:1: 'loud' is none of off, mark, enforce",
        "relay-clients:1: ",
        "client-prefixes:1: ",
        "dnsbl:1: ",
        "srs-secrets: ",
        "aliases:1: a name and a colon expected",
        "auth-program: there is no program /no/such/auth",
        "there is no program /no/such/filter",
        "sel._domainkey.example.org.pem: cannot be read",
        "retry-first:1: ",
        "sysem-users: is no setting; system-users is",
        "dave@example.org: a password stands there that is no hash",
    ):
        assert what in found, what
    assert "Traceback" not in found


def test_an_account_of_a_domain_that_is_not_local(well):
    with (well.etc / "accounts").open("a") as file:
        file.write("eve@exmaple.org:{PLAIN}secret\n")
    (one,) = [one for one in check(well, "--no-dns", code=0) if "eve" in one["where"]]
    assert one["what"] == "exmaple.org is not local here: no mail comes to it"


def test_a_certificate_that_is_no_such_thing(well):
    (well.etc / "certificate.pem").write_text("nonsense\n")
    (found,) = faults(well)
    assert "certificate.pem" in found


def test_a_certificate_for_another_name(well):
    well.set("me", "mx.example.org")
    (found,) = faults(well)
    assert found.endswith("not for mx.example.org")


@pytest.mark.parametrize(
    ("days", "weight", "what"),
    [(10, "warning", "ends on "), (-2, "fault", "is over since ")],
)
def test_the_end_of_a_certificate(well, authority, days, weight, what):
    now = datetime.datetime.now(datetime.UTC)
    well.tls(
        authority.issue_cert(
            "mail.example.org",
            not_before=now - datetime.timedelta(days=30),
            not_after=now + datetime.timedelta(days=days),
        )
    )
    (well.etc / "key.pem").chmod(0o600)
    code = os.EX_CONFIG if weight == "fault" else os.EX_OK
    (found,) = check(well, "--no-dns", code=code)
    assert found["weight"] == weight
    assert found["what"].startswith(what)
    assert found["mend"] == "renew it"


def test_a_full_disk(well):
    well.set("disk-floor", "900000G")
    done = well.run("mail-check", "--no-dns")
    assert done.returncode == os.EX_CONFIG
    assert b"less than disk-floor: mail is put off" in done.stdout


def put(site, age=0.0):
    queue = Queue(str(site.queue))
    envelope = Envelope("a@example.org", (ForwardPath("b@example.net"),))
    writer = queue.begin(envelope, f"{int(time.time() - age)}.M000001P1R00000001" if age else "")
    writer.write(b"\n")
    return writer.commit()


def test_mail_that_nobody_takes(well):
    put(well)
    assert check(well, "--no-dns", code=os.EX_OK) == []
    put(well, age=3700)
    assert faults(well) == [f"{well.queue}: mail is due since 1h1m, and no queue run is at work"]
    descriptor = os.open(well.queue / "trigger", os.O_RDONLY | os.O_NONBLOCK)
    try:
        (found,) = check(well, "--no-dns", code=os.EX_OK)
    finally:
        os.close(descriptor)
    assert found["what"] == "mail is due since 1h1m, though a queue run is at work"


def test_entries_set_aside_and_held(well):
    queue = Queue(str(well.queue))
    bad = put(well)
    queue.set_aside(queue.find(bad))
    queue.hold(put(well))
    found = check(well, "--no-dns", code=os.EX_CONFIG)
    assert texts(found) == [
        f"{well.queue}/bad: 1 message could not be read and is set aside",
        f"{well.queue}/hold: 1 message is held",
    ]
    assert bad in found[0]["mend"]


def test_a_message_older_than_its_lifetime(well):
    queue = Queue(str(well.queue))
    id_ = put(well, age=8 * 86400)
    queue.defer(queue.open(id_), time.time() + 3600)
    (found,) = check(well, "--no-dns", code=os.EX_OK)
    assert found["what"] == "the oldest message is 8d old"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_whose_files_these_are(well):
    maildir = well.homes / "bob" / "Maildir"
    (maildir / "cur").mkdir(parents=True)
    os.chown(maildir, 65534, 65534)
    for folder, _, names in os.walk(well.queue):
        for path in (folder, *(f"{folder}/{name}" for name in names)):
            os.chown(path, 65533, 65533)
    put(well)
    for path in well.etc.iterdir():
        if path.name != "hops":
            path.chmod(0o644 if path.name != "key.pem" else 0o600)
    found = texts(check(well, "--no-dns", code=os.EX_CONFIG), "fault")
    assert f"accounts: bob: {maildir} belongs to uid 65534, the account to 0" in found
    assert any("does not belong to the queue's owner, uid 65533" in text for text in found)
    (well.etc / "accounts").chmod(0o600)
    found = texts(check(well, "--no-dns", code=os.EX_CONFIG), "fault")
    said = f"{well.etc}/accounts: the queue's owner, uid 65533, cannot read it"
    assert any(text.startswith(said) for text in found)
    both = well.etc / "certificate.pem"  # with its key in the same file
    both.write_bytes(both.read_bytes() + (well.etc / "key.pem").read_bytes())
    both.chmod(0o644)
    (well.etc / "tls-key").unlink()
    assert f"{both}: others can read it" in texts(check(well, "--no-dns", code=78), "fault")
    both.chmod(0o600)
    warned = texts(check(well, "--no-dns", code=78), "warning")
    assert any(text.startswith(f"{both}: the queue's owner") for text in warned)


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root that can give up rights"
)
def test_who_may_not_look_hears_of_that_and_of_the_rest(well):
    well.set("hops", "many")
    put(well)
    os.chown(well.etc / "accounts", 65534, 65534)
    os.chown(well.queue / "new", 65534, 65534)
    done = subprocess.run(
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search", sys.executable,
         str(BIN / "mail-check"), "--no-dns"],
        env=well.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == os.EX_CONFIG, done.stderr
    assert f"{well.etc}/hops:1: 'many' is not a whole number" in done.stdout
    assert f"cannot read {well.etc}/accounts: Permission denied" in done.stdout
    assert f"cannot list {well.queue}/new: Permission denied" in done.stdout
    assert done.stderr == ""


# -- DNS ------------------------------------------------------------------------------------------

ADDRESS = "127.0.0.1"
REVERSE = "1.0.0.127.in-addr.arpa"
GOOD = {
    "mail.example.org": {"A": [ADDRESS]},
    REVERSE: {"PTR": ["mail.example.org."]},
    "example.org": {"MX": ["10 mail.example.org."], "TXT": ['"v=spf1 mx -all"']},
    "_dmarc.example.org": {"TXT": ['"v=DMARC1; p=none"']},
}


def signed(site):
    """Have a key that signs."""
    site.run("mail-dkim", "--algorithm", "ed25519", "--selector", "s", "new", "example.org")
    keys = site.etc / "dkim-keys"
    keys.write_text(keys.read_text().replace("waiting", "signing"))


@pytest.mark.parametrize(("keys", "said"), [("", "goes out without a DKIM"), ("new", "key waits")])
def test_mail_that_nobody_signs(well, keys, said):
    if keys:
        well.run("mail-dkim", "--algorithm", "ed25519", "new", "example.org")
    with DnsServer(GOOD) as server:
        well.set("resolver", server.at)
        (one,) = texts(check(well, code=0), "warning")
        assert one.startswith("example.org: its ")
        assert said in one
        well.set("routes", ":127.0.0.1:1")  # a smarthost may sign
        assert check(well, code=0) == []


def in_dns(site, zone, code=os.EX_OK, broken=None):
    signed(site)
    with DnsServer({**GOOD, **zone}, broken) as server:
        site.set("resolver", server.at)
        return check(site, code=code)


def test_dns_that_is_well(well):
    assert in_dns(well, {}) == []


@pytest.mark.parametrize(
    ("zone", "weight", "said"),
    [
        ({"mail.example.org": {}}, "fault", "mail.example.org: has no address in DNS"),
        ({"mail.example.org": {"A": ["192.0.2.1"]},
          "1.2.0.192.in-addr.arpa": {"PTR": ["mail.example.org."]}}, "warning",
         "mail.example.org: 192.0.2.1: no address of this host"),
        ({"mail.example.org": {"A": ["192.0.2.1"]}}, "fault",
         "192.0.2.1: has no name in reverse DNS: many refuse its mail"),
        ({"mail.example.org": {"A": ["192.0.2.1"]},
          "1.2.0.192.in-addr.arpa": {"PTR": ["other.test."]}}, "fault",
         "192.0.2.1: its name other.test does not lead back to it: many refuse its mail"),
        ({REVERSE: {"PTR": ["vps7.test."]}, "vps7.test": {"A": [ADDRESS]}}, "warning",
         "127.0.0.1: its name is vps7.test, not mail.example.org"),
        ({"example.org": {"MX": ["10 mx.test."]}, "mx.test": {"A": ["192.0.2.8"]}}, "warning",
         "example.org: its mail goes to mx.test, not here"),
        ({"example.org": {"MX": ["0 ."]}}, "fault",
         "example.org: says that it takes no mail (null MX)"),
        ({"example.org": {"TXT": ['"v=spf1 -all"']}}, "fault",
         "example.org: has neither MX records nor an address"),
        ({"example.org": {"MX": ["10 mail.example.org."]}}, "warning",
         "example.org: has no SPF record"),
        ({"_dmarc.example.org": {}}, "warning", "example.org: has no DMARC record"),
    ],
)  # fmt: skip
def test_each_fault_of_dns(well, zone, weight, said):
    code = os.EX_CONFIG if weight == "fault" else os.EX_OK
    found = in_dns(well, zone, code)
    assert said in texts(found, weight)


def test_lists_of_clients_that_do_not_work(well):
    well.set("checks", "enforce")
    well.set("dnsbl", "good.test*2", "dead.test", "all.test", "refuses.test=127.0.0.2*-1")
    found = in_dns(
        well,
        {
            "2.0.0.127.good.test": {"A": ["127.0.0.2"]},
            "2.0.0.127.all.test": {"A": ["127.0.0.2"]},
            "1.0.0.127.all.test": {"A": ["127.0.0.2"]},
            "2.0.0.127.refuses.test": {"A": ["127.255.255.254"]},
        },
    )
    assert [text.partition(": ")[2].partition(":")[0] for text in texts(found, "warning")] == [
        "dead.test", "all.test", "refuses.test",
    ]  # fmt: skip
    said = [one["what"] for one in found]
    for text, words in zip(said, ("lists nothing", "lists everything", "refuses"), strict=True):
        assert words in text


def test_the_addresses_that_mail_goes_out_from(well):
    well.set("source-addresses", "example.org:127.0.0.8 mail8.test", ":192.0.2.77")
    name = {"8.0.0.127.in-addr.arpa": {"PTR": ["mail8.test."]}, "mail8.test": {"A": ["127.0.0.8"]}}
    found = in_dns(well, name, os.EX_CONFIG)
    assert texts(found) == ["192.0.2.77: no address of this host: source-addresses names it"]


def test_ipv6_without_a_name_is_said_to_be_unused(well):
    found = in_dns(well, {"mail.example.org": {"A": [ADDRESS], "AAAA": ["::1"]}})
    (one,) = [each for each in found if "::1: has no name" in f"{each['where']}: {each['what']}"]
    assert "goes by IPv4 until then" in one["mend"]


def test_a_domain_that_does_not_exist(well):
    well.set("locals", "example.org", "gone.test")
    well.set("aliases", "postmaster: bob")
    found = in_dns(well, {}, os.EX_CONFIG)
    assert texts(found) == ["gone.test: does not exist in DNS: nobody can write to it"]
    assert found[0]["mend"] == "publish: gone.test. MX 10 mail.example.org."


def test_dns_that_does_not_answer_is_no_fault(well):
    broken = {"example.org": "SERVFAIL", "mail.example.org": "SERVFAIL"}
    found = in_dns(well, {}, os.EX_OK, broken)
    assert {one["weight"] for one in found} == {"warning"}
    assert len(found) == 2


# -- --show ---------------------------------------------------------------------------------------


def test_show_tells_what_counts_and_who_says_so(well):
    well.set("relay-clients", "192.0.2.1", "# not this one", "192.0.2.2")
    done = well.run("mail-check", "--show")
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.decode().splitlines()
    assert head == f"# {well.etc}"
    rows = [line.split(maxsplit=2) for line in lines]
    shown = {row[0]: row[1:] for row in rows if not row[0][0].isdigit()}
    assert set(shown) == set(SETTINGS)
    assert shown["me"] == ["file", "mail.example.org"]
    assert shown["lifetime"] == ["default", "5d"]
    assert shown["relay-clients"] == ["file", "192.0.2.1"]
    assert ["192.0.2.2"] in rows
    assert shown["accounts"] == ["file", str(well.etc / "accounts")]
    assert "secret" not in done.stdout.decode().partition("srs-secrets")[0]


def test_show_as_json(well):
    (well.etc / "locals").unlink()
    done = well.run("mail-check", "--show", "--json")
    rows = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert set(rows) == set(SETTINGS)
    assert rows["me"]["origin"] == str(well.etc / "me")
    assert (rows["locals"]["values"], rows["locals"]["origin"]) == (
        ["mail.example.org"], "default",
    )  # fmt: skip


def test_reports_without_data_or_a_signature(well):
    well.set("dmarc-reports")
    one, two = warnings(well)
    assert one.endswith("since strangers' mail is not judged")
    assert "no DKIM key signs for example.org" in two
    well.set("checks", "mark")
    well.set("resolver", "127.0.0.1:1")
    well.set("report-from", "reports@mail.example.org")
    assert well.run("mail-dkim", "new", "example.org").returncode == 0
    keys = well.etc / "dkim-keys"
    keys.write_text(keys.read_text().replace(" waiting ", " signing "))
    assert warnings(well) == []
    path = well.set("report-from", "nobody")
    assert any(text.startswith(f"{path}:1: 'nobody'") for text in faults(well))


def test_a_folder_that_is_not_there_is_all_there_is_to_say(well):
    missing = f"{well.root}/mailtool"
    (fault,) = check(well, "--etc", missing, code=os.EX_CONFIG)
    assert (fault["where"], fault["what"]) == (missing, "there is no such control folder")
    assert fault["mend"] == f"mkdir {missing}, or name another with --etc"
    assert well.run("mail-check", "--show", "--etc", missing).returncode == os.EX_CONFIG


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("lifetime", "5", "lifetime: a message is given up after 5 s"),
        ("retry-first", "0", "retry-first: 0 s are so short that hosts take it for abuse"),
        ("retry-most", "1min", "retry-most: is shorter than retry-first"),
        ("maildir", "~/Maildir", "accounts: eve@example.org: has no Maildir: no mail comes to it"),
    ],
)
def test_what_works_and_is_hardly_meant(well, name, text, said):
    with (well.etc / "accounts").open("a") as file:
        file.write(
            "eve@example.org:{PLAIN}secret\nsender@example.org:{PLAIN}x::::::services=submission\n"
        )
    well.set("maildir", f"{well.homes}/%n/Maildir")
    well.set(name, text)
    found = texts(check(well, "--no-dns", code=0), "warning")
    assert said in found
    assert not any("sender@" in text for text in found)


def test_an_alias_whose_program_is_not_there(well):
    with (well.etc / "aliases").open("a") as file:
        file.write('list: "|/no/such/mlmmj -L x"\n')
    assert faults(well) == [f"{well.etc}/aliases:2: there is no program /no/such/mlmmj"]


def test_one_fault_is_said_once_with_the_mend_that_knows_more(well):
    well.set("route-credentials", "mail.example.net:bob:secret")
    (well.etc / "route-credentials").chmod(0o644)
    said = [one for one in check(well, "--no-dns", code=os.EX_CONFIG) if one["weight"] == "fault"]
    assert [one["what"] for one in said] == ["others can read it"]


def test_names_that_switchers_type_lead_to_ours(well):
    well.set("rcpthosts", "example.org")
    well.set("relayhost", "smtp.example.net")
    assert faults(well) == [
        f"{well.etc}/rcpthosts: is a name of qmail's: here it is relay-domains",
        f"{well.etc}/relayhost: is a name of Postfix's: here it is routes",
    ]
