"""A glance at an entry: where it goes, told by its first line of that kind.

The queue run looks so at the ten thousand that are due for a host that is down, while others' mail
goes out; it costs a third of reading the entry. What a glance does not tell for sure it leaves
untold: then the entry is read.
"""

import os

from mailtools.mail.envelope import REJECTED
from mailtools.store.journal import REROUTED
from mailtools.store.queue import Place, State

_HEAD = 4096  # octets
_JOURNAL = 65536
_WORD = b"\nforward-path "
_REJECTED = f"\nparameter {REJECTED}".encode()  # goes a way of its own
_REROUTED = REROUTED.encode()


def only_path(queue: str, place: Place) -> str:
    """Give the address of an entry that goes to just one, the usual way; "" where it may not."""
    try:
        head, end, _ = _start(place.path, _HEAD).partition(b"\n\n")
        _, found, rest = head.partition(_WORD)
        if not end or not found or _WORD in rest or rest[:1] == b'"' or _REJECTED in head:
            return ""
        journal = f"{queue}/log/{place.id}"
        if place.state is State.NEW:
            if os.access(journal, os.F_OK):
                return ""  # an operator had to do with it
        else:
            said = _start(journal, _JOURNAL)
            if _REROUTED in said or len(said) == _JOURNAL:
                return ""
    except OSError:
        return ""
    return rest.partition(b"\n")[0].partition(b" ")[0].decode("utf-8", "surrogateescape")


def _start(path: str, most: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return os.read(fd, most)
    finally:
        os.close(fd)
