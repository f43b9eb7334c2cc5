"""What an SMTP peer offers, and what to say to it therefore: EHLO's keywords, MAIL, RCPT.

Pure rules: which parameters go on, which message form the peer can take, and what it cannot have
at all. SIZE (RFC 1870), 8BITMIME (6152), SMTPUTF8 (6531), DSN (3461), MT-PRIORITY (6710, 6758),
REQUIRETLS (8689), DELIVERBY (2852), CHUNKING (3030), LIMITS (9422).
"""

from collections.abc import Collection, Iterable
from dataclasses import replace
from itertools import chain

from mailtools.errors import BadAddress, Failure, MessageTooBig, NonAsciiAddress, PolicyRefused
from mailtools.mail.address import ascii_domain
from mailtools.mail.envelope import ForwardPath
from mailtools.mail.fields import header_end
from mailtools.mail.reply import Reply
from mailtools.protocol.smtp.encodings import Form, in_form
from mailtools.protocol.smtp.transaction import DeliverBy, Message, Transaction, message_of

PATHS_MOST = 100  # RCPT commands of a transaction, RFC 5321 4.5.3.1.8
ANY = 1_000_000
TOO_LATE = "5.4.7"
_ELSEWHERE = ("5.6.7", "5.7.30", "5.3.3", TOO_LATE)

Rest = list[tuple[ForwardPath, bytes]]
"""Forward-paths that are still to be given, each with its RCPT command."""

DIGITS_MOST = 20  # of a number, RFC 1870 5


def _number(text: str) -> int:
    """Read a number; 0 for what is none, or has more digits than Python would read."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MOST else 0


class Offer:
    """What one peer, called `peer` in failures, has offered."""

    def __init__(
        self,
        peer: str,
        lines: Iterable[str] = (),
        *,
        ignored: Collection[str] = (),
        final: bool = False,
    ) -> None:
        """Read the lines of an EHLO reply behind the first; none for HELO.

        What is `ignored` counts as not offered. A `final` host delivers itself (LMTP).
        """
        self.peer = peer
        self.lines = tuple(lines)
        """As they came."""
        self._keywords: dict[str, str] = {}
        for line in self.lines:
            # "AUTH=" is how servers from before RFC 2554 wrote it.
            text = line.strip().upper().replace("AUTH=", "AUTH ", 1)
            keyword, _, parameters = text.partition(" ")
            if keyword not in ignored:
                self._keywords.setdefault(keyword, parameters)
        self._final = final
        self.utf8 = "SMTPUTF8" in self._keywords
        self.pipelining = "PIPELINING" in self._keywords
        self.dsn = "DSN" in self._keywords

    def __contains__(self, keyword: str) -> bool:
        """Whether an extension is offered; `keyword` in upper case."""
        return keyword in self._keywords

    @property
    def mechanisms(self) -> list[str]:
        """The SASL mechanisms offered."""
        return self._keywords.get("AUTH", "").split()

    def limit(self, name: str, default: int) -> int:
        """Give a limit of LIMITS (RFC 9422), where it is below `default`."""
        for word in self._keywords.get("LIMITS", "").split():
            key, _, value = word.partition("=")
            if key == name and (number := _number(value)):
                return min(number, default)
        return default

    def batch(self, rest: Rest) -> tuple[Rest, Rest]:
        """Take as many paths as one message may have, of as many domains; give those and others."""
        most, domains_most = self.limit("RCPTMAX", PATHS_MOST), self.limit("RCPTDOMAINMAX", ANY)
        if domains_most == ANY:
            return rest[:most], rest[most:]
        domains: set[str] = set()
        taken: Rest = []
        left: Rest = []
        for path, rcpt in rest:
            domain = path.address.rpartition("@")[2].lower()
            fits = domain in domains or len(domains) < domains_most
            if fits and len(taken) < most:
                domains.add(domain)
                taken.append((path, rcpt))
            else:
                left.append((path, rcpt))
        return taken, left

    def by_chunks(self, message: Message) -> bool:
        """Whether a message is better sent by BDAT: a line may have any length there."""
        return "CHUNKING" in self._keywords and message.long_lines

    def _form(self, transaction: Transaction) -> Form:
        """Say what has to be changed in a message for this peer.

        Lines beyond 998 octets: a message of our own, which nobody has signed yet, has none at any
        peer, since many refuse it for them; others have them where BDAT takes them.
        """
        message = transaction.message
        seven = message.eight_bit and "8BITMIME" not in self._keywords
        whole = self._final or ("CHUNKING" in self._keywords and not transaction.ours)
        return Form(seven, not whole and message.long_lines)

    def fitting(self, transaction: Transaction) -> Message:
        """Give the message in a form the peer takes, then finished; raise MessageTooBig."""
        message, finish = transaction.message, transaction.finish
        form = self._form(transaction)
        if any(form):
            message = message_of(in_form(b"".join(message.chunks()), form))
        if finish is not None:
            message = finish(message)
        priority = transaction.parameters.get("MT-PRIORITY")
        if priority and "MT-PRIORITY" not in self._keywords and not self._final:
            message = _with_priority(message, priority)
        limit = self._keywords.get("SIZE", "")
        if 0 < _number(limit) < message.size:
            raise MessageTooBig(f"The message has {message.size} octets, {self.peer} takes {limit}")
        return message

    def mail(self, transaction: Transaction, message: Message) -> bytes:
        """Write the MAIL command; raise what another exchanger may do better (see `elsewhere`)."""
        words = [f"MAIL FROM:<{self._path(transaction.reverse_path)}>"]
        given = transaction.parameters
        if "SIZE" in self._keywords:
            words.append(f"SIZE={message.size}")
        if message.eight_bit and "8BITMIME" in self._keywords:
            words.append("BODY=8BITMIME")
        if self._needs_utf8(transaction):
            if not self.utf8:
                raise self._no_utf8()
            words.append("SMTPUTF8")
        if "REQUIRETLS" in given and "REQUIRETLS" in self._keywords:
            words.append("REQUIRETLS")
        elif "REQUIRETLS" in given and transaction.reverse_path and not self._final:
            # RFC 8689 5: a bounce goes on without rather than not at all. To a store it does
            # not go on at all, but is delivered.
            raise PolicyRefused(f"{self.peer} does not offer REQUIRETLS", status="5.7.30")
        if given:
            known = (*(("RET", "ENVID") if self.dsn else ()), *self._priority)
            words += [f"{key}={given[key]}" for key in known if key in given]
        if transaction.deliver_by is not None:
            words += self._by(transaction.deliver_by)
        return (" ".join(words) + "\r\n").encode()

    def rcpt(self, path: ForwardPath) -> bytes:
        """Write the RCPT command; raise NonAsciiAddress, BadAddress."""
        address = self._path(path.address)
        if not address.isascii() and not self.utf8:
            raise self._no_utf8()
        if not path.parameters or not self.dsn:
            return f"RCPT TO:<{address}>\r\n".encode()
        words = [f"RCPT TO:<{address}>"]
        words += [f"{k}={path.parameters[k]}" for k in ("NOTIFY", "ORCPT") if k in path.parameters]
        return (" ".join(words) + "\r\n").encode()

    @property
    def _priority(self) -> tuple[str, ...]:
        return ("MT-PRIORITY",) if "MT-PRIORITY" in self._keywords else ()

    def _by(self, by: DeliverBy) -> list[str]:
        """Write how much time is left; raise where a message in by-mode R may not go on."""
        left = max(-999_999_999, min(by.left(), 999_999_999))
        if by.returns and left <= 0:
            raise PolicyRefused("The time its sender gave for delivery is over", status=TOO_LATE)
        least = self._keywords.get("DELIVERBY")
        if least is None:
            if by.returns and not self._final:
                text = f"{self.peer} does not offer DELIVERBY, which its sender asked for"
                raise PolicyRefused(text, status="5.3.3")
            return []
        if by.returns and left < _number(least):
            text = f"{self.peer} wants {least} seconds to deliver, and {left} are left"
            raise PolicyRefused(text, status=TOO_LATE)
        return [f"BY={left};{'R' if by.returns else 'N'}{'T' if by.trace else ''}"]

    def forgets_time(self, transaction: Transaction) -> bool:
        """Whether the peer takes on a message whose sender then hears no more of its delay."""
        asked = transaction.deliver_by is not None
        return asked and "DELIVERBY" not in self._keywords and not self._final

    def _needs_utf8(self, transaction: Transaction) -> bool:
        # RFC 6531 3.4: only what needs the extension fails where it is missing.
        asked = "SMTPUTF8" in transaction.parameters
        if not self._path(transaction.reverse_path).isascii():
            return True
        if not self.utf8:
            return asked and transaction.message.utf8_header
        return asked or not all(path.address.isascii() for path in transaction.forward_paths)

    def _path(self, address: str) -> str:
        if not address.isprintable():
            raise BadAddress
        if address.isascii() or self.utf8:
            return address
        local, at, domain = address.rpartition("@")
        return f"{local}{at}{ascii_domain(domain)}"  # RFC 6531 3.2: an A-label says the same

    def _no_utf8(self) -> Failure:
        return NonAsciiAddress(f"{self.peer} takes no internationalized mail (SMTPUTF8)")


def is_too_many(reply: Reply) -> bool:
    """Tell whether a RCPT was refused since others were taken already: RFC 5321 4.5.3.1.10."""
    # 452, and 552 from old hosts; a status of its own may say otherwise.
    if reply.code not in (452, 552):
        return False
    return not reply.status or reply.status[1:] in (".5.3", ".3.1", ".0.0")


def elsewhere(failure: Failure) -> bool:
    """Tell whether another exchanger may take what this one cannot."""
    return not failure.permanent or failure.status in _ELSEWHERE


def _with_priority(message: Message, priority: str) -> Message:
    """Let a header field carry a priority past a host that takes none (RFC 6758 3)."""
    start = next(iter(message.chunks()), b"")
    if b"\nmt-priority:" in b"\n" + start[: header_end(start)].lower():
        return message
    top = f"MT-Priority: {priority}\n".encode()
    return replace(
        message, chunks=lambda: chain((top,), message.chunks()), size=message.size + len(top) + 1
    )
