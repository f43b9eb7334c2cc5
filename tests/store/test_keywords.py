"""Keywords: a letter keeps its meaning, for Dovecot too."""

import os
from pathlib import Path

import pytest

from mailtools.store.keywords import Keywords
from mailtools.store.maildir import Maildir
from mailtools.store.uidlist import UidList


@pytest.fixture
def maildir(tmp_path: Path) -> Maildir:
    made = Maildir(str(tmp_path / "Maildir"))
    made.create()
    return made


def of(maildir: Maildir) -> Keywords:
    return Keywords(UidList(maildir))


def test_keywords_get_letters_in_turn_and_keep_them(maildir):
    one = of(maildir)
    assert one.letters(["$Junk", "$Forwarded"]) == "ab"
    assert one.letters(["later", "$junk"]) == "ac"
    assert of(maildir).named("caS") == ["$Junk", "later"]
    assert Path(maildir.path, "dovecot-keywords").read_text() == "0 $Junk\n1 $Forwarded\n2 later\n"
    assert of(maildir).names() == ["$Junk", "$Forwarded", "later"]


def test_one_reader_sees_what_another_added(maildir):
    one, two = of(maildir), of(maildir)
    assert one.letters(["a"]) == "a"
    assert two.letters(["b"]) == "b"
    assert one.named("ab") == ["a", "b"]
    assert one.letters(["b"]) == "b"


def test_gaps_are_filled_and_the_27th_is_passed_over(maildir):
    Path(maildir.path, "dovecot-keywords").write_text("1 one\n25 last\nbad\n99 beyond\n3 \n")
    keywords = of(maildir)
    assert keywords.letters(["zero"]) == "a"
    assert keywords.letters([f"k{n}" for n in range(40)] + ["last"])[-1] == "z"
    assert len(keywords.names()) == 26
    assert keywords.letters(["one more"]) == ""


def test_a_letter_without_a_name_is_not_lost(maildir):
    keywords = of(maildir)
    assert keywords.named("c") == ["unknown-2"]
    assert keywords.letters(["unknown-2", "x"]) == "ac"
    assert keywords.names() == ["x"]


def test_the_mtime_grows_by_whole_seconds(maildir):
    keywords = of(maildir)
    path = Path(maildir.path, "dovecot-keywords")
    times = []
    for name in "abc":
        keywords.letters([name])
        times.append(int(os.stat(path).st_mtime))
    assert times == sorted(set(times))
