"""A Maildir by itself: flags, take, remove, a folder made, move, copy.

Deliveries and UIDs are in test_maildir_crash.py.
"""

from pathlib import Path

from crash.scenario import Say, Scenario

from mailtools.store.maildir import Maildir

SEED = {"1700000001.M1P1R1.h,S=4,W=6": b"a\nb\n", "1700000002.M1P1R1.h,S=4,W=6": b"c\nd\n"}


def empty(folder: Path) -> None:
    Maildir(str(folder)).create()


def seeded(folder: Path) -> None:
    empty(folder)
    for name, text in SEED.items():
        (folder / "new" / name).write_bytes(text)


def texts(folder: Path) -> list[bytes]:
    """All messages a reader sees."""
    maildir = Maildir(str(folder))
    found = []
    for message in maildir.messages():
        with maildir.open(message) as file:
            found.append(file.read())
        assert len(found[-1]) == message.size, "a message is cut short"
    return sorted(found)


# -- flags, folders -------------------------------------------------------------------------------


def flags(folder: Path, say: Say) -> None:
    maildir = Maildir(str(folder))
    first, second = sorted(maildir.messages(), key=lambda message: message.unique)
    first = maildir.take(first)
    maildir.sync()
    say("taken")
    maildir.change_flags(first, add="S")
    maildir.remove(second)
    maildir.sync()
    say("done")


def check_flags(folder: Path, said: list[str]) -> None:
    found = {m.unique: m for m in Maildir(str(folder)).messages()}
    first, second = "1700000001.M1P1R1.h", "1700000002.M1P1R1.h"
    assert first in found
    if "taken" in said:
        assert not found[first].new
    if "done" in said:
        assert found[first].flags == "S"
        assert second not in found
    assert set(texts(folder)) <= set(SEED.values())


def move(folder: Path, say: Say) -> None:
    root = Maildir(str(folder))
    target = root.make_folder("Archive")
    say("made")
    first, second = sorted(root.messages(), key=lambda message: message.unique)
    root.move(first, target, "S")
    say("moved")
    root.copy(second, target)
    say("copied")


def check_move(folder: Path, said: list[str]) -> None:
    first, second = SEED.values()
    archive = folder / ".Archive"
    inbox, moved = texts(folder), texts(archive)
    if "made" in said:
        assert Maildir(str(folder)).folders() == ["Archive"]
    assert first in inbox + moved, "a message was lost on its way"
    assert second in inbox
    if "moved" in said:
        assert first in moved
        assert first not in inbox
    if "copied" in said:
        assert second in moved


SCENARIOS = [
    # A rename is atomic: one of its two folders is enough, but file systems differ in which.
    Scenario("maildir-flags", seeded, flags, check_flags, spare={"cur": 1}),
    Scenario("maildir-move", seeded, move, check_move, stops=9, spare={".Archive/cur": 1}),
]
