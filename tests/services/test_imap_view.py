"""A selected mailbox while others deliver, rename, flag and remove: what is told, and when."""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailtools.errors import ConnectionDied
from mailtools.mail.mime import Part
from mailtools.protocol.imap.server import ImapServer
from mailtools.services.imap.mailbox import ImapSession
from mailtools.services.imap.message import RecentStructures
from mailtools.services.imap.room import Room
from mailtools.store import disk
from mailtools.store.quota import Limits, Quota


class Talk:
    """An engine on a Maildir, and what it says."""

    def __init__(self, path: Path, select: str = "SELECT INBOX") -> None:
        self.engine = ImapServer(None, session=ImapSession(str(path), append_limit=1 << 20))
        self._drain()
        if select:
            self(select)

    def _drain(self) -> list[str]:
        said = b""
        while piece := self.engine.output():
            said += piece
        return said.decode("latin-1").split("\r\n")[:-1]

    def __call__(self, command: str) -> list[str]:
        self.engine.receive(f"a {command}\r\n".encode())
        return self._drain()

    def wait(self) -> list[str]:
        """Let a second of IDLE pass."""
        self.engine.timed_out()
        return self._drain()


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    for name in ("cur", "new", "tmp"):
        (tmp_path / name).mkdir()
    for number in range(1, 4):
        deliver(tmp_path, number)
    return tmp_path


def deliver(maildir: Path, number: int, folder: str = "new") -> None:
    body = f"Subject: {number}\n\nx\n"
    (maildir / "tmp" / "x").write_text(body)
    size = f"S={len(body)},W={len(body) + 3}"
    name = f"{1700000000 + number}.M{number}P1.host,{size}{':2,' if folder == 'cur' else ''}"
    (maildir / "tmp" / "x").rename(maildir / folder / name)


def message(maildir: Path, number: int) -> Path:
    return next(maildir.glob(f"*/{1700000000 + number}.*"))


def flag(maildir: Path, number: int, letters: str) -> None:
    """Another reader sets the flags."""
    path = message(maildir, number)
    path.rename(maildir / "cur" / f"{path.name.partition(':')[0]}:2,{letters}")


# -- what is told when ----------------------------------------------------------------------------


def test_a_delivery_is_told_with_the_next_command(maildir: Path) -> None:
    talk = Talk(maildir)
    deliver(maildir, 4)
    assert talk("NOOP") == ["* 4 EXISTS", "* 4 RECENT", "a OK Noop completed"]
    assert talk("NOOP") == ["a OK Noop completed"]


def test_a_delivery_is_told_while_idling(maildir: Path) -> None:
    talk = Talk(maildir)
    assert talk("IDLE") == ["+ idling"]
    assert talk.engine.timeout == 1.0
    assert talk.wait() == []
    deliver(maildir, 4)
    assert talk.wait() == ["* 4 EXISTS", "* 4 RECENT"]
    message(maildir, 2).unlink()
    assert talk.wait() == ["* 2 EXPUNGE", "* 3 EXISTS", "* 3 RECENT"]


def test_a_long_idle_shows_signs_of_life_and_ends(maildir: Path) -> None:
    talk = Talk(maildir)
    talk("IDLE")
    said = [line for _ in range(1799) for line in talk.wait()]
    assert set(said) == {"* OK Still here"}
    assert talk.wait()[0].startswith("* BYE")
    assert talk.engine.closed


@pytest.mark.parametrize("command", ["FETCH 1 UID", "STORE 1 +FLAGS (\\Seen)", "SEARCH ALL"])
def test_no_expunge_where_numbers_are_in_use(maildir: Path, command: str) -> None:
    talk = Talk(maildir)
    message(maildir, 2).unlink()
    assert not [line for line in talk(command) if "EXPUNGE" in line]
    assert "* 2 EXPUNGE" in talk("UID " + command)


def test_numbers_stay_until_the_expunge_is_told(maildir: Path) -> None:
    talk = Talk(maildir)
    message(maildir, 1).unlink()
    assert talk("FETCH 2:3 UID")[:2] == ["* 2 FETCH (UID 2)", "* 3 FETCH (UID 3)"]
    talk("NOOP")
    assert talk("FETCH 1:2 UID")[:2] == ["* 1 FETCH (UID 2)", "* 2 FETCH (UID 3)"]


def test_several_removals_are_told_from_the_last(maildir: Path) -> None:
    talk = Talk(maildir)
    message(maildir, 1).unlink()
    message(maildir, 3).unlink()
    assert talk("NOOP")[:2] == ["* 3 EXPUNGE", "* 1 EXPUNGE"]


def test_flags_of_others_are_told(maildir: Path) -> None:
    talk = Talk(maildir)
    flag(maildir, 2, "FS")
    assert talk("NOOP")[0] == "* 2 FETCH (UID 2 FLAGS (\\Flagged \\Seen \\Recent))"
    assert talk("NOOP") == ["a OK Noop completed"]


def test_flags_of_others_survive_ours(maildir: Path) -> None:
    talk = Talk(maildir)
    flag(maildir, 2, "FP")
    assert "\\Flagged" in talk("STORE 2 +FLAGS (\\Seen)")[0]
    assert message(maildir, 2).name.endswith(":2,FPS")
    talk("STORE 2 FLAGS (\\Draft)")
    assert message(maildir, 2).name.endswith(":2,DP")  # P is nobody's to take away here


def test_silent_keeps_quiet_of_our_own_change_only(maildir: Path) -> None:
    talk = Talk(maildir)
    flag(maildir, 2, "F")
    said = talk("STORE 1:2 +FLAGS.SILENT (\\Seen)")
    assert said == [
        "* 2 FETCH (UID 2 FLAGS (\\Flagged \\Seen \\Recent))",
        "a OK Store completed",
    ]


def test_new_keywords_are_told_before_they_are_used(maildir: Path) -> None:
    one, two = Talk(maildir), Talk(maildir)
    one("STORE 1 +FLAGS ($Work)")
    said = two("NOOP")
    assert said[0].startswith("* FLAGS (")
    assert "$Work" in said[0]
    assert "$Work" in next(line for line in said if "FETCH" in line)


def test_two_sessions_share_recent_out(maildir: Path) -> None:
    one = Talk(maildir)
    two = Talk(maildir, "")
    assert "* 0 RECENT" in two("SELECT INBOX")
    deliver(maildir, 4)
    assert "* 1 RECENT" in two("NOOP")
    assert "* 4 EXISTS" in one("NOOP")
    assert "\\Recent" not in one("FETCH 4 FLAGS")[0]


def test_examine_takes_nothing_from_new(maildir: Path) -> None:
    talk = Talk(maildir, "")
    assert "* 3 RECENT" in talk("EXAMINE INBOX")
    talk("FETCH 1:* BODY[]")
    assert len(list((maildir / "new").iterdir())) == 3


# -- messages that go or move while they are read -------------------------------------------------


def test_a_message_that_is_gone_is_left_out_of_a_fetch(maildir: Path) -> None:
    talk = Talk(maildir)
    message(maildir, 2).unlink()
    said = talk("FETCH 1:3 BODY.PEEK[TEXT]")
    assert [line for line in said if line.startswith("*")] == [
        "* 1 FETCH (BODY[TEXT] {3}",
        "* 3 FETCH (BODY[TEXT] {3}",
    ]
    assert said[-1].startswith("a NO [EXPUNGEISSUED]")


def test_a_message_that_is_gone_is_not_stored_to(maildir: Path) -> None:
    talk = Talk(maildir)
    message(maildir, 2).unlink()
    said = talk("UID STORE 1:3 +FLAGS (\\Seen)")
    assert [line for line in said if "FETCH" in line and " 2 FETCH" in line] == []
    assert said[-1].startswith("a NO [EXPUNGEISSUED]")
    assert "* 2 EXPUNGE" in said


def test_a_renamed_message_is_found_again(maildir: Path) -> None:
    talk = Talk(maildir)
    flag(maildir, 2, "S")
    assert talk("FETCH 2 BODY.PEEK[TEXT]")[:2] == ["* 2 FETCH (BODY[TEXT] {3}", "x"]


def test_copy_is_all_or_nothing(maildir: Path) -> None:
    talk = Talk(maildir)
    talk("CREATE Work")
    message(maildir, 3).unlink()
    assert talk("COPY 1:3 Work")[-1].startswith("a NO [EXPUNGEISSUED]")
    assert list((maildir / ".Work" / "cur").iterdir()) == []


def test_move_takes_what_is_there(maildir: Path) -> None:
    talk = Talk(maildir)
    talk("CREATE Work")
    message(maildir, 2).unlink()
    said = talk("MOVE 1:3 Work")
    assert "COPYUID" in said[0]
    assert "1,3 1:2" in said[0]
    assert said[-1].startswith("a NO [EXPUNGEISSUED]")
    assert len(list((maildir / ".Work" / "cur").iterdir())) == 2
    assert talk("FETCH 1:* UID") == ["a OK Fetch completed"]


def test_a_mailbox_that_was_removed(maildir: Path) -> None:
    one, two = Talk(maildir), Talk(maildir)
    one("CREATE Work")
    two("SELECT Work")
    one("DELETE Work")
    assert two("NOOP")[-1].startswith("a NO [NONEXISTENT]")
    assert two("UNSELECT") == ["a OK Unselect completed"]
    assert two("SELECT INBOX")[-1].startswith("a OK")


# -- what it costs, and what it promises ----------------------------------------------------------


def test_a_listing_opens_no_file(maildir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk(maildir)

    def no(*_: Any, **__: Any) -> Any:
        raise AssertionError("a message was opened")

    monkeypatch.setattr("mailtools.store.maildir.Maildir.open", no)
    monkeypatch.setattr("mailtools.store.maildir_names.measure", no)
    assert "RFC822.SIZE 17" in talk("FETCH 1:* (FLAGS UID RFC822.SIZE INTERNALDATE)")[0]
    assert talk("SEARCH UNSEEN LARGER 5 SINCE 1-Jan-2000")[0] == "* SEARCH 1 2 3"
    assert "SIZE 51" in talk("STATUS INBOX (MESSAGES SIZE UNSEEN)")[0]


@pytest.mark.parametrize(
    "command",
    [
        "STORE 1 +FLAGS (\\Seen)",
        "COPY 1 Work",
        "MOVE 1 Work",
        "EXPUNGE",
        "CREATE Other",
        "APPEND INBOX {5+}\r\na: b\n",
    ],
)
def test_ok_comes_after_the_sync(
    maildir: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Each command that promises something syncs a directory after its last change of it."""
    talk = Talk(maildir)
    talk("CREATE Work")
    talk("STORE 3 +FLAGS (\\Deleted)")
    if command.startswith("APPEND"):
        talk("UNSELECT")  # else what is new is taken in afterwards, which is no promise
    calls: list[str] = []
    real: Callable[..., Any] = disk._call

    def record(function: Callable[..., Any], *arguments: Any) -> Any:
        if not str(arguments[0]).endswith(".lock"):
            calls.append(function.__name__)
        return real(function, *arguments)

    monkeypatch.setattr(disk, "_call", record)
    assert talk(command)[-1].startswith("a OK")
    changes = [name for name in calls if name in ("rename", "link", "unlink", "mkdir")]
    assert changes
    last = max(n for n, name in enumerate(calls) if name in changes)
    assert "fsync" in calls[last:]


def test_a_full_disk_is_said_and_nothing_appears(
    maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(maildir)
    real: Callable[..., Any] = disk._call

    def full(function: Callable[..., Any], *arguments: Any) -> Any:
        if function is os.write:
            raise OSError(28, "No space left on device")
        return real(function, *arguments)

    monkeypatch.setattr(disk, "_call", full)
    assert talk("APPEND INBOX {5+}\r\na: b\n")[-1].startswith("a NO [OVERQUOTA]")
    monkeypatch.setattr(disk, "_call", real)
    assert talk("NOOP") == ["a OK Noop completed"]
    assert list((maildir / "tmp").iterdir()) == []


def test_a_full_disk_hides_what_has_no_uid_and_lets_the_rest_be_removed(
    maildir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Talk(maildir)  # all three have their UIDs
    deliver(maildir, 4)
    real = disk._call

    def full(function: Callable[..., Any], *arguments: Any) -> Any:
        if function is os.write:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(function, *arguments)

    monkeypatch.setattr(disk, "_call", full)
    talk = Talk(maildir, "")
    said = talk("SELECT INBOX")
    assert "* 3 EXISTS" in said
    assert said[-1].startswith("a OK ")
    assert talk("NOOP") == ["a OK Noop completed"]
    assert capfd.readouterr().err.count("hidden proto=imap") == 1
    assert "* 1 FETCH (UID 1)" in talk("FETCH 1 UID")
    talk("STORE 1 +FLAGS.SILENT (\\Deleted)")
    assert talk("EXPUNGE") == ["* 1 EXPUNGE", "a OK Expunge completed"]
    monkeypatch.setattr(disk, "_call", real)
    assert "* 3 EXISTS" in talk("NOOP")
    assert "* 3 FETCH (UID 4)" in talk("FETCH 3 UID")


def test_a_move_on_a_full_disk_is_done_and_names_no_uid(
    maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(maildir)
    talk("CREATE Trash")
    talk("STATUS Trash (MESSAGES)")
    real = disk._call

    def full(function: Callable[..., Any], *arguments: Any) -> Any:
        if function is os.write:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(function, *arguments)

    monkeypatch.setattr(disk, "_call", full)
    said = talk("UID MOVE 2 Trash")
    assert said[:2] == ["* OK Moved", "* 2 EXPUNGE"]
    assert said[-1] == "a OK Move completed"
    assert "* STATUS Trash (MESSAGES 0)" in talk("STATUS Trash (MESSAGES)")
    monkeypatch.setattr(disk, "_call", real)
    assert "* STATUS Trash (MESSAGES 1)" in talk("STATUS Trash (MESSAGES)")


def test_a_large_message_goes_out_in_pieces(maildir: Path) -> None:
    text = b"Subject: large\n\n" + b"0123456789\n" * 400_000
    (maildir / "cur" / "1700000009.M9P1.host:2,").write_bytes(text)
    talk = Talk(maildir)
    talk.engine.receive(b"a FETCH 4 BODY.PEEK[]\r\n")
    pieces = []
    while piece := talk.engine.output():
        pieces.append(piece)
    assert max(map(len, pieces)) < 1 << 20
    wire = text.replace(b"\n", b"\r\n")
    assert b"".join(pieces) == b"* 4 FETCH (BODY[] {%d}\r\n%b)\r\na OK Fetch completed\r\n" % (
        len(wire),
        wire,
    )
    for start in (0, 3_000_001, len(wire) - 7):
        said = talk(f"FETCH 4 BODY.PEEK[]<{start}.20>")
        part = wire[start : start + 20]
        assert (
            "\r\n".join(said)
            .encode()
            .startswith(b"* 4 FETCH (BODY[]<%d> {%d}\r\n%b)" % (start, len(part), part))
        )


def test_a_message_cut_short_while_it_is_sent_ends_the_session(maildir: Path) -> None:
    path = maildir / "cur" / "1700000009.M9P1.host:2,"
    path.write_bytes(b"Subject: large\n\n" + b"0123456789\n" * 400_000)
    talk = Talk(maildir)
    talk.engine.receive(b"a FETCH 4 BODY.PEEK[]\r\n")
    assert talk.engine.output().startswith(b"* 4 FETCH (BODY[] {")
    with path.open("r+b") as file:
        file.truncate(100)
    with pytest.raises(ConnectionDied):
        list(iter(talk.engine.output, b""))


def test_a_mailbox_of_ten_thousand_is_listed_at_once(tmp_path: Path) -> None:
    for name in ("cur", "new", "tmp"):
        (tmp_path / name).mkdir()
    for number in range(10_000):
        (tmp_path / "cur" / f"{1700000000 + number}.M1P1.host,S=10,W=12:2,S").touch()
    started = time.process_time()
    talk = Talk(tmp_path)
    assert len(talk("FETCH 1:* (FLAGS UID RFC822.SIZE)")) == 10_001
    assert time.process_time() - started < 60  # a second would do; a file opened each would not


def test_renaming_inbox_leaves_it_empty(maildir: Path) -> None:
    talk = Talk(maildir, "")
    assert talk("RENAME INBOX Old.2024")[-1].startswith("a OK")
    assert "MESSAGES 0" in talk("STATUS INBOX (MESSAGES)")[0]
    assert "MESSAGES 3" in talk("STATUS Old.2024 (MESSAGES)")[0]


def test_a_full_mailbox_takes_nothing_more_until_something_goes(maildir: Path) -> None:
    before = sum(path.stat().st_size for path in (maildir / "cur").iterdir())
    before += sum(path.stat().st_size for path in (maildir / "new").iterdir())
    talk = Talk(maildir, select="")
    room = Room(Quota(str(maildir), Limits(octets=before + 30)))
    talk.engine = ImapServer(
        None, session=ImapSession(str(maildir), append_limit=1 << 20, room=room)
    )
    talk("SELECT INBOX")
    message = "Subject: x\r\n\r\nhello\r\n"
    append = f"APPEND INBOX {{{len(message)}+}}\r\n{message}"
    assert talk(append)[-1].startswith("a OK [APPENDUID")
    assert talk(append)[-1].startswith("a NO [OVERQUOTA]")
    assert talk("COPY 1 INBOX")[-1].startswith("a NO [OVERQUOTA]")
    assert os.listdir(maildir / "tmp") == []
    talk("STORE 1:* +FLAGS (\\Deleted)")
    talk("EXPUNGE")
    assert talk(append)[-1].startswith("a OK [APPENDUID")
    assert Quota(str(maildir)).usage() == (len(message) - 3, 1)


def test_structures_are_remembered_by_their_parts() -> None:
    kept, made = RecentStructures(100), []

    def look(uid: int, parts: int) -> None:
        kept.structure(uid, lambda: made.append(uid) or Part(0, parts=[Part(1)] * (parts - 1)))

    for uid in range(1, 51):
        look(uid, 2)
    look(1, 2)  # still there
    look(60, 101)  # too many for ever
    look(60, 101)
    look(70, 98)  # takes the place of all but one
    look(50, 2)
    look(49, 2)
    assert made == [*range(1, 51), 60, 60, 70, 49]


def test_special_uses_are_given_once(maildir: Path) -> None:
    talk = Talk(maildir, "")
    for name in ("Spam", "Junk", "Sent", "Archive"):
        talk(f"CREATE {name}")
    said = talk('LIST (SPECIAL-USE) "" *')
    assert [line.split('"." ')[1] for line in said[:-1]] == ["Archive", "Junk", "Sent"]
