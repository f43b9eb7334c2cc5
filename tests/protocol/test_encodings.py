"""Messages in seven bits and in short lines: what a reader sees must be what it saw."""

import email
import email.policy
from base64 import b64encode
from binascii import b2a_qp
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.protocol.smtp.encodings import Form, in_form, seven_bit

TEXT = b"""Subject: x
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

"""


def leaves(message: Message) -> list[tuple[str, bytes]]:
    """Type and decoded content of each leaf, line ends as LF."""
    return [
        (part.get_content_type(), (part.get_payload(decode=True) or b"").replace(b"\r\n", b"\n"))
        for part in message.walk()
        if not part.is_multipart()
    ]


def check(data: bytes) -> bytes:
    """Convert, compare what a MIME reader sees, and give the converted message."""
    converted = seven_bit(data)
    body = converted.partition(b"\n\n")[2]
    assert body.isascii()
    assert max(map(len, body.split(b"\n"))) <= 998
    before, after = (
        leaves(email.message_from_bytes(data)),
        leaves(email.message_from_bytes(converted)),
    )
    assert before == after
    return converted


def test_seven_bit_mail_is_left_alone():
    message = TEXT + b"plain = text\n"
    assert seven_bit(message) is message


def test_text_becomes_quoted_printable():
    converted = check(TEXT + "Viele Grüße aus dem Norden, 1 = 1 \n\n.\nEnde".encode())
    assert b"Content-Transfer-Encoding: quoted-printable\n" in converted
    assert converted.count(b"Content-Transfer-Encoding") == 1
    assert b"Viele Gr=C3=BC=C3=9Fe" in converted


def test_text_in_another_script_becomes_base64():
    converted = check(TEXT + "Привет, как дела?\n".encode() * 20)
    assert b"Content-Transfer-Encoding: base64\n" in converted


def test_a_message_without_mime_gets_it():
    converted = seven_bit("Subject: x\n\nViele Grüße aus dem Norden\n".encode())
    message = email.message_from_bytes(converted)
    assert message["MIME-Version"] == "1.0"
    assert message.get_content_charset() == "unknown-8bit"
    assert message.get_payload(decode=True).decode() == "Viele Grüße aus dem Norden\n"


def test_only_the_parts_that_need_it_change():
    message = (
        b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n"
        b"Content-Transfer-Encoding: 8bit\n\npreamble\n--b\n\nplain = text\n--b\n"
        b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
        + "Grüße und mehr Text als nur das\n".encode()
        + b"--b\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n"
        b"AAEC\n--b--\nepilogue\n"
    )
    converted = check(message)
    assert b"\n--b\n\nplain = text\n--b\n" in converted
    assert b"\n\nAAEC\n--b--\nepilogue\n" in converted
    assert b"8bit" not in converted


def test_nested_parts_and_messages():
    inner = TEXT + "innen: Grüße und mehr Text\n".encode()
    message = (
        b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=out\n\n"
        b"--out\nContent-Type: multipart/alternative; boundary=in\n\n"
        b"--in\nContent-Type: text/html; charset=utf-8\n\n<p>"
        + "Grüße und mehr Text".encode()
        + b"</p>\n--in--\n--out\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\n"
        + inner
        + b"\n--out--\n"
    )
    check(message)


def test_octets_around_the_parts_are_not_kept():
    message = (
        b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
        b"caf\xc3\xa9\n--b\n\ntext\n--b--\ncaf\xc3\xa9\n"
    )
    assert b"caf??" in check(message)


def test_binary_data_survives_with_its_line_ends():
    data = bytes(range(1, 256)).replace(b"\r", b"") * 4
    message = (
        b"MIME-Version: 1.0\nContent-Type: application/x\nContent-Transfer-Encoding: 8bit\n\n"
        + data
    )
    part = email.message_from_bytes(seven_bit(message))
    assert part.get_payload(decode=True) == data.replace(b"\n", b"\r\n")


@pytest.mark.parametrize("encoding", [b"base64", b"quoted-printable"])
def test_a_part_that_lies_about_its_encoding_is_left_alone(encoding):
    message = TEXT.replace(b"8bit", encoding) + b"caf\xc3\xa9\n"
    assert seven_bit(message) == message


def test_depth_has_an_end():
    message = b"MIME-Version: 1.0\n"
    for n in range(200):
        message += b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n)
    assert seven_bit(message + b"\ncaf\xc3\xa9\n")


SHORT = Form(short=True)


def shortened(message: bytes) -> bytes:
    """Shorten the lines, compare what a MIME reader sees, and give the message."""
    found = in_form(message, SHORT)
    assert max(map(len, found.split(b"\n"))) <= 998
    before, after = (leaves(email.message_from_bytes(data)) for data in (message, found))
    assert before == after
    return found


def test_lines_that_fit_are_left_alone():
    message = TEXT + b"x" * 998 + "\nGrüße\n".encode()
    assert in_form(message, SHORT) is message


def test_a_long_line_becomes_quoted_printable():
    text = TEXT + b"x" * 999 + b"\n"
    found = shortened(text)
    assert b"Content-Transfer-Encoding: quoted-printable\n" in found
    eight = shortened(TEXT + b"y" * 2000 + "\nGrüße\n".encode())
    assert b"Gr=C3=BC=C3=9Fe" in eight


def test_only_parts_with_long_lines_change():
    eight = b"\n--b\nContent-Transfer-Encoding: 8bit\n\ncaf\xc3\xa9\n--b"
    message = (
        b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n"
        b"Content-Transfer-Encoding: 8bit\n\n" + b"p" * 2000 + eight
        + b"\nContent-Type: text/html\n\n<p>" + b"z " * 900 + b"</p>\n--b--\n"
    )  # fmt: skip
    found = shortened(message)
    assert eight in found
    assert found.startswith(message[:80])
    assert found.count(b"quoted-printable") == 1


@pytest.mark.parametrize(
    ("encoding", "line"),
    [(b"base64", b64encode(bytes(range(256)) * 20)), (b"quoted-printable", b"caf=C3=A9 " * 500)],
)
def test_encoded_lines_that_are_too_long_are_broken(encoding, line):
    shortened(TEXT.replace(b"8bit", encoding) + b"Text\n" + line + b"\n")


def test_what_is_signed_stays_as_it_is():
    message = (
        b"MIME-Version: 1.0\nContent-Type: multipart/signed; boundary=b\n\n--b\n\n"
        + b"x" * 2000 + b"\n--b--\n"
    )  # fmt: skip
    assert in_form(message, SHORT) == message


def test_a_long_header_line_is_folded():
    names = ", ".join(f"user{n}@example.net" for n in range(100))
    message = f"To: {names}\nX-Whole: {'x' * 2000}\n\nText.\n".encode()
    found = in_form(message, SHORT)
    assert email.message_from_bytes(found)["To"].replace("\n", "") == names
    assert [len(line) > 998 for line in found.split(b"\n")].count(True) == 1  # it has no space
    assert found.endswith(b"x\n\nText.\n")


@given(st.binary(), st.integers(990, 3000))
def test_any_long_text_is_seen_as_it_was(octets, size):
    body = (octets.replace(b"\r", b"") or b"x") * 5
    body = (body * (size // len(body) + 1))[:size]
    message = TEXT + body
    found = in_form(message, SHORT)
    shown = email.message_from_bytes(found).get_payload(decode=True)
    assert shown.replace(b"\r\n", b"\n") == body
    assert max(map(len, found.split(b"\n"))) <= 998


@given(st.binary().map(lambda data: data.replace(b"\r", b"")))
def test_any_text_is_seen_as_it_was(body):
    message = TEXT + body
    converted = seven_bit(message)
    shown = email.message_from_bytes(converted).get_payload(decode=True)
    assert shown.replace(b"\r\n", b"\n") == body
    assert converted.partition(b"\n\n")[2].isascii()


@given(st.binary())
def test_nothing_makes_it_fail(data):
    seven_bit(data)
    seven_bit(b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" + data + b"\n--b--\xff")
    in_form(data * 100, Form(seven=True, short=True))


def test_a_long_text_is_encoded_as_a_short_one() -> None:
    """It is encoded in pieces; nobody can tell where they meet."""
    lines = ["Grüße ", ".", "x" * 200 + "é", "", "a=b\t", "From here"]
    body = "\n".join(lines * 3000).encode()
    header = b"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n"
    found = seven_bit(header + body)
    assert found.isascii()
    assert found.partition(b"\n\n")[2] == b2a_qp(body, istext=True)


def test_a_boundary_within_a_line_is_none() -> None:
    text = "--b\n\nGrüße --b\n--bb\n--b \n\nzwei ü\n--b--\n".encode()
    header = b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
    found = seven_bit(header + text)
    assert found.count(b"quoted-printable") == 2
    assert found.count(b"Gr=C3=BC=C3=9Fe --b\n--bb\n--b \n") == 1
