"""Who has a mailbox here, and where addresses lead."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import (
    Failure,
    MailboxDisabled,
    MailboxFull,
    Misconfigured,
    NoSuchMailbox,
)
from mailtools.mail.address import parse_address
from mailtools.services.access.account_line import Account
from mailtools.services.local.aliases import read_aliases
from mailtools.services.local.directory import Directory
from mailtools.services.local.srs import Srs
from mailtools.services.local.way import Where
from mailtools.store.maildir import Maildir


class People:
    """Accounts in a dict, as services/access/accounts.py would find them."""

    def __init__(self, *names: str, **more: Account) -> None:
        self.all = {name: Account(name, 1000, 1000, "", f"/mail/{name}") for name in names}
        self.all |= {account.name: account for account in more.values()}

    def find(self, login: str) -> Account | None:
        local, _, domain = login.lower().partition("@")
        return self.all.get(login.lower()) or (
            self.all.get(local) if domain in ("", "example.org") else None
        )

    def everyone(self) -> list[Account]:
        return list(self.all.values())


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "aliases").write_text("")
    (tmp_path / "virtual").write_text("")
    return tmp_path


def directory(files: Path, people: People | None = None, **more) -> Directory:
    return Directory(
        "mail.example.org",
        ["example.org", ".example.org"],
        people or People("bob", "carol", "mary-ann", "dave@example.net"),
        aliases=str(files / "aliases"),
        virtual=str(files / "virtual"),
        **more,
    )


def leads(directory: Directory, address: str) -> list[str]:
    targets = directory.resolve(parse_address(address))
    return [target.account.name if target.account else target.value for target in targets]


def aliases(files: Path, text: str) -> None:
    (files / "aliases").write_text(text)


def virtual(files: Path, text: str) -> None:
    (files / "virtual").write_text(text)


def test_domains(files):
    virtual(files, "@example.com: bob\ninfo@bücher.example: bob\n")
    known = directory(files)
    for domain in ("example.org", "EXAMPLE.org", "sub.example.org", "example.com"):
        assert known.is_local(domain), domain
    assert known.is_local("xn--bcher-kva.example")
    assert known.is_local("Bücher.example")
    for domain in ("example.net", "badexample.org", "org", "", "..", "[192.0.2.1]"):
        assert not known.is_local(domain), domain


def test_accounts_in_any_case_and_nobody_else(files):
    known = directory(files)
    assert leads(known, "Bob@Example.org") == ["bob"]
    known.check(parse_address("bob@example.org"))
    for address in ("eve@example.org", "bob@sub.example.org", "bobby@example.org"):
        with pytest.raises(NoSuchMailbox):
            known.check(parse_address(address))


def test_extensions(files):
    aliases(files, "bob+lists: carol\n")
    known = directory(files, separators="+-")
    assert leads(known, "bob+lists@example.org") == ["carol"]
    assert leads(known, "mary-ann@example.org") == ["mary-ann"]
    for address, extension in (
        ("bob+x@example.org", "x"),
        ("bob+x+y@example.org", "x+y"),
        ("mary-ann-x@example.org", "x"),
        ("bob+@example.org", ""),
    ):
        [target] = known.resolve(parse_address(address))
        assert target.extension == extension
    with pytest.raises(NoSuchMailbox):
        known.check(parse_address("+bob@example.org"))
    with pytest.raises(NoSuchMailbox):
        directory(files, separators="").check(parse_address("bob+x@example.org"))


def test_aliases_of_every_kind(files, tmp_path):
    (tmp_path / "list").write_text("carol\n# a comment\nx@example.com, y@example.com\n")
    aliases(
        files,
        "# comment\n"
        "Root:\tbob,\n"
        "   carol@example.org\n"
        '"odd name": bob\n'
        'all: |"/bin/prog a, b", "|/bin/other", /var/mail/list/, z@example.com, \\bob\n'
        f"members: :include:{tmp_path}/list, root\n"
        "nowhere: /dev/null\n",
    )
    known = directory(files)
    assert leads(known, "root@example.org") == ["bob", "carol"]
    assert leads(known, '"Odd name"@example.org') == ["bob"]
    assert leads(known, "members@example.org") == ["carol", "x@example.com", "y@example.com", "bob"]
    targets = known.resolve(parse_address("all@example.org"))
    assert [(t.where, t.account.name if t.account else t.value) for t in targets] == [
        (Where.PROGRAM, "/bin/prog a, b"),
        (Where.PROGRAM, "/bin/other"),
        (Where.MAILDIR, "/var/mail/list"),
        (Where.FORWARD, "z@example.com"),
        (Where.MAILBOX, "bob"),
    ]
    assert {t.uid for t in targets if t.where is Where.PROGRAM} == {os.getuid()}
    assert [t.where for t in known.resolve(parse_address("nowhere@example.org"))] == [Where.NOTHING]


def test_an_alias_that_names_itself_means_the_mailbox(files):
    aliases(files, "bob: bob, archive@example.com\n")
    known = directory(files)
    mailbox, copy = known.resolve(parse_address("bob@example.org"))
    assert (mailbox.account.name, mailbox.plain, copy.value) == ("bob", True, "archive@example.com")


def test_owner_aliases_are_the_reverse_path_of_what_is_sent_on(files):
    aliases(files, "list: x@example.com, inner\ninner: y@example.com\nowner-list: bob\n")
    targets = directory(files).resolve(parse_address("list@example.org"))
    assert {target.owner for target in targets} == {"owner-list@example.org"}


def test_virtual_addresses_catch_all_and_whole_domains(files):
    virtual(
        files,
        "info@example.com: bob, x@example.net\n@example.com: carol\n"
        '@example.info: @example.com\nold@example.com: "error:5.1.6 Moved, see example.net"\n',
    )
    known = directory(files)
    assert leads(known, "info@example.com") == ["bob", "x@example.net"]
    assert leads(known, "Info+x@EXAMPLE.com") == ["bob", "x@example.net"]
    assert leads(known, "anybody@example.com") == ["carol"]
    assert leads(known, "info@example.info") == ["bob", "x@example.net"]
    with pytest.raises(NoSuchMailbox) as caught:
        known.check(parse_address("old@example.com"))
    assert (caught.value.status, caught.value.text) == ("5.1.6", "Moved, see example.net")


def test_a_virtual_user_without_a_unix_account(files):
    known = directory(files)
    virtual(files, "sales@example.net: dave@example.net\n")
    assert leads(known, "dave@example.net") == ["dave@example.net"]
    assert leads(known, "sales@example.net") == ["dave@example.net"]


@pytest.mark.parametrize(
    ("text", "who"),
    [
        ("postmaster: carol\n", ["carol"]),
        ("", ["bob"]),
        ("root: bob\npostmaster: root\n", ["bob"]),
    ],
)
def test_postmaster_is_always_somebody(files, text, who):
    aliases(files, text)
    virtual(files, "info@example.com: bob\n")
    known = directory(files)
    for address in ("postmaster@example.org", "PostMaster@example.com"):
        assert leads(known, address) == who


def test_abuse_is_somebody_s_or_postmaster_s(files):
    aliases(files, "postmaster: carol\n")
    assert leads(directory(files), "Abuse@example.org") == ["carol"]
    aliases(files, "postmaster: carol\nabuse: bob\n")
    assert leads(directory(files), "abuse@example.org") == ["bob"]


def test_postmaster_s_own_account(files):
    known = directory(files, People("bob", "postmaster"))
    assert leads(known, "postmaster@example.org") == ["postmaster"]


def test_faults_are_said_all_at_once_with_their_lines(files):
    aliases(files, 'a: b\nb: a\nlost: nobody1\nmbox: /var/mail/x\nbad\nquote: "x\na: c\n')
    known = directory(files)
    with pytest.raises(Misconfigured) as caught:
        known.check(parse_address("bob@example.org"))
    faults = caught.value.detail.split("\n")
    assert [fault.split(":")[1] for fault in faults] == ["4", "5", "6", "7"]
    aliases(files, "a: b\nb: a\nlost: nobody1\nfine: bob\nincl: :include:/nonexistent\n")
    faults = known.faults()
    assert [fault.split(":")[1] for fault in faults] == ["1", "2", "3", "5"]
    assert "a → b → a" in faults[0]
    assert leads(known, "fine@example.org") == ["bob"]
    for address in ("a@example.org", "lost@example.org", "incl@example.org"):
        with pytest.raises(Misconfigured):
            known.check(parse_address(address))


def test_a_file_that_changes_is_read_again(files):
    known = directory(files)
    with pytest.raises(NoSuchMailbox):
        known.check(parse_address("news@example.org"))
    aliases(files, "news: bob\n")
    assert leads(known, "news@example.org") == ["bob"]
    (files / "aliases").unlink()
    with pytest.raises(NoSuchMailbox):
        known.check(parse_address("news@example.org"))


def test_mailboxes_that_are_disabled_or_full_are_refused_at_rcpt(files, tmp_path):
    maildir = Maildir(str(tmp_path / "full"))
    delivery = maildir.begin()
    delivery.write(b"x" * 2000)
    delivery.commit()
    people = People(
        off=Account("off", 1000, 1000, "", "/mail/off", fields={"disabled": "yes"}),
        sender=Account("sender", 1000, 1000, "", ""),
        full=Account("full", 1000, 1000, "", maildir.path, fields={"quota_rule": "*:storage=1"}),
        room=Account("room", 1000, 1000, "", maildir.path, fields={"quota": "1M"}),
    )
    known = directory(files, people)
    with pytest.raises(MailboxDisabled):
        known.check(parse_address("off@example.org"))
    with pytest.raises(NoSuchMailbox):
        known.check(parse_address("sender@example.org"))
    with pytest.raises(MailboxFull) as caught:
        known.check(parse_address("full@example.org"))
    assert (caught.value.status, caught.value.reply) == ("4.2.2", 452)
    known.check(parse_address("room@example.org"))


@given(st.text(max_size=200), st.booleans())
def test_no_file_raises_anything_but_faults(text, addresses):
    faults: list[str] = []
    table = read_aliases(text, "aliases", faults, addresses=addresses)
    assert all(words for words in table.values()) or faults
    assert all(fault.startswith("aliases:") for fault in faults)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20))
def test_any_local_part_is_found_or_refused(tmp_path_factory, local):
    known = Directory("example.org", ["example.org"], People("bob"))
    quoted = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"@example.org'
    try:
        address = parse_address(quoted)
    except Failure:
        return
    try:
        assert known.resolve(address)
    except NoSuchMailbox:
        assert local.lower() not in ("bob", "postmaster")


# -- what comes back to an SRS address ------------------------------------------------------------


@pytest.fixture
def srs(tmp_path: Path) -> Srs:
    path = tmp_path / "srs-secrets"
    path.write_text("secret\n")
    path.chmod(0o600)
    return Srs(str(path), "example.org")


def test_an_srs_address_leads_to_the_sender(files, srs):
    there = directory(files, srs=srs)
    virtual(files, "@example.org: carol\n")
    sent = srs.forward("alice+x@example.com")
    assert leads(there, sent) == ["alice+x@example.com"]
    assert leads(there, sent.swapcase()) == ["ALICE+X@EXAMPLE.COM"]
    there.check(parse_address(sent))
    assert leads(there, srs.forward("bob@example.org")) == leads(there, "bob@example.org")


def test_a_forged_srs_address_is_nobody_even_where_all_is_caught(files, srs):
    virtual(files, "@example.org: carol\n")
    forged = parse_address(srs.forward("alice@example.com").replace("=alice@", "=eve@"))
    with pytest.raises(NoSuchMailbox, match="forged"):
        directory(files, srs=srs).check(forged)
    assert directory(files).resolve(forged)  # without SRS it is a name like any other
    (files / "srs-secrets").chmod(0o644)
    os.utime(files / "srs-secrets", (1, 1))
    with pytest.raises(Misconfigured):
        directory(files, srs=srs).check(forged)


def test_an_account_whose_name_looks_like_srs_is_still_found(files, srs):
    there = directory(files, People("srs0-team"), srs=srs)
    assert leads(there, "SRS0-team@example.org") == ["srs0-team"]


def refused(known: Directory) -> str:
    with pytest.raises(Misconfigured) as raised:
        known.resolve(parse_address("team@example.org"))
    return raised.value.detail


def test_a_list_that_others_may_write_names_addresses_only(files):
    path = files / "list"
    aliases(files, f"team: :include:{path}\n")
    known = directory(files)
    for mode in (0o620, 0o602):
        path.write_text("carol, x@example.com\n")
        path.chmod(mode)
        assert leads(known, "team@example.org") == ["carol", "x@example.com"]
        for power in ('"|/bin/prog"', "/home/bob/Maildir/", f":include:{files}/other"):
            path.write_text(f"carol\n{power}\n")
            assert "others may write it" in refused(known)
    path.chmod(0o600)
    path.write_text('"|/bin/prog"\n')
    assert leads(known, "team@example.org") == ["/bin/prog"]


def test_a_list_that_is_no_plain_file_or_too_large_is_not_waited_for(files, monkeypatch):
    path = files / "list"
    os.mkfifo(path)
    aliases(files, f"team: :include:{path}\n")
    assert "Not a plain file" in refused(directory(files))
    path.unlink()
    path.touch()
    os.truncate(path, 1 << 40)
    assert "Larger than" in refused(directory(files))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_users_list_leads_to_nothing_of_anothers(files):
    theirs, mine = files / "theirs", files / "mine"
    theirs.write_text("friend@example.net\n")
    mine.write_text(f":include:{theirs}\n")
    aliases(files, f"team: :include:{mine}\ntheirs: :include:{theirs}\n")
    os.chown(theirs, 1001, 1001)
    os.chown(mine, 1002, 1002)
    known = directory(files)
    assert leads(known, "theirs@example.org") == ["friend@example.net"]  # known by now
    assert "another user's list" in refused(known)
    os.chown(mine, 1001, 1001)
    assert leads(directory(files), "team@example.org") == ["friend@example.net"]
    mine.unlink()
    mine.symlink_to(theirs)
    os.chown(mine, 1002, 1002, follow_symlinks=False)
    assert "leads to what is another user's" in refused(directory(files))
    os.chown(mine, 0, 0, follow_symlinks=False)
    assert leads(directory(files), "team@example.org") == ["friend@example.net"]
