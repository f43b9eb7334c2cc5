"""What a queue run started as root keeps of that: only that it can start local-deliver as root."""

import os
from importlib import import_module

from mailtools.mail.address import ascii_domain
from mailtools.services.access.become import owner_of

LATER = (  # imported where they are used, since not every queue run needs them
    "datetime",
    "filelock",
    "hashlib",
    "ipaddress",
    "mailtools.services.local.aliases",
    "mailtools.services.queue.classes",
    "mailtools.services.queue.schedule",
    "traceback",
)


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
    _preload()
    os.setgroups([])
    os.setegid(gid)
    os.seteuid(uid)
    return uid, gid


def _preload() -> None:
    """Load what a queue run needs later: its owner may not be allowed to read the programs."""
    for name in LATER:
        import_module(name)
    ascii_domain("b\u00fccher.test")  # loads the tables for such domains
