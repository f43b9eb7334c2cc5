"""One event, one line: a word in the past, then key=value; to stderr, or to syslog.

No time stamp: the supervisor adds it. Under classic inetd stderr is the peer's own socket, where a
log line would break the protocol; then the lines go to syslog(3). All events and their keys stand
in mailtools-log(5).
"""

import os
import re
import stat
import sys

# The last but one are those that turn the direction of text (mail/reply.py has them too).
_UNPRINTABLE = (
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def event(word: str, written: str = "", /, **keys: object) -> None:
    """Log that `word` happened, with its facts in the order given; None is left out.

    `written` are further facts that `facts` made text already, for who needs that text elsewhere.
    """
    line(" ".join(filter(None, (word, facts(keys), written))))


def quiet_event(word: str, **keys: object) -> None:
    """Log to syslog(3), for a program whose stderr belongs to whoever called it (sendmail)."""
    _to_syslog(f"{word} {facts(keys)}".rstrip())


def facts(keys: dict[str, object]) -> str:
    """Write facts as they stand in an event's line; None is left out."""
    return " ".join(
        f"{key.rstrip('_')}={_value(value)}" for key, value in keys.items() if value is not None
    )


def _value(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    if text and text.isascii() and text.isprintable() and " " not in text and '"' not in text:
        return text
    safe = re.sub(_UNPRINTABLE, "?", text)  # compiled where a text first has a space
    return '"' + safe.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _stderr_is_the_peer() -> bool:
    try:
        error, peer = os.fstat(2), os.fstat(0)
    except OSError:
        return not _is_open(2)
    same = (error.st_dev, error.st_ino) == (peer.st_dev, peer.st_ino)
    return same and stat.S_ISSOCK(peer.st_mode)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


_TO_SYSLOG = _stderr_is_the_peer()


def line(text: str) -> None:
    """Write a line where events go: to stderr, or to syslog where stderr is the peer."""
    if _TO_SYSLOG:
        _to_syslog(text)
        return
    data = f"{text}\n".encode("utf-8", "backslashreplace")
    try:
        os.write(2, data)  # one write a line: lines of many processes do not mix
    except OSError:
        pass  # a log that cannot be written must not stop the mail


def _to_syslog(text: str) -> None:
    import syslog  # only under classic inetd, and in sendmail

    name = os.path.basename(sys.argv[0])
    syslog.openlog(name, syslog.LOG_PID, syslog.LOG_MAIL)
    syslog.syslog(syslog.LOG_INFO, text)
