"""The simulated disk itself: it allows what a power cut does, and nothing that was synced away."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from crash import simdisk
from crash.scenario import Say, Scenario

from mailtools.store import disk

State = dict[str, bytes]


def states(tmp_path: Path, act: Callable[[Path, Say], None], *there: str) -> list[State]:
    """What may be on disk after `act` did all of its work, `there` being there before."""
    start, folder = tmp_path / "start", tmp_path / "folder"
    for path in (start, folder):
        for name in ("a", "b"):
            (path / name).mkdir(parents=True)
        for name in there:
            (path / name).write_bytes(b"old")
    scenario = Scenario("", lambda folder: None, act, lambda folder, said: None)
    model = simdisk.Disk(start)
    for op in simdisk.record(scenario, folder):
        model.do(op)
    return [
        {path: content for path, content in state.items() if content is not None}
        for state in model.states()
    ]


def make(path: Path, *, sync: bool) -> None:
    fd = disk._call(os.open, str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    disk._call(os.write, fd, b"new!")
    if sync:
        disk._call(os.fsync, fd)
    os.close(fd)


def test_what_is_synced_stays(tmp_path: Path):
    def act(folder: Path, say: Say) -> None:
        writer = disk.Writer(str(folder / "a/x"))
        writer.write(b"new!")
        writer.publish(str(folder / "b/x"))
        disk.sync_directory(str(folder / "a"))

    assert states(tmp_path, act) == [{"b/x": b"new!"}]


def test_a_name_is_not_there_before_its_directory_was_synced(tmp_path: Path):
    def act(folder: Path, say: Say) -> None:
        make(folder / "a/x", sync=True)

    assert states(tmp_path, act) == [{}, {"a/x": b"new!"}]


def test_content_that_was_not_synced_is_missing_cut_short_or_zeroes(tmp_path: Path):
    def act(folder: Path, say: Say) -> None:
        make(folder / "a/x", sync=False)
        disk.sync_directory(str(folder / "a"))

    assert [state["a/x"] for state in states(tmp_path, act)] == [
        b"", b"ne", b"\0\0\0\0", b"new!",
    ]  # fmt: skip


def test_a_rename_between_folders_never_loses_the_file(tmp_path: Path):
    def act(folder: Path, say: Say) -> None:
        disk.move(str(folder / "a/x"), str(folder / "b/x"))

    found = states(tmp_path, act, "a/x")
    assert {"a/x": b"old"} in found
    assert {"b/x": b"old"} in found
    assert {} not in found


@pytest.mark.parametrize("folder_synced", ["a", "b"])
def test_syncing_either_folder_puts_the_new_name_on_disk(tmp_path: Path, folder_synced: str):
    def act(folder: Path, say: Say) -> None:
        disk.move(str(folder / "a/x"), str(folder / "b/x"))
        disk.sync_directory(str(folder / folder_synced))

    assert all("b/x" in state for state in states(tmp_path, act, "a/x"))


def test_a_rename_within_a_folder_leaves_one_name(tmp_path: Path):
    def act(folder: Path, say: Say) -> None:
        disk.move(str(folder / "a/x"), str(folder / "a/y"))

    assert states(tmp_path, act, "a/x") == [{"a/x": b"old"}, {"a/y": b"old"}]


def test_a_file_that_is_replaced_is_the_old_one_or_the_new_one(tmp_path: Path):
    def act(folder: Path, say: Say) -> None:
        make(folder / "a/x.new", sync=True)
        disk.move(str(folder / "a/x.new"), str(folder / "a/x"))

    assert {state["a/x"] for state in states(tmp_path, act, "a/x")} == {b"old", b"new!"}


def test_removals_and_creations_come_in_any_order(tmp_path: Path):
    def act(folder: Path, say: Say) -> None:
        disk.remove(str(folder / "a/x"))
        disk.remove(str(folder / "a/y"))

    found = [sorted(state) for state in states(tmp_path, act, "a/x", "a/y")]
    assert sorted(found) == [[], ["a/x"], ["a/x", "a/y"], ["a/y"]]


def test_a_folder_that_is_not_on_disk_takes_its_files_with_it(tmp_path: Path):
    def act(folder: Path, say: Say) -> None:
        disk.make_directory(str(folder / "a/new"))
        make(folder / "a/new/x", sync=True)
        disk.sync_directory(str(folder / "a/new"))

    assert states(tmp_path, act) == [{}, {"a/new/x": b"new!"}]


def test_a_hard_link_shares_its_content(tmp_path: Path):
    def act(folder: Path, say: Say) -> None:
        disk.link(str(folder / "a/x"), str(folder / "b/y"), sync=True)
        disk.remove(str(folder / "a/x"), sync=True)

    assert states(tmp_path, act, "a/x") == [{"b/y": b"old"}]


def test_a_writer_that_does_not_sync_is_caught(tmp_path: Path):
    """The harness must fail for code that is wrong: this is what it is for."""

    def act(folder: Path, say: Say) -> None:
        make(folder / "a/x", sync=False)
        disk.move(str(folder / "a/x"), str(folder / "b/x"), sync=True)
        say("done")

    def check(folder: Path, said: list[str]) -> None:
        if said:
            assert (folder / "b/x").read_bytes() == b"new!"

    start, folder = tmp_path / "start", tmp_path / "folder"
    for path in (start, folder):
        for name in ("a", "b"):
            (path / name).mkdir(parents=True)
    scenario = Scenario("", lambda folder: None, act, check)
    ops = simdisk.record(scenario, folder)
    assert "said ['done']" in simdisk.violated(start, ops, tmp_path, check)
