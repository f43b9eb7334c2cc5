"""Stored secrets: those Dovecot writes, those the host writes, those we write."""

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import AuthTrouble, BadCredentials, Usage
from mailtools.services.access import passwords, schemes

# What `doveadm pw -s SCHEME -p secret` printed, Dovecot 2.3.19.
BY_DOVECOT = [
    (
        "{SCRAM-SHA-256}4096,HjD7Pt/RZv7QT8WH1pZ30Q==,HI4uU0ASIS0Vm3p5wxv/7gvXNMy95sLcyav7ElrEbRM=,"
        "mZBAP3Nq7fe2jKqqkbOBaONYi6Uhk+MGj73koaceX20="
    ),
    (
        "{SCRAM-SHA-1}4096,L3Bw7Ho/pWZMPgUEKttrlg==,mVrojBFpXrS/eFqHVUQq6FZYJHg=,"
        "UvP3aA5UvtlbT6unnxZ1RAEY8V0="
    ),
    "{PBKDF2}$1$84CgqQTC.zCsO3mG$5000$d46c0f4037ae84bb505ac3614b19d2a73d060c40",
    "{SSHA256}VEvhiYdraoMrZYvy3JTl16C4kq9YsPT2NTI/5IpYwC/SLzb9",
    "{SSHA}dt7BIEZQhxkaQ8z0dWervUOlCbvjJndv",
    "{SMD5}Ab6sefkpTGaOz912OUx8UjNWgcI=",
    (
        "{SSHA512}Qb8e2jYc0IjMOTiXP1TpjP2+AdVcHVGKERMETB+rG8uvnh4PfYpdSaIzcAGEL/yEmeN4HKkIApAjIJuvzZ8i"
        "vsbkR2g="
    ),
    "{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=",
    "{LDAP-MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==",
    "{PLAIN-MD5}5ebe2294ecd0e0f08eab7690d2a6ee69",
    (
        "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$ZC9XtXjj/WpXMzkEC8NITg$osu0tsPlKIQl99L2aE/LBBjI97vPgE"
        "TuDhkacvkVchs"
    ),
    "{BLF-CRYPT}$2y$05$CSCMQ5KwR8QZKuhmjFWJwOOr5gBCl4S3p6eeiebwsNw8YPUhAKT1u",
    (
        "{SHA512-CRYPT}$6$BJGdyxt1hLe3V7Qk$H7RKsNK4IyTTDVUjI95PIEBjbXQ3E4MZnjbk.3l3RKbkadUQjOX02RtEw.zdeP"
        "zYnmA7XjltIr1HAKSw1Dhdd0"
    ),
    "{MD5-CRYPT}$1$pIlQmSY/$LNzdmCQ0WyUHTxdJQUS.i0",
    "{DES-CRYPT}D4bd3UiNtNpp2",
    "{CRYPT}$2y$05$I9QLFykFGQOArvhqBkDdE.4..N8iDgNq1prWMq460hcIP0OcyYnYK",
    "{PLAIN}secret",
    "{CRAM-MD5}cd3ba7deaad6e5ca23448ba42e379747a9e0f7f1fbc00c8a81bbaac395731b56",
    (
        "{SHA512.HEX}bd2b1aaf7ef4f09be9f52ce2d8d599674d81aa9d6a4421696dc4d93dd0619d682ce56b4d64a9ef0977"
        "61ced99e0f67265b5f76085e5b0ee7ca4696b2ad6fe2b2"
    ),
    "{SHA.B64}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    "{MD5}$1$lwhxd7CQ$FxDVp3Sgy1mQc0q.kUAIl/",
    "$1$lwhxd7CQ$FxDVp3Sgy1mQc0q.kUAIl/",
]


@pytest.mark.parametrize("secret", BY_DOVECOT, ids=lambda secret: secret[:16])
def test_a_secret_of_dovecots_fits_its_password_alone(secret):
    assert schemes.known(secret)
    assert passwords.check(secret, "secret")
    assert not passwords.check(secret, "Secret")
    assert not passwords.check(secret, "")


@pytest.mark.parametrize("scheme", ["", *passwords.NEW_SCHEMES])
def test_a_new_secret_fits_its_password_alone_and_is_salted_where_it_can_be(scheme):
    secret = passwords.make("päßword", scheme)
    assert passwords.check(secret, "päßword")
    assert not passwords.check(secret, "passwort")
    assert (passwords.make("päßword", scheme) == secret) == (scheme == "CRAM-MD5")
    assert ":" not in secret


@pytest.mark.skipif(not shutil.which("doveadm"), reason="doveadm is not installed")
@pytest.mark.parametrize("scheme", ["", *passwords.NEW_SCHEMES])
def test_dovecot_reads_what_we_write(scheme):
    secret = passwords.make("secret", scheme)
    told = subprocess.run(
        ["doveadm", "pw", "-t", secret, "-p", "secret"], capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    assert "(verified)" in told.stdout


@pytest.mark.parametrize("secret", ["", "!", "*", "x", "!$6$abc$def"])
def test_a_locked_account_has_no_password(secret):
    for password in ("", "x", "!", "*", secret):
        assert not passwords.check(secret, password)


@pytest.mark.parametrize(
    "secret",
    [
        "{NOSUCH}abc",
        "{SSHA}abc",
        "{SHA256}dG9vc2hvcnQ=",
        "{PBKDF2}$2$salt$1$00",
        "{PBKDF2}rubbish",
        "{ARGON2ID}$argon2id$rubbish",
        "{SCRAM-SHA-256}4096,abc",
        "{CRYPT}$nosuch$method",
    ],
)
def test_a_secret_that_cannot_be_read_is_our_trouble_not_the_users(secret):
    with pytest.raises(AuthTrouble) as caught:
        passwords.check(secret, "secret")
    assert not caught.value.permanent
    assert "abc" not in caught.value.text


def test_a_password_no_protocol_could_carry_is_not_made():
    for password in ("", "a\0b", "a\nb", "x" * 1025):
        with pytest.raises(BadCredentials):
            passwords.make(password)
    with pytest.raises(Usage):
        passwords.make("secret", "ROT13")


@given(
    password=st.text(min_size=1, max_size=40),
    secret=st.sampled_from([s for s in BY_DOVECOT if "ARGON" not in s and "2y" not in s])
    | st.text(),
)
def test_no_password_and_no_secret_do_worse_than_our_trouble(password, secret):
    try:
        fits = passwords.check(secret, password)
    except AuthTrouble:
        return
    if secret in BY_DOVECOT:
        assert fits == (password == "secret")
