"""mail-dkim: what it prints, what it refuses, whom the keys belong to."""

import os

import pytest
from dnsserver import DnsServer

NAME = "k._domainkey.example.org"


@pytest.fixture
def dkim(site):
    def run(*arguments):
        done = site.run("mail-dkim", *arguments)
        assert b"Traceback" not in done.stderr
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


def test_new_list_check_and_rotate(site, dkim):
    code, line, _ = dkim("new", "Example.ORG", "--selector", "K", "--algorithm", "ed25519")
    assert code == 0
    assert line.startswith(f'{NAME}. IN TXT "v=DKIM1; k=ed25519; p=')
    key = site.etc / "dkim" / f"{NAME}.pem"
    assert key.stat().st_mode & 0o007 == 0
    row = "example.org\tk\ted25519\twaiting\t"
    assert dkim("list")[1].startswith(row)
    assert dkim("list", "example.org")[1].startswith(row)
    with DnsServer({}) as dns:
        site.set("resolver", dns.at)
        assert dkim("check") == (0, "example.org\tk\twaiting\tnot in DNS\n", "")
        dns.zone[NAME] = {"TXT": [line.split(" TXT ")[1].strip()]}
        assert dkim("check") == (0, "example.org\tk\twaiting\tok\n", "")
        assert dkim("rotate", "example.org") == (0, f"{NAME}: signs from now on\n", "")
        del dns.zone[NAME]
        assert dkim("check") == (os.EX_DATAERR, "example.org\tk\tsigning\tnot in DNS\n", "")
        dns.faults[NAME] = "SERVFAIL"
        assert dkim("check")[0] == os.EX_TEMPFAIL


def test_dns_without_an_answer_is_75(site, dkim):
    dkim("new", "example.org", "--selector", "k")
    with DnsServer({}, {NAME: "SERVFAIL"}) as dns:
        site.set("resolver", dns.at)
        code, said, _ = dkim("rotate")
    assert code == os.EX_TEMPFAIL
    assert "SERVFAIL" in said


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("new",), os.EX_USAGE),
        (("new", "example.org", "--every", "1d"), os.EX_USAGE),
        (("list", "--selector", "k"), os.EX_USAGE),
        (("rotate", "--every", "soon"), os.EX_USAGE),
        (("new", "exa mple"), os.EX_DATAERR),
        (("new", "example.org", "--selector", "../k"), os.EX_DATAERR),
        (("new", "example.org", "--selector", "there"), os.EX_DATAERR),
        (("list", "example.com"), os.EX_DATAERR),
        (("rotate", "example.com"), os.EX_DATAERR),
    ],
)
def test_what_is_refused(site, dkim, arguments, code):
    dkim("new", "example.org", "--selector", "there", "--algorithm", "ed25519")
    before = (site.etc / "dkim-keys").read_text()
    done = dkim(*arguments)
    assert (done[0], done[1]) == (code, "")
    assert done[2]
    assert (site.etc / "dkim-keys").read_text() == before
    assert len(list((site.etc / "dkim").iterdir())) == 1


def test_faults_are_told_with_their_lines(site, dkim):
    site.set("dkim-keys", "example.org", "example.org k signs")
    code, _, said = dkim("list")
    assert code == os.EX_CONFIG
    assert [line.split(":")[2] for line in said.splitlines()] == ["1", "2"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_makes_keys_for_the_owner_of_the_queue(site, dkim):
    site.queue.mkdir()
    os.chown(site.queue, 65534, 65534)
    assert dkim("new", "example.org", "--selector", "k")[0] == 0
    key = (site.etc / "dkim" / f"{NAME}.pem").stat()
    folder = (site.etc / "dkim").stat()
    assert (key.st_uid, key.st_gid, key.st_mode & 0o777) == (0, 65534, 0o640)
    assert (folder.st_gid, folder.st_mode & 0o777) == (65534, 0o750)


def test_mail_check_finds_a_key_that_cannot_be_used(site, dkim):
    dkim("new", "example.org", "--selector", "k", "--algorithm", "ed25519")
    key = site.etc / "dkim" / f"{NAME}.pem"
    assert str(key) not in site.run("mail-check", "--no-dns").stdout.decode()
    key.chmod(0o604)
    assert f"{key}: others can read it" in site.run("mail-check", "--no-dns").stdout.decode()
    key.unlink()
    assert f"{key}: cannot be read" in site.run("mail-check", "--no-dns").stdout.decode()
