"""The disk door: whole files or none, and trouble said as trouble."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailtools.errors import QueueFull, SystemTrouble
from mailtools.store import disk


def failing(function: Callable[..., Any], number: int) -> Callable[..., Any]:
    def call(called: Callable[..., Any], *args: Any) -> Any:
        if called is function:
            raise OSError(number, os.strerror(number))
        return called(*args)

    return call


def test_a_file_appears_whole(tmp_path: Path) -> None:
    writer = disk.Writer(str(tmp_path / "a"))
    for _ in range(100):
        writer.write(b"x" * 3000)
    writer.publish(str(tmp_path / "b"))
    assert (tmp_path / "b").read_bytes() == b"x" * 300_000
    assert writer.size == 300_000
    assert sorted(os.listdir(tmp_path)) == ["b"]


@pytest.mark.parametrize("function", [os.write, os.fsync, os.rename])
@pytest.mark.parametrize(
    ("number", "failure"),
    [(errno.ENOSPC, QueueFull), (errno.EDQUOT, QueueFull), (errno.EIO, SystemTrouble)],
)
def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: Any, function: Any, number: int, failure: type[Exception]
) -> None:
    monkeypatch.setattr(disk, "_call", failing(function, number))
    with pytest.raises(failure):
        disk.replace(str(tmp_path / "a"), b"text")
    assert os.listdir(tmp_path) == []


def test_what_was_there_stays_until_the_new_is_whole(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    monkeypatch.setattr(disk, "_call", failing(os.fsync, errno.EIO))
    with pytest.raises(SystemTrouble):
        disk.replace(str(path), b"new")
    assert path.read_bytes() == b"old"


def test_an_append_that_is_cut_short_says_so(tmp_path: Path, monkeypatch: Any) -> None:
    def half(function: Callable[..., Any], *args: Any) -> Any:
        if function is os.write:
            return os.write(args[0], bytes(args[1])[:2])
        return function(*args)

    monkeypatch.setattr(disk, "_call", half)
    with pytest.raises(QueueFull):
        disk.append(str(tmp_path / "log"), b"line\n")


def test_gone_is_success_for_remove_and_known_for_move(tmp_path: Path) -> None:
    assert disk.remove(str(tmp_path / "a")) is False
    with pytest.raises(FileNotFoundError):
        disk.move(str(tmp_path / "a"), str(tmp_path / "b"))


def test_a_file_that_is_replaced_is_there_whatever_fails(tmp_path, monkeypatch) -> None:
    path = tmp_path / "settings"
    call = disk._call
    for stop in range(1, 6):
        path.write_bytes(b"old")
        left = stop

        def fails(function, *arguments):
            nonlocal left
            left -= 1
            if left == 0:
                raise OSError(errno.EIO, "Input/output error")
            return call(function, *arguments)

        monkeypatch.setattr(disk, "_call", fails)
        with pytest.raises(SystemTrouble):
            disk.replace(str(path), b"new")
        monkeypatch.setattr(disk, "_call", call)
        assert path.read_bytes() in (b"old", b"new")


def test_directories_with_what_they_stand_in(tmp_path: Path) -> None:
    assert disk.make_directory(str(tmp_path / "a/b/c"), sync=True)
    assert not disk.make_directory(str(tmp_path / "a/b/c"))
    assert not disk.remove_directory(str(tmp_path / "a"))
    assert disk.remove_directory(str(tmp_path / "a/b/c"))


def test_a_directory_behind_a_link_that_leads_nowhere_is_trouble(tmp_path: Path) -> None:
    (tmp_path / "spool").symlink_to(tmp_path / "not-mounted")
    with pytest.raises(SystemTrouble) as caught:
        disk.make_directory(str(tmp_path / "spool/queue/tmp"))
    assert "spool" in caught.value.detail


def test_the_failure_names_the_file_for_us_and_not_for_the_peer(tmp_path: Path) -> None:
    with pytest.raises(SystemTrouble) as caught:
        disk.Writer(str(tmp_path / "no" / "such"))
    assert "such" in caught.value.detail
    assert "such" not in caught.value.text
