"""What strangers publish and sign: a verdict or a Failure, whatever it says.

What DNS answers is part of the input: its lines are given out as records, in turn.
"""

import base64
import contextlib
from collections.abc import Callable
from typing import NamedTuple

from dkim2_signer import instance, sign

from mailtools.errors import DnsTrouble, Failure
from mailtools.mail.address import parse_address
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.trust.arc import verify_message_chain
from mailtools.trust.authres import format_authres, parse_authres, remove_forged
from mailtools.trust.dane import usable
from mailtools.trust.dkim import verify_message
from mailtools.trust.dkim2 import verify_message_dkim2
from mailtools.trust.dkim2_recipe import BodyUndo, Copy, read_recipe
from mailtools.trust.dkim_record import parse_key
from mailtools.trust.dmarc import Dmarc, evaluate, evaluate_header
from mailtools.trust.dmarc_record import parse_dmarc
from mailtools.trust.examine import Examination
from mailtools.trust.keys import load_public_key, new_private_key
from mailtools.trust.lookup import Lookup, remembering
from mailtools.trust.mta_sts import (
    format_sts_policy,
    matches_pattern,
    parse_sts_policy,
    parse_sts_record,
    parse_tlsrpt_record,
)
from mailtools.trust.spf import Spf, SpfResult, check_host
from mailtools.trust.spf_record import parse_spf
from mailtools.trust.srs import srs_forward, srs_reverse

NOW = 1_760_000_000
QUERIES_MOST = 2000
KEY = new_private_key("ed25519")


class Answer(NamedTuple):
    """What DNS says."""

    records: tuple[str, ...] = ()
    exists: bool = True
    secure: bool = False


def zone(lines: list[str], key: str = "") -> Lookup:
    """Give a DNS that answers any question with the next of the lines."""
    asked = 0

    def lookup(name: str, rrtype: str) -> Answer:
        nonlocal asked
        asked += 1
        assert asked < QUERIES_MOST, "questions without end"
        assert name.isascii()
        assert 0 < len(name) <= 253, name
        assert all(0 < len(label) <= 63 for label in name.split(".")), name
        if key and "._domainkey." in name:
            return Answer((key,))
        line = lines[asked % len(lines)] if lines else ""
        if line == "?":
            raise DnsTrouble("SERVFAIL")
        if line in ("", "!"):
            return Answer(exists=not line)
        if rrtype in ("A", "AAAA"):
            return Answer(("192.0.2.1",) if rrtype == "A" else ("2001:db8::1",))
        if rrtype == "MX":
            return Answer(("10 mx.example.org", "0 "))
        if rrtype == "PTR":
            return Answer(tuple(f"h{n}.example.org" for n in range(12)))
        return Answer(tuple(line.split("\t")))

    return lookup


def halves(data: bytes) -> tuple[list[str], bytes]:
    """Give the records of DNS, which stand before the first NUL, and the rest."""
    records, _, rest = data.partition(b"\0")
    return records.decode("latin-1").split("\n"), rest


def spf(data: bytes) -> None:
    """SPF: records and whole evaluations over a DNS that says anything."""
    lines, rest = halves(data)
    text = rest.decode("utf-8", "replace")
    for line in lines[:5]:
        with contextlib.suppress(Failure):
            parse_spf(line)
    for ip in ("192.0.2.1", "2001:db8::1"):
        with contextlib.suppress(Failure):
            found = check_host(ip, "example.org", text or "a@example.org", text, zone(lines))
            assert found.result in Spf
            assert found.explanation.isascii()


def dkim_records(data: bytes) -> None:
    """DKIM key records and the keys in them."""
    text = data.decode("latin-1")
    with contextlib.suppress(Failure):
        record = parse_key(text)
        load_public_key("ed25519" if "ed" in record.kind else "rsa", record.key)


def dkim_verify(data: bytes) -> None:
    """DKIM signatures of a message, their keys found or not."""
    lines, rest = halves(data) if b"\0" in data else ([], data)
    for found in verify_message(rest, zone(lines, KEY.record()), NOW):
        assert found.result != "pass" or b"b=" in rest


def dkim2(data: bytes) -> None:
    """DKIM2 chains: no signature of these holds, whatever stands around it."""
    lines, rest = halves(data) if b"\0" in data else ([], data)
    envelope = Envelope("a@example.org", (ForwardPath("b@example.net"),))
    for sender in (envelope, None):
        found = verify_message_dkim2(rest, zone(lines, KEY.record()), NOW, sender)
        assert found.result != "pass", found


def dkim2_recipe(data: bytes) -> None:
    """DKIM2 recipes: a body undone in pieces is the same body."""
    text, _, body = data.partition(b"\0")
    with contextlib.suppress(Failure):
        steps = read_recipe(text).body or ()
        lines = body.removesuffix(b"\n").split(b"\n") if body else []
        wanted = b"".join(
            step if isinstance(step, bytes)
            else b"".join(line + b"\n" for line in lines[step.first - 1 : step.last])
            for step in steps
        )  # fmt: skip
        undo = BodyUndo(steps)
        size = 1 + len(text) % 7
        made = b"".join(undo.update(body[at : at + size]) for at in range(0, len(body), size))
        made += undo.finish()
        assert made == wanted
        assert max((s.last for s in steps if isinstance(s, Copy)), default=0) <= len(lines)


def examine(data: bytes) -> None:
    """All that a message proves: DKIM, ARC and DMARC in one pass, in pieces."""
    lines, rest = halves(data) if b"\0" in data else ([], data)
    step = 1 + len(data) % 500
    examination = Examination(signing=True)
    spf_result = SpfResult(Spf.PASS, "example.org")
    with contextlib.suppress(Failure):
        for at in range(0, len(rest), step):
            examination.update(rest[at : at + step])
        verdicts = examination.judge(spf_result, zone(lines), NOW)
        for each in verdicts.findings("192.0.2.1"):
            str(each)


def arc(data: bytes) -> None:
    """ARC chains."""
    lines, rest = halves(data) if b"\0" in data else ([], data)
    verify_message_chain(rest, zone(lines, KEY.record()), NOW)


def dmarc(data: bytes) -> None:
    """DMARC: records, From fields and evaluations over a DNS that says anything."""
    lines, rest = halves(data)
    for line in lines[:5]:
        with contextlib.suppress(Failure):
            parse_dmarc(line, "example.org")
    found = evaluate_header(rest, SpfResult(Spf.PASS, "b.example.org"), (), zone(lines))
    assert found.result in Dmarc
    deep = "a.b.c.d.e.f.g.h.i.example.org"
    ask = remembering(zone(lines))
    assert evaluate(deep, SpfResult(Spf.PASS, "x.example.org"), (), ask).result in Dmarc


def authres(data: bytes) -> None:
    """Authentication-Results: what is read can be written and read again."""
    text = data.decode("utf-8", "replace")
    remove_forged(b"Authentication-Results: " + data + b"\n", ["example.org"])
    with contextlib.suppress(Failure):
        found = parse_authres(text)
        try:
            written = format_authres(found)
        except Failure:
            return
        again = parse_authres(written.partition(b":")[2].decode().replace("\n", " "))
        assert [each.method for each in again.results] == [each.method for each in found.results]


def sts(data: bytes) -> None:
    """MTA-STS and TLSRPT: policies and records."""
    text = data.decode("latin-1")
    with contextlib.suppress(Failure):
        policy = parse_sts_policy(data)
        assert parse_sts_policy(format_sts_policy(policy)) == policy
        for pattern in policy.mx:
            matches_pattern(pattern, "mx.example.org")
    for read in (parse_sts_record, parse_tlsrpt_record):
        with contextlib.suppress(Failure):
            read(text.split("\n"))
    usable(text.split("\n"))


def srs(data: bytes) -> None:
    """SRS: what is rewritten comes back, and nothing else does."""
    with contextlib.suppress(Failure):
        address = parse_address(data.decode("utf-8", "surrogateescape"))
        with contextlib.suppress(Failure):
            srs_reverse(address, [b"s"], NOW)
        written = srs_forward(address, "fwd.example.org", b"s", NOW)
        if not address.local.upper().startswith(("SRS0", "SRS1")):
            back = srs_reverse(written, [b"s"], NOW)
            assert back.local == address.local


TARGETS: dict[str, Callable[[bytes], None]] = {
    "spf": spf,
    "dkim-records": dkim_records,
    "dkim-verify": dkim_verify,
    "dkim2": dkim2,
    "dkim2-recipe": dkim2_recipe,
    "examine": examine,
    "arc": arc,
    "dmarc": dmarc,
    "authres": authres,
    "mta-sts": sts,
    "srs": srs,
}

_B = base64.b64encode(bytes(64))
_T = str(NOW - 1000)


def _chains() -> tuple[bytes, ...]:
    """Give DKIM2 chains in which all holds but the signatures."""
    none = {"s": f"ed25519-sha256:{_B.decode()}", "t": "rsa-sha256:AAAA", "u": "new:AAAA"}
    text = b"From: a@example.org\nComments: x\n\none\ntwo\n\n"
    first = sign(instance(text), none, "example.org", "a@example.org", ["b@example.net"], t=_T)
    changed = first.replace(b"one\n", b"1\n").replace(b"Comments", b"Subject")
    recipe = {
        "b": [{"d": ["one"]}, {"c": [2, 2]}],
        "h": {"comments": [{"d": ["x"]}], "subject": []},
    }
    changed = instance(changed, recipe, algorithms=("sha512", "sha256"))
    next_ = {"mf": None, "rt": None, "nd": "example.com", "n": "x", "f": "donotmodify,exploded"}
    second = sign(changed, none, "example.net", "", [], between="|", t=_T, **next_)
    third = sign(second, none, "example.com", "a@example.org", ["b@example.net"], t=_T)
    return first, second, third


SEEDS: dict[str, tuple[bytes, ...]] = {
    "spf": (
        (b"v=spf1 a mx/24//64 ptr:x.y exists:%{ir}.%{v}.%{d2} include:_s.%{h} -all exp=e.%{o}\n"
        b"v=spf1 redirect=%{d}\nx %{c} %{R} %{t} text\0a@b"),
    ),
    "dkim-records": (
        b"v=DKIM1; k=ed25519; t=s:y; s=email; h=sha256; p=" + KEY.public_text().encode(),
    ),
    "dkim-verify": (
        b"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/simple; d=example.org; s=s; l=3; t=1;\n"
        b" x=1999999999; i=@a.example.org; h=from:to:to; bh=" + _B[:44] + b";\n b=" + _B + b"\n"
        b"From: a@example.org\n\nbody\n",
    ),
    "dkim2": _chains(),
    "dkim2-recipe": (
        b'{"b":[{"d":["a","b"]},{"c":[2,3]},{"u":["/w=="]}],"h":{"x":[{"c":[1,1]}]}}\0a\nb\nc\n',
        b'{"B":null}\0', b'{"b":[{"c":[1,1]}]}\0line',
    ),
    "arc": (
        b"ARC-Seal: i=1; a=ed25519-sha256; cv=none; d=example.org; s=s; b=" + _B + b"\n"
        b"ARC-Message-Signature: i=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.org; s=s;\n"
        b" h=from; bh=" + _B[:44] + b"; b=" + _B + b"\n"
        b"ARC-Authentication-Results: i=1; example.org; spf=pass\nFrom: a@example.org\n\nx\n",
    ),
    "dmarc": (
        (b"v=DMARC1; p=reject; sp=none; np=quarantine; psd=y; t=y; rua=mailto:a@b!10m;"
        b" adkim=s; aspf=r; fo=0:d\0From: \"a\" <a@b.example.org>, g: c@d; (x)\n\n"),
    ),
    "authres": (
        b'example.org 1; spf=pass (c) reason="x" smtp.mailfrom=a@b header.d=c; dkim/1=fail',
    ),
    "mta-sts": (
        b"version: STSv1\nmode: enforce\nmx: *.example.org\nmx: a.b\nmax_age: 86400\n",
        b"v=STSv1; id=1;", b"v=TLSRPTv1; rua=mailto:a@b,https://c", b"3 1 1 " + b"00" * 32,
    ),
    "srs": (b"a@example.org", b"SRS0=AAAA=BB=example.org=a@b.c", b"SRS1=AAAA=b.c==x=y=d=a@b"),
}  # fmt: skip
