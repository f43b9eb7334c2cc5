"""Become the owner of a mailbox or of the queue, for good: nothing runs as root any more."""

import contextlib
import os
from collections.abc import Iterator

from mailtools.errors import Misconfigured, SystemTrouble


def become(uid: int, gid: int, user: str = "") -> None:
    """Give up root for `uid` and `gid`, with the groups of `user` where the system knows him.

    Without root nothing changes: then all mailboxes belong to the user who runs this. Raises
    Misconfigured where nobody said whose they are; root's they are only by name.
    """
    if os.geteuid() != 0 or uid == 0:
        return
    if uid < 0:
        raise Misconfigured(
            detail=f"nobody owns the mailbox of {user}: give it a uid in accounts, or name the "
            "owner of all such mailboxes in mailbox-owner"
        )
    try:
        os.setgroups([gid])
        if user:
            _take_groups(user, uid, gid)
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        raise SystemTrouble(detail=f"cannot become uid {uid}: {error.strerror}") from error


def become_owner(path: str) -> None:
    """Give up root for the owner of a folder: what we write there must be theirs to read.

    The owner's further groups are taken too: they open the sockets of milters and others.
    """
    if os.geteuid() == 0:
        uid, gid = owner_of(path)
        become(uid, gid, _name_of(uid))


@contextlib.contextmanager
def acting_for(path: str) -> Iterator[None]:
    """Be the owner of a folder for a moment, where we are root.

    What servers that began as root write there, others that run as that owner can then read and
    add to; and nothing that is laid in root's way there is followed as root.
    """
    with acting_as(*(owner_of(path) if os.geteuid() == 0 else (0, 0))):
        yield


@contextlib.contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """Be a user for a moment, where we are root and he is not; root's groups stay behind."""
    if os.geteuid() != 0 or uid <= 0:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    try:
        try:
            os.setgroups([gid])
            os.setegid(gid)
            os.seteuid(uid)
        except OSError as error:
            raise SystemTrouble(detail=f"cannot act as uid {uid}: {error.strerror}") from error
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def owner_of(path: str) -> tuple[int, int]:
    """Give uid and gid of `path`, or of the nearest folder above it that is there.

    Root's group is no group to act with: a folder that root made for somebody (`install -d -o`)
    has it by chance. Then it is the owner's own group.
    """
    try:
        about = os.stat(path)
    except FileNotFoundError:
        return owner_of(os.path.dirname(os.path.abspath(path)))
    except OSError as error:
        raise SystemTrouble(detail=f"cannot look at {path}: {error.strerror}") from error
    if about.st_gid == 0 and about.st_uid != 0:
        return about.st_uid, _own_group(about.st_uid)
    return about.st_uid, about.st_gid


def closed_to_us(path: str) -> str:
    """Say whose a folder is that we may not look into; "" where we may, or it is not there."""
    at = os.path.abspath(path)
    try:
        os.stat(at)
        if os.access(at, os.R_OK | os.X_OK):
            return ""
    except PermissionError:
        pass
    except OSError:
        return ""
    while True:
        try:
            uid = os.stat(at).st_uid
        except PermissionError:
            at = os.path.dirname(at)
        else:
            who = f"{_name_of(uid) or f'uid {uid}'} and " if uid else ""
            return f"{path} may be read by {who}root only"


def _own_group(uid: int) -> int:
    import pwd  # only where there is root to give up

    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return 0


def _name_of(uid: int) -> str:
    import pwd  # only where there is root to give up

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _take_groups(user: str, uid: int, gid: int) -> None:
    """Take a system user's further groups; a virtual user of the same name has none."""
    import pwd  # only where there is root to give up

    try:
        known = pwd.getpwnam(user)
    except KeyError:
        return
    if known.pw_uid == uid:
        os.initgroups(user, gid)
