"""What an SMTP peer offers, and what to say to it therefore: EHLO's keywords, MAIL, RCPT.

Pure rules: which parameters go on, which message form the peer can take, and what it cannot have
at all. SIZE (RFC 1870), 8BITMIME (6152), SMTPUTF8 (6531), DSN (3461), MT-PRIORITY (6710),
REQUIRETLS (8689), LIMITS (9422).
"""

from collections.abc import Iterable

from mailtools.errors import BadAddress, Failure, MessageTooBig, NonAsciiAddress, PolicyRefused
from mailtools.mail.address import ascii_domain
from mailtools.mail.envelope import ForwardPath
from mailtools.protocol.smtp.eightbit import seven_bit
from mailtools.protocol.smtp.transaction import Finish, Message, Transaction, message_of

_ELSEWHERE = ("5.6.7", "5.7.30")

DIGITS_MOST = 20  # of a number, RFC 1870 5


def _number(text: str) -> int:
    """Read a number; 0 for what is none, or has more digits than Python would read."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS_MOST else 0


class Offer:
    """What one peer, called `peer` in failures, has offered."""

    def __init__(self, peer: str, lines: Iterable[str] = ()) -> None:
        """Read the lines of an EHLO reply behind the first; none for HELO."""
        self.peer = peer
        self.lines = tuple(lines)
        """As they came."""
        self._keywords: dict[str, str] = {}
        for line in self.lines:
            # "AUTH=" is how servers from before RFC 2554 wrote it.
            text = line.strip().upper().replace("AUTH=", "AUTH ", 1)
            keyword, _, parameters = text.partition(" ")
            self._keywords.setdefault(keyword, parameters)
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

    def fitting(self, message: Message, finish: Finish | None = None) -> Message:
        """Give the message in a form the peer takes, then finished; raise MessageTooBig."""
        if message.eight_bit and "8BITMIME" not in self._keywords:
            message = message_of(seven_bit(b"".join(message.chunks())))
        if finish is not None:
            message = finish(message)
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
        if "REQUIRETLS" in given:
            if "REQUIRETLS" not in self._keywords:
                raise PolicyRefused(f"{self.peer} does not offer REQUIRETLS", status="5.7.30")
            words.append("REQUIRETLS")
        if given:
            known = (*(("RET", "ENVID") if self.dsn else ()), *self._priority)
            words += [f"{key}={given[key]}" for key in known if key in given]
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


def elsewhere(failure: Failure) -> bool:
    """Tell whether another exchanger may take what this one cannot."""
    return not failure.permanent or failure.status in _ELSEWHERE
