"""Signatures on what leaves: DKIM for mail submitted here, ARC on what is forwarded for strangers.

A signature is made for the form a peer gets, after any conversion, so what is given to the SMTP
client is a function: it takes the message as it goes and puts the signature on top. It is made
once for each form, however many peers are asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from mailtools import log
from mailtools.errors import BadMessage
from mailtools.mail.envelope import SUBMITTED, Envelope
from mailtools.mail.fields import split_message
from mailtools.protocol.smtp.transaction import Finish, Message
from mailtools.services.relay.dkim_keys import Keyring

if TYPE_CHECKING:
    from mailtools.trust.authres import AuthenticationResults
    from mailtools.trust.canonical import BodyHashes
    from mailtools.trust.dkim_sign import Signer

_FORWARDED = b"delivered-to:"  # local-deliver puts it on top, see services/local/delivery.py

Make = Callable[[bytes, "BodyHashes"], bytes]


class Signing:
    """Who signs what."""

    def __init__(
        self,
        keyring: Keyring,
        *,
        lifetime: int = 0,
        sealers: Sequence[str] = (),
        authserv_id: str = "",
    ) -> None:
        """`lifetime` is how many seconds a signature holds, 0 for ever.

        ARC seals are made by the first of the domains `sealers` with a key, from what
        `authserv_id`, which is us, found; with none nothing is sealed.
        """
        self._keyring, self._lifetime = keyring, lifetime
        self._sealers, self._authserv_id = tuple(sealers), authserv_id

    def finish(self, id_: str, envelope: Envelope, message: Message) -> Finish | None:
        """Give what signs a message as it goes, None where nothing does; raise Misconfigured."""
        if SUBMITTED in envelope.parameters:
            return self._dkim(id_, message)
        return self._arc(id_, message) if self._sealers else None

    def _dkim(self, id_: str, message: Message) -> Finish | None:
        self._keyring.refresh()
        if self._keyring.empty:
            return None
        from mailtools.trust.author import author_domain  # grammar of its own, as below

        try:
            domain = author_domain(_header(message))
        except BadMessage as fault:
            log.event("unsigned", id=id_ or None, reason=fault.text)
            return None
        signers = self._keyring.signers(domain, fresh=True)
        if not signers:
            return None

        def make(header: bytes, hashes: BodyHashes) -> bytes:
            from mailtools.trust.dkim_sign import sign  # hashlib: as in dkim_keys.py

            signature = sign(header, hashes, signers, int(time.time()), lifetime=self._lifetime)
            selectors = ",".join(signer.selector for signer in signers)
            log.event("signed", id=id_ or None, domain=signers[0].domain, selectors=selectors)
            return signature

        return _on_top(make)

    def _arc(self, id_: str, message: Message) -> Finish | None:
        header = _header(message)
        if header[: len(_FORWARDED)].lower() != _FORWARDED:
            return None
        from mailtools.trust.own_results import own_results

        results = own_results(header, self._authserv_id)
        signer = self._sealer() if results else None
        if results is None or signer is None:
            return None

        def make(header: bytes, hashes: BodyHashes) -> bytes:
            sealed = _seal(header, hashes, signer, results)
            if sealed:
                log.event("sealed", id=id_ or None, domain=signer.domain, selector=signer.selector)
            return sealed

        return _on_top(make)

    def _sealer(self) -> Signer | None:
        for domain in self._sealers:
            signers = self._keyring.signers(domain)
            if signers:
                # few check Ed25519 in ARC, and a set has one signature only
                return next((each for each in signers if each.key.kind == "rsa"), signers[0])
        return None


def _seal(
    header: bytes, hashes: BodyHashes, signer: Signer, results: AuthenticationResults
) -> bytes:
    """Add to the chain what we found when the message came, its chain's verdict too."""
    from mailtools.trust.arc import Arc, ArcResult, read_chain  # hashlib: as in dkim_keys.py
    from mailtools.trust.arc_seal import seal

    chain = read_chain(header)
    verdict = next((each.result for each in results.of("arc")), "")
    if not chain.highest and not chain.problem:
        state = Arc.NONE
    elif verdict == Arc.PASS and not chain.problem:
        state = Arc.PASS
    else:
        state = Arc.FAIL
    found = ArcResult(state, chain.problem, chain)
    return seal(header, hashes, signer, found, results, now=int(time.time()))


def _on_top(make: Make) -> Finish:
    """Give a function that puts on top of a message what `make` makes for its form."""
    made: dict[tuple[bool, int], bytes] = {}

    def finish(message: Message) -> Message:
        form = message.eight_bit, message.size  # each form that a peer takes differs in one of them
        top = made.get(form)
        if top is None:
            top = made[form] = make(*_hashed(message))
        size = message.size + len(top) + top.count(b"\n")
        return replace(message, chunks=lambda: chain((top,), message.chunks()), size=size)

    return finish


def _header(message: Message) -> bytes:
    start = bytearray()
    for chunk in message.chunks():
        if _ends_header(start, chunk):
            break
    return split_message(bytes(start))[0]


def _hashed(message: Message) -> tuple[bytes, BodyHashes]:
    """Read a message once: its header, and the hashes of its body."""
    from mailtools.trust.canonical import BodyHashes  # hashlib: as in dkim_keys.py
    from mailtools.trust.dkim_sign import SIGNING_FORM

    hashes = BodyHashes([SIGNING_FORM])
    start, whole, header = bytearray(), False, b""
    for chunk in message.chunks():
        if whole:
            hashes.update(chunk)
            continue
        whole = _ends_header(start, chunk)
        if whole:
            header, body = split_message(bytes(start))
            hashes.update(body)
    return header if whole else bytes(start), hashes


def _ends_header(start: bytearray, chunk: bytes) -> bool:
    """Add a chunk to the start of a message; tell whether the whole header is there now."""
    seen = max(0, len(start) - 1)
    start += chunk
    return start.startswith(b"\n") or start.find(b"\n\n", seen) >= 0
