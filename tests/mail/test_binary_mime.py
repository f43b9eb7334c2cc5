"""BINARYMIME becomes text, and a stranger reads the same content out of it."""

import email
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import BadMessage
from mailtools.mail.binary_mime import text_form


def decoded(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


@given(st.binary())
def test_a_binary_body_survives(content: bytes) -> None:
    wire = b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: BINARY\r\n\r\n" + content
    text = text_form(wire)
    assert b"\r" not in text
    assert decoded(email.message_from_bytes(text)) == content


@given(st.binary().filter(lambda octets: b"--cut" not in octets), st.binary(max_size=100))
def test_a_binary_part_survives_beside_text(content: bytes, second: bytes) -> None:
    if b"--cut" in second:
        second = b""
    wire = (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=cut\r\n"
        b"Content-Transfer-Encoding: binary\r\n\r\n"
        b"--cut\r\n\r\nplain text\r\n"
        b"--cut\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        + content
        + b"\r\n--cut\r\nContent-Type: image/gif\r\nContent-Transfer-Encoding:\r\n binary\r\n\r\n"
        + second
        + b"\r\n--cut--\r\n"
    )
    message = email.message_from_bytes(text_form(wire))
    assert message["Content-Transfer-Encoding"] == "8bit"
    first, *parts = message.get_payload()
    assert decoded(first) == b"plain text"
    assert [decoded(part) for part in parts] == [content, second]
    assert [part.get_content_type() for part in parts] == ["image/png", "image/gif"]


def test_what_is_no_binary_part_must_be_lines() -> None:
    assert text_form(b"Subject: x\r\n\r\ntext\r\n") == b"Subject: x\n\ntext\n"
    for wire in (b"Subject: x\r\n\r\nte\nxt\r\n", b"Sub\rject: x\r\n\r\n", b"\r\n\0"):
        with pytest.raises(BadMessage):
            text_form(wire)
