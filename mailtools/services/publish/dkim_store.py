"""DKIM keys of a control folder, made and noted: the files behind mail-dkim(1).

All state is in `dkim-keys` (services/relay/dkim_keys.py). A key file is there before the line that
names it, and goes after it, so relay-send never looks for a key that is missing.
"""

from __future__ import annotations

import calendar
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from mailtools.errors import BadAddress, Misconfigured
from mailtools.services.access import text_file
from mailtools.services.relay.dkim_keys import (
    FOLDER,
    NAME,
    KeyLine,
    State,
    domain_name,
    key_path,
    load_key,
    read_lines,
    selector_name,
)
from mailtools.store import disk

if TYPE_CHECKING:
    from mailtools.trust.keys import KeyKind, PrivateKey

STRING_MOST = 255  # octets of one string of a TXT record, RFC 1035 3.3
_SINCE = "%Y-%m-%dT%H:%MZ"


class DkimStore:
    """The keys of one control folder."""

    def __init__(self, etc: str, group: int = -1) -> None:
        """Name the folder; new keys may be read by `group` too (-1: by their maker only)."""
        self._etc, self._group = etc, group
        self._path = f"{etc}/{NAME}"

    def locked(self) -> AbstractContextManager[None]:
        """Be the only one who changes the keys."""
        return text_file.locked(self._path)

    def lines(self, domain: str = "") -> list[KeyLine]:
        """Give all keys, or those of a domain; raise BadAddress where it has none."""
        found = [line for line in read_lines(self._path) if isinstance(line, KeyLine)]
        if domain:
            name = _checked(domain, domain_name)
            found = [line for line in found if line.domain == name]
            if not found:
                raise BadAddress(f"There is no key for {domain} in {self._path}")
        return found

    def add(self, domain: str, kind: KeyKind, selector: str, now: float) -> KeyLine:
        """Make a key that waits for DNS to show it; raise BadAddress.

        Without a selector it gets the day and the kind for one.
        """
        domain = _checked(domain, domain_name)
        with self.locked():
            line = KeyLine(domain, "", State.WAITING, utc(now))
            if selector:
                line = line.named(_checked(selector, selector_name))
                if self._taken(line):
                    raise BadAddress(f"{line.name} is there already")
            else:
                line = self.make(domain, kind, now, key=False)
            self._write_key(line, kind)
            self.change({}, [line])
        return line

    def make(self, domain: str, kind: KeyKind, now: float, *, key: bool = True) -> KeyLine:
        """Give a line with a free selector, and with `key` make its key; it is not noted yet."""
        first = f"{time.strftime('%Y%m%d', time.gmtime(now))}-{kind}"
        line, number = KeyLine(domain, first, State.WAITING, utc(now)), 1
        while self._taken(line):
            number += 1
            line = line.named(f"{first}-{number}")
        if key:
            self._write_key(line, kind)
        return line

    def change(self, changes: Mapping[KeyLine, KeyLine | None], new: Iterable[KeyLine]) -> None:
        """Write the file with lines changed, removed (None) and added, all at once; hold the lock.

        The keys of removed lines are removed too.
        """
        texts = []
        for line in read_lines(self._path):
            after = changes.get(line, line) if isinstance(line, KeyLine) else line
            if after is not None:
                texts.append(str(after))
        text_file.rewrite(self._path, [*texts, *map(str, new)], text_file.Rights(mode=0o644))
        for line, after in changes.items():
            if after is None:
                disk.remove(key_path(self._etc, line), sync=True)

    def load(self, line: KeyLine) -> PrivateKey:
        """Read a private key; raise Misconfigured."""
        return load_key(key_path(self._etc, line))

    def age(self, line: KeyLine, now: float) -> float:
        """Give how many seconds a key has been in its state, or its file there."""
        if line.since:
            return now - calendar.timegm(time.strptime(line.since, _SINCE))
        return now - os.stat(key_path(self._etc, line)).st_mtime

    def _taken(self, line: KeyLine) -> bool:
        known = any(each.name == line.name for each in self.lines())
        return known or os.path.lexists(key_path(self._etc, line))

    def _write_key(self, line: KeyLine, kind: KeyKind) -> None:
        from mailtools.trust.keys import new_private_key  # only where a key is made

        folder = f"{self._etc}/{FOLDER}"
        if disk.make_directory(folder, 0o750, sync=True) and self._group >= 0:
            disk.set_owner(folder, -1, self._group, 0o750)
        path = key_path(self._etc, line)
        writer = disk.beside(path)
        writer.write(new_private_key(kind).pem())
        if self._group >= 0:  # before it gets its name: relay-send must be able to read it
            disk.set_owner(writer.path, -1, self._group, 0o640)
        writer.publish(path)


def utc(now: float) -> str:
    """Write a time as the file has it."""
    return time.strftime(_SINCE, time.gmtime(now))


def zone_line(line: KeyLine, key: PrivateKey) -> str:
    """Write the record to publish, as a zone file has it: in strings of 255 octets."""
    record = key.record()
    starts = range(0, len(record), STRING_MOST)
    strings = [f'"{record[start : start + STRING_MOST]}"' for start in starts]
    text = strings[0] if len(strings) == 1 else f"({' '.join(strings)})"
    return f"{line.name}. IN TXT {text}"


def _checked(text: str, check: Callable[[str], str]) -> str:
    try:
        return check(text)
    except Misconfigured as fault:
        raise BadAddress(fault.detail) from None
