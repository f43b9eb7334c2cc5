"""What relay-send notes of each TLS session with an exchanger, for its domain's report (RFC 8460).

Only where the domain asks for reports and the operator for their sending.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from mailtools import log
from mailtools.errors import DnsTrouble, Failure, TlsTrouble
from mailtools.mail.tls_report import (
    EXPIRED,
    HOST_MISMATCH,
    NO_STARTTLS,
    NOT_TRUSTED,
    TLSA_INVALID,
    VALIDATION,
    Applied,
    Session,
)
from mailtools.services.relay.tls_policy import Level
from mailtools.trust.mta_sts import parse_tlsrpt_record
from mailtools.trust.tags import BadRecord

if TYPE_CHECKING:
    from mailtools.services.relay.connections import Connection
    from mailtools.services.relay.tls_rules import SecureResolver
    from mailtools.store.report_data import Collected

REASON_MOST = 100  # characters

# X509_V_ERR_CERT_HAS_EXPIRED; _HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH (openssl, x509_vfy.h)
_CODES = {10: EXPIRED, 62: HOST_MISMATCH, 64: HOST_MISMATCH}


class TlsData:
    """Notes sessions in the day's file."""

    def __init__(self, collected: Collected, clock: Callable[[], float]) -> None:
        """Take where they go."""
        self._collected, self._clock = collected, clock

    def wanted(self, domain: str, resolver: SecureResolver) -> bool:
        """Whether a domain asks for reports (RFC 8460 3)."""
        try:
            return bool(parse_tlsrpt_record(resolver.lookup(f"_smtp._tls.{domain}", "TXT").records))
        except (BadRecord, DnsTrouble):
            return False

    def failed(self, applied: Applied, exchanger: str, result: str, reason: str = "") -> None:
        """Note what failed before there was a session."""
        self._add(applied, Session(result, exchanger, reason=reason[:REASON_MOST]))

    def session(self, applied: Applied, connection: Connection) -> None:
        """Note how a session went; one that says nothing of TLS is passed over."""
        found = outcome(connection)
        if found is not None:
            target, source = connection.target, connection.channel.local
            result, reason = found
            session = Session(result, target.host, target.address, source, reason[:REASON_MOST])
            # of the sessions that went well only the number is told
            self._add(applied, session if result else Session())

    def _add(self, applied: Applied, session: Session) -> None:
        facts = {name: value for name, value in session._asdict().items() if value}
        policy = json.dumps(applied._asdict(), separators=(",", ":"))
        fact = json.dumps(facts, separators=(",", ":"))
        try:
            if not self._collected.add(applied.domain, policy, fact, self._clock()):
                log.event("overfull", kind="tls")
        except Failure as failure:
            log.event("trouble", detail=failure.detail or failure.text)


def outcome(connection: Connection) -> tuple[str, str] | None:
    """Say what a session's TLS came to, in a word of RFC 8460 4.3 and why; ("", "") is well.

    None: it ended before TLS could begin, for reasons of its own.
    """
    if connection.tls != "none":
        if connection.manner.policy.level is Level.ENCRYPT:
            return (
                TLSA_INVALID,
                "no TLSA record can be used",
            )  # RFC 7672 2.2, so encrypted all the same
        return "", ""
    failure = connection.channel.failure
    if isinstance(failure, TlsTrouble):
        return _classified(failure)
    died = connection.died
    if isinstance(died, TlsTrouble) and died.__cause__ is not None:
        return VALIDATION, died.text  # it was offered, and broke off
    if isinstance(died, TlsTrouble) or died is None or connection.engine.offer.lines:
        return NO_STARTTLS, ""
    return None


def _classified(failure: TlsTrouble) -> tuple[str, str]:
    cause = failure.__cause__
    code = getattr(cause, "verify_code", None)
    if code is not None:
        return _CODES.get(code, NOT_TRUSTED), str(getattr(cause, "verify_message", ""))
    if cause is None and "TLSA" in failure.text:
        return HOST_MISMATCH, "no TLSA record matches the certificate"  # RFC 8460 4.3.1
    return VALIDATION, failure.text
