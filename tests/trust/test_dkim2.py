"""DKIM2 verified: chains made by a plain signer, and each rule of the draft that a verifier has."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from dkim2_signer import NOW, b64, hashes, instance, sign
from hypothesis import given, settings
from hypothesis import strategies as st

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.fields import split_message
from mailtools.trust.canonical import BodyHashes
from mailtools.trust.dkim2 import Chain, verify_message_dkim2
from mailtools.trust.dkim2_checks import AGE_MOST, KEYS_MOST
from mailtools.trust.dkim2_fields import FIELDS_MOST, INSTANCES_MOST
from mailtools.trust.dkim2_recipe import BodyUndo, Copy, read_recipe
from mailtools.trust.keys import PrivateKey, new_private_key
from mailtools.trust.tags import BadRecord

RSA, ED = new_private_key("rsa"), new_private_key("ed25519")
PLAIN = (
    b"Received: from a.test by b.test; Mon, 1 Jan 2024 00:00:00 +0000\n"
    b"From: Alice <alice@a.test>\nTo: list@l.test\nSubject: a  folded\n\tsubject\n"
    b"Comments: one\nComments: two\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\n"
    b"Hello  Bob, \n\n-- \nAlice\n\n\n"
)
ENVELOPE = Envelope("alice@a.test", (ForwardPath("list@l.test"),))
AT_LIST = Envelope("list-bounces@l.test", (ForwardPath("bob@b.test"),))


@pytest.fixture
def lookup(zone):
    """DNS with the keys `rsa` and `ed` of three domains; more can be put into `.names`."""
    keys = (("rsa", RSA), ("ed", ED))
    return zone(
        {
            f"{selector}._domainkey.{domain}": {"TXT": [key.record()]}
            for domain in ("a.test", "l.test", "b.test")
            for selector, key in keys
        }
    )


def first(message=PLAIN, keys=None, envelope=ENVELOPE, domain="a.test", **tags):
    """Sign as the first sender."""
    paths = [path.address for path in envelope.forward_paths]
    keys = {"ed": ED} if keys is None else keys
    return sign(instance(message), keys, domain, envelope.reverse_path, paths, **tags)


def by_list(message=None, recipe=None, **tags):
    """Send on as a mailing list that changes the subject, the From and the end of the body."""
    message = first() if message is None else message
    changed = (
        message.replace(b"Subject: a  folded\n\tsubject", b"Subject: [list] a folded subject")
        .replace(b"From: Alice <alice@a.test>", b"From: Alice via list <list@l.test>")
        .replace(b"Comments: one\n", b"Comments: zero\nComments: one\n")
        .replace(b"-- \nAlice\n\n\n", b"-- \nAlice\n\n___\nunsubscribe\n")
        .replace(b"To: list@l.test", b"To: list@l.test\nList-Id: <l.test>\nX-Loop: l.test")
    )
    recipe = recipe or {
        "h": {
            "subject": [{"d": ["a folded subject"]}],
            "from": [{"d": ["Alice <alice@a.test>"]}],
            "list-id": [],
            "comments": [{"c": [1, 2]}],
        },
        "b": [{"c": [1, 4]}],
    }
    changed = instance(changed, recipe)
    return sign(changed, {"rsa": RSA}, "l.test", "list-bounces@l.test", ["bob@b.test"], **tags)


def judged(message, lookup, envelope=ENVELOPE, now=NOW):
    return verify_message_dkim2(message, lookup, now, envelope)


def test_the_first_sender(lookup):
    for keys in ({"ed": ED}, {"rsa": RSA}, {"rsa": RSA, "ed": ED}):
        found = judged(first(keys=keys), lookup)
        assert (found.result, found.domains) == ("pass", ("a.test",)), found


def test_no_fields(lookup):
    assert judged(PLAIN, lookup).result == "none"
    assert lookup.asked == []


def test_a_list_that_says_what_it_changed(lookup):
    found = judged(by_list(), lookup, AT_LIST)
    assert (found.result, found.domains) == ("pass", ("a.test", "l.test")), found


def test_a_forwarder_that_changed_nothing(lookup):
    message = first(envelope=ENVELOPE._replace(forward_paths=(ForwardPath("al@b.test"),)))
    message = sign(message, {"rsa": RSA}, "b.test", "srs0=x@b.test", ["al@l.test"])
    envelope = Envelope("srs0=x@b.test", (ForwardPath("al@l.test"),))
    assert judged(message, lookup, envelope).result == "pass"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"Hello", b"hello", "Message Instance m=2 body hash sha256 mismatch"),
        (b"[list]", b"[spam]", "Message Instance m=2 header hash sha256 mismatch"),
        (b"\nComments: zero", b"", "Message Instance m=2 header hash sha256 mismatch"),
        (b"\nDate:", b"\nReply-To: eve@e.test\nDate:", "Message Instance m=2 header hash"),
        (b"m=2; h=", b"m=2;  h=", ""),  # blanks do not count
        (b"Subject: [list] a", b"subject:\n [list]\ta", ""),
        (b"X-Loop: l.test", b"X-Loop: b.test\nReceived: x\nReceived-SPF: y", ""),
        (b"unsubscribe\n", b"unsubscribe\n\n\n", ""),
    ],
)
def test_a_change_is_seen(lookup, old, new, problem):
    message = by_list()
    assert old in message
    found = judged(message.replace(old, new, 1), lookup, AT_LIST)
    assert found.result == ("fail" if problem else "pass"), found
    assert problem in found.problem


def test_fields_that_are_signed_since_revision_08(lookup):
    more = PLAIN.replace(b"\nDate:", b"\nAuto-Submitted: auto-generated\nVBR-Info: md=x\nDate:")
    for signed_so in (more, PLAIN):
        message = b"Message-Instance: m=1; h=" + hashes(signed_so).encode() + b"\n" + more
        message = sign(message, {"ed": ED}, "a.test", "alice@a.test", ["list@l.test"])
        assert judged(message, lookup).result == "pass"
        broken = message.replace(b"Subject: a", b"Subject: b")
        assert judged(broken, lookup).result == "fail"
    message = first(more).replace(b"auto-generated", b"no")
    assert judged(message, lookup).result == "fail"


def test_what_a_recipe_hides_is_seen(lookup):
    recipe = {"h": {"subject": [{"d": ["another subject"]}], "from": [{"d": ["x"]}]}}
    found = judged(by_list(recipe=recipe), lookup, AT_LIST)
    assert (found.result, found.problem) == (
        "fail",
        "Message Instance m=1 header hash sha256 mismatch",
    )
    recipe = {"b": [{"c": [1, 3]}], "h": {"list-id": []}}
    assert judged(by_list(recipe=recipe), lookup, AT_LIST).result == "fail"


def test_a_list_that_says_nothing_is_seen(lookup):
    message = first().replace(b"\nDate:", b"\nList-Id: <l.test>\nDate:")
    message = sign(message, {"rsa": RSA}, "l.test", "list-bounces@l.test", ["bob@b.test"])
    found = judged(message, lookup, AT_LIST)
    assert found.problem == "Message Instance m=1 header hash sha256 mismatch"


def test_a_signature_of_another(lookup):
    lookup.names["ed._domainkey.a.test"] = {"TXT": [new_private_key("ed25519").record()]}
    found = judged(by_list(), lookup, AT_LIST)
    assert (found.result, found.problem, found.signature) == (
        "fail",
        "DKIM2-Signature i=1 ed incorrect signature",
        1,
    )


def test_an_order_that_relays_change_does_not_matter(lookup):
    header, body = split_message(by_list())
    lines = header.replace(b"\n\t", b"\0").splitlines()
    fields = sorted(lines, key=lambda line: line.startswith((b"Comments", b"DKIM2")))
    message = b"\n".join(fields).replace(b"\0", b"\n\t") + b"\n\n" + body
    assert message != by_list()
    assert judged(message, lookup, AT_LIST).result == "pass"


# -- the envelope and the chain of custody --------------------------------------------------------


@pytest.mark.parametrize(
    ("envelope", "problem"),
    [
        (("alice@a.test", "list@l.test"), ""),
        (("alice@A.TEST", "list@L.test"), ""),
        (("alice@a.test", "other@l.test"), ""),
        (("alice@a.test", "other@l.test", "list@l.test"), ""),
        (("Alice@a.test", "list@l.test"), "MAIL FROM <Alice@a.test> did not match"),
        (("", "list@l.test"), "MAIL FROM <> did not match"),
        (("alice@a.test", "List@l.test"), "RCPT TO <List@l.test> did not match"),
        (("alice@a.test", "list@l.test", "eve@e.test"), "RCPT TO <eve@e.test> did not match"),
    ],
)
def test_a_replay_to_somebody_else(lookup, envelope, problem):
    two = (ForwardPath("list@l.test"), ForwardPath("other@l.test"))
    message = first(envelope=ENVELOPE._replace(forward_paths=two))
    sender, *paths = envelope
    found = judged(message, lookup, Envelope(sender, tuple(map(ForwardPath, paths))))
    assert found.result == ("permerror" if problem else "pass")
    assert found.problem == (f"DKIM2-Signature i=1 {problem}" if problem else "")


def test_without_an_envelope_it_is_not_compared(lookup):
    assert judged(first(), lookup, None).result == "pass"


def test_the_null_reverse_path(lookup):
    envelope = ENVELOPE._replace(reverse_path="")
    assert judged(first(envelope=envelope), lookup, envelope).result == "pass"


def test_international_addresses(lookup):
    lookup.names["ed._domainkey.xn--bcher-kva.test"] = {"TXT": [ED.record()]}
    envelope = Envelope("é@bücher.test", (ForwardPath("li@xn--bcher-kva.test"),))
    message = first(envelope=envelope, domain="xn--bcher-kva.test")
    same = Envelope("é@xn--bcher-kva.test", (ForwardPath("li@bücher.test"),))
    assert judged(message, lookup, same).result == "pass"


def chained(steps):
    """Sign again and again: (domain, reverse-path, forward-path or None for nd=)."""
    message = instance(PLAIN)
    for domain, sender, path in steps:
        if path is None:
            tags = {"mf": None, "rt": None, "nd": sender}
            message = sign(message, {"ed": ED}, domain, "", [], **tags)
        else:
            message = sign(message, {"ed": ED}, domain, sender, [path])
    return message


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([("a.test", "x@a.test", "y@l.test"), ("l.test", "x@l.test", "z@b.test")], ""),
        ([("a.test", "x@m.a.test", "y@l.test"), ("l.test", "x@bounces.l.test", "z@b.test")], ""),
        ([("a.test", "x@a.test", "y@l.test"), ("b.test", "x@b.test", "z@b.test")],
         "i=2 MAIL FROM x@b.test did not match"),
        # the null reverse-path has no domain: the signer's stands for it
        ([("a.test", "x@a.test", "y@l.test"), ("l.test", "", "z@b.test")], ""),
        ([("a.test", "x@a.test", "y@l.test"), ("b.test", "", "z@b.test")],
         "i=2 MAIL FROM b.test did not match"),
        ([("a.test", "x@l.test", "y@l.test")], "i=1 MAIL FROM and d= do not match"),
        ([("a.test", "x@nota.test", "y@l.test")], "i=1 MAIL FROM and d= do not match"),
        ([("a.test", "x@a.test", "y@l.test"), ("l.test", "b.test", None),
          ("b.test", "x@b.test", "z@a.test")], ""),
        ([("a.test", "x@a.test", "y@l.test"), ("l.test", "a.test", None),
          ("b.test", "x@b.test", "z@a.test")], "i=2 MAIL nd= does not match"),
        ([("a.test", "x@a.test", "y@l.test"), ("b.test", "a.test", None),
          ("a.test", "x@a.test", "z@a.test")], "i=2 MAIL FROM b.test did not match"),
        ([("a.test", "x@a.test", "y@l.test"), ("l.test", "b.test", None)],
         "i=2 unexpected nd= tag"),
    ],
)  # fmt: skip
def test_custody(lookup, steps, problem):
    last = steps[-1]
    envelope = Envelope(last[1], (ForwardPath(last[2] or "z@b.test"),))
    found = judged(chained(steps), lookup, envelope)
    assert found.result == ("permerror" if problem else "pass"), found
    assert found.problem == (f"DKIM2-Signature {problem}" if problem else "")


# -- the fields -----------------------------------------------------------------------------------

SIG = "DKIM2-Signature i=1"
MI = "Message-Instance m=1"


@pytest.mark.parametrize(
    ("tags", "result", "problem"),
    [
        ({}, "pass", ""),
        ({"i": "2"}, "permerror", f"{SIG} missing"),
        ({"i": "0"}, "permerror", "DKIM2-Signature i=? syntax error"),
        ({"i": "x"}, "permerror", "DKIM2-Signature i=? syntax error"),
        ({"i": None}, "permerror", "DKIM2-Signature i=? tag=i missing"),
        ({"m": None}, "permerror", f"{SIG} tag=m missing"),
        ({"m": "2"}, "permerror", "Message-Instance m=2 missing"),
        ({"m": "1x"}, "permerror", f"{SIG} syntax error"),
        ({"t": None}, "permerror", f"{SIG} tag=t missing"),
        ({"t": "soon"}, "permerror", f"{SIG} syntax error"),
        ({"t": str(NOW - AGE_MOST)}, "pass", ""),
        ({"t": str(NOW - AGE_MOST - 1)}, "permerror", f"{SIG} signature expired"),
        ({"t": str(NOW + 3600)}, "pass", ""),
        ({"t": str(10**12)}, "permerror", f"{SIG} signature is from the future"),
        ({"d": None}, "permerror", f"{SIG} tag=d missing"),
        ({"d": "a..test"}, "permerror", f"{SIG} syntax error"),
        ({"mf": None}, "permerror", f"{SIG} tag=mf missing"),
        ({"rt": None}, "permerror", f"{SIG} tag=rt missing"),
        ({"nd": "l.test"}, "permerror", f"{SIG} tag=mf was unexpected"),
        ({"nd": "l.test", "mf": None}, "permerror", f"{SIG} tag=rt was unexpected"),
        ({"mf": b64("alice@a.test")}, "permerror", f"{SIG} syntax error"),
        ({"mf": b64("<alice@a.test> SIZE=1")}, "permerror", f"{SIG} syntax error"),
        ({"mf": b64(b"<\xff@a.test>")}, "permerror", f"{SIG} syntax error"),
        ({"mf": "%"}, "permerror", f"{SIG} syntax error"),
        ({"mf": ""}, "permerror", f"{SIG} syntax error"),
        ({"mf": b64("<alice@a.test>").rstrip("=")}, "permerror", f"{SIG} syntax error"),
        ({"rt": b64("<>")}, "permerror", f"{SIG} syntax error"),
        ({"rt": b64("<list@l.test>") + ","}, "permerror", f"{SIG} syntax error"),
        ({"n": "x" * 64}, "pass", ""),
        ({"n": ""}, "pass", ""),
        ({"n": "a=b:c,|"}, "pass", ""),
        ({"n": "x" * 65}, "permerror", f"{SIG} syntax error"),
        ({"n": "a b"}, "permerror", f"{SIG} syntax error"),
        ({"f": "feedback , exploded,\n\tlater"}, "pass", ""),
        ({"f": "a b"}, "permerror", f"{SIG} syntax error"),
        ({"f": ""}, "permerror", f"{SIG} syntax error"),
        ({"zz_9": "%anything"}, "pass", ""),
        ({"I": "1"}, "permerror", f"{SIG} syntax error"),
    ],
)
def test_rules_of_a_signature(lookup, tags, result, problem):
    found = judged(first(**tags), lookup)
    assert (found.result, found.problem) == (result, problem), found


def test_names_of_tags_in_any_case_and_order(lookup):
    tags = {"i": None, "m": None, "I": "1", "M": "1", "F": "x"}
    assert judged(first(**tags), lookup).result == "pass"


ONE = hashes(PLAIN)
NAME, HEADER, BODY = ONE.split(":")


@pytest.mark.parametrize(
    ("h", "result", "problem"),
    [
        (ONE, "pass", ""),
        (hashes(PLAIN, "sha512"), "pass", ""),
        (f"{ONE},{hashes(PLAIN, 'sha512')}", "pass", ""),
        (f"new:AAAA:AAAA,{ONE}", "pass", ""),
        (f"{ONE}|new:AAAA:AAAA", "pass", ""),
        (f"sha512:AAAA:AAAA|{ONE}", "pass", ""),
        (f"{ONE},sha512:AAAA:AAAA", "fail", "Message Instance m=1 header hash sha512 mismatch"),
        (f"new:AAAA:AAAA|new2:AAAA:AAAA,{ONE}", "fail", "Message Instance m=1 new unknown"),
        (f"{ONE},{ONE}", "permerror", f"{MI} has a duplicate hash algorithm"),
        ("new:AAAA:AAAA", "permerror", f"{MI} has no hash algorithm that is known"),
        (f"{NAME}:{HEADER}", "permerror", f"{MI} syntax error"),
        (f"{NAME}:{HEADER}:", "permerror", f"{MI} syntax error"),
        (f"{NAME}:{HEADER}:%", "permerror", f"{MI} syntax error"),
        (f"{NAME}:{HEADER[:9]} {HEADER[9:]}:\t{BODY}", "pass", ""),
        ("", "permerror", f"{MI} syntax error"),
        (",".join(f"h{n}:AAAA:AAAA" for n in range(9)), "permerror", f"{MI} tag=h lists more"),
    ],
)
def test_rules_of_hashes(lookup, h, result, problem):
    message = b"Message-Instance: m=1; h=" + h.encode() + b"\n" + PLAIN
    message = sign(message, {"ed": ED}, "a.test", "alice@a.test", ["list@l.test"])
    found = judged(message, lookup)
    assert (found.result, found.problem.startswith(problem)) == (result, True), found


def test_numbers_without_gaps(lookup):
    message = by_list()
    for old, new, problem in (
        (b"m=1; h", b"m=3; h", "Message-Instance m=1 missing"),
        (b"m=1; h", b"m=2; h", "Message-Instance m=1 missing"),
        (b"m=2; h", b"m=1; h", "Message-Instance m=1 appears more than once"),
        (b"i=2; m=2", b"i=1; m=2", "DKIM2-Signature i=1 appears more than once"),
        (b"i=1; m=1", b"i=3; m=1", "DKIM2-Signature i=1 missing"),
        (b"i=2; m=2", b"i=2; m=1", "Message-Instance m=2 is not signed"),
    ):
        found = judged(message.replace(old, new), lookup, AT_LIST)
        assert (found.result, found.problem) == ("permerror", problem), found
    later = message.replace(b"i=2; m=2", b"i=2; m=1").replace(b"i=1; m=1", b"i=1; m=2")
    assert judged(later, lookup).problem == "DKIM2-Signature i=2 m= goes back"
    assert judged(instance(PLAIN), lookup).problem == f"{SIG} missing"
    unsigned = sign(PLAIN, {"ed": ED}, "a.test", "alice@a.test", ["list@l.test"])
    assert judged(unsigned, lookup).problem == f"{MI} missing"


def test_only_so_many_fields(lookup):
    for line in (b"DKIM2-Signature: i=1\n", b"Message-Instance: m=1\n"):
        found = judged(line * (FIELDS_MOST + 1) + PLAIN, lookup)
        assert (found.result, "more than" in found.problem) == ("permerror", True)
    large = b"Message-Instance: m=1; r=" + b"A" * INSTANCES_MOST + b"\n"
    assert "octets" in judged(large + PLAIN, lookup).problem


# -- the keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "result", "problem"),
    [
        (["v=DKIM1; k=ed25519; p={p}"], "pass", ""),
        (["v=DKIM1; k=ed25519; h=sha1; s=other; t=s; n=x; p={p}"], "pass", ""),
        ([], "permerror", "does not exist"),
        (["k=ed25519; p={p}", "k=ed25519; p={p}"], "permerror", "has multiple records"),
        (["k=ed25519; p="], "permerror", "has been revoked"),
        (["k=rsa; p={p}"], "permerror", "algorithm mismatch"),
        (["k=ed25519; p=AAAA"], "permerror", "has a syntax error"),
        (["nonsense"], "permerror", "has a syntax error"),
        (None, "temperror", "could not be fetched"),
    ],
)
def test_rules_of_a_key(lookup, trouble, records, result, problem):
    texts = [each.replace("{p}", ED.public_text()) for each in records or ()]
    lookup.names["ed._domainkey.a.test"] = {"TXT": texts if records is not None else trouble}
    found = judged(first(), lookup)
    said = f"{SIG} public key ed {problem}" if problem else ""
    assert (found.result, found.problem) == (result, said), found


def test_an_rsa_key_with_another_exponent(lookup):
    key = PrivateKey("rsa", generate_private_key(3, 1024))
    lookup.names["k._domainkey.a.test"] = {"TXT": [key.record()]}
    found = judged(first(keys={"k": key}), lookup)
    assert (found.result, "k has an exponent" in found.problem) == ("permerror", True), found


def test_rsa_keys_that_are_short_and_too_short(lookup):
    key = PrivateKey("rsa", generate_private_key(65537, 1024))
    lookup.names["k._domainkey.a.test"] = {"TXT": [key.record()]}
    message = first(keys={"k": key})
    assert judged(message, lookup).result == "pass"
    record = (
        "k=rsa; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBANmBe10IgY+u7h3enWTukkqtUD5PR52T"
        "b/mPfjC0QJTocVBq6Za/PlzfV+Py92VaCak19F4WrbVTK5Gg5tW220MCAwEAAQ=="
    )
    lookup.names["k._domainkey.a.test"] = {"TXT": [record]}
    assert judged(message, lookup).problem == f"{SIG} public key k has 512 bits"


BAD = "ed25519-sha256:" + b64(bytes(64))
LATER = "new-sha3:AAAA"


@pytest.mark.parametrize(
    ("keys", "between", "result", "problem"),
    [
        ({"rsa": RSA, "ed": ED}, ",", "pass", ""),
        ({"rsa": RSA, "ed": BAD}, ",", "fail", "rsa signature passed, ed signature failed"),
        ({"new": LATER, "ed": ED}, ",", "pass", ""),
        ({"new": LATER}, ",", "fail", "new algorithm is unknown"),
        ({"gone": ED, "rsa": RSA}, ",", "pass", ""),
        ({"gone": ED}, ",", "permerror", "public key gone does not exist"),
        # revision 08: alternatives, each of which must be whole
        ({"ed": BAD, "rsa": RSA}, "|", "pass", ""),
        ({"new": LATER, "rsa": RSA}, "|", "pass", ""),
        ({"gone": ED, "rsa": RSA}, "|", "pass", ""),
        ({"ed": BAD, "new": LATER}, "|", "fail", "ed incorrect signature"),
        ({"ed": "ed25519-sha256:%"}, ",", "permerror", "syntax error"),
        ({"ed": "ed25519-sha256:"}, ",", "permerror", "syntax error"),
        ({"ed": "ed25519-sha256"}, ",", "permerror", "syntax error"),
        ({"a_b": ED, "ed": ED, "rsa": ED}, ",", "permerror", "has more selectors than allowed"),
        ({f"s{n}": LATER for n in range(9)}, ",", "permerror", "tag=s lists more than 8"),
    ],
)
def test_several_signatures(lookup, keys, between, result, problem):
    found = judged(first(keys=keys, between=between), lookup)
    assert (found.result, found.problem) == (result, f"{SIG} {problem}" if problem else ""), found


def test_one_selector_twice(lookup):
    message = first(keys={"ed": ED, "other": BAD}).replace(b",other:", b",ed:")
    assert judged(message, lookup).problem == f"{SIG} has a duplicate selector"


def test_what_will_not_hold_is_no_matter_of_time(lookup, trouble):
    lookup.names["ed._domainkey.a.test"] = {"TXT": trouble}
    assert judged(by_list(), lookup, AT_LIST).result == "temperror"
    lookup.names["rsa._domainkey.l.test"] = {"TXT": [new_private_key("rsa").record()]}
    assert judged(by_list(), lookup, AT_LIST).result == "fail"


def test_only_so_many_keys_are_asked_for(lookup):
    message = instance(PLAIN)
    for _ in range(FIELDS_MOST):
        keys = {"ed": ED, "e2": ED, "rsa": BAD.replace("ed25519", "rsa"), "r2": "rsa-sha256:AAAA"}
        message = sign(message, keys, "a.test", "alice@a.test", ["bob@a.test"])
    for name in ("e2", "r2"):
        lookup.names[f"{name}._domainkey.a.test"] = {"TXT": []}
    judged(message, lookup, None)
    assert len(lookup.asked) <= KEYS_MOST


def test_wishes_are_told(lookup):
    message = by_list(first(f="donotmodify,donotexplode"), f="exploded")
    found = judged(message, lookup, AT_LIST)
    assert found.result == "pass"
    assert found.remark == (
        "modified despite a donotmodify request of i=1; "
        "exploded despite a donotexplode request of i=1"
    )
    lookup.names["ed._domainkey.a.test"] = {"TXT": [ED.record() + "; t=y"]}
    assert judged(first(), lookup).remark == "testing"


def test_a_strange_author_is_told(lookup):
    assert judged(by_list(), lookup, AT_LIST).remark == ""
    message = first(PLAIN.replace(b"alice@a.test", b"ceo@bank.test"))
    found = judged(message, lookup)
    assert (found.result, found.remark) == ("pass", "From of bank.test was put there by a.test")
    message = first(PLAIN.replace(b"From:", b"Reply-To:"))
    assert judged(message, lookup).remark == "From of no domain was put there by a.test"
    renamed = first().replace(b"alice@a.test", b"ceo@bank.test")
    renamed = instance(renamed, {"h": {"from": [{"d": ["Alice <alice@a.test>"]}]}})
    renamed = sign(renamed, {"rsa": RSA}, "l.test", "x@l.test", ["bob@b.test"])
    found = judged(renamed, lookup, None)
    assert (found.result, found.remark) == ("pass", "From of bank.test was put there by l.test")


# -- recipes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recipe",
    [
        "", "x", "[]", "null", "1", "{}", '{"x": 1}', '{"h": null}', '{"h": {}}', '{"h": []}',
        '{"b": 1}', '{"b": {}}', '{"b": [1]}', '{"b": ["x"]}', '{"b": [{}]}', '{"b": [[1, 2]]}',
        '{"b": [{"c": [1]}]}', '{"b": [{"c": [1, 2, 3]}]}', '{"b": [{"c": [0, 1]}]}',
        '{"b": [{"c": [2, 1]}]}', '{"b": [{"c": [1, 2.0]}]}', '{"b": [{"c": [true, 2]}]}',
        '{"b": [{"c": [1, 2]}, {"c": [2, 3]}]}', '{"b": [{"c": [3, 3]}, {"c": [1, 1]}]}',
        '{"b": [{"c": [1, 1], "d": ["x"]}]}', '{"b": [{"d": []}]}', '{"b": [{"d": [1]}]}',
        '{"b": [{"d": "x"}]}', '{"b": [{"d": ["a\\nb"]}]}', '{"b": [{"d": ["a\\rb"]}]}',
        '{"b": [{"u": ["Cg=="]}]}', '{"b": [{"u": ["%"]}]}', '{"b": [{"z": ["x"]}]}',
        '{"b": [{"d": ["\\ud800"]}]}', '{"h": {"\\ud800": []}}', '{"b": [], "B": []}',
        '{"h": {"a": [], "A": []}}', '{"b": [{"c": [1, NaN]}]}', '{"b": [{"c": [1, 1e3]}]}',
        '{"b": ' + "[" * 100000, '{"b": [{"c": [1, ' + "9" * 5000 + "]}]}", '{"b": []}\xff',
    ],
)  # fmt: skip
def test_recipes_that_are_none(lookup, recipe):
    with pytest.raises(BadRecord):
        read_recipe(recipe.encode("latin-1"))
    found = judged(by_list(recipe=recipe or " "), lookup, AT_LIST)
    assert (found.result, found.problem) == (
        "permerror",
        "Message-Instance m=2 contains invalid JSON",
    )


@pytest.mark.parametrize(
    "recipe",
    [
        {"b": [{"c": [1, 99]}]},
        {"b": [{"c": [1, 8]}, {"d": ["x"]}]},
        {"h": {"subject": [{"c": [1, 2]}]}},
        {"h": {"none": [{"c": [1, 1]}]}},
    ],
)
def test_recipes_that_copy_what_is_not_there(lookup, recipe):
    found = judged(by_list(recipe=recipe), lookup, AT_LIST)
    assert found.problem == "Message-Instance m=2 contains invalid JSON", found


def test_recipes_for_what_does_not_count_do_nothing(lookup):
    recipe = {
        "H": {
            "SUBJECT": [{"D": ["a folded subject"]}],
            "from": [{"u": [b64("Alice <alice@a.test>")]}],
            "list-id": [],
            "comments": [{"c": [1, 2]}],
            "received": [{"c": [7, 9]}],
            "x-loop": [],
        },
        "b": [{"c": [1, 2]}, {"d": ["-- ", "Alice"]}],
        "later": 1,
    }
    assert judged(by_list(recipe=recipe), lookup, AT_LIST).result == "pass"


def test_a_body_that_is_given_up(lookup):
    recipe = {"b": None, "h": {"list-id": []}}
    found = judged(by_list(recipe=recipe), lookup, AT_LIST)
    assert found.result == "permerror"
    assert found.problem == "Message-Instance m=2 gives up the body before it"


def test_octets_that_are_no_utf8(lookup):
    plain = PLAIN.replace(b"Hello", b"H\xe9llo").replace(b"Comments: one", b"Comments: \xe9")
    message = first(plain)
    changed = message.replace(b"H\xe9llo", b"Hello").replace(b"Comments: \xe9", b"Comments: e")
    recipe = {
        "h": {"comments": [{"c": [1, 1]}, {"u": [b64(b"\xe9")]}]},
        "b": [{"u": [b64(b"H\xe9llo  Bob, ")]}, {"c": [2, 4]}],
    }
    changed = instance(changed, recipe)
    message = sign(changed, {"rsa": RSA}, "l.test", "list-bounces@l.test", ["bob@b.test"])
    assert judged(message, lookup, AT_LIST).result == "pass"


def undone(steps, text, cuts=()):
    undo, made, last = BodyUndo(steps), b"", 0
    for cut in [*sorted(cuts), len(text)]:
        made += undo.update(text[last:cut])
        last = cut
    return made + undo.finish()


@given(st.data())
@settings(max_examples=300)
def test_a_body_undone_in_pieces(data):
    lines = data.draw(st.lists(st.sampled_from([b"", b"a", b"bb", b"\0", b"x" * 9]), max_size=9))
    ended = data.draw(st.booleans())
    text = b"".join(line + b"\n" for line in lines)
    text = text if ended else text[:-1]
    count = len(text.splitlines()) if not text.endswith(b"\n") else text.count(b"\n")
    steps, wanted, last = [], b"", 0
    for _ in range(data.draw(st.integers(0, 5))):
        if data.draw(st.booleans()):
            steps.append(b"put\n")
            wanted += b"put\n"
        elif last < count:
            start = data.draw(st.integers(last + 1, count))
            last = data.draw(st.integers(start, count))
            steps.append(Copy(start, last))
            wanted += b"".join(line + b"\n" for line in text.split(b"\n")[start - 1 : last])
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    assert undone(steps, text, cuts) == wanted
    with pytest.raises(BadRecord):
        undone([*steps, Copy(max(last, count) + 1, count + 2)], text, cuts)


def test_a_chain_in_pieces(lookup):
    header, body = split_message(by_list())
    for size in (1, 3, 1000):
        chain = Chain(header)
        hashes = BodyHashes(chain.body_forms())
        for at in range(0, len(body), size):
            hashes.update(body[at : at + size])
            chain.update(body[at : at + size])
        assert chain.judge(hashes, lookup, NOW, AT_LIST).result == "pass"


def test_three_bodies(lookup):
    one = first()
    two = one.replace(b"\nAlice\n\n\n", b"\nAlice\n\nfooter\n")
    two = instance(two, {"b": [{"c": [1, 4]}]}, algorithms=("sha512", "sha256"))
    two = sign(two, {"rsa": RSA}, "l.test", "x@l.test", ["x@b.test"])
    three = two.replace(b"\n\nHello  Bob, \n\n", b"\n\nBEGIN\nHello  Bob, \nEND\n")
    three = instance(three, {"b": [{"c": [2, 2]}, {"d": [""]}, {"c": [4, 7]}]})
    three = sign(three, {"ed": ED}, "b.test", "x@b.test", ["bob@b.test"])
    envelope = Envelope("x@b.test", (ForwardPath("bob@b.test"),))
    found = judged(three, lookup, envelope)
    assert (found.result, found.domains) == ("pass", ("a.test", "l.test", "b.test")), found
    assert judged(three.replace(b"footer", b"Footer"), lookup, envelope).result == "fail"


# -- hostile input --------------------------------------------------------------------------------


@given(
    st.lists(
        st.sampled_from(
            [b"DKIM2-Signature: ", b"Message-Instance: ", b"i=1; ", b"m=1; ", b"m=2;", b"d=a.test;",
             b"t=1790000000;", b"mf=PD4=;", b"rt=PGFAYi50ZXN0Pg==;", b"s=ed:ed25519-sha256:AAAA;",
             b"h=sha256:AAAA:AAAA;", b"r=eyJiIjpbXX0=;", b"nd=a.test;", b"f=a,b;", b"n=x;", b"\n",
             b"\n\t", b" ", b",", b"|", b":", b"=", b"\xff", b"From: a@a.test\n", b"\n\nbody\n"]
        ) | st.binary(max_size=5),
        max_size=40,
    )
)  # fmt: skip
@settings(max_examples=500)
def test_anything_is_judged(parts):
    class Said:
        exists, secure, records = True, False, (ED.record(),)

    text = b"".join(parts)
    for message in (text, b"DKIM2-Signature: " + text):
        found = verify_message_dkim2(message, lambda *_: Said(), NOW, ENVELOPE)
        assert found.result != "pass"


def test_recipes_of_json_as_others_write_it():
    text = json.dumps({"h": {"Subject": [{"c": [1, 1]}]}}, indent=2).encode()
    assert read_recipe(text).header == {b"subject": (Copy(1, 1),)}
