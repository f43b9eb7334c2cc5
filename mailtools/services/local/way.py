"""Where an address leads: the ends of its way, and an expansion under way (directory.py)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mailtools.services.access.account_line import Account


class Where(Enum):
    """What is to be done at the end of the way."""

    MAILBOX = "mailbox"
    MAILDIR = "Maildir"
    PROGRAM = "program"
    FORWARD = "forward"
    NOTHING = "nothing"


class Target(NamedTuple):
    """One end of the way: an account's mailbox, a Maildir, a program, or an address elsewhere.

    `value` is the Maildir's path, the program's command or the address. `plain` leaves the
    account's own .forward aside. `uid` and `gid` are who writes the Maildir or runs the program.
    `owner` is the reverse-path for what an alias sends on, where it has an owner. `by_hand` is
    a Maildir that the person at the shell named.
    """

    where: Where
    value: str = ""
    account: Account | None = None
    extension: str = ""
    plain: bool = False
    uid: int = -1
    gid: int = -1
    owner: str = ""
    by_hand: bool = False


class Step(NamedTuple):
    """A name on the way that leads further: as it is looked up, and the line that says where to."""

    name: str
    place: str


Steps = list[tuple[int, Step | Target]]
"""A way as it was gone: names and ends, each with its depth."""


class Way:
    """An expansion under way: what was found, and through which names it went."""

    __slots__ = ("owner", "steps", "targets", "trail")

    def __init__(
        self,
        targets: dict[tuple[object, ...], Target],
        trail: tuple[str, ...] = (),
        owner: str = "",
        steps: Steps | None = None,
    ) -> None:
        self.targets = targets
        self.trail = trail
        self.owner = owner
        self.steps = steps
        """Where somebody wants to see it."""

    def add(self, target: Target) -> None:
        """Note an end, once."""
        name = target.account.name if target.account else ""
        self.targets.setdefault((target.where, target.value, name), target)
        self.note(target)

    def note(self, step: Step | Target) -> None:
        """Tell who wants to see the way."""
        if self.steps is not None:
            self.steps.append((len(self.trail), step))

    def deeper(self, step: str, owner: str) -> Way:
        """Give the way on from a name."""
        return Way(self.targets, (*self.trail, step), owner, self.steps)
