"""Accounts: who has a mailbox here, where it lies, and whether a password is theirs.

The file is Dovecot's passwd-file, mailtools-accounts(5): a user a line (`account_line.py`). It is
read whole, checked whole, and read again when it changes. App passwords stand in `app-passwords`
beside it.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Collection
from typing import TYPE_CHECKING

from mailtools.errors import AuthTrouble, BadCredentials, Misconfigured
from mailtools.mail.address import ascii_domain
from mailtools.protocol.sasl.wire import CRAM, HASHES
from mailtools.services.access import schemes
from mailtools.services.access.account_line import (
    NOBODY,
    Account,
    expand,
    read_account,
    read_accounts,
    secret_of,
)
from mailtools.services.access.changing_file import ChangingFile
from mailtools.services.access.elsewhere import NOWHERE, Elsewhere
from mailtools.services.access.networks import contains

if TYPE_CHECKING:
    from mailtools.services.access.app_passwords import AppPasswords

MAILDIR = "~/Maildir"

_NO_SECRET = "{SSHA512}" + "A" * 107 + "="  # fits nothing; checked where there is no account


class Accounts:
    """The accounts of a site: a file's, and those of /etc/passwd where that is wanted."""

    def __init__(
        self,
        path: str,
        *,
        maildir: str = MAILDIR,
        local_domains: Collection[str] = (),
        system_users: bool = False,
        owner: tuple[int, int] | None = None,
        state: str = "",
        elsewhere: Elsewhere = NOWHERE,
        old: Collection[str] = (),
    ) -> None:
        """Name the file ("" for none) and say how addresses and Maildirs are found.

        `maildir` is the Maildir of an account that names none (`~` its home, `%u` the login, `%n`
        its local-part, `%d` its domain). `local_domains` are those whose addresses are logins of
        users written without a domain. `owner` is the uid and gid of accounts that name none; where
        it is None they have none (-1), and root serves nothing of theirs. `state` is a
        folder to count failed logins and to note app passwords' use in. `elsewhere` is asked
        for the passwords of users who have none here, and for tokens. `old`: CRAM-MD5,
        APOP, where they are wanted.
        """
        self.path, self.state = path, state
        self._maildir = maildir
        self.elsewhere, self._old = elsewhere, old
        self._local = frozenset(ascii_domain(domain) for domain in local_domains)
        self._system_users = system_users
        self._owner = owner or NOBODY
        self._file = ChangingFile(path)
        self._accounts: dict[str, Account | str] = {}  # a str: the line, not yet looked into
        self._scram: dict[str, bool] = {}
        self._with_field: dict[str, bool] = {}
        self._app_passwords: AppPasswords | None = None

    @property
    def app_passwords(self) -> AppPasswords:
        """The app passwords, whose file stands beside that of the accounts."""
        if self._app_passwords is None:
            from mailtools.services.access.app_passwords import AppPasswords  # at a login only

            self._app_passwords = AppPasswords(
                os.path.join(os.path.dirname(self.path), "app-passwords") if self.path else "",
                self.state and f"{self.state}/used",
                self.path,
            )
        return self._app_passwords

    def find(self, login: str) -> Account | None:
        """Give the account of a login or an address; None where there is none.

        In any case of letters. `bob@example.org` is the user of that name, or else the user `bob`
        where example.org is a local domain. Raises Misconfigured with all faults of the file.
        """
        self._refresh()
        key = login.lower()
        account = self._get(key)
        if account:
            return account
        local, at, domain = key.rpartition("@")
        if at and not self._is_local(domain):
            return None
        name = local if at else key
        return self._get(name) or self._system_user(name)

    def everyone(self) -> list[Account]:
        """List the accounts of the file, in its order."""
        self._refresh()
        return [account for key in list(self._accounts) if (account := self._get(key))]

    def schemes(self) -> set[str]:
        """List the schemes of the file's secrets; raise Misconfigured."""
        self._refresh()
        return {schemes.split(secret_of(one))[0] for one in self._accounts.values()}

    def has_field(self, name: str) -> bool:
        """Whether an account of the file has an extra field; raise Misconfigured."""
        self._refresh()
        if name not in self._with_field:
            # A line not yet looked into has no extra fields (`read_accounts`).
            found = (one for one in self._accounts.values() if isinstance(one, Account))
            self._with_field[name] = any(name in one.fields for one in found)
        return self._with_field[name]

    def authenticate(
        self, login: str, password: str, *, service: str = "imap", address: str = ""
    ) -> Account:
        """Give the account whose password, or app password, this is.

        `service` is `imap`, `pop3`, `submission` or `sieve`; `address` the peer's IP address, ""
        where there is none. Raises BadCredentials, always with the same words and after much the
        same work, or AuthTrouble when we cannot tell.
        """
        from mailtools.services.access import passwords  # at a login only

        try:
            account = self.find(login)
        except Misconfigured as error:
            raise AuthTrouble(detail=error.detail) from error
        secret = account.secret if account else self.decoy()
        elsewhere = self.elsewhere
        if elsewhere.has_passwords and (account is None or schemes.elsewhere(secret)):
            # Asked for nobody too: an unknown login must take as long.
            fits = elsewhere.password_fits(login, password, service, address)
        else:
            fits = passwords.check(secret, password)
        if account is not None and not self.may_log_in(account, service, address):
            account = None
        # Looked for in nobody's name too: in a long file that takes its time.
        name = account.name if account else ""
        found = bool(name and fits) or self.app_passwords.use(name, password, service, address)
        if account is None or not found:
            raise BadCredentials
        return account

    def authenticate_token(
        self, login: str, token: str, *, service: str, address: str = ""
    ) -> Account:
        """Give the account that a bearer token opens; raise BadCredentials or AuthTrouble."""
        try:
            account = self.find(login) if login else None
        except Misconfigured as error:
            raise AuthTrouble(detail=error.detail) from error
        if not login or not self.elsewhere.token_program:
            raise BadCredentials
        fits = self.elsewhere.token_fits(login, token, service, address)
        if not fits or account is None or not self.may_log_in(account, service, address):
            raise BadCredentials
        return account

    def mechanisms(self) -> tuple[str, ...]:
        """List what these accounts can log in by, the best first.

        SCRAM and CRAM-MD5 are offered only where every account can use them: a client takes the one
        it likes best, and asks its user for another password when that fails.
        """
        found = (*filter(self._all_have, reversed(HASHES)), "PLAIN", "LOGIN")
        if self.elsewhere.token_program:
            found += ("OAUTHBEARER", "XOAUTH2")
        return (*found, CRAM) if self.offers(CRAM) else found

    def offers(self, old: str) -> bool:
        """Whether an old way to log in is wanted, and every account can use it."""
        return old in self._old and self._all_have(old)

    def _all_have(self, mechanism: str) -> bool:
        try:
            return self.all_can_prove(mechanism)
        except Misconfigured:
            return False

    def all_can_prove(self, mechanism: str) -> bool:
        """Whether every account could log in by this one; raise Misconfigured."""
        self._refresh()
        if mechanism not in self._scram:
            secrets = map(secret_of, self._accounts.values())
            able = all(schemes.can_prove(secret, mechanism) for secret in secrets)
            self._scram[mechanism] = (
                able and bool(self._accounts) and not self.elsewhere.has_passwords
            )
        return self._scram[mechanism] and not self.app_passwords.everything()

    def may_log_in(self, account: Account, service: str, address: str) -> bool:
        """Whether the extra fields let this account in: `nologin`, `services`, `allow_nets`."""
        fields = account.fields
        if fields.get("nologin", "no") != "no":
            return False
        if "services" in fields and service not in fields["services"].split(","):
            return False
        return "allow_nets" not in fields or contains(fields["allow_nets"].split(","), address)

    # -- reading ----------------------------------------------------------------------------------

    def _is_local(self, domain: str) -> bool:
        if domain in self._local:
            return True
        return any(name[0] == "." and domain.endswith(name) for name in self._local if name)

    def decoy(self) -> str:
        """Give a secret for nobody: the work to check it is that of the first user's."""
        first = self._get(next(iter(self._accounts), ""))
        return first.secret if first and not schemes.locked(first.secret) else _NO_SECRET

    def _get(self, key: str) -> Account | None:
        found = self._accounts.get(key)
        if isinstance(found, str):
            found = self._accounts[key] = read_account(found, self._maildir, [], self._owner)
        return found

    def _refresh(self) -> None:
        if not self.path:
            return
        try:
            text = self._file.news()
        except OSError as error:
            raise Misconfigured(detail=f"cannot read {self.path}: {error.strerror}") from error
        if text is None:
            return
        faults: list[str] = []
        self._scram.clear()
        self._with_field.clear()
        self._accounts = read_accounts(text, self._maildir, faults, self._owner)
        if faults:
            raise Misconfigured(detail="\n".join(f"{self.path}:{fault}" for fault in faults))
        self._file.settle()

    def _system_user(self, name: str) -> Account | None:
        if not self._system_users or not name or not name.isascii():
            return None
        try:
            user = pwd.getpwnam(name)
            owner = os.stat(user.pw_dir).st_uid
        except (KeyError, OSError):
            return None
        # As in qmail: mail is for people, and a home that is not theirs is not to be written to.
        if user.pw_uid == 0 or owner != user.pw_uid:
            return None
        maildir = expand(self._maildir, user.pw_name, user.pw_dir)
        return Account(
            user.pw_name, user.pw_uid, user.pw_gid, user.pw_dir, maildir, user.pw_gecos, {}, "x"
        )
