"""Twice the input takes about twice the time: parsers and hashers met by strangers' text.

Compares times with one another, never with a clock; a quadratic step gives a ratio of about 16.
"""

import base64
import contextlib
import time

import pytest

from mailtools.errors import Failure
from mailtools.mail.fields import fields
from mailtools.trust.arc import read_chain
from mailtools.trust.author import author_domain
from mailtools.trust.authres import parse_authres, remove_forged
from mailtools.trust.canonical import BodyForm, BodyHashes, canonical_signature
from mailtools.trust.dane import usable
from mailtools.trust.dkim import read_signatures
from mailtools.trust.dmarc_record import parse_dmarc
from mailtools.trust.mta_sts import parse_sts_policy
from mailtools.trust.spf_record import parse_spf
from mailtools.trust.tags import parse_tags

GROWTH = 4
MOST = 10  # a linear step gives 4, n log n a little more, a quadratic one 16


def hash_body(body, size=4096):
    hashes = BodyHashes([BodyForm("simple"), BodyForm("relaxed")])
    for start in range(0, len(body), size):
        hashes.update(body[start : start + size])
    hashes.digest(BodyForm("relaxed"))


CASES = {
    "spf: one long term": lambda n: parse_spf("v=spf1 a:" + "a." * n),
    "spf: many terms": lambda n: parse_spf("v=spf1 " + "ip4:192.0.2.1 " * n),
    "spf: macros": lambda n: parse_spf("v=spf1 a:" + "%{d}" * n),
    "spf: slashes": lambda n: parse_spf("v=spf1 a:" + "/1" * n),
    "tags": lambda n: parse_tags(";".join(f"t{i}=x" for i in range(n))),
    "dkim: blanks": lambda n: read_signatures(b"DKIM-Signature: v=1;" + b" \n\t" * n + b"\n"),
    "dkim: names": lambda n: read_signatures(b"DKIM-Signature: h=" + b"a:" * n + b"\n"),
    "dkim: semicolons": lambda n: [
        canonical_signature(each, "relaxed") for each in fields(b"D:" + b" ; ; b" * n + b"\n")
    ],
    "arc: fields": lambda n: read_chain(b"ARC-Seal: i=1; i=2\n" * n),
    "arc: one field": lambda n: read_chain(b"ARC-Authentication-Results: " + b"i=1 " * n + b"\n"),
    "authres: comments": lambda n: parse_authres("(" * n),
    "authres: words": lambda n: parse_authres("x; " + "a.b=c " * n),
    "authres: quotes": lambda n: parse_authres('x; spf=pass a.b="' + '\\"' * n),
    "authres: forged": lambda n: remove_forged(
        b"Authentication-Results: a; none\nX: y\n" * (n // 10), ["a"]
    ),
    "author: mailboxes": lambda n: author_domain(b"From: " + b"a@b.test, " * n + b"\n"),
    "author: brackets": lambda n: author_domain(b"From: " + b"<" * n + b"\n"),
    "author: words": lambda n: author_domain(b"From: " + b"a " * n + b"<a@b.test>\n"),
    "author: quotes": lambda n: author_domain(b'From: "' + b"\\a" * n + b"\n"),
    "dmarc": lambda n: parse_dmarc("v=DMARC1; " + "rua=mailto:a@b, ;" * n, "a.test"),
    "mta-sts": lambda n: parse_sts_policy(b"version: STSv1\n" + b"a: b \n" * n),
    "dane": lambda n: usable(["3 1 1 " + "a " * n]),
    "body: blanks": lambda n: hash_body(b" " * (40 * n)),
    "body: lines": lambda n: hash_body(b"\n" * (40 * n)),
    "body: both": lambda n: hash_body(b" \n\t" * (40 * n)),
    "body: one line": lambda n: hash_body(b"x" * (40 * n)),
    "body: base64": lambda n: hash_body(base64.encodebytes(b"x" * (40 * n))),
}


def seconds(work, size):
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        with contextlib.suppress(Failure):
            work(size)
        best = min(best, time.perf_counter() - start)
    return best


@pytest.mark.parametrize("name", CASES)
def test_growth(name):
    work = CASES[name]
    size = 500
    while size < 8000 and seconds(work, size) < 0.002:
        size *= 2

    def ratio():
        small = max(seconds(work, size), 0.0005)
        return seconds(work, size * GROWTH) / small

    assert any(ratio() < MOST for _ in range(3))  # the machine may be busy once
