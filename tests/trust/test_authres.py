"""Authentication-Results: the examples of RFC 8601 appendix B, ours, and forged ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.mail.fields import fields
from mailtools.trust.authres import (
    AuthenticationResults,
    MethodResult,
    format_authres,
    is_forged,
    parse_authres,
    remove_forged,
)
from mailtools.trust.tags import BadRecord


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (" example.org 1; none", AuthenticationResults("example.org")),
        ("example.com;", AuthenticationResults("example.com")),
        (
            "example.com;\n  spf=pass smtp.mailfrom=example.net",
            AuthenticationResults(
                "example.com", (MethodResult("spf", "pass", (("smtp.mailfrom", "example.net"),)),)
            ),
        ),
        (
            (
                "example.com;\n\tauth=pass (cram-md5) smtp.auth=sender@example.net;\n\tspf=pass "
                "smtp.mailfrom=example.net; sender-id=pass header.from=example.net"
            ),
            AuthenticationResults(
                "example.com",
                (
                    MethodResult("auth", "pass", (("smtp.auth", "sender@example.net"),)),
                    MethodResult("spf", "pass", (("smtp.mailfrom", "example.net"),)),
                    MethodResult("sender-id", "pass", (("header.from", "example.net"),)),
                ),
            ),
        ),
        (
            # B.7: comments in every place
            (
                "foo.example.net (foobar) 1 (baz);\n dkim (Because I like it) / 1 (One yay) = "
                "(wait) fail\n policy (A dot can go here) . (like that) expired\n"
                " (this surprised me) = (as I wasn't expecting it) 1362471462"
            ),
            AuthenticationResults(
                "foo.example.net",
                (MethodResult("dkim", "fail", (("policy.expired", "1362471462"),)),),
            ),
        ),
        (
            'x; dkim=fail reason="bad \\"signature\\"" header.i=@a.test header.b="y=z"',
            AuthenticationResults(
                "x",
                (
                    MethodResult(
                        "dkim",
                        "fail",
                        (("header.i", "@a.test"), ("header.b", "y=z")),
                        'bad "signature"',
                    ),
                ),
            ),
        ),
        (
            'x; spf=pass smtp.mailfrom="a b"@example.org',
            AuthenticationResults(
                "x", (MethodResult("spf", "pass", (("smtp.mailfrom", '"a b"@example.org'),)),)
            ),
        ),
    ],
)
def test_reading(text, wanted):
    assert parse_authres(text) == wanted


@pytest.mark.parametrize(
    "text",
    ["", ";", "x 2; none", "x; spf", "x; spf=", "x; spf=pass a", "x (", "x; (((spf=pass",
     "x spf=pass", 'x; spf=pass a.b="c']
)  # fmt: skip
def test_what_cannot_be_read(text):
    with pytest.raises(BadRecord):
        parse_authres(text)


def test_writing():
    results = AuthenticationResults(
        "mx.example.org",
        (
            MethodResult("spf", "pass", (("smtp.mailfrom", "a@example.net"),)),
            MethodResult("dkim", "fail", (("header.d", "example.net"),), "changed", "2048 (RSA)"),
        ),
    )
    assert format_authres(results) == (
        b"Authentication-Results: mx.example.org;\n"
        b"\tspf=pass smtp.mailfrom=a@example.net;\n"
        b'\tdkim=fail (2048 \\(RSA\\)) reason="changed" header.d=example.net\n'
    )
    assert format_authres(AuthenticationResults("x")) == b"Authentication-Results: x; none\n"


def test_no_value_can_leave_its_place():
    evil = 'a\r\nX: y;"\\ spf=pass'
    text = format_authres(
        AuthenticationResults("x", (MethodResult("spf", "fail", (("smtp.helo", evil),)),))
    )
    assert len(list(fields(text))) == 1
    [found] = parse_authres(text.decode().partition(":")[2]).results
    assert found.get("smtp.helo") == 'a??X: y;"\\ spf=pass'


KEYWORD = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
TEXT = st.text(min_size=1, max_size=30).filter(lambda text: text.isprintable())
RESULT = st.builds(
    MethodResult,
    KEYWORD.filter(lambda word: word != "none"),
    KEYWORD,
    st.lists(
        st.tuples(st.tuples(KEYWORD, KEYWORD).map(".".join), TEXT), max_size=3
    ).map(tuple),
    st.just("") | TEXT,
    st.just(""),  # a comment is not read back
)  # fmt: skip


@given(TEXT, st.lists(RESULT, max_size=4).map(tuple))
def test_what_is_written_is_read_back(authserv_id, results):
    whole = AuthenticationResults(authserv_id, results)
    assert parse_authres(format_authres(whole).decode().partition(":")[2]) == whole


@given(st.lists(st.sampled_from(['"', "(", ")", ";", "=", "a", ".", "\\", " ", "@", "1", "/"])))
def test_anything_is_read_or_refused(pieces):
    try:
        found = parse_authres("".join(pieces))
    except BadRecord:
        return
    assert found.authserv_id or '""' in "".join(pieces)


@pytest.mark.parametrize(
    ("body", "forged"),
    [
        ("mx.example.org; spf=pass", True),
        ("MX.Example.ORG; spf=pass", True),
        ("(a (b)) \n \"mx.example.org\" 1; spf=pass", True),
        ("mx.example.org", True),
        ("mx.example.org. ; x", True),
        ("mx.example.org (; other.test", True),
        ("bücher.example; spf=pass", True),
        ("xn--bcher-kva.example; spf=pass", True),
        ("mx.example.org/1; spf=pass", True),
        ("mx.example.org,other.test; spf=pass", True),
        ("mx.example.org\x0b; spf=pass", True),
        ("(", True),
        ("", True),
        ("mx.example.com; spf=pass (mx.example.org)", False),
        ("other.test 7; anything", False),
    ],
)  # fmt: skip
def test_forged(body, forged):
    header = f"Authentication-Results: {body}\n".encode()
    [field] = fields(header)
    assert is_forged(field, ["mx.example.org", "bücher.example"]) == forged


def test_removing_leaves_the_rest_untouched():
    header = (
        b"Received: x\nauthentication-results: mx.test;\n\tspf=pass\nSubject:  a\n"
        b"Authentication-Results: other.test; none\nAuthentication-Results : mx.test; none\n"
    )
    assert remove_forged(header, ["mx.test"]) == (
        b"Received: x\nSubject:  a\nAuthentication-Results: other.test; none\n"
    )
    assert remove_forged(header, ["mx.example"]) is header
    tail = b"\x01Authentication-Results: mx.test\nAuthentication-Results: mx.test\nA: b\n"
    assert remove_forged(tail, ["mx.test"]) == b"\x01Authentication-Results: mx.test\nA: b\n"
