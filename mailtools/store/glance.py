"""A glance at an entry: where it goes, told by its first line of that kind.

The queue run looks so at the ten thousand that are due for a host that is down, while others' mail
goes out; it costs a third of reading the entry. What a glance does not tell for sure it leaves
untold: then the entry is read.
"""

import os

from mailtools.mail.envelope import REJECTED
from mailtools.store.entry import Place, State
from mailtools.store.journal import REROUTED

NOTHING = ("", "")
_HEAD = 4096  # octets
_JOURNAL = 65536
_WORD = b"\nforward-path "
_SENDER = b"\nreverse-path "
_REJECTED = f"\nparameter {REJECTED}".encode()  # goes a way of its own
_REROUTED = REROUTED.encode()
_PRIORITY = b"\nparameter MT-PRIORITY="  # RFC 6710: a high one does not wait with the others


def only_path(queue: str, place: Place) -> tuple[str, str]:
    """Give where an entry goes that goes to just one, the usual way, and its reverse-path.

    Nothing ("" each) where it may not.
    """
    try:
        head, end, _ = _start(place.path, _HEAD).partition(b"\n\n")
        _, found, rest = head.partition(_WORD)
        if not end or not found or _WORD in rest or rest[:1] == b'"' or _REJECTED in head:
            return NOTHING
        if _PRIORITY in head and _PRIORITY + b"-" not in head:
            return NOTHING
        journal = f"{queue}/log/{place.id}"
        if place.state is State.NEW:
            if os.access(journal, os.F_OK):
                return NOTHING  # an operator had to do with it
        else:
            said = _start(journal, _JOURNAL)
            if _REROUTED in said or len(said) == _JOURNAL:
                return NOTHING
    except OSError:
        return NOTHING
    address = rest.partition(b"\n")[0].partition(b" ")[0]
    sender = head.partition(_SENDER)[2].partition(b"\n")[0]
    return address.decode("utf-8", "surrogateescape"), sender.decode("utf-8", "surrogateescape")


def _start(path: str, most: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return os.read(fd, most)
    finally:
        os.close(fd)
