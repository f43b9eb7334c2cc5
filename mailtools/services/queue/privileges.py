"""What a queue run started as root keeps of that: only that it can start local-deliver as root."""

import os


def become_owner(path: str) -> tuple[int, int] | None:
    """Where we are root, act as the owner of `path` from now on; give his uid and gid.

    The real uid stays root, so that agents can be started as root or as the owner; everything else
    (files, locks, DSNs) is done as the owner. None where there is nothing to drop.
    """
    if os.geteuid() != 0:
        return None
    try:
        status = os.stat(path)
    except OSError:
        return None  # what is missing is said by whoever opens it
    if status.st_uid == 0:
        return None
    os.setgroups([])
    os.setegid(status.st_gid)
    os.seteuid(status.st_uid)
    return status.st_uid, status.st_gid
