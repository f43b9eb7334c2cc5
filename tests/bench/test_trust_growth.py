"""Twice the input takes about twice the time: what strangers publish, sign and claim."""

import base64
import json

import pytest
from dkim2_signer import hashes
from growing import grows_linearly

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.fields import fields
from mailtools.trust.arc import read_chain
from mailtools.trust.author import author_domain
from mailtools.trust.authres import parse_authres, remove_forged
from mailtools.trust.canonical import BodyForm, BodyHashes, canonical_signature
from mailtools.trust.dane import usable
from mailtools.trust.dkim import read_signatures
from mailtools.trust.dkim2_recipe import BodyUndo, Copy
from mailtools.trust.dkim_sign import Signer, sign
from mailtools.trust.dmarc_record import parse_dmarc
from mailtools.trust.examine import Examination
from mailtools.trust.keys import new_private_key
from mailtools.trust.mta_sts import parse_sts_policy
from mailtools.trust.own_results import own_results
from mailtools.trust.spf import Spf, SpfResult, check_host
from mailtools.trust.spf_record import parse_spf
from mailtools.trust.tags import parse_tags

KEY = new_private_key("ed25519")
RECORDS = (KEY.record(),)


def hash_body(body, size=4096):
    hashes = BodyHashes([BodyForm("simple"), BodyForm("relaxed")])
    for start in range(0, len(body), size):
        hashes.update(body[start : start + size])
    hashes.digest(BodyForm("relaxed"))


class Said:
    """What DNS says: one text, whatever is asked."""

    exists, secure = True, False

    def __init__(self, *records):
        self.records = records


def judged(message, size=4096, records=RECORDS, envelope=None):
    """All that a message proves."""
    examination = Examination(signing=True)
    for start in range(0, len(message), size):
        examination.update(message[start : start + size])
    examination.judge(SpfResult(Spf.PASS, "a.test"), lambda *_: Said(*records), 10**9, envelope)
    header = examination.header
    author_domain(header)
    own_results(header, "a.test")
    remove_forged(header, ["a.test"])
    sign(header, examination.hashes, [Signer("a.test", "s", KEY)], 10**9)


def spf(*records):
    check_host("192.0.2.1", "a.test", "a@a.test", "a.test", lambda *_: Said(*records))


SIGNATURE = (
    b"DKIM-Signature: v=1; a=ed25519-sha256; d=a.test; s=s; h=from; bh=" + b"A" * 43
    + b"=; b=" + b"A" * 86 + b"==\n"
)  # fmt: skip
SET = (
    b"ARC-Seal: i=%d; a=ed25519-sha256; cv=none; d=a.test; s=s; b=" + b"A" * 86 + b"==\n"
    b"ARC-Message-Signature: i=%d; a=ed25519-sha256; d=a.test; s=s; h=from; bh=" + b"A" * 43
    + b"=; b=" + b"A" * 86 + b"==\nARC-Authentication-Results: i=%d; a.test; none\n"
)  # fmt: skip
FROM = b"From: a@a.test\n"
SIGNED = (
    b"DKIM2-Signature: i=%d; m=%d; t=1000000000; d=a.test; mf=PD4=; rt=PGFAYS50ZXN0Pg==;"
    b" s=s:ed25519-sha256:" + b"A" * 86 + b"==\n"
)
ALL = json.dumps({"h": {"y": [{"c": [1, 1]}]}, "b": [{"c": [1, 9]}, {"d": ["x"]}]}).encode()


def instances(count, recipe=ALL, hashes=b"AAAA:AAAA"):
    """So many instances, each with a recipe."""
    text = b"; r=" + base64.b64encode(recipe)
    numbers = range(1, count + 1)
    return b"".join(b"Message-Instance: m=%d; h=sha256:%s%s\n" % (m, hashes, text) for m in numbers)


def steps(count):
    """Copy every second line, with something between."""
    many = [each for i in range(1, count, 2) for each in ({"c": [i, i]}, {"d": ["x"]})]
    return json.dumps({"b": many, "h": {"y": many}}).encode()


def unwound(header):
    """Check the hashes of twenty instances, and then the signature."""
    message = header + FROM + b"\nx\n"
    known = hashes(message).removeprefix("sha256:").encode()
    judged(SIGNED % (1, 20) + instances(20, b'{"h":{"none":[]}}', known) + message)


def undo(count, size=4096):
    """Undo a body, twenty times."""
    undone = BodyUndo([each for i in range(1, count, 2) for each in (Copy(i, i), b"x\n")])
    body = b"y\n" * count
    for at in range(0, len(body), size):
        undone.update(body[at : at + size])
    undone.finish()


CASES = {
    "all: fields": lambda n: judged(FROM + b"X: y\n" * n + b"\nx\n"),
    "all: From": lambda n: judged(FROM * n + b"\nx\n"),
    "all: To": lambda n: judged(FROM + b"To: a@a.test\n" * n + b"\nx\n"),
    "all: Received": lambda n: judged(FROM + b"Received: from a by b;\n\tdate\n" * n + b"\nx\n"),
    "all: one folded field": lambda n: judged(FROM + b"X: y\n" + b" \t y\n" * n + b"\nx\n"),
    "all: no field": lambda n: judged(b"no field\n" * n + FROM + b"\nx\n"),
    "all: no header end": lambda n: judged(b"no field " * (n // 10), size=64),
    "all: signatures": lambda n: judged(SIGNATURE * n + FROM + b"\nx\n"),
    "all: signed blanks": lambda n: judged(SIGNATURE[:-3] + b" \t\n " * n + b"\n" + FROM + b"\nx"),
    "all: many To signed": lambda n: judged(
        SIGNATURE.replace(b"h=from", b"h=from" + b":to" * 900) + b"To: x\n" * n + FROM + b"\nx\n"
    ),
    "all: sets": lambda n: judged(SET * n % (*(i // 3 + 1 for i in range(3 * n)),) + FROM + b"\n"),
    "all: fifty sets": lambda n: judged(
        SET * 9 % (*(i // 3 + 1 for i in range(27)),) + b"X: y\n" * n + FROM + b"\nx\n"
    ),
    "all: results": lambda n: judged(
        b"Authentication-Results: a.test; dkim=pass header.d=a.test\n" * n + FROM + b"\nx\n"
    ),
    "all: dots": lambda n: judged(FROM + b"\n" + b".\n..\n" * n),
    "spf: a record of macros": lambda n: spf("v=spf1 exists:%{l}.%{d1}" + ".%{ir}" * n + " -all"),
    "spf: a long record": lambda n: spf("v=spf1 " + "ip4:192.0.2.2 " * n + "-all"),
    "spf: many records": lambda n: spf(*["v=spf1 -all"] * n),
    "spf: modifiers": lambda n: spf("v=spf1 " + "".join(f"a{i}=%{{d}} " for i in range(n))),
    "spf: many names": lambda n: spf("v=spf1 mx ptr -all", *["10 a.test"] * n),
    "dkim2: signatures": lambda n: judged(SIGNED * n % ((1, 1) * n) + FROM + b"\n"),
    "dkim2: fields": lambda n: unwound(b"Y: y\n" * n),
    "dkim2: names": lambda n: unwound(b"".join(b"Y%d: y\n" % i for i in range(n))),
    "dkim2: lines": lambda n: judged(SIGNED % (1, 20) + instances(20) + FROM + b"\n" + b"y\n" * n),
    "dkim2: steps": lambda n: judged(
        SIGNED % (1, 2) + instances(2, steps(n // 20)) + b"Y: y\n" * n + FROM + b"\n" + b"y\n" * n
    ),
    "dkim2: undo": undo,
    "dkim2: undo a line at a time": lambda n: undo(n // 4, 2),
    "dkim2: undo at once": lambda n: undo(n, 1 << 30),
    "dkim2: JSON": lambda n: judged(SIGNED % (1, 2) + instances(2, b"[" * n) + FROM + b"\n"),
    "dkim2: forward-paths": lambda n: judged(
        SIGNED.replace(b"rt=", b"rt=" + b"PGFAYS50ZXN0Pg==," * n) % (1, 1) + instances(1) + FROM
    ),
    "dkim2: recipients": lambda n: judged(
        SIGNED.replace(b"mf=PD4=", b"mf=PGFAYS50ZXN0Pg==").replace(
            b"rt=",
            b"rt=" + b",".join(base64.b64encode(b"<%d@a.test>" % i) for i in range(n)) + b",",
        )
        % (1, 1)
        + instances(1)
        + FROM,
        envelope=Envelope("a@a.test", (ForwardPath(f"{n - 1}@a.test"),) * (4 * n)),
    ),
    "dkim2: sets": lambda n: judged(
        SIGNED.replace(b"s=s:", b"s=" + b"a:b:c,|" * n + b"s:") % (1, 1) + instances(1) + FROM
    ),
    "dkim2: tags": lambda n: judged(
        SIGNED[:-1] % (1, 1) + b"".join(b";\n t%d=%d" % (i, i) for i in range(n)) + b"\n" + FROM
    ),
    "key records": lambda n: judged(SIGNATURE + FROM + b"\nx\n", records=("v=DKIM1; p=x",) * n),
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


@pytest.mark.parametrize("name", CASES)
def test_growth(name):
    assert grows_linearly(CASES[name])
