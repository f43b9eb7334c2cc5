"""Writing the accounts file: add, change and remove users; comments and order stay.

A change is refused where the file would then have a fault, so a file that was right stays right.
"""

import os
from collections.abc import Callable, Container

from mailtools.errors import Misconfigured, NoSuchMailbox, SystemTrouble, Usage
from mailtools.services.access import text_file
from mailtools.services.access.account_line import NOBODY, Account, read_account, read_accounts
from mailtools.services.access.accounts import Accounts
from mailtools.services.access.become import acting_as
from mailtools.store import disk
from mailtools.store.maildir import Maildir

LOCKED = "!"


class AccountBook:
    """The accounts file of a site, for those who change it."""

    def __init__(
        self,
        path: str,
        maildir: str,
        owner: tuple[int, int] | None = None,
        new: text_file.Rights = text_file.OURS_ALONE,
    ) -> None:
        """Name the file, which need not exist, and the Maildir of accounts that name none.

        `owner` is the uid and gid of such accounts; None where there is no such owner. A `new` file
        gets these rights.
        """
        self.path, self._new = path, new
        self._maildir = maildir
        self._owner = owner or NOBODY

    def add(
        self,
        login: str,
        secret: str = LOCKED,
        *,
        uid: str = "",
        gid: str = "",
        gecos: str = "",
        home: str = "",
        fields: dict[str, str] | None = None,
    ) -> Account:
        """Add a user and make the Maildir; give the account.

        Raises Usage for a login that is taken or cannot be one, and for values that cannot stand
        in the file.
        """
        extra = " ".join(f"{key}={value}" for key, value in (fields or {}).items() if value)
        values = (login, secret, uid, gid, gecos, home, "")
        for value in values:
            if ":" in value or not value.isprintable():
                raise Usage(f"{value!r} cannot stand in the accounts file")
        line = ":".join((*values, extra)).rstrip(":")
        faults: list[str] = []
        account = read_account(line, self._maildir, faults, self._owner)
        if not faults and account.maildir and account.uid < 0 and os.geteuid() == 0:
            raise Usage("Whose is the mailbox? Say --uid, or set the control file mailbox-owner")
        with text_file.locked(self.path):
            lines = self._lines()
            if login.lower() in self._read(lines):
                raise Usage(f"{login} is there already")
            self._write([*lines, line])
        if account.maildir:
            make_maildir(account)
        return account

    def set_secret(self, login: str, secret: str) -> None:
        """Change a user's secret; raise NoSuchMailbox."""

        def change(line: str) -> str:
            name, _, rest = line.partition(":")
            _, colon, behind = rest.partition(":")
            return f"{name}:{secret}{colon}{behind}"

        self._change(login, change)

    def remove(self, login: str) -> None:
        """Remove a user, with all app passwords, but not the Maildir; raise NoSuchMailbox."""
        self._change(login, lambda line: None)
        Accounts(self.path).app_passwords.remove(login)

    def _change(self, login: str, change: Callable[[str], str | None]) -> None:
        with text_file.locked(self.path):
            changed: list[str] = []
            found = False
            for line in self._lines():
                if line[:1] != "#" and line.partition(":")[0].lower() == login.lower():
                    found = True
                    new = change(line)
                    changed += [] if new is None else [new]
                else:
                    changed.append(line)
            if not found:
                raise NoSuchMailbox(f"There is no account {login} in {self.path}")
            self._write(changed)

    def _lines(self) -> list[str]:
        try:
            with open(self.path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                text = file.read().removesuffix("\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SystemTrouble(detail=f"cannot read {self.path}: {error.strerror}") from error
        return text.split("\n") if text else []

    def _read(self, lines: list[str]) -> Container[str]:
        faults: list[str] = []
        found = read_accounts("\n".join(lines), self._maildir, faults, self._owner)
        if faults:
            raise Misconfigured(detail="\n".join(f"{self.path}:{fault}" for fault in faults))
        return found

    def _write(self, lines: list[str]) -> None:
        self._read(lines)
        disk.make_directory(os.path.dirname(os.path.abspath(self.path)), 0o755, sync=True)
        text_file.rewrite(self.path, lines, self._new)


def make_maildir(account: Account) -> bool:
    """Make an account's Maildir, owned by it; False where it was there already."""
    maildir = Maildir(account.maildir)
    if maildir.exists:
        return False
    top = account.home.rstrip("/") or account.maildir
    disk.make_directory(os.path.dirname(top), 0o755, sync=True)  # others' homes stand in it too
    missing = _missing(account.maildir, top)
    if missing and os.geteuid() == 0 and account.uid > 0:
        _begin(missing[-1], account)
    # As the owner: in a home that is there, links may lead root anywhere.
    with acting_as(account.uid, account.gid):
        maildir.create()
    return True


def _begin(path: str, account: Account) -> None:
    """Make the first directory that is to be the account's, where its folder is root's."""
    if os.stat(os.path.dirname(path)).st_uid == 0:
        disk.make_directory(path, sync=True)
        disk.set_owner(path, account.uid, account.gid)


def _missing(path: str, top: str) -> list[str]:
    """List the directories to be made that are to be the user's: `top` and what is below."""
    found = []
    while path.startswith(top) and not os.path.exists(path):
        found.append(path)
        path = os.path.dirname(path)
    return found
