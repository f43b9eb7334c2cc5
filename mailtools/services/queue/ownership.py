"""The lease of a queue that several hosts share, as a queue run keeps it."""

import time

from mailtools import log
from mailtools.errors import Failure
from mailtools.store.lease import Lease

RENEWALS = 3  # in the time a lease lasts
RETRY = 1.0  # seconds before a renewal that the disk refused is tried again
LOOK_MOST = 30.0  # seconds between looks whether it is free


class Ownership:
    """A lease that is renewed in time, or given up."""

    def __init__(self, lease: Lease, lasts: float) -> None:
        """`lasts`: seconds after a renewal until another host may take the queue over."""
        self._lease, self._lasts = lease, lasts
        self._renewed = self._retry = 0.0

    def take(self, *, wait: bool) -> bool:
        """Take the lease; with `wait`, stand by until it is free. Raises SystemTrouble."""
        said = ""
        while not self._lease.take():
            if self._lease.holder != said:
                said = self._lease.holder
                log.event("stood-by", owner=said)
            if not wait:
                return False
            time.sleep(min(self._lasts / RENEWALS, LOOK_MOST))
        self._renewed = _clock()
        log.event("leased", after=self._lease.holder)
        return True

    @property
    def pause(self) -> float:
        """Seconds until it wants a renewal."""
        return max(self._renewed + self._lasts / RENEWALS, self._retry) - _clock()

    def keep(self) -> bool:
        """Renew it where it is time; False: it is not ours any more."""
        if self.pause > 0:
            return True
        try:
            kept = self._lease.renew()
        except Failure as failure:
            log.event("trouble", detail=failure.detail or failure.text)
            kept = _clock() - self._renewed < self._lasts
            self._retry = _clock() + RETRY
        else:
            self._renewed = _clock()
        if not kept:
            log.event("lease-lost")
        return kept

    def release(self) -> None:
        """Let another host have the queue at once."""
        try:
            self._lease.release()
        except Failure as failure:  # then it has to wait
            log.event("trouble", detail=failure.detail or failure.text)


def _clock() -> float:
    # Goes on while the machine is suspended, which is when leases are lost.
    return time.clock_gettime(time.CLOCK_BOOTTIME)
