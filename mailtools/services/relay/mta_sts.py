"""MTA-STS policies: found, fetched and kept (RFC 8461 3 and 5.1).

A policy is kept for as long as it says, in a folder where there is one, since its protection is
what was seen before an attacker came. A new id in DNS means to fetch anew, and so does the age of
the one that is kept, long before it expires (RFC 8461 10.2); while that fails, the kept one counts.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from typing import Protocol

from mailtools import log
from mailtools.errors import DnsTrouble, Failure, TlsTrouble
from mailtools.mail.tls_report import STS_FETCH, STS_INVALID, STS_WEBPKI
from mailtools.store import disk
from mailtools.store.greylist import sweep
from mailtools.trust.mta_sts import (
    AGE_MOST,
    Mode,
    StsPolicy,
    format_sts_policy,
    parse_sts_policy,
    parse_sts_record,
)
from mailtools.trust.tags import BadRecord

REFRESH = 86400.0  # seconds after which a policy is fetched again: RFC 8461 10.2, once a day
RETRY = 300.0  # seconds before a fetch that failed is tried again (RFC 8461 3.3)
KEPT_MOST = 10_000  # policies in memory
FILES_MOST = 100_000  # and on disk: whom we write to, strangers may choose by what bounces

_domain = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\Z")


class Texts(Protocol):
    """What is asked of DNS."""

    def lookup(self, name: str, rrtype: str) -> Records:
        """TXT records; raises DnsTrouble."""


class Records(Protocol):
    """Records as text."""

    @property
    def records(self) -> tuple[str, ...]:
        """The records."""


Kept = tuple[str, float, StsPolicy]  # its id, until when (seconds since 1970), the policy


class StsPolicies:
    """All policies we know; may be used by several threads."""

    def __init__(
        self,
        resolver: Callable[[], Texts],
        fetch: Callable[[str], bytes],
        folder: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        """`fetch` gets the policy file of a domain, or raises a Failure; `folder` keeps them."""
        self._resolver, self._fetch, self._folder, self._now = resolver, fetch, folder, now
        self._kept: dict[str, Kept] = {}
        self._turns: dict[str, threading.Lock] = {}
        self._failed: dict[str, float] = {}
        self._faults: dict[str, tuple[str, str]] = {}

    def policy(self, domain: str) -> StsPolicy | None:
        """Give a domain's policy; None where it has none that can be found out."""
        kept = self._known(domain)
        try:
            records = self._resolver().lookup(f"_mta-sts.{domain}", "TXT").records
            id_ = parse_sts_record(records)
        except (DnsTrouble, BadRecord):
            id_ = None
        if id_ is not None and not self._holds(kept, id_):
            kept = self._renewed(domain, id_, kept)
        return kept[2] if kept and kept[2].mode is not Mode.NONE else None

    def aged(self) -> dict[str, float]:
        """Give the domains whose kept policy is to be fetched again, and until when it counts."""
        try:
            names = sorted(os.listdir(self._folder)) if self._folder else []
        except OSError:
            return {}
        known = [(name, self._known(name)) for name in names]
        return {name: kept[1] for name, kept in known if kept and not self._holds(kept, kept[0])}

    def fault(self, domain: str) -> tuple[str, str] | None:
        """Give what a report says of a policy that could not be had: the result, and why."""
        failed = self._failed.get(domain, 0) > self._now()
        return self._faults.get(domain) if failed else None

    def _holds(self, kept: Kept | None, id_: str) -> bool:
        """Whether a kept policy is the one of that id, and young."""
        if kept is None or kept[0] != id_:
            return False
        age = self._now() - (kept[1] - kept[2].max_age)
        return age < min(REFRESH, kept[2].max_age / 2)

    def _renewed(self, domain: str, id_: str, kept: Kept | None) -> Kept | None:
        """Fetch a policy, or give what is kept; one does it for all that want it at a time."""
        if len(self._turns) >= KEPT_MOST:
            self._turns.clear()
        turn = self._turns.setdefault(domain, threading.Lock())
        if not turn.acquire(blocking=kept is None):
            return kept
        try:
            kept = self._known(domain, anew=True)
            if self._holds(kept, id_) or self._failed.get(domain, 0) > self._now():
                return kept
            return self._fetched(domain, id_) or kept
        finally:
            turn.release()

    def _fetched(self, domain: str, id_: str) -> Kept | None:
        try:
            policy = parse_sts_policy(self._fetch(domain))
        except (Failure, BadRecord) as failure:
            if len(self._failed) >= KEPT_MOST:
                self._failed.clear()
                self._faults.clear()
            self._failed[domain] = self._now() + RETRY
            self._faults[domain] = _result(failure), str(failure)
            log.event("unfetched", domain=domain, policy="mta-sts", reason=str(failure))
            return None
        if len(self._kept) >= KEPT_MOST:
            self._kept.clear()
        self._failed.pop(domain, None)
        self._faults.pop(domain, None)
        kept = self._kept[domain] = (id_, self._now() + policy.max_age, policy)
        self._save(domain, kept)
        return kept

    # -- the folder -------------------------------------------------------------------------------

    def _known(self, domain: str, *, anew: bool = False) -> Kept | None:
        """Give what is kept and counts; `anew`: another process may have fetched it meanwhile."""
        loaded = self._load(domain) if anew or domain not in self._kept else None
        kept = loaded or self._kept.get(domain)
        if kept is None or kept[1] <= self._now():
            return None
        self._kept[domain] = kept
        return kept

    def _path(self, domain: str) -> str:
        return f"{self._folder}/{domain}" if self._folder and _domain.match(domain) else ""

    def _load(self, domain: str) -> Kept | None:
        path = self._path(domain)
        if not path:
            return None
        try:
            with open(path, "rb") as file:
                head, _, text = file.read(200_000).partition(b"\n")
            id_, until = head.decode().split(" ")
            return id_, float(until), parse_sts_policy(text)
        except (OSError, ValueError, BadRecord):
            return None

    def _save(self, domain: str, kept: Kept) -> None:
        path = self._path(domain)
        if not path:
            return
        id_, until, policy = kept
        try:
            disk.make_directory(os.path.dirname(path), sync=True)
            disk.replace(path, f"{id_} {until:.0f}\n".encode() + format_sts_policy(policy))
            sweep(os.path.dirname(path), self._now(), AGE_MOST, FILES_MOST)
        except Failure as failure:
            log.event("trouble", detail=failure.detail or failure.text)


def _result(failure: Exception) -> str:
    """Say in the words of RFC 8460 4.3.2.2 why a policy could not be had."""
    if isinstance(failure, BadRecord):
        return STS_INVALID
    return STS_WEBPKI if isinstance(failure, TlsTrouble) else STS_FETCH
