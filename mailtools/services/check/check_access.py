"""Checks of who may read and write the files: settings, secrets, keys."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeGuard

from mailtools.services.check.finding import Finding, fault, warning

# Asked as the reader himself, with all his groups: each file that he cannot read and, behind a TAB,
# the first folder on the way that is closed to him.
_ASK = r"""
for file; do
    [ -r "$file" ] || {
        shut='' at=$file
        while [ "$at" != / ]; do at=$(dirname -- "$at"); [ -x "$at" ] || shut=$at; done
        printf '%s\t%s\n' "$file" "$shut"
    }
done
"""


class Reader(NamedTuple):
    """As whom most commands run: the owner of the queue."""

    uid: int
    gid: int

    @property
    def name(self) -> str:
        """What people call him."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return f"uid {self.uid}"

    @property
    def groups(self) -> list[int]:
        """His further groups."""
        try:
            return os.getgrouplist(pwd.getpwuid(self.uid).pw_name, self.gid)
        except KeyError:
            return [self.gid]


def modes(files: Iterable[str], secrets: Iterable[str], reader: Reader | None) -> Iterator[Finding]:
    """Look whether others may write any of the files, or read one of the secrets."""
    close = "chmod o= %s"
    if _matters(reader):
        close = f"chgrp {_group(reader.gid)} %s && chmod 640 %s"
    secret = set(secrets)
    for path in (*files, *sorted(secret)):
        try:
            mode = os.stat(path).st_mode
        except OSError:
            continue
        if mode & 0o002:
            yield fault(path, "others may write it", f"chmod o-w {path}")
        if path in secret and mode & 0o007:
            yield fault(path, "others can read it", close.replace("%s", path))


def settings(files: Iterable[str], reader: Reader | None) -> Iterator[Finding]:
    """Look whether the queue's owner can read what he needs; None: we are not root, and so he."""
    for path, shut in _closed(files, reader):
        assert reader
        yield fault(path, _what(path, shut, reader), _mend(path, shut, reader))


def keys(files: Iterable[str], reader: Reader | None) -> Iterator[Finding]:
    """Look whether smtpd-accept can read the keys, if it runs as the queue's owner."""
    for path, shut in _closed(files, reader):
        assert reader
        yield warning(
            path, f"{_what(path, shut, reader)}; no TLS, then, for a smtpd-accept that runs as him",
            _mend(path, shut, reader),
        )  # fmt: skip


def _matters(reader: Reader | None) -> TypeGuard[Reader]:
    return reader is not None and reader.uid != 0


def _closed(files: Iterable[str], reader: Reader | None) -> Iterator[tuple[str, str]]:
    there = [os.path.abspath(path) for path in files if os.path.exists(path)]
    if not _matters(reader) or not there:
        return
    asked = subprocess.run(
        ["/bin/sh", "-c", _ASK, "sh", *there],
        user=reader.uid, group=reader.gid, extra_groups=reader.groups,
        capture_output=True, check=False, cwd="/",
    )  # fmt: skip
    for line in os.fsdecode(asked.stdout).splitlines():
        path, _, shut = line.partition("\t")
        yield path, shut


def _what(path: str, shut: str, reader: Reader) -> str:
    where = f": {shut} is closed to him" if shut else ""
    return f"the queue's owner, {reader.name}, cannot read it{where}"


def _mend(path: str, shut: str, reader: Reader) -> str:
    group = _group(reader.gid)
    if shut:
        return f"chmod o+x {shut}, or: install -m 640 -g {group} {path} a place of his"
    return f"chgrp {group} {path} && chmod g+r {path}"


def _group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
