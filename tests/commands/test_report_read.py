"""report-read as it is typed: paths, pipes, an alias that gathers, exit codes."""

import gzip
import json
import os
import time
from pathlib import Path

import pytest
from conftest import Site
from dnsserver import DnsServer

NOW = int(time.time())


def report(
    domain: str = "example.org", *, ip: str = "192.0.2.7", id_: str = "1", age: int = 0
) -> bytes:
    begin = NOW - 90_000 - age
    return f"""<?xml version="1.0"?><feedback><report_metadata><org_name>Example Inc</org_name>
<report_id>{id_}</report_id><date_range><begin>{begin}</begin><end>{begin + 86399}</end>
</date_range></report_metadata><policy_published><domain>{domain}</domain><p>none</p></policy_published>
<record><row><source_ip>{ip}</source_ip><count>3</count><policy_evaluated>
<disposition>none</disposition><dkim>fail</dkim><spf>fail</spf></policy_evaluated></row>
<identifiers><header_from>{domain}</header_from></identifiers><auth_results/></record>
</feedback>""".encode()


def letter(text: bytes) -> bytes:
    return (
        b"From: noreply@example.net\nSubject: Report Domain: example.org\nMIME-Version: 1.0\n"
        b"Content-Type: text/xml\n\n" + text + b"\n"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.xml").write_bytes(report())
    (tmp_path / "again.xml.gz").write_bytes(gzip.compress(report()))
    (tmp_path / "b.xml").write_bytes(report("sub.example.net", id_="2", age=30 * 86400))
    (tmp_path / "broken.xml.gz").write_bytes(gzip.compress(report())[:60])
    return tmp_path


def test_files_are_summed_up_and_what_is_broken_is_named(site: Site, folder: Path) -> None:
    done = site.run("report-read", *map(str, sorted(folder.glob("*.*"))))
    assert done.returncode == os.EX_DATAERR
    shown = done.stdout.decode()
    assert shown.startswith("DMARC: 2 reports of 1 reporter on example.org, sub.example.net, ")
    assert ": 6 messages, none pass\n" in shown
    told = done.stderr.decode()
    assert told == f"report-read: {folder}/broken.xml.gz: its gzip data are cut short\n"


def test_domain_and_time_choose(site: Site, folder: Path) -> None:
    (folder / "broken.xml.gz").unlink()
    for words, domains in (
        (("--domain", "example.org"), ["example.org"]),
        (
            ("--domain", "example.net", "--domain", "example.org"),
            ["example.org", "sub.example.net"],
        ),
        (("--since", "7d"), ["example.org"]),
        (("--since", "1s"), []),
    ):
        done = site.run(
            "report-read", "--json", *words, str(folder / "a.xml"), str(folder / "b.xml")
        )
        assert done.returncode == 0
        found = [json.loads(line)["domain"] for line in done.stdout.splitlines()]
        assert found == domains
    assert site.run("report-read", "--since", "soon").returncode == os.EX_USAGE
    assert site.run("report-read", "--json", "--append", "x").returncode == os.EX_USAGE


def test_a_maildir_of_reports_and_other_mail(site: Site, tmp_path: Path) -> None:
    for name in ("new", "cur", "tmp"):
        (tmp_path / "Reports" / name).mkdir(parents=True)
    (tmp_path / "Reports/new/1.a").write_bytes(letter(report()))
    (tmp_path / "Reports/cur/2.b:2,S").write_bytes(letter(report(ip="192.0.2.8")))
    (tmp_path / "Reports/cur/3.c:2,S").write_bytes(b"Subject: lunch?\n\nhi\n")
    done = site.run("report-read", str(tmp_path / "Reports"))
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"2 reports of 1 reporter on example.org" in done.stdout


def test_pipes(site: Site, folder: Path) -> None:
    assert b"1 report of" in site.run("report-read", input=letter(report())).stdout
    listed = f"{folder}/a.xml\n{folder}/b.xml\n".encode()
    assert b"2 reports of" in site.run("report-read", "--list", input=listed).stdout
    done = site.run("report-read", input=b"Subject: hi\n\nno\n")
    assert done.returncode == os.EX_DATAERR
    assert (done.stdout, done.stderr) == (
        b"No reports.\n",
        b"report-read: stdin: there is no report in it\n",
    )
    done = site.run("report-read", "no/such/file")
    assert done.returncode == os.EX_DATAERR
    assert b"no/such/file: there is no such file" in done.stderr


def test_what_an_alias_pipes_is_gathered_and_nothing_bounces(site: Site) -> None:
    log = site.root / "reports"
    gathered = [report(), report(id_="2"), report()]
    for text in (*map(letter, gathered), b"Subject: hi\n\nx\n"):
        done = site.run("report-read", "--append", str(log), input=text)
        assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == b"report-read: stdin: there is no report in it\n"
    assert len(log.read_bytes().splitlines()) == 3
    done = site.run("report-read", "--failed", str(log))
    assert done.returncode == 0
    assert b"2 reports of 1 reporter on example.org" in done.stdout  # one came twice
    assert b": 6 messages" in done.stdout


def test_append_that_cannot_write_is_tried_again(site: Site) -> None:
    done = site.run("report-read", "--append", "/no/such/folder/x", input=report())
    assert done.returncode == os.EX_TEMPFAIL
    assert b"/no/such/folder/x" in done.stderr


def test_names_come_from_reverse_dns(site: Site) -> None:
    zone = {
        "7.2.0.192.in-addr.arpa": {"PTR": ["mx.example.net."]},
        "mx.example.net": {"A": ["192.0.2.7"]},
    }
    with DnsServer(zone) as dns:
        site.set("resolver", dns.at)
        done = site.run("report-read", "--names", input=report())
    assert b"192.0.2.7 mx.example.net" in done.stdout


def test_a_terminal_without_the_letters_and_a_name_without_sense(site: Site) -> None:
    environ = {**site.environ, "PYTHONIOENCODING": "iso-8859-1"}
    done = site.run("report-read", "--list", input=b"\xff\xfe\n", env=environ)
    assert done.returncode == os.EX_DATAERR
    assert b"there is no such file" in done.stderr
    (site.root / "r.xml").write_bytes(
        report().replace(b"<domain>example", "<domain>\u672c\u00fc".encode())
    )
    done = site.run("report-read", str(site.root / "r.xml"), env=environ)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"on \\u672c\xfc.org" in done.stdout
