"""Becoming another of our programs: the one that stands beside the one that runs."""

import os
import sys
from typing import NoReturn

from mailtools.errors import SystemTrouble


def become(name: str, *arguments: str) -> NoReturn:
    """Replace this process by a command of ours; raise SystemTrouble where it is not there.

    It is looked for beside the program that runs (through symbolic links: /usr/sbin/sendmail may
    be one), then in PATH.
    """
    beside = os.path.join(os.path.dirname(os.path.realpath(sys.argv[0])), name)
    sys.stdout.flush()
    try:
        if os.path.exists(beside):
            # By our own interpreter: where PATH has another python3, its packages are not ours.
            os.execv(sys.executable, [sys.executable, beside, *arguments])
        os.execvp(name, [name, *arguments])
    except OSError as error:
        raise SystemTrouble(detail=f"cannot run {name}: {error.strerror}") from error
