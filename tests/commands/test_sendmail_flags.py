"""The command lines that programs really use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.commands.sendmail_flags import parse
from mailtools.errors import Usage


def read(line, name="sendmail"):
    return parse(name, line.split())


def test_cronies_line():
    flags = read("-FCronDaemon -i -odi -oem -oi -t -f root")
    assert (flags.full_name, flags.sender) == ("CronDaemon", "root")
    assert flags.ignore_dots
    assert flags.from_header
    assert flags.recipients == []
    assert flags.mode == "submit"


def test_debian_crons_line():
    flags = read("-FCronDaemon -i -B8BITMIME -oem bob")
    assert flags.recipients == ["bob"]
    assert flags.body == "8BITMIME"
    assert flags.ignore_dots


@pytest.mark.parametrize(
    ("line", "recipients", "sender"),
    [
        (
            "-oem -oi -f bob@example.org -- carol@example.net",
            ["carol@example.net"],
            "bob@example.org",
        ),
        ("-oi -fbob -- -odd@example.net", ["-odd@example.net"], "bob"),
        ("-t -i", [], None),
        ("-ti -fwww-data@example.org", [], "www-data@example.org"),
        ("-i carol dave", ["carol", "dave"], None),
        ("-bm -f <> carol", ["carol"], ""),
        ("-r bob carol", ["carol"], "bob"),
        ("-M x -Mrpath -D /tmp/debug carol", ["carol"], None),
        ("-G -Ac -C /etc/mail/sendmail.cf -L tag -X /tmp/log -d8.1 -v carol", ["carol"], None),
    ],
)
def test_who_sends_to_whom(line, recipients, sender):
    flags = read(line)
    assert flags.recipients == recipients
    assert flags.sender == sender


def test_an_empty_word_is_the_null_sender():
    assert parse("sendmail", ["-f", "", "bob"]).sender == ""


@pytest.mark.parametrize(
    ("line", "mode"),
    [
        ("-bm bob", "submit"),
        ("-bs", "smtp"),
        ("-bp", "list"),
        ("-bi", "aliases"),
        ("-I", "aliases"),
        ("-bv bob", "verify"),
        ("-bd", "daemon"),
        ("-bd -q30m", "daemon"),
        ("-q30m", "daemon"),
        ("-bt", "test"),
        ("-q", "queue"),
        ("-qf", "queue"),
        ("-v -q", "queue"),
        ("-bH", "hosts"),
        ("--version", "version"),
    ],
)
def test_modes(line, mode):
    assert read(line).mode == mode


@pytest.mark.parametrize(
    ("name", "mode"),
    [("mailq", "list"), ("newaliases", "aliases"), ("runq", "queue"), ("rmail", "submit")],
)
def test_the_name_it_is_called_by_is_a_mode(name, mode):
    assert parse(name, []).mode == mode


def test_queue_choices():
    assert read("-qI1764000000").queue_match == ("I", "1764000000")
    assert read("-qRexample.net").queue_match == ("R", "example.net")
    assert read("-qSbob").queue_match == ("S", "bob")


def test_dsn_flags():
    flags = read("-N success,FAILURE -R hdrs -V abc -O requiretls=yes -O smtputf8=yes bob")
    assert (flags.notify, flags.returning, flags.envelope_id) == ("SUCCESS,FAILURE", "HDRS", "abc")
    assert flags.require_tls
    assert flags.smtputf8
    assert read("-Nnever bob").notify == "NEVER"


@pytest.mark.parametrize(
    "line",
    ["-Z", "-f", "--odd", "-N never,delay bob", "-N odd", "-R odd", "-B odd", "-bz", "-qX", "-q!I1",
     "-V \x01"],
)  # fmt: skip
def test_what_cannot_be_meant_is_said(line):
    with pytest.raises(Usage):
        read(line)


@given(st.lists(st.text(max_size=6) | st.sampled_from(["-", "--", "-o", "-b", "-q", "-f", "-N"])))
def test_no_words_do_worse_than_wrong_usage(words):
    try:
        parse("sendmail", words)
    except Usage:
        pass
