"""mail-account: users come and go; the file stays whole."""

import json
import os
import pwd
import shutil

import pytest

from mailtools.services.access.accounts import Accounts


@pytest.fixture
def site(open_site):
    return open_site


@pytest.fixture
def account(site):
    site.set("mailbox-owner", str(os.getuid() or 65534))

    def run(*arguments, password=""):
        return site.run(
            "mail-account", *arguments, input=f"{password}\n".encode() if password else b""
        )

    return run


@pytest.fixture
def path(site):
    return site.etc / "accounts"


def test_a_new_user_can_log_in_and_has_a_maildir(site, account, path):
    home = site.homes / "bob"
    made = account("add", "bob", "--home", str(home), "--gecos", "Bob Builder", password="hunter2")
    assert (made.returncode, made.stdout, made.stderr) == (0, b"", b"")
    assert "hunter2" not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    site.set("maildir", "~/Maildir")
    found = Accounts(str(path)).authenticate("bob", "hunter2")
    assert (found.home, found.gecos) == (str(home), "Bob Builder")
    assert (site.homes / "bob" / "Maildir" / "cur").is_dir()


def test_comments_order_owner_and_mode_stay(account, path):
    path.write_text("# ours\nzoe:{PLAIN}x:::Zoe, \xe4:::\n\n# more\namy:!\n", encoding="latin-1")
    path.chmod(0o640)
    before = path.read_bytes()
    assert account("add", "bob", password="x").returncode == 0
    assert path.read_bytes().startswith(before)
    assert path.stat().st_mode & 0o777 == 0o640
    assert account("remove", "BOB").returncode == 0
    assert path.read_bytes() == before
    assert account("passwd", "zoe", password="new").returncode == 0
    assert path.read_bytes().split(b"\n")[1].endswith(b":::Zoe, \xe4:::")
    assert Accounts(str(path)).authenticate("zoe", "new")


@pytest.mark.parametrize("scheme", ["ARGON2ID", "SCRAM-SHA-256", "ssha512"])
def test_schemes(account, path, scheme):
    assert account("add", "bob", "--scheme", scheme, password="x").returncode == 0
    assert f"{{{scheme.upper()}}}" in path.read_text()
    assert Accounts(str(path)).authenticate("bob", "x")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["add", "bob"], os.EX_USAGE),
        (["add", "a:b"], os.EX_USAGE),
        (["add", "a/b"], os.EX_CONFIG),
        (["add", "carol", "--uid", "no-such-user"], os.EX_CONFIG),
        (["add", "carol", "--home", "relative"], os.EX_CONFIG),
        (["add", "carol", "--scheme", "ROT13"], os.EX_USAGE),
        (["add", "carol", "--services", "http"], os.EX_CONFIG),
        (["add", "carol", "--expires", "2027-01-01"], os.EX_USAGE),
        (["passwd", "carol"], os.EX_NOUSER),
        (["remove", "carol"], os.EX_NOUSER),
        (["list", "bob"], os.EX_USAGE),
        (["app-password", "add", "carol", "x"], os.EX_NOUSER),
        (["app-password", "odd", "bob", "x"], os.EX_USAGE),
        (["app-password", "remove", "bob", "x"], os.EX_NOUSER),
        (["fly"], os.EX_USAGE),
    ],
)
def test_what_cannot_be_is_said_and_changes_nothing(account, path, arguments, code):
    path.write_text("bob:{PLAIN}x\n")
    done = account(*arguments, password="hunter2")
    assert done.returncode == code
    assert done.stderr
    assert b"Traceback" not in done.stderr
    assert path.read_text() == "bob:{PLAIN}x\n"


def test_a_password_is_needed_and_may_be_none(account, path):
    assert account("add", "bob").returncode == os.EX_USAGE
    assert account("add", "bob", password="a\tb").returncode == os.EX_NOPERM
    assert not path.exists()
    assert account("add", "bob", "--no-password").returncode == 0
    assert path.read_text() == "bob:!\n"


def test_a_file_with_faults_is_not_touched(account, path):
    path.write_text("bob:{ROT13}x\n")
    done = account("add", "carol", password="x")
    assert done.returncode == os.EX_CONFIG
    assert b"accounts:1: bob: unknown password scheme" in done.stderr


def test_lists_never_show_a_secret(site, account, path):
    path.write_text("bob:{PLAIN}hunter2:1000:100::/home/bob::\ncarol:!\n")
    assert account("list").stdout.decode().splitlines()[0] == (
        f"bob\t1000\t100\tPLAIN\t{site.homes}/bob/Maildir"
    )
    row = json.loads(account("list", "--json").stdout.splitlines()[1])
    assert (row["login"], row["scheme"]) == ("carol", "-")
    assert b"hunter2" not in account("list").stdout + account("list", "--json").stdout


def test_app_passwords_from_making_to_revoking(account, path):
    path.write_text("bob:!\n")
    made = account(
        "app-password", "add", "bob", "phone", "--services", "imap", "--expires", "2099-12-31"
    )
    assert made.returncode == 0, made.stderr
    password = made.stdout.decode().strip()
    accounts = Accounts(str(path))
    assert accounts.authenticate("bob", password, service="imap")
    listed = account("app-password", "list", "bob").stdout.decode().rstrip("\n").split("\t")
    assert listed[:4] == ["phone", "imap", "all", "2099-12-31"]
    assert listed[5] == "never"
    assert account("remove", "bob").returncode == 0
    assert accounts.app_passwords.everything() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_maildir_made_by_root_is_the_users(site, account):
    home = site.homes / "example.org" / "bob"
    done = account("add", "bob", "--home", str(home), "--maildir", "~/Maildir", "--uid", "65534",
                   "--gid", "65534", "--no-password")  # fmt: skip
    assert done.returncode == 0, done.stderr
    for path in (home, home / "Maildir", home / "Maildir" / "new"):
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)
    assert home.parent.stat().st_uid == 0
    assert home.parent.stat().st_mode & 0o055 == 0o055


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_gives_nothing_away_that_a_home_leads_to(site, account):
    home, theirs = site.homes / "bob", site.root / "theirs"
    (theirs / "tmp").mkdir(parents=True)
    home.mkdir()
    (home / "Maildir").symlink_to(theirs)
    os.chown(home, 65534, 65534)
    done = account("add", "bob", "--home", str(home), "--maildir", "~/Maildir", "--uid", "65534",
                   "--no-password")  # fmt: skip
    assert done.returncode == os.EX_TEMPFAIL
    assert b"Permission denied" in done.stderr
    assert [path.name for path in theirs.iterdir()] == ["tmp"]
    assert (theirs / "tmp").stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_owner_of_the_queue_may_read_what_root_makes(site, account, path):
    owner = pwd.getpwnam("games")
    shutil.chown(site.spool, "games", "games")
    account("add", "bob", "--no-password")
    assert account("app-password", "add", "bob", "phone").returncode == 0
    for file in (path, site.etc / "app-passwords"):
        about = file.stat()
        assert (about.st_uid, about.st_gid, about.st_mode & 0o777) == (0, owner.pw_gid, 0o640)
    path.chmod(0o600)
    (site.etc / "app-passwords").unlink()
    account("app-password", "add", "bob", "tablet")
    assert (site.etc / "app-passwords").stat().st_mode & 0o777 == 0o600
