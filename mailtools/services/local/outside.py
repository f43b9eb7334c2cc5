"""A program as the way a domain's mail goes: UUCP, fax, a mailing list manager (pipe-deliver).

The program is run as it stands, by no shell; in its words `{recipient}`, `{local}`, `{domain}` and
`{sender}` are filled in, once for each forward-path. A word `{recipients}` becomes all of them, and
the program is run once. It gets the message on stdin, and its exit code is that of sysexits(3) or
of qmail.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mailtools.errors import BadAddress, Failure, Usage
from mailtools.mail.address import Address, parse_address
from mailtools.mail.report import DELIVERED, Report, report_failure
from mailtools.services.agent import Job
from mailtools.services.local import pipe

# What a stranger chose as his address is not to be an option.
_NO_OPTION = "An address that begins with - cannot be given to a program"

ALL = "{recipients}"
LIMIT = 600  # seconds a program may take
_field = re.compile(r"\{(recipient|local|domain|sender)\}")


class Tops(NamedTuple):
    """What is put on top of the message."""

    return_path: bool = False
    delivered_to: bool = False
    from_line: bool = False
    """The line `From sender date`, as rmail(8) and mailboxes have it."""


NOTHING = Tops()


class Outside:
    """Brings messages to one program."""

    def __init__(
        self,
        words: Sequence[str],
        *,
        user: str = "",
        folder: str = "",
        limit: float = LIMIT,
        tops: Tops = NOTHING,
    ) -> None:
        """Run `words`, as `user` where we are root, in `folder`; raise Usage for no such user."""
        self._words, self._limit, self._tops = tuple(words), limit, tops
        self._uid, self._gid, home = _ids(user) if user else (-1, -1, "/")
        self._name, self._folder = user, folder or home

    def deliver(self, job: Job) -> Iterator[Report]:
        """Run the program for a job: once for all forward-paths, or for each."""
        if ALL in self._words:
            yield from self._run(job, job.forward_paths)
        else:
            for path in job.forward_paths:
                yield from self._run(job, (path,))

    def _run(self, job: Job, paths: Sequence[str]) -> Iterator[Report]:
        try:
            self._errand(job, paths)
        except Failure as failure:
            for path in paths:
                yield report_failure(path, failure)
        else:
            for path in paths:
                yield Report(path, DELIVERED, "2.0.0", f"taken by {self._words[0]}")

    def _errand(self, job: Job, paths: Sequence[str]) -> None:
        addresses = [parse_address(path) for path in paths]
        sender = job.reverse_path
        environment = pipe.environment(
            reverse_path=sender,
            forward_path=addresses[0],
            user=self._name or "nobody",
            home=self._folder,
            extension="",
        )
        words = tuple(self._filled(paths, addresses[0], sender))
        errand = pipe.Errand(
            " ".join(words),
            environment,
            self._folder,
            self._top(environment, len(paths) == 1).encode("utf-8", "surrogateescape")
            + job.message(),
            self._uid,
            self._gid,
            words,
        )
        pipe.run(errand, self._limit)

    def _filled(self, paths: Sequence[str], address: Address, sender: str) -> Iterable[str]:
        values = {
            "recipient": str(address),
            "local": address.local,
            "domain": address.domain,
            "sender": sender,
        }
        for word in self._words:
            if word == ALL:
                if any(path.startswith("-") for path in paths):
                    raise BadAddress(_NO_OPTION)
                yield from paths
                continue
            filled = _field.sub(lambda match: values[match[1]], word)
            if filled.startswith("-") and not word.startswith("-"):
                raise BadAddress(_NO_OPTION)
            yield filled

    def _top(self, environment: dict[str, str], alone: bool) -> str:
        tops, lines = self._tops, ""
        if tops.from_line:
            lines += environment["UFLINE"]
        if tops.return_path:
            lines += environment["RPLINE"]
        if tops.delivered_to and alone:
            lines += environment["DTLINE"]
        return lines


def _ids(user: str) -> tuple[int, int, str]:
    import pwd

    try:
        known = pwd.getpwnam(user)
    except KeyError:
        raise Usage(detail=f"--user: there is no user {user}") from None
    return known.pw_uid, known.pw_gid, known.pw_dir
