"""Become the owner of a mailbox, for good: after a login nothing runs as root any more."""

import os

from mailtools.errors import Misconfigured, SystemTrouble


def become(uid: int, gid: int, user: str = "") -> None:
    """Give up root for `uid` and `gid`, with the groups of `user` where the system knows him.

    Without root nothing changes: then all mailboxes belong to the user who runs this. Raises
    Misconfigured where it would stay root, since mail is for people.
    """
    if os.geteuid() != 0:
        return
    if uid == 0:
        raise Misconfigured(
            detail=f"the mailbox of {user or 'root'} belongs to root: give it a uid"
        )
    try:
        os.setgroups([gid])
        if user:
            _take_groups(user, uid, gid)
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        raise SystemTrouble(detail=f"cannot become uid {uid}: {error.strerror}") from error


def _take_groups(user: str, uid: int, gid: int) -> None:
    """Take a system user's further groups; a virtual user of the same name has none."""
    import pwd  # only where there is root to give up

    try:
        known = pwd.getpwnam(user)
    except KeyError:
        return
    if known.pw_uid == uid:
        os.initgroups(user, gid)
