"""pop3d: a session from its greeting to QUIT; its removals last, and UIDLs stay."""

from pathlib import Path

from crash.scenario import Say, Scenario

from mailtools.errors import NoSuchFolder
from mailtools.protocol.pop3.server import Pop3Server
from mailtools.services.pop3.mailbox import Maildrop
from mailtools.store.maildir import Maildir

MESSAGES = {
    "new/1700000001.M1P1R1.h,S=4,W=6": b"a\nb\n",
    "cur/1700000002.M1P1R1.h,S=4,W=6:2,": b"c\nd\n",
    "new/1700000003.M1P1R1.h,S=4,W=6": b"e\nf\n",
}

# The first two have their UIDs, the third is new.
UIDS = (
    "3 V1700000000 N9 G0123456789abcdef0123456789abcdef\n"
    "3 :1700000001.M1P1R1.h,S=4,W=6\n"
    "8 :1700000002.M1P1R1.h,S=4,W=6\n"
)


def prepare(folder: Path) -> None:
    Maildir(str(folder)).create()
    for name, text in MESSAGES.items():
        (folder / name).write_bytes(text)
    (folder / "dovecot-uidlist").write_text(UIDS)


def talk(engine: Pop3Server, line: str) -> list[str]:
    if line:
        engine.receive(f"{line}\r\n".encode())
    said = b""
    while piece := engine.output():
        said += piece
    return said.decode().split("\r\n")[:-1]


def act(folder: Path, say: Say) -> None:
    engine = Pop3Server(None, drop=Maildrop(str(folder)))
    try:
        assert talk(engine, "")[0].startswith("+OK 3 ")
        uidls = talk(engine, "UIDL")
        assert uidls[0].startswith(("+OK", "-ERR [SYS/TEMP]")), uidls
        for line in uidls[1:-1]:
            say(f"uidl {line}")
        for command in ("RETR 3", "DELE 1", "DELE 2"):
            assert talk(engine, command)[0].startswith("+OK")
        bye = talk(engine, "QUIT")
        assert bye[0].startswith(("+OK", "-ERR [SYS/TEMP]")), bye
        if bye[0].startswith("+OK"):
            say("bye")
    finally:
        engine.abort()


def check(folder: Path, said: list[str]) -> None:
    (folder / "dovecot-uidlist.lock").unlink(missing_ok=True)  # its holder is dead
    maildir = Maildir(str(folder))
    if not maildir.exists:
        raise NoSuchFolder
    # A name that sorts first: it would take a UID that is free.
    (folder / "cur/1600000000.M1P1R1.h,S=0,W=0:2,").touch()
    drop = Maildrop(str(folder))
    try:
        texts = [b"".join(drop.read(index)) for index in range(len(drop.sizes))]
        uids = {(text, drop.uid(index)) for index, text in enumerate(texts)}
    finally:
        drop.release()
    texts.remove(b"")
    first, second, third = MESSAGES.values()
    assert set(texts) <= {first, second, third}
    # Twice only where a power cut came into the rename from new/ to cur/, and it is not atomic.
    assert texts.count(third) in (1, 2)
    told = dict(line.split()[1:] for line in said if line.startswith("uidl"))
    for number, text in enumerate(MESSAGES.values(), 1):
        if str(number) in told and text in texts:
            assert (text, told[str(number)]) in uids, "its reader would fetch it again"
    if "bye" in said:
        assert texts == [third], "a removed message is back"


SCENARIOS = [Scenario("pop3-quit", prepare, act, check, stops=9)]
