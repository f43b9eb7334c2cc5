"""UID lists: given once and for ever, in Dovecot's format, whoever wrote the file before."""

import os
import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.store.maildir import Maildir
from mailtools.store.uidlist import UidList

GUID = "9c4a513a047807ac3f51af3b3c7ca53c"


@pytest.fixture
def maildir(tmp_path: Path) -> Maildir:
    made = Maildir(str(tmp_path / "Maildir"))
    made.create()
    return made


def add(maildir: Maildir, *names: str, folder: str = "cur") -> None:
    for name in names:
        Path(maildir.path, folder, name).write_bytes(b"x\n")


def uids(maildir: Maildir) -> dict[str, int]:
    pairs = UidList(maildir).sync(maildir.messages(fresh=True))
    assert [uid for uid, _ in pairs] == sorted(uid for uid, _ in pairs)
    return {message.unique: uid for uid, message in pairs}


def listing(maildir: Maildir) -> str:
    return Path(maildir.path, "dovecot-uidlist").read_text()


def write(maildir: Maildir, text: str) -> None:
    Path(maildir.path, "dovecot-uidlist").write_text(text)


def test_a_new_list(maildir):
    add(maildir, "1700000002.b.host,S=2,W=3:2,S", "1700000001.a.host")
    assert uids(maildir) == {"1700000001.a.host": 1, "1700000002.b.host": 2}
    head, *lines = listing(maildir).split("\n")
    assert re.fullmatch(r"3 V[0-9]+ N3 G[0-9a-f]{32}", head)
    assert lines == ["1 :1700000001.a.host", "2 :1700000002.b.host,S=2,W=3", ""]


def test_uids_stay_when_flags_change_and_are_not_given_again(maildir):
    add(maildir, "1700000001.a.host:2,", "1700000002.b.host:2,")
    uids(maildir)
    os.rename(
        f"{maildir.path}/cur/1700000001.a.host:2,", f"{maildir.path}/cur/1700000001.a.host:2,S"
    )
    os.unlink(f"{maildir.path}/cur/1700000002.b.host:2,")
    add(maildir, "1700000003.c.host", folder="new")
    assert uids(maildir) == {"1700000001.a.host": 1, "1700000003.c.host": 3}


def test_new_messages_are_appended_and_nothing_else_is_touched(maildir):
    head = f"3 V1700000000 N9 G{GUID} Xwhat,ever\n"
    known = "5 S2 W3 Pold-uidl O1 Zother :1700000001.a.host,S=2\n8 :gone\n"
    write(maildir, head + known)
    add(maildir, "1700000001.a.host,S=2:2,", "1700000002.b.host:2,")
    uidlist = UidList(maildir)
    pairs = uidlist.sync(maildir.messages())
    assert [uid for uid, _ in pairs] == [5, 9]
    assert listing(maildir) == f"{head}{known}9 :1700000002.b.host\n"
    assert (uidlist.uidvalidity, uidlist.next_uid, uidlist.guid) == (1700000000, 10, GUID)
    assert [uidlist.uidl(*pair) for pair in pairs] == ["old-uidl", "000000096553f100"]
    assert [uidlist.pop3_order(message) for _, message in pairs] == [1, None]


def test_a_uidl_that_is_the_file_name(maildir):
    write(maildir, f"3 V1700000000 N9 G{GUID}\n5 P :1700000001.a.host,S=2\n")
    add(maildir, "1700000001.a.host,S=2:2,")
    uidlist = UidList(maildir)
    [pair] = uidlist.sync(maildir.messages())
    assert uidlist.uidl(*pair) == "1700000001.a.host,S=2"


def test_a_list_is_written_anew_when_much_of_it_is_gone_and_keeps_fields_and_next_uid(maildir):
    lines = "".join(f"{uid} P{uid} Zx :gone.{uid}\n" for uid in range(1, 100))
    write(maildir, f"3 V1700000000 N200 G{GUID} Xkept\n{lines}150 P Zx  :1700000001.a.host\n")
    add(maildir, "1700000001.a.host:2,", "1700000002.b.host:2,")
    assert uids(maildir) == {"1700000001.a.host": 150, "1700000002.b.host": 200}
    assert listing(maildir) == (
        f"3 V1700000000 N201 G{GUID} Xkept\n150 P Zx  :1700000001.a.host\n200 :1700000002.b.host\n"
    )


def test_damaged_lines_cost_no_other_message_its_uid(maildir):
    write(
        maildir,
        f"3 V1700000000 N9 G{GUID}\n1 :1700000001.a.host\nwhat is this\n"
        "5 :1700000003.c.host\n5 :1700000009.z.host\n3 :1700000002.b.host\n7 :170000",
    )
    add(maildir, "1700000001.a.host", "1700000002.b.host", "1700000003.c.host", "1700000009.z.host")
    assert uids(maildir) == {
        "1700000001.a.host": 1,
        "1700000002.b.host": 3,
        "1700000003.c.host": 5,
        "1700000009.z.host": 9,
    }
    assert listing(maildir) == (
        f"3 V1700000000 N10 G{GUID}\n1 :1700000001.a.host\n3 :1700000002.b.host\n"
        "5 :1700000003.c.host\n9 :1700000009.z.host\n"
    )


def test_a_lost_header_costs_uidvalidity_but_a_higher_one_comes(maildir):
    add(maildir, "1700000001.a.host")
    uids(maildir)
    before = UidList(maildir).uidvalidity
    write(maildir, "\0\0\0\0\n1 :1700000001.a.host\n")
    after = UidList(maildir)
    assert [uid for uid, _ in after.sync(maildir.messages())] == [1]
    assert after.uidvalidity > before


def test_uidvalidity_rises_over_all_folders_and_removals(maildir):
    seen = []
    for _ in range(3):
        folder = maildir.make_folder("x")
        seen.append(UidList(folder).uidvalidity)
        maildir.remove_folder("x")
    assert seen == sorted(set(seen))
    value = Path(maildir.path, "dovecot-uidvalidity").read_text()
    assert int(value, 16) == seen[-1]
    assert Path(maildir.path, f"dovecot-uidvalidity.{value}").exists()


def test_courier_s_list_is_taken_over(maildir):
    Path(maildir.path, "courierimapuiddb").write_text(
        "1 1100000000 43\n41 1700000001.a.host,S=2\n42 1700000002.b.host\n"
    )
    add(maildir, "1700000001.a.host,S=2:2,S", "1700000002.b.host:2,", "1700000003.c.host")
    uidlist = UidList(maildir)
    assert [uid for uid, _ in uidlist.sync(maildir.messages())] == [41, 42, 43]
    assert uidlist.uidvalidity == 1100000000
    assert listing(maildir).startswith("3 V1100000000 N44 G")


def test_a_list_of_an_early_dovecot_is_rewritten(maildir):
    write(maildir, "1 1100000000 43\n41 1700000001.a.host\n")
    add(maildir, "1700000001.a.host:2,S")
    uidlist = UidList(maildir)
    assert [uid for uid, _ in uidlist.sync(maildir.messages())] == [41]
    assert uidlist.guid
    assert listing(maildir) == f"3 V1100000000 N43 G{uidlist.guid}\n41 :1700000001.a.host\n"


def test_the_answer_is_the_same_object_until_something_changes(maildir):
    add(maildir, "1700000001.a.host")
    uidlist = UidList(maildir)
    messages = maildir.messages()
    first = uidlist.sync(messages)
    assert uidlist.sync(messages) is first
    add(maildir, "1700000002.b.host")
    assert len(uidlist.sync(maildir.messages())) == 2


def test_one_reader_sees_what_another_gave(maildir):
    add(maildir, "1700000001.a.host")
    one, two = UidList(maildir), UidList(Maildir(maildir.path))
    one.sync(maildir.messages())
    two.sync(maildir.messages())
    add(maildir, "1700000002.b.host")
    assert one.sync(maildir.messages())[1][0] == 2
    add(maildir, "1700000003.c.host")
    assert [uid for uid, _ in two.sync(maildir.messages())] == [1, 2, 3]
    assert [uid for uid, _ in one.sync(maildir.messages())] == [1, 2, 3]


def test_many_at_once_give_each_message_one_uid(maildir):
    """Readers that start on a Maildir without a list, all at the same moment."""
    names = [f"17000000{number:02}.x.host" for number in range(50)]
    answers: list[dict[str, int]] = []
    start = threading.Barrier(6)

    def read(share: int) -> None:
        mine = Maildir(maildir.path)
        start.wait()
        for name in names[share::6]:
            add(mine, name)
            pairs = UidList(mine).sync(mine.messages())
            answers.append({message.unique: uid for uid, message in pairs})

    threads = [threading.Thread(target=read, args=(share,)) for share in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    final = uids(maildir)
    assert len(set(final.values())) == len(names)
    assert all(final[unique] == uid for answer in answers for unique, uid in answer.items())


fields = st.lists(
    st.builds(
        lambda key, value: key + value,
        st.sampled_from("SWPOGZq"),
        st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=8),
    ),
    max_size=4,
)


@given(st.lists(st.tuples(st.integers(1, 1000), fields), max_size=20, unique_by=lambda r: r[0]))
def test_a_list_written_anew_has_the_bytes_it_had(tmp_path_factory, records):
    maildir = Maildir(str(tmp_path_factory.mktemp("list") / "Maildir"))
    maildir.create()
    records.sort(key=lambda record: record[0])
    lines = []
    for uid, words in records:
        add(maildir, f"1700000000.{uid}.host,S=2:2,S")
        lines.append(f"{uid} {' '.join(words)}{' ' if words else ''}:1700000000.{uid}.host,S=2\n")
    text = f"3 V1700000000 N1001 G{GUID} Qother\n{''.join(lines)}"
    write(maildir, text)
    uidlist = UidList(maildir)
    pairs = uidlist.sync(maildir.messages())
    assert [uid for uid, _ in pairs] == [uid for uid, _ in records]
    with uidlist.lock:
        uidlist._rewrite([], maildir.messages())
    assert listing(maildir) == text


@given(st.binary(max_size=200))
def test_no_file_keeps_messages_from_their_uids(tmp_path_factory, data):
    maildir = Maildir(str(tmp_path_factory.mktemp("list") / "Maildir"))
    maildir.create()
    Path(maildir.path, "dovecot-uidlist").write_bytes(data)
    add(maildir, "1700000001.a.host", "1700000002.b.host")
    first = uids(maildir)
    assert len(set(first.values())) == 2
    assert uids(maildir) == first
