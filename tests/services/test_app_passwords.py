"""App passwords: narrow, noted, revoked."""

import os
import time

import pytest

from mailtools.errors import AuthTrouble, BadCredentials, Misconfigured, Usage
from mailtools.services.access.accounts import Accounts


@pytest.fixture
def accounts(tmp_path):
    (tmp_path / "accounts").write_text("bob:{PLAIN}main::::::\ncarol:!\n")
    return Accounts(str(tmp_path / "accounts"), state=str(tmp_path))


@pytest.fixture
def store(accounts):
    return accounts.app_passwords


def opens(accounts, password, service="imap", address="192.0.2.1", login="bob"):
    try:
        return (
            accounts.authenticate(login, password, service=service, address=address).name == login
        )
    except BadCredentials:
        return False


def test_it_opens_beside_the_password(accounts, store):
    password = store.add("bob", "phone")
    assert len(password) == 24
    assert opens(accounts, password)
    assert opens(accounts, password.replace("-", " "))
    assert opens(accounts, "main")
    assert not opens(accounts, password[:-1])
    assert not opens(accounts, password, login="carol")


def test_it_opens_an_account_that_has_no_other(accounts, store):
    assert opens(accounts, store.add("carol", "phone"), login="carol")


def test_services_networks_and_days_narrow_it(accounts, store, monkeypatch):
    password = store.add(
        "bob", "phone", services=["imap"], networks=["192.0.2.0/24"], expires="2027-01-31"
    )
    noon = time.struct_time((2027, 1, 31, 12, 0, 0, 6, 31, 0))
    monkeypatch.setattr(time, "gmtime", lambda *_: noon)
    assert opens(accounts, password)
    assert not opens(accounts, password, service="submission")
    assert not opens(accounts, password, address="198.51.100.1")
    assert not opens(accounts, password, address="")
    monkeypatch.setattr(time, "gmtime", lambda *_: time.struct_time((2027, 2, 1, *noon[3:])))
    assert not opens(accounts, password)


def test_the_last_use_is_noted_every_quarter_of_an_hour(accounts, store, tmp_path):
    password = store.add("bob", "phone")
    (one,) = store.of("bob")
    assert store.last_use(one) == ""
    opens(accounts, password)
    assert store.last_use(one).endswith("Z imap 192.0.2.1")
    opens(accounts, password, service="pop3")
    assert " imap " in store.last_use(one)
    os.utime(tmp_path / "used" / "bob:phone", (0, 0))
    opens(accounts, password, service="pop3")
    assert " pop3 " in store.last_use(one)


def test_a_note_that_cannot_be_taken_keeps_nobody_out(accounts, store, tmp_path):
    password = store.add("bob", "phone")
    (tmp_path / "used").write_text("a file where the folder should be")
    assert opens(accounts, password)


def test_revoked_is_revoked_and_others_stay(accounts, store, tmp_path):
    first, second = store.add("bob", "phone"), store.add("bob", "tablet")
    path = tmp_path / "app-passwords"
    path.write_text("# kept\n" + path.read_text())
    assert opens(accounts, first)
    assert store.remove("bob", "phone") == 1
    assert not opens(accounts, first)
    assert opens(accounts, second)
    assert path.read_text().startswith("# kept\n")
    assert store.remove("bob", "phone") == 0
    assert store.remove("bob") == 1
    assert store.of("bob") == []


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("phone", {}),
        ("a b", {}),
        ("", {}),
        ("../x", {}),
        ("x", {"services": ["http"]}),
        ("x", {"networks": ["home"]}),
        ("x", {"expires": "soon"}),
    ],
)
def test_what_cannot_be_kept_is_not_made(store, name, extra, tmp_path):
    store.add("bob", "phone")
    before = (tmp_path / "app-passwords").read_text()
    with pytest.raises(Usage):
        store.add("bob", name, **extra)
    assert (tmp_path / "app-passwords").read_text() == before


def test_the_secret_does_not_show_the_password(store, tmp_path):
    password = store.add("bob", "phone")
    text = (tmp_path / "app-passwords").read_text()
    assert password not in text
    assert password.replace("-", "") not in text
    assert (tmp_path / "app-passwords").stat().st_mode & 0o007 == 0


def test_all_faults_of_the_file_come_at_once(accounts, store, tmp_path):
    (tmp_path / "app-passwords").write_text(
        "bob name=a\nbob name=b services=x networks=y expires=z secret={PLAIN}p\n"
    )
    with pytest.raises(Misconfigured) as caught:
        store.everything()
    assert [line.split(":")[1] for line in caught.value.detail.split("\n")] == ["1", "2", "2", "2"]
    with pytest.raises(AuthTrouble):
        accounts.authenticate("bob", "not main")


def test_a_file_that_cannot_be_read_puts_off_only_who_may_need_it(accounts, store, tmp_path):
    (tmp_path / "app-passwords").mkdir()  # as good as one of root's, for root too
    assert "PLAIN" in accounts.mechanisms()
    assert opens(accounts, "main")
    with pytest.raises(AuthTrouble) as caught:
        opens(accounts, "another")
    assert "cannot read" in caught.value.detail
