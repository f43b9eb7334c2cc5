"""Mail for later: until when a message may be held (FUTURERELEASE, RFC 4865)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mailtools.errors import BadSyntax
from mailtools.protocol.smtp.extensions import RELEASE_MOST

if TYPE_CHECKING:
    from collections.abc import Mapping


def release_until() -> str:
    """Give the latest date-time that may be asked for now, as EHLO names it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + RELEASE_MOST))


def check_release(parameters: Mapping[str, str], now: float) -> None:
    """Raise BadSyntax unless a message may be held as MAIL's parameters ask (RFC 4865 4.2).

    One that must be returned (DELIVERBY, RFC 2852, by-mode R) before it is released cannot be sent.
    """
    if "HOLDUNTIL" in parameters:
        held = _moment(parameters["HOLDUNTIL"]) - now
    elif "HOLDFOR" in parameters:
        held = float(parameters["HOLDFOR"])
    else:
        return
    if held > RELEASE_MOST:
        raise BadSyntax(f"A message is held for {RELEASE_MOST} seconds at most", status="5.5.4")
    by, _, mode = parameters.get("BY", "").partition(";")
    if mode[:1] == "R" and int(by) <= held:
        raise BadSyntax("It is to be delivered before it is released", status="5.5.4")


def _moment(text: str) -> float:
    from datetime import datetime  # rare: only where somebody sends mail for later

    try:
        return datetime.fromisoformat(text.upper()).timestamp()
    except ValueError:
        raise BadSyntax("HOLDUNTIL names no moment", status="5.5.4") from None
