"""A Maildir as its users meet it: deliver, list, take, flag, copy, remove; readers that race."""

import os
import re
import time
from pathlib import Path

import pytest

from mailtools.errors import NoSuchFolder, NoSuchMessage
from mailtools.store import maildir as module
from mailtools.store.maildir import Maildir
from mailtools.store.maildir_names import Message, measure

TEXT = b"Subject: hello\n\nhello\n"


@pytest.fixture
def maildir(tmp_path: Path) -> Maildir:
    return Maildir(str(tmp_path / "Maildir"))


def deliver(maildir: Maildir, text: bytes = TEXT, unique: str = "", **how) -> Message:
    delivery = maildir.begin(unique)
    delivery.write(text)
    return delivery.commit(**how)


def files(maildir: Maildir) -> list[str]:
    return sorted(
        f"{folder}/{name}"
        for folder in ("tmp", "new", "cur")
        for name in os.listdir(f"{maildir.path}/{folder}")
    )


def test_a_delivery_creates_the_maildir_and_lands_in_new_under_a_name_with_both_sizes(maildir):
    message = deliver(maildir)
    [name] = files(maildir)
    assert re.fullmatch(r"new/[0-9]+\.M[0-9]{6}P[0-9]+R[0-9a-f]+\.[^,:/]+,S=22,W=25", name)
    assert (message.size, message.wire_size, message.new, message.flags) == (22, 25, True, "")
    assert Path(message.path).read_bytes() == TEXT


def test_nothing_is_seen_before_the_commit_nor_after_an_abort(maildir):
    delivery = maildir.begin()
    delivery.write(TEXT)
    assert maildir.messages() == []
    delivery.abort()
    assert files(maildir) == []


def test_flags_and_internal_date_of_an_append(maildir):
    message = deliver(maildir, flags="SFa", mtime=1_000_000_000)
    assert message.name.endswith(":2,FSa")
    assert message.folder == "cur"
    assert os.stat(message.path).st_mtime == 1_000_000_000


def test_a_line_that_keeps_its_cr_counts_once(maildir):
    for pieces in ([b"a\r\nb\nc\rd\n"], [b"a\r", b"", b"\nb", b"\nc\r", b"d\n"]):
        delivery = maildir.begin()
        for piece in pieces:
            delivery.write(piece)
        message = delivery.commit()
        assert (message.size, message.wire_size) == measure(message.path) == (9, 11)


def test_sizes_that_a_name_lacks_are_read_from_the_file(maildir):
    maildir.create()
    Path(maildir.path, "cur", "1700000000.1.host:2,S").write_bytes(TEXT)
    [message] = maildir.messages()
    assert (message.size, message.wire_size, message.flags) == (22, 25, "S")


def test_a_repeated_delivery_finds_its_own_file(maildir):
    first = deliver(maildir, unique="1764000000.M1P2R3Qabc")
    again = deliver(maildir, unique="1764000000.M1P2R3Qabc")
    assert again == first
    taken = maildir.change_flags(first, add="S")
    assert deliver(maildir, unique="1764000000.M1P2R3Qabc") == taken
    assert len(files(maildir)) == 1
    # A name that only begins like it is another delivery.
    deliver(maildir, unique="1764000000.M1P2R3Qab")
    assert len(files(maildir)) == 2


def test_a_repeated_delivery_replaces_what_a_crash_left_in_tmp(maildir):
    delivery = maildir.begin("1764000000.M1P2R3Q1")
    delivery.write(b"half")
    delivery._writer._flush()
    deliver(maildir, unique="1764000000.M1P2R3Q1")
    assert [name[:4] for name in files(maildir)] == ["new/"]
    assert Path(maildir.messages()[0].path).read_bytes() == TEXT


def test_the_list_is_the_same_object_until_something_changes(maildir, monkeypatch):
    deliver(maildir)
    monkeypatch.setattr(module.time, "time", lambda: time_of(maildir) + 10)
    first = maildir.messages()
    assert maildir.messages() is first
    deliver(maildir)
    assert maildir.messages() is not first
    assert len(maildir.messages()) == 2


def test_a_change_within_the_grain_of_an_mtime_is_seen(maildir):
    """Two changes in one tick of the clock: the mtime is the same, the content is not."""
    deliver(maildir)
    stamp = time_of(maildir)
    maildir.messages()
    Path(maildir.path, "new", "1700000000.2.host").write_bytes(TEXT)
    os.utime(f"{maildir.path}/new", (stamp, stamp))
    assert len(maildir.messages()) == 2


def time_of(maildir: Maildir) -> float:
    return max(os.stat(f"{maildir.path}/{name}").st_mtime for name in ("new", "cur"))


def test_take_flag_and_keep_what_others_put_behind_the_flags(maildir):
    maildir.create()
    Path(maildir.path, "new", "1700000000.2.host,U=7").write_bytes(TEXT)
    [message] = maildir.messages()
    taken = maildir.take(message)
    assert taken.name == "1700000000.2.host,U=7:2,"
    os.rename(taken.path, f"{taken.path}Sz,more,and more")
    flagged = maildir.change_flags(taken, add="R", remove="S")
    assert flagged.name == "1700000000.2.host,U=7:2,Rz,more,and more"
    assert (flagged.flags, flagged.unique) == ("Rz", "1700000000.2.host")
    assert maildir.set_flags(flagged, "").name == "1700000000.2.host,U=7:2,,more,and more"


def test_two_readers_who_change_different_flags_both_win(maildir):
    deliver(maildir)
    other = Maildir(maildir.path)
    [mine], [theirs] = maildir.messages(), other.messages()
    maildir.change_flags(mine, add="S")
    assert other.change_flags(theirs, add="F").flags == "FS"
    assert maildir.change_flags(mine, remove="S").flags == "F"


def test_a_message_that_was_renamed_is_followed_and_one_that_is_gone_is_said_to_be(maildir):
    message = deliver(maildir)
    other = Maildir(maildir.path)
    other.change_flags(other.messages()[0], add="S")
    with maildir.open(message) as file:
        assert file.readall() == TEXT
    assert other.remove(message)
    assert not maildir.remove(message)
    for act in (maildir.open, maildir.take, lambda m: maildir.set_flags(m, "S")):
        with pytest.raises(NoSuchMessage):
            act(message)
    assert maildir.messages() == []


def test_a_rename_during_a_scan_is_no_removal(maildir, monkeypatch):
    """The directory is read while another reader renames: the name is passed over once."""
    message = deliver(maildir, flags="S")
    assert len(maildir.messages()) == 1
    names = module._names
    state = {"first": True}

    def once(path: str) -> list[str]:
        if path.endswith("cur") and state.pop("first", False):
            return []
        return names(path)

    monkeypatch.setattr(module, "_names", once)
    assert [m.unique for m in maildir.messages(fresh=True)] == [message.unique]


def test_two_messages_with_one_unique_part_are_both_kept(maildir):
    maildir.create()
    Path(maildir.path, "cur", "1700000000.2.host:2,").write_bytes(b"one\n")
    Path(maildir.path, "new", "1700000000.2.host").write_bytes(b"two\n")
    messages = maildir.messages()
    assert len({message.unique for message in messages}) == 2
    assert {Path(message.path).read_bytes() for message in messages} == {b"one\n", b"two\n"}
    assert len(files(maildir)) == 2


def test_two_names_of_one_file_are_one_message(maildir):
    message = deliver(maildir, flags="S")
    os.link(message.path, message.path + "F")
    assert len(Maildir(maildir.path).messages()) == 1


def test_copy_keeps_the_date_and_shares_the_content(maildir):
    message = deliver(maildir, mtime=1_000_000_000)
    other = maildir.make_folder("Copies")
    copied = maildir.copy(message, other, "Sb")
    assert copied.name.endswith(",S=22,W=25:2,Sb")
    assert copied.unique != message.unique
    assert os.path.samefile(copied.path, message.path)
    assert os.stat(copied.path).st_mtime == 1_000_000_000
    assert [m.unique for m in other.messages()] == [copied.unique]


def test_copy_where_links_cannot_be_made(maildir, monkeypatch):
    message = deliver(maildir, mtime=1_000_000_000)
    other = maildir.make_folder("Copies")

    def refuse(*_, **__):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    copied = maildir.copy(message, other, "S")
    assert Path(copied.path).read_bytes() == TEXT
    assert not os.path.samefile(copied.path, message.path)
    assert os.stat(copied.path).st_mtime == 1_000_000_000


def test_move_is_a_rename(maildir):
    message = deliver(maildir)
    other = maildir.make_folder("Archive")
    moved = maildir.move(message, other, "S")
    assert maildir.messages() == []
    assert [m.path for m in other.messages()] == [moved.path]


def test_copy_into_a_folder_that_is_not_there(maildir):
    message = deliver(maildir)
    with pytest.raises(NoSuchFolder):
        maildir.copy(message, maildir.folder("Nowhere"))
    with pytest.raises(NoSuchFolder):
        maildir.move(message, maildir.folder("Nowhere"))
    assert len(maildir.messages()) == 1


def test_sweep_leaves_what_is_younger_than_36_hours(maildir):
    maildir.create()
    for name in ("old", "young"):
        Path(maildir.path, "tmp", name).write_bytes(b"x")
    now = time.time()
    assert maildir.sweep(now + 35 * 3600) == 0
    os.utime(f"{maildir.path}/tmp/young", (now + 37 * 3600,) * 2)
    assert maildir.sweep(now + 37 * 3600) == 1
    assert files(maildir) == ["tmp/young"]


def test_a_maildir_that_is_not_there_is_empty(maildir):
    assert maildir.messages() == []
    assert maildir.folders() == []
    assert not maildir.exists
    assert maildir.sweep() == 0
