"""sendmail's command line as everybody writes it: bundled, attached, detached, forty years old.

`-FCronDaemon -i -odi -oem -oi -t -f root` is cron's; `-oi -f bob -- carol` is mutt's; `-t -i` is
PHP's. getopt cannot read it (`-q` and `-d` take a value only when it is attached), so this does.
Flags that meant something to sendmail alone are read and ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mailtools.errors import Usage
from mailtools.mail.verp import DEFAULT, is_delimiters

MODES = {
    "m": "submit",
    "a": "smtp",
    "s": "smtp",
    "p": "list",
    "i": "aliases",
    "v": "verify",
    "d": "daemon",
    "D": "daemon",
    "t": "test",
    "h": "hosts",
    "H": "hosts",
}
_WITH_VALUE = frozenset("ABCDFLMNORVXbefhopr")  # attached or as the next word
_ATTACHED_ONLY = frozenset("qd")  # a value only when it is attached
_WITHOUT = frozenset("GIUEJTcimntvxs")
_LONG = ("etc", "spool")


class Flags:
    """What a command line of sendmail asks for."""

    __slots__ = (
        "body",
        "envelope_id",
        "etc",
        "from_header",
        "full_name",
        "ignore_dots",
        "mode",
        "notify",
        "queue_match",
        "recipients",
        "require_tls",
        "returning",
        "sender",
        "smtputf8",
        "spool",
        "verp",
    )

    def __init__(self, mode: str = "submit") -> None:
        self.mode = mode
        """submit, smtp, list, aliases, verify, daemon, test, hosts, queue, help or version."""
        self.recipients: list[str] = []
        self.from_header = False
        """-t: the recipients stand in To, Cc and Bcc."""
        self.ignore_dots = False
        """-i: a line with a dot alone is not the end."""
        self.sender: str | None = None
        """-f: the reverse-path; "" is the null one, None: whoever calls."""
        self.full_name: str | None = None
        """-F."""
        self.notify = ""
        """-N, as DSN's NOTIFY (RFC 3461 4.1)."""
        self.returning = ""
        """-R, as DSN's RET: FULL or HDRS."""
        self.envelope_id = ""
        """-V, as DSN's ENVID, not encoded."""
        self.verp = ""
        """-XV: the delimiters of the reverse-paths that each recipient gets; "" for none."""
        self.body = ""
        """-B: 7BIT or 8BITMIME."""
        self.require_tls = False
        self.smtputf8 = False
        self.queue_match: tuple[str, str] = ("", "")
        """-qI, -qR, -qS: the letter and what to look for."""
        self.etc: str | None = None
        self.spool: str | None = None


def parse(name: str, arguments: list[str]) -> Flags:
    """Read the words behind the program's `name`; raise Usage for what cannot be meant.

    Called `mailq`, `newaliases`, `runq` or `rmail`, it is sendmail with that mode.
    """
    flags = Flags(mode={"mailq": "list", "newaliases": "aliases", "runq": "queue"}.get(name, ""))
    flags.ignore_dots = name == "rmail"  # uucp ends its mail with the file
    words = iter(arguments)
    for word in words:
        if word == "--":
            flags.recipients += words
        elif word.startswith("--"):
            _long(flags, word, words)
        elif word.startswith("-") and word != "-":
            _bundle(flags, word[1:], words)
        else:
            flags.recipients.append(word)
    flags.mode = flags.mode or "submit"
    return flags


def _long(flags: Flags, word: str, words: Iterator[str]) -> None:
    name, equals, value = word[2:].partition("=")
    if name in ("help", "version"):
        flags.mode = name
    elif name in _LONG:
        setattr(flags, name, value if equals else _next(words, f"--{name}"))
    else:
        raise Usage(f"unknown option: --{name}")


def _bundle(flags: Flags, letters: str, words: Iterator[str]) -> None:
    """Read one word of flags: `-odi` is -o with "di", `-it` is -i and -t."""
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter in _WITH_VALUE:
            value = letters or _next(words, f"-{letter}")
            _SETTERS.get(letter, _ignore)(flags, value)
            return
        if letter in _ATTACHED_ONLY:
            if letter == "q":
                _queue(flags, letters)
            return
        if letter not in _WITHOUT:
            raise Usage(f"unknown option: -{letter}")
        if letter == "i":
            flags.ignore_dots = True
        elif letter == "t":
            flags.from_header = True
        elif letter == "I":
            flags.mode = "aliases"


def _next(words: Iterator[str], option: str) -> str:
    try:
        return next(words)
    except StopIteration:
        raise Usage(f"{option} wants a value") from None


def _ignore(flags: Flags, value: str) -> None:
    """Read a flag that has no meaning here."""


def _mode(flags: Flags, value: str) -> None:
    if value[:1] not in MODES:
        raise Usage(f"unknown mode: -b{value}")
    flags.mode = MODES[value[0]]


def _sender(flags: Flags, value: str) -> None:
    flags.sender = "" if value == "<>" else value
    if value.endswith("-@[]") and (local := value.rpartition("@")[0].rpartition("@")[0])[1:]:
        # qmail's way to ask for VERP: owner-list-@example.org-@[]
        flags.sender = local[:-1] + value[len(local) : -4]
        _verp(flags, f"V{local[-1]}=")


def _verp(flags: Flags, value: str) -> None:
    """Take Postfix' -XV and -XV+=; any other -X is sendmail's log of its traffic, and ignored."""
    if value[:1] != "V":
        return
    if not is_delimiters(value[1:]):
        raise Usage("-XV takes two delimiters of + - =")
    flags.verp = value[1:] or DEFAULT


def _full_name(flags: Flags, value: str) -> None:
    flags.full_name = value


def _notify(flags: Flags, value: str) -> None:
    wanted = [word for word in value.upper().replace(" ", "").split(",") if word]
    known = {"SUCCESS", "FAILURE", "DELAY"}
    if not wanted or (wanted != ["NEVER"] and not set(wanted) <= known):
        raise Usage("-N takes never, or some of success,failure,delay (RFC 3461 4.1)")
    flags.notify = ",".join(dict.fromkeys(wanted))


def _returning(flags: Flags, value: str) -> None:
    flags.returning = {"full": "FULL", "hdrs": "HDRS"}.get(value.lower(), "")
    if not flags.returning:
        raise Usage("-R takes full or hdrs (RFC 3461 4.3)")


def _envelope_id(flags: Flags, value: str) -> None:
    if not value.isascii() or not value.isprintable() or len(value) > 100:
        raise Usage("-V takes up to 100 printable ASCII characters (RFC 3461 4.4)")
    flags.envelope_id = value


def _body(flags: Flags, value: str) -> None:
    if value.upper() not in ("7BIT", "8BITMIME"):
        raise Usage("-B takes 7BIT or 8BITMIME (RFC 6152)")
    flags.body = value.upper()


def _small_option(flags: Flags, value: str) -> None:
    """Take -o: of sendmail's one-letter options, two are still used."""
    if value[:1] == "i":
        flags.ignore_dots = True
    elif value[:1] == "t":
        flags.from_header = True


def _long_option(flags: Flags, value: str) -> None:
    """Take -O Name=value, and Postfix' requiretls= and smtputf8=."""
    name, _, setting = value.partition("=")
    wanted = setting.lower() in ("", "yes", "true", "1")
    if name.lower() == "requiretls":
        flags.require_tls = wanted
    elif name.lower() == "smtputf8":
        flags.smtputf8 = wanted
    elif name.lower() == "ignoredots":
        flags.ignore_dots = wanted


def _queue(flags: Flags, value: str) -> None:
    if value[:1] in ("I", "R", "S") and value[1:]:
        flags.queue_match = (value[0], value[1:])
    elif value[:1] in ("!", "G", "L", "Q"):
        raise Usage(f"-q{value}: there are no queue groups here")
    elif value[:1].isdigit() or value[:1] == "p":
        flags.mode = "daemon"
        return
    elif value not in ("", "f"):
        raise Usage(f"-q{value} is not -q, -qINTERVAL, -qIid, -qRsite or -qSsender")
    flags.mode = "queue"


_SETTERS: dict[str, Callable[[Flags, str], None]] = {
    "b": _mode,
    "f": _sender,
    "r": _sender,
    "F": _full_name,
    "N": _notify,
    "R": _returning,
    "V": _envelope_id,
    "X": _verp,
    "B": _body,
    "o": _small_option,
    "O": _long_option,
}
