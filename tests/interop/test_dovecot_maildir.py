"""One Maildir served by our store and by Dovecot in turn: UIDs, flags, UIDLs stay as they are."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailtools.store.keywords import Keywords
from mailtools.store.maildir import Maildir
from mailtools.store.quota import Limits, Quota, Usage
from mailtools.store.subscriptions import Subscriptions
from mailtools.store.uidlist import UidList

LIBEXEC = Path("/usr/lib/dovecot")
NOBODY = 65534
ROOT = os.getuid() == 0
pytestmark = pytest.mark.skipif(
    shutil.which("doveadm") is None or not (LIBEXEC / "pop3").exists(),
    reason="Dovecot is not installed",
)

CONFIG = """
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
mail_location = maildir:{folder}/Maildir
first_valid_uid = 1
ssl = no
protocols = imap pop3
mail_plugins = quota
plugin {{
  quota = maildir:User quota
  quota_rule = *:storage=1000B
}}
namespace inbox {{
  inbox = yes
}}
"""


class Dovecot:
    """Dovecot's programs on one Maildir, without a server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "run").mkdir()
        (folder / "dovecot.conf").write_text(CONFIG.format(folder=folder))

    def run(self, program: str, *arguments: str, input: str = "") -> str:
        if ROOT:  # only root can start a process as somebody else
            os.seteuid(0)
        try:
            done = subprocess.run(
                [program, "-c", f"{self.folder}/dovecot.conf", *arguments],
                input=input.encode(),
                capture_output=True,
                env={"USER": "somebody", "HOME": str(self.folder), "PATH": os.environ["PATH"]},
                check=False,
                timeout=60,
                **({"user": NOBODY, "group": NOBODY, "extra_groups": []} if ROOT else {}),
            )
        finally:
            if ROOT:
                os.seteuid(NOBODY)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def doveadm(self, *arguments: str, input: str = "") -> str:
        return self.run("doveadm", *arguments, input=input)

    def fetch(self, fields: str, mailbox: str = "INBOX") -> list[list[str]]:
        lines = self.run("doveadm", "-f", "tab", "fetch", fields, "mailbox", mailbox).split("\n")
        return sorted((line.split("\t") for line in lines[1:] if line), key=lambda r: int(r[0]))

    def uidls(self) -> list[str]:
        text = self.run(str(LIBEXEC / "pop3"), input="UIDL\r\nQUIT\r\n")
        return re.findall(r"^[0-9]+ (\S+)\r?$", text, re.MULTILINE)


@pytest.fixture
def dovecot(tmp_path: Path) -> Iterator[Dovecot]:
    made = Dovecot(tmp_path)
    if not ROOT:
        yield made
        return
    # Dovecot refuses to serve root's mail, so that all of us are nobody meanwhile.
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and len(folder.parts) > 2:
            folder.chmod(folder.stat().st_mode | 0o011)
    for path in (tmp_path, tmp_path / "run"):
        os.chown(path, NOBODY, NOBODY)
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield made
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def maildir(dovecot: Dovecot) -> Maildir:
    made = Maildir(f"{dovecot.folder}/Maildir")
    made.create()
    return made


def deliver(maildir: Maildir, subject: str, **how) -> None:
    delivery = maildir.begin()
    delivery.write(f"Subject: {subject}\n\nhello\n".encode())
    delivery.commit(**how)


def ours(maildir: Maildir) -> list[list[str]]:
    """UID, size on the wire and flags, by UID."""
    pairs = UidList(maildir).sync(maildir.messages(fresh=True))
    return [[str(uid), str(m.wire_size), m.flags] for uid, m in pairs]


def test_dovecot_shows_the_uids_sizes_and_dates_that_we_gave(dovecot, maildir):
    for number in range(5):
        deliver(maildir, f"number {number}", mtime=1_700_000_000)
    before = ours(maildir)
    uidlist = UidList(maildir)
    uidls = [uidlist.uidl(*pair) for pair in uidlist.sync(maildir.messages())]
    seen = dovecot.fetch("uid size.virtual date.received.unixtime")
    assert seen == [[uid, size, "1700000000"] for uid, size, _ in before]
    assert dovecot.uidls() == uidls
    assert ours(maildir) == before
    assert UidList(maildir).uidvalidity == uidlist.uidvalidity


def test_flags_and_keywords_go_both_ways(dovecot, maildir):
    for subject in ("one", "two"):
        deliver(maildir, subject)
    pairs = UidList(maildir).sync(maildir.messages())
    keywords = Keywords(UidList(maildir))
    maildir.change_flags(pairs[0][1], add="SF" + keywords.letters(["$Junk"]))
    assert dovecot.fetch("uid flags") == [["1", "\\Flagged \\Seen $Junk"], ["2", "\\Recent"]]
    dovecot.doveadm("flags", "add", r"\Answered Later", "mailbox", "INBOX", "uid", "2")
    dovecot.doveadm("flags", "remove", r"\Flagged", "mailbox", "INBOX", "uid", "1")
    assert [[uid, flags] for uid, _, flags in ours(maildir)] == [["1", "Sa"], ["2", "Rb"]]
    assert keywords.named("ab") == ["$Junk", "Later"]
    keywords.letters(["Third"])
    dovecot.doveadm("flags", "add", "Third", "mailbox", "INBOX", "uid", "2")
    assert ours(maildir)[1][2] == "Rbc"


def test_each_gives_uids_to_what_came_while_the_other_served(dovecot, maildir):
    deliver(maildir, "ours")
    assert [row[0] for row in ours(maildir)] == ["1"]
    deliver(maildir, "new to dovecot")
    assert [row[0] for row in dovecot.fetch("uid")] == ["1", "2"]
    dovecot.doveadm("save", "-m", "INBOX", input="Subject: dovecot's\n\nhi\n")
    deliver(maildir, "new to us")
    assert [row[0] for row in ours(maildir)] == ["1", "2", "3", "4"]
    dovecot.doveadm("expunge", "mailbox", "INBOX", "uid", "2,4")
    deliver(maildir, "the last")
    assert [row[0] for row in ours(maildir)] == ["1", "3", "5"]
    assert [row[0] for row in dovecot.fetch("uid")] == ["1", "3", "5"]
    log = dovecot.folder / "log"
    assert not log.exists() or "Error" not in log.read_text()


def test_we_write_a_list_anew_and_dovecot_goes_on_with_it(dovecot, maildir):
    for number in range(150):
        deliver(maildir, f"number {number}")
    rows = dovecot.fetch("uid guid")
    kept = rows[-10:]
    dovecot.doveadm("expunge", "mailbox", "INBOX", "uid", "1:90")
    deliver(maildir, "new")
    after = ours(maildir)
    assert len(Path(maildir.path, "dovecot-uidlist").read_text().split("\n")) < 70
    assert after[-1][0] == "151"
    assert [row for row in dovecot.fetch("uid guid") if row in kept] == kept
    assert [row[0] for row in dovecot.fetch("uid")] == [row[0] for row in after]


def test_folders_and_subscriptions(dovecot, maildir):
    maildir.make_folder("Entwürfe.Müll & Co")
    deliver(maildir.folder("Entwürfe.Müll & Co"), "x")
    Subscriptions(maildir.path).add("Entwürfe.Müll & Co")
    assert "Entwürfe.Müll & Co" in dovecot.doveadm("mailbox", "list", "-8").split("\n")
    assert dovecot.doveadm("mailbox", "list", "-8", "-s").split("\n")[0] == "Entwürfe.Müll & Co"
    dovecot.doveadm("mailbox", "create", "-s", "Größe.日本")
    assert "Größe.日本" in maildir.folders()
    assert Subscriptions(maildir.path).names() == ["Entwürfe.Müll & Co", "Größe.日本"]


def test_quota_is_summed_up_together(dovecot, maildir):
    quota = Quota(maildir.path, Limits(1000))
    delivery = maildir.begin()
    delivery.write(b"x" * 300)
    delivery.commit()
    quota.add(300, 1)
    dovecot.doveadm("save", "-m", "INBOX", input="Subject: x\n\n" + "y" * 88 + "\n")
    usage = quota.usage()
    assert usage.messages == 2
    assert usage == Usage(sum(m.size for m in maildir.messages(fresh=True)), 2)
    assert Quota(maildir.path).limits == Limits(1000)
    assert not quota.allows(700)


def test_a_maildir_of_dovecot_s_making_is_served_in_place(dovecot):
    for number in range(3):
        dovecot.doveadm("save", "-m", "INBOX", input=f"Subject: {number}\n\nhi\n")
    dovecot.doveadm("flags", "add", r"\Seen $Label1", "mailbox", "INBOX", "uid", "2")
    dovecot.doveadm("expunge", "mailbox", "INBOX", "uid", "1")
    before = Path(dovecot.folder, "Maildir", "dovecot-uidlist").read_bytes()
    maildir = Maildir(f"{dovecot.folder}/Maildir")
    uidlist = UidList(maildir)
    pairs = uidlist.sync(maildir.messages())
    assert [(uid, message.flags) for uid, message in pairs] == [(2, "Sa"), (3, "")]
    assert Keywords(uidlist).named("a") == ["$Label1"]
    assert [uidlist.uidl(*pair) for pair in pairs] == dovecot.uidls()
    assert Path(uidlist.path).read_bytes() == before
