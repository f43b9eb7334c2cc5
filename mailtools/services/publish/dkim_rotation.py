"""DKIM keys on their way: published, seen in DNS, put to use, retired, removed (mail-dkim(1)).

What a turn finds it does: nothing is remembered but the state and its time in `dkim-keys`, so it
may be run at any time, and again after a crash.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mailtools.errors import DnsTrouble
from mailtools.services.publish.dkim_store import DkimStore, utc, zone_line
from mailtools.services.relay.dkim_keys import KeyLine, State

if TYPE_CHECKING:
    from mailtools.trust.keys import KeyKind, PrivateKey
    from mailtools.trust.lookup import Lookup

OK = "ok"


def published(line: KeyLine, key: PrivateKey, lookup: Lookup) -> str:
    """Give OK where DNS has this key, else what is wrong there; raise DnsTrouble."""
    from mailtools.trust.dkim_record import parse_key  # hashlib: only where DNS is compared
    from mailtools.trust.keys import load_public_key
    from mailtools.trust.tags import BadRecord

    found = lookup(line.name, "TXT").records
    if not found:
        return "not in DNS"
    if len(found) > 1:
        return f"{len(found)} TXT records in DNS, there must be one"
    try:
        record = parse_key(found[0])
        if not record.key:
            return "revoked in DNS: p= is empty"
        if record.kind != key.kind:
            return f"DNS has a key of another kind: {record.kind}"
        if load_public_key(key.kind, record.key).key != key.key.public_key():
            return "DNS has another key"
    except BadRecord as fault:
        return f"bad record in DNS: {fault.text}"
    if record.hashes and "sha256" not in record.hashes:
        return "the record in DNS does not allow sha256 (h=)"
    if not {"*", "email"} & set(record.services):
        return "the record in DNS is not for mail (s=)"
    return "the record in DNS says that it is a test (t=y)" if record.testing else OK


class Rotation:
    """One turn over the keys: what it says, and whether DNS could not be asked."""

    def __init__(
        self, store: DkimStore, lookup: Lookup, now: float, *, every: float, keep: float
    ) -> None:
        """A key signs for `every` seconds (0: for ever), and is kept for `keep` when it retires."""
        self._store, self._lookup, self._now = store, lookup, now
        self._every, self._keep = every, keep
        self._changes: dict[KeyLine, KeyLine | None] = {}
        self._new: list[KeyLine] = []
        self.trouble = False
        """DNS gave no answer about a key."""

    def turn(self, domain: str = "") -> list[str]:
        """Move each key, or those of a domain, on its way; tell what was done and is to be done."""
        said: list[str] = []
        with self._store.locked():
            groups: dict[tuple[str, KeyKind], list[KeyLine]] = {}
            for line in self._store.lines(domain):
                kind = self._store.load(line).kind
                groups.setdefault((line.domain, kind), []).append(line)
            for (name, kind), lines in groups.items():
                said += self._move(name, kind, lines)
            if self._changes or self._new:
                self._store.change(self._changes, self._new)
        return said

    def _move(self, domain: str, kind: KeyKind, lines: Sequence[KeyLine]) -> Iterator[str]:
        """Move the keys of one kind of a domain: they replace each other."""
        signing = [line for line in lines if line.state is State.SIGNING]
        waiting = [line for line in lines if line.state is State.WAITING]
        for line in waiting:
            found = self._found(line)
            if found != OK:
                yield f"{line.name}: {found}; publish:"
                yield zone_line(line, self._store.load(line))
                continue
            yield f"{line.name}: signs from now on"
            self._changes[line] = self._now_in(line, State.SIGNING)
            for before in signing:
                yield f"{before.name}: signs no more"
                self._changes[before] = self._now_in(before, State.RETIRED)
            signing = [line]
        if signing and not waiting and self._every and self._is_old(signing):
            line = self._store.make(domain, kind, self._now)
            self._new.append(line)
            yield f"{line.name}: a new key; publish:"
            yield zone_line(line, self._store.load(line))
        for line in lines:
            if line.state is State.RETIRED and self._store.age(line, self._now) >= self._keep:
                self._changes[line] = None
                yield f"{line.name}: removed; withdraw its record"

    def _found(self, line: KeyLine) -> str:
        try:
            return published(line, self._store.load(line), self._lookup)
        except DnsTrouble as trouble:
            self.trouble = True
            return trouble.text

    def _is_old(self, signing: Sequence[KeyLine]) -> bool:
        return min(self._store.age(line, self._now) for line in signing) >= self._every

    def _now_in(self, line: KeyLine, state: State) -> KeyLine:
        return replace(line, state=state, since=utc(self._now))
