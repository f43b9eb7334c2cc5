"""Where passwords and tokens are checked that the accounts file does not hold."""

from __future__ import annotations

from typing import NamedTuple


class Elsewhere(NamedTuple):
    """Whom to ask, "" for nobody; of those for passwords, the first that is set."""

    program: str = ""
    """A command line that speaks the checkpassword interface."""
    socket: str = ""
    """The path of Dovecot's auth socket."""
    pam: str = ""
    """A PAM service's name, or the path of its file."""
    token_program: str = ""
    """As `program`, for bearer tokens."""

    @property
    def has_passwords(self) -> bool:
        """Whether passwords are checked elsewhere."""
        return bool(self.program or self.socket or self.pam)

    @property
    def anybody(self) -> bool:
        """Whether somebody is asked for something."""
        return self.has_passwords or bool(self.token_program)

    def make_ready(self) -> None:
        """Load what asks them."""
        if self.program or self.token_program:
            import mailtools.services.access.checkpassword
        if self.socket:
            import mailtools.services.access.auth_socket
        if self.pam:
            import mailtools.services.access.pam  # noqa: F401

    def password_fits(self, login: str, password: str, service: str, address: str) -> bool:
        """Whether a password is the login's; raise AuthTrouble."""
        # Each is imported where it is asked: they start programs, load libraries.
        if self.program:
            from mailtools.services.access import checkpassword

            return checkpassword.ask(self.program, login, password, service, address)
        if self.socket:
            from mailtools.services.access import auth_socket

            return auth_socket.ask(self.socket, login, password, service, address)
        from mailtools.services.access import pam

        return pam.ask(self.pam, login, password, address)

    def token_fits(self, login: str, token: str, service: str, address: str) -> bool:
        """Whether a bearer token is the login's; raise AuthTrouble."""
        from mailtools.services.access import checkpassword

        most = checkpassword.TOKEN_MOST
        return checkpassword.ask(self.token_program, login, token, service, address, most=most)


NOWHERE = Elsewhere()
