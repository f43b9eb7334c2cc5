"""What a queue run started as root keeps of that: only that it can start local-deliver as root."""

import os

from mailtools.services.access.become import owner_of


def become_owner(path: str) -> tuple[int, int] | None:
    """Where we are root, act as the owner of `path` from now on; give uid and gid.

    The real uid stays root, so that agents can be started as root or as the owner; everything else
    (files, locks, DSNs) is done as the owner. None where there is nothing to drop.
    """
    if os.geteuid() != 0:
        return None
    uid, gid = owner_of(path)
    if uid == 0:
        return None
    os.setgroups([])
    os.setegid(gid)
    os.seteuid(uid)
    return uid, gid
