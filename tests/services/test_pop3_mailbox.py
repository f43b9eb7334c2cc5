"""A Maildir as POP3 shows it: order, sizes, UIDLs, removal, and neighbours that change it."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from mailtools.errors import MailboxInUse, NoSuchFolder, NoSuchMessage, QueueFull, SystemTrouble
from mailtools.services.pop3.mailbox import Maildrop
from mailtools.services.pop3.session import open_maildir
from mailtools.store import disk

FIRST, SECOND, THIRD = "1700000001.M1P1R1.h", "1700000002.M1P1R1.h", "1700000003.M1P1R1.h"


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    path = tmp_path / "Maildir"
    for name in ("tmp", "new", "cur"):
        (path / name).mkdir(parents=True)
    (path / "new" / FIRST).write_bytes(b"Subject: 1\n\none\n")
    (path / "cur" / f"{SECOND},S=9,W=11:2,S").write_bytes(b"a: b\n\nc\n\n")
    (path / "new" / THIRD).write_bytes(b"a: b\r\n\r\nc\r\n")
    return path


def names(maildir: Path) -> list[str]:
    return sorted(f"{sub}/{p.name}" for sub in ("new", "cur") for p in (maildir / sub).iterdir())


def texts(drop: Maildrop) -> list[bytes]:
    return [b"".join(drop.read(index)) for index in range(len(drop.sizes))]


def test_sizes_are_octets_on_the_wire(maildir: Path):
    # Counted with CRLF, taken from the name where it says W, and a CR on disk is not doubled.
    assert open_maildir(str(maildir)).sizes == [19, 11, 11]


def test_uidls_are_dovecots_default_and_stay(maildir: Path):
    drop = open_maildir(str(maildir))
    uids = [drop.uid(index) for index in range(3)]
    drop.release()
    assert len(set(uids)) == 3
    header = (maildir / "dovecot-uidlist").read_text().split("\n")[0]
    validity = int(next(word for word in header.split() if word[0] == "V")[1:])
    assert uids == [f"{uid:08x}{validity:08x}" for uid in (1, 2, 3)]
    os.rename(maildir / "new" / FIRST, maildir / "cur" / f"{FIRST}:2,RS")
    (maildir / "new" / "1600000000.M1P1R1.h").write_bytes(b"\n")  # older, but came later
    drop = open_maildir(str(maildir))
    assert [drop.uid(index) for index in range(3)] == uids
    assert drop.uid(3) == f"{4:08x}{validity:08x}"


def test_uidls_and_order_of_another_server_are_kept(maildir: Path):
    (maildir / "dovecot-uidlist").write_text(
        "3 V1300000000 N9 G0123456789abcdef0123456789abcdef\n"
        f"3 PUID17-old O2 :{FIRST}\n"
        f"5 PUID18-old O1 :{SECOND},S=9,W=11\n"
    )
    drop = open_maildir(str(maildir))
    assert [drop.uid(index) for index in range(3)] == ["UID18-old", "UID17-old", "000000094d7c6d00"]
    assert texts(drop)[1] == b"Subject: 1\n\none\n"


def test_update_removes_and_marks_what_was_read(maildir: Path):
    drop = open_maildir(str(maildir))
    drop.update({0}, {0, 2})
    assert names(maildir) == [f"cur/{SECOND},S=9,W=11:2,S", f"cur/{THIRD}:2,S"]
    assert (drop.removed, drop.retrieved) == (1, 1)


def test_what_is_removed_no_longer_counts_against_the_quota(maildir: Path):
    (maildir / "maildirsize").write_text("1000S,0C\n34 3\n")
    open_maildir(str(maildir)).update({0, 1}, set())
    assert (maildir / "maildirsize").read_text() == "1000S,0C\n34 3\n-25 -2\n"


def test_what_was_only_listed_stays_new(maildir: Path):
    before = names(maildir)
    open_maildir(str(maildir)).update(set(), set())
    assert names(maildir) == before


def test_a_neighbour_changes_flags_and_removes_meanwhile(maildir: Path):
    drop = open_maildir(str(maildir))
    os.rename(maildir / "new" / FIRST, maildir / "cur" / f"{FIRST}:2,F")
    os.unlink(maildir / "cur" / f"{SECOND},S=9,W=11:2,S")
    assert b"".join(drop.read(0)) == b"Subject: 1\n\none\n"
    with pytest.raises(NoSuchMessage):
        drop.read(1)
    os.rename(maildir / "cur" / f"{FIRST}:2,F", maildir / "cur" / f"{FIRST}:2,FR")
    drop.update({1}, {0})
    assert names(maildir) == [f"cur/{FIRST}:2,FRS", f"new/{THIRD}"]
    assert drop.removed == 0


def test_a_message_that_goes_while_it_is_sent_is_sent_whole(maildir: Path):
    (maildir / "new" / FIRST).write_bytes(b"x" * 200000)
    drop = open_maildir(str(maildir))
    pieces = iter(drop.read(0))
    got = next(pieces)
    os.unlink(maildir / "new" / FIRST)
    assert got + b"".join(pieces) == b"x" * 200000


def test_the_drop_lock_keeps_a_second_session_out_until_release(maildir: Path):
    drop = open_maildir(str(maildir))
    before = names(maildir)
    with pytest.raises(MailboxInUse):
        open_maildir(str(maildir))
    drop.release()
    drop.release()  # harmless
    open_maildir(str(maildir)).release()
    assert names(maildir) == before


def test_a_full_disk_can_still_be_emptied(maildir: Path, monkeypatch: pytest.MonkeyPatch):
    def full(function: Any, *arguments: Any) -> Any:
        if function in (os.open, os.write, os.mkdir, os.link):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return function(*arguments)

    monkeypatch.setattr(disk, "_call", full)
    drop = open_maildir(str(maildir))
    assert texts(drop)[0] == b"Subject: 1\n\none\n"
    with pytest.raises(QueueFull):
        drop.uid(0)
    drop.update({0, 2}, set())
    assert names(maildir) == [f"cur/{SECOND},S=9,W=11:2,S"]


def test_what_cannot_be_removed_is_told_and_the_rest_is_removed(
    maildir: Path, monkeypatch: pytest.MonkeyPatch
):
    drop = open_maildir(str(maildir))

    def broken(function: Any, *arguments: Any) -> Any:
        if function is os.unlink and FIRST in arguments[0]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return function(*arguments)

    monkeypatch.setattr(disk, "_call", broken)
    with pytest.raises(SystemTrouble, match="not removed"):
        drop.update({0, 1}, set())
    assert names(maildir) == [f"new/{FIRST}", f"new/{THIRD}"]


def test_no_maildir(tmp_path: Path):
    with pytest.raises(NoSuchFolder) as caught:
        open_maildir(str(tmp_path / "nothing"))
    assert "nothing" in caught.value.detail


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody")
def test_root_becomes_the_owner_of_the_maildir(maildir: Path):
    for path in (maildir, *maildir.rglob("*")):
        os.chown(path, 65534, 65534)
    for path in maildir.parents:
        if path.stat().st_uid == 0 and path.stat().st_mode & 0o777 == 0o700:
            path.chmod(0o711)
    child = os.fork()
    if not child:
        code = 1
        try:
            drop = open_maildir(str(maildir))
            drop.update({0}, set())
            if os.getresuid() == (65534,) * 3 and os.getresgid() == (65534,) * 3:
                code = 0 if os.getgroups() == [65534] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (maildir / "dovecot-uidlist").stat().st_uid == 65534
