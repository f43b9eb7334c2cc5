"""One owner for a queue on storage that several hosts share: owner/N, renewed while it works.

A lock dies with its process, but only where the file system carries locks from host to host. So
the owner also has a file of the highest number in owner/, and renews it. Whoever finds it too old,
or marked free, creates the next number: that can succeed for one only, and the old owner sees the
higher number when it next renews. Numbers never go back: an end marks the file as free.

Ages are differences of times that the storage itself gave, so clocks of hosts do not matter.
"""

import os
import re
from typing import NamedTuple

from mailtools.store import disk

FREE = "free"
_number = re.compile(r"[0-9]{1,18}\Z")


class Owner(NamedTuple):
    """Who works on a queue."""

    host: str
    pid: int
    boot: str
    """The boot ID of the host's kernel: the same one means the same machine, not started anew."""

    def __str__(self) -> str:
        """The owner as it stands in the file."""
        return f"{self.host} {self.pid} {self.boot}"


def myself(host: str) -> Owner:
    """Say who we are."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:
        boot = "-"
    return Owner(host, os.getpid(), boot)


class Lease:
    """The right to work on a queue, for `lasts` seconds after each renewal."""

    def __init__(self, folder: str, me: Owner, lasts: float) -> None:
        """Take the folder owner/ of a queue; nothing is read yet.

        The caller holds the queue's lock: who has our boot ID and not the lock is gone.
        """
        self._folder, self._me, self._lasts = folder, me, lasts
        self._mine = 0
        self.holder = ""
        """Who has it, or had it before us, as `take` found it; "" for nobody."""

    def take(self) -> bool:
        """Take the lease where it is free or too old; tell whether it is ours now."""
        disk.make_directory(self._folder, sync=True)
        numbers = self._numbers()
        last = numbers[-1] if numbers else 0
        self.holder = _read(self._path(last)) if last else FREE
        if not self._is_free(last):
            return False
        self.holder = "" if self.holder == FREE else self.holder
        if not disk.create(self._path(last + 1), f"{self._me}\n".encode()):
            return False  # somebody else was faster
        disk.sync_directory(self._folder)  # or a power cut there would give it back to the old one
        self._mine = last + 1
        if self._numbers()[-1] != self._mine:  # what we had read was old
            disk.remove(self._path(self._mine))
            return False
        for number in numbers:
            disk.remove(self._path(number))
        return True

    def renew(self) -> bool:
        """Make it last again; False: it was taken from us, and we must not go on."""
        if self._numbers()[-1:] != [self._mine]:
            return False
        disk.replace(self._path(self._mine), f"{self._me}\n".encode())
        return self._numbers()[-1:] == [self._mine]

    def release(self) -> None:
        """Let others have it at once."""
        if self._numbers()[-1:] == [self._mine]:
            disk.replace(self._path(self._mine), f"{FREE}\n".encode())

    def _is_free(self, number: int) -> bool:
        if self.holder == FREE:
            return True
        boot = self.holder.rpartition(" ")[2]
        if boot == self._me.boot != "-":
            return True
        return self._age(number) > self._lasts

    def _age(self, number: int) -> float:
        """How long ago it was renewed, by the clock of the storage."""
        probe = f"{self._folder}/.{self._me.host}.{self._me.pid}"
        disk.remove(probe)
        disk.create(probe)
        try:
            return os.stat(probe).st_mtime - os.stat(self._path(number)).st_mtime
        except FileNotFoundError:
            return 0.0  # it was taken over this moment
        except OSError as error:
            raise disk.trouble(error, "look at", self._path(number)) from error
        finally:
            disk.remove(probe)

    def _numbers(self) -> list[int]:
        try:
            return sorted(int(name) for name in os.listdir(self._folder) if _number.match(name))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise disk.trouble(error, "list", self._folder) from error

    def _path(self, number: int) -> str:
        return f"{self._folder}/{number:06}"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""  # being written, or gone: its age decides
