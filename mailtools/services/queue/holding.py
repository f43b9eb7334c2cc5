"""Which new messages are held before their first attempt: the rules of the control file `hold`.

A rule is a word and what it looks for: `from PATTERN` (the reverse-path; `<>` is the null one), `to
PATTERN` (any forward-path), `client NETWORK` (whom it came from). `*` and `?` in a pattern stand
for any text and any character; case does not matter.
"""

import re
from collections.abc import Iterable
from fnmatch import translate
from typing import NamedTuple

from mailtools.mail.envelope import Envelope
from mailtools.services.access.networks import Networks, is_network
from mailtools.store.entry import Entry, State

WORDS = ("from", "to", "client")


class _Rule(NamedTuple):
    text: str
    word: str
    pattern: re.Pattern[str] | None
    networks: Networks | None

    def catches(self, envelope: Envelope) -> bool:
        if self.networks:
            return envelope.client.partition(" ")[0] in self.networks
        assert self.pattern
        if self.word == "from":
            return self.pattern.match(envelope.reverse_path) is not None
        return any(self.pattern.match(path.address) for path in envelope.forward_paths)


class HoldRules:
    """The rules, in their order."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        """Take the lines; raise ValueError for one that is no rule."""
        self._rules = [_parse(line) for line in lines]

    def catch(self, entry: Entry) -> str:
        """Give the first rule that wants an entry held, as it was written; "" where none does.

        Only new ones are caught: neither what was tried already nor what an operator let go.
        """
        if not self._rules or entry.state is not State.NEW:
            return ""
        if entry.journal.attempts or entry.journal.released:
            return ""
        return next((rule.text for rule in self._rules if rule.catches(entry.envelope)), "")


def _parse(line: str) -> _Rule:
    word, _, value = line.partition(" ")
    value = value.strip()
    if word not in WORDS or not value:
        raise ValueError(f"{line!r} is no rule: from PATTERN, to PATTERN or client NETWORK")
    text = f"{word} {value}"
    if word != "client":
        wanted = "" if word == "from" and value == "<>" else value
        return _Rule(text, word, re.compile(translate(wanted), re.IGNORECASE), None)
    if not is_network(value):
        raise ValueError(f"{value!r} is neither an IP address nor a network")
    return _Rule(text, word, None, Networks([value]))
