"""A file that is read again when somebody has changed it."""

import os
from pathlib import Path

import pytest

from mailtools.services.access.changing_file import ChangingFile


def test_read_once_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one\n")
    file = ChangingFile(str(path))
    assert file.news() == "one\n"
    assert file.news() == "one\n"  # not settled: it had faults
    file.settle()
    assert file.news() is None
    path.write_text("three\n")
    assert file.news() == "three\n"


def test_one_that_goes_and_comes_back_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one\n")
    file = ChangingFile(str(path))
    file.news()
    file.settle()
    away = path.rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError):
        file.news()
    away.rename(path)
    assert file.news() == "one\n"


def test_a_replacement_of_the_same_size_and_time_is_news(tmp_path: Path) -> None:
    path, new = tmp_path / "file", tmp_path / "new"
    path.write_text("one\n")
    new.write_text("two\n")
    os.utime(new, ns=(path.stat().st_mtime_ns,) * 2)
    file = ChangingFile(str(path))
    file.news()
    file.settle()
    new.replace(path)
    assert file.news() == "two\n"
    assert file.owner == (os.getuid(), os.getgid())
