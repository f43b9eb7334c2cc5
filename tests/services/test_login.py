"""Logins through the mechanisms, as the servers do them."""

import pytest

from mailtools.errors import AuthTrouble, BadCredentials
from mailtools.protocol.sasl import client as sasl_client
from mailtools.protocol.sasl import scram
from mailtools.protocol.sasl import server as sasl
from mailtools.services.access import passwords
from mailtools.services.access.accounts import Accounts
from mailtools.services.access.app_passwords import AppPasswords
from mailtools.services.access.elsewhere import Elsewhere
from mailtools.services.access.login import Login


@pytest.fixture
def site(tmp_path):
    def make(**secrets):
        text = "".join(f"{name}:{secret}\n" for name, secret in secrets.items())
        (tmp_path / "accounts").write_text(text)
        return Accounts(str(tmp_path / "accounts"), local_domains=["example.org"])

    return make


def talk(login, mechanism, user, password):
    """Log in as a client would; give the account's name."""
    exchange = sasl.start(mechanism, login)
    client = sasl_client.start(mechanism, user, password)
    challenge = exchange.respond(client.initial)
    while challenge is not None:
        challenge = exchange.respond(client.respond(challenge))
    client.finish()
    return exchange.identity.name


SCRAM = passwords.make("secret", "SCRAM-SHA-256")
CRAM = passwords.make("secret", "CRAM-MD5")


@pytest.mark.parametrize("secret", ["{PLAIN}secret", SCRAM, CRAM])
@pytest.mark.parametrize("mechanism", sasl_client.BY_PASSWORD)
@pytest.mark.parametrize("user", ["bob", "Bob@Example.org"])
def test_every_mechanism_opens_with_the_password_alone(site, secret, mechanism, user):
    login = Login(site(bob=secret), service="imap")
    if secret == SCRAM and mechanism in ("SCRAM-SHA-1", "CRAM-MD5"):
        pytest.skip("its keys are SHA-256's")
    if secret == CRAM and mechanism.startswith("SCRAM"):
        pytest.skip("its keys are HMAC-MD5's")
    assert talk(login, mechanism, user, "secret") == "bob"
    with pytest.raises(BadCredentials):
        talk(login, mechanism, user, "Secret")
    with pytest.raises(BadCredentials):
        talk(login, mechanism, "nobody", "secret")


def test_scram_is_offered_only_where_everybody_can_use_it(site):
    def offered(accounts):
        return Login(accounts, service="imap").mechanisms()

    both = ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN")
    assert offered(site(bob="{PLAIN}x", carol="!")) == both
    assert offered(site(bob=SCRAM, carol="{PLAIN}x")) == ("SCRAM-SHA-256", "PLAIN", "LOGIN")
    assert offered(site(bob=SCRAM, carol="{SSHA}x")) == ("PLAIN", "LOGIN")
    accounts = site(bob=SCRAM)
    assert offered(accounts) == ("SCRAM-SHA-256", "PLAIN", "LOGIN")
    accounts.app_passwords.add("bob", "phone")
    assert offered(accounts) == ("PLAIN", "LOGIN")
    site(bob="x")
    assert offered(Accounts(accounts.path)) == ("PLAIN", "LOGIN")
    accounts.app_passwords.remove("bob")
    assert offered(Accounts(accounts.path)) == both
    assert offered(Accounts(accounts.path, elsewhere=Elsewhere("/bin/false"))) == ("PLAIN", "LOGIN")
    assert offered(site()) == ("PLAIN", "LOGIN")


def test_cram_md5_is_offered_last_where_it_is_wanted_and_everybody_can_use_it(site):
    def offered(**secrets):
        return Accounts(site(**secrets).path, old=["CRAM-MD5"]).mechanisms()

    all_of_them = ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN", "CRAM-MD5")
    assert offered(bob="{PLAIN}x", carol="!") == all_of_them
    assert offered(bob="{PLAIN}x", carol=CRAM) == ("PLAIN", "LOGIN", "CRAM-MD5")
    assert offered(bob=CRAM, carol=SCRAM) == ("PLAIN", "LOGIN")
    assert Accounts(site(bob=CRAM).path).mechanisms() == ("PLAIN", "LOGIN")


def test_a_cram_md5_secret_that_is_torn_is_trouble_not_a_wrong_password(site):
    login = Login(site(bob=CRAM[:-2]), service="imap")
    with pytest.raises(AuthTrouble):
        talk(login, "CRAM-MD5", "bob", "secret")


def test_an_unknown_login_looks_like_a_known_one_to_scram(site):
    login = Login(site(bob=SCRAM), service="imap")
    known = login.scram_keys("bob", "SCRAM-SHA-256")
    unknown = login.scram_keys("nobody", "SCRAM-SHA-256")
    assert unknown == login.scram_keys("NOBODY", "SCRAM-SHA-256")
    assert unknown != login.scram_keys("nobody2", "SCRAM-SHA-256")
    assert unknown.iterations == known.iterations
    assert len(unknown.salt) == len(known.salt)


@pytest.mark.parametrize("user", ["bob", "locked", "nobody"])
def test_a_wrong_login_costs_the_same_work_whoever_is_named(site, monkeypatch, user):
    login = Login(site(bob="{PLAIN}secret", locked="{PLAIN}x:::::::nologin=y"), service="imap")
    done = []

    def noting(name, call):
        return lambda *words: (done.append(name), call(*words))[1]

    for owner, name in ((scram, "derive"), (AppPasswords, "everything"), (passwords, "check")):
        monkeypatch.setattr(owner, name, noting(name, getattr(owner, name)))
    for mechanism in ("PLAIN", "SCRAM-SHA-256"):
        with pytest.raises(BadCredentials):
            talk(login, mechanism, user, "wrong")
    assert done == ["check", "everything", "derive"]


def test_nobody_acts_for_another(site):
    login = Login(site(bob="{PLAIN}secret", carol="{PLAIN}x"), service="imap")
    for authorize_as in ("", "bob", "bob@example.org"):
        assert login.authenticate(sasl.Password("bob", "secret", authorize_as)).name == "bob"
    for authorize_as in ("carol", "nobody"):
        with pytest.raises(BadCredentials):
            login.authenticate(sasl.Password("bob", "secret", authorize_as))


def test_a_certificate_opens_where_there_is_one(site):
    accounts = site(bob="!")
    login = Login(accounts, service="imap", certificate_login="bob")
    assert login.mechanisms()[0] == "EXTERNAL"
    assert login.authenticate(sasl.External("")).name == "bob"
    with pytest.raises(BadCredentials):
        login.authenticate(sasl.External("carol"))
    with pytest.raises(BadCredentials):
        Login(accounts, service="imap").authenticate(sasl.External("bob"))
    with pytest.raises(BadCredentials):
        login.authenticate(sasl.Token("bob", "anything"))


def test_each_attempt_is_a_line_without_the_password(site, capfd):
    login = Login(site(bob="{PLAIN}secret"), service="imap", address="192.0.2.7", tls="TLSv1.3")
    login.authenticate(sasl.Password("bob", "secret"))
    talk(login, "SCRAM-SHA-256", "bob", "secret")
    with pytest.raises(BadCredentials):
        login.authenticate(sasl.Password("bob\nx", "hunter2"))
    assert capfd.readouterr().err.splitlines() == [
        "authenticated user=bob rip=192.0.2.7 proto=imap mech=PLAIN tls=TLSv1.3",
        "authenticated user=bob rip=192.0.2.7 proto=imap mech=SCRAM-SHA-256 tls=TLSv1.3",
        'auth-failed user="bob?x" rip=192.0.2.7 proto=imap',
    ]


def test_a_broken_file_is_trouble_not_a_wrong_password(site, capfd):
    login = Login(site(bob="{ROT13}x"), service="imap")
    with pytest.raises(AuthTrouble):
        login.authenticate(sasl.Password("bob", "x"))
    with pytest.raises(AuthTrouble):
        login.scram_keys("bob", "SCRAM-SHA-256")
    assert login.mechanisms() == ("PLAIN", "LOGIN")
    assert "ROT13" in capfd.readouterr().err
