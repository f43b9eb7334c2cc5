"""How commands end other than well, and what the failures of the site are called in IMAP."""

from mailtools.errors import (
    AuthTrouble,
    BadCredentials,
    BadFolderName,
    Failure,
    FolderExists,
    MailboxFull,
    MailboxInUse,
    MessageTooBig,
    NoSuchFolder,
    NoSuchMessage,
    PolicyRefused,
    QueueFull,
    TlsRequired,
)


class No(Failure):
    """The command cannot be done."""

    def __init__(self, text: str, *, code: str = "") -> None:
        """Say why; `code` is the response code without its brackets (RFC 5530)."""
        super().__init__(text)
        self.code = code


_CODES: tuple[tuple[type[Failure], str], ...] = (
    (TlsRequired, "PRIVACYREQUIRED"),
    (BadCredentials, "AUTHENTICATIONFAILED"),
    (AuthTrouble, "UNAVAILABLE"),
    (NoSuchFolder, "NONEXISTENT"),
    (FolderExists, "ALREADYEXISTS"),
    (BadFolderName, "CANNOT"),
    (NoSuchMessage, "EXPUNGEISSUED"),
    (MailboxFull, "OVERQUOTA"),
    (QueueFull, "OVERQUOTA"),
    (MessageTooBig, "TOOBIG"),
    (MailboxInUse, "INUSE"),
    (PolicyRefused, "NOPERM"),
)


def code_of(failure: Failure) -> str:
    """The response code that tells a client what went wrong (RFC 5530); "" where none fits."""
    if isinstance(failure, No):
        return failure.code
    found = next((code for kind, code in _CODES if isinstance(failure, kind)), None)
    if found is not None:
        return found
    return "" if failure.permanent else "SERVERBUG" if not failure.status else "UNAVAILABLE"
