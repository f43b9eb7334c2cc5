"""pipe-deliver: a domain's mail to a program, by hand and from a queue run."""

import os
from pathlib import Path

import pytest
from conftest import Site

MESSAGE = b"Subject: x\r\n\r\nhello\r\n"


def program(folder: Path, text: str) -> str:
    """Write a program that anybody may run."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def rows(out: bytes) -> list[list[str]]:
    return [line.split("\t")[1:] for line in out.decode().splitlines()]


@pytest.fixture
def outbox(site: Site) -> Path:
    """A folder that whoever runs the program may write to."""
    folder = site.root / "outbox"
    folder.mkdir()
    folder.chmod(0o777)
    for each in (site.root, *site.root.parents):
        if each.stat().st_uid == os.geteuid() and str(each).count("/") > 1:
            each.chmod(each.stat().st_mode | 0o055)
    return folder


def test_each_recipient_has_a_run_of_its_own(site: Site, outbox: Path) -> None:
    run = program(outbox, f'cat > {outbox}/"$1"; echo "$SENDER $RECIPIENT" > {outbox}/"$1".env')
    done = site.run(
        "pipe-deliver", "--from", "a@example.org", "--to", "bob@example.net", "--to",
        "carol@example.net", run, "{local}", "-x", input=MESSAGE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [row[:3] for row in rows(done.stdout)] == [
        ["bob@example.net", "delivered", "2.0.0"],
        ["carol@example.net", "delivered", "2.0.0"],
    ]
    assert (outbox / "bob").read_bytes() == b"Subject: x\n\nhello\n"
    assert (outbox / "carol.env").read_text() == "a@example.org carol@example.net\n"


def test_all_recipients_in_one_run(site: Site, outbox: Path) -> None:
    run = program(outbox, f'cat > /dev/null; echo "$@" >> {outbox}/words')
    done = site.run(
        "pipe-deliver", "--to", "bob@example.net", "--to", "carol@example.net",
        run, "-a", "{recipients}", "({sender})", input=MESSAGE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (outbox / "words").read_text() == "-a bob@example.net carol@example.net ()\n"


def test_lines_on_top(site: Site, outbox: Path) -> None:
    run = program(outbox, f"cat > {outbox}/taken")
    done = site.run(
        "pipe-deliver", "--from", "a@example.org", "--to", "bob@example.net", "--from-line",
        "--return-path", "--delivered-to", run, input=MESSAGE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, *rest = (outbox / "taken").read_text().splitlines()
    assert first.startswith("From a@example.org ")
    assert rest[:3] == ["Return-Path: <a@example.org>", "Delivered-To: bob@example.net",
                        "Subject: x"]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "told", "exit"),
    [(67, ["failed", "5.1.1"], 67), (75, ["delayed", "4.3.0"], 75), (100, ["failed", "5.0.0"], 69)],
)
def test_the_exit_code_decides(
    site: Site, outbox: Path, code: int, told: list[str], exit: int
) -> None:
    run = program(outbox, f"echo because >&2; exit {code}")
    done = site.run("pipe-deliver", "--to", "bob@example.net", run, input=MESSAGE)
    ((_, *found, text),) = rows(done.stdout)
    assert (found, done.returncode) == (told, exit)
    assert text.endswith("because")


def test_a_program_that_is_not_there_or_never_ends_delays(site: Site, outbox: Path) -> None:
    for words in (("/nowhere/program",), ("--limit", "1", program(outbox, "sleep 60"))):
        done = site.run("pipe-deliver", "--to", "bob@example.net", *words, input=MESSAGE)
        assert rows(done.stdout)[0][1] == "delayed"
        assert done.returncode == 75


def test_an_address_is_never_an_option(site: Site, outbox: Path) -> None:
    run = program(outbox, f"touch {outbox}/run")
    for word in ("{local}", "{recipients}"):
        done = site.run("pipe-deliver", "--to", "-rf@example.net", run, word, input=MESSAGE)
        assert rows(done.stdout)[0][1:3] == ["failed", "5.1.3"]
    assert not (outbox / "run").exists()


def test_a_user_nobody_knows_is_wrong_usage(site: Site) -> None:
    done = site.run("pipe-deliver", "--user", "nobody-knows-him", "--to", "b@example.net", "cat")
    assert (done.returncode, b"no user" in done.stderr) == (64, True)


def test_a_domains_mail_goes_to_its_program(site: Site, outbox: Path) -> None:
    run = program(outbox, f'cat >> {outbox}/"$1"')
    site.set("transports", f"lists.test:pipe-deliver --return-path -- {run} {{local}}")
    shown = site.run("mail-route", "talk@lists.test")
    assert b"pipe-deliver --return-path" in shown.stdout
    given = site.run(
        "sendmail", "-f", "a@example.org", "talk@lists.test", "news@lists.test", input=MESSAGE
    )
    assert given.returncode == 0, given.stderr
    done = site.run("queue-run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(b"delivered id=") == 2
    for name in ("talk", "news"):
        assert (outbox / name).read_text().startswith("Return-Path: <a@example.org>\n")
