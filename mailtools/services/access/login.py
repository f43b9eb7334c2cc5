"""A login at a service: who is let in by SMTP AUTH, POP3, IMAP and ManageSieve.

    login = Login(accounts, service="imap", address=peer.address)
    exchange = sasl.start("PLAIN", login)       # exchange.identity is an Account
    account = login.authenticate(sasl.Password(user, password))        # POP3's USER and PASS

Each attempt is one log line, which fail2ban can read.
"""

from __future__ import annotations

import os

from mailtools import log
from mailtools.errors import AuthTrouble, BadCredentials, Misconfigured
from mailtools.protocol.sasl import scram
from mailtools.protocol.sasl.scram import ScramKeys
from mailtools.protocol.sasl.server import Credentials, External, Password, Proven, Token
from mailtools.services.access import passwords, schemes
from mailtools.services.access.account_line import Account
from mailtools.services.access.accounts import Accounts
from mailtools.services.access.throttle import Throttle


class Login:
    """Decides who may log in at one service, from one peer."""

    def __init__(
        self,
        accounts: Accounts,
        *,
        service: str,
        address: str = "",
        certificate_login: str = "",
        tls: str = "",
    ) -> None:
        """Take the accounts, the service (`imap`, `pop3`, `submission`, `sieve`), the peer's IP.

        `certificate_login` is the login that a verified TLS client certificate stands for; `tls`
        is the version of TLS that the log tells.
        """
        self._accounts = accounts
        self._service = service
        self._address = address
        self._certificate_login, self._tls = certificate_login, tls
        self._throttle = Throttle(accounts.state and f"{accounts.state}/throttle")

    def mechanisms(self) -> tuple[str, ...]:
        """List what this peer can log in by, the best first."""
        found = self._accounts.mechanisms()
        return ("EXTERNAL", *found) if self._certificate_login else found

    def authenticate(self, credentials: Credentials) -> Account:
        """Give the account these credentials open; raise BadCredentials or AuthTrouble."""
        own = self._certificate_login
        name = own if isinstance(credentials, External) else credentials.login
        where = {"rip": self._address or None, "proto": self._service}
        try:
            self._throttle.check(name, self._address)
            account = self._check(credentials)
        except BadCredentials:
            tried = credentials.password if isinstance(credentials, Password) else None
            self._throttle.failed(name, self._address, tried)
            log.event("auth-failed", user=name, **where)
            raise
        except AuthTrouble as trouble:
            log.event("auth-delayed", user=name, **where, reason=trouble.detail)
            raise
        self._throttle.succeeded(name, self._address)
        log.event(
            "authenticated",
            user=account.name,
            **where,
            mech=credentials.mechanism or None,
            tls=self._tls or None,
        )
        return account

    def scram_keys(self, login: str, mechanism: str) -> ScramKeys:
        """Give the keys to check a login by; for one that has none, made-up ones."""
        salt = self._made_up_salt(login)
        account = self._find(login)
        keys = passwords.scram_keys(account.secret, mechanism, salt) if account else None
        if keys:
            return keys
        decoy = self._accounts.decoy()
        if schemes.split(decoy)[0] in schemes.PLAIN:
            passwords.scram_keys(decoy, mechanism, salt)  # takes its time: so much for nobody, too
        size = 32 if mechanism == "SCRAM-SHA-256" else 20
        return ScramKeys(salt, self._usual_iterations(mechanism), bytes(size), bytes(size))

    def cram_contexts(self, login: str) -> bytes:
        """Give what CRAM-MD5 checks a login by; for one that has none, what fits nothing."""
        account = self._find(login)
        try:
            found = passwords.cram_contexts(account.secret) if account else None
        except ValueError as error:
            raise AuthTrouble(detail=f"a CRAM-MD5 secret cannot be read: {error}") from error
        return found or os.urandom(32)

    def apop_digest(self, login: str, stamp: str) -> str:
        """Give what APOP must answer to a greeting with `stamp`; for nobody, what fits nothing."""
        account = self._find(login)
        found = passwords.apop_digest(account.secret, stamp) if account else ""
        return found or os.urandom(16).hex()

    # -- deciding ---------------------------------------------------------------------------------

    def _check(self, credentials: Credentials) -> Account:
        match credentials:
            case Password(login, password, authorize_as):
                account = self._accounts.authenticate(
                    login, password, service=self._service, address=self._address
                )
            case Proven(login, authorize_as):
                account = self._known(login)
            case Token(login, token):
                authorize_as = ""
                account = self._accounts.authenticate_token(
                    login, token, service=self._service, address=self._address
                )
            case External(authorize_as) if self._certificate_login:
                account = self._known(self._certificate_login)
            case _:
                raise BadCredentials
        if authorize_as and self._find(authorize_as) != account:
            raise BadCredentials  # nobody may act for another here
        return account

    def _known(self, login: str) -> Account:
        account = self._find(login)
        if not account or not self._accounts.may_log_in(account, self._service, self._address):
            raise BadCredentials
        return account

    def _find(self, login: str) -> Account | None:
        try:
            return self._accounts.find(login)
        except Misconfigured as error:
            raise AuthTrouble(detail=error.detail) from error

    # -- SCRAM ------------------------------------------------------------------------------------

    def _usual_iterations(self, mechanism: str) -> int:
        for account in self._accounts.everyone():
            scheme, _, rest = schemes.split(account.secret)
            if scheme == mechanism:
                return int(rest.partition(",")[0])
        return scram.ITERATIONS

    def _made_up_salt(self, login: str) -> bytes:
        """Make a salt that a login always has, and that nobody outside can foretell."""
        import hashlib
        import hmac

        return hmac.digest(
            _host_secret(self._accounts.path), login.lower().encode(), hashlib.sha256
        )[:16]


def _host_secret(path: str) -> bytes:
    try:
        with open("/etc/machine-id", "rb") as file:  # secret from peers, and it stays
            found = file.read().strip()
    except OSError:
        found = b""
    return found or path.encode()
