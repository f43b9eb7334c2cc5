"""Checks of the spool: whose it is, what is stuck in it, and how much room is left."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from itertools import islice

from mailtools.services.access.become import closed_to_us
from mailtools.services.check.finding import Finding, fault, warning
from mailtools.services.listing.queue_lines import age
from mailtools.store import disk
from mailtools.store.queue import FOLDERS, Queue, from_minute
from mailtools.store.queue_id import arrival, is_id

LATE = 900.0  # seconds that what is due may wait for a pass
LOOKED_AT = 10_000  # entries whose owner is looked at
INODES_LEAST = 1000


def owner_of(queue: str) -> tuple[int, int] | None:
    """Give uid and gid of a queue; None where there is none."""
    try:
        about = os.stat(queue)
    except OSError:
        return None
    return about.st_uid, about.st_gid


def ownership(queue: str) -> Iterator[Finding]:
    """Look whose the queue is, and whether all of it is his and nobody else's to read."""
    if closed := closed_to_us(queue):
        yield fault(queue, closed.removeprefix(f"{queue} "), "run mail-check as root, or as he")
        return
    owner = owner_of(queue)
    if owner is None:
        yield warning(queue, "there is no queue yet: it is made with the first message")
        return
    uid, gid = owner
    if os.stat(queue).st_mode & 0o007:
        yield fault(queue, "others can look into it", f"chmod o= {queue}")
    if uid == 0 and os.geteuid() == 0:
        yield warning(
            queue, "belongs to root: what talks to strangers runs as root",
            f"chown -R USER {os.path.dirname(queue)}",
        )  # fmt: skip
    strange = [
        path
        for path in (f"{queue}/{name}" for name in FOLDERS)
        if (found := owner_of(path)) and found[0] != uid
    ]
    entries = islice(Queue(queue).all(), LOOKED_AT)
    strange += [p.path for p in entries if (found := owner_of(p.path)) and found[0] != uid]
    if strange:
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        yield fault(
            strange[0], f"does not belong to the queue's owner, uid {uid}{more}",
            f"chown -R {uid}:{gid} {queue}",
        )  # fmt: skip


def health(queue: str, lifetime: float) -> Iterator[Finding]:
    """Look for what is due and not tried, set aside, held or too old; `lifetime` in seconds."""
    here, now = Queue(queue), time.time()
    if not os.path.isdir(queue):
        return
    bad = [place.id for place in here.bad()]
    if bad:
        yield fault(
            f"{queue}/bad", f"{_count(bad)} could not be read and {_are(bad)} set aside",
            f"queue-edit show {bad[0]}; then replay or remove it",
        )  # fmt: skip
    held = [place.id for place in here.held()]
    if held:
        yield warning(f"{queue}/hold", f"{_count(held)} {_are(held)} held",
                      "queue-list --state hold")  # fmt: skip
    yield from _due(here, now)
    oldest = min((arrival(place.id) for place in here.all() if is_id(place.id)), default=now)
    if now - oldest > lifetime + 86400:
        yield warning(queue, f"the oldest message is {age(now - oldest)} old",
                      f"queue-list --older {int(lifetime)}")  # fmt: skip


def _due(queue: Queue, now: float) -> Iterator[Finding]:
    since = [arrival(place.id) for place in queue.new() if is_id(place.id)]
    minutes = queue.minutes()
    waiting = from_minute(minutes[0]) if minutes else now
    first = min([*since, waiting], default=now)
    if now - first < LATE:
        return
    if minutes and waiting == first and not os.listdir(f"{queue.path}/wait/{minutes[0]}"):
        return  # an empty folder that no pass has removed yet
    late = age(now - first)
    if disk.has_reader(f"{queue.path}/trigger"):
        yield warning(queue.path, f"mail is due since {late}, though a queue run is at work",
                      "mail-why ID; see the log of queue-run")  # fmt: skip
    else:
        yield fault(
            queue.path, f"mail is due since {late}, and no queue run is at work",
            "start queue-run --wait under a supervisor, or queue-run from cron",
        )  # fmt: skip


def room(path: str, floor: int, inodes: int = INODES_LEAST) -> Iterator[Finding]:
    """Look how much room is left where `path` is, or will be; `floor` octets are kept free.

    And so many `inodes`.
    """
    while not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    try:
        about = os.statvfs(path)
    except OSError as error:
        yield fault(path, f"cannot be looked at: {error.strerror}")
        return
    free, whole = about.f_bavail * about.f_frsize, about.f_blocks * about.f_frsize
    if free < floor:
        yield fault(path, f"has {_size(free)} free, less than disk-floor: mail is put off",
                    "make room, or lower disk-floor")  # fmt: skip
    elif free < max(whole // 20, 2 * floor):
        yield warning(path, f"has {_size(free)} free of {_size(whole)}", "make room")
    if about.f_files and about.f_favail <= max(inodes, INODES_LEAST):
        yield fault(path, f"has {about.f_favail} inodes free: no file can be made soon",
                    "remove files")  # fmt: skip
    elif about.f_files and about.f_favail < about.f_files // 20:
        yield warning(path, f"has {about.f_favail} inodes free of {about.f_files}", "remove files")


def file_systems(paths: Iterable[str]) -> list[str]:
    """Give one path for each file system that some of the paths lie on."""
    seen: dict[int, str] = {}
    for path in paths:
        try:
            seen.setdefault(os.stat(path).st_dev, path)
        except OSError:
            continue
    return list(seen.values())


def _count(ids: list[str]) -> str:
    return f"{len(ids)} message{'s' if len(ids) != 1 else ''}"


def _are(ids: list[str]) -> str:
    return "are" if len(ids) != 1 else "is"


def _size(octets: int) -> str:
    for unit, size in (("G", 1024**3), ("M", 1024**2), ("K", 1024)):
        if octets >= size:
            return f"{octets / size:.1f}{unit}"
    return str(octets)
