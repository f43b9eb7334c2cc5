"""One peer that is neither authenticated nor allowed to relay: what is found out about it.

Lists of clients, its HELO name and the greylist are asked when it names a recipient, reverse DNS
when a message comes, SPF when the first of them asks. What a message itself proves is judged at its
end (judgement.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mailtools.errors import BadAddress, DnsTrouble, PolicyRefused
from mailtools.mail.address import ascii_domain, is_literal
from mailtools.services.reception.belief import Belief
from mailtools.services.reception.complaints import is_open
from mailtools.services.reception.greylist import Sender, client_name
from mailtools.services.reception.judgement import Case, Judged
from mailtools.trust.dnsbl import DnsblVerdict
from mailtools.trust.ip import read_ip
from mailtools.trust.iprev import Helo, Iprev, IprevResult, check_helo_name, check_iprev
from mailtools.trust.lookup import is_name, parse_mx
from mailtools.trust.spf import Spf, SpfResult, check_mail_from

if TYPE_CHECKING:
    from mailtools.mail.address import Address
    from mailtools.services.reception.intake import Intake


def meet(belief: Belief, address: str, ours: str) -> Stranger | None:
    """Give the peer at an IP address that connected to `ours`; None where it has none."""
    try:
        read_ip(address)
    except ValueError:
        return None
    return Stranger(belief, address, ours)


class Stranger:
    """One peer: what was found out about it stays found out."""

    def __init__(self, belief: Belief, address: str, ours: str) -> None:
        self._belief = belief
        self.address = address
        self._ours = frozenset(name.lower() for name in (belief.me, ours) if name)
        self._listed: DnsblVerdict | None = None
        self._iprev: IprevResult | None = None
        self._helo: tuple[str, Helo] | None = None
        self._spf: tuple[tuple[str, str], SpfResult] | None = None

    def rcpt(self, hello: str, reverse_path: str, forward_path: Address) -> None:
        """Raise PolicyRefused where this peer may not write to a local address, or not yet."""
        belief = self._belief
        if not belief.enforce or is_open((str(forward_path),)):
            return
        if self.helo(hello) is Helo.OURS:
            raise PolicyRefused(f"You are not {hello}: that is this host's name")
        self._check_sender(reverse_path)
        listed = self.listed()
        if belief.lists and belief.lists.refuses(listed):
            lookup = belief.patient()
            raise belief.lists.refusal(self.address, listed, belief.contact, lookup)
        if belief.greylist and self._is_strange(hello, reverse_path):
            if self._is_proved(hello, reverse_path):
                return  # it may prove more by its message, and is asked to wait at its end
            client = self.client(hello, reverse_path)
            belief.greylist.check(client, reverse_path, str(forward_path), belief.clock())

    def _is_proved(self, hello: str, reverse_path: str) -> bool:
        return self.spf(hello, reverse_path).result is Spf.PASS

    def _is_strange(self, hello: str, reverse_path: str) -> bool:
        """Whether the greylist does not know the peer."""
        belief = self._belief
        if not belief.enforce or not belief.greylist or self.listed().score < 0:
            return False
        forged = self.spf(hello, reverse_path).result in (Spf.FAIL, Spf.SOFTFAIL)
        client = self.client(hello, reverse_path)
        sender = Sender(self.address, client, reverse_path, forged)
        return not belief.greylist.knows(sender, belief.clock())

    def _check_sender(self, reverse_path: str) -> None:
        """Raise PolicyRefused for a domain that takes no mail: no bounce could ever reach it."""
        try:
            domain = ascii_domain(reverse_path.rpartition("@")[2]).rstrip(".")
            if is_literal(domain) or not is_name(domain):
                return
            ask = self._belief.patient()
            exchangers = ask(domain, "MX").records
            if len(exchangers) == 1 and not parse_mx(exchangers[0])[1]:  # RFC 7505 4.2
                raise PolicyRefused(f"{domain} takes no mail (null MX)", status="5.7.27")
            if not exchangers and not any(ask(domain, kind).records for kind in ("A", "AAAA")):
                raise PolicyRefused(f"There is no mail domain {domain}", status="5.1.8")
        except (BadAddress, DnsTrouble):
            return

    def sink(
        self,
        intake: Intake,
        hello: str,
        reverse_path: str,
        forward_paths: Sequence[str],
        *,
        binary: bool = False,
    ) -> Judged:
        """Give where a message goes, to be judged at its end and then put into `intake`."""
        domains = {path.rpartition("@")[2].lower() for path in forward_paths}
        to = domains.pop() if len(domains) == 1 else ""
        open_ = is_open(forward_paths)
        proved = not open_ and self._belief.greylist and self._is_proved(hello, reverse_path)
        strange = proved and self._is_strange(hello, reverse_path)
        greylisted = tuple(
            path for path in (forward_paths if strange else ()) if not is_open((path,))
        )
        case = Case(self, hello, reverse_path, tuple(forward_paths), open_, to, greylisted)
        return Judged(self._belief, case, intake, binary=binary)

    # -- what is known ----------------------------------------------------------------------------

    def listed(self) -> DnsblVerdict:
        """What the lists say about the peer."""
        if self._listed is None:
            lists = self._belief.lists
            lookup = self._belief.patient()
            self._listed = lists.ask(self.address, lookup) if lists else DnsblVerdict(0)
        return self._listed

    def iprev(self) -> IprevResult:
        """What reverse DNS says about the peer."""
        if self._iprev is None:
            self._iprev = check_iprev(self.address, self._belief.patient())
        return self._iprev

    def name(self) -> str:
        """The name of the peer that reverse DNS proves, for the Received field; else "unknown"."""
        found = self.iprev()
        return found.name if found.result is Iprev.PASS else "unknown"

    def helo(self, hello: str) -> Helo:
        """What the name that the peer gave is worth."""
        if self._helo is None or self._helo[0] != hello:
            lookup = self._belief.patient()
            self._helo = hello, check_helo_name(hello, self.address, self._ours, lookup)
        return self._helo[1]

    def spf(self, hello: str, reverse_path: str) -> SpfResult:
        """What SPF says about the reverse-path, or the HELO name where that is null."""
        if self._spf is None or self._spf[0] != (hello, reverse_path):
            belief = self._belief
            found = check_mail_from(
                self.address,
                reverse_path,
                hello,
                belief.patient(),
                receiver=belief.me,
                now=int(belief.clock()),
            )
            self._spf = (hello, reverse_path), found
        return self._spf[1]

    def client(self, hello: str, reverse_path: str) -> str:
        """Who the greylist takes the peer for."""
        spf = self.spf(hello, reverse_path)
        return client_name(self.address, spf.domain if spf.result is Spf.PASS else "")
