"""Accounts: Dovecot's passwd-file lines, who is found, who gets in."""

import os
import pwd

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import AuthTrouble, BadCredentials, Misconfigured
from mailtools.services.access import accounts as accounts_module
from mailtools.services.access.account_line import read_account, read_accounts
from mailtools.services.access.accounts import Accounts

FILE = """\
# login:secret:uid:gid:gecos:home:shell:extra
bob:{PLAIN}builder:1000:100:Bob:/home/bob::
carol@example.net:{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=:::Carol:/srv/carol::\
userdb_mail=maildir:~/Mail:LAYOUT=fs userdb_quota_rule=*:storage=1G
printer:{PLAIN}paper::::::services=submission allow_nets=192.0.2.0/24,2001:db8::/32
dave:!::::/home/dave::
erin:{PLAIN}closed::::/home/erin::nologin
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "accounts"
    path.write_text(FILE)
    return path


@pytest.fixture
def accounts(path):
    return Accounts(str(path), local_domains=("example.org", ".example.com"))


def test_an_account_says_who_and_where(accounts):
    bob = accounts.find("bob")
    assert (bob.name, bob.uid, bob.gid, bob.home) == ("bob", 1000, 100, "/home/bob")
    assert bob.maildir == "/home/bob/Maildir"
    assert "builder" not in repr(bob)


def test_dovecots_extra_fields_are_understood(accounts):
    carol = accounts.find("carol@example.net")
    assert carol.maildir == "/srv/carol/Mail"
    assert carol.fields["quota_rule"] == "*:storage=1G"
    assert (carol.uid, carol.gid) == (-1, -1)  # and so the owner of all such mailboxes


@pytest.mark.parametrize(
    ("login", "name"),
    [
        ("BOB", "bob"),
        ("bob@example.org", "bob"),
        ("Bob@EXAMPLE.org", "bob"),
        ("bob@mail.example.com", "bob"),
        ("bob@example.com", None),
        ("bob@example.net", None),
        ("carol", None),
        ("carol@Example.NET", "carol@example.net"),
        ("carol@example.org", None),
        ("", None),
        ("@example.org", None),
        ("nobody", None),
    ],
)
def test_a_login_is_a_user_or_an_address(accounts, login, name):
    account = accounts.find(login)
    assert (account.name if account else None) == name


def test_patterns_name_the_maildir(path):
    path.write_text("carol@example.net:x\nbob:x\n")
    accounts = Accounts(str(path), maildir="/srv/mail/%d/%n")
    assert accounts.find("carol@example.net").maildir == "/srv/mail/example.net/carol"
    assert Accounts(str(path)).find("bob").maildir == ""  # no home: no mailbox, it may only send


def test_the_right_password_opens(accounts):
    assert accounts.authenticate("bob", "builder").name == "bob"
    assert accounts.authenticate("carol@example.net", "secret").name == "carol@example.net"


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("bob", "wrong"),
        ("nobody", "builder"),
        ("", ""),
        ("bob", ""),
        ("dave", "!"),
        ("dave", ""),
        ("erin", "closed"),
        ("printer", "paper"),
    ],
)
def test_every_refusal_sounds_the_same(accounts, login, password):
    with pytest.raises(BadCredentials) as caught:
        accounts.authenticate(login, password)
    assert caught.value.text == BadCredentials().text


@pytest.mark.parametrize(
    ("service", "address", "opens"),
    [
        ("submission", "192.0.2.9", True),
        ("submission", "::ffff:192.0.2.9", True),
        ("submission", "2001:db8::1", True),
        ("submission", "198.51.100.1", False),
        ("submission", "", False),
        ("imap", "192.0.2.9", False),
    ],
)
def test_extra_fields_narrow_a_login(accounts, service, address, opens):
    try:
        accounts.authenticate("printer", "paper", service=service, address=address)
    except BadCredentials:
        assert not opens
    else:
        assert opens


def test_a_changed_file_is_read_again(accounts, path):
    assert accounts.find("frank") is None
    path.write_text(FILE + "frank:{PLAIN}new\n")
    assert accounts.authenticate("frank", "new").name == "frank"


def test_all_faults_come_at_once_with_their_lines(path):
    path.write_text(
        "bob:{PLAIN}x\n"
        "BOB:{PLAIN}y\n"
        "carol:{ROT13}x:nosuchuser:nosuchgroup::relative/home::allow_nets=rubbish\n"
        "a/b:x\n"
    )
    accounts = Accounts(str(path))
    with pytest.raises(Misconfigured) as caught:
        accounts.find("bob")
    faults = caught.value.detail.split("\n")
    lines = [fault.removeprefix(str(path)).split(":")[1] for fault in faults]
    assert lines == ["2", "3", "3", "3", "3", "3", "4"]
    for word in ("BOB", "ROT13", "nosuchuser", "nosuchgroup", "relative/home", "rubbish", "a/b"):
        assert word in caught.value.detail
    with pytest.raises(AuthTrouble):
        accounts.authenticate("bob", "x")


def test_a_file_that_is_gone_is_trouble_not_absence(path, accounts):
    path.unlink()
    with pytest.raises(Misconfigured):
        accounts.find("bob")


def test_system_users_are_found_when_asked_for_but_never_root(monkeypatch, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    owner = home.stat().st_uid or 4242
    os.chown(home, owner, -1) if os.getuid() == 0 else None
    users = {
        "gina": pwd.struct_passwd(("gina", "x", owner, 7, "Gina", str(home), "/bin/sh")),
        "root": pwd.struct_passwd(("root", "x", 0, 0, "root", str(tmp_path), "/bin/sh")),
        "ftp": pwd.struct_passwd(("ftp", "x", owner + 1, 7, "", str(home), "/bin/sh")),
    }
    monkeypatch.setattr(pwd, "getpwnam", users.__getitem__)
    accounts = Accounts("", system_users=True, local_domains=["example.org"])
    assert accounts.find("gina@example.org").maildir == f"{home}/Maildir"
    for name in ("root", "ftp", "nobody", "gina@example.net"):
        assert accounts.find(name) is None
    assert Accounts("").find("gina") is None
    with pytest.raises(BadCredentials):
        accounts.authenticate("gina", "!")


@given(st.from_regex(r"[A-Za-z0-9!.:/\\{}%x @=-]{0,30}", fullmatch=True) | st.text(max_size=30))
def test_a_line_taken_for_faultless_has_no_fault(line):
    taken = read_accounts(line, "~/Maildir", [])
    wrong = []
    if any(isinstance(value, str) for value in taken.values()):
        read_account(line, "~/Maildir", wrong)
    assert wrong == []


def test_a_long_file_is_searched_without_reading_every_line(tmp_path, monkeypatch):
    lines = (f"user{n}@example.net:{{PLAIN}}x{n}:1:2::/srv/{n}::\n" for n in range(1000))
    (tmp_path / "accounts").write_text("".join(lines))
    read = []
    monkeypatch.setattr(
        accounts_module, "read_account", lambda *a: read.append(a) or read_account(*a)
    )
    accounts = Accounts(str(tmp_path / "accounts"))
    assert accounts.authenticate("user7@example.net", "x7").home == "/srv/7"
    assert accounts.find("user7@example.net") is accounts.find("USER7@example.net")
    assert len(read) == 1
    assert len(accounts.everyone()) == 1000
