"""How many connections and messages come from a client's network, over all processes of a pool.

The board is shared memory, made before the processes are forked: who serves which network now, a
row a process, and how often each came this minute, a row a network. A lock of the kernel's guards
it, which a process that dies leaves; so does its row, which is looked after when a limit is met.
"""

import fcntl
import mmap
import os
import socket
import struct
import time
from hashlib import blake2b

PROCESSES = 4096  # rows of those who serve
NETWORKS = 16384  # rows of those who came
PROBES = 8  # rows a network may stand in
_SERVES = struct.Struct("<QI4x")  # network, process
_CAME = struct.Struct("<QIHH")  # network, minute, connections, messages
_COUNTED_MOST = 65535


class Crowd:
    """The counts of one listener; under inetd, of one session only."""

    def __init__(
        self,
        *,
        at_once: int = 0,
        connections: int = 0,
        messages: int = 0,
        prefixes: tuple[int, int] = (32, 64),
    ) -> None:
        """Take the limits, 0 for none: at a time, a minute, messages a minute.

        `prefixes` are the bits of IPv4 and IPv6 addresses that are one network.
        """
        self._at_once, self._connections, self._messages = at_once, connections, messages
        self._masks = tuple(
            (1 << size) - (1 << (size - bits))
            for size, bits in zip((32, 128), prefixes, strict=True)
        )
        self._came_at = PROCESSES * _SERVES.size
        size = self._came_at + NETWORKS * _CAME.size
        self._lock = os.memfd_create("crowd")
        os.ftruncate(self._lock, size)
        self._board = mmap.mmap(self._lock, size)
        self._row = (0, -1)  # the process that has it, and where it is

    def enter(self, address: str) -> str:
        """Count a connection, and serve it until `leave`; give which limit refuses it, or ""."""
        network = self._network(address)
        fcntl.lockf(self._lock, fcntl.LOCK_EX, 1)
        try:
            if self._connections and self._count(network, 0) > self._connections:
                return "connections a minute"
            if self._at_once:
                if self._serving(network) >= self._at_once:
                    self._forget_the_dead()
                    if self._serving(network) >= self._at_once:
                        return "connections at a time"
                self._serve(network)
            return ""
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN, 1)

    def leave(self) -> None:
        """The connection is over."""
        pid, row = self._row
        if row >= 0 and pid == os.getpid():
            _SERVES.pack_into(self._board, row, 0, pid)

    def message(self, address: str) -> str:
        """Count a message; give which limit refuses it, or ""."""
        if not self._messages:
            return ""
        network = self._network(address)
        fcntl.lockf(self._lock, fcntl.LOCK_EX, 1)
        try:
            return "messages a minute" if self._count(network, 1) > self._messages else ""
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN, 1)

    # -- who serves -------------------------------------------------------------------------------

    def _serving(self, network: int) -> int:
        # By its octets: that two rows should spell a third one between them is not to be expected.
        return self._board[_SERVES.size : self._end()].count(network.to_bytes(8, "little"))

    def _end(self) -> int:
        """Where the rows end that were ever used: the first row says so."""
        return int(_SERVES.unpack_from(self._board)[1]) or _SERVES.size

    def _serve(self, network: int) -> None:
        pid, row = self._row
        if pid != os.getpid():
            pid, row = self._row = os.getpid(), self._free_row()
        if row >= 0:
            _SERVES.pack_into(self._board, row, network, pid)

    def _free_row(self) -> int:
        """Give a row for this process, -1 where there is none; it costs what there are."""
        freed, end = self._forget_the_dead(), self._end()
        if freed < 0 and end < self._came_at:
            _SERVES.pack_into(self._board, 0, 0, end + _SERVES.size)
            return end
        return freed

    def _forget_the_dead(self) -> int:
        """Free the rows of processes that are gone; give a free one, -1 where there is none."""
        freed = -1
        for row in range(_SERVES.size, self._end(), _SERVES.size):
            pid = _SERVES.unpack_from(self._board, row)[1]
            if not pid or not os.path.exists(f"/proc/{pid}"):
                _SERVES.pack_into(self._board, row, 0, 0)
                freed = row
        return freed

    # -- who came ---------------------------------------------------------------------------------

    def _count(self, network: int, what: int) -> int:
        minute = int(time.time()) // 60
        oldest, oldest_at = minute + 1, 0
        for probe in range(PROBES):
            at = self._came_at + (network + probe) % NETWORKS * _CAME.size
            found, when, *counts = _CAME.unpack_from(self._board, at)
            if found == network and when == minute:
                break
            if when < oldest:
                oldest, oldest_at = when, at
        else:
            at, counts = oldest_at, [0, 0]
        counts[what] = min(counts[what] + 1, _COUNTED_MOST)
        _CAME.pack_into(self._board, at, network, minute, *counts)
        return int(counts[what])

    def _network(self, address: str) -> int:
        """Give the number a client's network stands by; what is no IP address stands for itself."""
        if address[:7].lower() == "::ffff:" and "." in address:
            address = address[7:]  # IPv4 in IPv6's clothes: RFC 4291 2.5.5.2
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            octets = socket.inet_pton(family, address.partition("%")[0])
        except OSError:
            kept = address.encode("utf-8", "surrogateescape")
        else:
            mask = self._masks[family == socket.AF_INET6]
            kept = (int.from_bytes(octets) & mask).to_bytes(len(octets))
        # A number nobody outside can choose to be another's: the key differs in each listener.
        digest = blake2b(kept, digest_size=8, key=_KEY).digest()
        return int.from_bytes(digest, "little") or 1


_KEY = os.urandom(16)
