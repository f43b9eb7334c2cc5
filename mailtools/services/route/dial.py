"""A call at a host that takes mail: TLS, its certificate, what it offers; nothing is sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mailtools.errors import Failure, NoAnswer
from mailtools.mail.reply import one_line
from mailtools.net.channel import Channel
from mailtools.net.loop import Loop
from mailtools.protocol.smtp.carrier import Carrier
from mailtools.protocol.smtp.transaction import Tls
from mailtools.services.relay.connections import Manner, client_of, expected_name, starttls
from mailtools.services.relay.exchangers import Target
from mailtools.services.relay.tls_policy import Contexts, check_of
from mailtools.services.route.certificate import Certificate, read_der

if TYPE_CHECKING:
    import ssl

PATIENCE = 90.0  # seconds for a whole call; some greet slowly on purpose


@dataclass(frozen=True, slots=True)
class Call:
    """What a host said."""

    target: Target
    answered: bool
    """Whether anybody was there."""
    failure: Failure | None
    """What went wrong."""
    tls: str = ""
    """Version and cipher; "" without TLS."""
    certificate: Certificate | None = None
    offers: tuple[str, ...] = ()
    """The lines of its EHLO reply, after TLS where there was TLS."""
    plain: bool = False
    """Whether no TLS was asked for."""

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield it as pairs of a label and a text."""
        if self.failure is not None:
            yield "dial", self.failure.text
        elif self.answered:
            yield "dial", f"{self.target.peer} answers"
        if self.answered:
            yield "tls", self.tls or self._without
        if self.certificate is not None:
            yield from self._certificate_lines(self.certificate)
        if self.offers:
            yield "offers", one_line(", ".join(self.offers))

    @property
    def _without(self) -> str:
        offered = any(line.upper() == "STARTTLS" for line in self.offers)
        refused = offered and not self.plain and self.failure is None
        return "none, for STARTTLS was refused" if refused else "none"

    def _certificate_lines(self, found: Certificate) -> Iterator[tuple[str, str]]:
        covers = "" if found.covers(self.target.host) else f", not {self.target.host}"
        yield "names", f"{', '.join(found.names) or 'none'}{covers}"
        yield "issuer", found.issuer
        day = time.strftime("%Y-%m-%d", time.gmtime(found.ends))
        yield "valid", f"until {day}{'' if found.ends > time.time() else ', which is over'}"


class Dialler:
    """Calls hosts, one after the other."""

    def __init__(self, me: str, contexts: Contexts, patience: float = PATIENCE) -> None:
        """Greet as `me`; a call takes `patience` seconds at most."""
        self._me, self._contexts, self._patience = me, contexts, patience

    def call(self, target: Target, manner: Manner) -> Call:
        """Call a host, say EHLO and start TLS as relay-send would, and leave."""
        loop = Loop()
        source = manner.source
        engine = client_of(target, replace(manner, login=None), self._me, self._patience)
        engine.quit()  # once it has heard what is offered
        channel = Channel(
            loop,
            engine,
            lambda: None,
            tls=lambda: self._contexts.context(manner.policy),
            host=expected_name(target, manner),
            check=check_of(manner.policy),
            implicit=manner.implicit_tls,
        )
        end = time.monotonic() + self._patience
        try:
            channel.connect(
                target.address, target.port, source.towards(target.address) if source else ""
            )
            loop.run_until(lambda: channel.closed or time.monotonic() > end)
            if not channel.closed:
                engine.fail(NoAnswer(f"no answer in {self._patience:.0f} seconds"))
                channel.close()
            return self._heard(target, engine, channel, manner)
        finally:
            loop.close()

    def _heard(self, target: Target, engine: Carrier, channel: Channel, manner: Manner) -> Call:
        """Say what was heard; by qmail's protocols nobody says a word before there is mail."""
        session, silent = channel.tls, bool(manner.quick)
        return Call(
            target,
            channel.reached if silent else engine.answered,
            engine.died,
            _said_of(session) if session is not None else "",
            _certificate(session) if session is not None else None,
            () if silent else engine.offer.lines,
            starttls(manner) is Tls.NEVER,
        )


def _said_of(session: ssl.SSLObject) -> str:
    cipher = session.cipher()
    return f"{session.version()} {cipher[0] if cipher else ''}".strip()


def _certificate(session: ssl.SSLObject) -> Certificate | None:
    der = session.getpeercert(binary_form=True)
    try:
        return read_der(der) if der else None
    except Failure:
        return None
