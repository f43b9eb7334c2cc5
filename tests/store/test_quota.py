"""Quota: maildirsize as Courier and Dovecot keep it."""

import os
import time
from pathlib import Path

import pytest

from mailtools.store.maildir import Maildir
from mailtools.store.quota import Limits, Quota, Usage


@pytest.fixture
def root(tmp_path: Path) -> Maildir:
    maildir = Maildir(str(tmp_path / "Maildir"))
    maildir.create()
    return maildir


def fill(maildir: Maildir, count: int, octets: int = 100) -> None:
    for _ in range(count):
        delivery = maildir.begin()
        delivery.write(b"x" * octets)
        delivery.commit()


def text(root: Maildir) -> str:
    return Path(root.path, "maildirsize").read_text()


def test_without_limits_nothing_is_written(root):
    quota = Quota(root.path)
    assert quota.allows(10**12)
    quota.add(100, 1)
    assert not os.path.exists(quota.path)


def test_all_folders_are_summed_up(root):
    fill(root, 3)
    fill(root.make_folder("x.y"), 2)
    quota = Quota(root.path, Limits(1000, 0))
    assert quota.usage() == Usage(500, 5)
    assert text(root) == "1000S,0C\n500 5\n"
    assert quota.allows(500)
    assert not quota.allows(501)


def test_messages_are_counted_too(root):
    fill(root, 3)
    assert not Quota(root.path, Limits(0, 3)).allows(1)
    assert Quota(root.path, Limits(0, 4)).allows(1)


def test_changes_are_appended_and_the_file_s_own_limits_hold(root):
    Path(root.path, "maildirsize").write_text("1000S\n200 2\n")
    quota = Quota(root.path)
    quota.add(300, 1)
    quota.add(-100, -1)
    assert text(root) == "1000S\n200 2\n300 1\n-100 -1\n"
    assert quota.usage() == Usage(400, 2)


def test_nobody_is_refused_on_an_old_sum(root):
    fill(root, 2)
    path = Path(root.path, "maildirsize")
    path.write_text("1000S\n900 9\n50 1\n")  # much of it was removed by who does not keep the sum
    assert Quota(root.path).allows(500)
    assert text(root) == "1000S,0C\n200 2\n"
    path.write_text("1000S\n950 9\n")
    assert not Quota(root.path).allows(500)  # one line, fresh: believed (Maildir++)
    os.utime(path, (time.time() - 1000,) * 2)
    assert Quota(root.path).allows(500)


def test_new_limits_and_broken_files_are_reckoned_anew(root):
    fill(root, 1)
    path = Path(root.path, "maildirsize")
    for broken in ("", "1000S\nwhat\n", "xS\n1 1\n", "500S,0C\n1 1\n"):
        path.write_text(broken)
        assert Quota(root.path, Limits(1000)).usage() == Usage(100, 1)
        assert text(root) == "1000S,0C\n100 1\n"


def test_a_long_file_is_made_short(root):
    fill(root, 1)
    Path(root.path, "maildirsize").write_text("1000S\n" + "10 1\n-10 -1\n" * 600)
    Quota(root.path).add(10, 1)
    assert text(root) == "1000S,0C\n100 1\n"
