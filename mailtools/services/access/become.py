"""Become the owner of a mailbox or of the queue, for good: nothing runs as root any more."""

import os

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
    """Give up root for the owner of a folder: what we write there must be theirs to read."""
    if os.geteuid() == 0:
        become(*owner_of(path))


def owner_of(path: str) -> tuple[int, int]:
    """Give uid and gid of `path`, or of the nearest folder above it that is there."""
    try:
        about = os.stat(path)
    except FileNotFoundError:
        return owner_of(os.path.dirname(os.path.abspath(path)))
    except OSError as error:
        raise SystemTrouble(detail=f"cannot look at {path}: {error.strerror}") from error
    return about.st_uid, about.st_gid


def _take_groups(user: str, uid: int, gid: int) -> None:
    """Take a system user's further groups; a virtual user of the same name has none."""
    import pwd  # only where there is root to give up

    try:
        known = pwd.getpwnam(user)
    except KeyError:
        return
    if known.pw_uid == uid:
        os.initgroups(user, gid)
