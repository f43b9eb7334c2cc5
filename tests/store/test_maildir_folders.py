"""Maildir++ folders: names as people write them, directories as Courier and Dovecot make them."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import BadFolderName, FolderExists, NoSuchFolder
from mailtools.mail import utf7
from mailtools.store.maildir import Maildir


@pytest.fixture
def root(tmp_path: Path) -> Maildir:
    maildir = Maildir(str(tmp_path / "Maildir"))
    maildir.create()
    return maildir


def test_folders_lie_beside_the_root_in_modified_utf_7(root):
    for name in ("Archive", "Archive.2024", "Entwürfe", "R&D", "日本語.台北"):
        root.make_folder(name)
    assert root.folders() == ["Archive", "Archive.2024", "Entwürfe", "R&D", "日本語.台北"]
    assert os.path.isdir(f"{root.path}/.Entw&APw-rfe/cur")
    assert os.path.isfile(f"{root.path}/.R&-D/maildirfolder")
    assert os.path.isdir(f"{root.path}/.&ZeVnLIqe-.&U,BTFw-/new")  # RFC 3501 5.1.3


def test_inbox_is_the_root_in_any_case(root):
    assert root.folder("InBoX").path == root.path
    for act in (root.make_folder, root.remove_folder):
        with pytest.raises((FolderExists, BadFolderName)):
            act("INBOX")


@pytest.mark.parametrize("name", ["", ".", "a..b", ".a", "a.", "a/b", "a\nb", "a\0", "x" * 300])
def test_names_that_no_folder_can_have(root, name):
    with pytest.raises(BadFolderName):
        root.make_folder(name)


def test_a_folder_is_made_once(root):
    root.make_folder("x")
    with pytest.raises(FolderExists):
        root.make_folder("x")


def test_remove_leaves_subfolders(root):
    folder = root.make_folder("a")
    delivery = folder.begin()
    delivery.write(b"x\n")
    delivery.commit()
    root.make_folder("a.b")
    root.remove_folder("a")
    assert root.folders() == ["a.b"]
    assert sorted(os.listdir(root.path)) == [".a.b", "cur", "new", "tmp"]
    with pytest.raises(NoSuchFolder):
        root.remove_folder("a")


def test_rename_takes_subfolders_along(root):
    for name in ("a", "a.b", "a.b.c", "ab"):
        root.make_folder(name)
    root.rename_folder("a", "z.y")
    assert root.folders() == ["ab", "z.y", "z.y.b", "z.y.b.c"]
    with pytest.raises(NoSuchFolder):
        root.rename_folder("a", "q")
    with pytest.raises(FolderExists):
        root.rename_folder("ab", "z.y")
    with pytest.raises(BadFolderName):
        root.rename_folder("z.y", "z.y.x")


def test_folders_that_another_server_wrote_in_utf_8_are_found_under_their_name(root):
    for sub in ("tmp", "new", "cur"):
        Path(root.path, ".Entwürfe", sub).mkdir(parents=True)
    assert root.folders() == ["Entwürfe"]
    assert root.folder("Entwürfe").exists


def test_what_is_no_folder_is_not_listed(root):
    Path(root.path, ".nocur").mkdir()
    Path(root.path, "..trash", "cur").mkdir(parents=True)
    Path(root.path, "plain", "cur").mkdir(parents=True)
    assert root.folders() == []


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_modified_utf_7_reads_what_it_wrote(name):
    written = utf7.encode(name)
    assert written.isascii()
    assert utf7.decode(written) == name


@given(st.text("&-,AQgwz ü", max_size=20))
def test_modified_utf_7_refuses_what_has_another_writing(text):
    try:
        name = utf7.decode(text)
    except BadFolderName:
        return
    assert utf7.encode(name) == text
