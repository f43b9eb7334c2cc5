"""dkim-keys and the keys it names: read, refused, loaded once, read again when they change."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import Misconfigured
from mailtools.services.relay import dkim_keys
from mailtools.services.relay.dkim_keys import KeyLine, Keyring, State, parse_line, read_lines
from mailtools.trust.keys import new_private_key

KEY = new_private_key("ed25519").pem()


@pytest.fixture
def etc(tmp_path):
    (tmp_path / "dkim").mkdir()
    return tmp_path


def put_key(etc, name, data=KEY):
    path = etc / "dkim" / f"{name}.pem"
    path.write_bytes(data)
    path.chmod(0o600)
    return path


@pytest.fixture
def ring(etc):
    for name in ("a._domainkey.example.org", "b._domainkey.example.org", "c._domainkey.sub.test"):
        put_key(etc, name)
    (etc / "dkim-keys").write_text(
        "# ours\nExample.org a\n\nexample.org b signing 2026-11-23T20:05Z\n"
        "sub.test c\nwww.sub.test d waiting 2026-11-23T20:05Z\nexample.org e retired\n"
    )
    return Keyring(str(etc))


def selectors(ring, domain):
    return [signer.selector for signer in ring.signers(domain)]


def test_who_signs_for_a_domain(ring):
    assert selectors(ring, "example.org") == ["a", "b"]
    assert selectors(ring, "a.b.example.org") == ["a", "b"]
    assert selectors(ring, "www.sub.test") == ["c"]  # its own key waits
    assert ring.signers("www.sub.test")[0].domain == "sub.test"
    assert selectors(ring, "anexample.org") == []
    assert selectors(ring, "org") == []


def test_no_file_is_no_key(tmp_path):
    ring = Keyring(str(tmp_path))
    assert ring.signers("example.org") == []
    assert ring.empty


def test_keys_are_loaded_once_and_again_when_they_change(etc, ring, monkeypatch):
    reads = []
    read_secret = dkim_keys.read_secret
    monkeypatch.setattr(
        dkim_keys, "read_secret", lambda path: reads.append(path) or read_secret(path)
    )
    first = ring.signers("sub.test")
    assert ring.signers("sub.test") == first
    assert len(reads) == 1
    put_key(etc, "c._domainkey.sub.test", new_private_key("rsa").pem())
    assert ring.signers("sub.test")[0].key.kind == "rsa"
    (etc / "dkim-keys").write_text("sub.test c retired\n")
    assert ring.signers("sub.test") == []
    (etc / "dkim-keys").unlink()
    assert ring.signers("example.org") == []


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644])
def test_a_key_that_others_can_read_is_refused(etc, ring, mode):
    (etc / "dkim" / "c._domainkey.sub.test.pem").chmod(mode)
    with pytest.raises(Misconfigured) as caught:
        ring.signers("sub.test")
    assert "others can read it" in caught.value.detail
    assert not caught.value.permanent


def test_a_key_that_is_missing_or_none_is_told_with_its_path(etc, ring):
    path = etc / "dkim" / "c._domainkey.sub.test.pem"
    path.write_bytes(b"no key\n")
    with pytest.raises(Misconfigured) as caught:
        ring.signers("sub.test")
    assert caught.value.detail.startswith(f"{path}: ")
    path.unlink()
    with pytest.raises(Misconfigured) as caught:
        ring.signers("sub.test")
    assert caught.value.detail == f"{path}: cannot be read: No such file or directory"


def test_every_fault_is_told_at_once(etc):
    path = etc / "dkim-keys"
    path.write_text(
        "example.org\nexample.org a signs\nexa mple.org a signing now more\nb@x a\n"
        "example.org a/b\nexample.org a signing today\nexample.org a\nexample.org A\n"
    )
    with pytest.raises(Misconfigured) as caught:
        read_lines(str(path))
    faults = caught.value.detail.split("\n")
    assert [fault.split(":")[1] for fault in faults] == ["1", "2", "3", "4", "5", "6", "8"]
    assert "a second time" in faults[-1]
    with pytest.raises(Misconfigured):
        Keyring(str(etc)).refresh()


@given(st.text(max_size=60))
def test_any_line_is_a_key_or_a_fault(text):
    try:
        line = parse_line(text)
    except Misconfigured:
        return
    assert parse_line(str(line)) == line
    assert os.sep not in line.name


def test_a_line_is_written_as_it_is_read():
    line = KeyLine("example.org", "a.b", State.RETIRED, "2026-11-23T20:05Z")
    assert parse_line(str(line)) == line
    assert line.name == "a.b._domainkey.example.org"
