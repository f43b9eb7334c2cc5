"""What is left over in a queue, and when it goes (the crash table of mailtools-queue(5)).

This costs what the queue holds, so a queue run does it once a day.
"""

import os
from collections.abc import Iterator

from mailtools.store import disk
from mailtools.store.kept import Kept
from mailtools.store.queue import Queue
from mailtools.store.queue_id import is_id

UNFINISHED = 36 * 3600  # seconds a file in tmp/ may be written to; no writer lives so long
ORPHANED = 3600  # seconds before a journal without an entry is taken for litter
SILENT = 7 * 86400  # seconds what is known of a destination is of use


def sweep(queue: Queue, now: float) -> list[str]:
    """Remove old litter; give the paths removed."""
    swept = [*_older(f"{queue.path}/tmp", now - UNFINISHED)]
    swept += _older(f"{queue.path}/dest", now - SILENT)
    journals = list(_older(f"{queue.path}/log", now - ORPHANED))
    if journals:
        kept = Kept(queue)
        entries = {place.id for listing in (queue.all(), kept.all()) for place in listing}
        for path in journals:
            id_ = os.path.basename(path)
            # Looked for once more: an operator may have moved it while the folders were listed.
            if is_id(id_) and id_ not in entries and not (queue.find(id_) or kept.find(id_)):
                swept.append(path)
    return [path for path in swept if disk.remove(path)]


def _older(folder: str, limit: float) -> Iterator[str]:
    try:
        with os.scandir(folder) as found:
            for item in found:
                try:
                    if item.is_file(follow_symlinks=False) and item.stat().st_mtime < limit:
                        yield item.path
                except FileNotFoundError:
                    continue
    except FileNotFoundError:
        return
    except OSError as error:
        raise disk.trouble(error, "list", folder) from error
