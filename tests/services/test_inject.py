"""What sendmail makes of a message."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import BadAddress, BadMessage, MailLoop, MessageTooBig
from mailtools.mail import fields
from mailtools.services.submit.inject import (
    Order,
    Place,
    mbox_sender,
    phrase,
    prepare,
    read_text,
    split,
    xtext,
)

HERE = Place("mail.example.org")


def made(text, place=HERE, **order):
    order.setdefault("recipients", ("carol@example.net",))
    return prepare(text, Order("bob", "Bob Builder", **order), place, new_id="ID1")


def paths(letter):
    return [path.address for path in letter.envelope.forward_paths]


def values(letter, name):
    return [field.body.decode() for field in fields.find(letter.header, name)]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("text", "ignore_dots", "read"),
    [
        (b"a\n.\nb\n", False, b"a\n"),
        (b"a\n.\nb\n", True, b"a\n.\nb\n"),
        (b"a\r\n.\r\nb\n", False, b"a\r\n"),
        (b".\na\n", False, b""),
        (b"a\n..\n.b\n", False, b"a\n..\n.b\n"),
        (b"a\n.", False, b"a\n."),
        (b"", False, b""),
    ],
)
def test_a_dot_alone_ends_a_message_unless_it_does_not(size, text, ignore_dots, read):
    source = io.BytesIO(text)
    assert read_text(lambda _: source.read(size), ignore_dots=ignore_dots, most=0) == read


def test_what_is_too_large_is_not_read_to_its_end():
    source = io.BytesIO(b"x" * 1000)
    with pytest.raises(MessageTooBig):
        read_text(lambda _: source.read(10), ignore_dots=True, most=100)
    assert source.tell() < 200
    assert len(read_text(io.BytesIO(b"x" * 100).read, ignore_dots=True, most=100)) == 100


@pytest.mark.parametrize(
    ("text", "header", "body"),
    [
        (b"A: b\n\nhi", b"A: b\n", b"hi\n"),
        (b"A: b\r\n c\r\n\r\nhi\r\n", b"A: b\n c\n", b"hi\n"),
        (b"hello\nworld\n", b"", b"hello\nworld\n"),
        (b"A: b\nhello\n", b"A: b\n", b"hello\n"),
        (b"\nhello\n", b"", b"hello\n"),
        (b"", b"", b""),
        (b"From bob Mon\nA: b\n\nhi\n", b"A: b\n", b"hi\n"),
        (b"A: b\rBcc: evil\n\n10%\r20%\n", b"A: b Bcc: evil\n", b"10%\n20%\n"),
        (b"A: b\0\n\nh\0i\n", b"A: b\n", b"hi\n"),
        (b"A: b\r\r\n\r\nhi", b"A: b\n", b"hi\n"),
        (b"A: b", b"A: b\n", b""),
    ],
)
def test_header_and_body_are_told_apart(text, header, body):
    assert split(text) == (header, body)


@given(st.binary() | st.text("A:b \r\n\0.").map(str.encode))
def test_whatever_comes_in_is_text_with_lf_that_goes_out(text):
    header, body = split(text)
    whole = header + b"\n" + body
    assert b"\r" not in whole
    assert b"\0" not in whole
    assert whole.endswith(b"\n")
    assert b"".join(field.raw for field in fields.fields(header)) == header


def test_what_is_missing_is_added_and_what_is_there_stays():
    letter = made(b"Subject: x\n\nhi\n")
    assert values(letter, b"from") == ["Bob Builder <bob@mail.example.org>"]
    assert values(letter, b"message-id") == ["<ID1@mail.example.org>"]
    assert re.match(r"[A-Z][a-z]{2}, [0-9]{1,2} ", values(letter, b"date")[0])
    assert letter.body == b"hi\n"
    given_header = b"Date: long ago\nMessage-ID: <a@b>\nFrom: x@example.com\nX-Odd:  y\n"
    assert made(given_header + b"\nhi\n").header == given_header


def test_recipients_of_the_header_and_blind_ones_vanish():
    letter = made(
        b"To: a, B <b@example.net>\nCc: list: c;\nBcc: secret@example.com\n\nhi\n",
        recipients=("more", "a"),
        from_header=True,
    )
    assert paths(letter) == [
        "more@mail.example.org", "a@mail.example.org", "b@example.net", "c@mail.example.org",
        "secret@example.com",
    ]  # fmt: skip
    assert b"secret" not in letter.header
    assert values(letter, b"to") == ["a@mail.example.org, B <b@example.net>"]


def test_a_blind_copy_is_removed_even_where_the_header_names_nobody():
    assert b"Bcc" not in made(b"Bcc: secret@example.com\n\nhi\n").header


def test_a_resent_message_goes_to_its_new_recipients_alone():
    letter = made(
        b"Resent-To: new@example.net\nTo: old@example.com\n"
        b"Date: d\nMessage-ID: <m@x>\nFrom: f@x\n\n",
        recipients=(),
        from_header=True,
    )
    assert paths(letter) == ["new@example.net"]
    assert values(letter, b"resent-from") == ["Bob Builder <bob@mail.example.org>"]
    assert len(values(letter, b"resent-date")) == len(values(letter, b"resent-message-id")) == 1
    assert values(letter, b"message-id") == ["<m@x>"]


def test_all_bad_recipients_are_named_at_once():
    with pytest.raises(BadAddress) as caught:
        made(b"To: fine, a b\n\n", recipients=("bob@-odd-", "x y"), from_header=True)
    assert len(caught.value.detail.split("\n")) == 3


def test_nobody_to_send_to_is_said():
    with pytest.raises(BadMessage):
        made(b"Subject: x\n\n", recipients=(), from_header=True)


@pytest.mark.parametrize(
    ("sender", "reverse_path"),
    [
        (None, "bob@mail.example.org"),
        ("", ""),
        ("root", "root@mail.example.org"),
        ("Carol <carol@example.com>", "carol@example.com"),
        ('"odd name"@example.com', '"odd name"@example.com'),
    ],
)
def test_the_reverse_path(sender, reverse_path):
    assert made(b"\n", sender=sender).envelope.reverse_path == reverse_path


def test_a_null_reverse_path_has_a_from_all_the_same():
    letter = made(b"\n", sender="")
    assert values(letter, b"from") == ["Mail Delivery System <MAILER-DAEMON@mail.example.org>"]


@pytest.mark.parametrize("sender", ["a b", "a@b@c", "a, b", "@example.org"])
def test_a_bad_sender_is_said(sender):
    with pytest.raises(BadAddress):
        made(b"\n", sender=sender)


def test_masquerading_changes_senders_only():
    place = Place("mail.example.org", masquerade="example.org", host="box.example.org")
    letter = made(
        b"From: root\nTo: root\n"
        b"Reply-To: x@mail.example.org, y@sub.mail.example.org, z@Box.example.org\n\n",
        place,
        recipients=("root",),
    )
    assert letter.envelope.reverse_path == "bob@example.org"
    assert paths(letter) == ["root@mail.example.org"]
    assert values(letter, b"from") == ["root@example.org"]
    assert values(letter, b"to") == ["root@mail.example.org"]
    assert values(letter, b"reply-to") == ["x@example.org, y@sub.mail.example.org, z@example.org"]


def test_parameters_of_the_envelope():
    letter = made("Subject: ä\n\n".encode(), notify="NEVER", returning="FULL", envelope_id="a=b")
    assert letter.envelope.parameters == {
        "RET": "FULL",
        "ENVID": "a+3Db",
        "BODY": "8BITMIME",
        "SUBMITTED": "",
    }
    assert letter.envelope.forward_paths[0].parameters == {
        "NOTIFY": "NEVER",
        "ORCPT": "rfc822;carol@example.net",
    }
    assert made(b"\n", body="7BIT").envelope.parameters == {"BODY": "7BIT", "SUBMITTED": ""}
    assert "SMTPUTF8" in made(b"\n", recipients=("jörg@example.net",)).envelope.parameters


def test_a_loop_ends():
    with pytest.raises(MailLoop):
        made(b"Received: x\n" * 101 + b"\n")
    made(b"Received: x\n" * 100 + b"\n")


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Bob Builder", "Bob Builder"),
        ("Bob B. (x)", '"Bob B. (x)"'),
        ('a "b" \\', '"a \\"b\\" \\\\"'),
        ("Jörg", "=?utf-8?b?SsO2cmc=?="),
        ("a\r\nBcc: x", '"a Bcc: x"'),
    ],
)
def test_display_names(name, written):
    assert phrase(name) == written


@given(st.text(min_size=1))
def test_a_display_name_never_breaks_its_field(name):
    field = f"From: {phrase(name)} <bob@example.org>\n".encode()
    assert split(field)[0] == field
    assert field.isascii()
    assert all(len(word) <= 75 for word in field.split(b" ") if word.startswith(b"=?"))


def test_xtext_and_uucp():
    assert xtext("a+b=c d") == "a+2Bb+3Dc+20d"
    assert mbox_sender(b"From host!bob Mon Jan 1\n\n") == "bob@host"
    assert mbox_sender(b"From carol@example.net Mon\n>From a Tue remote from b\n\n") == "a"
    assert mbox_sender(b"Subject: x\n\n") == ""
