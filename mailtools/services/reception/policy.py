"""What is the same for all sessions of smtpd-accept: its rules, and whom it asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from mailtools.services.access.networks import NOBODY, Networks
from mailtools.services.reception.room import ANY_ROOM, Room

if TYPE_CHECKING:
    from mailtools.mail.address import Address
    from mailtools.net.crowd import Crowd
    from mailtools.services.access.accounts import Accounts
    from mailtools.services.reception.belief import Belief
    from mailtools.services.reception.budget import Budget
    from mailtools.services.reception.greylist import Correspondents
    from mailtools.services.reception.intake import Entries
    from mailtools.services.reception.milter.session import Milters
    from mailtools.services.reception.rejects import Rejects
    from mailtools.services.reception.relay_domains import RelayDomains
    from mailtools.services.reception.submission import Submission
    from mailtools.store.queue import Queue


class Directory(Protocol):
    """Who has a mailbox here (services/local/directory.py)."""

    def is_local(self, domain: str) -> bool:
        """Whether mail for a domain is delivered here."""

    def check(self, address: Address) -> None:
        """Raise NoSuchMailbox, MailboxFull or another Failure unless it could be delivered now."""


class Policy(NamedTuple):
    """What is the same for all connections."""

    me: str
    queue: Queue
    directory: Directory
    accounts: Accounts | None = None
    """Who may authenticate; None: nobody."""
    relay_clients: Networks = NOBODY
    relay_domains: RelayDomains | None = None
    """Whose mail is relayed for strangers; None: nobody's."""
    xclient_clients: Networks = NOBODY
    submission: Submission | None = None
    """The rules for who has logged in, and for all of a submission service; None: nobody can."""
    clients_only: bool = False
    """A submission service: who has not logged in, and may not relay, sends nothing."""
    lmtp: bool = False
    check_mailboxes: bool = True
    """Look for a local mailbox while its recipient is named: QMQP's peers could do nothing else."""
    starttls: bool = False
    """There is a certificate."""
    plaintext_login: bool = False
    hops: int = 100
    room: Room = ANY_ROOM
    """Whether the queue's disk has room."""
    hide_client: bool = False
    """Leave the address of authenticated clients out of Received fields."""
    home: str = ""
    """The domain of `<postmaster>`, and the first local one."""
    authserv_id: str = ""
    """Whose Authentication-Results only who may relay may bring; "" for anybody's."""
    belief: Belief | None = None
    """How peers that may not relay are judged; None: not at all."""
    screen: Callable[[Mapping[str, str]], Entries] | None = None
    """Gives the queue behind the programs that look at each message; None: there are none."""
    budget: Budget | None = None
    """What authenticated users may send in an hour."""
    milters: Milters | None = None
    """Who has a say in each step (milter_reception.py)."""
    crowd: Crowd | None = None
    """How many connections and messages a client's network may have."""
    rejects: Callable[[], Rejects] | None = None
    """Keeps what is refused at its end, for who wants that."""
    correspondents: Callable[[], Correspondents] | None = None
    """Notes to whom users write, where there is a greylist."""
    tarpit: float = 0.0
    """Seconds, at most, that a peer waits for the answer to a further mistake."""
