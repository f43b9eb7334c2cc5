"""newaliases: check the files that say where addresses lead."""

from mailtools.cli import command, etc_option
from mailtools.commands.parts import accounts_of, directory_of
from mailtools.config import Config
from mailtools.errors import Misconfigured


@command("newaliases")
@etc_option
def main(etc: str) -> None:
    """Check aliases and virtual, and say everything that is wrong with them.

    Nothing needs to be built here: the files are read as they are, and again when they change.
    """
    config = Config(etc)
    directory = directory_of(config, accounts_of(config))
    config.check()
    faults = directory.faults()
    if faults:
        raise Misconfigured(detail="\n".join(faults))
