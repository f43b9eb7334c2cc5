"""One message examined as it arrives: DKIM, DKIM2, ARC and DMARC in one pass over it.

    examination = Examination()
    for chunk in message: examination.update(chunk)
    verdicts = examination.judge(spf, lookup, now, envelope)
    field = format_authres(AuthenticationResults(me, verdicts.findings(ip)))

The message is LF text, cut anywhere. Only its header is held in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mailtools.errors import BadMessage
from mailtools.mail.fields import Field, listed, split_message
from mailtools.trust.arc import ArcResult, Chain, arc_body_forms, read_chain, verify_chain
from mailtools.trust.authres import MethodResult
from mailtools.trust.canonical import BodyHashes
from mailtools.trust.dkim import (
    BrokenSignature,
    DkimResult,
    body_forms,
    read_signatures,
    verify,
)
from mailtools.trust.dkim_record import Signature
from mailtools.trust.dkim_sign import SIGNING_FORM
from mailtools.trust.dmarc import DmarcResult, evaluate_header
from mailtools.trust.findings import arc_finding, dkim2_finding, dkim_findings, dmarc_finding
from mailtools.trust.lookup import Lookup, remembering
from mailtools.trust.spf import SpfResult

if TYPE_CHECKING:
    from mailtools.mail.envelope import Envelope
    from mailtools.trust import dkim2
    from mailtools.trust.dkim2_checks import Dkim2Result

DKIM2_FIELDS = (b"dkim2-signature", b"message-instance")
HEADER_MOST = 1 << 20  # octets: ours; ten times what Postfix keeps of a header


class Verdicts(NamedTuple):
    """What the message itself proves."""

    dkim: tuple[DkimResult, ...]
    arc: ArcResult
    dmarc: DmarcResult
    dkim2: Dkim2Result | None = None
    """None where the message has no fields of DKIM2."""

    def findings(self, ip: str) -> tuple[MethodResult, ...]:
        """Give the words for Authentication-Results; DKIM2's and ARC's where there is a chain."""
        found = dkim_findings(self.dkim)
        if self.dkim2 is not None:
            found.append(dkim2_finding(self.dkim2))
        found.append(dmarc_finding(self.dmarc))
        if self.arc.chain.highest or self.arc.problem:
            found.append(arc_finding(self.arc, ip))
        return tuple(found)


class Examination:
    """Takes a message in chunks, then says what it proves."""

    def __init__(self, *, signing: bool = False) -> None:
        """Begin; with `signing` the body is also hashed as `sign` and `seal` need it."""
        self.header = b""
        """The header, once the empty line behind it has come."""
        self._start: bytearray | None = bytearray()
        self._signing = signing
        self._fields: Sequence[Field] = ()
        self._signatures: list[Signature | BrokenSignature] = []
        self._chain = Chain()
        self._dkim2: dkim2.Chain | None = None
        self.hashes = BodyHashes(())
        """The hashes of the body, for `sign` and `seal`."""

    def update(self, chunk: bytes) -> None:
        """Take the next chunk; raise BadMessage for a header without end."""
        if self._start is None:
            self._hash(chunk)
            return
        seen = max(0, len(self._start) - 1)
        self._start += chunk
        if self._start.find(b"\n\n", seen) >= 0 or self._start.startswith(b"\n"):
            self._begin_body(bytes(self._start))
        elif len(self._start) > HEADER_MOST:
            raise BadMessage(f"The header is longer than {HEADER_MOST} octets")

    def _begin_body(self, start: bytes) -> None:
        self._start = None
        self.header, body = split_message(start)
        self._fields = listed(self.header)
        self._signatures = read_signatures(self._fields)
        self._chain = read_chain(self._fields)
        forms = body_forms(self._signatures) + arc_body_forms(self._chain)
        if any(field.key in DKIM2_FIELDS for field in self._fields):
            from mailtools.trust import dkim2  # hardly any message has them yet

            self._dkim2 = dkim2.Chain(self._fields)
            forms += self._dkim2.body_forms()
        self.hashes = BodyHashes([*forms, SIGNING_FORM] if self._signing else forms)
        self._hash(body)

    def _hash(self, chunk: bytes) -> None:
        self.hashes.update(chunk)
        if self._dkim2 is not None:
            self._dkim2.update(chunk)

    def judge(
        self,
        spf: SpfResult | None,
        lookup: Lookup,
        now: int,
        envelope: Envelope | None = None,
    ) -> Verdicts:
        """Say what the message proves, together with SPF's result; `now` is seconds since 1970.

        The envelope is the one it came in, as DKIM2 compares it; None where nobody knows.
        """
        if self._start is not None:  # a message without body and empty line
            self._begin_body(bytes(self._start))
        ask = remembering(lookup)
        dkim = verify(self._fields, self._signatures, self.hashes, ask, now)
        arc = verify_chain(self._fields, self._chain, self.hashes, ask, now)
        dmarc = evaluate_header(self._fields, spf, dkim, ask)
        second = self._dkim2.judge(self.hashes, ask, now, envelope) if self._dkim2 else None
        return Verdicts(tuple(dkim), arc, dmarc, second)
