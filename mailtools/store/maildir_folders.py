"""Maildir++ folders: `.Name.Sub` beside new/ and cur/ of the root, names in modified UTF-7.

A folder's name is text with `.` between its levels, as Courier and Dovecot show it; INBOX, in any
case, is the root itself. A folder exists when its directory has a cur/. Its parents need not.
"""

import os
import time

from mailtools.errors import BadFolderName, FolderExists, NoSuchFolder
from mailtools.mail import utf7
from mailtools.store import disk

SEPARATOR = "."
NAME_MOST = 255  # octets: NAME_MAX


def names(root: str) -> list[str]:
    """List the folders of a root, sorted, without INBOX."""
    try:
        with os.scandir(root) as entries:
            found = [entry.name for entry in entries if _is_folder(entry.name)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise disk.trouble(error, "read", root) from error
    return sorted(_decoded(name) for name in found if os.path.isdir(f"{root}/{name}/cur"))


def path(root: str, name: str) -> str:
    """Give the directory of a folder, whether it is there or not; raise BadFolderName."""
    if name.upper() == "INBOX":
        return root
    levels = name.split(SEPARATOR)
    if (
        not all(levels)
        or "/" in name
        or any(ord(letter) < 32 or letter == "\x7f" for letter in name)
    ):
        raise BadFolderName
    directory = SEPARATOR + utf7.encode(name)
    plain = SEPARATOR + name  # where another server keeps UTF-8 on disk
    if plain != directory and not os.path.isdir(f"{root}/{directory}"):
        directory = plain if os.path.isdir(f"{root}/{plain}") else directory
    if len(directory.encode()) > NAME_MOST:
        raise BadFolderName("The name is longer than a file name can be")
    return f"{root}/{directory}"


def claim(root: str, name: str) -> str:
    """Give the directory for a folder that is to be made; raise FolderExists."""
    directory = path(root, name)
    if os.path.isdir(f"{directory}/cur"):
        raise FolderExists
    return directory


def remove(root: str, name: str) -> None:
    """Remove a folder with its messages; its subfolders stay."""
    directory = path(root, name)
    if directory == root:
        raise BadFolderName("INBOX cannot be removed")
    # Renamed first, so that it is gone at once and whole. Two dots: no program shows it.
    doomed = f"{root}/..removed.{time.time_ns()}.{os.getpid()}"
    try:
        disk.move(directory, doomed, sync=True)
    except FileNotFoundError:
        raise NoSuchFolder from None
    _empty(doomed)


def sweep(root: str) -> None:
    """Finish removals that were cut off."""
    try:
        left = [name for name in os.listdir(root) if name.startswith("..removed.")]
    except FileNotFoundError:
        return
    for name in left:
        _empty(f"{root}/{name}")


def rename(root: str, name: str, target: str) -> None:
    """Rename a folder and all below it, the folder itself last: a repeated call ends what a crash
    cut off."""
    source, destination = path(root, name), claim(root, target)
    if root in (source, destination):
        raise BadFolderName("INBOX cannot be renamed")
    below = [folder for folder in names(root) if folder.startswith(name + SEPARATOR)]
    if target.startswith(name + SEPARATOR):
        raise BadFolderName("A folder cannot go below itself")
    if not below and not os.path.isdir(f"{source}/cur"):
        raise NoSuchFolder
    moves = [(path(root, old), claim(root, target + old.removeprefix(name))) for old in below]
    for old, new in moves:
        disk.move(old, new)
    if os.path.isdir(f"{source}/cur"):
        disk.move(source, destination)
    disk.sync_directory(root)


def _is_folder(name: str) -> bool:
    return len(name) > 1 and name[0] == SEPARATOR and name[1] != SEPARATOR


def _decoded(directory: str) -> str:
    try:
        return utf7.decode(directory[1:])
    except BadFolderName:
        return directory[1:]


def _empty(directory: str) -> None:
    with os.scandir(directory) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                _empty(entry.path)
            else:
                disk.remove(entry.path)
    disk.remove_directory(directory)
