"""maildir-check: faults found and mended, UIDs kept."""

import os
import pwd
import re
import time
from pathlib import Path

import pytest

from mailtools.services.check import maildir_check
from mailtools.store.maildir import Maildir
from mailtools.store.uidlist import UidList


@pytest.fixture
def maildir(tmp_path: Path) -> Maildir:
    made = Maildir(str(tmp_path / "Maildir"))
    for folder in (made, made.make_folder("Archive")):
        for _ in range(3):
            delivery = folder.begin()
            delivery.write(b"Subject: x\n\nhello\n")
            delivery.commit()
        UidList(folder).sync(folder.messages())
    return made


def uids(maildir: Maildir) -> dict[str, int]:
    pairs = UidList(maildir).sync(maildir.messages(fresh=True))
    return {message.unique: uid for uid, message in pairs}


def test_nothing_is_wrong(site, maildir):
    done = site.run("maildir-check", maildir.path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    done = site.run("maildir-check", f"{maildir.path}/nowhere")
    assert (done.returncode, done.stdout.count(b"\n")) == (os.EX_DATAERR, 1)
    assert site.run("maildir-check").returncode == os.EX_USAGE


def test_faults_are_found_and_mended_and_uids_stay(site, maildir, monkeypatch):
    before, path = uids(maildir), Path(maildir.path)
    validity = UidList(maildir).uidvalidity
    first, second, third = sorted(maildir.messages(), key=lambda m: m.unique)
    os.rename(first.path, f"{path}/cur/{first.base.replace('S=18', 'S=99')}:2,S,more")
    os.link(second.path, f"{path}/cur/{second.base}:2,F")
    Path(path, "cur", f"{third.base}:2,").write_bytes(b"Subject: other\n\n\n")
    with Path(path, "dovecot-uidlist").open("a") as file:
        file.write("what is this\n")
    (path / "maildirsize").write_text("1000000S\n5 1\n")
    (path / "tmp" / "litter").write_bytes(b"x")
    (path / ".Archive" / "new" / "x").unlink(missing_ok=True)
    os.rename(path / ".Archive" / "tmp", path / "gone")
    now = time.time() + 40 * 3600
    monkeypatch.setattr(time, "time", lambda: now)
    found = [str(fault) for fault in maildir_check.check(str(path), mend=False)]
    assert len(found) == 8, found
    kinds = ("never finished", "has no tmp/", "octets", "too", "unique part", "lines", "says")
    assert all(any(kind in line for line in found) for kind in kinds)
    assert not any("mended" in line for line in found)
    mended = [str(fault) for fault in maildir_check.check(str(path), mend=True)]
    assert all(line.endswith("(mended)") for line in mended)
    assert [str(fault) for fault in maildir_check.check(str(path), mend=False)] == []
    after = uids(maildir)
    assert {unique: after[unique] for unique in before} == before
    assert len(after) == len(before) + 1
    assert UidList(maildir).uidvalidity == validity
    [flagged] = [m for m in maildir.messages() if m.unique == first.unique]
    assert re.search(r",S=18,W=21:2,S,more$", flagged.name)
    assert flagged.base in (path / "dovecot-uidlist").read_text()


def test_the_command_mends(site, maildir):
    with Path(maildir.path, "dovecot-uidlist").open("a") as file:
        file.write("what is this\n")
    done = site.run("maildir-check", maildir.path)
    assert done.returncode == os.EX_DATAERR
    done = site.run("maildir-check", "--mend", maildir.path)
    assert done.returncode == 0
    assert done.stdout.endswith(b"dovecot-uidlist: has lines that cannot be read (mended)\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be led astray")
def test_root_follows_no_links_out_of_the_owners_reach(open_site):
    site, owner = open_site, pwd.getpwnam("games")
    theirs, maildir = site.root / "theirs", site.root / "Maildir"
    for folder in (theirs, maildir, maildir / "new", maildir / "tmp"):
        folder.mkdir()
    (theirs / "important,S=99,W=99").write_text("x\n")
    (maildir / "cur").symlink_to(theirs)
    (maildir / "new" / "1,S=99,W=99\x1b[2J\u202e").write_text("x\n")
    for path in (maildir, *maildir.iterdir()):
        os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
    done = site.run("maildir-check", "--mend", str(maildir))
    assert [path.name for path in theirs.iterdir()] == ["important,S=99,W=99"]
    assert b"Traceback" not in done.stderr
    assert b"\x1b" not in done.stdout
    assert "\u202e" not in done.stdout.decode()
