"""Secrets that Dovecot's `doveadm pw` makes are checked as Dovecot does; and the reverse."""

import functools
import shutil
import subprocess

import pytest

from mailtools.services.access import passwords, schemes

pytestmark = pytest.mark.skipif(not shutil.which("doveadm"), reason="needs Dovecot")

# What no mechanism of ours, or nobody at all, can check a password by.
NOT_OURS = frozenset(
    (
        "DIGEST-MD5",
        "OTP",
        "SKEY",
        "RPA",
        "LANMAN",
        "NTLM",
        "NT",
        "APOP",
        "PLAIN-MD4",
        "PLAIN-TRUNC",
    )
)
SLOW = {"ARGON2I": "3", "ARGON2ID": "3", "BLF-CRYPT": "5", "PBKDF2": "1000"}  # rounds


def doveadm(*arguments: str) -> str:
    # Not the host's configuration, which may have faults.
    done = subprocess.run(
        ["doveadm", "-c", "/dev/null", "pw", *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stdout.strip() if done.returncode == 0 else ""


@functools.cache
def listed() -> list[str]:
    return doveadm("-l").split()


def test_every_scheme_of_dovecot_is_ours_or_known_not_to_be() -> None:
    if not listed():
        pytest.skip("this doveadm lists no schemes")
    strange = {name for name in listed() if not schemes.known(f"{{{name}}}x")} - NOT_OURS
    assert not strange


@pytest.mark.parametrize("password", ["hunter2", "pass wörd: {x}"])
@pytest.mark.parametrize("scheme", sorted({*schemes.KNOWN, "HMAC-MD5"}))
def test_what_doveadm_made_is_checked(scheme: str, password: str) -> None:
    rounds = ("-r", SLOW[scheme]) if scheme in SLOW else ()
    secret = doveadm("-s", scheme, "-p", password, *rounds)
    if not secret:
        pytest.skip(f"this doveadm makes no {scheme}")
    assert secret.startswith(f"{{{scheme}}}")
    assert passwords.check(secret, password), secret
    assert not passwords.check(secret, password + "x" if scheme != "DES-CRYPT" else "x" + password)
    assert not passwords.check(secret, "")


@pytest.mark.parametrize("encoding", ["HEX", "B64", "BASE64"])
@pytest.mark.parametrize("scheme", ["SHA256", "SSHA512", "LDAP-MD5", "PLAIN-MD5", "SMD5"])
def test_encodings(scheme: str, encoding: str) -> None:
    secret = doveadm("-s", f"{scheme}.{encoding}", "-p", "hunter2")
    if not secret:
        pytest.skip(f"this doveadm makes no {scheme}.{encoding}")
    assert passwords.check(secret, "hunter2"), secret
    assert not passwords.check(secret, "hunter3")


@pytest.mark.parametrize("scheme", passwords.NEW_SCHEMES)
def test_dovecot_takes_what_we_make(scheme: str) -> None:
    secret = passwords.make("pass wörd", scheme)
    if schemes.split(secret)[0] not in listed():
        pytest.skip("not a scheme of this Dovecot's")
    assert "(verified)" in doveadm("-t", secret, "-p", "pass wörd")
    assert doveadm("-t", secret, "-p", "wrong") == ""
