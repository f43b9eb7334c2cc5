"""Look a Maildir over, and mend it: every folder, each fault a line; UIDs stay as they are."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from mailtools.errors import Failure
from mailtools.store import disk, maildir_folders
from mailtools.store.maildir import SWEEP_AGE, Maildir
from mailtools.store.maildir_names import Message, measure, unique_name
from mailtools.store.quota import Quota
from mailtools.store.uidlist import UidList


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a path, and whether it is mended."""

    path: str
    what: str
    mended: bool

    def __str__(self) -> str:
        return f"{self.path}: {self.what}{' (mended)' if self.mended else ''}"


def check(root: str, *, mend: bool) -> Iterator[Fault]:
    """Yield the faults of a Maildir and its folders; with `mend`, each is mended first."""
    if not os.path.isdir(root):
        yield Fault(root, "there is no such folder", False)
        return
    if mend:
        maildir_folders.sweep(root)
    names = maildir_folders.names(root)
    for path in [root, *(maildir_folders.path(root, name) for name in names)]:
        yield from _check_folder(path, mend)
    yield from _check_quota(root, mend)


def _check_folder(path: str, mend: bool) -> Iterator[Fault]:
    maildir = Maildir(path)
    missing = [name for name in ("tmp", "new", "cur") if not os.path.isdir(f"{path}/{name}")]
    if missing:
        if mend:
            maildir.create()
        yield Fault(path, f"has no {', '.join(f'{name}/' for name in missing)}", mend)
    for name in _old(f"{path}/tmp"):
        yield Fault(f"{path}/tmp/{name}", "was never finished", mend)
    if mend:
        maildir.sweep()
    yield from _check_names(path, mend)
    renamed = False
    for message in _messages(path):
        for fault in _check_sizes(message, mend):
            renamed = renamed or fault.mended
            yield fault
    yield from _check_uids(maildir, mend, renamed)


def _old(folder: str) -> list[str]:
    oldest = time.time() - SWEEP_AGE
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if max(_times(e.stat())) < oldest)
    except FileNotFoundError:
        return []


def _times(about: os.stat_result) -> tuple[float, float]:
    return about.st_mtime, about.st_ctime


def _check_names(path: str, mend: bool) -> Iterator[Fault]:
    """Two names with one unique part: one file gets one name, two files get two unique parts."""
    seen: dict[str, Message] = {}
    for message in _messages(path):
        other = seen.setdefault(message.unique, message)
        if other is message:
            continue
        if os.path.samefile(other.path, message.path):
            if mend:
                disk.remove(message.path)
            yield Fault(message.path, f"is {other.folder}/{other.name} too", mend)
        else:
            if mend:
                fresh = unique_name() + message.name.removeprefix(message.unique)
                disk.move(message.path, f"{path}/{message.folder}/{fresh}")
            yield Fault(message.path, f"has the unique part of {other.name}", mend)


def _messages(path: str) -> list[Message]:
    # Not by Maildir, which settles two of one unique part when it meets them.
    found = []
    for folder in ("new", "cur"):
        try:
            names = sorted(os.listdir(f"{path}/{folder}"))
        except FileNotFoundError:
            continue
        found += [Message(path, folder, name) for name in names if name[0] != "."]
    return found


def _check_sizes(message: Message, mend: bool) -> Iterator[Fault]:
    try:
        size, wire = measure(message.path)
    except FileNotFoundError:
        return  # removed meanwhile
    except OSError as error:
        yield Fault(message.path, f"cannot be read: {error.strerror}", False)
        return
    if (message.size, message.wire_size) == (size, wire):
        return
    if _is_compressed(message.path):
        yield Fault(message.path, "is compressed, and nobody here can read it", False)
        return
    fields = message.base.split(",")
    right = {"S=": f"S={size}", "W=": f"W={wire}"}
    base = ",".join([fields[0], *(right.get(field[:2], field) for field in fields[1:])])
    if mend:
        folder = f"{message.root}/{message.folder}"
        disk.move(message.path, f"{folder}/{base}{message.name.removeprefix(message.base)}")
    yield Fault(message.path, f"has {size} octets, {wire} with CRLF: its name says others", mend)


def _is_compressed(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(4).startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh"))


def _check_uids(maildir: Maildir, mend: bool, renamed: bool) -> Iterator[Fault]:
    uidlist = UidList(maildir)
    try:
        uidlist.refresh()
        if not os.path.exists(uidlist.path):
            return
        broken = not uidlist.whole
        if mend and (broken or renamed):
            uidlist.rewrite()  # Dovecot knows a message by its whole name, sizes and all
        if broken:
            yield Fault(uidlist.path, "has lines that cannot be read", mend)
    except Failure as failure:
        yield Fault(uidlist.path, failure.detail or failure.text, False)


def _check_quota(root: str, mend: bool) -> Iterator[Fault]:
    quota = Quota(root, writes=mend)
    if not quota.limits:
        return
    said, true = quota.usage(), quota.recalculate()
    if said != true:
        what = f"says {said.octets} octets in {said.messages} messages, "
        yield Fault(quota.path, f"{what}but it is {true.octets} in {true.messages}", mend)
