"""A host that was encrypted once is not spoken to in the clear without a word.

Opportunistic TLS (RFC 7435) is as good as nobody takes STARTTLS out of what a host offers. So it is
remembered which hosts had TLS, and mail for them waits where that fails; but no longer than the
operator's patience, since a host that broke its TLS is far more common than somebody in between.
Only encryption is remembered: whose certificate it was is not looked at without a policy.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from mailtools import log
from mailtools.errors import Failure
from mailtools.services.relay.connections import Manner
from mailtools.services.relay.exchangers import Target
from mailtools.services.relay.tls_policy import ENCRYPTED, Level
from mailtools.store.tls_memory import Seen, TlsMemory

NOTED_ANEW = 86400.0  # seconds after which an encrypted session is noted again
HOSTS_MOST = 10_000  # hosts of which a process knows that they were noted


class TlsFloor:
    """What is remembered of hosts, and what follows for the next connection."""

    def __init__(
        self,
        memory: TlsMemory,
        keep: float,
        patience: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Remember for `keep` seconds; let mail wait for `patience` seconds where TLS fails."""
        self._memory, self._keep, self._patience, self._clock = memory, keep, patience, clock
        self._noted: dict[str, float] = {}
        self._swept = 0.0

    def raised(self, manner: Manner, target: Target, *, only_look: bool = False) -> Manner:
        """Give the manner with encryption demanded, where the host had it before.

        Where that has failed for longer than the patience, the host is forgotten instead; with
        `only_look` nothing is.
        """
        if manner.policy.level is not Level.MAY or not _counts(manner):
            return manner
        host = _name(target)
        seen = self._memory.find(host)
        now = self._clock()
        if seen is None or seen.encrypted < now - self._keep:
            return manner
        if seen.failing and seen.failing <= now - self._patience:
            if not only_look:
                log.event("lowered", peer=target.peer, since=_moment(seen.failing))
                self._quietly(lambda: self._memory.forget(host))
                self._noted.pop(host, None)
            return manner
        policy = replace(ENCRYPTED, applied=manner.policy.applied)
        return replace(manner, policy=policy, remembered=self.says(target, seen))

    def says(self, target: Target, seen: Seen) -> str:
        """Say why mail waits, until when, and what lets it go."""
        until = _moment((seen.failing or self._clock()) + self._patience)
        return (
            f"it was encrypted on {_moment(seen.encrypted)}, so mail waits until {until}, or until"
            f" tls-policy says `may`, or {self._memory.name(_name(target))} is removed"
        )

    def reached(self, manner: Manner, target: Target) -> None:
        """Note a session that was encrypted."""
        host, now = _name(target), self._clock()
        if not _counts(manner) or self._noted.get(host, 0.0) > now - NOTED_ANEW:
            return
        if len(self._noted) >= HOSTS_MOST:
            self._noted.clear()
        self._noted[host] = now
        self._quietly(lambda: self._memory.note(host, Seen(now)))
        if self._swept < now - NOTED_ANEW:
            self._swept = now
            self._quietly(lambda: self._memory.sweep(now - self._keep))

    def failed(self, manner: Manner, target: Target) -> None:
        """Note that a host could not be encrypted that was before."""
        host = _name(target)
        seen = self._memory.find(host)
        self._noted.pop(host, None)
        if manner.remembered and seen is not None and not seen.failing:
            now = self._clock()
            self._quietly(lambda: self._memory.note(host, seen._replace(failing=now)))

    def _quietly(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Failure as failure:  # it is a hint
            log.event("trouble", detail=failure.detail or failure.text)


def _counts(manner: Manner) -> bool:
    return not (manner.lmtp or manner.implicit_tls or manner.plain)


def _name(target: Target) -> str:
    return f"{target.host}:{target.port}"


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
