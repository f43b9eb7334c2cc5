"""SASL: the RFCs' own examples, what clients send, and both halves against each other."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import AuthTrouble, BadCredentials, BadParameter, BadSyntax, Failure
from mailtools.protocol.sasl import client as sasl_client
from mailtools.protocol.sasl import cram, scram, wire
from mailtools.protocol.sasl import server as sasl

CLIENT_NONCE = {"SCRAM-SHA-1": "fyko+d2lbbFgONRv9qkxdawL", "SCRAM-SHA-256": "rOprNGfwEbeRWgbNEkqO"}
SERVER_NONCE = {
    "SCRAM-SHA-1": "3rfcNHYJY1ZVvWVs7j",
    "SCRAM-SHA-256": "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
}
SALT = {"SCRAM-SHA-1": "QSXCR+Q6sek8bf92", "SCRAM-SHA-256": "W22ZaJ0SNY7soEsUEjb6gQ=="}
EXAMPLES = {  # RFC 5802 5 and RFC 7677 3: user "user", password "pencil"
    "SCRAM-SHA-1": (
        "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    "SCRAM-SHA-256": (
        "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        (
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        ),
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
}


class Book:
    """An authority that knows one password and one token, and records what it was asked."""

    def __init__(self, login="user", password="pencil", token="t0ken", salt=b"salt", rounds=4096):
        self.login, self.password, self.token = login, password, token
        self.salt, self.rounds = salt, rounds
        self.asked = []

    def authenticate(self, credentials):
        self.asked.append(credentials)
        match credentials:
            case sasl.Password(self.login, self.password) | sasl.Proven(self.login):
                return self.login
            case sasl.Token(login, self.token) if login in ("", self.login):
                return self.login
            case sasl.External():
                return self.login
        raise BadCredentials

    def scram_keys(self, login, mechanism):
        name = wire.HASHES[mechanism]
        secret = self.password if login == self.login else "nobody's"
        return scram.derive(secret, self.salt, self.rounds, name)

    def cram_contexts(self, login):
        secret = self.password if login == self.login else "nobody's"
        return cram.contexts(secret.encode())


def run(exchange, *responses):
    """Feed responses; give what the server said at each."""
    return [exchange.respond(response) for response in responses]


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_scram_server_follows_the_rfcs_example(name):
    first, challenge, final, signature = (text.encode() for text in EXAMPLES[name])
    book = Book(salt=wire.decode(SALT[name].encode()))
    exchange = sasl.start(name, book, nonce=SERVER_NONCE[name])
    assert run(exchange, first, final, b"") == [challenge, signature, None]
    assert exchange.identity == "user"


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_scram_client_follows_the_rfcs_example(name):
    first, challenge, final, signature = (text.encode() for text in EXAMPLES[name])
    client = sasl_client.start(name, "user", "pencil", nonce=CLIENT_NONCE[name])
    assert client.initial == first
    assert client.respond(challenge) == final
    assert client.respond(signature) == b""
    client.finish()


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_a_scram_server_that_proves_nothing_is_not_believed(name):
    _, challenge, _, _ = EXAMPLES[name]
    client = sasl_client.start(name, "user", "pencil", nonce=CLIENT_NONCE[name])
    client.respond(challenge.encode())
    with pytest.raises(AuthTrouble):
        client.finish()
    with pytest.raises(AuthTrouble):
        client.respond(b"v=rmF9pqV8S7suAoZWja4dJRkFsKA=")


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"r=other,s=QSXCR+Q6sek8bf92,i=4096",
        b"r=abc,s=QSXCR+Q6sek8bf92,i=4096",  # our nonce alone: replayable
        b"r=abcdef,s=QSXCR+Q6sek8bf92,i=0",
        b"r=abcdef,s=QSXCR+Q6sek8bf92,i=99999999999",
        b"r=abcdef,s=%%%,i=4096",
        b"r=abcdef,i=4096",
        b"\xff\xfe",
    ],
)
def test_a_scram_client_refuses_a_challenge_that_is_not_one(challenge):
    client = sasl_client.start("SCRAM-SHA-256", "user", "pencil", nonce="abc")
    with pytest.raises(AuthTrouble):
        client.respond(challenge)


def test_plain_with_and_without_initial_response():
    assert run(sasl.start("PLAIN", Book()), b"\0user\0pencil") == [None]
    assert run(sasl.start("plain", Book()), None, b"\0user\0pencil") == [b"", None]


def test_plain_hands_on_the_identity_asked_for():
    book = Book()
    run(sasl.start("PLAIN", book), b"boss\0user\0pencil")
    assert book.asked == [sasl.Password("user", "pencil", "boss")]


@pytest.mark.parametrize("message", [b"", b"user\0pencil", b"\0user\0pen\0cil"])
def test_plain_without_its_three_parts_is_a_fault(message):
    with pytest.raises(BadSyntax):
        run(sasl.start("PLAIN", Book()), message)


def test_a_password_that_is_not_utf8_is_wrong_and_nothing_worse():
    with pytest.raises(BadCredentials):
        run(sasl.start("PLAIN", Book()), b"\0user\0p\xe4ssword")


def test_login_with_and_without_outlooks_initial_data():
    said = run(sasl.start("LOGIN", Book()), None, b"user", b"pencil")
    assert said == [b"Username:", b"Password:", None]
    assert run(sasl.start("LOGIN", Book()), b"user", b"pencil") == [b"Password:", None]


def test_oauthbearer_follows_rfc_7628():
    message = b"n,a=user,\x01host=server.example.com\x01port=143\x01auth=Bearer t0ken\x01\x01"
    book = Book()
    assert run(sasl.start("OAUTHBEARER", book), message) == [None]
    assert book.asked == [sasl.Token("user", "t0ken")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("OAUTHBEARER", b"n,a=user,\x01auth=Bearer stale\x01\x01"),
        ("XOAUTH2", b"user=user\x01auth=Bearer stale\x01\x01"),
    ],
)
def test_a_stale_token_is_explained_before_it_is_refused(name, message):
    exchange = sasl.start(name, Book())
    assert b"invalid_token" in exchange.respond(message)
    with pytest.raises(BadCredentials):
        exchange.respond(b"\x01")


def test_xoauth2_and_external():
    book = Book()
    assert run(sasl.start("XOAUTH2", book), b"user=user\x01auth=Bearer t0ken\x01\x01") == [None]
    assert run(sasl.start("EXTERNAL", book), b"") == [None]
    assert book.asked == [sasl.Token("user", "t0ken", "XOAUTH2"), sasl.External("")]


def test_an_unknown_mechanism_is_504():
    with pytest.raises(BadParameter) as caught:
        sasl.start("GSSAPI", Book())
    assert caught.value.reply == 504


def test_decoding_names_cancel_and_rubbish():
    assert wire.decode(b"=") == b""
    assert wire.decode(b"dXNlcg==") == b"user"
    for line in (b"*", b"dXNlcg", b"dXNl cg==", b"\xff", b"A" * 20000):
        with pytest.raises(BadSyntax):
            wire.decode(line)


def test_a_scram_proof_cannot_be_moved_to_another_nonce():
    first, _, final, _ = (text.encode() for text in EXAMPLES["SCRAM-SHA-1"])
    book = Book(salt=wire.decode(SALT["SCRAM-SHA-1"].encode()))
    exchange = sasl.start("SCRAM-SHA-1", book, nonce="fresh")
    exchange.respond(first)
    with pytest.raises(BadCredentials):
        exchange.respond(final)
    assert book.asked == []


@pytest.mark.parametrize(
    "first",
    [
        b"p=tls-unique,,n=user,r=abc",
        b"n,,m=x,n=user,r=abc",
        b"n,,n=us=er,r=abc",
        b"n=user",
        b"x,,n=user,r=abc",
        b",,n=user,r=abc",
        b"n,user,n=user,r=abc",
    ],
)
def test_scram_refuses_what_it_does_not_understand(first):
    with pytest.raises(BadSyntax):
        sasl.start("SCRAM-SHA-256", Book()).respond(first)


def test_cram_md5_follows_the_rfcs_example():  # RFC 2195 2
    challenge = b"<1896.697170952@postoffice.reston.mci.net>"
    client = sasl_client.start("CRAM-MD5", "tim", "tanstaaftanstaaf")
    assert client.initial is None
    proof = "b913a602c7eda7a495b4e6e7334d3890"
    assert client.respond(challenge) == f"tim {proof}".encode()
    assert cram.digest(cram.contexts(b"tanstaaftanstaaf"), challenge) == proof


@given(password=st.binary(max_size=200), challenge=st.binary(max_size=200))
def test_cram_md5_is_hmac(password, challenge):
    wanted = hmac.digest(password, challenge, "md5").hex()
    assert cram.digest(cram.contexts(password), challenge) == wanted


@pytest.mark.parametrize("response", [b"", b"user", b"user ", b"user " + b"0" * 32, b"\xff x"])
def test_cram_md5_without_a_proof_is_refused(response):
    exchange = sasl.start("cram-md5", Book(), nonce="abc")
    assert exchange.respond(None) == b"<abc@localhost>"
    with pytest.raises((BadCredentials, BadSyntax)):
        exchange.respond(response)


printable = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P"), max_codepoint=0x24F), min_size=1
)


@given(login=printable, password=printable, name=st.sampled_from(sasl_client.BY_PASSWORD))
def test_our_client_logs_in_at_our_server(login, password, name):
    try:
        prepared = scram.saslprep(login)
    except ValueError:
        return
    book = Book(prepared, password, rounds=1)
    exchange = sasl.start(name, book)
    client = sasl_client.start(name, login, password)
    challenge = exchange.respond(client.initial)
    while challenge is not None:
        challenge = exchange.respond(client.respond(challenge))
    client.finish()
    assert exchange.identity == prepared


@given(
    name=st.sampled_from(("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "XOAUTH2", "OAUTHBEARER")),
    responses=st.lists(
        st.binary() | st.sampled_from([b"n,,n=user,r=abc", b"n,a=,\x01"]), min_size=3
    ),
)
def test_no_bytes_log_in_or_do_worse_than_a_failure(name, responses):
    exchange = sasl.start(name, Book(rounds=1))
    for response in responses:
        try:
            assert exchange.respond(response) is not None
        except Failure:
            break


def test_choosing_a_mechanism():
    offered = ["plain", "LOGIN", "SCRAM-SHA-1", "X-ODD", "XOAUTH2"]
    assert sasl_client.choose(offered, tls=True) == "SCRAM-SHA-1"
    assert sasl_client.choose(["PLAIN", "LOGIN"], tls=True) == "PLAIN"
    assert sasl_client.choose(["PLAIN", "LOGIN"], tls=False) == ""
    assert sasl_client.choose(["PLAIN"], tls=False, plaintext=True) == "PLAIN"
    assert sasl_client.choose(offered, tls=True, token=True) == "XOAUTH2"


def test_saslprep_follows_rfc_4013s_examples():
    assert scram.saslprep("I\u00adX") == "IX"
    assert scram.saslprep("user") == "user"
    assert scram.saslprep("USER") == "USER"
    assert scram.saslprep("\u00aa") == "a"
    assert scram.saslprep("\u2168") == "IX"
    for text in ("\u0007", "\u0627\u0031"):
        with pytest.raises(ValueError):
            scram.saslprep(text)
