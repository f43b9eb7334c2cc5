"""imapd: APPEND, STORE, MOVE and EXPUNGE; what was answered with OK lasts, and UIDs stay."""

import re
from pathlib import Path

from crash.scenario import Say, Scenario

from mailtools.protocol.imap.server import ImapServer
from mailtools.services.imap.mailbox import ImapSession
from mailtools.store.maildir import Maildir
from mailtools.store.uidlist import UidList

TEXT = b"Subject: appended\n\n" + b"0123456789\n" * 10
FIRST, SECOND, THIRD = b"a\nb\n", b"c\nd\n", b"e\nf\n"
SEED = {
    "cur/1700000001.M1P1R1.h,S=4,W=6:2,": FIRST,
    "cur/1700000002.M1P1R1.h,S=4,W=6:2,": SECOND,
    "cur/1700000003.M1P1R1.h,S=4,W=6:2,": THIRD,
}
FOURTH, FIFTH = b"g\nh\n", b"i\nj\n"
NEW = {
    "cur/1700000004.M1P1R1.h,S=4,W=6:2,F": FOURTH,
    "cur/1700000005.M1P1R1.h,S=4,W=6:2,R": FIFTH,
}
LATE = "cur/1600000000.M1P1R1.h,S=0,W=0:2,"  # sorts first: it would take a UID that is free
HEADER = "3 V1700000000 N9 G0123456789abcdef0123456789abcdef\n"


def prepare(folder: Path) -> None:
    root = Maildir(str(folder))
    root.create()
    root.make_folder("Archive")
    for name, text in SEED.items():
        (folder / name).write_bytes(text)
    lines = "".join(
        f"{uid} :{name[4:].partition(':')[0]}\n" for uid, name in zip((3, 5, 8), SEED, strict=True)
    )
    (folder / "dovecot-uidlist").write_text(HEADER + lines)
    (folder / ".Archive" / "dovecot-uidlist").write_text(HEADER)


class Client:
    """Sends commands to the real engine and session; says which were answered with OK."""

    def __init__(self, folder: Path, say: Say) -> None:
        session = ImapSession(str(folder), append_limit=100000)
        self._engine = ImapServer(None, session=session)
        self._say = say
        self._drain()

    def _drain(self) -> str:
        said = b""
        while piece := self._engine.output():
            said += piece
        return said.decode()

    def tell_new(self) -> None:
        """Say which UIDs above 8 are shown, with the flag of each."""
        self._engine.receive(b"a UID FETCH 9:* FLAGS\r\n")
        for uid, flag in re.findall(r"UID (\d+) FLAGS \(\\(Flagged|Answered)", self._drain()):
            self._say(f"shown {uid} {flag}")

    def do(self, tag: str, command: bytes) -> bool:
        """Send a command; its answer is OK (True), or a NO that blames nobody but this host."""
        self._engine.receive(tag.encode() + b" " + command + b"\r\n")
        said = self._drain()
        last = said.rstrip("\r\n").split("\r\n")[-1]
        assert last.startswith((f"{tag} OK", f"{tag} NO")), said
        assert last.startswith(f"{tag} OK") or "UNAVAILABLE" in last or "OVERQUOTA" in last, said
        if last.startswith(f"{tag} NO"):
            return False
        told = re.search(r"\[(APPENDUID|COPYUID) ([0-9 :,]+)\]", said)
        self._say(f"{tag} {told[2] if told else ''}".rstrip())
        return True


def append_and_store(folder: Path, say: Say) -> None:
    client = Client(folder, say)
    wire = TEXT.replace(b"\n", b"\r\n")
    client.do("append", b"APPEND INBOX (\\Flagged) {%d+}\r\n%b" % (len(wire), wire))
    if client.do("select", b"SELECT INBOX"):
        client.do("store", b"UID STORE 3 +FLAGS (\\Answered)")


def move_and_expunge(folder: Path, say: Say) -> None:
    client = Client(folder, say)
    if client.do("select", b"SELECT INBOX"):
        client.do("move", b"UID MOVE 5 Archive")
        client.do("delete", b"UID STORE 8 +FLAGS.SILENT (\\Deleted)")
        client.do("expunge", b"UID EXPUNGE 8")


def read_and_remove(folder: Path, say: Say) -> None:
    """Two deliveries have no UIDs yet; what has one can be read and removed whatever fails."""
    client = Client(folder, say)
    if client.do("select", b"SELECT INBOX"):
        client.tell_new()
        client.do("delete", b"UID STORE 8 +FLAGS.SILENT (\\Deleted)")
        client.do("expunge", b"UID EXPUNGE 8")


def prepare_new(folder: Path) -> None:
    prepare(folder)
    for name, text in NEW.items():
        (folder / name).write_bytes(text)


def check_new(folder: Path, said: list[str]) -> None:
    check(folder, said)
    inbox = messages(folder)
    assert {FOURTH, FIFTH} <= {text for text, _ in inbox.values()}
    for line in said:
        if line.startswith("shown"):
            _, uid, flag = line.split()
            assert inbox[int(uid)] == {"Flagged": (FOURTH, "F"), "Answered": (FIFTH, "R")}[flag]


def messages(folder: Path) -> dict[int, tuple[bytes, str]]:
    """Text and flags by UID."""
    (folder / "dovecot-uidlist.lock").unlink(missing_ok=True)  # its holder is dead
    (folder / LATE).touch()
    maildir = Maildir(str(folder))
    uids = UidList(maildir)
    found = {}
    for uid, message in uids.sync(maildir.messages()):
        with maildir.open(message) as file:
            found[uid] = file.read(), message.flags
            if message.name == LATE[4:]:
                del found[uid]
    assert uids.uidvalidity == 1700000000
    return found


def check(folder: Path, said: list[str]) -> None:
    inbox, archive = messages(folder), messages(folder / ".Archive")
    both = [text for text, _ in (*inbox.values(), *archive.values())]
    assert set(both) <= {FIRST, SECOND, THIRD, FOURTH, FIFTH, TEXT}, "half a message is seen"
    assert FIRST in both
    assert SECOND in both
    done = {line.split()[0]: line.split()[1:] for line in said}
    if "append" in done:
        assert inbox[int(done["append"][1])] == (TEXT, "F")
    if "store" in done:
        assert inbox[3] == (FIRST, "R")
    if "move" in done:
        assert 5 not in inbox
        assert (SECOND, "") in archive.values()
        assert not done["move"] or archive[int(done["move"][2])] == (SECOND, "")
    if "delete" in done and "expunge" not in done and 8 in inbox:
        assert inbox[8] == (THIRD, "T")
    if "delete" in done and "expunge" in done:
        assert 8 not in inbox


SCENARIOS = [
    Scenario("imap-append", prepare, append_and_store, check, stops=8),
    Scenario("imap-new", prepare_new, read_and_remove, check_new, stops=6),
    # A rename is atomic: one of its two folders is enough, but file systems differ in which.
    Scenario("imap-move", prepare, move_and_expunge, check, stops=9, spare={".Archive/cur": 1}),
]
