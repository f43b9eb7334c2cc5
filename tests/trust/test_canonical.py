"""Canonical forms: the examples of RFC 6376 3.4.5, and that cuts change nothing."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.mail.fields import Field, fields
from mailtools.trust.canonical import (
    BodyForm,
    BodyHashes,
    canonical_field,
    canonical_signature,
    select,
)


def body_digest(body, form, cuts=()):
    hashes = BodyHashes([form])
    last = 0
    for cut in [*sorted(cuts), len(body)]:
        hashes.update(body[last:cut])
        last = cut
    return hashes.digest(form)


def simple(body):
    """RFC 6376 3.4.3 in the plainest words."""
    return body.rstrip(b"\n").replace(b"\n", b"\r\n") + b"\r\n"


def relaxed(body):
    """RFC 6376 3.4.4 in the plainest words."""
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


EXAMPLE = b" C \nD \t E\n\n\n"  # RFC 6376 3.4.5


def test_the_bodies_of_the_example():
    assert body_digest(EXAMPLE, BodyForm("simple")) == hashlib.sha256(b" C \r\nD \t E\r\n").digest()
    assert body_digest(EXAMPLE, BodyForm("relaxed")) == hashlib.sha256(b" C\r\nD E\r\n").digest()


def test_the_fields_of_the_example():
    first, second = fields(b"A: X\nB : Y\t\n\tZ  \n")
    assert canonical_field(first, "relaxed") + canonical_field(second, "relaxed") == (
        b"a:X\r\nb:Y Z\r\n"
    )
    assert canonical_field(second, "simple") == b"B : Y\t\r\n\tZ  \r\n"


def test_an_empty_body():
    for body in (b"", b"\n", b"\n\n\n"):
        assert body_digest(body, BodyForm("simple")) == hashlib.sha256(b"\r\n").digest()
        assert body_digest(body, BodyForm("relaxed")) == hashlib.sha256(b"").digest()


BODIES = st.lists(st.sampled_from([b"a", b"b c", b" ", b"\t", b"\n", b"\n\n", b"  "])).map(b"".join)


@given(BODIES | st.binary(max_size=80), st.data())
def test_any_cut_gives_the_same_hash(body, data):
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=6))
    assert body_digest(body, BodyForm("simple"), cuts) == hashlib.sha256(simple(body)).digest()
    assert body_digest(body, BodyForm("relaxed"), cuts) == hashlib.sha256(relaxed(body)).digest()


@given(BODIES, st.integers(0, 60), st.data())
def test_a_length_hashes_that_much_and_counts_all(body, length, data):
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=6))
    form = BodyForm("relaxed", length)
    whole = relaxed(body)
    assert body_digest(body, form, cuts) == hashlib.sha256(whole[:length]).digest()
    hashes = BodyHashes([form, BodyForm("simple")])
    hashes.update(body)
    assert hashes.octets(form) == len(whole)
    assert hashes.octets(BodyForm("simple")) == len(simple(body))


def test_more_newlines_than_a_piece():
    body = b"a" + b"\n" * 200_000 + b"b"
    assert body_digest(body, BodyForm("simple")) == hashlib.sha256(simple(body)).digest()


def test_fields_are_taken_from_below_and_each_once():
    listed = list(fields(b"To: 1\nto: 2\nFrom: x\nTO: 3\n"))
    assert [field.body for field in select(listed, [b"to", b"to", b"cc", b"to", b"to"])] == [
        b"3",
        b"2",
        b"1",
    ]


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b"DKIM-Signature: a=1; b=abc\n\tdef ; bh=xyz\n", b"dkim-signature:a=1; b=; bh=xyz"),
        (b"DKIM-Signature: bh=xyz; b = abc\n", b"dkim-signature:bh=xyz; b ="),
        (b"DKIM-Signature: b=abc=;a=1\n", b"dkim-signature:b=;a=1"),
    ],
)
def test_the_value_of_a_signature_is_left_out(raw, wanted):
    assert canonical_signature(Field(b"DKIM-Signature", raw), "relaxed") == wanted
