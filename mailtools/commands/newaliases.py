"""newaliases: check the files that say where addresses lead."""

from mailtools.cli import command, etc_option
from mailtools.config import Config
from mailtools.errors import Misconfigured
from mailtools.services.accounts import Accounts
from mailtools.services.directory import Directory


@command("newaliases")
@etc_option
def main(etc: str) -> None:
    """Check aliases and virtual, and say everything that is wrong with them.

    Nothing needs to be built here: the files are read as they are, and again when they change.
    """
    config = Config(etc)
    locals_ = config.lines("locals")
    accounts = Accounts(
        config.file("accounts"),
        maildir=config.line("maildir"),
        local_domains=locals_,
        system_users=config.flag("system-users"),
    )
    directory = Directory(
        config.line("me"),
        locals_,
        accounts,
        aliases=config.file("aliases"),
        virtual=config.file("virtual"),
        separators=config.line("extension-separators"),
    )
    config.check()
    faults = directory.faults()
    if faults:
        raise Misconfigured(detail="\n".join(faults))
