"""UIDVALIDITY values that never come twice: Dovecot's `dovecot-uidvalidity` in a Maildir's root.

The last value stands in the name of an empty file, `dovecot-uidvalidity.HEX`, since a rename is
won by one process alone; `dovecot-uidvalidity` repeats it, so that it is found without a scan.
"""

import os
import time

from mailtools.store import disk

NAME = "dovecot-uidvalidity"


def next_value(root: str) -> int:
    """Give a value higher than every one used in this Maildir, and note it."""
    prefix = f"{root}/{NAME}"
    while True:
        used = sorted(_used(root))
        if not used:
            value = int(time.time())
            if not disk.create(f"{prefix}.{value:08x}", mode=0o444):
                continue
        else:
            value = used[-1] + 1
            try:
                disk.move(f"{prefix}.{used[-1]:08x}", f"{prefix}.{value:08x}")
            except FileNotFoundError:
                continue  # another process took it
            for old in used[:-1]:
                disk.remove(f"{prefix}.{old:08x}")
        temporary = f"{prefix}.new.{os.getpid()}"
        disk.remove(temporary)
        disk.replace(prefix, b"%08x" % value, temporary=temporary)
        return value


def _used(root: str) -> list[int]:
    values = []
    for name in os.listdir(root):
        digits = name.removeprefix(f"{NAME}.")
        if digits != name and len(digits) == 8:
            try:
                values.append(int(digits, 16))
            except ValueError:
                pass
    return values
