"""Where sendmail leaves a message: in the queue where it may write, else at the submit service.

Nothing here is setgid or world-writable. The queue belongs to one user. Root becomes that user for
good before it writes; that user writes; anybody else speaks SMTP to a smtpd-accept, which listens
on a Unix socket (or a loopback port) and takes responsibility by its 250, as for any peer.

A host without a queue (a null client, qmail's mini-qmail) names one elsewhere, which everybody's
mail goes to by QMQP before sendmail ends.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

from mailtools import log
from mailtools.errors import (
    BadAddress,
    ConnectionDied,
    Failure,
    Misconfigured,
    NoAnswer,
    NoSuchMailbox,
    RelayDenied,
    SystemTrouble,
)
from mailtools.mail.dates import format_date_field
from mailtools.mail.report import RELAYED, Report, report_failure
from mailtools.services.access.become import become_owner
from mailtools.services.submit.inject import Letter
from mailtools.store.queue import Queue

if TYPE_CHECKING:
    from mailtools.protocol.smtp.carrier import Carrier

CONNECT_TIMEOUT = 30.0  # seconds
AT_ONCE = 0.001  # seconds an idle connection stays open
QMQP, QMQP_PORT = "qmqp:", 628

_KINDS: tuple[tuple[str, type[Failure]], ...] = (  # RFC 3463 status: the failure, for its exit code
    ("5.1.1", NoSuchMailbox),
    ("5.1.", BadAddress),
    ("5.7.", RelayDenied),
)


def can_write(queue: str) -> bool:
    """Whether we may put entries into the queue ourselves; root may, as its owner."""
    if os.geteuid() == 0:
        return True
    return os.access(f"{queue}/tmp", os.W_OK | os.X_OK) or _can_make(queue)


def _can_make(path: str) -> bool:
    while not os.path.lexists(path):
        path = os.path.dirname(path) or "."
        if os.path.isdir(path):
            return os.access(path, os.W_OK | os.X_OK)
    return False


def into_queue(path: str, letter: Letter, me: str) -> str:
    """Commit a letter to the queue; when this returns its ID, it survives a power cut."""
    if os.geteuid() == 0:
        import syslog  # noqa: F401 (log: later we may not be allowed to read it)
    become_owner(path)
    queue = Queue(path)
    if not os.path.isdir(f"{path}/tmp"):
        queue.create()
    writer = queue.begin(letter.envelope, letter.id)
    try:
        writer.write(_received(me, letter.envelope.client, writer.id))
        writer.write(letter.header + b"\n")
        writer.write(letter.body)
        id_ = writer.commit()
    except BaseException:
        writer.abort()
        raise
    log.quiet_event(
        "queued",
        id=id_,
        from_=f"<{letter.envelope.reverse_path}>",
        to=len(letter.envelope.forward_paths),
        size=writer.size,
        client=letter.envelope.client,
    )
    return id_


def _received(me: str, client: str, id_: str) -> bytes:
    now = time.time()
    offset = time.localtime(now).tm_gmtoff // 60
    date = format_date_field(now, offset)
    user = client.removeprefix("local ")
    return (
        f"Received: by {me} (mailtools, from user {user})\n\twith local id {id_}; {date}\n".encode()
    )


def is_elsewhere(where: str) -> bool:
    """Whether the queue is another host's, whoever calls."""
    return where.startswith(QMQP)


def _client(where: str, me: str) -> Carrier:
    from mailtools.protocol.smtp.transaction import Tls

    if is_elsewhere(where):
        from mailtools.protocol.qmtp.client import QmtpClient

        return QmtpClient(where, qmqp=True, keep=AT_ONCE)
    from mailtools.protocol.smtp.client import SmtpClient

    return SmtpClient(me, where, tls=Tls.NEVER, keep=AT_ONCE)


def hand_over(where: str, letter: Letter, me: str) -> list[Report]:
    """Give a letter to a submit service, named as `connect` takes it; give the reports."""
    from mailtools.net.drive import drive  # all of this only where the queue is not ours
    from mailtools.net.stream import Stream
    from mailtools.protocol.smtp.transaction import Transaction, message_of

    envelope = letter.envelope
    message = message_of(letter.header + b"\n" + letter.body)
    client = _client(where, me)
    parameters = {k: v for k, v in envelope.parameters.items() if k != "BODY"}
    client.send(Transaction(envelope.reverse_path, envelope.forward_paths, message, parameters))
    stream = Stream(connect(where))
    try:
        drive(client, stream)
    except Failure as failure:
        if client.busy:
            client.fail(failure)
    finally:
        stream.close()
    reports = [outcome.report for outcome in client.collect()]
    heard = {report.forward_path for report in reports}
    silent = ConnectionDied()  # whatever happened: without a report nothing was taken
    reports += (
        report_failure(path.address, silent)
        for path in envelope.forward_paths
        if path.address not in heard
    )
    return reports


def connect(where: str) -> socket.socket:
    """Connect to `/path`, `HOST:PORT` or `qmqp:HOST`, which may have a port or be a path.

    Raises NoAnswer, Misconfigured for what is none of these.
    """
    place = where.removeprefix(QMQP)
    host, colon, port = place.rpartition(":")
    if is_elsewhere(where) and not port.isdigit():
        host, colon, port = place, ":", str(QMQP_PORT)
    try:
        if place.startswith("/"):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(CONNECT_TIMEOUT)
            sock.connect(place)
        elif colon and port.isdigit():
            sock = socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT)
        else:
            raise Misconfigured(
                detail=f"submit: {where!r} is neither /path, HOST:PORT nor qmqp:HOST"
            )
    except OSError as error:
        why = error.strerror or error
        queue = "is elsewhere" if is_elsewhere(where) else "is not ours to write"
        detail = f"the queue {queue}, and nobody listens at {where}: {why}"
        raise NoAnswer(detail=detail) from error
    sock.settimeout(None)
    return sock


def worst(reports: list[Report]) -> Failure | None:
    """Say what went wrong as one failure: every refusal in its detail; None where all is well."""
    bad = [report for report in reports if report.action != RELAYED]
    if not bad:
        return None
    detail = "\n".join(f"{one.forward_path}: {one.status} {one.text}" for one in bad)
    first = next((one for one in bad if not one.status.startswith("5")), bad[0])
    if not first.status.startswith("5"):
        return SystemTrouble(detail=detail)
    kind = next((kind for start, kind in _KINDS if first.status.startswith(start)), None)
    if kind is None:
        return _unavailable(detail)
    return kind(detail=detail)


def _unavailable(detail: str) -> Failure:
    failure = Failure("The message was refused", detail=detail, status="5.0.0")
    failure.exit = os.EX_UNAVAILABLE
    return failure


def deliver(queue: str, submit: str, letter: Letter, me: str) -> None:
    """Leave a letter where it may be left; raise what kept it, or part of it, from going."""
    if not is_elsewhere(submit) and can_write(queue):
        into_queue(queue, letter, me)
        return
    failure = worst(hand_over(submit, letter, me))
    if failure is not None:
        raise failure


def bridge(sock: socket.socket) -> None:
    """Carry bytes between stdin, stdout and a connection until the other end closes it."""
    import selectors  # rare: sendmail -bs by a user who may not write the queue

    selector = selectors.DefaultSelector()
    selector.register(sock, selectors.EVENT_READ)
    try:
        selector.register(0, selectors.EVENT_READ)
    except PermissionError:  # a plain file: it is always ready
        _copy_file(sock)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sock:
                data = sock.recv(65536)
                if not data:
                    return
                _write_all(1, data)
                continue
            data = os.read(0, 65536)
            if data:
                sock.sendall(data)
            else:
                selector.unregister(0)
                sock.shutdown(socket.SHUT_WR)


def _copy_file(sock: socket.socket) -> None:
    while data := os.read(0, 65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
